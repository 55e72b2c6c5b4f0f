"""Streamable HTTP of 2025-03-26 to 2025-11-25: each message its own POST, each answer its own body or stream.

A driver: what statuses mean is in core.http.answers, which message is the answer in core.http.exchange, ids and
versions in core.http.legacy, when to reopen a stream in core.http.resume. Here they are carried out over the HTTP port.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TimedOut,
    TooLarge,
    Unreachable,
)
from mcp_remote_py.core.http import retry_after
from mcp_remote_py.core.http.answers import (
    Asked,
    Body,
    is_passing,
    is_unknown_event,
    judge_listen,
    judge_post,
    judge_resumption,
    may_be_offered_later,
)
from mcp_remote_py.core.http.exchange import Exchange
from mcp_remote_py.core.http.headers import LAST_EVENT_ID, SESSION_ID, TO_LISTEN, TO_POST, Headers
from mcp_remote_py.core.http.legacy import Session, Ticket
from mcp_remote_py.core.http.origins import Origin, origin_of
from mcp_remote_py.core.http.resume import LONGEST_CALL_PAUSE, STIRRED_PAUSE, Cursor, Pause
from mcp_remote_py.core.http.statuses import Reply
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.net.http import Bound, Response, let_end
from mcp_remote_py.net.wakefulness import Wakefulness
from mcp_remote_py.transports.breakable import Breakable
from mcp_remote_py.transports.clock import Bell, Clock
from mcp_remote_py.transports.event_stream import EventStream
from mcp_remote_py.transports.incoming import messages_in
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.remote import Remote
from mcp_remote_py.transports.signs import listened

_LOG = logging.getLogger("mcp_remote_py.transports.streamable_http")
_TRANSIENT = (Unreachable, TimedOut, Interrupted)

INITIALIZE = "initialize"
DELETE_SECONDS = 1.5
_SHORTEST_SECRET = 6
"""Shorter session ids (`1`) are also words of innocent sentences."""
HURRIED_SECONDS = 0.1
_UNTIL_ASKED = Pause(STIRRED_PAUSE, 86_400.0)
"""After a refused sign-in: asking again and again with the same credentials gets accounts locked."""


class _Standing(Enum):
    """How one attempt at the standing stream ended."""

    STOOD = "stood"
    FAILED = "failed"
    LOCKED = "locked"
    """The server wants other credentials than it took before."""
    NOT_OFFERED = "not offered"


class _Call:
    """One request on its way: its exchange, where its stream stands, and the session it belongs to."""

    def __init__(self, exchange: Exchange, ticket: Ticket) -> None:
        self.exchange = exchange
        self.ticket = ticket
        self.cursor = Cursor(LONGEST_CALL_PAUSE)
        self.offered: str | None = None
        """The session id that came with the answer."""
        self.offered_by: Origin | None = None


class StreamableHttp:
    """See the module's text, and `core.link`."""

    traits = Traits(streams_per_exchange=True)

    def __init__(self, remote: Remote, clock: Clock | None = None, wakefulness: Wakefulness | None = None) -> None:
        self._remote = remote
        self._limit = remote.limit
        self._clock = clock or Clock()
        self._wakefulness = wakefulness or Wakefulness()
        self._session = Session()
        self._bell = Bell()
        """Rings when a message goes out and when this machine woke up; over when the link is closed."""
        self._deliver: Deliver

    async def open(self, deliver: Deliver) -> None:
        self._deliver = deliver
        await self._remote.open()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        self._wakefulness.glance()
        self._bell.ring()  # whoever waits to reopen a stream tries at once: somebody wants to speak with the server
        if message.kind is Kind.REQUEST:
            await self._ask(message, written)
        else:
            await self._tell(message, written)

    # --- One POST ----------------------------------------------------------------------------------------------

    async def _tell(self, message: Message, written: Callable[[], None] | None) -> None:
        """Post a notification or an answer: any success will do."""
        ticket, own = self._session.ticket, TO_POST + self._session.version_header()
        asked = Asked(is_request=False, in_session=self._session.is_bound, with_token=self._remote.with_token)
        bound = self._bound()
        async with self._remote.request("POST", self._remote.url, own, message, written, bound) as response:
            verdict = judge_post(self._remote.reply(response), asked)
            if verdict.fault is None:
                await let_end(response.chunks())
                return
        raise self._noted(verdict.fault, ticket)

    async def _ask(self, message: Message, written: Callable[[], None] | None) -> None:
        in_session = self._session.is_bound and message.method != INITIALIZE
        exchange = Exchange(message, self._remote.host, in_session=in_session, depth=self._remote.depth)
        call = _Call(exchange, self._session.begin() if exchange.opens_session else self._session.ticket)
        try:
            with self._wakefulness.watching(self._doubt):  # a call may wait for hours on a connection that died
                await self._exchange(call, message, written)
        except SessionLost as fault:
            raise self._noted(fault, call.ticket) from None
        finally:
            if exchange.opens_session:
                self._session.failed(call.ticket)  # without effect where the answer opened it

    async def _exchange(self, call: _Call, message: Message, written: Callable[[], None] | None) -> None:
        own, bound = TO_POST + self._session.version_header(), self._bound()
        asked = Asked(is_request=True, in_session=call.exchange.in_session, with_token=self._remote.with_token)
        broken: Fault | None = None
        async with self._remote.request("POST", self._remote.url, own, message, written, bound) as response:
            verdict = judge_post(self._remote.reply(response), asked)
            self._note_session(call, response)
            answer = self._listened(call, response)
            if verdict.body is Body.JSON:
                await self._read_json(call, answer)
            elif verdict.body is Body.EVENTS:
                broken = await self._read_events(call, answer)
            elif verdict.body is Body.ERROR:
                await self._read_error(call, answer)
        if call.exchange.answered:
            return
        if verdict.fault is not None:
            raise verdict.fault
        await self._resume(call, broken)

    def _bound(self) -> Bound:
        """The session id, for the origin that gave it: whoever has it has the session."""
        origin = self._session.origin
        return () if origin is None else ((origin, self._session.id_header()),)

    def _note_session(self, call: _Call, response: Response) -> None:
        call.offered, call.offered_by = response.header(SESSION_ID) or None, origin_of(response.url)
        if call.offered is not None and len(call.offered) >= _SHORTEST_SECRET:
            self._remote.learn(call.offered)

    def _listened(self, call: _Call, response: Response) -> Response:
        return listened(response, call.exchange.key, self._remote.heard, self._remote.host)

    async def _read_json(self, call: _Call, response: Response) -> None:
        await self._hand_on(call, await response.read(self._limit))
        if not call.exchange.answered:
            missing = PeerBroke(f"{self._remote.host} answered with messages among which the answer is not")
            raise call.exchange.over(missing)

    async def _read_error(self, call: _Call, response: Response) -> None:
        """Look for a JSON-RPC error in the body of a 4xx or 5xx: it says more than the status."""
        try:
            raw = await response.read(self._limit)
        except Fault:
            return  # the status has been read, and says enough
        error = call.exchange.read_error(raw, response.status)
        if error is not None:
            await self._deliver(error, call.exchange.key)

    async def _read_events(self, call: _Call, response: Response, *, again: bool = False) -> Fault | None:
        """Read until the answer or the end. Returns how the stream broke, None where it ended in order.

        `again`: the stream was taken up again, and the server may repeat what it said before.
        """
        chunks, cursor = response.chunks(), call.cursor
        started = self._clock.now()
        try:
            with self._breakable(chunks, cursor, lambda: self._is_resumable(call)) as breakable:
                async for event in EventStream(breakable, self._limit, self._remote.host):
                    if again and cursor.is_repeat(event.id, event.data):
                        cursor.passed_over(event.retry)
                        continue
                    if event.is_message:
                        await self._hand_on(call, event.data.encode("utf-8"))
                    cursor.saw(event.id, event.retry, event.data)
                    if call.exchange.answered:
                        await let_end(chunks)
                        return None
        except Interrupted as fault:
            return fault
        finally:
            now = self._clock.now()
            cursor.ended(now - started, now)
        return None

    @contextmanager
    def _breakable(
        self, chunks: AsyncIterator[bytes], cursor: Cursor, may_break: Callable[[], bool]
    ) -> Iterator[Breakable]:
        """Read a stream that is left, to be taken up again, when this machine slept or its network changed."""
        breakable = Breakable(chunks, self._remote.host, may_break)

        def told(wake: Wake | None) -> None:
            self._doubt(wake)
            if wake is not None and wake.is_doubtful and may_break():
                cursor.hurry()
                breakable.break_off()

        with self._wakefulness.watching(told):
            yield breakable

    async def _pause(self, pause: Pause, heard: int | None = None) -> None:
        """Wait; a message of the host, or the waking up of this machine, ends what the server did not ask for."""
        with self._wakefulness.watching(self._rung):
            await self._clock.pause(pause, self._bell, heard)

    def _doubt(self, wake: Wake | None) -> None:
        if wake is not None and wake.is_doubtful:
            self._remote.doubt()

    def _rung(self, wake: Wake | None) -> None:
        self._doubt(wake)
        if wake is not None:
            self._bell.ring()

    async def _hand_on(self, call: _Call, raw: bytes) -> None:
        for message in call.exchange.read(raw):
            if message.is_answer and call.exchange.opens_session:
                # before the host sees the answer: what it sends next must carry the session and the version
                self._session.answered(call.ticket, message, call.offered, self._remote.host, call.offered_by)
            await self._deliver(message, call.exchange.key)

    def _noted(self, fault: Fault, ticket: Ticket) -> Fault:
        if isinstance(fault, SessionLost):
            self._session.lost(ticket)
        return fault

    # --- A stream that ended before its answer -----------------------------------------------------------------

    async def _resume(self, call: _Call, broken: Fault | None) -> None:
        """Take the stream up again with GET until the answer came or nothing more can be hoped for."""
        while not call.exchange.answered:
            if not self._can_resume(call):
                raise call.exchange.over(broken)
            await self._pause(call.cursor.pause(self._clock.chance()))
            if not self._is_resumable(call):
                raise call.exchange.over(broken)
            refusal = await self._resume_once(call)
            if refusal is not None:
                raise call.exchange.over(refusal)

    def _can_resume(self, call: _Call) -> bool:
        return self._is_resumable(call) and not call.cursor.is_hopeless(self._clock.now())

    def _is_resumable(self, call: _Call) -> bool:
        """Only with an event id, and only in the session in which it was given."""
        return (
            call.cursor.last_id is not None
            and call.ticket == self._session.ticket
            and not call.exchange.opens_session
            and not self._bell.over
        )

    async def _resume_once(self, call: _Call) -> Fault | None:
        """Make one attempt. Returns the fault that forbids another one."""
        own = (*TO_LISTEN, *self._session.version_header(), (LAST_EVENT_ID, call.cursor.last_id or ""))
        try:
            async with self._remote.request("GET", self._remote.url, own, bound=self._bound()) as response:
                reply = self._remote.reply(response)
                if not is_passing(reply.status):
                    refusal = judge_resumption(reply)
                    if refusal is None:
                        await self._read_events(call, self._listened(call, response), again=True)
                    return refusal
                call.cursor.put_off(retry_after.seconds(reply.retry_after, reply.date, reply.now))
        except _TRANSIENT as fault:
            _LOG.debug("an answer could not be taken up again yet: %s", fault)
        except (Refused, SignInNeeded) as fault:  # a redirect elsewhere; no token to be had any more
            return Interrupted(f"the answer was interrupted; {fault}", http_status=fault.http_status)
        call.cursor.ended(None, self._clock.now())
        return None

    # --- The standing stream -----------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Stay with the stream for as long as the host lives, unless the server does not offer it at all."""
        cursor, ticket, stood = Cursor(), self._session.ticket, False
        while not self._bell.over:
            if ticket != self._session.ticket:
                cursor, ticket = Cursor(), self._session.ticket
            heard = self._bell.count
            outcome = await self._listen_once(cursor, stood=stood)
            if outcome is _Standing.NOT_OFFERED:
                return
            stood = stood or outcome is _Standing.STOOD
            pause = _UNTIL_ASKED if outcome is _Standing.LOCKED else cursor.pause(self._clock.chance())
            # who spoke during an attempt that failed wanted it to be made with what is so now
            await self._pause(pause, heard if outcome is _Standing.FAILED else None)

    async def _listen_once(self, cursor: Cursor, *, stood: bool) -> _Standing:
        """Make one attempt. `stood`: the server is known to offer the stream. Raises `SignInNeeded`, `SessionLost`."""
        own = TO_LISTEN + self._session.version_header()
        if cursor.last_id is not None:
            own += ((LAST_EVENT_ID, cursor.last_id),)
        started: float | None = None
        try:
            async with self._remote.request("GET", self._remote.url, own, bound=self._bound()) as response:
                reply = self._remote.reply(response)
                verdict = judge_listen(reply, with_token=self._remote.with_token)
                if verdict is None:
                    return self._refused_standing(cursor, reply, stood=stood)
                if verdict.fault is not None:
                    raise verdict.fault
                started = self._clock.now()
                await self._read_standing(cursor, response)
        except Refused:
            return _Standing.NOT_OFFERED
        except SignInNeeded as fault:
            if not stood:
                raise
            _LOG.warning("the stream for what the server says on its own waits for the next message: %s", fault)
            return _Standing.LOCKED
        except _TRANSIENT as fault:
            _LOG.debug("the stream for what the server says on its own broke: %s", fault)
        except (TooLarge, PeerBroke) as fault:
            _LOG.warning("the stream for what the server says on its own begins anew: %s", fault)
            cursor.spoiled()
        finally:
            now = self._clock.now()
            cursor.ended(None if started is None else now - started, now)
        return _Standing.FAILED if started is None else _Standing.STOOD

    def _refused_standing(self, cursor: Cursor, reply: Reply, *, stood: bool) -> _Standing:
        """Say what a refusal means. Raises `SessionLost` where a session that stood is gone."""
        cursor.put_off(retry_after.seconds(reply.retry_after, reply.date, reply.now))
        if stood and self._session.is_bound and reply.status in (404, 410):
            text = f"{reply.host} does not know the session any more (HTTP {reply.status})"
            raise SessionLost(text, http_status=reply.status)
        if stood and cursor.last_id is not None and is_unknown_event(reply.status):
            cursor.spoiled()  # it is asked once more, for what comes from now on
            return _Standing.FAILED
        again = is_passing(reply.status) if stood else may_be_offered_later(reply.status, cursor.fruitless + 1)
        return _Standing.FAILED if again else _Standing.NOT_OFFERED

    async def _read_standing(self, cursor: Cursor, response: Response) -> None:
        again = cursor.last_id is not None
        with self._breakable(response.chunks(), cursor, lambda: not self._bell.over) as breakable:
            async for event in EventStream(breakable, self._limit, self._remote.host):
                if again and cursor.is_repeat(event.id, event.data):
                    cursor.passed_over(event.retry)
                    continue
                if event.is_message:
                    for message in messages_in(event.data.encode("utf-8"), self._remote.host, self._remote.depth):
                        await self._deliver(message, None)
                cursor.saw(event.id, event.retry, event.data)

    # --- The end -----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        if self._bell.over:
            return
        self._bell.end()
        self._wakefulness.end()
        bound = self._bound()
        try:
            if self._session.leave() is not None:
                await self._end_session(self._session.version_header(), bound)
        finally:
            await self._remote.close()

    async def _end_session(self, own: Headers, bound: Bound) -> None:
        """Tell the server that the session is over. Any answer will do, and none as well."""
        gone = asyncio.Event()
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                await self._delete(own, bound, gone)
        except TimeoutError:
            pass  # the server will notice by itself
        except asyncio.CancelledError:
            if not gone.is_set():
                try:
                    async with asyncio.timeout(HURRIED_SECONDS):
                        await self._delete(own, bound, gone)
                except TimeoutError:
                    pass  # we are in a hurry, and tried
            raise

    async def _delete(self, own: Headers, bound: Bound, gone: asyncio.Event) -> None:
        try:
            async with self._remote.request("DELETE", self._remote.url, own, written=gone.set, bound=bound):
                pass
        except Fault:
            pass  # a server may refuse to be told (405), and may be gone already


def make_link(reach: Reach) -> StreamableHttp:
    """Return a link to this server."""
    return StreamableHttp(Remote(reach))
