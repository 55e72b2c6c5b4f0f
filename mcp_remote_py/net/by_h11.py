"""Carrier on our own connections: h11 for the grammar of HTTP/1.1, `Wire` for the bytes, and a pool as small as that.

A connection is used again only if its last answer was read to the end in order, it has been idle for less than
`KEEP_ALIVE_SECONDS`, and nothing waits on it: no byte, no end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import h11

from mcp_remote_py.net.carrier import KEEP_ALIVE_SECONDS, KEPT_CONNECTIONS, Fields, Hop, Lost, NotHttp, Unsendable
from mcp_remote_py.net.dial import dial
from mcp_remote_py.net.wire import Wire

if TYPE_CHECKING:
    import ssl

    from mcp_remote_py.net.dial import Way

Key = tuple["Way", str, int, "ssl.SSLContext | None"]
LARGEST_HEAD = 256 * 1024
"""Bytes that the head of an answer may have, and each line of a chunked body."""
MOST_INTERIM = 10


class _Connection:
    """One wire, and the state of HTTP on it."""

    def __init__(self, wire: Wire, key: Key) -> None:
        self.wire = wire
        self.key = key
        self.idle_since = 0.0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._all_sent = False

    async def send(self, hop: Hop) -> None:
        """Write the request in one go. An answer that comes before all of it is out says more than a failure to write.

        Raises `Unsendable` and `OSError`.
        """
        self._all_sent = False
        try:
            head = self._http.send(h11.Request(method=hop.method, target=hop.target, headers=hop.fields)) or b""
            body = (self._http.send_with_data_passthrough(h11.Data(data=hop.body)) or []) if hop.body else []
            end = self._http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError:
            raise Unsendable from None
        self._all_sent = await self.wire.write(head, *body, end)
        if self._all_sent and hop.written is not None:
            hop.written()

    async def head(self) -> h11.Response:
        """Read the head of the answer. Raises `NotHttp`, and `OSError` or `EOFError` where the connection ended."""
        for _ in range(MOST_INTERIM):
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise EOFError("the connection ended before the answer")
        raise NotHttp

    async def data(self) -> bytes | None:
        """Read the next piece of the body, None at its end. Raises as `head` does."""
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    def renew(self) -> bool:
        """Make it ready for another request. Returns whether that is possible."""
        if not self._all_sent or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return self.wire.is_fresh

    async def _event(self) -> object:
        ended = False
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                if ended:
                    raise EOFError("the connection ended in the middle of a message") from None
                raise NotHttp from None
            if event is not h11.NEED_DATA:
                return event
            data = await self.wire.read()
            ended = not data
            self._http.receive_data(data)


class _Answer:
    """See `carrier.Answer`."""

    def __init__(self, carrier: ByH11, connection: _Connection, head: h11.Response) -> None:
        self._carrier = carrier
        self._connection = connection
        self.status = head.status_code
        self.fields: Fields = list(head.headers)

    async def body(self) -> AsyncIterator[bytes]:
        try:
            while (data := await self._connection.data()) is not None:
                if data:
                    yield data
        except (OSError, EOFError) as error:
            raise Lost from error

    async def aclose(self) -> None:
        self._carrier.release(self._connection)


class ByH11:
    """See the module's text, and `carrier.Carrier`."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[_Connection]] = {}
        self._kept = 0
        self._busy: set[_Connection] = set()
        self._closed = False

    async def carry(self, hop: Hop) -> _Answer:
        connection = self._take((hop.way, hop.host, hop.port, hop.context))
        if connection is None:
            wire = await dial(hop.way, hop.host, hop.port, hop.context, forwards=hop.forwards)
            connection = _Connection(wire, (hop.way, hop.host, hop.port, hop.context))
        self._busy.add(connection)
        try:
            if self._closed:
                raise Lost
            await connection.send(hop)
            return _Answer(self, connection, await connection.head())
        except (OSError, EOFError) as error:
            self._drop(connection)
            raise Lost from error
        except BaseException:
            self._drop(connection)
            raise

    def release(self, connection: _Connection) -> None:
        """An answer is done with: keep its connection where that is possible."""
        if connection not in self._busy:
            return
        self._busy.discard(connection)
        if self._closed or self._kept >= KEPT_CONNECTIONS or not connection.renew():
            connection.wire.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(connection.key, []).append(connection)
        self._kept += 1

    async def aclose(self) -> None:
        self._closed = True
        for connection in (*self._busy, *(kept for group in self._idle.values() for kept in group)):
            connection.wire.abort()
        self._idle.clear()
        self._busy.clear()
        self._kept = 0

    def _take(self, key: Key) -> _Connection | None:
        """Return the connection that was used last, if it is fit; those that are not are closed."""
        group = self._idle.get(key, [])
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        while group:
            connection = group.pop()
            self._kept -= 1
            if connection.idle_since >= oldest and connection.wire.is_fresh:
                return connection
            connection.wire.abort()
        return None

    def _drop(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        connection.wire.abort()
