"""A socket that leads through a proxy, for libraries that want a plain one: the WebSocket's.

    library ◀──▶ one end of a socket pair ◀──▶ the other end ◀──▶ connection to the proxy (TCP, perhaps in TLS)

The pair makes one way of all kinds of proxies; TLS with the server is the library's own affair and passes through.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from mcp_remote_py.net.dial import Way, reach


class _End(asyncio.Protocol):
    """One end of the way: what comes here goes out at the other, and the other way round."""

    def __init__(self, other: asyncio.Transport) -> None:
        self._other = other
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the other side is told by the end alone
        self._other.close()

    def pause_writing(self) -> None:
        self._other.pause_reading()

    def resume_writing(self) -> None:
        self._other.resume_reading()


async def socket_through(way: Way, host: str, port: int) -> socket.socket:
    """Return a socket on which the server of this host and port is the other end. Not bounded in time here.

    The way leads through a proxy. Raises a `Fault` that names it.
    """
    outer = await reach(way, host, port)
    ours, theirs = socket.socketpair()
    try:
        _, inner = await asyncio.get_running_loop().create_connection(lambda: _End(outer.transport), sock=theirs)
    except BaseException:
        ours.close()
        theirs.close()
        outer.abort()
        raise
    outer.hand_over(_End(inner.transport))
    return ours
