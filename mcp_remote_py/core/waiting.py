"""Waiting: what is done for the host while a server is away: it is greeted, what it asks for is answered from memory
or held for a while, and then answered with the cause.

When the server is tried again is `core.absence`'s; what is sent then, and in which order, the relay's. Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import retries
from mcp_remote_py.core.absence import Absence
from mcp_remote_py.core.calls import Calls, Pending
from mcp_remote_py.core.commands import Command, Drop
from mcp_remote_py.core.errors import Fault, SessionLost, TimedOut
from mcp_remote_py.core.gate import Gate
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.patience import spelled
from mcp_remote_py.core.reopening import Reopening
from mcp_remote_py.core.retries import Policy
from mcp_remote_py.core.session import INITIALIZE, Session
from mcp_remote_py.core.stand_in import StandIn


class Waiting:
    """See the module's text."""

    def __init__(
        self,
        policy: Policy,
        gate: Gate,
        calls: Calls,
        session: Session,
        stand_in: StandIn,
        absence: Absence,
        reopening: Reopening,
    ) -> None:
        self._policy = policy
        self._gate = gate
        self._calls = calls
        self._session = session
        self._stand_in = stand_in
        self._absence = absence
        self._reopening = reopening

    def helps(self, fault: Fault) -> bool:
        """Whether this trouble passes by itself, and we are to wait for that."""
        if self._policy.hold <= 0 or not retries.mends(fault):
            return False
        return self._policy.greet_after is not None or not self._calls.greeters()

    def begin(self, fault: Fault) -> list[Command]:
        """The server is away: hold what there is for a while, greet the host if it has not been, and try again."""
        self._absence.trouble = fault
        self._gate.wires.begin_again()
        commands: list[Command] = []
        for pending in self._calls.greeters():
            commands += self._greet(pending, fault)
            if pending.sent:
                commands.append(Drop(pending.message.key))  # it is over, or is given up
        rest = self._absence.rest(fault)  # first: whether a call is held depends on how long it is
        return commands + self._serve_held() + rest

    def begin_sign_in(self, fault: Fault) -> list[Command]:
        """Nothing goes on without a token: hold what there is until a person has signed in, and greet the host."""
        commands = self._absence.sign_in(fault)
        for held in self._calls.held:
            pending = self._calls.get(held.key) if held.kind is Kind.REQUEST else None
            if pending is not None and self._stand_in.empty_list(held) is None:
                commands += self._calls.disarm_hold(pending)
        for pending in self._calls.greeters():
            if self._policy.greet_after is not None:
                commands += self._greet(pending, fault)
                if pending.sent:
                    commands.append(Drop(pending.message.key))
            elif pending.sent:
                self._gate.unmark(pending.message.key)
                commands += self._calls.take_back(pending)
                self._calls.held.appendleft(pending.message)
        return commands + self._serve_held()

    def out_of_patience(self) -> list[Command]:
        """The server is silent for too long: the host is greeted, and the `initialize` on its way goes on as ours."""
        within = spelled(self._policy.greet_after or 0.0)
        silent = TimedOut(f"the server has not answered initialize within {within} (--greet-after)", hint="")
        self._absence.trouble = silent
        commands: list[Command] = []
        on_its_way: Key | None = None
        for one in self._calls.greeters():  # several, where the host lost patience before: the last one goes on
            commands += self._greet(one, silent)
            if one.sent:
                commands += [] if on_its_way is None else [Drop(on_its_way)]
                on_its_way = one.message.key
        if on_its_way is not None:
            commands += self._reopening.takes_over(on_its_way)
        return commands + self._serve_held()

    def hold(self, message: Message) -> list[Command]:
        """A message is held; if that is because the server is away, not for ever."""
        pending = self._calls.get(message.key) if message.kind is Kind.REQUEST else None
        is_gone = self._absence.trouble or self._gate.reopening or self._session.is_stale
        if pending is None or not is_gone:
            return []
        if message.method == INITIALIZE:
            return self._hold_greeting(pending)
        if self._absence.is_signing_in:
            return self._hold_for_person(pending)
        if self._absence.is_far and self._absence.trouble is not None:
            return self._not_held(pending, self._absence.trouble)
        return self._calls.arm_hold(pending)

    def hold_on(self) -> list[Command]:
        """What is held is held for the server now, no longer for a person."""
        return [command for held in list(self._calls.held) for command in self.hold(held)]

    def _hold_greeting(self, pending: Pending) -> list[Command]:
        """The host begins anew while the server is known to be away, and is to be left alone."""
        trouble = self._absence.trouble
        if not self._absence.is_resting or trouble is None:
            return []
        if self._policy.greet_after is not None:
            return self.begin_sign_in(trouble) if self._absence.is_signing_in else self.begin(trouble)
        return self._not_held(pending, trouble) if self._absence.is_far else []

    def _hold_for_person(self, pending: Pending) -> list[Command]:
        """A person signs in: calls wait for that, lists are empty after a while."""
        empty = self._stand_in.empty_list(pending.message)
        if empty is None:
            return []
        if self._policy.hold <= 0:
            return self._calls.answer_held(pending.message.key, empty)
        return self._calls.arm_hold(pending)

    def _not_held(self, pending: Pending, busy: Fault) -> list[Command]:
        """The server asked to be left alone for longer than the call may be held: say so at once."""
        key = pending.message.key
        empty = self._stand_in.empty_list(pending.message)
        if empty is not None:
            return self._calls.answer_held(key, empty)
        text = f"{busy} (not held: the pause that it asks for is longer than {spelled(self._policy.hold)}, --hold)"
        return self._calls.refuse_held(key, busy.restated(text, may_have_run=pending.may_have_run))

    def held_long_enough(self, key: Key, pending: Pending) -> list[Command]:
        """A call has been held for as long as it may be."""
        empty = self._stand_in.empty_list(pending.message)
        pending.held_out = True
        if pending.sent:
            return []
        if empty is not None:
            return self._calls.answer_held(key, empty)
        cause = self._absence.trouble or SessionLost("the server has opened no new session yet")
        return self._calls.fail_held(key, cause, self._absence.tries)

    def _greet(self, pending: Pending, fault: Fault) -> list[Command]:
        """Answer `initialize` in the server's place."""
        initialize = pending.message
        key = initialize.key
        self._gate.unmark(key)
        self._gate.greeting = None
        self._session.begin(initialize)
        answer, note = self._stand_in.greet(initialize, fault)
        self._session.greeted(answer)
        self._session.is_stale = True
        self._calls.finish(key)
        self._calls.let_go(initialize)
        return [note, *self._calls.answered(key, pending, answer)]

    def _serve_held(self) -> list[Command]:
        """Answer of what is held what can be answered without the server; the rest is not held for ever."""
        commands: list[Command] = []
        for held in list(self._calls.held):
            if held.kind is Kind.REQUEST:
                answer = self._stand_in.answer_to(held, is_away=True)
                commands += self.hold(held) if answer is None else self._calls.answer_held(held.key, answer)
        return commands
