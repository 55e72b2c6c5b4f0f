"""HttpPort: requests out, streamed answers in. The port that everything over HTTP goes through: its policy.

The rules that it keeps, whatever carries the bytes (tests/mcp_remote_py/net/test_http.py asks each carrier for them):
only faults and cancellation come out; the connect time bounds all of connecting (name, TCP, proxy, TLS) and nothing
else; each request goes the way that `net.routes` says; redirects are followed by `follow` alone; cookies stay on their
exact origin, in memory; bodies come without their content coding, in bounded pieces; leaving the `async with` early
closes the connection at once; no proxy, certificate or credential is taken from the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, TimedOut, TooLarge, Unreachable
from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.headers import Headers, has
from mcp_remote_py.core.http.origins import Origin, Requested, origin_of, place_of, requested
from mcp_remote_py.core.http.proxies import Proxy, Route
from mcp_remote_py.net import codings, failures, redirects
from mcp_remote_py.net.by_h11 import ByH11
from mcp_remote_py.net.carrier import (
    LARGEST_HEAD,
    USUAL,
    Answer,
    Carrier,
    Fields,
    HeadTooLarge,
    Hop,
    Lost,
    NotHttp,
    Terms,
    Unsendable,
)
from mcp_remote_py.net.cookies import Cookies, Jars
from mcp_remote_py.net.dial import NotConnected, TooSlow, Way, look
from mcp_remote_py.net.routes import Routes
from mcp_remote_py.net.sockets import IPV4_HINT, dead_peer_options, is_dead_peer
from mcp_remote_py.net.wire import Screen
from mcp_remote_py.settings import Network, Tls

if TYPE_CHECKING:
    import ssl

    from mcp_remote_py.net.tls import Trust

Written = Callable[[], None]
Chunks = AsyncGenerator[bytes, None]
Bound = tuple[tuple[Origin, Headers], ...]
"""Headers, and the one origin that each of them may be sent to."""

STRAIGHT = Network(proxy="none")
FRESH_SECONDS = 5.0
"""How long a changed certificate file may go unnoticed."""
LINGER_SECONDS = 0.1
LINGER_BYTES = 64 * 1024


class Request(NamedTuple):
    """What to send. `written` is called once the whole of it has gone out.

    `headers` go wherever a redirect leads, each of `bound` to its origin alone. `may_repeat`: sending it twice does no
    harm, which needs no saying for other methods than POST.
    """

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    written: Written | None = None
    bound: Bound = ()
    may_repeat: bool = False

    def at_hand(self) -> Headers:
        """Return the headers for the URL as it is now."""
        if not self.bound:
            return self.headers
        origin = origin_of(self.url)
        return self.headers + tuple(pair for bound_to, headers in self.bound if bound_to == origin for pair in headers)


class Response(Protocol):
    """The head of an answer, and its body as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def url(self) -> str:
        """What was asked in the end, after redirects."""

    def header(self, name: str) -> str:
        """Return a header's value, several joined with a comma and a blank; empty where it is absent."""

    def headers(self) -> dict[str, str]:
        """Return all headers by their names in lower case, each as `header` does."""

    def chunks(self) -> Chunks:
        """Iterate over the body, decoded. May be asked for once. Raises a `Fault` where the body breaks off."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises `TooLarge` if it has more than `limit` bytes, or another `Fault`."""


