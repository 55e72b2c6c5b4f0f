"""Vigil: when to ask on a pipe whether the other side is still there.

It is asked only when nothing has been heard for a while, so that a pipe with traffic costs nothing, and what lies in
between (address translation, load balancers) does not forget a silent one. Silence after a question ends nothing: many
servers answer nothing while a tool runs. It is a line in the log, and TCP goes on trying. Pure: times in, deeds out.
"""

from __future__ import annotations

from enum import Enum

LOOK_SECONDS = 15.0
"""How often to look, so that looks and answers together wake an idle bridge up no more than once in ten seconds."""
QUIET_SECONDS = 25.0
"""Silence that is worth a question. With looks every 15 s it is asked after 40 s at most, before common limits."""


class Deed(Enum):
    """What is to be done at a look."""

    NOTHING = "nothing"
    ASK = "ask"
    COMPLAIN = "complain"
    """Ask again, and say that the last question was not answered."""


class Vigil:
    """One pipe. `now` is in seconds, on a clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._quiet_since = now
        self._asked = False
        self._complained = False

    def heard(self, now: float) -> None:
        """Anything came in."""
        self._quiet_since = now
        self._asked = self._complained = False

    def asked(self, now: float) -> None:
        """A question went out for another reason."""
        self._quiet_since = now
        self._asked = True

    def look(self, now: float) -> Deed:
        """Say what is to be done now."""
        if now - self._quiet_since < QUIET_SECONDS:
            return Deed.NOTHING
        unanswered, self._asked, self._quiet_since = self._asked, True, now
        if not unanswered or self._complained:
            return Deed.ASK
        self._complained = True
        return Deed.COMPLAIN
