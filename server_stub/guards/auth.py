"""The guard that asks who is there: a bearer token, or `X-API-Key` for static tokens, on every request (RFC 6750).

A WebSocket client that sends no header may send its token as the first message; the endpoint does the rest.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server_stub.core.access import INVALID, MISSING, Challenge, credential_of
from server_stub.endpoints.replies import json_reply
from server_stub.guards import request_key
from server_stub.guards.site import site_of

PRINCIPAL = request_key("principal")
"""The request's key for who it comes from; not there where a first message has to tell."""


def auth() -> Middleware:
    """Return the guard."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        site = site_of(request)
        if not site.doorkeeper.is_on:
            request[PRINCIPAL] = None
            return await handler(request)
        if not site.asks or site.failure is not None:
            return await handler(request)
        headers = request.headers
        credential = credential_of(headers.get("Authorization"), headers.get("X-API-Key"))
        if credential is None:
            if site.late and "Authorization" not in headers:
                return await handler(request)
            return _challenged(MISSING)
        principal = site.doorkeeper.principal(credential)
        if principal is None:
            return _challenged(INVALID)
        request[PRINCIPAL] = principal
        return await handler(request)

    return guard


def _challenged(challenge: Challenge) -> web.Response:
    return json_reply(401, challenge.body, {"WWW-Authenticate": challenge.header})
