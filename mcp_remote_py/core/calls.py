"""Calls: the host's open requests, those of them that wait to be sent, their timers, and how each is answered.

Here lives what belongs to one request: whether it was sent, how often it was tried, the batch that it is a part of.
When it is sent, and what is done about trouble, the relay decides. Source: JSON-RPC 2.0, section 6 (batches). Pure.
"""

from __future__ import annotations

from collections import deque

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import retries
from mcp_remote_py.core.commands import Arm, Command, Disarm, Note, Timer, ToClient
from mcp_remote_py.core.errors import Fault, as_error
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.message import Key, Message
from mcp_remote_py.core.patience import Clocks, Patience, spelled
from mcp_remote_py.core.session import INITIALIZE

CANCELLED = "notifications/cancelled"
GREET, HOLD, AGAIN, LINGER = "greet", "hold", "again", "linger"
"""The purposes of the timers of a call: answer `initialize` in the server's place; it has been held for long enough;
send it again; it was cancelled, and no late answer is waited for any more."""


class Gathering:
    """A batch of the host: how many answers are still to come, and those that are there."""

    def __init__(self, missing: int, *, as_array: bool) -> None:
        self._missing = missing
        self._as_array = as_array
        self._answers: list[Message] = []

    def add(self, answer: Message) -> list[Command]:
        """One of its requests is answered."""
        self._missing -= 1
        if not self._as_array:
            return [ToClient(answer.raw)]
        self._answers.append(answer)
        return self._array()

    def leave_out(self) -> list[Command]:
        """One of its requests will not be answered: the others must not wait for it."""
        self._missing -= 1
        return self._array()

    def _array(self) -> list[Command]:
        if self._missing or not self._answers or not self._as_array:
            return []
        return [ToClient(msg.join(self._answers))]


class Pending:
    """One open request of the host."""

    def __init__(self, message: Message, gathering: Gathering | None) -> None:
        self.message = message
        self.gathering = gathering
        self.sent = False
        self.written = False
        """Whether all of it has gone out; `sent` says only that it was handed to the link."""
        self.cancelled = False
        self.resent = False
        self.asked_for: set[int] = set()
        """For which statuses it has waited for a sign-in."""
        self.attempts = 0
        self.waited = 0.0
        """Seconds of pauses between attempts, so far."""
        self.held_out = False
        """It has been held for as long as it may be."""
        self.may_have_run = False
        """An earlier attempt may have; only what is harmless is sent again then."""
        self.timers: set[str] = set()
        """The purposes of the timers of ours that are armed for it."""
        self.session = 0
        """The session it was sent in, by number."""

    def hand_out(self, answer: Message) -> list[Command]:
        """Give the host this answer: by itself, or as a part of its batch."""
        if self.gathering is None or self.cancelled:
            return [ToClient(answer.raw)]
        return self.gathering.add(answer)


