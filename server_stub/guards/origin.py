"""The guard of Host and Origin, on every wire: 421 for a Host that is not ours, 403 for a page that may not ask.

What keeps web pages from driving a local server; browsers apply no CORS to WebSocket, so this is its only protection.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mcp_remote_py.core.errors import Refused
from server_stub.core.access import host_allowed, origin_allowed
from server_stub.core.admission import reject_fault
from server_stub.endpoints.replies import rejected
from server_stub.guards import host_of, local_address
from server_stub.guards.site import site_of

logger = logging.getLogger(__name__)


def origin() -> Middleware:
    """Return the guard."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        site = site_of(request)
        if site.failure == 404:
            return await handler(request)
        local = local_address(request)
        host = host_of(request)
        if not site.any_host and not host_allowed(host, local, site.doors):
            logger.warning("refused: Host %r is not allowed (--allowed-host, --public-url)", host)
            fault = Refused("This Host is not allowed here.", hint="On the server: --allowed-host NAME.")
            return rejected(reject_fault(421, fault))
        asking = request.headers.get("Origin")
        if not origin_allowed(asking, local, site.doors):
            logger.warning("refused: Origin %r is not allowed (--allowed-origin, --cors-origin)", asking)
            fault = Refused("This Origin is not allowed here.", hint="On the server: --allowed-origin ORIGIN.")
            return rejected(reject_fault(403, fault))
        return await handler(request)

    return guard
