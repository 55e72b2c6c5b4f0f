"""WebSocket: one JSON-RPC message per frame, the socket is the session. In no revision; interop with what exists.

The token comes in a header of the upgrade or, as the clients of the hosting guide do it, as the first message
`{"token": "..."}`; a wrong one closes with 4001, a first message that is none with 4002.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import WSCloseCode, WSMsgType, web

from mcp_remote_py.core.errors import Fault, Refused, ShuttingDown
from server_stub.core import admission
from server_stub.core.access import Credential, token_in
from server_stub.core.admission import Rejection
from server_stub.doorkeeper import Doorkeeper
from server_stub.endpoints.replies import rejected
from server_stub.guards.auth import PRINCIPAL
from server_stub.sessions import Feed, Gateway, Session, Wire
from server_stub.settings import ServeSettings

logger = logging.getLogger(__name__)

BAD_TOKEN, BAD_AUTH = 4001, 4002
_TRY_AGAIN_LATER = 1013
MOST_STRANGERS = 32
"""So many sockets at most wait for the first message that says who is there."""
STRANGERS_BODY = 16 * 1024 * 1024
"""Bytes of a message on a socket of which nobody said in a header who is there: anybody can open those."""
_TURN = 0.002
"""Seconds that one socket may keep the loop busy before others have their turn."""


class WebSocket:
    """The endpoint."""

    def __init__(self, gateway: Gateway, settings: ServeSettings, doorkeeper: Doorkeeper) -> None:
        self._gateway = gateway
        self._limits = settings.limits
        self._timing = settings.timing
        self._doorkeeper = doorkeeper
        self._strangers = 0

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Upgrade, find out who is there, carry messages both ways."""
        is_stranger = PRINCIPAL not in request
        largest = min(self._limits.body, STRANGERS_BODY) if is_stranger else self._limits.body
        socket = web.WebSocketResponse(
            protocols=_chosen(request),
            heartbeat=self._timing.ping,
            max_msg_size=largest + 1,  # aiohttp refuses from this size on
            compress=False,
            timeout=1.0,
        )
        if not socket.can_prepare(request):
            return rejected(admission.reject(426, "This path speaks WebSocket.")._replace(headers=_UPGRADE))
        if self._gateway.stopping:
            return rejected(admission.reject_fault(503, admission.stopping(), retry_after=5))
        if is_stranger and self._strangers >= MOST_STRANGERS:
            busy = Refused("Too many clients are about to send their token.", hint="Send it in a header, or try again.")
            return rejected(admission.reject_fault(503, busy, retry_after=5))
        await socket.prepare(request)
        try:
            if not is_stranger:
                await self._converse(socket, request[PRINCIPAL], may_send_token=True)
            else:
                principal = await self._principal_of_first_message(socket)
                if principal is not None:
                    await self._converse(socket, principal, may_send_token=False)
        except ConnectionError:
            logger.debug("a WebSocket client has gone")
        return socket

    async def _principal_of_first_message(self, socket: web.WebSocketResponse) -> str | None:
        """Return who sent the first message, or None with the socket closed."""
        self._strangers += 1
        try:
            async with asyncio.timeout(self._timing.first_message):  # aiohttp's own begins anew at every ping
                frame = await socket.receive()
        except TimeoutError:
            await socket.close(code=BAD_AUTH, message=b"Invalid auth")
            return None
        finally:
            self._strangers -= 1
        raw = _raw(frame.type, frame.data)
        token = None if raw is None else token_in(raw)
        if token is None:
            await socket.close(code=BAD_AUTH, message=b"Invalid auth")
            return None
        principal = self._doorkeeper.principal(Credential(token, is_api_key=False))
        if principal is None:
            await socket.close(code=BAD_TOKEN, message=b"Unauthorized")
        return principal

    async def _converse(self, socket: web.WebSocketResponse, principal: str | None, *, may_send_token: bool) -> None:
        """Carry messages. `may_send_token`: the first may be a token, which is not needed and is passed over."""
        try:
            session = self._gateway.open(Wire.WEBSOCKET, principal)
        except Fault as fault:
            logger.warning("a WebSocket client was turned away: %s", fault)
            await socket.close(code=_TRY_AGAIN_LATER, message=b"Try again later")
            return
        feed = session.channel(lambda: not socket.closed)
        try:
            async with asyncio.TaskGroup() as group:
                sender = group.create_task(self._send_all(socket, session, feed))
                try:
                    await self._receive_all(socket, session, may_send_token=may_send_token)
                finally:
                    sender.cancel()
        finally:
            feed.detach()
            session.end()  # the socket is the session

    async def _send_all(self, socket: web.WebSocketResponse, session: Session, feed: Feed) -> None:
        """Write what the session says; when it is over, close."""
        turn = _Turn()
        try:
            while (event := await feed.get()) is not None:
                async with asyncio.timeout(self._timing.stalled_write):
                    await socket.send_frame(event.message.raw, WSMsgType.TEXT)
                await turn.over()
            leaving = isinstance(session.fault, ShuttingDown)
            await socket.close(code=WSCloseCode.GOING_AWAY if leaving else WSCloseCode.INTERNAL_ERROR)
        except (ConnectionError, TimeoutError):
            await socket.close(code=WSCloseCode.GOING_AWAY, drain=False)

    async def _receive_all(self, socket: web.WebSocketResponse, session: Session, *, may_send_token: bool) -> None:
        turn = _Turn()
        async for frame in socket:
            await turn.over()
            raw = _raw(frame.type, frame.data)
            if raw is None or session.is_over:
                continue  # what was open is being answered; then the sender closes
            if may_send_token and token_in(raw) is not None:
                logger.debug("a token came, and none is needed")
            else:
                await self._take(session, raw)
            may_send_token = False

    async def _take(self, session: Session, raw: bytes) -> None:
        posted = admission.read_posted(raw)
        if isinstance(posted, Rejection):
            await session.say(posted.body)
            return
        refusal = admission.check_batch(posted, session.known) or admission.check_requests(posted, session.known)
        if refusal is not None:
            await session.say(refusal.body)
            return
        session.submit(posted)
        await session.caught_up()


class _Turn:
    """What is there already is taken without waiting: so a socket with very much of it would stop all others."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def over(self) -> None:
        """Let others have their turn, if this one was long."""
        if self._loop.time() - self._began > _TURN:
            await asyncio.sleep(0)
            self._began = self._loop.time()


_UPGRADE = (("Upgrade", "websocket"),)


def _chosen(request: web.Request) -> tuple[str, ...]:
    """Return `mcp` where it is offered, else nothing, so that nothing is selected that was not offered."""
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    return ("mcp",) if "mcp" in [name.strip() for name in offered.split(",")] else ()


def _raw(kind: WSMsgType, data: object) -> bytes | None:
    """Return the bytes of a frame with a message in it: text, or binary that is UTF-8."""
    if kind is WSMsgType.TEXT and isinstance(data, str):
        return data.encode("utf-8")
    return data if kind is WSMsgType.BINARY and isinstance(data, bytes) else None
