"""Streamable HTTP of 2025-03-26 to 2025-11-25: each message its own POST, each answer its own body or stream.

A driver: what statuses mean is in core.http.answers, which message is the answer in core.http.exchange, ids and
versions in core.http.legacy, when to reopen a stream in core.http.resume. Here they are carried out over the HTTP port.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
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
from mcp_remote_py.core.http.answers import (
    Asked,
    Body,
    is_passing,
    judge_listen,
    judge_post,
    judge_resumption,
)
from mcp_remote_py.core.http.exchange import Exchange
from mcp_remote_py.core.http.headers import LAST_EVENT_ID, SESSION_ID, TO_LISTEN, TO_POST, Headers
from mcp_remote_py.core.http.legacy import Session, Ticket
from mcp_remote_py.core.http.origins import Origin, origin_of
from mcp_remote_py.core.http.resume import Cursor
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.net.http import Bound, Response, let_end
from mcp_remote_py.transports.clock import Clock
from mcp_remote_py.transports.event_stream import EventStream
from mcp_remote_py.transports.incoming import messages_in
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.remote import Remote
from mcp_remote_py.transports.signs import listened

_LOG = logging.getLogger("mcp_remote_py.transports.streamable_http")
_TRANSIENT = (Unreachable, TimedOut, Interrupted)

INITIALIZE = "initialize"
MOST_FRUITLESS = 5
"""So many attempts in a row to reopen a stream may bring nothing before it is given up."""
DELETE_SECONDS = 1.5
_SHORTEST_SECRET = 6
"""Shorter session ids (`1`) are also words of innocent sentences."""
HURRIED_SECONDS = 0.1


class _Standing(Enum):
    """How one attempt at the standing stream ended."""

    STOOD = "stood"
    FAILED = "failed"
    NOT_OFFERED = "not offered"


class _Call:
    """One request on its way: its exchange, where its stream stands, and the session it belongs to."""

    def __init__(self, exchange: Exchange, ticket: Ticket) -> None:
        self.exchange = exchange
        self.ticket = ticket
        self.cursor = Cursor()
        self.offered: str | None = None
        """The session id that came with the answer."""
        self.offered_by: Origin | None = None


class StreamableHttp:
    """See the module's text, and `core.link`."""

    traits = Traits(streams_per_exchange=True)

    def __init__(self, remote: Remote, clock: Clock | None = None) -> None:
        self._remote = remote
        self._limit = remote.limit
        self._clock = clock or Clock()
        self._session = Session()
        self._closing = asyncio.Event()
        self._deliver: Deliver

    async def open(self, deliver: Deliver) -> None:
        self._deliver = deliver
        await self._remote.open()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
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
        async with self._remote.request("POST", self._remote.url, own, message.raw, written, bound) as response:
            verdict = judge_post(self._remote.reply(response), asked)
            if verdict.fault is None:
                await let_end(response.chunks())
                return
        raise self._noted(verdict.fault, ticket)

    async def _ask(self, message: Message, written: Callable[[], None] | None) -> None:
        in_session = self._session.is_bound and message.method != INITIALIZE
        exchange = Exchange(message, self._remote.host, in_session=in_session)
        call = _Call(exchange, self._session.begin() if exchange.opens_session else self._session.ticket)
        try:
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
        async with self._remote.request("POST", self._remote.url, own, message.raw, written, bound) as response:
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

    async def _read_events(self, call: _Call, response: Response) -> Fault | None:
        """Read until the answer or the end. Returns how the stream broke, None where it ended in order."""
        chunks = response.chunks()
        started = self._clock.now()
        try:
            async for event in EventStream(chunks, self._limit, self._remote.host):
                if event.is_message:
                    await self._hand_on(call, event.data.encode("utf-8"))
                call.cursor.saw(event.id, event.retry)
                if call.exchange.answered:
                    await let_end(chunks)
                    return None
        except Interrupted as fault:
            return fault
        finally:
            call.cursor.ended(self._clock.now() - started)
        return None

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
            await self._clock.pause(call.cursor.pause(), self._closing)
            if not self._can_resume(call):
                raise call.exchange.over(broken)
            refusal = await self._resume_once(call)
            if refusal is not None:
                raise call.exchange.over(refusal)

    def _can_resume(self, call: _Call) -> bool:
        """Only with an event id, and only in the session in which it was given."""
        return (
            call.cursor.last_id is not None
            and call.cursor.fruitless < MOST_FRUITLESS
            and call.ticket == self._session.ticket
            and not call.exchange.opens_session
            and not self._closing.is_set()
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
                        await self._read_events(call, self._listened(call, response))
                    return refusal
        except _TRANSIENT as fault:
            _LOG.debug("an answer could not be taken up again yet: %s", fault)
        except (Refused, SignInNeeded) as fault:  # a redirect elsewhere; no token to be had any more
            return Interrupted(f"the answer was interrupted; {fault}", http_status=fault.http_status)
        call.cursor.ended(0.0)
        return None

    # --- The standing stream -----------------------------------------------------------------------------------

    async def listen(self) -> None:
        cursor, ticket, stood = Cursor(), self._session.ticket, False
        while not self._closing.is_set():
            if ticket != self._session.ticket:
                cursor, ticket = Cursor(), self._session.ticket
            outcome = await self._listen_once(cursor, stood=stood)
            if outcome is _Standing.NOT_OFFERED:
                return
            stood = stood or outcome is _Standing.STOOD
            if not stood and cursor.fruitless >= MOST_FRUITLESS:
                return
            await self._clock.pause(cursor.pause(), self._closing)

    async def _listen_once(self, cursor: Cursor, *, stood: bool) -> _Standing:
        """Make one attempt. `stood`: the server is known to offer the stream. Raises `SignInNeeded` alone."""
        own = TO_LISTEN + self._session.version_header()
        if cursor.last_id is not None:
            own += ((LAST_EVENT_ID, cursor.last_id),)
        started: float | None = None
        try:
            async with self._remote.request("GET", self._remote.url, own, bound=self._bound()) as response:
                reply = self._remote.reply(response)
                verdict = judge_listen(reply, with_token=self._remote.with_token)
                if verdict is None:
                    again = stood and is_passing(reply.status)
                    return _Standing.FAILED if again else _Standing.NOT_OFFERED
                if verdict.fault is not None:
                    raise verdict.fault
                started = self._clock.now()
                await self._read_standing(cursor, response)
        except Refused:
            return _Standing.NOT_OFFERED
        except _TRANSIENT as fault:
            _LOG.debug("the stream for what the server says on its own broke: %s", fault)
        except (TooLarge, PeerBroke) as fault:
            _LOG.warning("the stream for what the server says on its own begins anew: %s", fault)
            cursor.spoiled()
        finally:
            cursor.ended(0.0 if started is None else self._clock.now() - started)
        return _Standing.FAILED if started is None else _Standing.STOOD

    async def _read_standing(self, cursor: Cursor, response: Response) -> None:
        async for event in EventStream(response.chunks(), self._limit, self._remote.host):
            if event.is_message:
                for message in messages_in(event.data.encode("utf-8"), self._remote.host):
                    await self._deliver(message, None)
            cursor.saw(event.id, event.retry)

    # --- The end -----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
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
