"""Upgrade: opens a WebSocket: the way there, the handshake, its redirects and cookies, and words for what goes wrong.

The library's own handling of proxies and redirects is not used: it takes the first from the environment, and would
send every header of the user along with the second.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets import http11
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers as Fields
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    SecurityError,
)
from websockets.protocol import State
from websockets.typing import Subprotocol

from mcp_remote_py.core.errors import Fault, PeerBroke, Refused, TimedOut, TooLarge, Unreachable
from mcp_remote_py.core.http import headers, tunnels
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import is_same_origin, origin_of, place_of
from mcp_remote_py.core.http.proxies import Proxy, Route
from mcp_remote_py.core.http.statuses import Reply, fault_of
from mcp_remote_py.net import failures, redirects
from mcp_remote_py.net.dial import Way, look
from mcp_remote_py.net.failures import head_too_large
from mcp_remote_py.net.proxied_socket import socket_through
from mcp_remote_py.net.routes import Routes
from mcp_remote_py.net.sockets import HAPPY_EYEBALLS_SECONDS, IPV4_HINT, dead_peer_options
from mcp_remote_py.transports import USER_AGENT
from mcp_remote_py.transports.reach import Reach

if TYPE_CHECKING:
    import ssl

    from mcp_remote_py.net.cookies import Cookies
    from mcp_remote_py.net.tls import Look, Trust

SUBPROTOCOL = "mcp"
CLOSE_SECONDS = 1.5
QUEUE_FRAMES = 4
"""Messages read ahead; each may be as large as the limit."""
_SCHEMES = {"http": "ws", "https": "wss"}
_HINT = "Check that the URL is the server's WebSocket address (often it ends in /ws)."

_SILENT = logging.getLogger("mcp_remote_py.transports.websocket.library")
_SILENT.disabled = True  # the library's own log has frames and headers in it


class _Connect(connect):
    """As the library connects, but without following redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Connection(ClientConnection):
    """As the library's, but a server that says goodbye and leaves the connection open is not waited for for ever."""

    def data_received(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data()
        super().data_received(data)
        if self.response is None and self.protocol.handshake_exc is not None:
            self.transport.abort()  # the library would read on, for as long as there is something
        if self.close_rcvd_at is None and self.protocol.close_rcvd is not None:
            self.close_rcvd_at = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.close_rcvd_at is not None:
            self.close_rcvd_at.cancel()
        super().connection_lost(exc)

    def ping_now(self) -> None:
        """Send a Ping frame without waiting for anything; the Pong will be a sign of life like any other."""
        if self.state is State.OPEN and not self.transport.is_closing():
            self.protocol.send_ping(b"")
            self.send_data()

    close_rcvd_at: asyncio.TimerHandle | None = None
    """The timer that runs since the server's Close frame."""
    on_data: Callable[[], None] | None = None
    """Called for everything that comes in."""


class Opened(NamedTuple):
    """An open socket. `is_home`: it belongs to the origin that the user named, and may be shown the token."""

    socket: Connection
    is_home: bool


class Upgrade:
    """Opens sockets to one server."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._url = as_websocket(reach.target.url)
        self._home = place_of(reach.target.url)
        self._limit = reach.timeouts.connect
        http11.MAX_LINE_LENGTH = reach.limits.head  # the library has no other place for it; all heads have one limit
        self._options = dead_peer_options(reach.timeouts.dead_peer)
        self._allowed = redirects.allowed_origins(reach.network.redirect_to, "ws")
        self._routes = Routes(reach.network)
        self._made: Trust | None = None
        self._cookies: Cookies | None = None
        self._at: tuple[str, Route] = (self._url, Route(None, ""))
        """Where the connecting has come to, for the error of a time-out."""

    async def open(self, shown: Headers) -> Opened:
        """Connect, within the connect time, with the user's headers. Raises a `Fault`."""
        try:
            async with asyncio.timeout(self._limit):
                return await self._follow(shown)
        except (InvalidHandshake, InvalidURI, OSError) as error:
            url, route = self._at
            if not isinstance(error, TimeoutError) or error.errno is not None:
                raise self._hinted(await self._translate(error, url, route), route) from None
            if route.proxy is not None:
                raise tunnels.too_slow(route.proxy, _target(url), self._limit) from None
            raise self._hinted(failures.connect_timeout(place_of(url), self._limit), route) from None

    async def _follow(self, shown: Headers) -> Opened:
        url = self._url
        for hops in itertools.count():
            is_home = is_same_origin(url, self._url)
            route = await self._routes.to(url)
            self._at = (url, route)
            try:
                connection = await self._connect(url, route, shown if is_home else ())
            except InvalidStatus as error:
                self._keep_cookies(url, error.response.headers)
                self._take_nonce(error.response.headers, is_home=is_home)
                target = self._redirected(url, error, hops)
                if target is None:
                    raise self._of_status(error, url, is_home=is_home) from None
                url = target
                continue
            if connection.response is not None:
                self._keep_cookies(url, connection.response.headers)
                self._take_nonce(connection.response.headers, is_home=is_home)
            return Opened(connection, is_home)
        raise AssertionError  # the count has no end

    def _take_nonce(self, fields: Fields, *, is_home: bool) -> None:
        nonce = fields.get_all("DPoP-Nonce")
        if nonce and is_home:
            self._reach.credentials.nonce(nonce[-1])

    async def _connect(self, url: str, route: Route, shown: Headers) -> Connection:
        context = await self._trust().context(place_of(url)) if url.startswith("wss:") else None
        way: dict[str, Any] = {"ssl": context} if context is not None else {}
        if route.proxy is not None:
            way["sock"] = await self._through(route.proxy, url)
        else:
            way["family"] = socket.AF_INET if self._reach.network.ipv4 else socket.AF_UNSPEC
            way["happy_eyeballs_delay"] = HAPPY_EYEBALLS_SECONDS
        connection = await _Connect(
            url,
            create_connection=Connection,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            additional_headers=self._headers(url, shown),
            user_agent_header=USER_AGENT,
            proxy=None,
            open_timeout=None,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # `transports.websocket` pings, when nothing else is said
            max_size=self._reach.limits.message + 1024,
            max_queue=QUEUE_FRAMES,
            logger=_SILENT,
            **way,
        )
        assert isinstance(connection, Connection)  # noqa: S101  what `create_connection` makes
        self._check_head(connection, url)
        if route.proxy is None:
            for option in self._options:
                connection.transport.get_extra_info("socket").setsockopt(*option)
        return connection

    def _check_head(self, connection: Connection, url: str) -> None:
        """Refuse a head of which only all lines together are over the limit. Raises `TooLarge`."""
        limit, fields = self._reach.limits.head, connection.response
        if fields is not None and sum(len(name) + len(value) + 4 for name, value in fields.headers.raw_items()) > limit:
            connection.transport.abort()
            raise self._head_too_large(place_of(url))

    def _head_too_large(self, host: str) -> TooLarge:
        return head_too_large(host, self._reach.limits.head).restated(may_have_run=False)

    async def _through(self, proxy: Proxy, url: str) -> socket.socket:
        trust = self._trust() if proxy.scheme == "https" else None
        return await socket_through(self._way(proxy, trust), *_reached(url))

    def _way(self, proxy: Proxy | None, trust: Trust | None) -> Way:
        return Way(proxy, self._limit, self._options, self._reach.network.ipv4, trust)

    def _headers(self, url: str, shown: Headers) -> list[tuple[str, str]]:
        by_message = self._reach.target.ws_auth == "message"
        found = [
            (name, value)
            for name, value in headers.of_user(shown)
            if not name.lower().startswith("sec-websocket-") and not (name.lower() == "authorization" and by_message)
        ]
        cookie = None if headers.has(found, "cookie") else self._cookie(url)
        return found if cookie is None else [*found, ("Cookie", cookie)]

    def _cookie(self, url: str) -> str | None:
        return self._kept().header(url) if self._cookies is not None or self._reach.jars else None

    def _keep_cookies(self, url: str, fields: Fields) -> None:
        given = fields.get_all("Set-Cookie")
        if given:
            self._kept().keep(url, given)

    def _kept(self) -> Cookies:
        if self._cookies is None:
            from mcp_remote_py.net.cookies import Cookies  # most servers set none

            reach = self._reach
            self._cookies = Cookies(reach.learn, keeps=reach.network.cookies, jars=reach.jars)
        return self._cookies

    def _redirected(self, url: str, error: InvalidStatus, hops: int) -> str | None:
        location = error.response.headers.get("Location", "")
        target = as_websocket(location) if ":" in location else location
        return redirects.next_url("GET", url, error.response.status_code, target, hops, self._allowed)

    # --- TLS ---------------------------------------------------------------------------------------------------

    def _trust(self) -> Trust:
        if self._made is None:
            from mcp_remote_py.net.tls import Trust

            self._made = Trust(self._reach.tls, origin_of(self._url))
        return self._made

    def _look_of(self, url: str, route: Route) -> Look:
        host, port = _reached(url)
        return partial(self._look, route, host, port)

    async def _look(self, route: Route, host: str, port: int, context: ssl.SSLContext) -> list[bytes]:
        """Look at a refused certificate, for the error's text."""
        return await look(self._way(route.proxy, self._made), host, port, context)

    # --- What goes wrong ---------------------------------------------------------------------------------------

    async def _translate(self, error: Exception, url: str, route: Route) -> Fault:
        """Return our fault for an exception of websockets or of the sockets below it."""
        host = place_of(url)
        if isinstance(error, InvalidMessage):
            if any(isinstance(cause, EOFError) for cause in failures.causes(error)):
                fault = Unreachable(f"{host} closed the connection before the WebSocket was open")
                alert = failures.tls_alert(error, host)
                if alert is not None or not url.startswith("wss:"):
                    return alert or fault
                return await self._trust().hung_up(fault, host, self._look_of(url, route))
            if any(isinstance(cause, SecurityError) for cause in failures.causes(error)):
                found = self._head_too_large(host)
                return found.restated(f"{found}, or has more than {http11.MAX_NUM_HEADERS} headers")
            return PeerBroke(f"{host} does not answer in HTTP", may_have_run=False)
        if isinstance(error, InvalidURI):
            return Unreachable(f"the URL of {host} cannot be used for a WebSocket", hint="Check the URL.", mends=False)
        if isinstance(error, InvalidHandshake):
            return PeerBroke(
                f"{host} did not open the WebSocket as the protocol asks (sub-protocol {SUBPROTOCOL})",
                hint=_HINT,
                may_have_run=False,
            )
        if url.startswith("wss:"):
            return await self._trust().refusal(error, host, self._look_of(url, route))
        return failures.connection_fault(error, host)

    def _hinted(self, fault: Fault, route: Route) -> Fault:
        if route.proxy is None and type(fault) in (Unreachable, TimedOut):
            fault.hint = tunnels.without_proxy(fault.hint, route, place_of(self._at[0]))
        if self._reach.network.ipv4 and type(fault) is Unreachable:
            fault.hint += IPV4_HINT
        return fault

    def _of_status(self, error: InvalidStatus, url: str, *, is_home: bool) -> Fault:
        status, given, host = error.response.status_code, error.response.headers, place_of(url)
        if status < 400:
            text = f"{host} answered HTTP {status} instead of opening a WebSocket"
            return Refused(text, hint=_HINT, http_status=status)
        if status == 401 and not is_home:
            text = f"{host}, to which a redirect led, asks for a sign-in (HTTP 401)"
            hint = "No credential is sent to another server: if you trust it, give its address as the URL."
            return Refused(text, hint=hint, http_status=status)
        credentials = self._reach.credentials
        challenge = ", ".join(given.get_all("WWW-Authenticate"))
        source = credentials.source if is_home else None
        reply = Reply(
            host,
            status,
            "",
            challenge,
            given.get("Retry-After", ""),
            source=source,
            date=given.get("Date", ""),
            now=time.time(),
            is_home=is_home,
        )
        fault = fault_of(reply, with_token=is_home and credentials.with_authorization)
        fault.may_have_run = False  # no message has been sent yet
        if isinstance(fault, Refused) and status in (400, 404, 405, 426):
            fault.hint = _HINT
        return fault


def as_websocket(url: str) -> str:
    """Return the URL with the scheme ws or wss where it has http or https."""
    scheme, colon, rest = url.partition(":")
    return f"{_SCHEMES.get(scheme.lower(), scheme)}{colon}{rest}"


def _reached(url: str) -> tuple[str, int]:
    """Return host and port as proxies and name servers take them. Raises `Unreachable` for no possible name."""
    _, host, port = origin_of(url)
    try:
        return host.encode("idna").decode("ascii"), port
    except UnicodeError:
        raise Unreachable(f"{host} cannot be the name of a host", hint="Check the URL.", mends=False) from None


def _target(url: str) -> str:
    return tunnels.place(*_reached(url))
