"""HttpPort: requests out, streamed answers in. The port that everything over HTTP goes through, and its first tenant.

The rules that every tenant keeps (tests/mcp_remote_py/net/test_http.py asks each for them): only faults and
cancellation come out; the connect time is bounded and nothing else is; redirects are not followed by the tenant;
cookies stay on their exact origin, in memory; bodies come without their content coding, in bounded pieces; leaving the
`async with` early closes the connection at once; no proxy, certificate or credential is taken from the environment.

This is the only file that imports httpx, and only a transport imports this file.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, TooLarge, Unreachable
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import Origin, origin_of, place_of
from mcp_remote_py.net import codings, failures, redirects

if importlib.util.find_spec("sniffio") is None:
    # httpcore 1.0 runs `import sniffio` some twenty times a request, and Python does not remember that a module is
    # missing: that is a third of the time of a request. With this entry the import fails at once.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # documented: None means "cannot be imported"

import httpx

if TYPE_CHECKING:
    import ssl

logging.getLogger("httpcore").setLevel(logging.WARNING)  # it would write whole headers, session id and all

Written = Callable[[], None]
Chunks = AsyncGenerator[bytes, None]

KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is used again for so long only: common servers close theirs after five seconds, and a request
that meets the close is lost."""
KEPT_CONNECTIONS = 64
"""More are closed after their answer. httpcore looks at all connections for each idle one at every request and answer:
a burst of a thousand calls would keep it busy for half a minute if it kept them all."""
LINGER_SECONDS = 0.1
LINGER_BYTES = 64 * 1024


class Request(NamedTuple):
    """What to send. `written` is called once the whole of it has gone out.

    `headers` go wherever a redirect leads, each of `bound` to its origin alone.
    """

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    written: Written | None = None
    bound: tuple[tuple[Origin, Headers], ...] = ()

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

    def header(self, name: str) -> str:
        """Return a header's value, several joined with a comma and a blank; empty where it is absent."""

    def chunks(self) -> Chunks:
        """Iterate over the body, decoded. May be asked for once. Raises a `Fault` where the body breaks off."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises `TooLarge` if it has more than `limit` bytes, or another `Fault`."""


