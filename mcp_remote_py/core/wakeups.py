"""Wakeups: tells from two looks at the clocks and the network whether this machine slept or moved in between.

A laptop that slept, a process that was stopped, a VPN that came or went: connections that look alive may be dead, and
waits that were right before are not any more. Wall clock and monotonic clock part when a machine sleeps (Linux, macOS);
where they do not (Windows, a stopped process), the look comes later than it was due. Pure: looks in, a sentence out.
"""

from __future__ import annotations

from typing import NamedTuple

PERIOD_SECONDS = 10.0
"""Between two looks while something stands that could be dead: the least that an idle bridge wakes up."""
SLACK_SECONDS = 5.0
"""A busy machine is late, too, and clocks are corrected by a little all the time."""


class Look(NamedTuple):
    """What there is to see at one moment."""

    monotonic: float
    wall: float
    addresses: frozenset[str] | None = None
    """The machine's own network addresses; None where nobody looked."""


class Wake(NamedTuple):
    """Something happened. `reason` is one sentence for the log."""

    reason: str
    is_doubtful: bool
    """Whether connections that stood before may be dead now; else it is only worth trying again what failed."""


class Wakeups:
    """Compares each look with the one before it. `period` is the time, in seconds, between two looks by the timer."""

    def __init__(self, first: Look, period: float = PERIOD_SECONDS) -> None:
        self._last = first
        self._period = period

    def is_jump(self, monotonic: float, wall: float) -> bool:
        """Whether the clocks alone show that something happened: cheap enough to be asked at every message."""
        passed, by_wall = monotonic - self._last.monotonic, wall - self._last.wall
        return passed > self._period + SLACK_SECONDS or abs(by_wall - passed) > SLACK_SECONDS

    def look(self, look: Look) -> Wake | None:
        """Note this look. Returns what happened since the last one."""
        last, jumped = self._last, self.is_jump(look.monotonic, look.wall)
        self._last = look if look.addresses is not None else look._replace(addresses=last.addresses)
        if jumped:
            passed, by_wall = look.monotonic - last.monotonic, look.wall - last.wall
            if by_wall < passed - SLACK_SECONDS:
                return Wake("the clock was set back", is_doubtful=True)
            return Wake(f"nothing ran here for about {max(passed, by_wall):.0f} s", is_doubtful=True)
        if last.addresses is None or self._last.addresses == last.addresses:
            return None
        gone = last.addresses - (look.addresses or frozenset())
        return Wake("the network addresses of this machine changed", is_doubtful=bool(gone))
