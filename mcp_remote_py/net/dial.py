"""Dial: one connection for httpcore, straight or through a proxy, with our socket options and our limit of time.

The limit holds for all of connecting together: name, TCP, the talk with a proxy, TLS. Trouble with a proxy comes out as
a `Fault` that says so; trouble with the server comes out as httpcore raises it, and `net.http` finds words for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import httpcore

from mcp_remote_py.core.errors import Unreachable
from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.proxies import Proxy
from mcp_remote_py.net import failures
from mcp_remote_py.net.sockets import Options
from mcp_remote_py.net.tunnel import open_tunnel
from mcp_remote_py.settings import Tls

if TYPE_CHECKING:
    from mcp_remote_py.net.tls import Trust

_CHUNK = 64 * 1024
_ANY_IPV4 = "0.0.0.0"  # nothing listens: a local address of this family leaves IPv6 out
_FAILED = (httpcore.NetworkError, httpcore.TimeoutException, OSError)


class Way(NamedTuple):
    """How to get to a server. `timeout` in seconds, None for no limit; `trust` is for proxies spoken to in TLS."""

    proxy: Proxy | None = None
    timeout: float | None = None
    options: Options = ()
    ipv4: bool = False
    trust: Trust | None = None


class Dialler(httpcore.AsyncNetworkBackend):
    """See the module's text. `secure`: TLS with the server follows, so that a proxy must open a tunnel."""

    def __init__(self, way: Way, *, secure: bool) -> None:
        self._way = way
        self._secure = secure
        self._tcp = httpcore.AnyIOBackend()  # it tries the addresses of a name side by side (RFC 8305)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, local_address, socket_options  # the way has them
        begun = asyncio.get_running_loop().time()
        stream = await self._connected(host, port)
        if not self._secure:
            return stream
        limit = self._way.timeout
        return _BeforeTls(stream, None if limit is None else begun + limit)

    async def _connected(self, host: str, port: int) -> httpcore.AsyncNetworkStream:
        proxy, limit = self._way.proxy, self._way.timeout
        if proxy is None:
            return await self._reach(host, port, limit)
        target = tunnels.place(host, port)
        try:
            async with asyncio.timeout(limit):
                stream = await self._reach_proxy(proxy, target)
                if self._secure or proxy.scheme == "socks5":
                    await _tunnel(stream, proxy, host, port)
        except TimeoutError:
            raise tunnels.too_slow(proxy, target, limit) from None
        return stream

    async def _reach(self, host: str, port: int, limit: float | None) -> httpcore.AsyncNetworkStream:
        local = _ANY_IPV4 if self._way.ipv4 else None
        return await self._tcp.connect_tcp(host, port, limit, local, self._way.options)

    async def _reach_proxy(self, proxy: Proxy, target: str) -> httpcore.AsyncNetworkStream:
        trust = self._trust() if proxy.scheme == "https" else None
        try:
            stream = await self._reach(proxy.host, proxy.port, None)
            if trust is None:
                return stream
            return await stream.start_tls(await trust.context(proxy.place), proxy.host)
        except _FAILED as error:
            if trust is None:
                trouble = failures.connection_fault(error, proxy.place)
            else:
                trouble = await trust.refusal(error, proxy.place, self._look_at_proxy)
            raise tunnels.unreachable(proxy, trouble, target) from None

    def _trust(self) -> Trust:
        if self._way.trust is not None:
            return self._way.trust
        from mcp_remote_py.net.tls import Trust

        return Trust(Tls())

    async def _look_at_proxy(self, context: ssl.SSLContext) -> list[bytes]:
        proxy = self._way.proxy
        if proxy is None:
            return []
        return await look(self._way._replace(proxy=None), proxy.host, proxy.port, context)


async def look(way: Way, host: str, port: int, context: ssl.SSLContext) -> list[bytes]:
    """Connect in this way, in TLS with this context, send nothing, and return the certificates that were presented.

    Returns none where no connection comes about: the look is for an error's text, which has less in it then.
    """
    try:
        return await _shown(way, host, port, context)
    except (*_FAILED, Unreachable):
        return []


async def _shown(way: Way, host: str, port: int, context: ssl.SSLContext) -> list[bytes]:
    from mcp_remote_py.net.tls import presented

    stream = await Dialler(way, secure=True).connect_tcp(host, port)
    try:
        stream = await stream.start_tls(context, host)
        return presented(stream.get_extra_info("ssl_object"))
    finally:
        await stream.aclose()


async def _tunnel(stream: httpcore.AsyncNetworkStream, proxy: Proxy, host: str, port: int) -> None:
    try:
        await open_tunnel(proxy, host, port, lambda: stream.read(_CHUNK), stream.write)
    except BaseException as error:
        await stream.aclose()
        if isinstance(error, _FAILED) and not isinstance(error, TimeoutError):
            raise tunnels.hung_up(proxy, tunnels.place(host, port)) from None
        raise


class _BeforeTls(httpcore.AsyncNetworkStream):
    """A connection that TLS is about to be spoken over, in what is left of the time."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, deadline: float | None) -> None:
        self._stream = stream
        self._deadline = deadline

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        del timeout  # it would begin anew
        left = None if self._deadline is None else max(0.001, self._deadline - asyncio.get_running_loop().time())
        return await self._stream.start_tls(ssl_context, server_hostname, left)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
