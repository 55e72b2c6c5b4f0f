"""The driver of client sessions: each owns the link to its backend, its open requests, and its streams.

Request handlers of the wires own nothing: they *submit* messages and *attach* to streams for as long as their
connection lives. The `Gateway` holds all sessions, and the TaskGroup they live in. Which stream gets a message is
decided in `core/outbox`; whether an answer may go out, in `InFlight` alone. No wire's types here. (MCP 2025-11-25,
Transports: "Session Management", "Multiple Connections", "Resumability and Redelivery")
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Self

from mcp_remote_py.core.errors import BackendDown, Fault, PeerBroke, Refused, as_error
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import JsonId, Key, Kind, Message, error, key_of, with_id
from server_stub.backends import Connect, Peer
from server_stub.core.admission import SOURCE, Known, Posted, stopping
from server_stub.core.outbox import STANDING, Elsewhere, Event, EventId, Outbox, Reader
from server_stub.events import EventStore
from server_stub.settings import Limits, Timing

logger = logging.getLogger(__name__)

_BACKLOG_COUNT = 500
_BACKLOG_BYTES = 8 * 1024 * 1024
_INBOX = 1000
_CLOSING_SECONDS = 7.0
"""What the link of a session that ended may take to close."""
_TO_ASK = 5.0
"""Seconds in which a client may ask a session whose link could not be opened, to be told why."""


class Wire(Enum):
    """By which wire a session was opened; it is found by that one only."""

    STREAMABLE = "Streamable HTTP"
    STATELESS = "Streamable HTTP without sessions"
    SSE = "HTTP+SSE"
    WEBSOCKET = "WebSocket"


class Exchange(NamedTuple):
    """One open request of the client."""

    identifier: JsonId
    method: str | None


class Feed:
    """One connection, attached to one stream of a session."""

    def __init__(self, session: Session, number: int, reader: Reader, alive: Callable[[], bool]) -> None:
        self.number = number
        self.alive = alive
        self._session = session
        self._reader = reader
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._is_late = False

    async def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None at the end of the stream. Raises `TimeoutError`.

        One connection waits here at a time, for every message: so a bare timer, which costs a third of a `timeout()`.
        """
        timer: asyncio.TimerHandle | None = None
        self._is_late = False
        try:
            while True:
                event = self._reader.take()
                if event is not None:
                    self._moved.set()
                    return event
                if self._reader.closed:
                    return None
                if self._is_late:
                    raise TimeoutError
                if timer is None and timeout is not None:
                    timer = asyncio.get_running_loop().call_later(timeout, self._ring)
                self._news.clear()
                await self._news.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _ring(self) -> None:
        self._is_late = True
        self._news.set()

    def replay(self, events: list[Event]) -> None:
        """Put stored events before the live ones."""
        self._reader.replay(events)

    def wake(self) -> None:
        """Something was pushed, or the reader was closed."""
        self._news.set()
        self._moved.set()

    async def room(self) -> None:
        """Wait until the connection is not far behind, or gone."""
        while not self._reader.closed and self._is_behind():
            self._moved.clear()
            await self._moved.wait()

    def _is_behind(self) -> bool:
        count, size = self._reader.backlog
        return count >= _BACKLOG_COUNT or (count > 0 and size >= _BACKLOG_BYTES)

    def detach(self) -> None:
        """The connection is gone; the stream goes on without it. May be called twice."""
        self._session.detached(self, self._reader)
        self.wake()


class Surroundings(NamedTuple):
    """What every session of a gateway shares."""

    store: EventStore
    limits: Limits
    now: Callable[[], float]
    ended: Callable[[Session], None]
    changed: Callable[[], None]
    observe: Callable[[str, str | None, JsonId | None], None] | None = None


class _Over(Exception):
    """Leaves the TaskGroup of a session that has ended."""


