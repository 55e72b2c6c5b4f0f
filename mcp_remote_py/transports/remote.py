"""Remote: the server as both HTTP wires see it: the port that reaches it, and the credentials it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mcp_remote_py.core.errors import Interrupted
from mcp_remote_py.core.http import headers
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import origin_of, place_of
from mcp_remote_py.core.http.statuses import Reply
from mcp_remote_py.net.http import HttpPort, Request, Response, Written, follow, let_end, open_port
from mcp_remote_py.settings import Tls
from mcp_remote_py.transports import USER_AGENT
from mcp_remote_py.transports.reach import Reach

if TYPE_CHECKING:
    import ssl


class Remote:
    """One server. `url` is what the user named; `host` names it in sentences; `limit` is a message's, in bytes."""

    def __init__(self, reach: Reach) -> None:
        self.url = reach.target.url
        self.host = place_of(reach.target.url)
        self.connect_timeout = reach.timeouts.connect
        self.limit = reach.limits.message
        self.learn = reach.learn
        self.heard = reach.heard
        self._reach = reach
        self._credentials = reach.credentials
        self._origin = origin_of(reach.target.url)
        self._port: HttpPort | None = None
        self._closed = False

    @property
    def with_token(self) -> bool:
        """Whether an `Authorization` header goes out with every request."""
        return self._credentials.with_authorization

    async def open(self) -> None:
        """Make the port ready. Nothing is sent."""
        context = await asyncio.to_thread(_context, self._reach.tls) if urlsplit(self.url).scheme == "https" else None
        self._port = open_port(connect_timeout=self.connect_timeout, context=context)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        own: Headers,
        body: bytes = b"",
        written: Written | None = None,
    ) -> AsyncIterator[Response]:
        """Send a request with the user's headers and our `own`, and enter with its answer. Raises a `Fault`.

        After a 401 it is sent once more, where other credentials can be had: the first one did not run.
        """
        shown = await self._credentials.headers()
        async with self._send(method, url, own, shown, body, written) as response:
            if response.status != 401 or not await self._credentials.refused(shown):
                yield response
                return
            await let_end(response.chunks())
        shown = await self._credentials.headers()
        async with self._send(method, url, own, shown, body, written) as response:
            yield response

    def _send(
        self, method: str, url: str, own: Headers, shown: Headers, body: bytes, written: Written | None
    ) -> AbstractAsyncContextManager[Response]:
        if self._port is None or self._closed:
            raise Interrupted(f"the connection to {self.host} is not open", may_have_run=False)
        bound = headers.of_user(shown)
        if not headers.has(bound, "user-agent"):
            own += (("User-Agent", USER_AGENT),)
        return follow(self._port, Request(method, url, own, body, written, ((self._origin, bound),)))

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