class Calls(InFlight[Pending]):
    """The open requests by key. `hold` is how many seconds a call may be held for a server that is away."""

    def __init__(self, patience: Patience, hold: float) -> None:
        super().__init__()
        self.clocks = Clocks(patience)
        self.held: deque[Message] = deque()
        """What waits for the way to be free, in order: requests, and notifications among them."""
        self._hold = hold

    # --- What can be asked -------------------------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Whether nobody waits for an answer and nothing is held back."""
        return not self.held and all(pending.cancelled for pending in self._open.values())

    def on_their_way(self) -> list[Pending]:
        """Those that were handed to the link, oldest first."""
        return [pending for pending in self._open.values() if pending.sent]

    def listed(self) -> list[tuple[Key, str, bool]]:
        """Key and method of each, and whether it was handed to the link."""
        return [(key, pending.message.method or "", pending.sent) for key, pending in self._open.items()]

    def greeters(self) -> list[Pending]:
        """The `initialize` that the host waits for; there may be several, of a host that lost patience."""
        everyone = self._open.values()
        return [one for one in everyone if one.message.method == INITIALIZE and not one.cancelled]

    def holds_greeting(self) -> bool:
        """Whether an `initialize` of the host waits to be sent."""
        return any(held.method == INITIALIZE for held in self.held)

    # --- The life of a call ------------------------------------------------------------------------------------

    def let_go(self, message: Message) -> None:
        """It is not held any more; nothing happens where it was not."""
        for at, held in enumerate(self.held):
            if held is message:
                del self.held[at]
                return

    def take_back(self, pending: Pending) -> list[Command]:
        """What was sent did not run, and will be sent again."""
        pending.sent = pending.written = False
        return self.clocks.held_again(pending.message.key)

    def answered(self, key: Key, pending: Pending, answer: Message) -> list[Command]:
        """It is finished, with this answer."""
        commands = self.clocks.ended(key)
        if pending.timers:
            commands += self.disarm(pending)
        if pending.cancelled:
            commands.append(Disarm(Timer(LINGER, key)))
        return commands + pending.hand_out(answer)

    def answer_held(self, key: Key, answer: Message) -> list[Command]:
        """It needs not be sent: here is its answer."""
        pending = self.finish(key)
        if pending is None:
            return []
        self.let_go(pending.message)
        return self.answered(key, pending, answer)

    def unanswered(self, key: Key, pending: Pending) -> list[Command]:
        """The host wants no answer to it any more."""
        commands = self.clocks.ended(key) + self.disarm(pending)
        return commands if pending.gathering is None else commands + pending.gathering.leave_out()

    def fail(self, key: Key, fault: Fault) -> list[Command]:
        """Finish it with a fault; a cancelled one just ends."""
        pending = self.finish(key)
        if pending is None:
            return []
        if pending.cancelled:
            return [Disarm(Timer(LINGER, key))]
        if pending.may_have_run:
            fault = fault.restated(may_have_run=True)
        elif not pending.sent:
            fault = before_sending(fault)
        if self._hold > 0:
            fault = retries.counted(fault, pending.attempts)
        failed = Note("warning", f"{pending.message.method} {key} failed: {fault.in_full}")
        return [failed, *self.answered(key, pending, as_error(fault, pending.message.id))]

    def fail_held(self, key: Key, cause: Fault, tries: int) -> list[Command]:
        """It has been held for as long as it may be, in so many attempts to reach the server."""
        pending = self.get(key)
        if pending is None:
            return []
        attempts = max(1, tries, pending.attempts)
        fault = retries.held_too_long(cause, spelled(self._hold), attempts, may_have_run=pending.may_have_run)
        return self.refuse_held(key, fault)

    def refuse_held(self, key: Key, fault: Fault) -> list[Command]:
        """It is not held any longer: here is why."""
        pending = self.finish(key)
        if pending is None:
            return []
        self.let_go(pending.message)
        note = Note("warning", f"{pending.message.method} {key} failed: {fault}")
        return [note, *self.answered(key, pending, as_error(fault, pending.message.id))]

    # --- Timers ------------------------------------------------------------------------------------------------

    def arm(self, purpose: str, pending: Pending, seconds: float) -> list[Command]:
        """Ring for this call, so many seconds from now."""
        pending.timers.add(purpose)
        return [Arm(Timer(purpose, pending.message.key), seconds)]

    def arm_hold(self, pending: Pending) -> list[Command]:
        """It is held for a server that is away, but not for ever."""
        if self._hold <= 0 or HOLD in pending.timers:
            return []
        return self.arm(HOLD, pending, max(0.0, self._hold - pending.waited))

    def disarm_hold(self, pending: Pending) -> list[Command]:
        """It may be held for as long as it takes."""
        if HOLD not in pending.timers:
            return []
        pending.timers.discard(HOLD)
        return [Disarm(Timer(HOLD, pending.message.key))]

    def disarm(self, pending: Pending) -> list[Command]:
        """Forget all its timers."""
        commands: list[Command] = [Disarm(Timer(purpose, pending.message.key)) for purpose in sorted(pending.timers)]
        pending.timers.clear()
        return commands


def before_sending(fault: Fault) -> Fault:
    """Return the same trouble for a request that it kept from being sent: that one cannot have run."""
    if not fault.may_have_run:
        return fault
    hint = "It was not sent: it is safe to try again." if fault.hint == fault.default_hint else fault.hint
    return fault.restated(hint=hint, may_have_run=False)
