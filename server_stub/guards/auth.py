"""The guard that asks who is there: a bearer token, or `X-API-Key` for static tokens, on every request (RFC 6750).

A WebSocket client that sends no header may send its token as the first message; the endpoint does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server_stub.core.access import INVALID, MISSING, Challenge, Credential, credential_of
from server_stub.endpoints.replies import json_reply
from server_stub.guards import PROBES, no_route, request_key
from server_stub.verifiers import Verifier

PRINCIPAL = request_key("principal")
"""The request's key for who it comes from; not there where a first message has to tell."""


class Doorkeeper:
    """Asks every verifier in turn."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    @property
    def is_on(self) -> bool:
        """Whether a token is needed at all."""
        return bool(self._verifiers)

    def principal(self, credential: Credential) -> str | None:
        """Return whom the credential belongs to, or None."""
        for verifier in self._verifiers:
            if credential.is_api_key and not verifier.takes_api_keys:
                continue
            found = verifier.verify(credential.token)
            if found is not None:
                return found
        return None


def auth(doorkeeper: Doorkeeper, late: frozenset[str]) -> Middleware:
    """Return the guard. On the paths in `late` a request without any credential passes, without a principal."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not doorkeeper.is_on:
            request[PRINCIPAL] = None
            return await handler(request)
        if request.path in PROBES or no_route(request) is not None:
            return await handler(request)
        headers = request.headers
        credential = credential_of(headers.get("Authorization"), headers.get("X-API-Key"))
        if credential is None:
            if request.path in late and "Authorization" not in headers:
                return await handler(request)
            return _challenged(MISSING)
        principal = doorkeeper.principal(credential)
        if principal is None:
            return _challenged(INVALID)
        request[PRINCIPAL] = principal
        return await handler(request)

    return guard


def _challenged(challenge: Challenge) -> web.Response:
    return json_reply(401, challenge.body, {"WWW-Authenticate": challenge.header})