class Session:
    """One client session. `live()` is its life; everything else may be called from any request handler."""

    def __init__(self, identifier: str, wire: Wire, principal: str | None, link: Link, around: Surroundings) -> None:
        self.identifier = identifier
        self.wire = wire
        self.principal = principal
        self.version: str | None = None
        """What initialize negotiated."""
        self.replays = wire is Wire.STREAMABLE
        self.label = hashlib.sha256(identifier.encode()).hexdigest()[:8]
        """How logs name the session; the id itself is a secret."""
        self._link = link
        self._around = around
        self._named = link.traits.streams_per_exchange
        self._outbox = Outbox(shared=wire in (Wire.SSE, Wire.WEBSOCKET), named=self._named)
        self._feeds: dict[int, Feed] = {}
        self._kept: set[int] = {STANDING}
        self._open: InFlight[Exchange] = InFlight()
        self._asked: InFlight[int | None] = InFlight()  # requests of the server: the stream, None while held
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._unsent = 0
        self._inbox_moved = asyncio.Event()
        self._posting = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()
        self._fault: Fault | None = None
        self._started = False
        self._fleeting = False
        self._active = around.now()

    # --- for the endpoints -------------------------------------------------------------------------------------------

    @property
    def known(self) -> Known:
        """What admission needs to know."""
        full = len(self._open) >= self._around.limits.in_flight
        return Known(self.version, self._started, self._open, full)

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def fault(self) -> Fault | None:
        """Why the session ended, where it was not the client's wish."""
        return self._fault

    @property
    def is_busy(self) -> bool:
        """Whether a call is running."""
        return not self.is_over and len(self._open) > 0

    def idle_for(self) -> float:
        """Return the seconds since anything happened; 0 while a call runs or a stream is open."""
        return 0.0 if self.is_busy or self._outbox.any_attached else self._around.now() - self._active

    def submit(self, posted: Posted, *, carries: bool = True, keeps: bool = True) -> Feed | None:
        """Take messages that passed admission. Returns the feed of their answers where there are requests.

        `carries`: the connection can take more than answers. `keeps`: what is sent there is stored for a replay.
        On a shared stream there is no feed of their own.
        """
        self._active = self._around.now()
        requests = posted.requests
        feed: Feed | None = None
        if requests:
            self._started = self._started or posted.initialize is not None
            number = self._outbox.begin(requests, carries=carries and posted.initialize is None)
            for one in requests:
                self._open.begin(one.key, Exchange(_id(one), one.method))
                if self._around.observe is not None:
                    self._around.observe(self.label, one.method, one.id)
            if number != STANDING:
                if keeps and self.replays:
                    self._kept.add(number)
                feed = self._attach(number, 0, lambda: True)
        for one in posted.messages:
            self._receive(one)
        self._flush_soon()
        return feed

    async def caught_up(self) -> None:
        """Wait while too much of what was submitted is still on its way to the backend."""
        while self._unsent > _INBOX and not self._over.is_set():
            self._inbox_moved.clear()
            await self._inbox_moved.wait()

    def attach(self, alive: Callable[[], bool] = lambda: True) -> Feed | None:
        """Attach to the standing stream. None while another connection that is alive has it."""
        current = self._feeds.get(STANDING)
        if current is not None and current.alive():
            return None
        feed = self._attach(STANDING, None, alive)
        self._flush_soon()
        return feed

    def channel(self, alive: Callable[[], bool]) -> Feed:
        """Attach the one connection of a session that is its connection (HTTP+SSE, WebSocket)."""
        return self._attach(STANDING, None, alive)

    async def resume(self, cursor: EventId, alive: Callable[[], bool] = lambda: True) -> Feed | None:
        """Attach to a stream again, behind the event the client had last. None: the cursor is unknown.

        A connection that the stream still has is closed: whoever resumes says that it is dead.
        """
        if not self._outbox.is_open(cursor.stream):
            events = await self._around.store.after(self.identifier, cursor) if self.replays else None
            if events is None:
                return None
            reader = Reader(cursor.place)
            reader.replay(events)
            reader.closed = True
            return Feed(self, cursor.stream, reader, alive)
        newest = self._outbox.place_of(cursor.stream).place
        if cursor.stream not in self._kept or cursor.place > newest:
            return None
        feed = self._attach(cursor.stream, cursor.place, alive)
        if cursor.place < newest:
            events = await self._around.store.after(self.identifier, cursor)
            if events is None:
                feed.detach()
                return None
            feed.replay(events)
        self._flush_soon()
        return feed

    def place_of(self, number: int) -> EventId:
        """Return the id of the newest event on a stream that is open; of one that is over, its beginning."""
        return self._outbox.place_of(number) if self._outbox.is_open(number) else EventId(number, 0)

    async def say(self, message: Message) -> None:
        """Put a message of our own on the standing stream."""
        await self._put(STANDING, message)

    async def forget(self, number: int) -> None:
        """Nobody will resume this stream: its answers have arrived another way."""
        await self._around.store.forget(self.identifier, number)

    def end(self, fault: Fault | None = None) -> None:
        """End the session. Open requests are answered with the fault; with None there is nobody to answer."""
        if not self._over.is_set():
            self._fault = fault
            self._over.set()
            self._around.ended(self)

    def end_when_done(self) -> None:
        """End the session as soon as what was submitted is sent and answered (`--stateless`)."""
        self._fleeting = True
        self._look_whether_done()

    def detached(self, feed: Feed, reader: Reader) -> None:
        """A feed says that its connection is gone."""
        self._active = self._around.now()
        self._outbox.detach(feed.number, reader)
        if self._feeds.get(feed.number) is feed:
            del self._feeds[feed.number]

    # --- life --------------------------------------------------------------------------------------------------------

    async def live(self, closing_time: Callable[[], float]) -> None:
        """Open the link, carry messages until the session ends, answer what is open, close the link.

        `closing_time()` is the loop's time by which the link must be closed.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._hear(group))
                await self._over.wait()
                raise _Over
        except* _Over:
            pass
        except* Exception:
            # A link raises nothing but faults, so this is a bug: it ends this session and no other.
            logger.exception("session %s failed", self.label)
            self.end(BackendDown("The server failed while it carried this call."))
        finally:
            self._group = None
            self.end(stopping(may_have_run=True))
            await self._wind_up(closing_time)

    async def _wind_up(self, closing_time: Callable[[], float]) -> None:
        for key in self._open:
            entry = self._open.get(key)
            if entry is not None and self._fault is not None:
                await self._answer(as_error(self._fault, entry.identifier, SOURCE))
        self._outbox.close()
        for feed in tuple(self._feeds.values()):
            feed.wake()
        self._inbox_moved.set()
        try:
            async with asyncio.timeout_at(closing_time()):
                await self._link.close()
        except TimeoutError:
            logger.warning("session %s: the backend did not close in time", self.label)
        except Fault as fault:
            logger.warning("session %s: the backend closed with %s", self.label, fault.name)
        await self._around.store.forget(self.identifier)

    async def _hear(self, group: asyncio.TaskGroup) -> None:
        is_open = False
        try:
            await self._link.open(self._deliver)
            is_open = True
            group.create_task(self._pump(group))
            await self._link.listen()
        except Fault as fault:
            logger.warning("session %s: %s", self.label, fault)
            if not is_open:
                await self._first_request()
            self.end(fault)

    async def _first_request(self) -> None:
        """Wait for a request to answer: on an event stream or a WebSocket the client has not said anything yet."""
        try:
            async with asyncio.timeout(_TO_ASK):
                while not self._open:
                    await self._inbox.get()
        except TimeoutError:
            pass  # a client that asks for nothing is told nothing

    # --- client to server --------------------------------------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        if message.is_answer:
            if message.id is None or key_of(message.id) not in self._asked:
                logger.debug("session %s: an answer to nothing was dropped", self.label)
                return
            self._asked.finish(message.key)
        elif message.method == "notifications/cancelled":
            self._cancel(message.params.get("requestId"))
        self._unsent += 1
        self._inbox.put_nowait(message)

    def _cancel(self, value: object) -> None:
        """The client wants no answer any more: none is sent, and the stream ends."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return
        key = key_of(value)
        entry = self._open.get(key)
        if entry is None or entry.method == "initialize":  # which may not be cancelled
            return
        number = self._outbox.stream_of(key)
        self._open.finish(key)
        self._finish(key)
        if number is not None and not self._outbox.is_open(number) and self.replays and self._group is not None:
            self._group.create_task(self.forget(number))  # so that nobody resumes a stream without an answer

    async def _pump(self, group: asyncio.TaskGroup) -> None:
        """Send what was submitted, in that order.

        A link that names its requests takes them side by side, and notifications, too: what a handler does at one may
        wait for an answer that comes later. Its first step runs before the next message is looked at.
        """
        while True:
            message = await self._inbox.get()
            if self._named:
                group.create_task(self._carry(message))
                await asyncio.sleep(0)
            else:
                await self._carry(message)

    async def _carry(self, message: Message) -> None:
        if message.kind is not Kind.REQUEST:
            await self._carry_notice(message)
            self._sent()
            return
        self._sent()  # from now on it counts as open
        key = message.key
        entry = self._open.get(key)
        try:
            await self._link.send(message)
        except Fault as fault:
            await self._answer_if_open(message, entry, fault)
        else:
            if self._named and self._open.get(key) is not None:
                broken = PeerBroke("The server gave no answer to this request.", hint="Its log may say more.")
                await self._answer_if_open(message, entry, broken)

    async def _carry_notice(self, message: Message) -> None:
        try:
            await self._link.send(message)
        except Fault as fault:
            logger.warning("session %s: %s was not carried: %s", self.label, message.method or "answer", fault)

    async def _answer_if_open(self, message: Message, entry: Exchange | None, fault: Fault) -> None:
        """Answer with a fault, unless the request has had its answer (and its id, perhaps, another request)."""
        if entry is not None and self._open.get(message.key) is entry:
            await self._answer(as_error(fault, message.id, SOURCE))

    def _sent(self) -> None:
        self._unsent -= 1
        self._inbox_moved.set()
        self._look_whether_done()

    # --- server to client --------------------------------------------------------------------------------------------

    async def _deliver(self, message: Message, exchange: Key | None) -> None:
        if message.is_answer:
            await self._answer_from(message, exchange)
        elif message.kind is Kind.REQUEST and self.wire is Wire.STATELESS:
            refusal = error(message.id, -32601, "This server has no sessions, so no request can reach the client.")
            self._unsent += 1
            self._inbox.put_nowait(refusal)
        else:
            await self._tell(message, exchange)

    async def _answer_from(self, message: Message, exchange: Key | None) -> None:
        if message.id is None:
            entry = self._open.get(exchange) if exchange is not None else None
            if entry is None:
                logger.warning("session %s: an error without an id was dropped", self.label)
                return
            message = with_id(message, entry.identifier)
        await self._answer(message)

    async def _answer(self, message: Message) -> None:
        """Let an answer out, if its request still waits for one."""
        key = message.key
        async with self._posting:
            entry = self._open.finish(key)
            number = self._outbox.stream_of(key)
            if entry is None or number is None:
                logger.debug("session %s: an answer nobody waits for was dropped", self.label)
                return
            if entry.method == "initialize":
                self._note_handshake(message)
            await self._post(number, message)
        self._finish(key)
        if entry.method == "initialize" and message.kind is Kind.ERROR and self.wire is Wire.STREAMABLE:
            self.end()

    def _note_handshake(self, answer: Message) -> None:
        version = answer.result.get("protocolVersion")
        if answer.kind is Kind.RESULT:
            self.version = version if isinstance(version, str) else None
        else:
            self._started = False

    def _finish(self, key: Key) -> None:
        number = self._outbox.stream_of(key)
        if self._outbox.finish(key) and number is not None:
            self._kept.discard(number)
            if number in self._feeds:
                self._feeds[number].wake()
        self._active = self._around.now()
        self._around.changed()
        self._look_whether_done()

    async def _tell(self, message: Message, exchange: Key | None) -> None:
        asked_on: int | None = None
        if message.method == "notifications/cancelled":
            cancelled = _key(message.params.get("requestId"))
            if cancelled is None or cancelled not in self._asked:
                return  # the question was never sent, or is answered already
            asked_on = self._asked.finish(cancelled)
            if self._outbox.withdraw(cancelled):
                return
        where = self._outbox.choose(message, exchange, asked_on)
        if not isinstance(where, Elsewhere):
            feed = self._feeds.get(where)
            if feed is not None:
                await feed.room()
                where = self._outbox.choose(message, exchange, asked_on)  # it may have gone meanwhile
        if where is Elsewhere.DROP:
            logger.debug("session %s: %s belongs to nothing and was dropped", self.label, message.method)
        elif where is Elsewhere.HOLD:
            self._hold(message)
        elif isinstance(where, int):
            self._note_asked(message, where)
            await self._put(where, message)

    def _note_asked(self, message: Message, number: int | None) -> None:
        if message.kind is Kind.REQUEST:
            self._asked.begin(message.key, number)

    async def _put(self, number: int, message: Message) -> None:
        async with self._posting:
            if self._outbox.is_open(number):
                await self._post(number, message)

    async def _post(self, number: int, message: Message) -> None:
        """Store first, then push: whoever resumes finds what was sent."""
        event = self._outbox.stamp(number, message)
        if self.replays and number in self._kept:
            await self._around.store.append(self.identifier, event)
        self._outbox.push(event)
        if number in self._feeds:
            self._feeds[number].wake()

    # --- streams -----------------------------------------------------------------------------------------------------

    def _attach(self, number: int, after: int | None, alive: Callable[[], bool]) -> Feed:
        older = self._feeds.get(number)
        feed = Feed(self, number, self._outbox.attach(number, after), alive)
        self._feeds[number] = feed
        self._active = self._around.now()
        if older is not None:
            older.wake()
        if self._over.is_set():
            self._outbox.close()
        return feed

    def _flush_soon(self) -> None:
        if self._group is not None and self._outbox.holds and not self._over.is_set():
            self._group.create_task(self._flush())

    async def _flush(self) -> None:
        """Send what waited for a stream, now that there may be one."""
        for message in self._outbox.take_held():
            where = self._outbox.choose(message)
            if isinstance(where, int):
                self._note_asked(message, where)
                await self._put(where, message)
            else:
                self._hold(message)

    def _hold(self, message: Message) -> None:
        """Keep a message until a stream comes; a request for which there is no room is answered for the client."""
        if self._outbox.hold(message):
            self._note_asked(message, None)
        elif message.kind is Kind.REQUEST:
            self._asked.finish(message.key)
            text = "The client is not listening, and too many questions wait for it already."
            self._unsent += 1
            self._inbox.put_nowait(error(message.id, -32603, text))

    def _look_whether_done(self) -> None:
        if self._fleeting and not self._unsent and not len(self._open):
            self.end()


