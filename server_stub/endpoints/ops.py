"""What orchestrators ask: is it alive (`/health`), may it get work (`/readyz`). No secrets, no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from mcp_remote_py import __version__
from mcp_remote_py.core.message import encode
from server_stub.endpoints.replies import json_reply


class Ops:
    """The endpoints. `more` returns what else `/readyz` has to tell."""

    def __init__(
        self, service: str, stopping: Callable[[], bool], more: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self._service = service
        self._stopping = stopping
        self._more = more

    async def health(self, request: web.Request) -> web.StreamResponse:
        """Say that the process answers."""
        del request
        return json_reply(200, encode({"status": "healthy", "service": self._service, "version": __version__}))

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """Say whether new sessions are taken."""
        del request
        if self._stopping():
            return json_reply(503, encode({"status": "stopping"}))
        return json_reply(200, encode({"status": "ready", **(self._more() if self._more is not None else {})}))
