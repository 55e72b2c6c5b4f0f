"""WebSocket: one frame, one message. Part of no revision of MCP; the rules are those that deployed servers keep.

The sub-protocol `mcp` is offered, and a server that selects none is fine. The socket is the session: when it closes,
the link is over. Redirects are not followed, and no proxy is taken from the environment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)
from websockets.protocol import State
from websockets.typing import Subprotocol

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, Refused, SignInNeeded, Unreachable
from mcp_remote_py.core.http import closes, headers
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import place_of, without_query
from mcp_remote_py.core.http.statuses import Reply, fault_of
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Message
from mcp_remote_py.net import failures
from mcp_remote_py.settings import Tls
from mcp_remote_py.transports import USER_AGENT
from mcp_remote_py.transports.incoming import messages_in
from mcp_remote_py.transports.reach import Reach

if TYPE_CHECKING:
    import ssl

SUBPROTOCOL = "mcp"
PING_SECONDS = 20
CLOSE_SECONDS = 1.5
QUEUE_FRAMES = 4
"""Messages read ahead of `deliver`; each may be as large as the limit."""
_SCHEMES = {"http": "ws", "https": "wss"}

_SILENT = logging.getLogger("mcp_remote_py.transports.websocket.library")
_SILENT.disabled = True  # the library's own log has frames and headers in it


class _Connect(connect):
    """As the library connects, but without following redirects: it would send every header of the user along."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """As the library's, but a server that says goodbye and leaves the connection open is not waited for for ever."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.close_rcvd_at is None and self.protocol.close_rcvd is not None:
            self.close_rcvd_at = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.close_rcvd_at is not None:
            self.close_rcvd_at.cancel()
        super().connection_lost(exc)

    close_rcvd_at: asyncio.TimerHandle | None = None
    """The timer that runs since the server's Close frame."""


