"""Site: what the guards must know about the place that a request is for, and the guard that finds it out.

With one backend there is one site and probes beside it; with many, each member has its own doors and its own tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server_stub.core.access import Doors
from server_stub.doorkeeper import Doorkeeper
from server_stub.guards import PROBES, no_route, request_key


class Site(NamedTuple):
    """The place. The defaults are what holds for an ordinary endpoint."""

    doors: Doors
    doorkeeper: Doorkeeper
    any_host: bool = False
    """Probes come by address: their Host is not looked at."""
    asks: bool = True
    """Whether the guard of tokens asks; where not, nobody does, or the endpoint itself."""
    late: bool = False
    """A request without any credential passes, without a principal: a first message will tell."""
    failure: int | None = None
    """404 or 405: nothing wants this request, so that nobody asks for a token either."""


FindSite = Callable[[web.Request], Site]
_SITE = request_key("site")


def site_of(request: web.Request) -> Site:
    """Return the site of a request that has passed `located`."""
    found: Site = request[_SITE]
    return found


def located(find: FindSite) -> Middleware:
    """Return the guard that finds the site, for those behind it."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_SITE] = find(request)
        return await handler(request)

    return guard


def one_site(doors: Doors, doorkeeper: Doorkeeper, late: frozenset[str]) -> FindSite:
    """Return what finds the site where there is one backend. `late`: the paths where a first message may tell."""

    def find(request: web.Request) -> Site:
        is_probe = request.path in PROBES
        return Site(doors, doorkeeper, is_probe, not is_probe, request.path in late, no_route(request))

    return find
