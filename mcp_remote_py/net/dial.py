"""Dial: one connection to a server, straight or through a proxy, with our socket options and our limit of time.

The limit holds for all of connecting together: name, TCP, the talk with a proxy, TLS. What goes wrong with a proxy is a
`Fault` that says so; what goes wrong with the server is `NotConnected`, and whoever dialled finds words for it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, NamedTuple

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.proxies import Proxy
from mcp_remote_py.net import failures, wire
from mcp_remote_py.net.sockets import Options
from mcp_remote_py.net.tunnel import open_tunnel, require_library
from mcp_remote_py.net.wire import Screen, Wire
from mcp_remote_py.settings import Tls

if TYPE_CHECKING:
    from mcp_remote_py.net.tls import Trust


class NotConnected(Exception):
    """The server could not be reached; `__cause__` says why."""


class TooSlow(NotConnected):
    """The server could not be reached in time."""


class Way(NamedTuple):
    """How to get to a server. `timeout` in seconds, None for no limit; `trust` is for proxies spoken to in TLS."""

    proxy: Proxy | None = None
    timeout: float | None = None
    options: Options = ()
    ipv4: bool = False
    trust: Trust | None = None
    screen: Screen | None = None
    """Which addresses of the server may be connected to. A proxy's are no affair of it: the proxy is the user's."""


async def dial(way: Way, host: str, port: int, context: ssl.SSLContext | None, *, forwards: bool = False) -> Wire:
    """Return a connection to the server, in TLS where there is a context.

    `forwards`: an HTTP proxy is not asked for a tunnel, because it will be given the request itself. Raises a `Fault`
    or `NotConnected`.
    """
    is_reached = False
    try:
        async with asyncio.timeout(way.timeout):
            found = await reach(way, host, port, forwards=forwards)
            is_reached = True
            if context is not None:
                await _secured(found, context, host)
            return found
    except TimeoutError:
        if way.proxy is not None and not is_reached:
            raise tunnels.too_slow(way.proxy, tunnels.place(host, port), way.timeout) from None
        raise TooSlow from None


async def look(way: Way, host: str, port: int, context: ssl.SSLContext) -> list[bytes]:
    """Connect in this way, in TLS with this context, send nothing, and return the certificates that were presented.

    Returns none where no connection comes about: the look is for an error's text, which has less in it then.
    """
    try:
        found = await dial(way, host, port, context)
    except (NotConnected, Fault):
        return []
    return _shown(found)


async def reach(way: Way, host: str, port: int, *, forwards: bool = False) -> Wire:
    """Return a connection to the server before any TLS with it. As `dial`, but not bounded in time."""
    proxy = way.proxy
    if proxy is None:
        try:
            return await wire.connect(host, port, way.options, ipv4=way.ipv4, screen=way.screen)
        except OSError as error:
            raise NotConnected from error
    require_library(proxy)
    target = tunnels.place(host, port)
    found = await _reached_proxy(way, proxy, target)
    if forwards and proxy.scheme in ("http", "https"):
        return found
    try:
        await open_tunnel(proxy, host, port, found.read, found.write)
    except OSError:
        found.abort()
        raise tunnels.hung_up(proxy, target) from None
    except BaseException:
        found.abort()
        raise
    return found


async def _reached_proxy(way: Way, proxy: Proxy, target: str) -> Wire:
    trust = _trust(way) if proxy.scheme == "https" else None
    try:
        found = await wire.connect(proxy.host, proxy.port, way.options, ipv4=way.ipv4)
        if trust is not None:
            await _secured(found, await trust.context(proxy.place), proxy.host)
        return found
    except (OSError, NotConnected) as error:
        if trust is None:
            trouble = failures.connection_fault(error, proxy.place)
        else:
            around = way._replace(proxy=None)
            trouble = await trust.refusal(
                error, proxy.place, lambda context: look(around, proxy.host, proxy.port, context)
            )
        raise tunnels.unreachable(proxy, trouble, target) from None


def _trust(way: Way) -> Trust:
    if way.trust is not None:
        return way.trust
    from mcp_remote_py.net.tls import Trust

    return Trust(Tls())


async def _secured(found: Wire, context: ssl.SSLContext, host: str) -> None:
    try:
        await found.start_tls(context, host)
    except OSError as error:
        found.abort()
        raise NotConnected from error
    except BaseException:
        found.abort()
        raise


def _shown(found: Wire) -> list[bytes]:
    from mcp_remote_py.net.tls import presented

    try:
        return presented(found.about("ssl_object"))
    finally:
        found.abort()
