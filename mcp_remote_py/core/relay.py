"""Relay: routes messages between a host and a server, holds them while the way is not ready, answers when it breaks.

Events are method calls; what the relay wants done comes back as a list of commands. It never awaits, logs or sleeps,
and it never raises for a peer's fault. The promise it keeps: every request id of the host ends in exactly one answer
(none if the host cancelled it), whatever dies.

The way to the server:

    IDLE ── first message ──▶ DIALING ── link_up ──▶ UP
      ▲                          │ link_failed: the other wire, or the held requests are answered
      └────── link_down ─────────┴──────────── the open requests are answered; the next message dials again

While UP, three things hold messages back, each for a reason of the protocol: the *probe* (the first request over HTTP:
its answer decides the wire), the *greeting* (nothing may follow `initialize` before its answer is read) and the
*reopening* of a session that the server lost (its `initialize` is repeated under a private id).

While the server is *away* (`core.retries` says which trouble passes by itself) messages are held, too: it is tried
again after a pause, with one message first. A host that is still waiting for `initialize` is answered in the server's
place (`core.greeting`), and the session is opened as one that was lost is. Without a `Policy` none of this happens.
"""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.absence import NEAR, RETURN, Absence
from mcp_remote_py.core.calls import AGAIN, CANCELLED, GREET, HOLD, LINGER, Calls, Gathering, Pending, before_sending
from mcp_remote_py.core.commands import Arm, Command, Disarm, Drop, Keep, Listen, Note, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import Asked, Fault, Interrupted, SessionLost, ShuttingDown, TimedOut, TooLarge, as_error
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.gate import Gate, Way
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.memory import Document, Memory
from mcp_remote_py.core.message import Batch, Invalid, Key, Kind, Message, key_of
from mcp_remote_py.core.patience import Patience
from mcp_remote_py.core.probing import Wires
from mcp_remote_py.core.pulse import PING
from mcp_remote_py.core.reopening import SILENT, Reopening
from mcp_remote_py.core.repeats import Repeats
from mcp_remote_py.core.retries import Policy, Verdict
from mcp_remote_py.core.session import INITIALIZE, INITIALIZED, Session
from mcp_remote_py.core.signing_in import NO_TOKEN, SigningIn
from mcp_remote_py.core.stand_in import StandIn
from mcp_remote_py.core.waiting import Waiting

LINGER_SECONDS = 5.0
"""How long a cancelled exchange may still bring a late answer before its stream is closed."""
_NO_LIMITS = Patience()
_NO_POLICY = Policy()


class Snapshot(NamedTuple):
    """What the relay is doing, for logs."""

    way: str
    wire: str
    revision: str | None
    in_flight: int
    held: int