class HttpPort(Protocol):
    """See the module's text."""

    def stream(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send a request, and enter with the head of its answer. Raises a `Fault`."""

    def doubt(self) -> None:
        """This machine slept, or is in another network: use no connection again that is idle now, probe the others."""

    async def aclose(self) -> None:
        """Close all connections; whoever still reads gets `Interrupted`."""


def _ignore(_: str) -> None:
    """Nobody wants to know."""


def open_port(  # noqa: PLR0913  keywords all of them, each for a thing of its own
    *,
    connect_timeout: float | None,
    trust: Trust | None = None,
    network: Network = STRAIGHT,
    dead_peer: float | None = None,
    learn: Callable[[str], None] = _ignore,
    jars: Jars | None = None,
    terms: Terms = USUAL,
    screen: Screen | None = None,
) -> HttpPort:
    """Return a port. Nothing is sent, and nothing connected to, before the first request.

    `connect_timeout` and `dead_peer` in seconds, None for no limit. `trust` is needed for https, and for a proxy that
    is spoken to in TLS. `learn` is told the value of every cookie; `jars` keep them for the port after this one.
    `terms` are the carrier's. `screen` says which addresses of a name may be connected to, where we look it up.
    """
    way = Way(None, connect_timeout, dead_peer_options(dead_peer), network.ipv4, trust, screen)
    return _Port(_carrier(terms), way, network, Cookies(learn, keeps=network.cookies, jars=jars), terms.largest_head)


def _carrier(terms: Terms) -> Carrier:
    if terms.library == "httpx":
        from mcp_remote_py.net.by_httpcore import ByHttpcore

        return ByHttpcore(terms)
    return ByH11(terms)


@asynccontextmanager
async def follow(port: HttpPort, request: Request, allowed: frozenset[Origin] = frozenset()) -> AsyncIterator[Response]:
    """Send a request, follow the redirects that may be followed, and enter with the answer.

    `allowed` are other origins that a redirect may lead to. Raises a `Fault`: `Refused` for a redirect that must not
    be followed, and whatever the port raises.
    """
    hops = 0
    while True:
        async with port.stream(request) as response:
            location = response.header("location")
            target = redirects.next_url(request.method, request.url, response.status, location, hops, allowed)
            if target is None:
                yield response
                return
            await let_end(response.chunks())
        request = request._replace(url=target)
        hops += 1


async def let_end(chunks: Chunks) -> None:
    """Give a body whose rest does not matter a moment to end by itself, so that its connection can be used again."""
    size = 0
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size > LINGER_BYTES:
                    return
    except (TimeoutError, Fault):
        pass  # the connection is closed instead: it costs the next request a new one, and nothing else


async def gather(chunks: Chunks, limit: int, declared: str, host: str) -> bytes:
    """Return all chunks as one body of `limit` bytes at most. `declared` is the value of Content-Length."""
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise too_large(host, limit)
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise too_large(host, limit)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(host: str, limit: int) -> TooLarge:
    """Return the fault for a message from the server that is over the limit, in bytes."""
    return TooLarge(
        f"a message from {host} is larger than the limit of {limit} bytes",
        hint="Raise --max-message-size, or ask for less at once. The call has run on the server.",
        may_have_run=True,
    )


# --- The port --------------------------------------------------------------------------------------------------------


class _Where(NamedTuple):
    """What a fault's text needs to know about the request that met it."""

    host: str
    connect_timeout: float | None
    head_was_read: bool
    largest_head: int = LARGEST_HEAD


def translate(error: Exception, where: _Where) -> Fault:
    """Return our fault for what a carrier raised."""
    if isinstance(error, TooSlow):
        return failures.connect_timeout(where.host, where.connect_timeout)
    if isinstance(error, NotConnected):
        return failures.connection_fault(error, where.host)
    if isinstance(error, Unsendable):
        return _unsendable(where)
    if isinstance(error, codings.Broken):
        return Interrupted(f"the answer of {where.host} is not whole, or not coded as its head says")
    if isinstance(error, HeadTooLarge):
        return failures.head_too_large(where.host, where.largest_head, head_was_read=where.head_was_read)
    if isinstance(error, NotHttp) and not where.head_was_read:
        return PeerBroke(
            f"{where.host} does not answer in HTTP",
            hint="Check the port. If the server speaks TLS there, the URL begins with https://.",
        )
    return _interrupted(error, where)


def _unsendable(where: _Where) -> Fault:
    return Unreachable(
        f"the request to {where.host} cannot be written as HTTP",
        hint="Check the URL, and the names and values given with --header or --header-file.",
        mends=False,
    )


def _interrupted(error: Exception, where: _Where) -> Fault:
    alert = failures.tls_alert(error, where.host)
    if alert is not None and not where.head_was_read:
        return alert
    if is_dead_peer(error):
        return Interrupted(f"{where.host} acknowledges nothing any more: its connection is dead (--dead-peer-timeout)")
    if where.head_was_read:
        return Interrupted(f"the connection to {where.host} broke off in the middle of the answer")
    return Interrupted(f"{where.host} closed the connection without an answer")


_FOREIGN = (NotConnected, Unsendable, NotHttp, HeadTooLarge, Lost)


class _Response:
    """The answer to one request."""

    def __init__(self, answer: Answer, url: str, where: _Where) -> None:
        self._answer = answer
        self._where = where
        self.url = url

    @property
    def status(self) -> int:
        return self._answer.status

    def header(self, name: str) -> str:
        return ", ".join(self.fields(name))

    def headers(self) -> dict[str, str]:
        names = {known.lower().decode("ascii", "replace") for known, _ in self._answer.fields}
        return {name: self.header(name) for name in sorted(names)}

    def fields(self, name: str) -> list[str]:
        """Return the values of all headers of this name."""
        wanted = name.lower().encode("ascii")
        return [_text(value) for known, value in self._answer.fields if known.lower() == wanted]

    async def chunks(self) -> Chunks:
        try:
            decoder = codings.decoder_for(self.header("content-encoding"))
            async for chunk in self._answer.body():
                if decoder is None:
                    yield chunk
                else:
                    for piece in decoder.feed(chunk):
                        yield piece
            if decoder is not None:
                decoder.finish()
        except (*_FOREIGN, codings.Broken) as error:
            raise translate(error, self._where) from None

    async def read(self, limit: int) -> bytes:
        return await gather(self.chunks(), limit, self.header("content-length"), self._where.host)


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


class _Port:
    """The policy over a carrier: see the module's text."""

    def __init__(self, carrier: Carrier, way: Way, network: Network, cookies: Cookies, largest_head: int) -> None:
        self._carrier = carrier
        self._largest_head = largest_head
        self._way = way
        self._ways: dict[Proxy | None, Way] = {}
        self._routes = Routes(network)
        self._cookies = cookies
        self._contexts: dict[str, tuple[ssl.SSLContext, float]] = {}
        self._answered: set[str] = set()
        """The places that have answered at least once: there, a lost connection is no refusal."""
        self._closed = False

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Response]:
        where = _Where(place_of(request.url), self._way.timeout, head_was_read=False, largest_head=self._largest_head)
        route = await self._routes.to(request.url)
        try:
            target = requested(request.url)
        except ValueError:
            raise _unsendable(where) from None
        context = await self._context(where.host) if target.scheme == "https" else None
        if self._closed:
            raise Interrupted(f"the connection to {where.host} has been closed from this side", may_have_run=False)
        try:
            answer = await self._carrier.carry(self._hop(request, target, route.proxy, context))
        except _FOREIGN as error:
            raise await self._trouble(error, where, target, route) from None
        try:
            self._answered.add(where.host)
            response = _Response(answer, request.url, where._replace(head_was_read=True))
            self._check_proxy(response, route.proxy, target)
            self._cookies.keep(request.url, response.fields("set-cookie"))
            yield response
        finally:
            await answer.aclose()

    def doubt(self) -> None:
        self._carrier.doubt()

    async def aclose(self) -> None:
        self._closed = True
        await self._carrier.aclose()

    async def _context(self, host: str) -> ssl.SSLContext:
        """Return the context for TLS with this host. Whether its files have changed is not asked at every request."""
        now = asyncio.get_running_loop().time()
        context, until = self._contexts.get(host, (None, 0.0))
        if context is None or now > until:
            context = await self._trust().context(host)
            self._contexts[host] = (context, now + FRESH_SECONDS)
        return context

    def _trust(self) -> Trust:
        if self._way.trust is None:
            from mcp_remote_py.net.tls import Trust

            self._way = self._way._replace(trust=Trust(Tls()))
        return cast("Trust", self._way.trust)

    def _through(self, proxy: Proxy | None) -> Way:
        """Return the way through this proxy; always the same one, for connections are kept by it."""
        if proxy not in self._ways:
            self._ways[proxy] = self._way._replace(proxy=proxy)
        return self._ways[proxy]

    def _hop(self, request: Request, target: Requested, proxy: Proxy | None, context: ssl.SSLContext | None) -> Hop:
        fields: Fields = [(b"Host", target.authority), (b"Accept-Encoding", codings.ACCEPTED.encode("ascii"))]
        if request.body or request.method == "POST":
            fields.append((b"Content-Length", b"%d" % len(request.body)))
        given = request.at_hand()
        fields.extend((name.encode("utf-8"), value.encode("utf-8")) for name, value in given)
        if not has(given, "cookie"):
            cookie = self._cookies.header(request.url)
            if cookie is not None:
                fields.append((b"Cookie", cookie.encode("utf-8")))
        forwards, asked = _is_forwarded(target, proxy), target.path
        if forwards:
            asked = b"http://%b%b" % (target.authority, target.path)  # RFC 9112 section 3.2.2
            if proxy is not None and proxy.authorization is not None:
                fields.append((b"Proxy-Authorization", proxy.authorization.encode("ascii")))
        return Hop(
            self._through(proxy),
            target.host,
            target.port,
            context,
            forwards,
            request.method,
            asked,
            fields,
            request.body,
            request.written,
            request.may_repeat or request.method != "POST",
        )

    def _check_proxy(self, response: _Response, proxy: Proxy | None, target: Requested) -> None:
        """Of the answers to a request that a proxy carries in plain sight, one is never the server's."""
        if proxy is not None and response.status == 407 and _is_forwarded(target, proxy):
            head = tunnels.Head(407, response.header("proxy-authenticate"))
            raise tunnels.refusal(proxy, head, tunnels.place(target.host, target.port))

    async def _trouble(self, error: Exception, where: _Where, target: Requested, route: Route) -> Fault:
        looking = partial(look, self._through(route.proxy), target.host, target.port)
        if isinstance(error, NotConnected) and not isinstance(error, TooSlow) and target.scheme == "https":
            fault: Fault = await self._trust().refusal(error, where.host, looking)
        else:
            fault = translate(error, where)
            is_unexplained = type(fault) is Interrupted and not is_dead_peer(error)
            if target.scheme == "https" and is_unexplained and where.host not in self._answered:
                fault = await self._trust().hung_up(fault, where.host, looking)
            elif is_unexplained and where.host not in self._answered:
                fault.hint += " If the server speaks TLS on this port, the URL begins with https://."
        if route.proxy is not None and _is_forwarded(target, route.proxy) and type(fault) in (Interrupted, PeerBroke):
            fault.args = (f"{fault}; it was asked through {tunnels.named(route.proxy)}, which may be the cause",)
        if route.proxy is None and type(fault) in (Unreachable, TimedOut):
            fault.hint = tunnels.without_proxy(fault.hint, route, where.host)
        if self._way.ipv4 and type(fault) is Unreachable:
            fault.hint += IPV4_HINT
        return fault


def _is_forwarded(target: Requested, proxy: Proxy | None) -> bool:
    """Whether the proxy is given the request itself, not asked for a tunnel."""
    return target.scheme == "http" and proxy is not None and proxy.scheme in ("http", "https")
