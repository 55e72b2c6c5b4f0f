"""Carrier on httpcore, the library below httpx: its pool and its parser, over our own way of connecting.

The second carrier: what both do alike is no accident of either. `--http-library httpx` chooses it.
"""

from __future__ import annotations

import importlib.util
import logging
import ssl
import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, cast
from weakref import WeakSet

from mcp_remote_py.net import failures
from mcp_remote_py.net.carrier import (
    KEPT_CONNECTIONS,
    USUAL,
    Fields,
    HeadTooLarge,
    Hop,
    Lost,
    Moment,
    NotHttp,
    Terms,
    Unsendable,
)
from mcp_remote_py.net.dial import dial
from mcp_remote_py.net.wire import Wire

if importlib.util.find_spec("sniffio") is None:
    # httpcore 1.0 runs `import sniffio` some twenty times a request, and Python does not remember that a module is
    # missing: that is a third of the time of a request. With this entry the import fails at once.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # documented: None means "cannot be imported"

import httpcore

logging.getLogger("httpcore").setLevel(logging.WARNING)  # it would write whole headers, session id and all

_TOO_LONG = 431
_FAILED = (httpcore.ProtocolError, httpcore.TimeoutException, httpcore.NetworkError, OSError)


class _Idle:
    """When idle connections are used no more. The pool does not know which request comes next: one rule for all."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._forgotten = 0
        self.wires: WeakSet[Wire] = WeakSet()
        """All that there are, busy ones too."""

    def forget(self) -> None:
        self._forgotten += 1

    @property
    def generation(self) -> int:
        return self._forgotten

    def is_over(self, since: Moment, generation: int) -> bool:
        return generation != self._forgotten or since.seconds_to(Moment.now()) >= self._seconds


class _Stream(httpcore.AsyncNetworkStream):
    """A `Wire` as httpcore wants a connection; TLS is spoken already."""

    def __init__(self, wire: Wire, idle: _Idle) -> None:
        self._wire = wire
        self._idle = idle
        idle.wires.add(wire)
        self._used()

    def _used(self) -> None:
        self._last, self._generation = Moment.now(), self._idle.generation

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del max_bytes, timeout  # the wire bounds what waits; h11 takes whatever comes
        data = await self._wire.read()
        self._used()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._used()
        await self._wire.write(buffer)

    async def aclose(self) -> None:
        self._wire.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        del ssl_context, server_hostname, timeout
        return self

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._wire.about(info)
        # what httpcore asks before it uses an idle connection again
        return self._idle.is_over(self._last, self._generation) or not self._wire.is_fresh


class _Dialler(httpcore.AsyncNetworkBackend):
    """Connects in our way, once; what goes wrong passes through httpcore as it is."""

    def __init__(self, hop: Hop, idle: _Idle) -> None:
        self._way = hop.way
        self._context = hop.context
        self._forwards = hop.forwards
        self._idle = idle

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del timeout, local_address, socket_options  # the way has them
        return _Stream(await dial(self._way, host, port, self._context, forwards=self._forwards), self._idle)


class _Body:
    """A body that says when it has been written."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._hop.body:
            yield self._hop.body
        if self._hop.written is not None:
            self._hop.written()


class _Answer:
    """See `carrier.Answer`."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer
        self.status = answer.status
        self.fields: Fields = list(answer.headers)

    async def body(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in cast(AsyncIterable[bytes], self._answer.stream):
                yield chunk
        except _FAILED as error:
            if _is_too_long(error):
                raise HeadTooLarge from None
            raise Lost from error

    async def aclose(self) -> None:
        try:
            await self._answer.aclose()
        except _FAILED:
            pass  # the connection is gone already, which is what closing is for


class ByHttpcore:
    """See the module's text, and `carrier.Carrier`."""

    def __init__(self, terms: Terms = USUAL) -> None:
        self._terms = terms
        self._idle = _Idle(terms.reuse_idle)
        self._pools: dict[object, httpcore.AsyncConnectionPool] = {}
        httpcore.AsyncHTTP11Connection.MAX_INCOMPLETE_EVENT_SIZE = terms.largest_head  # it has no other place for it

    async def carry(self, hop: Hop) -> _Answer:
        pool = self._pool(hop)
        request = httpcore.Request(
            hop.method,
            httpcore.URL(
                scheme=b"http" if hop.context is None else b"https",
                host=hop.host.encode("idna" if not hop.host.isascii() else "ascii"),
                port=hop.port,
                target=hop.target,
            ),
            headers=hop.fields,
            content=_Body(hop),
        )
        try:
            answer = await pool.handle_async_request(request)
        except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol):
            raise Unsendable from None
        except httpcore.RemoteProtocolError as error:
            if _is_too_long(error):
                raise HeadTooLarge from None
            if any(type(cause).__module__.startswith("h11.") for cause in failures.causes(error)):
                raise NotHttp from error
            raise Lost from error
        except _FAILED as error:
            raise Lost from error
        try:
            self._terms.check(answer.headers)
        except HeadTooLarge:
            await answer.aclose()
            raise
        return _Answer(answer)

    def doubt(self) -> None:
        self._idle.forget()
        for wire in self._idle.wires:
            wire.probe()

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, hop: Hop) -> httpcore.AsyncConnectionPool:
        """Return the pool for this way; a network that changed has another, and the old one's connections expire."""
        key = (hop.way, hop.context, hop.forwards)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = httpcore.AsyncConnectionPool(
                ssl_context=hop.context,
                max_connections=None,
                max_keepalive_connections=KEPT_CONNECTIONS,
                network_backend=_Dialler(hop, self._idle),
            )
        return pool


def _is_too_long(error: Exception) -> bool:
    return any(getattr(cause, "error_status_hint", None) == _TOO_LONG for cause in failures.causes(error))
