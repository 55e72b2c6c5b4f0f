"""Routes: the way to each server, decided when a connection is about to be made. The network of a laptop changes.

What the flags and the variables say never changes; the operating system's settings are read again after a few seconds.
"""

from __future__ import annotations

import asyncio
import logging

from mcp_remote_py.core.errors import Unreachable
from mcp_remote_py.core.http import proxies
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.http.proxies import BadProxy, Route, SystemProxies
from mcp_remote_py.settings import Network

_LOG = logging.getLogger("mcp_remote_py.net.routes")
FRESH_SECONDS = 10.0
_MOST_KNOWN = 1000
"""URLs; only a server that names a new one with each redirect has more."""


class Routes:
    """The ways out of this network, for one link."""

    def __init__(self, network: Network) -> None:
        self._setting = network.proxy
        self._variables = dict(network.variables)
        self._asks_system = proxies.asks_system(self._setting, self._variables)
        self._system = SystemProxies()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._known: dict[str, Route] = {}
        self._said: dict[str, Route] = {}

    async def to(self, url: str) -> Route:
        """Return the way to the server of this URL. Raises `Unreachable` where the proxy's name cannot be used."""
        if self._asks_system:
            await self._refresh()
        known = self._known.get(url)
        if known is not None:
            return known
        try:
            route = proxies.choose(url, self._setting, self._variables, self._system)
        except BadProxy as bad:
            raise Unreachable(str(bad), hint=bad.hint, mends=False) from None
        except ValueError:
            return Route(None, "the URL has no origin")  # whoever sends the request says so
        self._say(place_of(url), route)
        if len(self._known) < _MOST_KNOWN:
            self._known[url] = route
        return route

    async def _refresh(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._read_at is not None and now - self._read_at < FRESH_SECONDS:
            return
        async with self._reading:
            if self._read_at is not None and now - self._read_at < FRESH_SECONDS:
                return  # somebody else has just read them
            from mcp_remote_py.net.system_proxy import system_proxies

            self._system = await system_proxies()
            self._read_at = asyncio.get_running_loop().time()
            self._known.clear()

    def _say(self, host: str, route: Route) -> None:
        before = self._said.get(host)
        if before == route:
            return
        self._said[host] = route
        way = f"through the proxy {route.proxy.place}" if route.proxy else "straight"
        _LOG.debug("%s is reached %s (%s)", host, way, route.why)
        if route.pac is not None and route.proxy is None and before is None:
            _LOG.warning(
                "%s: a PAC file is named there (a script that chooses the proxy), which is not run here; %s is tried "
                "without a proxy. If that fails: %s",
                route.pac,
                host,
                proxies.PAC_HINT,
            )
