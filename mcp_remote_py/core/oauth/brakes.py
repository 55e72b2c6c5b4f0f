"""Brakes: how often one server may make a person sign in. Times in, a sentence or nothing out.

Where tokens are refused as soon as they are given, a bridge without brakes opens tab after tab (PAINS: several
hundred exchanges a second were measured). The times are kept on the disk, so that a host which starts us again and
again is stopped as well. A time that lies ahead of the clock, which was set back since, does not count.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mcp_remote_py.core.redact import printable

MOST = 3
"""So many sign-ins may begin..."""
SECONDS = 300.0
"""...within so many seconds."""


def counted(times: Sequence[float], now: float) -> tuple[float, ...]:
    """Return the times that still count, oldest first."""
    return tuple(sorted(time for time in times if now - SECONDS < time <= now))


def problem(times: Sequence[float], now: float, url: str) -> str | None:
    """Return why no further sign-in to this server may begin now, with the command that resets; None: it may.

    `times`: when sign-ins to it began, as the wall clock has it.
    """
    recent = counted(times, now)
    if len(recent) < MOST:
        return None
    wait = max(1, round(recent[-MOST] + SECONDS - now))
    return (
        f"This server asked for a sign-in {len(recent)} times within {SECONDS / 60:.0f} minutes, and did not take what "
        f"came of it. No further one begins for {wait} s; to begin anew at once: {reset_command(url)}"
    )


def reset_command(url: str) -> str:
    """Return what to type to forget the tokens and the brakes of a server."""
    return f"mcp-remote-py logout {shlex.quote(printable(url, 500))}"
