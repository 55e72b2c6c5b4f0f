"""The outermost guard: one log line per request, and every error as JSON without a traceback.

The query is not logged (on `/messages` it names the session), nor is any header.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mcp_remote_py.core.message import encode
from mcp_remote_py.core.redact import printable
from server_stub.endpoints.replies import json_reply

logger = logging.getLogger(__name__)


def observe(paths: tuple[str, ...]) -> Middleware:
    """Return the guard. `paths` are named to who asks for one that does not exist."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_told = logger.isEnabledFor(logging.DEBUG)
        begin = time.monotonic() if is_told else 0.0
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
        except web.HTTPException as failure:
            response = _reply(failure, paths)
        except ConnectionError:
            logger.debug("%s %s: the client has gone", request.method, printable(request.path))
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, printable(request.path))
            if request.writer.output_size > 0:
                raise  # too late for another answer; aiohttp closes the connection
            response = json_reply(500, encode({"error": "Internal error"}))
        finally:
            if is_told:
                status = response.status if response is not None else 0
                took = (time.monotonic() - begin) * 1000
                logger.debug("%s %s -> %d, %.1f ms", request.method, printable(request.path), status, took)
        return response

    return guard


def _reply(failure: web.HTTPException, paths: tuple[str, ...]) -> web.StreamResponse:
    """aiohttp's own errors carry text that may echo the request; ours say what is wrong and nothing else."""
    if failure.status == 404:
        return json_reply(404, encode({"error": "Not found", "paths": paths}))
    headers = {"Allow": failure.headers["Allow"]} if "Allow" in failure.headers else {}
    return json_reply(failure.status, encode({"error": failure.reason}), headers)