class Relay:
    """See the module's text. `private_id` must be unguessable; it names our own requests to the server."""

    def __init__(
        self,
        strategy: str = "http-first",
        *,
        private_id: str,
        patience: Patience = _NO_LIMITS,
        in_flight_limit: int = 1000,
        message_limit: int = 64 * 1024 * 1024,
        policy: Policy = _NO_POLICY,
    ) -> None:
        self._policy = policy
        self._in_flight_limit = in_flight_limit
        self._message_limit = message_limit
        self._wires = Wires(strategy)
        self._gate = Gate(self._wires)
        self._memory = memory = Memory()
        self._calls = calls = Calls(patience, policy.hold)
        self._clocks, self._held = calls.clocks, calls.held
        self._session = session = Session(private_id, memory, patience.ping)
        self._pulse = session.pulse
        self._absence = Absence(policy.chance, policy.hold)
        self._stand_in = StandIn(memory, policy)
        self._repeats = Repeats(policy, memory)
        self._reopening = Reopening(self._gate, session, calls, self._stand_in, tries_anew=policy.hold > 0)
        self._waiting = Waiting(policy, self._gate, calls, session, self._stand_in, self._absence, self._reopening)
        self._signing_in = SigningIn(calls, session, self._stand_in)
        self._was_reopened_unasked = False

    # --- What can be asked -------------------------------------------------------------------------------------

    @property
    def wire(self) -> str:
        """The wire in use, or to be tried next."""
        return self._wires.name

    @property
    def settled(self) -> bool:
        """Whether the wire has been decided."""
        return self._wires.is_settled

    @property
    def is_quiet(self) -> bool:
        """Whether nobody waits for an answer and nothing is held back."""
        return self._calls.is_quiet

    @property
    def to_keep(self) -> Document | None:
        """What is remembered of the server, as plain JSON."""
        return self._memory.to_document()

    def recall(self, document: Document) -> None:
        """Take in what an earlier process remembered. Raises `ValueError` where it cannot be understood."""
        self._memory.recall(document)

    def open_requests(self) -> list[tuple[Key, str, bool]]:
        """The host's requests that are not answered yet: key, method, and whether each has been handed to the link."""
        return self._calls.listed()

    def snapshot(self) -> Snapshot:
        return Snapshot(self._gate.way.value, self.wire, self._session.revision, len(self._calls), len(self._held))

    # --- Events from the client --------------------------------------------------------------------------------

    def from_client(self, message: Message | Batch) -> list[Command]:
        """A message arrived from the host."""
        self._was_reopened_unasked = False
        if isinstance(message, Batch):
            commands = self._batch(message)
        elif message.kind is Kind.REQUEST:
            commands = self._request(message, None)
        elif message.kind is Kind.NOTIFICATION:
            commands = self._notification(message)
        else:
            commands = self._answer_of_client(message)
        return commands + self._pulse.said()

    def invalid(self, fault: Invalid) -> list[Command]:
        """A line from the host was no message."""
        note = Note("warning", f"a line from the host is no JSON-RPC message: {fault.reason}")
        if fault.answerable:
            return [note, ToClient(msg.error(fault.identifier, fault.code, fault.reason).raw)]
        if fault.identifier is None:
            return [note]
        error = msg.error(fault.identifier, -32603, "the client's answer was not a valid JSON-RPC message")
        return [note, *self._answer_badly(error)]

    def oversize(self, line: Oversize) -> list[Command]:
        """A line from the host was over the limit."""
        identifier, is_answer = msg.id_in_fragment(line.head, line.tail)
        fault = TooLarge(f"the message has {line.size} bytes, the limit is {self._message_limit}")
        error = as_error(fault, identifier)
        answer = self._answer_badly(error) if is_answer and identifier is not None else []
        return [Note("warning", str(fault)), *(answer or [ToClient(error.raw)])]

    def stop(self, reason: str) -> list[Command]:
        """We are leaving: answer whoever still waits. No event may follow."""
        commands: list[Command] = []
        self._held.clear()
        trouble = self._absence.trouble
        for key, pending in self._calls.drain():
            if pending.cancelled:
                continue  # the host does not wait for it any more
            may_have_run = pending.sent or pending.may_have_run
            why = "" if pending.sent or trouble is None else f"; until now {trouble}"
            fault = ShuttingDown(f"the bridge is shutting down: {reason}{why}", may_have_run=may_have_run)
            commands += self._calls.answered(key, pending, as_error(fault, pending.message.id))
        return commands + self._pulse.stop()

    # --- Events from the way to the server ---------------------------------------------------------------------

    def link_up(self, traits: Traits) -> list[Command]:
        """The link that was dialled is open."""
        self._gate.opened(traits)
        commands = self._go_on()
        if (self._stand_in.is_made_up or self._absence.trouble is not None) and self._is_free_to_reopen():
            commands += (
                self._reopening.begin()
            )  # also if nobody waits: what is answered in its place must come to an end
        return commands

    def link_failed(self, fault: Fault) -> list[Command]:
        """The link that was dialled could not be opened."""
        if not self._wires.is_settled:
            if self._wires.are_wrong(fault) and self._wires.turn(fault):
                return [self._gate.dial()]
            fault = self._wires.to_report(fault)
        self._gate.way = Way.IDLE
        asked = self._signing_in.wanted(fault) if self._somebody_waits() else None
        if asked is not None:
            return self._sign_in(asked, fault)
        if self._waiting.helps(fault):
            return self._waiting.begin(fault)
        return self._finally(fault)

    def link_down(self, fault: Fault) -> list[Command]:
        """A shared pipe broke: its session is gone, and with it whatever was on the way."""
        if self._gate.way is not Way.UP:
            return [Note("debug", f"a connection that is not in use any more was lost: {fault}")]
        self._gate.way, self._gate.trial = Way.IDLE, None
        self._session.is_stale = self._session.is_greeted
        commands: list[Command] = [Note("warning", f"the connection was lost: {fault}")]
        commands += self._reopening.leave_session() + self._reopening.end()
        commands += self._take_off_pipe(fault)
        if self._absence.is_signing_in:
            return commands  # it is dialled when that is over
        asked = self._signing_in.wanted(fault) if self._somebody_waits() else None
        if asked is not None:
            return commands + self._sign_in(asked, fault)
        if self._session.is_greeted and self._waiting.helps(fault):
            return commands + self._waiting.begin(fault)
        return commands + self._finally(fault)

    def listen_over(self, fault: Fault | None) -> list[Command]:
        """The standing stream ended. On a shared pipe that is the connection; over HTTP it is optional."""
        if not self._gate.has_streams:
            return self.link_down(fault or Interrupted("the server closed the connection"))
        if isinstance(fault, SessionLost) and self._policy.hold > 0 and self._session.is_greeted:
            return self._stream_lost_session()
        if fault is not None:
            self._signing_in.stream_refused(fault)
            return [Note("warning", f"no stream for what the server says on its own: {fault}")]
        return [Note("debug", "the server offers no stream for what it says on its own")]

    def from_server(self, message: Message, exchange: Key | None) -> list[Command]:
        """The server said something: on the stream of that exchange, or on its own."""
        commands: list[Command] = []
        if exchange is not None and exchange == self._gate.probe:
            self._gate.settle()
        if self._gate.trial is not None and (exchange == self._gate.trial or not self._gate.has_streams):
            commands += self._is_there()
        if message.is_answer:
            commands += self._answer_of_server(message, exchange)
        else:
            if message.kind is Kind.REQUEST:
                self._session.asked.begin(message.key, message)
            commands.append(ToClient(message.raw))
            commands += self._clocks.spoke(message, exchange, shared=not self._gate.has_streams)
        return commands + self._pulse.said() + self._go_on()

    def written(self, exchange: Key) -> list[Command]:
        """The whole of this request has gone out."""
        pending = self._calls.get(exchange)
        if pending is not None:
            pending.written = True
        commands = self._clocks.written(exchange)
        return commands + self._is_there() + self._go_on() if exchange == self._gate.trial else commands

    def heard(self, exchange: Key) -> list[Command]:
        """There is a sign of life on the stream of this exchange: its head, or a piece of its body."""
        pending = self._calls.get(exchange)
        if pending is not None:
            pending.written = True  # a server may begin to answer before it has read everything
        return self._clocks.heard(exchange)

    def exchange_over(self, exchange: Key, fault: Fault | None) -> list[Command]:
        """Nothing more will come for this exchange. Whoever still waits for it is answered."""
        if exchange == self._gate.reopening:
            return self._reopening_over(fault)
        if exchange == self._pulse.open:
            return self._ping_failed(fault)
        if exchange in self._session.errands:
            return self._session.errands.failed(exchange, fault)
        pending = self._calls.get(exchange)
        if pending is None or not pending.sent:
            return self._go_on()  # not waited for any more; or an earlier attempt at it, which was taken back
        if exchange == self._gate.trial:
            self._gate.trial = None
        if exchange == self._gate.probe:
            self._gate.probe = None
            if fault is not None and self._wires.are_wrong(fault):
                return self._try_next_wire(pending, fault)
        if isinstance(fault, SessionLost) and self._may_reopen(pending):
            return self._send_again(pending, fault)
        fault = fault or Interrupted("the server ended the stream without an answer")
        asked = self._signing_in.wanted(fault, pending)
        if asked is not None:
            return self._sign_in_for(pending, asked, fault)
        fault = self._signing_in.in_vain(fault, pending)
        if exchange == self._gate.greeting:
            if self._waiting.helps(fault):
                return self._waiting.begin(fault)
            return self._end(exchange, fault) + self._finally(fault)
        again = self._try_again(exchange, pending, fault)
        return self._end(exchange, fault) + self._go_on() if again is None else again

    def told(self, message: Message, fault: Fault | None) -> list[Command]:
        """A notification or an answer of the host has arrived at the server, or not."""
        if fault is None:
            return []
        what = message.method or "an answer"
        if message.method == INITIALIZED and self._policy.hold > 0 and self._gate.reopening is None:
            self._session.is_stale = self._session.is_greeted  # it never began: the next message opens another
        return [Note("warning", f"{what} did not reach the server: {fault}")]

    def timer(self, name: Timer) -> list[Command]:
        """What was armed has rung."""
        if name.purpose == PING:
            return self._pulse.due(self._session.next_private_id())
        if name.purpose == RETURN:
            return self._return()
        if name.purpose == NEAR:
            self._absence.is_near()
            return []
        if name.purpose == SILENT:
            return self._reopening_silent(name.exchange)
        pending = self._calls.get(name.exchange)
        if name.purpose in (GREET, HOLD, AGAIN):
            return [] if pending is None else self._rung(name, pending)
        if name.purpose == LINGER:
            if pending is None or not pending.cancelled:
                return []  # the id has been used again since
            self._calls.finish(name.exchange)
            self._gate.unmark(name.exchange)
            return [Drop(name.exchange), *self._go_on()]
        fault = self._clocks.rung(name)
        if fault is None:
            return []
        if name.exchange == self._gate.reopening:
            return self._reopening_timed_out(name.exchange, fault)
        return [] if pending is None else self._time_out(name.exchange, pending, fault)

    # --- The host's messages -----------------------------------------------------------------------------------

    def _batch(self, batch: Batch) -> list[Command]:
        asked = sum(1 for item in batch.items if isinstance(item, Invalid) or item.kind is Kind.REQUEST)
        gathering = Gathering(asked, as_array=versions.allows_batches(self._session.revision))
        commands: list[Command] = []
        for item in batch.items:
            if isinstance(item, Invalid):
                commands += gathering.add(msg.error(item.identifier, item.code, item.reason))
            elif item.kind is not Kind.REQUEST:
                commands += self.from_client(item)
            elif item.method == INITIALIZE:
                text = "initialize must not be part of a batch"
                commands += gathering.add(msg.error(item.id, -32600, text))
            else:
                commands += self._request(item, gathering)
        return commands

    def _request(self, message: Message, gathering: Gathering | None) -> list[Command]:
        key = message.key
        commands: list[Command] = []
        pending = Pending(message, gathering)
        if key in self._calls:
            commands += self._abandon(key)  # also at the limit: the id must not be answered for both of them
        if len(self._calls) >= self._in_flight_limit:
            fault = TooLarge(
                f"{len(self._calls)} requests are waiting already, which is the limit",
                hint="Raise --max-in-flight, or send fewer calls at once.",
                may_have_run=False,
            )
            return pending.hand_out(as_error(fault, message.id))
        if key == self._gate.reopening:  # its id was the host's once, before we answered in the server's place
            commands += [Drop(key), *self._reopening.failed()]
        self._calls.begin(key, pending)
        commands += self._clocks.arrived(message)
        if message.method == INITIALIZE:
            if self._policy.greet_after is not None and self._policy.hold > 0:
                commands += self._calls.arm(GREET, pending, self._policy.greet_after)
            if self._gate.greeting is not None:
                self._held.appendleft(message)  # the host starts anew: it must not wait for a greeting it gave up
                return commands + self._go_on()
        return commands + self._route(message)

    def _notification(self, message: Message) -> list[Command]:
        if message.method == CANCELLED:
            return self._cancel(message)
        commands: list[Command] = []
        if message.method == INITIALIZED:
            commands = self._stand_in.host_ready()
            if self._stand_in.has_stood_in:
                self._session.initialized = message  # the server hears it, or has heard it, when it is there
                return commands
        return commands + self._route(message)

    def _answer_of_client(self, message: Message) -> list[Command]:
        if message.id is None or self._session.asked.finish(message.key) is None:
            return [Note("debug", f"the host answered {message.id!r}, which the server did not ask")]
        if self._gate.way is not Way.UP:
            return [Note("warning", "an answer of the host has nowhere to go: there is no connection")]
        return [ToServer(message, urgent=True), *self._clocks.answered(message.key)]

    def _answer_badly(self, error: Message) -> list[Command]:
        """The host's answer is of no use: the server must not wait for it. Nothing is done where it did not ask."""
        if self._session.asked.finish(error.key) is None:
            return []
        return [ToServer(error, urgent=True), *self._clocks.answered(error.key)]

    def _cancel(self, message: Message) -> list[Command]:
        target = message.params.get("requestId")
        if isinstance(target, bool) or not isinstance(target, str | int | float):
            return self._route(message)
        key = key_of(target)
        pending = self._calls.get(key)
        if pending is None:
            late = Note("debug", f"the host cancelled {key}, which has timed out")
            return [late] if self._clocks.ran_out(key) else self._route(message)
        if pending.cancelled:
            return [Note("debug", f"the host cancelled {key} twice")]
        if key == self._gate.greeting:
            return [Note("warning", "the host cancelled initialize, which the protocol does not allow: ignored")]
        if not pending.sent:
            self._calls.let_go(pending.message)
            self._calls.finish(key)
            return self._calls.unanswered(key, pending)
        pending.cancelled = True
        self._gate.unmark(key)  # nobody else has to wait for an answer that may never come
        commands = self._calls.unanswered(key, pending)
        commands += [ToServer(message, urgent=True), Arm(Timer(LINGER, key), LINGER_SECONDS)]
        return commands + self._go_on()

    def _abandon(self, key: Key) -> list[Command]:
        """The host used the id of an open request again: the older one gives way, the id gets one answer."""
        older = self._calls.finish(key)
        if older is None:
            return []
        commands: list[Command] = [Note("warning", f"the host used the id {key} twice; the older request gives way")]
        if older.sent:
            commands.append(Drop(key))
        self._calls.let_go(older.message)
        self._gate.unmark(key)
        if older.cancelled:
            return [*commands, Disarm(Timer(LINGER, key))]
        return commands + self._calls.unanswered(key, older)

    # --- Routing -----------------------------------------------------------------------------------------------

    def _route(self, message: Message) -> list[Command]:
        """Send a request or notification, or hold it until the way is free."""
        if message.kind is Kind.REQUEST:
            answer = self._stand_in.answer_to(message, is_away=self._absence.trouble is not None)
            if answer is not None:
                return self._calls.answer_held(message.key, answer)
        if not (self._held or self._session.is_stale or self._absence.is_resting or self._gate.is_shut):
            return self._send(message)
        if message.kind is not Kind.REQUEST and len(self._held) >= 2 * self._in_flight_limit:
            return [Note("warning", f"{message.method} was dropped: too much is waiting for the server")]
        self._held.append(message)
        woken = self._absence.cut_short(urgent=message.method == INITIALIZE)
        return [*woken, *self._waiting.hold(message), *self._go_on()]

    def _go_on(self) -> list[Command]:
        """Do what the held messages wait for, or let them go."""
        commands: list[Command] = []
        while self._held and not self._absence.is_resting:
            if self._gate.way is Way.IDLE:
                return [*commands, self._gate.dial()]
            if self._held[0].method == INITIALIZE:
                if self._gate.way is not Way.UP or self._gate.reopening:
                    return commands
            elif self._gate.is_shut:
                return commands
            elif self._session.is_stale:
                return commands + self._reopening.begin()
            commands += self._send(self._held.popleft())
        return commands

    def _send(self, message: Message) -> list[Command]:
        if message.kind is Kind.REQUEST:
            return self._send_request(message)
        return self._session.begun(message) if message.method == INITIALIZED else [ToServer(message)]

    def _send_request(self, message: Message) -> list[Command]:
        key = message.key
        pending = self._calls.get(key)
        if pending is None or pending.message is not message:
            return []
        pending.sent = True
        pending.attempts += 1
        pending.session = self._session.number
        if self._absence.trouble is not None and self._policy.hold > 0:
            self._gate.trial = key
        commands: list[Command] = []
        if message.method == INITIALIZE:
            self._gate.greeting = key
            self._session.begin(message)
            self._stand_in.begin()
            commands = self._pulse.stop()
        self._gate.begin_probe(key)
        return [*commands, ToServer(message, key)]

    def _try_next_wire(self, pending: Pending, fault: Fault) -> list[Command]:
        """The first request found a server of the other wire: it is sent again there, for it did not run."""
        if pending.message.key == self._gate.greeting:
            self._gate.greeting = None
        commands = self._calls.take_back(pending)
        self._held.appendleft(pending.message)
        if self._wires.turn(fault):
            return [*commands, self._gate.dial()]
        self._gate.way = Way.IDLE
        return commands + self._give_up_held(self._wires.to_report(fault))

    # --- Answers -----------------------------------------------------------------------------------------------

    def _answer_of_server(self, message: Message, exchange: Key | None) -> list[Command]:
        if message.id is None:
            waiting = [] if self._gate.has_streams else self._calls.on_their_way()
            if len(waiting) != 1 or waiting[0].message.id is None:
                return [Note("warning", "the server sent an error that belongs to no request")]
            message = msg.with_id(message, waiting[0].message.id)  # it can only belong to this one
        key = message.key
        self._signing_in.accepted()
        if key == self._gate.reopening:
            return self._reopened(message)
        if key == self._pulse.open:
            return self._pulse.answered()
        if key in self._session.errands:
            return self._errand_done(message)
        pending = self._calls.finish(key)
        if pending is None:
            level = "debug" if self._clocks.ran_out(key) else "warning"
            return [Note(level, f"the server answered {key}, which nobody waits for: doubled, late or invented")]
        if key == self._gate.probe or exchange == self._gate.probe:
            self._gate.settle()
        if key == self._gate.greeting:
            self._gate.greeting = None
            if message.kind is Kind.RESULT:
                self._session.greeted(message)
                self._stand_in.announced(message)
        self._repeats.answered()
        keep = self._remember(pending.message, message)
        return self._calls.answered(key, pending, message) + keep

    def _errand_done(self, answer: Message) -> list[Command]:
        commands, changed = self._session.errands.done(answer)
        return commands if changed is None else [*commands, *self._keep(), *self._stand_in.list_changed(changed)]

    def _remember(self, request: Message, answer: Message) -> list[Command]:
        """Note what is worth knowing later of a request that the server answered."""
        if request.method == INITIALIZE:
            news = answer.kind is Kind.RESULT and self._memory.greeted(request, answer)
        else:
            news = self._memory.saw(request, answer)
        return self._keep() if news else []

    def _keep(self) -> list[Command]:
        return [Keep()] if self._policy.hold > 0 else []

    def _end(self, key: Key, fault: Fault) -> list[Command]:
        """Close an open request with a fault; a cancelled one just ends."""
        if key in self._calls:
            self._gate.unmark(key)
        return self._calls.fail(key, fault)

    def _give_up_held(self, fault: Fault) -> list[Command]:
        """What was held has nowhere to go: requests are answered with the cause, the rest is noted."""
        commands: list[Command] = []
        held = list(self._held)
        self._held.clear()
        for message in held:
            if message.kind is Kind.REQUEST:
                commands += self._end(message.key, fault)
            else:
                commands.append(Note("warning", f"{message.method} was dropped: {fault}"))
        if self._gate.way is Way.IDLE:
            self._wires.begin_again()
        return commands

    # --- Requests that took too long ---------------------------------------------------------------------------

    def _time_out(self, key: Key, pending: Pending, fault: TimedOut) -> list[Command]:
        # over HTTP, a body that has not gone out in full cannot have been read
        fault.may_have_run = pending.sent and (pending.written or not self._gate.has_streams)
        self._calls.let_go(pending.message)
        opening = key == self._gate.greeting or self._was_to_open(pending)
        commands = self._end(key, fault)
        if (
            fault.may_have_run
            and not opening
            and pending.session == self._session.number
            and self._gate.reopening is None
        ):
            params = {"requestId": pending.message.id, "reason": str(fault)}
            commands.append(ToServer(msg.notification(CANCELLED, params), urgent=True))
        if pending.sent:
            commands.append(Drop(key))
        return commands + (self._give_up_held(fault) if opening else self._go_on())

    def _was_to_open(self, pending: Pending) -> bool:
        """Whether this is the `initialize` behind which everything that is held waits for the way."""
        if pending.sent or pending.message.method != INITIALIZE or self._gate.way is Way.UP:
            return False
        return not self._calls.holds_greeting()

    # --- A session that the server lost ------------------------------------------------------------------------

    def _may_reopen(self, pending: Pending) -> bool:
        session = self._session
        return session.is_greeted and session.initialize is not None and not (pending.resent or pending.cancelled)

    def _send_again(self, pending: Pending, fault: SessionLost) -> list[Command]:
        """The message did not run, because its session is gone: hold it and open another session."""
        pending.resent = True
        commands = self._calls.take_back(pending)
        self._held.append(pending.message)
        commands += self._calls.arm_hold(pending)
        if self._gate.has_streams:
            # a late word about the session before this one says nothing about this one
            return commands + (self._go_on() if pending.session != self._session.number else self._reopening.begin())
        # the others were accepted in the old session, and nobody knows how far they came
        broken = Interrupted(str(fault), http_status=fault.http_status)
        if self._policy.hold > 0:
            return commands + self.link_down(broken)
        held = list(self._held)
        self._held.clear()
        commands += self.link_down(broken)
        self._held.extend(held)
        return [*commands, self._gate.dial()]

    def _is_free_to_reopen(self) -> bool:
        return (
            self._session.is_stale
            and not (self._gate.is_shut or self._absence.is_resting)
            and not self._calls.holds_greeting()
        )

    def _stream_lost_session(self) -> list[Command]:
        """The standing stream found that the session is gone: open another one, so that the server is heard again.

        Once for each word of the host: a server that forgets every session at once is not asked for ever.
        """
        self._session.is_stale = self._gate.reopening is None
        if self._was_reopened_unasked or not self._is_free_to_reopen():
            return []
        self._was_reopened_unasked = True
        return self._reopening.begin()

    def _ping_failed(self, fault: Fault | None) -> list[Command]:
        commands = self._pulse.failed(fault)
        if isinstance(fault, SessionLost) and self._gate.has_streams:
            self._session.is_stale = True  # the next message opens another session
            commands += self._pulse.stop()
        return commands

    def _reopened(self, message: Message) -> list[Command]:
        """The `initialize` of ours was answered."""
        commands = self._reopening.failed()  # until it is known to be good
        refused = self._reopening.refusal(message)
        if refused is not None:
            return commands + self._finally(refused) + self._go_on()
        commands += self._is_there() + self._reopening.begin_session(message)
        if self._session.initialize is not None:
            commands += self._remember(self._session.initialize, message)
        return commands + self._go_on() + self._reopening.look_at_lists()

    def _reopening_over(self, fault: Fault | None) -> list[Command]:
        """The `initialize` of ours was not answered."""
        commands = self._reopening.failed()
        if fault is not None and self._wires.are_wrong(fault):
            if self._wires.turn(fault):
                return [*commands, self._gate.dial()]
            self._gate.way, fault = Way.IDLE, self._wires.to_report(fault)
        broken = fault or Interrupted("the server ended the stream without an answer")
        asked = self._signing_in.wanted(broken) if self._somebody_waits() else None
        if asked is not None:
            return commands + self._sign_in(asked, broken)
        if self._waiting.helps(broken):
            return commands + self._waiting.begin(broken)
        lost = fault or SessionLost("the server lost the session and did not open a new one")
        return commands + self._finally(lost)

    def _reopening_silent(self, key: Key) -> list[Command]:
        """The server took the `initialize` of ours, and says nothing: it is asked again."""
        if key != self._gate.reopening:
            return []
        silence = self._reopening.silence()
        if not self._gate.has_streams:
            return self.link_down(Interrupted(str(silence)))  # whatever else is on this pipe may have run
        return [*self._reopening.failed(), Drop(key), *self._waiting.begin(silence)]

    def _reopening_timed_out(self, key: Key, fault: TimedOut) -> list[Command]:
        text = f"the server lost the session, and opening a new one took too long: {fault}"
        late = TimedOut(text, hint=fault.hint, may_have_run=False)
        return [*self._reopening.failed(), *self._finally(late), Drop(key)]

    # --- A person who signs in ---------------------------------------------------------------------------------

    def signed_in(self) -> list[Command]:
        """Somebody has signed in: what waited for it goes on."""
        commands, apart = self._signing_in.over()
        if self._absence.is_signing_in:
            commands += self._absence.forget()
        for message in apart:
            commands += self._route(message)
        if self._absence.is_resting:
            return commands  # for another reason than the sign-in
        commands += self._try_now() + self._waiting.hold_on()
        is_open = self._gate.way is Way.UP and not (self._session.is_stale or self._gate.reopening)
        if self._signing_in.stream_to_open() and is_open and self._session.initialized is not None:
            commands.append(Listen())
        return commands

    def sign_in_failed(self, fault: Fault) -> list[Command]:
        """Nobody has signed in: what waited for it is answered with the cause, and the next message tries anew."""
        commands, answer = self._signing_in.failed(fault)
        return commands + self._finally(answer) if self._absence.is_signing_in else commands

    def show_sign_in(self, url: str, text: str, *, opened: bool) -> list[Command]:
        """A person is to open this URL. `opened`: a browser shows it already."""
        return self._signing_in.show(url, text, opened=opened)

    def _sign_in(self, asked: Asked, fault: Fault) -> list[Command]:
        """Nothing goes on before somebody has signed in."""
        return self._waiting.begin_sign_in(fault) + self._signing_in.begin(asked, fault)

    def _sign_in_for(self, pending: Pending, asked: Asked, fault: Fault) -> list[Command]:
        """This call was refused for want of a token, or of scope."""
        if pending.message.method == INITIALIZE:
            return self._signing_in.begin(asked, fault, pending) + self._waiting.begin_sign_in(fault)
        commands = self._calls.take_back(pending)
        if asked.status == NO_TOKEN:
            self._held.append(pending.message)
            return commands + self._signing_in.begin(asked, fault, pending) + self._waiting.begin_sign_in(fault)
        commands += self._signing_in.wait_apart(pending)
        return commands + self._signing_in.begin(asked, fault, pending) + self._go_on()

    def _somebody_waits(self) -> bool:
        """Whether it is for a call of the host that we try: no browser opens because a stream dropped."""
        return (
            self._stand_in.is_made_up
            or any(held.kind is Kind.REQUEST for held in self._held)
            or (self._gate.greeting is not None)
        )

    # --- A server that is away ---------------------------------------------------------------------------------

    def _return(self) -> list[Command]:
        """The pause is over: try whether the server is there."""
        return self._try_now() if self._absence.rested() else []

    def _try_now(self) -> list[Command]:
        """Do what opens the way, if that is wanted."""
        if self._gate.way is Way.IDLE and (self._session.is_stale or self._held):
            return [self._gate.dial()]
        if self._is_free_to_reopen():
            return self._reopening.begin()
        return self._go_on()

    def _is_there(self) -> list[Command]:
        """There was a sign that the server is there."""
        self._gate.trial = None
        commands = self._absence.is_over()
        return commands + self._stand_in.has_come() if commands else []

    def _finally(self, fault: Fault) -> list[Command]:
        """This trouble does not pass by itself: whoever waits is answered, and the next message tries anew."""
        return self._stand_in.cannot_be_used(fault) + self._absence.forget() + self._give_up_held(fault)

    # --- Calls that are sent again -----------------------------------------------------------------------------

    def _try_again(self, key: Key, pending: Pending, fault: Fault) -> list[Command] | None:
        """Take a call that failed back, to send it once more. None: it may not be, or not any more."""
        verdict = self._repeats.judge(pending, fault)
        if verdict is Verdict.END:
            return None
        if verdict is Verdict.AWAY:
            commands = self._calls.take_back(pending)
            self._held.append(pending.message)
            return commands + self._waiting.begin(fault)
        seconds = self._repeats.pause(pending, fault)
        if seconds is None:
            return None
        note = Note("info", f"{pending.message.method} {key} is sent again in {seconds:.1f} s: {fault}")
        calls = self._calls
        return [note, *calls.take_back(pending), *calls.arm(AGAIN, pending, seconds), *self._go_on()]

    def _take_off_pipe(self, fault: Fault) -> list[Command]:
        """A shared pipe broke: what was on it waits for the next one, or has failed."""
        commands: list[Command] = []
        unwritten = before_sending(fault)
        for pending in self._calls.on_their_way():
            if pending.sent and self._calls.get(pending.message.key) is pending:  # not answered meanwhile
                commands += self._hold_or_end(pending, fault if pending.written else unwritten)
        return commands

    def _hold_or_end(self, pending: Pending, fault: Fault) -> list[Command]:
        """A shared pipe broke under this request."""
        key, waits = pending.message.key, self._waiting.helps(fault)
        is_greeting = key == self._gate.greeting
        if is_greeting and waits:
            return self._waiting.begin(fault)
        asked = self._signing_in.wanted(fault, pending) if is_greeting or not fault.may_have_run else None
        if asked is not None:
            pending.asked_for.add(asked.status)
        elif not (waits and self._session.is_greeted and self._repeats.outlives_pipe(pending, fault)):
            return self._end(key, fault) if pending.written else [*self._end(key, fault), Drop(key)]
        self._gate.unmark(key)
        commands = [Drop(key), *self._calls.take_back(pending)]  # what is left of it must not go out behind the second
        if is_greeting:
            self._held.appendleft(pending.message)
            return commands
        self._held.append(pending.message)
        return commands + self._calls.arm_hold(pending)

    def _rung(self, name: Timer, pending: Pending) -> list[Command]:
        if name.purpose not in pending.timers:
            return []  # it belonged to an earlier request of this id
        pending.timers.discard(name.purpose)
        if name.purpose == AGAIN:
            return [] if pending.sent else self._route(pending.message)
        if name.purpose == HOLD:
            return self._waiting.held_long_enough(name.exchange, pending)
        return self._waiting.out_of_patience()