class HttpPort(Protocol):
    """See the module's text."""

    def stream(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send a request, and enter with the head of its answer. Raises a `Fault`."""

    async def aclose(self) -> None:
        """Close all connections; whoever still reads gets `Interrupted`."""


def open_port(*, connect_timeout: float | None, context: ssl.SSLContext | None) -> HttpPort:
    """Return a port. `connect_timeout` in seconds, None for no limit; `context` is needed for https alone."""
    return _HttpxPort(connect_timeout, context)


@asynccontextmanager
async def follow(port: HttpPort, request: Request) -> AsyncIterator[Response]:
    """Send a request, follow the redirects that may be followed, and enter with the answer.

    Raises a `Fault`: `Refused` for a redirect that must not be followed, and whatever the port raises.
    """
    hops = 0
    while True:
        async with port.stream(request) as response:
            location = response.header("location")
            target = redirects.next_url(request.method, request.url, response.status, location, hops)
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


# --- httpx -----------------------------------------------------------------------------------------------------------


class _Where(NamedTuple):
    """What a fault's text needs to know about the request that met it."""

    host: str
    connect_timeout: float | None
    head_was_read: bool


def _interrupted(error: Exception, where: _Where) -> Fault:
    alert = failures.tls_alert(error, where.host)
    if alert is not None and not where.head_was_read:
        return alert
    if where.head_was_read:
        return Interrupted(f"the connection to {where.host} broke off in the middle of the answer")
    return Interrupted(f"{where.host} closed the connection without an answer")


def _broken_head(error: Exception, where: _Where) -> Fault:
    by_parser = any(type(cause).__module__.startswith("h11.") for cause in failures.causes(error))
    if where.head_was_read or not by_parser:
        return _interrupted(error, where)
    return PeerBroke(
        f"{where.host} does not answer in HTTP",
        hint="Check the port. If the server speaks TLS there, the URL begins with https://.",
    )


def _unsendable(_error: Exception | None, where: _Where) -> Fault:
    return Unreachable(
        f"the request to {where.host} cannot be written as HTTP",
        hint="Check the URL, and the names and values given with --header or --header-file.",
    )


_TABLE: tuple[tuple[tuple[type[Exception], ...], Callable[[Exception, _Where], Fault]], ...] = (
    (
        (httpx.ConnectTimeout, httpx.PoolTimeout),
        lambda _, where: failures.connect_timeout(where.host, where.connect_timeout),
    ),
    ((httpx.ConnectError,), lambda error, where: failures.connection_fault(error, where.host)),
    ((httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL), _unsendable),
    ((httpx.RemoteProtocolError,), _broken_head),
    ((codings.Broken,), lambda _, where: _bad_coding(where)),
    ((httpx.HTTPError, httpx.StreamError, OSError), _interrupted),
)
_FOREIGN = tuple(kind for kinds, _ in _TABLE for kind in kinds)


def _bad_coding(where: _Where) -> Fault:
    return Interrupted(f"the answer of {where.host} is not whole, or not coded as its head says")


def translate(error: Exception, where: _Where) -> Fault:
    """Return our fault for an exception of httpx."""
    for kinds, make in _TABLE:
        if isinstance(error, kinds):
            return make(error, where)
    raise error


class _Body(httpx.AsyncByteStream):
    """A body that says when it has been written."""

    def __init__(self, body: bytes, written: Written | None) -> None:
        self._body = body
        self._written = written

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body:
            yield self._body
        if self._written is not None:
            self._written()


class _HttpxResponse:
    """The answer to one request."""

    def __init__(self, answer: httpx.Response, where: _Where) -> None:
        self._answer = answer
        self._where = where

    @property
    def status(self) -> int:
        return self._answer.status_code

    def header(self, name: str) -> str:
        return str(self._answer.headers.get(name, ""))

    async def chunks(self) -> Chunks:
        try:
            decoder = codings.decoder_for(self.header("content-encoding"))
            async for chunk in cast(httpx.AsyncByteStream, self._answer.stream):
                if decoder is None:
                    yield chunk
                else:
                    for piece in decoder.feed(chunk):
                        yield piece
            if decoder is not None:
                decoder.finish()
        except _FOREIGN as error:
            raise translate(error, self._where) from None

    async def read(self, limit: int) -> bytes:
        return await gather(self.chunks(), limit, self.header("content-length"), self._where.host)


class _HttpxPort:
    """httpx's transport by itself: its client would add redirects, cookies and settings that follow other rules."""

    def __init__(self, connect_timeout: float | None, context: ssl.SSLContext | None) -> None:
        # None instead of a context makes httpx build none; plain http never asks for it
        verify = cast("ssl.SSLContext", context)
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS
        )
        self._transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, http1=True, limits=limits)
        self._connect_timeout = connect_timeout
        self._extensions = {"timeout": httpx.Timeout(None, connect=connect_timeout).as_dict()}
        self._cookies: dict[Origin, httpx.Cookies] = {}
        self._closed = False

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Response]:
        where = _Where(place_of(request.url), self._connect_timeout, head_was_read=False)
        if self._closed:
            raise Interrupted(f"the connection to {where.host} has been closed from this side", may_have_run=False)
        try:
            origin = origin_of(request.url)
        except ValueError:
            raise _unsendable(None, where) from None
        try:
            built = self._build(request, self._cookies.get(origin))
            answer = await self._transport.handle_async_request(built)
        except _FOREIGN as error:
            raise translate(error, where) from None
        try:
            if "set-cookie" in answer.headers:
                answer.request = built
                self._cookies.setdefault(origin, httpx.Cookies()).extract_cookies(answer)
            yield _HttpxResponse(answer, where._replace(head_was_read=True))
        finally:
            await self._release(answer)

    async def aclose(self) -> None:
        self._closed = True
        await self._transport.aclose()

    def _build(self, request: Request, jar: httpx.Cookies | None) -> httpx.Request:
        url = httpx.URL(request.url)
        headers = [(b"Host", url.netloc), (b"Accept-Encoding", codings.ACCEPTED.encode("ascii"))]
        if request.body or request.method == "POST":
            headers.append((b"Content-Length", b"%d" % len(request.body)))
        headers.extend((name.encode("utf-8"), value.encode("utf-8")) for name, value in request.at_hand())
        built = httpx.Request(
            request.method,
            url,
            headers=headers,
            stream=_Body(request.body, request.written),
            extensions=self._extensions,
        )
        if jar:
            jar.set_cookie_header(built)  # without effect where the user gave a Cookie header
        return built

    async def _release(self, answer: httpx.Response) -> None:
        try:
            await answer.aclose()
        except _FOREIGN:
            pass  # the connection is gone already, which is what closing is for
