"""Wire: one TCP or TLS connection as a stream of bytes. Nothing here knows HTTP.

A protocol of our own instead of asyncio's streams, for two answers that those do not give: whether an idle connection
is still as it was left (no byte, no end has come), and one write for head and body.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

from mcp_remote_py.net import sockets
from mcp_remote_py.net.sockets import HAPPY_EYEBALLS_SECONDS, Options

if TYPE_CHECKING:
    import ssl

HIGH_WATER = 256 * 1024
"""So many bytes may wait to be read; beyond that the socket is not read (the peer feels it)."""
Address = tuple[int, Any]
"""A family, and what `connect` takes for it."""
Screen = Callable[[str, list[Address]], list[Address]]
"""Given a host and its addresses, returns those that may be connected to. Raises a `Fault` where there is none."""


class Wire(asyncio.Protocol):
    """See the module's text. One task reads and one writes at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._ended = False
        self._lost: BaseException | None = None
        self._is_lost = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._may_write = True

    # --- What asyncio calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._waiting += len(data)
        _wake(self._writer)
        if self._waiting > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._reader)
        _wake(self._writer)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._is_lost = True
        self._lost = exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        _wake(self._writer)

    # --- What we call ----------------------------------------------------------------------------------------------

    @property
    def is_fresh(self) -> bool:
        """Whether the connection stands and nothing has come that nobody has read: no byte, and no end.

        The socket itself is asked, too: what the loop has not been told yet would cost the next request.
        """
        if self._ended or self._chunks or self._transport is None or self._transport.is_closing():
            return False
        return not _is_readable(self._transport.get_extra_info("socket"))

    def about(self, name: str) -> Any:
        """Return what asyncio knows of the connection (`socket`, `ssl_object`...)."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    def probe(self) -> None:
        """Find out soon whether the peer's TCP is still there; whoever reads hears of it if it is not."""
        if self._transport is None or self._transport.is_closing():
            return
        put_back = sockets.probe(self._transport.get_extra_info("socket"))
        if put_back is not None:
            asyncio.get_running_loop().call_later(sockets.PROBE_SECONDS, put_back)

    async def read(self) -> bytes:
        """Return what has come, waiting for the first byte; empty at the end. Raises `OSError` after a reset."""
        while not self._chunks and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self._chunks:
            if self._lost is not None:
                raise self._lost
            return b""
        data = self._chunks.popleft()
        self._waiting -= len(data)
        if self._paused and self._waiting <= HIGH_WATER and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, *parts: bytes) -> bool:
        """Write the parts in one go, and wait until they are out of our hands or the peer has something to say.

        Returns whether all of it is out. Raises `OSError` where the connection is gone and the peer said nothing.
        """
        if self._transport is None or self._is_lost:
            raise self._lost or ConnectionResetError("the connection is gone")
        self._transport.writelines([part for part in parts if part])
        while not self._may_write and not self._ended and not self._chunks:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        return self._may_write and not self._is_lost

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands over the connection as it stands. Raises `OSError` (`ssl.SSLError` is one)."""
        if self._transport is None:
            raise ConnectionResetError("the connection is gone")
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname=host)
        if transport is None:
            raise ConnectionResetError("the connection is gone")
        self._transport = transport

    @property
    def transport(self) -> asyncio.Transport:
        """The connection as asyncio has it. Raises `ConnectionResetError` where there is none."""
        if self._transport is None:
            raise ConnectionResetError("the connection is gone")
        return self._transport

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Let another protocol have the connection from now on, with what has come and nobody has read."""
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        for chunk in self._chunks:
            protocol.data_received(chunk)
        self._chunks.clear()
        if self._paused:
            self.transport.resume_reading()
        if self._ended:
            protocol.connection_lost(None)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close in order, in the background."""
        if self._transport is not None:
            self._transport.close()


async def connect(
    host: str, port: int, options: Options = (), *, ipv4: bool = False, screen: Screen | None = None
) -> Wire:
    """Connect to the first address of a name that answers (RFC 8305). Raises `OSError`, or a group of them.

    `screen` is asked once, and what it leaves is what is connected to: no name is looked up again in between.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET if ipv4 else socket.AF_UNSPEC
    found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    addresses = [(int(kind), address) for kind, _, _, _, address in found]
    addresses = _alternating(addresses if screen is None else screen(host, addresses))
    ready = await _race(addresses, options)
    _, wire = await loop.create_connection(Wire, sock=ready)
    return wire


def _alternating(addresses: list[Address]) -> list[Address]:
    """Return the addresses with their families taking turns, beginning with the one that the system prefers."""
    first = [entry for entry in addresses if entry[0] == addresses[0][0]]
    other = [entry for entry in addresses if entry[0] != addresses[0][0]]
    return [entry for pair in zip_longest(first, other) for entry in pair if entry is not None]


async def _race(addresses: list[Address], options: Options) -> socket.socket:
    """Try one address after the other, each a moment after the one before or as soon as that failed."""
    if len(addresses) == 1:
        return await _attempt(addresses[0], options)
    winner: list[socket.socket] = []
    errors: list[OSError] = []
    moved = asyncio.Event()

    async def run(address: Address) -> None:
        try:
            ready = await _attempt(address, options)
        except OSError as error:
            errors.append(error)
        else:
            winner.append(ready)
        moved.set()

    runners: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        for address in addresses:
            moved.clear()
            runners.append(group.create_task(run(address)))
            with contextlib.suppress(TimeoutError):  # it may still answer; the next one starts beside it
                async with asyncio.timeout(HAPPY_EYEBALLS_SECONDS):
                    await moved.wait()
            if winner:
                break
        while not winner and len(errors) < len(runners):
            moved.clear()
            await moved.wait()
        for runner in runners:
            runner.cancel()
    for late in winner[1:]:
        late.close()
    if not winner:
        raise ConnectionError("no address answered") from ExceptionGroup("connecting", errors)
    return winner[0]


async def _attempt(address: Address, options: Options) -> socket.socket:
    family, place = address
    # with the protocol named, asyncio switches Nagle's algorithm off: two small writes must not wait for an ACK
    ready = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        ready.setblocking(False)  # noqa: FBT003  the socket's own way to say it
        for level, name, value in options:
            ready.setsockopt(level, name, value)
        await asyncio.get_running_loop().sock_connect(ready, place)
    except BaseException:
        ready.close()
        raise
    return ready


def _is_readable(connection: socket.socket) -> bool:
    """Whether a read would return at once."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
