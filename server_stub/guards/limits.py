"""The guard of sizes: a body over the limit is refused with 413, whether it says its size or not.

The limit is in force where the body is read, behind the other guards, so that nobody learns by a 413 what a stranger
should be told by a 403 or 401. The sizes of header lines are aiohttp's (8190 bytes each).
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server_stub.core.admission import check_size, reject
from server_stub.endpoints.replies import rejected


def limits(body: int) -> Middleware:
    """Return the guard. `body` is in bytes; the application's `client_max_size` must be the same."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        coding = request.headers.get("Content-Encoding")
        if coding is not None and coding.strip().lower() not in ("", "identity"):
            # no MCP client sends one, and a small body could unfold to any size before the limit is met
            return rejected(reject(415, "A body with a Content-Encoding is not accepted."))
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            rejection = check_size(body + 1, body)
            if rejection is None:
                raise
            return rejected(rejection)

    return guard
