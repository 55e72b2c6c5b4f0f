"""What orchestrators ask: is it alive (`/health`), may it get work (`/readyz`). No secrets, no numbers."""

from __future__ import annotations

from aiohttp import web

from mcp_remote_py import __version__
from mcp_remote_py.core.message import encode
from server_stub.endpoints.replies import json_reply
from server_stub.sessions import Gateway


class Ops:
    """The endpoints."""

    def __init__(self, gateway: Gateway, service: str) -> None:
        self._gateway = gateway
        self._service = service

    async def health(self, request: web.Request) -> web.StreamResponse:
        """Say that the process answers."""
        del request
        return json_reply(200, encode({"status": "healthy", "service": self._service, "version": __version__}))

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """Say whether new sessions are taken."""
        del request
        if self._gateway.stopping:
            return json_reply(503, encode({"status": "stopping"}))
        return json_reply(200, encode({"status": "ready"}))
