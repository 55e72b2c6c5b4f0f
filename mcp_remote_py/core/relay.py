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

from collections import deque
from enum import Enum
from typing import NamedTuple

from mcp_remote_py.core import greeting, retries, versions
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, Keep, Listen, Note, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import Fault, Interrupted, SessionLost, ShuttingDown, TimedOut, TooLarge, as_error
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.memory import Document, Memory, capabilities_of
from mcp_remote_py.core.message import Batch, Invalid, Key, Kind, Message, key_of
from mcp_remote_py.core.patience import Clocks, Patience, spelled
from mcp_remote_py.core.probing import WIRES_OF, is_other_wire
from mcp_remote_py.core.pulse import PING, Pulse
from mcp_remote_py.core.redact import printable
from mcp_remote_py.core.retries import Budget, Policy, Verdict

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
CANCELLED = "notifications/cancelled"
LINGER_SECONDS = 5.0
"""How long a cancelled exchange may still bring a late answer before its stream is closed."""


GREET, HOLD, AGAIN, RETURN = "greet", "hold", "again", "return"
"""The purposes of timers: answer `initialize` in the server's place; a call has been held for long enough; send this
call again; try again whether the server is there."""
_RETURN = Timer(RETURN, key_of(""))
_SHORT_REST_SECONDS = 1.0
"""A longer one is ended by a message from the host: somebody waits."""
_NO_LIMITS = Patience()
_NO_POLICY = Policy()


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
        """What the host was told."""
        self._agreed: object = None
        """What was agreed with the server, which is another one where the host was greeted in its place."""
        self._policy = policy
        self._memory = Memory()
        self._budget = Budget()
        self._trouble: Fault | None = None
        """Why the server is away; None while it is there, as far as is known."""
        self._tries = 0
        self._resting = False
        self._rest = 0.0
        self._trial: Key | None = None
        """The request that is sent first after a rest: the others wait for a sign that it went out."""
        self._made_up = False
        """The host was greeted in the server's place, and the server has not been there since."""
        self._stood_in = False
        """The same, whether or not it has been there since."""
        self._announced: dict[str, object] = {}
        """The capabilities that the host was told."""
        self._errands: dict[Key, Message] = {}
        """Requests of our own that restore a session, or look whether its lists are what they were."""
        self._was_reopened_unasked = False
        self._host_is_ready = False
        self._untold: list[Message] = []
        """What the host hears as soon as it has said that it is initialized."""

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

    @property
    def to_keep(self) -> Document | None:
        """What is remembered of the server, as plain JSON."""
        return self._memory.to_document()

    def recall(self, document: Document) -> None:
        """Take in what an earlier process remembered. Raises `ValueError` where it cannot be understood."""
        self._memory.recall(document)

    def open_requests(self) -> list[tuple[Key, str, bool]]:
        """The host's requests that are not answered yet: key, method, and whether each has been handed to the link."""
        found = ((key, self._open.get(key)) for key in self._open)
        return [(key, pending.message.method or "", pending.sent) for key, pending in found if pending is not None]

    def snapshot(self) -> Snapshot:
        return Snapshot(self._way.value, self.wire, self._revision, len(self._open), len(self._held))

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
        self._held.clear()
        for key, pending in self._open.drain():
            if pending.cancelled:
                continue  # the host does not wait for it any more
            may_have_run = pending.sent or pending.may_have_run
            why = "" if pending.sent or self._trouble is None else f"; until now {self._trouble}"
            fault = ShuttingDown(f"the bridge is shutting down: {reason}{why}", may_have_run=may_have_run)
            commands += self._answered(key, pending, as_error(fault, pending.message.id))
        return commands + self._pulse.stop()

    # --- Events from the way to the server ---------------------------------------------------------------------

    def link_up(self, traits: Traits) -> list[Command]:
        """The link that was dialled is open."""
        self._way = Way.UP
        self._traits = traits
        if not traits.streams_per_exchange:
            self._settled = True
        commands = self._go_on()
        if (self._made_up or self._trouble is not None) and self._is_free_to_reopen():
            commands += self._reopen()  # also if nobody waits: what is answered in its place must come to an end
        return commands

    def link_failed(self, fault: Fault) -> list[Command]:
        """The link that was dialled could not be opened."""
        if not self._settled:
            if is_other_wire(self.wire, fault) and self._next_wire(fault):
                return [self._dial()]
            fault = self._first_fault or fault
        self._way = Way.IDLE
        if self._may_wait_for(fault):
            return self._wait_for(fault)
        return self._finally(fault)

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
                commands += self._hold_or_end(key, pending, fault)
        if self._greeted and self._may_wait_for(fault):
            return commands + self._wait_for(fault)
        return commands + self._give_up_held(fault)

    def listen_over(self, fault: Fault | None) -> list[Command]:
        """The standing stream ended. On a shared pipe that is the connection; over HTTP it is optional."""
        if not self._traits.streams_per_exchange:
            return self.link_down(fault or Interrupted("the server closed the connection"))
        if isinstance(fault, SessionLost) and self._policy.hold > 0 and self._greeted:
            return self._stream_lost_session()
        if fault is not None:
            return [Note("warning", f"no stream for what the server says on its own: {fault}")]
        return [Note("debug", "the server offers no stream for what it says on its own")]

    def from_server(self, message: Message, exchange: Key | None) -> list[Command]:
        """The server said something: on the stream of that exchange, or on its own."""
        commands: list[Command] = []
        if exchange is not None and exchange == self._probe:
            self._settle()
        if self._trial is not None and (exchange == self._trial or not self._traits.streams_per_exchange):
            commands += self._is_there()
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
        commands = self._clocks.written(exchange)
        return commands + self._is_there() + self._go_on() if exchange == self._trial else commands

    def heard(self, exchange: Key) -> list[Command]:
        """There is a sign of life on the stream of this exchange: its head, or a piece of its body."""
        pending = self._open.get(exchange)
        if pending is not None:
            pending.written = True  # a server may begin to answer before it has read everything
        return self._clocks.heard(exchange)

    def exchange_over(self, exchange: Key, fault: Fault | None) -> list[Command]:
        """Nothing more will come for this exchange. Whoever still waits for it is answered."""
        if exchange == self._reopening:
            return self._reopening_over(fault)
        if exchange == self._pulse.open:
            return self._ping_failed(fault)
        if exchange in self._errands:
            return self._errand_failed(exchange, fault)
        pending = self._open.get(exchange)
        if pending is None:
            return self._go_on()
        if exchange == self._trial:
            self._trial = None
        if exchange == self._probe:
            self._probe = None
            if fault is not None and not self._settled and is_other_wire(self.wire, fault):
                return self._try_next_wire(pending, fault)
        if isinstance(fault, SessionLost) and self._may_reopen(pending):
            return self._send_again(pending, fault)
        fault = fault or Interrupted("the server ended the stream without an answer")
        if exchange == self._greeting:
            if self._may_wait_for(fault):
                return self._wait_for(fault)
            return self._end(exchange, fault) + self._finally(fault)
        again = self._try_again(exchange, pending, fault)
        return self._end(exchange, fault) + self._go_on() if again is None else again

    def told(self, message: Message, fault: Fault | None) -> list[Command]:
        """A notification or an answer of the host has arrived at the server, or not."""
        if fault is None:
            return []
        what = message.method or "an answer"
        if message.method == INITIALIZED and self._policy.hold > 0 and self._reopening is None:
            self._stale = self._greeted  # this session never began: the next message opens another
        return [Note("warning", f"{what} did not reach the server: {fault}")]

    def timer(self, name: Timer) -> list[Command]:
        """What was armed has rung."""
        if name.purpose == PING:
            return self._pulse.due(self._next_private_id())
        if name.purpose == RETURN:
            return self._return()
        pending = self._open.get(name.exchange)
        if name.purpose in (GREET, HOLD, AGAIN):
            return [] if pending is None else self._rung(name, pending)
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
        if key == self._reopening:  # its id was the host's once, before we answered in the server's place
            commands += [Drop(key), *self._end_reopening()]
            self._stale = True
        pending = _Pending(message, gathering)
        self._open.begin(key, pending)
        commands += self._clocks.arrived(message)
        if message.method == INITIALIZE and self._policy.greet_after is not None and self._policy.hold > 0:
            commands += self._arm(GREET, pending, self._policy.greet_after)
        if message.method == INITIALIZE and self._greeting is not None:
            self._held.appendleft(message)  # the host starts anew: it must not wait for a greeting it gave up
            return commands + self._go_on()
        return commands + self._route(message)

    def _begin_greeting(self, message: Message) -> None:
        self._greeting = message.key
        self._initialize, self._initialized = message, None
        self._greeted = self._stale = self._made_up = self._stood_in = self._host_is_ready = False
        self._revision = self._agreed = None
        self._untold.clear()
        self._memory.forget_session()

    def _notification(self, message: Message) -> list[Command]:
        if message.method == CANCELLED:
            return self._cancel(message)
        commands: list[Command] = []
        if message.method == INITIALIZED:
            commands = self._host_ready()
            if self._stood_in:
                self._initialized = message  # the server hears it, or has heard it, when it is there
                return commands
        return commands + self._route(message)

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
            return [*self._clocks.ended(key), *self._disarm(pending), *self._ungather(pending)]
        pending.cancelled = True
        self._unmark(key)  # nobody else has to wait for an answer that may never come
        return [
            *self._ungather(pending),
            *self._clocks.ended(key),
            *self._disarm(pending),
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
        commands += self._disarm(older)
        self._held = deque(held for held in self._held if held is not older.message)
        self._unmark(key)
        if older.cancelled:
            return [*commands, Disarm(Timer("linger", key))]
        return commands + self._clocks.ended(key) + self._ungather(older)

    # --- Routing -----------------------------------------------------------------------------------------------

    def _must_hold(self) -> bool:
        busy = self._probe or self._greeting or self._reopening or self._trial
        return self._way is not Way.UP or busy is not None or self._resting

    def _route(self, message: Message) -> list[Command]:
        """Send a request or notification, or hold it until the way is free."""
        if message.kind is Kind.REQUEST and (stand_in := self._stand_in(message)) is not None:
            return self._answer_here(message.key, stand_in)
        if not self._must_hold() and not self._held and not self._stale:
            return self._send(message)
        if message.kind is not Kind.REQUEST and len(self._held) >= 2 * self._in_flight_limit:
            return [Note("warning", f"{message.method} was dropped: too much is waiting for the server")]
        self._held.append(message)
        return [*self._held_back(message), *self._wake(message), *self._go_on()]

    def _go_on(self) -> list[Command]:
        """Do what the held messages wait for, or let them go."""
        commands: list[Command] = []
        while self._held and not self._resting:
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
        pending.attempts += 1
        pending.session = self._session
        if self._trouble is not None and self._policy.hold > 0:
            self._trial = message.key
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
            return self._reopened(message) + self._go_on() + self._look_at_lists()
        if key == self._pulse.open:
            return self._pulse.answered()
        if key in self._errands:
            return self._errand_done(message)
        pending = self._open.finish(key)
        if pending is None:
            level = "debug" if self._clocks.ran_out(key) else "warning"
            return [Note(level, f"the server answered {key}, which nobody waits for: doubled, late or invented")]
        if key == self._probe or exchange == self._probe:
            self._settle()
        if key == self._greeting:
            self._greeting = None
            self._note_greeting(message)
        self._budget.earn()
        keep = self._remember(pending.message, message)
        return self._answered(key, pending, message) + keep

    def _note_greeting(self, message: Message) -> None:
        if message.kind is not Kind.RESULT:
            return
        revision = message.result.get("protocolVersion")
        self._revision = revision if isinstance(revision, str) else None
        self._agreed = revision
        self._announced = capabilities_of(message)
        self._greeted = True
        self._session += 1

    def _remember(self, request: Message, answer: Message) -> list[Command]:
        """Note what is worth knowing later of a request that the server answered."""
        if request.method == INITIALIZE:
            news = answer.kind is Kind.RESULT and self._memory.greeted(request, answer)
        else:
            news = self._memory.saw(request, answer)
        return self._keep() if news else []

    def _keep(self) -> list[Command]:
        return [Keep()] if self._policy.hold > 0 else []

    def _answered(self, key: Key, pending: _Pending, answer: Message) -> list[Command]:
        commands = self._clocks.ended(key) + self._disarm(pending)
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
        if pending.may_have_run:
            fault = fault.restated(may_have_run=True)
        elif not pending.sent:
            fault = _before_sending(fault)
        if self._policy.hold > 0:
            fault = retries.counted(fault, pending.attempts)
        failed = Note("warning", f"{pending.message.method} {key} failed: {fault}. {fault.hint}".rstrip())
        return [failed, *self._answered(key, pending, as_error(fault, pending.message.id))]

    def _unmark(self, key: Key) -> None:
        """This exchange holds nothing back any more."""
        if key == self._greeting:
            self._greeting = None
        if key == self._probe:
            self._probe = None
        if key == self._trial:
            self._trial = None

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
        commands += self._hold_timer(pending)
        if self._traits.streams_per_exchange:
            # a late word about the session before this one says nothing about this one
            return commands + (self._go_on() if pending.session != self._session else self._reopen())
        if self._policy.hold > 0:
            # the others were accepted in the old session, and nobody knows how far they came
            return commands + self.link_down(Interrupted(str(fault), http_status=fault.http_status))
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
        if not self._settled:
            self._probe = request.key
        what = "trying whether the server is there" if self._made_up else "the session is lost: opening a new one"
        note = Note("info", what)
        return [note, *self._leave_session(), *self._clocks.arrived(request), ToServer(request, request.key)]

    def _next_private_id(self) -> str:
        self._private_count += 1
        return f"{self._private_id}-{self._private_count}"

    def _leave_session(self) -> list[Command]:
        """Nothing that was asked in it will be answered, and there is nothing to keep awake."""
        self._asked.drain()
        errands: list[Command] = [Drop(key) for key in self._errands]
        self._errands.clear()
        return errands + self._clocks.nothing_asked() + self._pulse.stop()

    def _ping_failed(self, fault: Fault | None) -> list[Command]:
        commands = self._pulse.failed(fault)
        if isinstance(fault, SessionLost) and self._traits.streams_per_exchange:
            self._stale = True  # the next message opens another session
            commands += self._pulse.stop()
        return commands

    def _end_reopening(self) -> list[Command]:
        key, self._reopening = self._reopening, None
        if key is not None and key == self._probe:
            self._probe = None
        return [] if key is None else self._clocks.ended(key)

    def _reopened(self, message: Message) -> list[Command]:
        commands = self._end_reopening()
        self._stale = True
        if message.kind is Kind.ERROR:
            refused = SessionLost("the server lost the session and refused to open a new one")
            if self._made_up:
                refused = SessionLost(f"the server refused to open a session: {_words_of(message)}")
            return commands + self._finally(refused)
        revision = message.result.get("protocolVersion")
        if not self._may_speak(revision):
            text = "the server lost the session, and the new one speaks another protocol version"
            if self._made_up:
                text = f"the server speaks a protocol version that is not known here: {printable(str(revision), 40)}"
            return commands + self._finally(SessionLost(text, hint="Restart this MCP server in the host."))
        return commands + self._new_session(message)

    def _may_speak(self, revision: object) -> bool:
        """Whether a session in this version serves the host: it was told one by us, or by the server."""
        if not self._made_up:
            return revision == self._agreed
        return isinstance(revision, str) and versions.is_known_legacy(revision)

    def _new_session(self, greeted: Message) -> list[Command]:
        """The server opened a session: it hears what the host said in the one before, the host what is different."""
        first, self._made_up, self._stale = self._made_up, False, False
        self._session += 1
        self._agreed = greeted.result.get("protocolVersion")
        commands = self._is_there()
        if first and self._agreed != self._revision:
            commands.append(Note("info", f"the server speaks {self._agreed}, the host was told {self._revision}"))
        commands += [ToServer(self._initialized or msg.notification(INITIALIZED)), Listen(), *self._pulse.start()]
        for method, params in self._memory.to_restore():
            commands += self._errand(method, params)
        commands += self._tell_changes(capabilities_of(greeted), first=first)
        if self._initialize is not None and self._memory.greeted(self._initialize, greeted):
            commands += self._keep()
        return commands

    def _tell_changes(self, offered: dict[str, object], *, first: bool) -> list[Command]:
        """Tell the host which lists to ask for again: all that it was told of by us, those that are different now."""
        if first:
            kinds = [kind for kind in greeting.KINDS if kind in self._announced or kind in offered]
        else:
            kinds = greeting.changed_kinds(self._memory.capabilities(), offered)
        return self._tell(*greeting.list_changed(kinds))

    def _reopening_over(self, fault: Fault | None) -> list[Command]:
        """The `initialize` of ours was not answered."""
        if fault is not None and not self._settled and is_other_wire(self.wire, fault):
            self._end_reopening()
            self._stale = True
            if self._next_wire(fault):
                return [self._dial()]
            self._way, fault = Way.IDLE, self._first_fault or fault
        if fault is None or self._may_wait_for(fault):
            broken = Interrupted("the server ended the stream without an answer")
            if self._may_wait_for(fault or broken):
                commands = self._end_reopening()
                self._stale = True
                return commands + self._wait_for(fault or broken)
        return self._reopening_failed(fault)

    def _reopening_failed(self, fault: Fault | None) -> list[Command]:
        self._stale = True
        lost = fault or SessionLost("the server lost the session and did not open a new one")
        return self._end_reopening() + self._finally(lost)

    def _stream_lost_session(self) -> list[Command]:
        """The standing stream found that the session is gone: open another one, so that the server is heard again.

        Once for each word of the host: a server that forgets every session at once is not asked for ever.
        """
        self._stale = self._reopening is None
        if self._was_reopened_unasked or not self._is_free_to_reopen():
            return []
        self._was_reopened_unasked = True
        return self._reopen()

    def _is_free_to_reopen(self) -> bool:
        return self._stale and not self._must_hold() and all(held.method != INITIALIZE for held in self._held)

    # --- A server that is away ---------------------------------------------------------------------------------

    def _may_wait_for(self, fault: Fault) -> bool:
        """Whether this trouble passes by itself, and we are to wait for that."""
        if self._policy.hold <= 0 or not retries.mends(fault):
            return False
        return self._policy.greet_after is not None or not self._greeters()

    def _greeters(self) -> list[_Pending]:
        """The `initialize` that the host waits for; there may be several, of a host that lost patience."""
        found = (self._open.get(key) for key in self._open)
        return [one for one in found if one is not None and one.message.method == INITIALIZE and not one.cancelled]

    def _wait_for(self, fault: Fault) -> list[Command]:
        """The server is away: hold what there is for a while, greet the host if it has not been, and try again."""
        self._trouble = fault
        if not self._settled:
            self._wire_at, self._first_fault = 0, None
        commands: list[Command] = []
        for pending in self._greeters():
            commands += self._greet(pending, fault)
        for held in list(self._held):
            if held.kind is Kind.REQUEST:
                stand_in = self._stand_in(held)
                commands += self._held_back(held) if stand_in is None else self._answer_here(held.key, stand_in)
        return commands + self._take_a_rest(fault)

    def _greet(self, pending: _Pending, fault: Fault) -> list[Command]:
        """Answer `initialize` in the server's place. Its exchange, if there is one, goes on as ours."""
        initialize = pending.message
        key, sent = initialize.key, pending.sent
        known = self._memory.greeting if self._policy.cache else None
        if known is None:
            answer = greeting.made_up(initialize, self._policy.version)
        else:
            answer = greeting.repeated(initialize, known, self._memory.asked)
        self._unmark(key)
        self._begin_greeting(initialize)
        self._greeting = None
        self._note_greeting(answer)
        self._stale = self._made_up = self._stood_in = True
        self._untold.append(greeting.log_line("warning", f"The server is not there yet: {fault}. {fault.hint}".strip()))
        source = "with what is known of it" if known is not None else "with all that a server may offer"
        note = Note("warning", f"the host was greeted in the server's place, {source}: {fault}")
        self._open.finish(key)
        self._held = deque(held for held in self._held if held is not initialize)
        if sent and self._trouble is not fault:
            self._reopening, self._stale = key, False
            if not self._settled:
                self._probe = key
        elif sent:
            return [note, Drop(key), *self._answered(key, pending, answer)]  # it is over, or is given up
        return [note, *self._answered(key, pending, answer)]

    def _take_a_rest(self, fault: Fault) -> list[Command]:
        """Try again after a pause, unless one has begun already."""
        self._trouble = fault
        if self._resting:
            return []
        self._tries += 1
        most = retries.MOST_AWAY_SECONDS if self._tries > 1 else retries.MOST_SECONDS
        self._resting = True
        self._rest = retries.pause(self._tries, self._policy.chance(), fault.retry_after, most)
        level = "warning" if self._tries == 1 else "debug"
        note = Note(level, f"the server is away: {fault}; next attempt in {self._rest:.1f} s")
        return [note, Arm(_RETURN, self._rest)]

    def _return(self) -> list[Command]:
        """The pause is over: try whether the server is there."""
        if not self._resting:
            return []
        self._resting = False
        if self._way is Way.IDLE and (self._stale or self._held):
            return [self._dial()]
        if self._is_free_to_reopen():
            return self._reopen()
        return self._go_on()

    def _wake(self, message: Message) -> list[Command]:
        """Somebody waits: do not rest for long."""
        if not self._resting or (self._rest <= _SHORT_REST_SECONDS and message.method != INITIALIZE):
            return []
        asked = self._trouble is not None and self._trouble.retry_after is not None
        if asked and message.method != INITIALIZE:
            return []  # the server asked for this pause
        self._resting = False
        return [Disarm(_RETURN)]

    def _is_there(self) -> list[Command]:
        """There was a sign that the server is there."""
        self._trial = None
        if self._trouble is None:
            return []
        self._trouble, self._tries = None, 0
        was_resting, self._resting = self._resting, False
        note = Note("info", "the server is there")
        commands: list[Command] = [note, Disarm(_RETURN)] if was_resting else [note]
        return commands + (self._tell(greeting.log_line("info", "The server is there.")) if self._stood_in else [])

    def _finally(self, fault: Fault) -> list[Command]:
        """This trouble does not pass by itself: whoever waits is answered, and the next message tries anew."""
        commands: list[Command] = []
        if self._made_up:
            line = greeting.log_line("error", f"The server cannot be used: {fault}. {fault.hint}".strip())
            commands += self._tell(line)
        if self._resting:
            self._resting = False
            commands.append(Disarm(_RETURN))
        self._trouble, self._tries = None, 0
        return commands + self._give_up_held(fault)

    def _stand_in(self, request: Message) -> Message | None:
        """Return the answer that can be given in the server's place: a list that is known, or one that it lacks."""
        if self._trouble is not None or self._made_up:
            return self._memory.cached(request) if self._policy.cache else None
        return greeting.lacking(request, self._memory.capabilities()) if self._stood_in else None

    def _answer_here(self, key: Key, answer: Message) -> list[Command]:
        pending = self._open.finish(key)
        if pending is None:
            return []
        self._held = deque(held for held in self._held if held is not pending.message)
        return self._answered(key, pending, answer)

    def _tell(self, *messages: Message) -> list[Command]:
        """Say something to the host, as soon as it is initialized."""
        if self._host_is_ready:
            return [ToClient(message.raw) for message in messages]
        if self._stood_in:
            self._untold += messages
        return []

    def _host_ready(self) -> list[Command]:
        self._host_is_ready = True
        untold, self._untold = self._untold, []
        return [ToClient(message.raw) for message in untold]

    # --- Calls that are sent again ---------------------------------------------------------------------------------

    def _try_again(self, key: Key, pending: _Pending, fault: Fault) -> list[Command] | None:
        """Take a call that failed back, to send it once more. None: it may not be, or not any more."""
        if self._policy.hold <= 0 or pending.cancelled or pending.held_out:
            return None
        verdict = retries.judge(fault, harmless=retries.is_harmless(pending.message, self._memory.harmless))
        if verdict is Verdict.END:
            return None
        if verdict is Verdict.AWAY:
            commands = self._take_back(pending)
            self._held.append(pending.message)
            return commands + self._wait_for(fault)
        seconds = retries.pause(pending.attempts, self._policy.chance(), fault.retry_after)
        if pending.waited + seconds > self._policy.hold or not self._budget.spend():
            return None
        pending.waited += seconds
        pending.may_have_run = pending.may_have_run or fault.may_have_run
        note = Note("info", f"{pending.message.method} {key} is sent again in {seconds:.1f} s: {fault}")
        return [note, *self._take_back(pending), *self._arm(AGAIN, pending, seconds), *self._go_on()]

    def _hold_or_end(self, key: Key, pending: _Pending, fault: Fault) -> list[Command]:
        """A shared pipe broke under this request."""
        harmless = retries.is_harmless(pending.message, self._memory.harmless)
        if key == self._greeting and self._may_wait_for(fault):
            return self._wait_for(fault)
        may_wait = self._may_wait_for(fault) and self._greeted and not (pending.cancelled or pending.held_out)
        if not may_wait or retries.judge(fault, harmless=harmless) is Verdict.END or not self._budget.spend():
            return self._end(key, fault)
        pending.may_have_run = pending.may_have_run or fault.may_have_run
        commands = self._take_back(pending)
        self._held.append(pending.message)
        return commands + self._hold_timer(pending)

    def _held_back(self, message: Message) -> list[Command]:
        """A message is held; if that is because the server is away, not for ever."""
        pending = self._open.get(message.key) if message.kind is Kind.REQUEST else None
        if pending is None or message.method == INITIALIZE or not (self._trouble or self._reopening or self._stale):
            return []
        return self._hold_timer(pending)

    def _hold_timer(self, pending: _Pending) -> list[Command]:
        if self._policy.hold <= 0 or HOLD in pending.timers:
            return []
        return self._arm(HOLD, pending, max(0.0, self._policy.hold - pending.waited))

    def _rung(self, name: Timer, pending: _Pending) -> list[Command]:
        if name.purpose not in pending.timers:
            return []  # it belonged to an earlier request of this id
        pending.timers.discard(name.purpose)
        if name.purpose == AGAIN:
            return [] if pending.sent else self._route(pending.message)
        if name.purpose == HOLD:
            return self._held_long_enough(name.exchange, pending)
        within = spelled(self._policy.greet_after or 0.0)
        silent = TimedOut(f"the server has not answered initialize within {within} (--greet-after)", hint="")
        commands = self._greet(pending, silent)
        self._trouble = silent
        for held in list(self._held):
            stand_in = self._stand_in(held) if held.kind is Kind.REQUEST else None
            commands += self._held_back(held) if stand_in is None else self._answer_here(held.key, stand_in)
        return commands

    def _held_long_enough(self, key: Key, pending: _Pending) -> list[Command]:
        pending.held_out = True
        if pending.sent:
            return []
        empty = greeting.empty_list(pending.message) if self._made_up else None
        if empty is not None:
            return self._answer_here(key, empty)
        cause = self._trouble or SessionLost("the server has opened no new session yet")
        self._held = deque(held for held in self._held if held is not pending.message)
        self._open.finish(key)
        may_have_run = pending.may_have_run
        tries = max(1, self._tries, pending.attempts)
        fault = retries.held_too_long(cause, spelled(self._policy.hold), tries, may_have_run=may_have_run)
        note = Note("warning", f"{pending.message.method} {key} failed: {fault}")
        return [note, *self._answered(key, pending, as_error(fault, pending.message.id))]

    def _arm(self, purpose: str, pending: _Pending, seconds: float) -> list[Command]:
        pending.timers.add(purpose)
        return [Arm(Timer(purpose, pending.message.key), seconds)]

    def _disarm(self, pending: _Pending) -> list[Command]:
        commands: list[Command] = [Disarm(Timer(purpose, pending.message.key)) for purpose in sorted(pending.timers)]
        pending.timers.clear()
        return commands

    # --- Errands: requests of our own in a new session ------------------------------------------------------------

    def _errand(self, method: str, params: dict[str, object]) -> list[Command]:
        request = msg.request(self._next_private_id(), method, params)
        self._errands[request.key] = request
        return [ToServer(request, request.key)]

    def _look_at_lists(self) -> list[Command]:
        """Ask for the lists that the host has seen, as they may be others in the new session."""
        if self._stale or self._stood_in or self._reopening is not None:
            return []
        offered = self._memory.capabilities()
        commands: list[Command] = []
        for method in self._memory.to_compare():
            if greeting.kind_of(method) in offered:
                commands += self._errand(method, {})
        return commands

    def _errand_done(self, answer: Message) -> list[Command]:
        request = self._errands.pop(answer.key)
        method = request.method or ""
        if answer.kind is Kind.ERROR:
            return [Note("warning", f"the new session did not take over {method}: {_words_of(answer)}")]
        if method not in greeting.LISTS or self._memory.is_as_known(method, answer):
            return []
        self._memory.saw(request, answer)
        return [*self._keep(), *self._tell(*greeting.list_changed([greeting.kind_of(method)]))]

    def _errand_failed(self, key: Key, fault: Fault | None) -> list[Command]:
        request = self._errands.pop(key)
        return [Note("warning", f"the new session did not take over {request.method}: {fault or 'no answer came'}")]


def _words_of(error: Message) -> str:
    """Return the message of a JSON-RPC error, for a sentence."""
    found = error.doc.get("error")
    return printable(str(found.get("message", "")), 200) if isinstance(found, dict) else ""


def _before_sending(fault: Fault) -> Fault:
    """Return the same trouble for a request that it kept from being sent: that one cannot have run."""
    if not fault.may_have_run:
        return fault
    hint = "It was not sent: it is safe to try again." if fault.hint == fault.default_hint else fault.hint
    return fault.restated(hint=hint, may_have_run=False)
