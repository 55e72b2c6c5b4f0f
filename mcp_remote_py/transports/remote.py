"""Remote: the server as both HTTP wires see it: the port that reaches it, and the credentials it is shown."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from mcp_remote_py.core import retries
from mcp_remote_py.core.errors import Asked, Interrupted
from mcp_remote_py.core.http import headers
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import Origin, origin_of, place_of
from mcp_remote_py.core.http.statuses import Reply, wants_more_scope
from mcp_remote_py.core.message import Message
from mcp_remote_py.net.carrier import Terms
from mcp_remote_py.net.http import Bound, HttpPort, Request, Response, Written, follow, let_end, open_port
from mcp_remote_py.net.redirects import allowed_origins
from mcp_remote_py.settings import Tls
from mcp_remote_py.transports import USER_AGENT
from mcp_remote_py.transports.reach import Reach

if TYPE_CHECKING:
    from mcp_remote_py.net.tls import Trust


class Remote:
    """One server. `url` is what the user named; `host` names it in sentences; `limit` is a message's, in bytes, and
    `depth` is how deeply it may be nested."""

    def __init__(self, reach: Reach) -> None:
        self.url = reach.target.url
        self.host = place_of(reach.target.url)
        self.connect_timeout = reach.timeouts.connect
        self.limit = reach.limits.message
        self.depth = reach.limits.depth
        self.learn = reach.learn
        self.heard = reach.heard
        self._reach = reach
        self._credentials = reach.credentials
        self._origin = origin_of(reach.target.url)
        self._allowed = allowed_origins(reach.network.redirect_to, self._origin.scheme)
        self._port: HttpPort | None = None
        self._closed = False

    @property
    def with_token(self) -> bool:
        """Whether an `Authorization` header goes out with every request."""
        return self._credentials.with_authorization

    async def open(self) -> None:
        """Make the port ready. Nothing is sent."""
        reach = self._reach
        self._port = open_port(
            connect_timeout=self.connect_timeout,
            trust=_trust(reach.tls, self._origin),
            network=reach.network,
            dead_peer=reach.timeouts.dead_peer,
            learn=reach.learn,
            jars=reach.jars,
            terms=Terms(reach.network.library, reach.timeouts.reuse_idle, reach.limits.head),
        )

    def doubt(self) -> None:
        """This machine slept, or is in another network: send nothing on connections that are idle, probe the others."""
        if self._port is not None:
            self._port.doubt()

    async def have_credentials(self) -> None:
        """Get the credentials now, so that no limit for what follows counts the time of a command. Raises a `Fault`."""
        await self._credentials.headers()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        own: Headers,
        message: Message | None = None,
        written: Written | None = None,
        bound: Bound = (),
    ) -> AsyncIterator[Response]:
        """Send a request with the user's headers and our `own`, and enter with its answer. Raises a `Fault`.

        What tools say of themselves is not known here: no call of one counts as harmless.

        `bound` are headers of ours that go to one origin alone, wherever a redirect may lead.

        After a 401 (or a 403 for want of scope) it is sent once more, where other credentials can be had, and once more
        where the proof lacked the server's nonce: those before did not run.
        """
        request = Request(method, url, own, written=written, bound=bound)
        if message is not None:
            request = request._replace(body=message.raw, may_repeat=retries.is_harmless(message, ()))
        tried: set[bool] = set()
        while True:
            shown = await self._credentials.headers(method, url)
            async with self._send(request, shown) as response:
                asked = self._asked(response)
                if asked is None or asked.wants_nonce in tried or not await self._credentials.refused(shown, asked):
                    yield response
                    return
                tried.add(asked.wants_nonce)
                await let_end(response.chunks())

    def _asked(self, response: Response) -> Asked | None:
        """Whether and how the server asks for other credentials. Takes in what it wants the next proof to hold."""
        nonce = response.header("dpop-nonce")
        if not (nonce or response.status in (401, 403)) or not self._is_home(response):
            return None
        if nonce:
            self._credentials.nonce(nonce)
        asked = Asked(response.status, response.header("www-authenticate"))
        return asked if response.status == 401 or wants_more_scope(self.reply(response)) else None

    def _send(self, request: Request, shown: Headers) -> AbstractAsyncContextManager[Response]:
        if self._port is None or self._closed:
            raise Interrupted(f"the connection to {self.host} is not open", may_have_run=False)
        users = headers.of_user(shown)
        if not headers.has(users, "user-agent"):
            request = request._replace(headers=(*request.headers, ("User-Agent", USER_AGENT)))
        request = request._replace(bound=(*request.bound, (self._origin, users)))
        return follow(self._port, request, self._allowed)

    def reply(self, response: Response) -> Reply:
        """Return the head of an answer as the pure ring reads it."""
        return Reply(
            place_of(response.url),
            response.status,
            response.header("content-type"),
            response.header("www-authenticate"),
            response.header("retry-after"),
            source=self._credentials.source if self._is_home(response) else None,
            date=response.header("date"),
            now=time.time(),
            is_home=self._is_home(response),
        )

    def _is_home(self, response: Response) -> bool:
        """Whether the answer comes from the origin that the credentials are for, not from where a redirect led."""
        return origin_of(response.url) == self._origin

    async def close(self) -> None:
        """Close all connections. Whoever still reads gets `Interrupted`."""
        self._closed = True
        if self._port is not None:
            await self._port.aclose()


def _trust(tls: Tls, home: Origin) -> Trust | None:
    """Plain HTTP needs none, and does not load it; a redirect to https makes its own."""
    if home.scheme != "https" and tls == Tls():
        return None
    from mcp_remote_py.net.tls import Trust

    return Trust(tls, home)