class WebSocket:
    """See the module's text, and `core.link`."""

    traits = Traits(streams_per_exchange=False)

    def __init__(self, reach: Reach) -> None:
        scheme, rest = reach.target.url.split(":", 1)
        self._url = f"{_SCHEMES.get(scheme, scheme)}:{rest}"
        self._host = place_of(reach.target.url)
        self._by_message = reach.target.ws_auth == "message"
        self._credentials = reach.credentials
        self._connect_timeout = reach.timeouts.connect
        self._tls = reach.tls
        self._limit = reach.limits.message
        self._deliver: Deliver
        self._socket: ClientConnection | None = None
        self._heard = False
        self._closed = False

    async def open(self, deliver: Deliver) -> None:
        """Connect, within the connect time, and send the token where the server wants it as a message."""
        self._deliver = deliver
        secure = urlsplit(self._url).scheme == "wss"
        context = await asyncio.to_thread(_context, self._tls) if secure else None
        shown = await self._credentials.headers()
        try:
            await self._connect(context, shown)
        except SignInNeeded:
            if not await self._credentials.refused(shown):
                raise
            shown = await self._credentials.headers()
            await self._connect(context, shown)
        if self._by_message:
            await self._write(msg.encode({"token": _token_of(shown)}))

    async def _connect(self, context: ssl.SSLContext | None, shown: Headers) -> None:
        try:
            self._socket = await _Connect(
                self._url,
                create_connection=_Connection,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                additional_headers=self._handshake_headers(shown),
                user_agent_header=USER_AGENT,
                proxy=None,
                open_timeout=self._connect_timeout,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=None,  # a server that is busy for long has not gone away
                max_size=self._limit + 1024,
                max_queue=QUEUE_FRAMES,
                logger=_SILENT,
                ssl=context,
            )
        except (InvalidHandshake, InvalidURI, OSError) as error:
            raise self._translate(error) from None

    def _handshake_headers(self, shown: Headers) -> list[tuple[str, str]]:
        return [
            (name, value)
            for name, value in headers.of_user(shown)
            if not name.lower().startswith("sec-websocket-")
            and not (name.lower() == "authorization" and self._by_message)
        ]

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        await self._write(message.raw)
        if written is not None:
            written()

    async def listen(self) -> None:
        socket = self._open_socket()
        try:
            while True:
                frame = await socket.recv(decode=False)
                for message in messages_in(frame, self._host):
                    self._heard = True
                    await self._deliver(message, None)
        except ConnectionClosed as error:
            raise self._translate(error) from None

    async def close(self) -> None:
        self._closed = True
        socket, self._socket = self._socket, None
        if socket is None:
            return
        try:
            await socket.close(1000)
        finally:
            socket.transport.abort()  # where the server did not answer the close, or we may not wait for it

    def _open_socket(self) -> ClientConnection:
        if self._socket is None or self._closed:
            raise Interrupted(f"the connection to {self._host} is not open", may_have_run=False)
        return self._socket

    async def _write(self, raw: bytes) -> None:
        socket = self._open_socket()
        was_open = socket.state is State.OPEN
        try:
            await socket.send(raw, text=True)
        except ConnectionClosed as error:
            fault = self._translate(error)
            fault.may_have_run = fault.may_have_run and was_open
            raise fault from None

    # --- What the library raises -------------------------------------------------------------------------------

    def _translate(self, error: Exception) -> Fault:
        """Return our fault for an exception of websockets or of the sockets below it."""
        if isinstance(error, ConnectionClosed):
            return self._of_close(error)
        if isinstance(error, InvalidStatus):
            return self._of_status(error)
        if isinstance(error, TimeoutError) and error.errno is None:
            return failures.connect_timeout(self._host, self._connect_timeout)
        if isinstance(error, InvalidMessage):
            if any(isinstance(cause, EOFError) for cause in failures.causes(error)):
                return Unreachable(f"{self._host} closed the connection before the WebSocket was open")
            return PeerBroke(f"{self._host} does not answer in HTTP", may_have_run=False)
        if isinstance(error, InvalidURI):
            return Unreachable(f"the URL of {self._host} cannot be used for a WebSocket", hint="Check the URL.")
        if isinstance(error, InvalidHandshake):
            return PeerBroke(
                f"{self._host} did not open the WebSocket as the protocol asks (sub-protocol {SUBPROTOCOL})",
                hint="Check that the URL is the server's WebSocket address (often it ends in /ws).",
                may_have_run=False,
            )
        return failures.connection_fault(error, self._host)

    def _of_close(self, error: ConnectionClosed) -> Fault:
        if error.sent is not None and not error.rcvd_then_sent:
            return closes.fault_of_ours(self._host, error.sent.code, self._limit)
        if error.rcvd is not None:
            return closes.fault_of_peer(self._host, error.rcvd.code, error.rcvd.reason, heard=self._heard)
        return closes.fault_of_loss(self._host)

    def _of_status(self, error: InvalidStatus) -> Fault:
        status, given = error.response.status_code, error.response.headers
        hint = "Check that the URL is the server's WebSocket address (often it ends in /ws)."
        location = given.get("Location")
        if 300 <= status < 400 and location:
            try:
                address = without_query(urljoin(self._url, location))
            except ValueError:
                address = "an address that cannot be read"
            text = f"{self._host} redirects to {address} (HTTP {status})"
            return Refused(text, hint="If you trust that address, give it as the URL.", http_status=status)
        if status < 400:
            text = f"{self._host} answered HTTP {status} instead of opening a WebSocket"
            return Refused(text, hint=hint, http_status=status)
        challenge = ", ".join(given.get_all("WWW-Authenticate"))
        reply = Reply(self._host, status, "", challenge, given.get("Retry-After", ""))
        fault = fault_of(reply, with_token=self._credentials.with_authorization)
        fault.may_have_run = False  # no message has been sent yet
        if isinstance(fault, Refused) and status in (400, 404, 405, 426):
            fault.hint = hint
        return fault


def _context(tls: Tls) -> ssl.SSLContext:
    from mcp_remote_py.net.tls import make_context

    return make_context(tls)


def _token_of(shown: Headers) -> str:
    """Return the bearer token among these headers, for the first message; empty where there is none."""
    value = next((value for name, value in shown if name.lower() == "authorization"), "")
    return value[7:].strip() if value.lower().startswith("bearer ") else ""


def make_link(reach: Reach) -> WebSocket:
    """Return a link to this server."""
    return WebSocket(reach)
