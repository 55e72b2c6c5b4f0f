"""HTTP+SSE, revision 2024-11-05: a GET is the session and its stream, a POST elsewhere carries what the client says.

On the same path, whatever is Streamable HTTP is answered as that: every POST, and a GET or DELETE with a session id.
(MCP 2024-11-05, Transports.)
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.sse import encode_event
from server_stub.core import admission
from server_stub.core.admission import Rejection
from server_stub.core.outbox import Event
from server_stub.endpoints.replies import Stream, connection_is_alive, read_body, rejected, send_stream
from server_stub.endpoints.streamable_http import SESSION_ID, StreamableHttp
from server_stub.guards.auth import PRINCIPAL
from server_stub.sessions import Gateway, Wire
from server_stub.settings import ServeSettings


class Sse:
    """The endpoint."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ServeSettings,
        streamable: StreamableHttp,
        messages: Callable[[web.Request], str],
    ) -> None:
        """`messages` returns the path to which the client of this request is to post."""
        self._gateway = gateway
        self._limits = settings.limits
        self._timing = settings.timing
        self._streamable = streamable
        self._messages = messages

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Open a session, tell where to post, then send what the server says."""
        if SESSION_ID in request.headers:
            return await self._streamable.get(request)
        try:
            session = self._gateway.open(Wire.SSE, request[PRINCIPAL])
        except Fault as fault:
            return rejected(admission.reject_fault(503, fault, retry_after=5))
        feed = session.channel(connection_is_alive(request))
        try:
            where = f"{self._messages(request)}?session_id={session.identifier}"
            opening = encode_event(where.encode("utf-8"), event="endpoint")
            return await send_stream(request, Stream(opening, _event, {}), feed, self._timing)
        finally:
            feed.detach()
            session.end()  # the connection is the session

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Take a message; its answer comes on the stream."""
        declared = admission.check_size(request.content_length, self._limits.body)
        head = declared or admission.check_post_head(None, request.headers.get("Content-Type"))
        if head is not None:
            return rejected(head)
        raw = await read_body(request, self._limits.body)
        posted = raw if isinstance(raw, Rejection) else admission.read_posted(raw)
        if isinstance(posted, Rejection):
            return rejected(posted)
        identifier = request.query.get("session_id") or request.query.get("sessionId")
        if not identifier:
            return rejected(admission.reject(400, "The parameter session_id is missing.", posted.identifier))
        whose = (Wire.SSE, identifier, request[PRINCIPAL])
        session = self._gateway.find(*whose)
        if session is None and not posted.requests:
            session = self._gateway.find_leaving(*whose)
        if session is None:
            return rejected(admission.unknown_session(posted.identifier))
        header = request.headers.get("MCP-Protocol-Version")
        rejection = (
            admission.check_batch(posted, session.known, header)
            or admission.check_version(header, session.known, posted.identifier)
            or admission.check_requests(posted, session.known)
        )
        if rejection is not None:
            return rejected(rejection)
        session.submit(posted)
        await session.caught_up()
        return web.Response(status=202, text="Accepted")


def _event(event: Event) -> bytes:
    return encode_event(event.message.raw, event="message")
