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
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, Listen, Note, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import Fault, Interrupted, SessionLost, ShuttingDown, TimedOut, TooLarge, as_error
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Batch, Invalid, Key, Kind, Message, key_of
from mcp_remote_py.core.patience import Clocks, Patience
from mcp_remote_py.core.probing import WIRES_OF, is_other_wire
from mcp_remote_py.core.pulse import PING, Pulse

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
CANCELLED = "notifications/cancelled"
LINGER_SECONDS = 5.0
"""How long a cancelled exchange may still bring a late answer before its stream is closed."""


_NO_LIMITS = Patience()


class Way(Enum):
    """The state of the way to the server."""

    IDLE = "idle"
    DIALING = "dialing"
    UP = "up"


class Snapshot(NamedTuple):
    """What the relay is doing, for logs."""

    way: str
    wire: str
    revision: str | None
    in_flight: int
    held: int


class _Gathering:
    """A batch of the host: how many answers are still to come, and those that are there."""

    def __init__(self, *, as_array: bool) -> None:
        self.as_array = as_array
        self.missing = 0
        self.answers: list[Message] = []


class _Pending:
    """One open request of the host."""

    def __init__(self, message: Message, gathering: _Gathering | None) -> None:
        self.message = message
        self.gathering = gathering
        self.sent = False
        self.written = False
        """Whether all of it has gone out; `sent` says only that it was handed to the link."""
        self.cancelled = False
        self.resent = False
        self.session = 0
        """The session it was sent in, by number."""


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
    ) -> None:
        self._wires = WIRES_OF[strategy]
        self._wire_at = 0
        self._settled = len(self._wires) == 1
        self._first_fault: Fault | None = None
        self._private_id = private_id
        self._private_count = 0
        self._session = 0
        self._clocks = Clocks(patience)
        self._pulse = Pulse(patience.ping)
        self._in_flight_limit = in_flight_limit
        self._message_limit = message_limit
        self._way = Way.IDLE
        self._traits = Traits(streams_per_exchange=True)
        self._open: InFlight[_Pending] = InFlight()
        self._asked: InFlight[Message] = InFlight()
        self._held: deque[Message] = deque()
        self._probe: Key | None = None
        self._greeting: Key | None = None
        self._reopening: Key | None = None
        self._initialize: Message | None = None
        self._initialized: Message | None = None
        self._greeted = False
        self._stale = False
        self._revision: str | None = None

    # --- What can be asked -------------------------------------------------------------------------------------

    @property
    def wire(self) -> str:
        """The wire in use, or to be tried next."""
        return self._wires[self._wire_at]

    @property
    def settled(self) -> bool:
        """Whether the wire has been decided."""
        return self._settled

    @property
    def is_quiet(self) -> bool:
        """Whether nobody waits for an answer and nothing is held back."""
        waiting = any(pending is not None and not pending.cancelled for pending in map(self._open.get, self._open))
        return not waiting and not self._held

    def snapshot(self) -> Snapshot:
        return Snapshot(self._way.value, self.wire, self._revision, len(self._open), len(self._held))

    # --- Events from the client --------------------------------------------------------------------------------

    def from_client(self, message: Message | Batch) -> list[Command]:
        """A message arrived from the host."""
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
        if not fault.answerable:
            return [note, *self._refuse_answer(fault)]
        return [note, ToClient(msg.error(fault.identifier, fault.code, fault.reason).raw)]

    def oversize(self, line: Oversize) -> list[Command]:
        """A line from the host was over the limit."""
        identifier, is_answer = msg.id_in_fragment(line.head, line.tail)
        fault = TooLarge(f"the message has {line.size} bytes, the limit is {self._message_limit}")
        if is_answer and identifier is not None and self._asked.finish(key_of(identifier)) is not None:
            error = ToServer(as_error(fault, identifier), urgent=True)
            return [Note("warning", str(fault)), error, *self._clocks.answered(key_of(identifier))]
        return [Note("warning", str(fault)), ToClient(as_error(fault, identifier).raw)]

    def stop(self, reason: str) -> list[Command]:
        """We are leaving: answer whoever still waits. No event may follow."""
        commands: list[Command] = []
        unsent = {held.key for held in self._held if held.kind is Kind.REQUEST}
        self._held.clear()
        for key, pending in self._open.drain():
            if pending.cancelled:
                continue  # the host does not wait for it any more
            fault = ShuttingDown(f"the bridge is shutting down: {reason}", may_have_run=key not in unsent)
            commands += self._answered(key, pending, as_error(fault, pending.message.id))
        return commands + self._pulse.stop()

    # --- Events from the way to the server ---------------------------------------------------------------------

    def link_up(self, traits: Traits) -> list[Command]:
        """The link that was dialled is open."""
        self._way = Way.UP
        self._traits = traits
        if not traits.streams_per_exchange:
            self._settled = True
        return self._go_on()

    def link_failed(self, fault: Fault) -> list[Command]:
        """The link that was dialled could not be opened."""
        if not self._settled:
            if is_other_wire(self.wire, fault) and self._next_wire(fault):
                return [self._dial()]
            fault = self._first_fault or fault
        self._way = Way.IDLE
        return self._give_up_held(fault)

    def link_down(self, fault: Fault) -> list[Command]:
        """A shared pipe broke: its session is gone, and with it whatever was on the way."""
        if self._way is not Way.UP:
            return [Note("debug", f"a connection that is not in use any more was lost: {fault}")]
        self._way = Way.IDLE
        self._stale = self._greeted
        commands: list[Command] = [Note("warning", f"the connection was lost: {fault}")]
        commands += self._leave_session() + self._end_reopening()
        for key in self._open:
            pending = self._open.get(key)
            if pending is not None and pending.sent:
                commands += self._end(key, fault)
        return commands + self._give_up_held(fault)

    def listen_over(self, fault: Fault | None) -> list[Command]:
        """The standing stream ended. On a shared pipe that is the connection; over HTTP it is optional."""
        if not self._traits.streams_per_exchange:
            return self.link_down(fault or Interrupted("the server closed the connection"))
        if fault is not None:
            return [Note("warning", f"no stream for what the server says on its own: {fault}")]
        return [Note("debug", "the server offers no stream for what it says on its own")]

    def from_server(self, message: Message, exchange: Key | None) -> list[Command]:
        """The server said something: on the stream of that exchange, or on its own."""
        commands: list[Command] = []
        if exchange is not None and exchange == self._probe:
            self._settle()
        if message.is_answer:
            commands += self._answer_of_server(message, exchange)
        else:
            if message.kind is Kind.REQUEST:
                self._asked.begin(message.key, message)
            commands.append(ToClient(message.raw))
            commands += self._clocks.spoke(message, exchange, shared=not self._traits.streams_per_exchange)
        return commands + self._pulse.said() + self._go_on()

    def written(self, exchange: Key) -> list[Command]:
        """The whole of this request has gone out."""
        pending = self._open.get(exchange)
        if pending is not None:
            pending.written = True
        return self._clocks.written(exchange)

    def heard(self, exchange: Key) -> list[Command]:
        """There is a sign of life on the stream of this exchange: its head, or a piece of its body."""
        pending = self._open.get(exchange)
        if pending is not None:
            pending.written = True  # a server may begin to answer before it has read everything
        return self._clocks.heard(exchange)

    def exchange_over(self, exchange: Key, fault: Fault | None) -> list[Command]:
        """Nothing more will come for this exchange. Whoever still waits for it is answered."""
        if exchange == self._reopening:
            return self._reopening_failed(fault)
        if exchange == self._pulse.open:
            return self._ping_failed(fault)
        pending = self._open.get(exchange)
        if pending is None:
            return self._go_on()
        if exchange == self._probe:
            self._probe = None
            if fault is not None and not self._settled and is_other_wire(self.wire, fault):
                return self._try_next_wire(pending, fault)
        if isinstance(fault, SessionLost) and self._may_reopen(pending):
            return self._send_again(pending, fault)
        fault = fault or Interrupted("the server ended the stream without an answer")
        greeting = exchange == self._greeting
        commands = self._end(exchange, fault)
        return commands + (self._give_up_held(fault) if greeting else self._go_on())

    def told(self, message: Message, fault: Fault | None) -> list[Command]:
        """A notification or an answer of the host has arrived at the server, or not."""
        if fault is None:
            return []
        what = message.method or "an answer"
        return [Note("warning", f"{what} did not reach the server: {fault}")]

    def timer(self, name: Timer) -> list[Command]:
        """What was armed has rung."""
        if name.purpose == PING:
            return self._pulse.due(self._next_private_id())
        pending = self._open.get(name.exchange)
        if name.purpose == "linger":
            if pending is None or not pending.cancelled:
                return []  # the id has been used again since
            self._open.finish(name.exchange)
            self._unmark(name.exchange)
            return [Drop(name.exchange), *self._go_on()]
        fault = self._clocks.rung(name)
        if fault is None:
            return []
        if name.exchange == self._reopening:
            return self._reopening_timed_out(name.exchange, fault)
        return [] if pending is None else self._time_out(name.exchange, pending, fault)

    # --- The host's messages -----------------------------------------------------------------------------------

    def _batch(self, batch: Batch) -> list[Command]:
        gathering = _Gathering(as_array=versions.allows_batches(self._revision))
        gathering.missing = sum(1 for item in batch.items if isinstance(item, Invalid) or item.kind is Kind.REQUEST)
        commands: list[Command] = []
        for item in batch.items:
            if isinstance(item, Invalid):
                commands += self._gathered(gathering, msg.error(item.identifier, item.code, item.reason))
            elif item.kind is not Kind.REQUEST:
                commands += self.from_client(item)
            elif item.method == INITIALIZE:
                text = "initialize must not be part of a batch"
                commands += self._gathered(gathering, msg.error(item.id, -32600, text))
            else:
                commands += self._request(item, gathering)
        return commands

    def _request(self, message: Message, gathering: _Gathering | None) -> list[Command]:
        key = message.key
        commands: list[Command] = []
        if len(self._open) >= self._in_flight_limit:
            fault = TooLarge(
                f"{len(self._open)} requests are waiting already, which is the limit",
                hint="Raise --max-in-flight, or send fewer calls at once.",
                may_have_run=False,
            )
            return self._handed_out(_Pending(message, gathering), as_error(fault, message.id))
        if key in self._open:
            commands += self._abandon(key)
        self._open.begin(key, _Pending(message, gathering))
        commands += self._clocks.arrived(message)
        if message.method == INITIALIZE and self._greeting is not None:
            self._held.appendleft(message)  # the host starts anew: it must not wait for a greeting it gave up
            return commands + self._go_on()
        return commands + self._route(message)

    def _begin_greeting(self, message: Message) -> None:
        self._greeting = message.key
        self._initialize, self._initialized = message, None
        self._greeted = self._stale = False
        self._revision = None

    def _notification(self, message: Message) -> list[Command]:
        if message.method == CANCELLED:
            return self._cancel(message)
        return self._route(message)

    def _answer_of_client(self, message: Message) -> list[Command]:
        if message.id is None or self._asked.finish(message.key) is None:
            return [Note("debug", f"the host answered {message.id!r}, which the server did not ask")]
        if self._way is not Way.UP:
            return [Note("warning", "an answer of the host has nowhere to go: there is no connection")]
        return [ToServer(message, urgent=True), *self._clocks.answered(message.key)]

    def _refuse_answer(self, fault: Invalid) -> list[Command]:
        """The host's answer is malformed: the server must not wait for it."""
        if fault.identifier is None or self._asked.finish(key_of(fault.identifier)) is None:
            return []
        error = msg.error(fault.identifier, -32603, "the client's answer was not a valid JSON-RPC message")
        return [ToServer(error, urgent=True), *self._clocks.answered(key_of(fault.identifier))]

    def _cancel(self, message: Message) -> list[Command]:
        target = message.params.get("requestId")
        if isinstance(target, bool) or not isinstance(target, str | int | float):
            return self._route(message)
        key = key_of(target)
        pending = self._open.get(key)
        if pending is None:
            late = Note("debug", f"the host cancelled {key}, which has timed out")
            return [late] if self._clocks.ran_out(key) else self._route(message)
        if pending.cancelled:
            return [Note("debug", f"the host cancelled {key} twice")]
        if key == self._greeting:
            return [Note("warning", "the host cancelled initialize, which the protocol does not allow: ignored")]
        if not pending.sent:
            self._held = deque(held for held in self._held if held is not pending.message)
            self._open.finish(key)
            return [*self._clocks.ended(key), *self._ungather(pending)]
        pending.cancelled = True
        self._unmark(key)  # nobody else has to wait for an answer that may never come
        return [
            *self._ungather(pending),
            *self._clocks.ended(key),
            ToServer(message, urgent=True),
            Arm(Timer("linger", key), LINGER_SECONDS),
            *self._go_on(),
        ]

    def _abandon(self, key: Key) -> list[Command]:
        """The host used the id of an open request again: the older one gives way, the id gets one answer."""
        older = self._open.finish(key)
        if older is None:
            return []
        commands: list[Command] = [Note("warning", f"the host used the id {key} twice; the older request gives way")]
        if older.sent:
            commands.append(Drop(key))
        self._held = deque(held for held in self._held if held is not older.message)
        self._unmark(key)
        if older.cancelled:
            return [*commands, Disarm(Timer("linger", key))]
        return commands + self._clocks.ended(key) + self._ungather(older)

    # --- Routing -----------------------------------------------------------------------------------------------

    def _must_hold(self) -> bool:
        busy = self._probe or self._greeting or self._reopening
        return self._way is not Way.UP or busy is not None

    def _route(self, message: Message) -> list[Command]:
        """Send a request or notification, or hold it until the way is free."""
        if not self._must_hold() and not self._held and not self._stale:
            return self._send(message)
        self._held.append(message)
        return self._go_on()

    def _go_on(self) -> list[Command]:
        """Do what the held messages wait for, or let them go."""
        commands: list[Command] = []
        while self._held:
            if self._way is Way.IDLE:
                return [*commands, self._dial()]
            if self._held[0].method == INITIALIZE:
                if self._way is not Way.UP or self._reopening:
                    return commands
            elif self._must_hold():
                return commands
            elif self._stale:
                return commands + self._reopen()
            commands += self._send(self._held.popleft())
        return commands

    def _send(self, message: Message) -> list[Command]:
        if message.kind is Kind.REQUEST:
            return self._send_request(message)
        if message.method == INITIALIZED:
            self._initialized = message
            return [ToServer(message), Listen(), *(self._pulse.start() if self._greeted else ())]
        return [ToServer(message)]

    def _send_request(self, message: Message) -> list[Command]:
        pending = self._open.get(message.key)
        if pending is None or pending.message is not message:
            return []
        pending.sent = True
        pending.session = self._session
        commands: list[Command] = []
        if message.method == INITIALIZE:
            self._begin_greeting(message)
            commands = self._pulse.stop()
        if not self._settled:
            self._probe = message.key
        return [*commands, ToServer(message, message.key)]

    def _dial(self) -> Command:
        self._way = Way.DIALING
        return Dial(self.wire)

    def _settle(self) -> None:
        self._settled = True
        self._probe = None
        self._first_fault = None

    def _try_next_wire(self, pending: _Pending, fault: Fault) -> list[Command]:
        """The first request found a server of the other wire: it is sent again there, for it did not run."""
        if pending.message.key == self._greeting:
            self._greeting = None
        commands = self._take_back(pending)
        self._held.appendleft(pending.message)
        if self._next_wire(fault):
            return [*commands, self._dial()]
        self._way = Way.IDLE
        return commands + self._give_up_held(self._first_fault or fault)

    def _next_wire(self, fault: Fault) -> bool:
        """Turn to the next wire. Returns whether there is one; the first fault is the one that will be reported."""
        self._first_fault = self._first_fault or fault
        if self._wire_at + 1 < len(self._wires):
            self._wire_at += 1
            return True
        return False

    # --- Answers -----------------------------------------------------------------------------------------------

    def _answer_of_server(self, message: Message, exchange: Key | None) -> list[Command]:
        if message.id is None:
            waiting = [pending for pending in map(self._open.get, self._open) if pending is not None and pending.sent]
            guess = not self._traits.streams_per_exchange and len(waiting) == 1
            if not guess or waiting[0].message.id is None:
                return [Note("warning", "the server sent an error that belongs to no request")]
            message = msg.with_id(message, waiting[0].message.id)  # it can only belong to this one
        key = message.key
        if key == self._reopening:
            return self._reopened(message)
        if key == self._pulse.open:
            return self._pulse.answered()
        pending = self._open.finish(key)
        if pending is None:
            level = "debug" if self._clocks.ran_out(key) else "warning"
            return [Note(level, f"the server answered {key}, which nobody waits for: doubled, late or invented")]
        if key == self._probe or exchange == self._probe:
            self._settle()
        if key == self._greeting:
            self._greeting = None
            self._note_greeting(message)
        return self._answered(key, pending, message)

    def _note_greeting(self, message: Message) -> None:
        if message.kind is not Kind.RESULT:
            return
        revision = message.result.get("protocolVersion")
        self._revision = revision if isinstance(revision, str) else None
        self._greeted = True
        self._session += 1

    def _answered(self, key: Key, pending: _Pending, answer: Message) -> list[Command]:
        commands = self._clocks.ended(key)
        if pending.cancelled:
            commands.append(Disarm(Timer("linger", key)))
        return commands + self._handed_out(pending, answer)

    def _handed_out(self, pending: _Pending, answer: Message) -> list[Command]:
        if pending.gathering is None or pending.cancelled:
            return [ToClient(answer.raw)]
        return self._gathered(pending.gathering, answer)

    def _gathered(self, gathering: _Gathering, answer: Message) -> list[Command]:
        gathering.missing -= 1
        if not gathering.as_array:
            return [ToClient(answer.raw)]
        gathering.answers.append(answer)
        return self._array(gathering)

    def _ungather(self, pending: _Pending) -> list[Command]:
        """A request of a batch will not be answered: the others must not wait for it."""
        if pending.gathering is None:
            return []
        pending.gathering.missing -= 1
        return self._array(pending.gathering)

    def _array(self, gathering: _Gathering) -> list[Command]:
        if gathering.missing or not gathering.answers or not gathering.as_array:
            return []
        return [ToClient(msg.join(gathering.answers))]

    def _end(self, key: Key, fault: Fault) -> list[Command]:
        """Close an open request with a fault; a cancelled one just ends."""
        pending = self._open.finish(key)
        if pending is None:
            return []
        self._unmark(key)
        if pending.cancelled:
            return [Disarm(Timer("linger", key))]
        if not pending.sent:
            fault = _before_sending(fault)
        failed = Note("warning", f"{pending.message.method} {key} failed: {fault}. {fault.hint}".rstrip())
        return [failed, *self._answered(key, pending, as_error(fault, pending.message.id))]

    def _unmark(self, key: Key) -> None:
        """This exchange holds nothing back any more."""
        if key == self._greeting:
            self._greeting = None
        if key == self._probe:
            self._probe = None

    def _give_up_held(self, fault: Fault) -> list[Command]:
        """What was held has nowhere to go: requests are answered with the cause, the rest is noted."""
        commands: list[Command] = []
        held, self._held = self._held, deque()
        for message in held:
            if message.kind is Kind.REQUEST:
                commands += self._end(message.key, fault)
            else:
                commands.append(Note("warning", f"{message.method} was dropped: {fault}"))
        if not self._settled and self._way is Way.IDLE:
            self._wire_at, self._first_fault = 0, None
        return commands

    def _take_back(self, pending: _Pending) -> list[Command]:
        """What was sent did not run, and will be sent again."""
        pending.sent = pending.written = False
        return self._clocks.held_again(pending.message.key)

    # --- Requests that took too long ---------------------------------------------------------------------------

    def _time_out(self, key: Key, pending: _Pending, fault: TimedOut) -> list[Command]:
        # over HTTP, a body that has not gone out in full cannot have been read
        fault.may_have_run = pending.sent and (pending.written or not self._traits.streams_per_exchange)
        self._held = deque(held for held in self._held if held is not pending.message)
        opening = key == self._greeting or self._was_to_open(pending)
        commands = self._end(key, fault)
        if fault.may_have_run and not opening and pending.session == self._session and self._reopening is None:
            params = {"requestId": pending.message.id, "reason": str(fault)}
            commands.append(ToServer(msg.notification(CANCELLED, params), urgent=True))
        if pending.sent:
            commands.append(Drop(key))
        return commands + (self._give_up_held(fault) if opening else self._go_on())

    def _was_to_open(self, pending: _Pending) -> bool:
        """Whether this is the `initialize` behind which everything that is held waits for the way."""
        if pending.sent or pending.message.method != INITIALIZE or self._way is Way.UP:
            return False
        return all(held.method != INITIALIZE for held in self._held)

    def _reopening_timed_out(self, key: Key, fault: TimedOut) -> list[Command]:
        text = f"the server lost the session, and opening a new one took too long: {fault}"
        late = TimedOut(text, hint=fault.hint, may_have_run=False)
        return [*self._reopening_failed(late), Drop(key)]

    # --- A session that the server lost ------------------------------------------------------------------------

    def _may_reopen(self, pending: _Pending) -> bool:
        return self._greeted and self._initialize is not None and not pending.resent and not pending.cancelled

    def _send_again(self, pending: _Pending, fault: SessionLost) -> list[Command]:
        """The message did not run, because its session is gone: hold it and open another session."""
        pending.resent = True
        commands = self._take_back(pending)
        self._held.append(pending.message)
        if self._traits.streams_per_exchange:
            # a late word about the session before this one says nothing about this one
            return commands + (self._go_on() if pending.session != self._session else self._reopen())
        held, self._held = self._held, deque()
        commands += self.link_down(fault)
        self._held = held
        return [*commands, self._dial()]

    def _reopen(self) -> list[Command]:
        """Repeat the host's `initialize` under a private id; everything else is held until it is answered."""
        if self._reopening is not None or self._initialize is None:
            return []
        request = msg.with_id(self._initialize, self._next_private_id())
        self._reopening = request.key
        self._stale = False
        note = Note("info", "the server lost the session: opening a new one")
        return [note, *self._leave_session(), *self._clocks.arrived(request), ToServer(request, request.key)]

    def _next_private_id(self) -> str:
        self._private_count += 1
        return f"{self._private_id}-{self._private_count}"

    def _leave_session(self) -> list[Command]:
        """Nothing that was asked in it will be answered, and there is nothing to keep awake."""
        self._asked.drain()
        return self._clocks.nothing_asked() + self._pulse.stop()

    def _ping_failed(self, fault: Fault | None) -> list[Command]:
        commands = self._pulse.failed(fault)
        if isinstance(fault, SessionLost) and self._traits.streams_per_exchange:
            self._stale = True  # the next message opens another session
            commands += self._pulse.stop()
        return commands

    def _end_reopening(self) -> list[Command]:
        key, self._reopening = self._reopening, None
        return [] if key is None else self._clocks.ended(key)

    def _reopened(self, message: Message) -> list[Command]:
        commands = self._end_reopening()
        self._stale = True
        if message.kind is Kind.ERROR:
            refused = SessionLost("the server lost the session and refused to open a new one")
            return commands + self._give_up_held(refused)
        revision = message.result.get("protocolVersion")
        if revision != self._revision:
            text = "the server lost the session, and the new one speaks another protocol version"
            return commands + self._give_up_held(SessionLost(text, hint="Restart this MCP server in the host."))
        self._stale = False
        self._session += 1
        initialized = self._initialized or msg.notification(INITIALIZED)
        return [*commands, ToServer(initialized), Listen(), *self._pulse.start()]

    def _reopening_failed(self, fault: Fault | None) -> list[Command]:
        self._stale = True
        lost = fault or SessionLost("the server lost the session and did not open a new one")
        return self._end_reopening() + self._give_up_held(lost)


def _before_sending(fault: Fault) -> Fault:
    """Return the same trouble for a request that it kept from being sent: that one cannot have run."""
    if not fault.may_have_run:
        return fault
    hint = "It was not sent: it is safe to try again." if fault.hint == fault.default_hint else fault.hint
    return type(fault)(str(fault), hint=hint, may_have_run=False, http_status=fault.http_status)
