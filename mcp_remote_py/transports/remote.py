"""Remote: the server as both HTTP wires see it: the port that reaches it, and the headers the user gave for it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mcp_remote_py.core.errors import Interrupted
from mcp_remote_py.core.http import headers
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.http.statuses import Reply
from mcp_remote_py.net.http import HttpPort, Request, Response, Written, follow, open_port
from mcp_remote_py.settings import Target, Timeouts, Tls
from mcp_remote_py.transports import USER_AGENT

if TYPE_CHECKING:
    import ssl


class Remote:
    """One server. `url` is what the user named; `host` names it in sentences."""

    def __init__(self, target: Target, timeouts: Timeouts, tls: Tls) -> None:
        self.url = target.url
        self.host = place_of(target.url)
        self.connect_timeout = timeouts.connect
        self.with_token = headers.has(target.headers, "authorization")
        self._tls = tls
        self._port: HttpPort | None = None
        self._closed = False
        self._given = headers.of_user(target.headers)
        if not headers.has(self._given, "user-agent"):
            self._given += (("User-Agent", USER_AGENT),)

    async def open(self) -> None:
        """Make the port ready. Nothing is sent."""
        context = await asyncio.to_thread(_context, self._tls) if urlsplit(self.url).scheme == "https" else None
        self._port = open_port(connect_timeout=self.connect_timeout, context=context)

    def request(
        self,
        method: str,
        url: str,
        own: Headers,
        body: bytes = b"",
        written: Written | None = None,
    ) -> AbstractAsyncContextManager[Response]:
        """Send a request with the user's headers and our `own`, and enter with its answer. Raises a `Fault`."""
        if self._port is None or self._closed:
            raise Interrupted(f"the connection to {self.host} is not open", may_have_run=False)
        return follow(self._port, Request(method, url, self._given + own, body, written))

    def reply(self, response: Response) -> Reply:
        """Return the head of an answer as the pure ring reads it."""
        return Reply(
            self.host,
            response.status,
            response.header("content-type"),
            response.header("www-authenticate"),
            response.header("retry-after"),
        )

    async def close(self) -> None:
        """Close all connections. Whoever still reads gets `Interrupted`."""
        self._closed = True
        if self._port is not None:
            await self._port.aclose()


def _context(tls: Tls) -> ssl.SSLContext:
    from mcp_remote_py.net.tls import make_context

    return make_context(tls)
