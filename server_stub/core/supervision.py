"""Supervision: how a member's child fares, as a table. States and events in, the next state out. Pure.

One `Supervision` follows one place for a child: that of one session, or that which several sessions share. Where the
place is shared, the child is restarted in it; where it is a session's, its end is the end of the session, and the next
session is the next start. How many starts may go wrong is counted in a `Budget`: one for each shared place, and one
for all the sessions' own children of a member. `TABLE` is the machine itself, and docs/reference/supervision.md is
printed from it; what is not in it changes nothing.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple

from server_stub.core.vitals import State

FIRST_DELAY = 0.25
"""Seconds before the second start; each further one waits four times as long, and half of it up to once is chance."""
MOST_DELAY = 30.0
_GROWTH = 4.0


class Event(Enum):
    """What happens to a child."""

    WANTED = "wanted"
    ANSWERED = "initialize answered"
    NOT_STARTED = "did not start"
    """It could not be spawned, exited before it had answered `initialize`, or took too long over it."""
    MISSED = "ping missed"
    HEARD = "heard again"
    ENDED = "ended"
    """It exited, or was ended because it missed too many pings or broke a rule."""
    DUE = "delay over"
    UNWANTED = "unwanted"
    REVIVED = "reload or operator"


class Guard(Enum):
    """On what it depends where one event has several outcomes."""

    ALWAYS = ""
    FREE = "a start is allowed now"
    RESTS = "the next start waits for its delay"
    SPENT = "too many in the window"
    OVER = "nobody wants another"


class Row(NamedTuple):
    """One transition, and what comes with it, for people."""

    state: State
    event: Event
    guard: Guard
    to: State
    deed: str


_STOPPED, _STARTING, _READY = State.STOPPED, State.STARTING, State.READY
_DEGRADED, _COOLING, _FAILED = State.DEGRADED, State.COOLING, State.FAILED
_COUNTED = "counted; who waits is answered with the reason"
_LOST = "counted; open calls are answered at once"

TABLE: tuple[Row, ...] = (
    Row(_STOPPED, Event.WANTED, Guard.FREE, _STARTING, "a child is started"),
    Row(_STOPPED, Event.WANTED, Guard.RESTS, _COOLING, "who asks is held until the delay is over"),
    Row(_STOPPED, Event.WANTED, Guard.SPENT, _FAILED, "refused at once, with the reason"),
    Row(_STARTING, Event.ANSWERED, Guard.ALWAYS, _READY, "what waited is sent; pings begin"),
    Row(_STARTING, Event.NOT_STARTED, Guard.RESTS, _COOLING, _COUNTED),
    Row(_STARTING, Event.NOT_STARTED, Guard.SPENT, _FAILED, _COUNTED),
    Row(_STARTING, Event.NOT_STARTED, Guard.OVER, _STOPPED, _COUNTED),
    Row(_STARTING, Event.UNWANTED, Guard.ALWAYS, _STOPPED, "the child is ended"),
    Row(
        _READY, Event.MISSED, Guard.ALWAYS, _DEGRADED, "asked again; after the last ping that may be missed it is ended"
    ),
    Row(_READY, Event.ENDED, Guard.RESTS, _COOLING, _LOST),
    Row(_READY, Event.ENDED, Guard.SPENT, _FAILED, _LOST),
    Row(_READY, Event.ENDED, Guard.OVER, _STOPPED, "open calls are answered at once; its session ends"),
    Row(_READY, Event.UNWANTED, Guard.ALWAYS, _STOPPED, "the child is ended"),
    Row(_DEGRADED, Event.HEARD, Guard.ALWAYS, _READY, "what was missed is forgotten"),
    Row(_DEGRADED, Event.ENDED, Guard.RESTS, _COOLING, _LOST),
    Row(_DEGRADED, Event.ENDED, Guard.SPENT, _FAILED, _LOST),
    Row(_DEGRADED, Event.ENDED, Guard.OVER, _STOPPED, "open calls are answered at once; its session ends"),
    Row(_DEGRADED, Event.UNWANTED, Guard.ALWAYS, _STOPPED, "the child is ended"),
    Row(_COOLING, Event.DUE, Guard.ALWAYS, _STARTING, "a child is started"),
    Row(_COOLING, Event.UNWANTED, Guard.ALWAYS, _STOPPED, "no child is started"),
    Row(_COOLING, Event.REVIVED, Guard.ALWAYS, _STOPPED, "what was counted is forgotten; who wants it starts it"),
    Row(_FAILED, Event.REVIVED, Guard.ALWAYS, _STOPPED, "what was counted is forgotten; who wants it starts it"),
    Row(_FAILED, Event.DUE, Guard.ALWAYS, _STOPPED, "only where there is no operator to ask: see below"),
)
"""Every transition. An event that has no row in a state changes nothing there."""

_NEXT = {(row.state, row.event, row.guard): row.to for row in TABLE}


class Budget:
    """How many starts may go wrong in a window of time; and how long the next one waits.

    `most`: with so many in `window` seconds it is spent, until `forgive`. `passes`: it is so only until the window has
    moved on (where nobody is there who could say so).
    """

    def __init__(self, most: int, window: float, *, passes: bool = False) -> None:
        self._most = max(1, most)
        self._window = window
        self._passes = passes
        self._times: deque[float] = deque()
        self._spent = False
        self._free_at = 0.0
        self.in_a_row = 0
        """How many went wrong since the last that went well."""

    def count(self, now: float, roll: float, began: float | None = None) -> bool:
        """One went wrong; `roll` in [0, 1). Returns whether it counts.

        Of starts that ran side by side one counts: the trouble of one moment is one. `began`: when it was started.
        """
        if began is not None and self._times and began < self._times[-1]:
            return False
        self._forget_old(now)
        self._times.append(now)
        self.in_a_row += 1
        delay = min(MOST_DELAY, FIRST_DELAY * _GROWTH ** min(len(self._times) - 1, 10))
        self._free_at = now + delay * (0.5 + roll / 2)
        if len(self._times) >= self._most:
            self._spent = True
            if self._passes:
                self._free_at = self._times[0] + self._window
        return True

    def guard(self, now: float) -> Guard:
        """Say whether a start is allowed."""
        if self._spent and self._passes and now >= self._free_at:
            self._spent = False
        if self._spent:
            return Guard.SPENT
        return Guard.RESTS if now < self._free_at else Guard.FREE

    def rest(self, now: float) -> float:
        """Return the seconds until the next start is allowed, as far as time alone decides."""
        return max(0.0, self._free_at - now)

    def is_clean(self, now: float) -> bool:
        """Whether nothing is counted any more."""
        self._forget_old(now)
        return not self._times and not self._spent

    def went_well(self, *, clears: bool) -> None:
        """A start went well. `clears`: what went wrong before does not count any more."""
        self.in_a_row = 0
        if clears:
            self.forgive()

    def forgive(self) -> None:
        """Begin anew."""
        self._times.clear()
        self._spent, self._free_at, self.in_a_row = False, 0.0, 0

    def _forget_old(self, now: float) -> None:
        while self._times and self._times[0] <= now - self._window:
            self._times.popleft()


class Supervision:
    """One place for a child; see the module's text. `restarts`: whether another child follows one that ended."""

    def __init__(self, budget: Budget, *, restarts: bool) -> None:
        self.state = State.STOPPED
        self._budget = budget
        self._restarts = restarts
        self._began = 0.0

    def wanted(self, now: float) -> State:
        """Somebody needs the child."""
        return self._go(Event.WANTED, self._budget.guard(now), now)

    def due(self, now: float) -> State:
        """Time has passed."""
        if self.state is State.COOLING and self._budget.guard(now) is not Guard.FREE:
            return self.state
        if self.state is State.FAILED and self._budget.guard(now) is Guard.SPENT:
            return self.state
        return self._go(Event.DUE, Guard.ALWAYS, now)

    def answered(self, now: float) -> State:
        """The child has answered `initialize`. A session's own child that did clears what was counted."""
        if self.state is State.STARTING:
            self._budget.went_well(clears=not self._restarts)
        return self._go(Event.ANSWERED, Guard.ALWAYS, now)

    def missed(self) -> State:
        """It has not answered a ping in time."""
        return self._go(Event.MISSED, Guard.ALWAYS)

    def heard(self) -> State:
        """It has said something."""
        return self._go(Event.HEARD, Guard.ALWAYS)

    def ended(self, now: float, roll: float, *, wanted: bool) -> State:
        """It is gone, and nobody here had asked for that; `wanted`: whether somebody needs another. Counts.

        An end before `initialize` was answered is a start that failed.
        """
        early = self.state is State.STARTING
        if early or (self._restarts and self.state in (State.READY, State.DEGRADED)):
            self._budget.count(now, roll, self._began if early and not self._restarts else None)
        guard = self._budget.guard(now)
        if guard is not Guard.SPENT or not self._restarts:
            guard = Guard.RESTS if wanted and self._restarts else Guard.OVER
        return self._go(Event.NOT_STARTED if early else Event.ENDED, guard, now)

    def unwanted(self) -> State:
        """Nobody needs it any more, and it is ended, or was ended on purpose."""
        return self._go(Event.UNWANTED, Guard.ALWAYS)

    def revived(self) -> State:
        """A reload, or an operator, says that it may start again."""
        self._budget.forgive()
        return self._go(Event.REVIVED, Guard.ALWAYS)

    def _go(self, event: Event, guard: Guard, now: float | None = None) -> State:
        before = self.state
        self.state = _NEXT.get((before, event, guard), before)
        if self.state is State.STARTING and before is not State.STARTING and now is not None:
            self._began = now
        return self.state


_WORST_FIRST = (State.FAILED, State.COOLING, State.DEGRADED, State.STARTING, State.READY)


def together(states: list[State]) -> State:
    """Return the state of a member from those of its places.

    One that serves beside one that does not is DEGRADED; otherwise the worst counts.
    """
    busy = [state for state in states if state is not State.STOPPED]
    if not busy:
        return State.STOPPED
    worst = min(busy, key=_WORST_FIRST.index)
    serves = any(state in (State.READY, State.DEGRADED) for state in busy)
    return State.DEGRADED if serves and worst in (State.FAILED, State.COOLING) else worst
