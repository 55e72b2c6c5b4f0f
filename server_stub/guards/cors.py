"""The guard that lets pages of listed origins read our answers, and answers their preflights (WHATWG Fetch).

Off until origins are named. `Access-Control-Allow-Credentials` is never sent, so `*` can never meet credentials.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server_stub.core.access import CORS_EXPOSED, CORS_METHODS, cors_headers, cors_origin
from server_stub.guards import request_key
from server_stub.guards.site import site_of

_ANSWER = request_key("cors_answer")


def cors() -> Middleware:
    """Return the guard. It needs `add_headers` among the application's `on_response_prepare`."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        site = site_of(request)
        answer = cors_origin(request.headers.get("Origin"), site.doors)
        if answer is None:
            return await handler(request)
        request[_ANSWER] = answer
        asks = request.headers.get("Access-Control-Request-Method")
        if request.method == "OPTIONS" and asks is not None and site.failure != 404:
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": CORS_METHODS,
                    "Access-Control-Allow-Headers": cors_headers(request.headers.get("Access-Control-Request-Headers")),
                    "Access-Control-Max-Age": "600",
                },
            )
        return await handler(request)

    return guard


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers to whatever is sent: errors of any guard, and streams, too."""
    answer = request.get(_ANSWER)
    if answer is not None:
        response.headers["Access-Control-Allow-Origin"] = answer
        response.headers["Access-Control-Expose-Headers"] = CORS_EXPOSED
        if answer != "*":
            response.headers.add("Vary", "Origin")
