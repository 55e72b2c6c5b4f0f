"""Absence: a server that is away: why, how often it was tried, and the rest before the next attempt.

Without trouble there is no absence. While there is a *rest* nothing is sent; it ends by its timer, by somebody who
waits, or by a sign that the server is there. Pure: chance comes from outside.
"""

from __future__ import annotations

from collections.abc import Callable

from mcp_remote_py.core import retries
from mcp_remote_py.core.commands import Arm, Command, Disarm, Note, Timer
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import key_of

RETURN = "return"
"""The purpose of the timer that ends a rest."""
_TIMER = Timer(RETURN, key_of(""))
_SHORT_REST_SECONDS = 1.0
"""A longer one is ended by a message from the host: somebody waits."""


class Absence:
    """See the module's text."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self.trouble: Fault | None = None
        """Why the server is away; None while it is there, as far as is known."""
        self.tries = 0
        self.is_resting = False
        self._rest = 0.0

    def rest(self, fault: Fault) -> list[Command]:
        """Try again after a pause, unless one has begun already."""
        self.trouble = fault
        if self.is_resting:
            return []
        self.tries += 1
        most = retries.MOST_AWAY_SECONDS if self.tries > 1 else retries.MOST_SECONDS
        self.is_resting = True
        self._rest = retries.pause(self.tries, self._chance(), fault.retry_after, most)
        level = "warning" if self.tries == 1 else "debug"
        note = Note(level, f"the server is away: {fault}; next attempt in {self._rest:.1f} s")
        return [note, Arm(_TIMER, self._rest)]

    def rested(self) -> bool:
        """The pause is over. Returns whether there was one."""
        was_resting, self.is_resting = self.is_resting, False
        return was_resting

    def cut_short(self, *, urgent: bool) -> list[Command]:
        """Somebody waits: do not rest for long. `urgent`: not at all, not even where the server asked for it."""
        if not self.is_resting:
            return []
        asked = self.trouble is not None and self.trouble.retry_after is not None
        if not urgent and (asked or self._rest <= _SHORT_REST_SECONDS):
            return []
        self.is_resting = False
        return [Disarm(_TIMER)]

    def is_over(self) -> list[Command]:
        """There was a sign that the server is there. Nothing happens where it was not away."""
        if self.trouble is None:
            return []
        return [Note("info", "the server is there"), *self.forget()]

    def forget(self) -> list[Command]:
        """Nobody waits for it any more."""
        self.trouble, self.tries = None, 0
        return [Disarm(_TIMER)] if self.rested() else []
