"""A socket that leads through a proxy, for libraries that want a plain one: the WebSocket's.

    library ◀──▶ one end of a socket pair ◀──▶ the other end ◀──▶ connection to the proxy (TCP, perhaps in TLS)

The pair makes one way of all kinds of proxies; TLS with the server is the library's own affair and passes through.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.proxies import Proxy
from mcp_remote_py.net import failures
from mcp_remote_py.net.sockets import HAPPY_EYEBALLS_SECONDS, Options
from mcp_remote_py.net.tunnel import open_tunnel, require_library

if TYPE_CHECKING:
    import ssl

    from mcp_remote_py.core.errors import Unreachable

    Refusal = Callable[[BaseException], Awaitable[Unreachable]]


class ProxyTls(NamedTuple):
    """How to speak TLS with the proxy itself: the context, and words for an error."""

    context: ssl.SSLContext
    refusal: Refusal


class _End(asyncio.Protocol):
    """One end of the way. Until it is joined to the other, what comes is kept for `read`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._other: _End | None = None
        self.arrived = bytearray()
        self._changed = asyncio.Event()
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._other is not None:
            self._other.transport.write(data)
            return
        self.arrived += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the other side is told by the end alone
        self.ended = True
        self._changed.set()
        if self._other is not None:
            self._other.transport.close()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    async def read(self) -> bytes:
        """Return what has come, at least one byte; none at the end."""
        while not self.arrived and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        arrived = bytes(self.arrived)
        self.arrived.clear()
        return arrived

    async def write(self, data: bytes) -> None:
        self.transport.write(data)

    def join(self, other: _End) -> None:
        """From now on what comes here goes out there, and the other way round."""
        self._other, other._other = other, self
        for end in (self, other):
            if end.arrived:
                end.data_received(bytes(end.arrived))
                end.arrived.clear()
            if end.ended:
                end.connection_lost(None)


async def socket_through(
    proxy: Proxy, host: str, port: int, *, options: Options = (), ipv4: bool = False, tls: ProxyTls | None = None
) -> socket.socket:
    """Return a socket on which the server of this host and port is the other end. Not bounded in time here.

    `tls` is for a proxy of the scheme https. Raises a `Fault` that names the proxy.
    """
    loop, target = asyncio.get_running_loop(), tunnels.place(host, port)
    require_library(proxy)
    outer = await _reached(proxy, target, ipv4=ipv4, tls=tls)
    try:
        for option in options:
            outer.transport.get_extra_info("socket").setsockopt(*option)
        await open_tunnel(proxy, host, port, outer.read, outer.write)
        ours, theirs = socket.socketpair()
        try:
            _, inner = await loop.create_connection(_End, sock=theirs)
        except BaseException:
            ours.close()
            theirs.close()
            raise
    except BaseException as error:
        outer.transport.abort()
        if isinstance(error, OSError):
            raise tunnels.hung_up(proxy, target) from None
        raise
    outer.join(inner)
    return ours


async def _reached(proxy: Proxy, target: str, *, ipv4: bool, tls: ProxyTls | None) -> _End:
    loop = asyncio.get_running_loop()
    try:
        _, end = await loop.create_connection(
            _End,
            proxy.host,
            proxy.port,
            family=socket.AF_INET if ipv4 else socket.AF_UNSPEC,
            happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS,
            ssl=None if tls is None else tls.context,
            server_hostname=None if tls is None else proxy.host,
        )
    except OSError as error:
        trouble = failures.connection_fault(error, proxy.place) if tls is None else await tls.refusal(error)
        raise tunnels.unreachable(proxy, trouble, target) from None
    return end