def _id(message: Message) -> JsonId:
    if message.id is None:
        raise LookupError("a request has an id")
    return message.id


def _key(value: object) -> Key | None:
    return key_of(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


class Gateway:
    """All sessions, and the TaskGroup in which they live. An async context manager."""

    def __init__(self, connect: Connect, store: EventStore, limits: Limits, timing: Timing, *, stateless: bool) -> None:
        self.stopping = False
        self.observe: Callable[[str, str | None, JsonId | None], None] | None = None
        """Told of every request of a client: the label of its session, the method, the id."""
        self.elders: Callable[[], Iterable[Gateway]] = tuple
        """Gateways whose place this one has taken, while calls are open there."""
        self._connect = connect
        self._store = store
        self._limits = limits
        self._timing = timing
        self._stateless = stateless
        self._sessions: dict[str, Session] = {}
        self._living: dict[Session, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._close_by: float | None = None
        self._end_by: float | None = None
        self._group = asyncio.TaskGroup()
        self._reaper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        if self._limits.session_idle is not None:
            self._reaper = self._group.create_task(self._reap(self._limits.session_idle))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error_: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.stop(grace=0.0)
        await self._group.__aexit__(kind, error_, trace)

    def open(self, wire: Wire, principal: str | None) -> Session:
        """Open a session. Raises `ShuttingDown`, or `Refused` where there are too many."""
        if self.stopping:
            raise stopping()
        if len(self._living) >= self._limits.sessions:
            hint = "Try again later, or raise --max-sessions on the server."
            raise Refused("The server has as many sessions as it may have.", hint=hint, http_status=503)
        identifier = secrets.token_urlsafe(24)
        link = self._connect(Peer(None if self._stateless else identifier, principal))
        around = Surroundings(self._store, self._limits, _now, self._ended, self._changed.set, self.observe)
        session = Session(identifier, wire, principal, link, around)
        self._sessions[identifier] = session
        task = self._group.create_task(session.live(self._closing_time))
        self._living[session] = task
        task.add_done_callback(lambda _: self._gone(session))
        logger.debug("session %s opened over %s", session.label, wire.value)
        return session

    def find(self, wire: Wire, identifier: str, principal: str | None) -> Session | None:
        """Return a session to whom it belongs; None where it is unknown, over, or somebody else's."""
        session = self._sessions.get(identifier)
        if session is None or session.wire is not wire or session.principal != principal:
            return None
        return session

    def find_leaving(self, wire: Wire, identifier: str, principal: str | None) -> Session | None:
        """Return a session of an elder: it takes the answers that its open calls wait for, and no requests."""
        found = (elder.find(wire, identifier, principal) for elder in self.elders())
        return next((session for session in found if session is not None), None)

    async def drain(self, grace: float) -> float:
        """Take no new sessions, and give open calls their grace (seconds). Returns the loop's time to be gone by."""
        self.stopping = True
        if self._end_by is None:
            self._end_by = _now() + self._timing.whole_stop
        try:
            async with asyncio.timeout(grace):
                await self._until(lambda: not any(session.is_busy for session in self._living))
        except TimeoutError:
            logger.warning("stopping with calls still open: they are answered with an error")
        return self._end_by

    async def stop(self, grace: float) -> None:
        """Take no new sessions, give open calls their grace (seconds), then end all sessions side by side."""
        end_by = await self.drain(grace)
        if self._close_by is None:
            self._close_by = end_by - 1.5
        for session in tuple(self._living):
            session.end(stopping(may_have_run=True))
        await self._until(lambda: not self._living)
        if self._reaper is not None:
            self._reaper.cancel()

    @property
    def count(self) -> int:
        """How many sessions are open."""
        return len(self._living)

    def sweep(self) -> int:
        """End the sessions that nobody is connected to and that have no call in progress. Returns how many."""
        idle = [session for session in self._sessions.values() if session.idle_for() > 0]
        for session in idle:
            session.end()
        return len(idle)

    def expel(self, is_gone: Callable[[str | None], bool]) -> int:
        """End the sessions of principals who are not let in any more. Returns how many."""
        gone = [session for session in self._sessions.values() if is_gone(session.principal)]
        for session in gone:
            session.end(Refused("The token of this session is not valid any more.", hint="Connect with one that is."))
        return len(gone)

    def hurry(self) -> None:
        """A second signal came: cut everything short. `stop` must still be awaited."""
        self.stopping = True
        self._close_by = _now() + 0.3
        for task in tuple(self._living.values()):
            task.cancel()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _gone(self, session: Session) -> None:
        del self._living[session]
        self._ended(session)
        self._changed.set()
        logger.debug("session %s is over", session.label)

    def _closing_time(self) -> float:
        latest = _now() + _CLOSING_SECONDS
        return latest if self._close_by is None else min(latest, self._close_by)

    def _ended(self, session: Session) -> None:
        self._sessions.pop(session.identifier, None)

    async def _reap(self, limit: float) -> None:
        while True:
            await asyncio.sleep(max(0.02, min(30.0, limit / 4)))
            for session in tuple(self._sessions.values()):
                if session.idle_for() > limit:
                    logger.info("session %s was idle for too long", session.label)
                    session.end()


def _now() -> float:
    return asyncio.get_running_loop().time()
