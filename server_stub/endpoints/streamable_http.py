"""Streamable HTTP, revisions 2025-03-26 to 2025-11-25: POST, GET and DELETE on one path.

An answer is plain JSON where the client takes nothing else, and also where it takes both and the answer is the first
thing to send, soon enough; otherwise it is a stream of events, each with an id, which can be resumed.
"""

from __future__ import annotations

import time

from aiohttp import web

from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import Fault, SessionLost
from mcp_remote_py.core.message import JsonId, Kind, Message, join
from mcp_remote_py.core.sse import encode_event
from server_stub.core import admission
from server_stub.core.admission import NOTHING_KNOWN, Accepts, Posted, Rejection
from server_stub.core.outbox import STANDING, Event, EventId, parse_event_id
from server_stub.endpoints.replies import (
    Stream,
    connection_is_alive,
    json_reply,
    read_body,
    rejected,
    send_stream,
)
from server_stub.guards.auth import PRINCIPAL
from server_stub.sessions import Feed, Gateway, Session, Wire
from server_stub.settings import ServeSettings

SESSION_ID = "Mcp-Session-Id"


class StreamableHttp:
    """The endpoint. One instance serves every path on which Streamable HTTP is spoken."""

    def __init__(self, gateway: Gateway, settings: ServeSettings) -> None:
        self._gateway = gateway
        self._limits = settings.limits
        self._timing = settings.timing
        self._stateless = settings.stateless

    # --- POST --------------------------------------------------------------------------------------------------------

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take messages, answer requests."""
        declared = admission.check_size(request.content_length, self._limits.body)
        head = declared or admission.check_post_head(request.headers.get("Accept"), request.headers.get("Content-Type"))
        if head is not None:
            return rejected(head)
        raw = await read_body(request, self._limits.body)
        posted = raw if isinstance(raw, Rejection) else admission.read_posted(raw)
        if isinstance(posted, Rejection):
            return rejected(posted)
        session = self._session_for(request, posted)
        if isinstance(session, Rejection):
            return rejected(session)
        return await self._carry(request, session, posted)

    def _session_for(self, request: web.Request, posted: Posted) -> Session | Rejection:
        """Find or open the session of a POST."""
        header = request.headers.get("MCP-Protocol-Version")
        session = None if self._stateless else self._find(request, leaving=not posted.requests)
        known = session.known if session else NOTHING_KNOWN
        rejection = (
            admission.check_batch(posted, known, header)
            or admission.check_version(header, known, posted.identifier)
            or self._check_session(request, session, posted)
            or admission.check_requests(posted, known)
        )
        if rejection is not None:
            return rejection
        if session is not None:
            return session
        return self._open(request, posted.identifier)

    def _check_session(self, request: web.Request, session: Session | None, posted: Posted) -> Rejection | None:
        if self._stateless or session is not None:
            busy = self._gateway.stopping and bool(posted.requests)
            return _stopping(posted.identifier) if busy else None
        if SESSION_ID in request.headers:
            return admission.unknown_session(posted.identifier)
        return None if posted.initialize is not None else admission.missing_session(posted.identifier)

    def _open(self, request: web.Request, identifier: JsonId | None) -> Session | Rejection:
        try:
            return self._gateway.open(Wire.STATELESS if self._stateless else Wire.STREAMABLE, request[PRINCIPAL])
        except Fault as fault:
            return admission.reject_fault(503, fault, identifier, retry_after=5)

    async def _carry(self, request: web.Request, session: Session, posted: Posted) -> web.StreamResponse:
        accepts = admission.accepts_of(request.headers.get("Accept"))
        feed = session.submit(posted, carries=accepts.events, keeps=accepts.events)
        handed_over = False
        try:
            if feed is None:
                await session.caught_up()
                handed_over = True
                return web.Response(status=202)
            response = await self._answer(request, session, posted, feed, accepts)
            handed_over = True
            return response
        finally:
            if feed is not None:
                feed.detach()
            if session.wire is Wire.STATELESS:
                session.end_when_done()
            elif posted.initialize is not None and not handed_over:
                session.end()  # nobody knows its id

    async def _answer(
        self, request: web.Request, session: Session, posted: Posted, feed: Feed, accepts: Accepts
    ) -> web.StreamResponse:
        """Wait for what comes first, and choose the form."""
        # A handshake is waited for: hosts expect it as JSON, and until its answer there is nothing else to send.
        settle = self._timing.settle if posted.initialize is None else self._timing.keep_alive
        end = time.monotonic() + settle if accepts.events else None
        events: list[Event] = []
        if accepts.json:
            try:
                while (event := await feed.get(None if end is None else end - time.monotonic())) is not None:
                    events.append(event)
                    if not event.message.is_answer:
                        break
            except TimeoutError:
                event = None
            else:
                if event is None and (events or not accepts.events):
                    return await self._as_json(session, posted, feed, [one.message for one in events])
        return await self._as_stream(request, session, posted, feed, events)

    async def _as_json(
        self, session: Session, posted: Posted, feed: Feed, answers: list[Message]
    ) -> web.StreamResponse:
        if session.replays:
            await session.forget(feed.number)
        if not answers:
            return web.Response(status=202)  # cancelled, and a cancelled request has no answer
        raw = join(answers) if posted.is_batch else answers[0].raw
        given = posted.initialize is not None and answers[0].kind is Kind.RESULT and session.replays
        return json_reply(200, raw, {SESSION_ID: session.identifier} if given else None)

    async def _as_stream(
        self, request: web.Request, session: Session, posted: Posted, feed: Feed, first: list[Event]
    ) -> web.StreamResponse:
        headers = {SESSION_ID: session.identifier} if posted.initialize is not None and session.replays else {}
        primed = session.replays and posted.initialize is None
        opening = self._priming(session, EventId(feed.number, 0)) if primed else b""
        encode = _with_id if session.replays else _without_id
        return await send_stream(request, Stream(opening, encode, headers), feed, self._timing, first)

    def _priming(self, session: Session, at: EventId) -> bytes:
        """Return the event that gives a client something to resume from before the first message (SEP-1699)."""
        if not versions.wants_priming_event(session.version):
            return b""
        return encode_event(b"", identifier=str(at), retry=round(self._timing.retry * 1000))

    # --- GET and DELETE ----------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Open the standing stream, or resume any stream."""
        rejection = admission.check_get_head(request.headers.get("Accept"))
        session = self._existing(request)
        if rejection is not None:
            return rejected(rejection)
        if isinstance(session, Rejection):
            return rejected(session)
        last = request.headers.get("Last-Event-ID")
        feed = await self._attach(request, session, last)
        if isinstance(feed, Rejection):
            return rejected(feed)
        opening = b"" if last else self._priming(session, session.place_of(STANDING))
        try:
            return await send_stream(request, Stream(opening, _with_id, {}), feed, self._timing)
        finally:
            feed.detach()

    async def _attach(self, request: web.Request, session: Session, last: str | None) -> Feed | Rejection:
        alive = connection_is_alive(request)
        if not last:
            taken = admission.reject(409, "This session has its stream open already.")
            return session.attach(alive) or taken
        cursor = parse_event_id(last)
        feed = await session.resume(cursor, alive) if cursor is not None else None
        return feed or admission.reject(400, "Last-Event-ID names no event that can be resumed from.")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        session = self._existing(request)
        if isinstance(session, Rejection):
            return rejected(session)
        session.end(SessionLost("The client has ended the session.", may_have_run=True))
        return web.Response(status=204)

    def _existing(self, request: web.Request) -> Session | Rejection:
        """Find the session of a GET or DELETE."""
        session = self._find(request, leaving=True)
        known = session.known if session else NOTHING_KNOWN
        rejection = admission.check_version(request.headers.get("MCP-Protocol-Version"), known)
        if rejection is not None:
            return rejection
        if SESSION_ID not in request.headers:
            return admission.missing_session(None)
        return session or admission.unknown_session()

    def _find(self, request: web.Request, *, leaving: bool) -> Session | None:
        """Return the session that a request names; `leaving`: also one whose calls are being waited for."""
        whose = (Wire.STREAMABLE, request.headers.get(SESSION_ID, ""), request[PRINCIPAL])
        return self._gateway.find(*whose) or (self._gateway.find_leaving(*whose) if leaving else None)


def _stopping(identifier: JsonId | None) -> Rejection:
    return admission.reject_fault(503, admission.stopping(), identifier, retry_after=5)


def _with_id(event: Event) -> bytes:
    return encode_event(event.message.raw, event="message", identifier=str(event.id))


def _without_id(event: Event) -> bytes:
    return encode_event(event.message.raw, event="message")
