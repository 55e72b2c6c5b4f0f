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

RETURN, NEAR = "return", "near"
"""The purposes of timers: a rest is over; its end is so near that it is worth while to hold a call."""
_TIMER = Timer(RETURN, key_of(""))
_NEAR_TIMER = Timer(NEAR, key_of(""))
_SHORT_REST_SECONDS = 1.0
"""A longer one is ended by a message from the host: somebody waits."""


class Absence:
    """See the module's text. `hold` is how many seconds a call may be held."""

    def __init__(self, chance: Callable[[], float], hold: float) -> None:
        self._chance = chance
        self._hold = hold
        self.trouble: Fault | None = None
        """Why the server is away; None while it is there, as far as is known."""
        self.tries = 0
        self.is_resting = False
        self.is_far = False
        """The server asked for a rest, and more of it is left than a call may be held."""
        self.is_signing_in = False
        """The rest lasts until a person has signed in."""
        self._rest = 0.0
        self._was_asked = False

    def rest(self, fault: Fault) -> list[Command]:
        """Try again after a pause, unless one has begun already that is long enough."""
        self.trouble = fault
        if self.is_signing_in:
            return []
        if self.is_resting and (fault.retry_after is None or fault.retry_after <= self._rest):
            return []
        self.tries += 1
        most = retries.MOST_AWAY_SECONDS if self.tries > 1 else retries.MOST_SECONDS
        self.is_resting = True
        self._rest = retries.pause(self.tries, self._chance(), fault.retry_after, most)
        level = "warning" if self.tries == 1 else "debug"
        note = Note(level, f"the server is away: {fault}; next attempt in {self._rest:.1f} s")
        self._was_asked = fault.retry_after is not None
        commands: list[Command] = [note, *self._is_not_far(), Arm(_TIMER, self._rest)]
        if self._was_asked and self._rest > self._hold:
            self.is_far = True
            commands.append(Arm(_NEAR_TIMER, self._rest - self._hold))
        return commands

    def sign_in(self, fault: Fault) -> list[Command]:
        """Rest until a person has signed in."""
        self.trouble = fault
        has_timer = self.is_resting and not self.is_signing_in
        commands = [*self._is_not_far(), Disarm(_TIMER)] if has_timer else []
        self.is_resting = self.is_signing_in = True
        return commands

    def is_near(self) -> None:
        """Less of the rest is left than a call may be held."""
        self.is_far = False

    def rested(self) -> bool:
        """The pause is over. Returns whether there was one, and no person is waited for."""
        if self.is_signing_in:
            return False
        was_resting, self.is_resting, self.is_far = self.is_resting, False, False
        return was_resting

    def cut_short(self, *, urgent: bool) -> list[Command]:
        """Somebody waits: do not rest for long. `urgent`: not at all. A rest that the server asked for is kept."""
        if not self.is_resting or self.is_signing_in or self._was_asked:
            return []
        if not urgent and self._rest <= _SHORT_REST_SECONDS:
            return []
        self.is_resting = False
        return [*self._is_not_far(), Disarm(_TIMER)]

    def is_over(self) -> list[Command]:
        """There was a sign that the server is there. Nothing happens where it was not away."""
        if self.trouble is None or self.is_signing_in:
            return []
        return [Note("info", "the server is there"), *self.forget()]

    def forget(self) -> list[Command]:
        """Nobody waits for it any more."""
        has_timer = self.is_resting and not self.is_signing_in
        self.trouble, self.tries, self.is_signing_in = None, 0, False
        near = self._is_not_far()
        self.rested()
        return [*near, Disarm(_TIMER)] if has_timer else near

    def _is_not_far(self) -> list[Command]:
        was_far, self.is_far = self.is_far, False
        return [Disarm(_NEAR_TIMER)] if was_far else []
