"""Retries: may this message be sent again after this fault, and when. Faults and counts in, verdicts and seconds out.

A call is sent again only where it provably never ran (nothing was sent; the server said at the door to come back
later), or where running it twice does no harm. Everything else is the host's to decide: it is told that the call may
have run. Sources: 2025-11-25, "Tool Annotations"; RFC 9110 sections 9.2.2 and 10.2.3. Pure: chance comes from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from enum import Enum
from typing import NamedTuple, TypeVar

from mcp_remote_py.core.backoff import LONGEST_SECONDS, drawn
from mcp_remote_py.core.errors import Fault, Interrupted, Refused, TimedOut, Unreachable
from mcp_remote_py.core.message import Message

FIRST_SECONDS = 0.25
"""The longest pause before the first attempt that repeats; each further one doubles it."""
MOST_SECONDS = 5.0
"""The longest pause between two attempts at a call."""
MOST_AWAY_SECONDS = LONGEST_SECONDS
"""The longest pause between two attempts to reach a server that is not there."""
SPREAD_SECONDS = 1.0
"""So much later than `Retry-After` an attempt may be, so that not all clients come back in the same moment."""
_HARMLESS = frozenset(["ping", "resources/read", "completion/complete"])
_HARMLESS_ENDS = ("/list", "/get")


class Policy(NamedTuple):
    """How much is done for a server that is away. The default does nothing of the kind.

    `hold`: for so many seconds a call may be held and sent again; 0 switches all of it off. `greet_after`: after so
    many seconds of silence `initialize` is answered in the server's place; None: never, whatever the trouble.
    `chance` returns numbers from 0 to 1. `version` is our own, for the host to read.
    `cache`: what the server said before may be said in its place.
    """

    hold: float = 0.0
    greet_after: float | None = None
    chance: Callable[[], float] = lambda: 1.0
    version: str = "0"
    cache: bool = True


class Verdict(Enum):
    """What to do with a call that met a fault."""

    END = "end"
    """Answer it with the fault."""
    LATER = "later"
    """Send it again after a pause; the others go on."""
    AWAY = "away"
    """The server cannot be reached: hold everything, and try again after a pause."""


def is_harmless(message: Message, tools: Container[str]) -> bool:
    """Whether running this twice does no harm. `tools`: those whose annotations say so."""
    method = message.method or ""
    if method == "tools/call":
        name = message.params.get("name")
        return isinstance(name, str) and name in tools
    return method in _HARMLESS or method.endswith(_HARMLESS_ENDS)


def mends(fault: Fault) -> bool:
    """Whether the trouble is of the kind that passes by itself: refused, reset, DNS, no network, 429, 502 to 504..."""
    return fault.mends or (isinstance(fault, TimedOut) and not fault.may_have_run)


def is_away(fault: Fault) -> bool:
    """Whether the server could not even be reached, so that nothing else needs to be tried meanwhile."""
    return mends(fault) and isinstance(fault, Unreachable | TimedOut)


def judge(fault: Fault, *, harmless: bool) -> Verdict:
    """Say whether a call that met this fault may be sent again."""
    if is_away(fault):
        return Verdict.AWAY
    if isinstance(fault, Refused) and not fault.may_have_run and fault.retry_after is not None:
        return Verdict.LATER
    if isinstance(fault, Interrupted) and not fault.may_have_run:
        return Verdict.LATER
    return Verdict.LATER if harmless and mends(fault) else Verdict.END


def pause(attempts: int, chance: float, asked: float | None = None, most: float = MOST_SECONDS) -> float:
    """Return the seconds before the next attempt, after so many: doubling, jittered, and never less than `asked`."""
    seconds = drawn(attempts - 1, chance, FIRST_SECONDS, most)
    return seconds if asked is None or asked <= seconds else asked + chance * min(SPREAD_SECONDS, asked / 10)


class Budget:
    """How many repetitions there may be: a share of what succeeds, and a reserve. A broken server gets no storm."""

    RESERVE = 50.0
    SHARE = 0.2

    def __init__(self) -> None:
        self._left = self.RESERVE

    def spend(self) -> bool:
        """Take one repetition out. Returns whether there was one."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def earn(self) -> None:
        """A call was answered."""
        self._left = min(self.RESERVE, self._left + self.SHARE)


_Fault = TypeVar("_Fault", bound=Fault)


def counted(fault: _Fault, attempts: int) -> _Fault:
    """Return the fault with how often the call was tried in its sentence, where trying again could have helped."""
    if attempts < 1 or (attempts == 1 and not mends(fault)):
        return fault
    told = fault.restated(f"{fault} (tried {_times(attempts)})")
    told.attempts = attempts
    return told


def held_too_long(cause: Fault, hold: str, tries: int, *, may_have_run: bool) -> Fault:
    """Return the fault for a call that was held for as long as it may be (`hold`, spelt) and not answered."""
    text = f"{cause} (the call was held for {hold}, --hold; the server was tried {_times(tries)})"
    told = cause.restated(text, may_have_run=may_have_run)
    told.attempts = tries
    return told


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"
