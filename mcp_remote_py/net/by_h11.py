"""Carrier on our own connections: h11 for the grammar of HTTP/1.1, `Wire` for the bytes, and a pool as small as that.

A connection is used again only if its last answer was read to the end in order, it has been idle for less than the
terms say for this request, and nothing waits on it: no byte, no end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import h11

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

if TYPE_CHECKING:
    import ssl

    from mcp_remote_py.net.dial import Way

Key = tuple["Way", str, int, "ssl.SSLContext | None"]
MOST_INTERIM = 10
_TOO_LONG = 431
"""What h11 would have a server answer to a head over the limit; on our side it only tells this mistake from others."""


class _Connection:
    """One wire, and the state of HTTP on it."""

    def __init__(self, wire: Wire, key: Key, terms: Terms) -> None:
        self.wire = wire
        self.key = key
        self.idle_since = Moment.now()
        self._terms = terms
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=terms.largest_head)
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
        """Read the head of the answer.

        Raises `NotHttp`, `HeadTooLarge`, and `OSError` or `EOFError` where the connection ended.
        """
        for _ in range(MOST_INTERIM):
            event = await self._event()
            if isinstance(event, h11.Response):
                self._terms.check(list(event.headers))
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
        if self._http.trailing_data[0]:
            return False  # more than one answer came: it must not pass for that to the next request
        self._http.start_next_cycle()
        return self.wire.is_fresh

    async def _event(self) -> object:
        ended = False
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if error.error_status_hint == _TOO_LONG:
                    raise HeadTooLarge from None
                if ended:
                    raise EOFError("the connection ended in the middle of a message") from None
                raise NotHttp from None
            if event is not h11.NEED_DATA:
                return event
            if self._http.their_state is h11.SEND_RESPONSE and not _may_be_http(self._http.trailing_data[0]):
                raise NotHttp  # a server of another kind may wait for us now, and would never end its "head"
            data = await self.wire.read()
            ended = not data
            self._http.receive_data(data)


def _may_be_http(begun: bytes) -> bool:
    """Whether the head of an answer may begin so."""
    return begun[:5] == b"HTTP/"[: len(begun)]


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

    def __init__(self, terms: Terms = USUAL) -> None:
        self._terms = terms
        self._idle: dict[Key, list[_Connection]] = {}
        self._kept = 0
        self._busy: set[_Connection] = set()
        self._closed = False

    async def carry(self, hop: Hop) -> _Answer:
        key = (hop.way, hop.host, hop.port, hop.context)
        connection = self._take(key, may_repeat=hop.may_repeat)
        if connection is None:
            wire = await dial(hop.way, hop.host, hop.port, hop.context, forwards=hop.forwards)
            connection = _Connection(wire, key, self._terms)
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
        connection.idle_since = Moment.now()
        self._idle.setdefault(connection.key, []).append(connection)
        self._kept += 1

    def doubt(self) -> None:
        self._forget_idle()
        for connection in self._busy:
            connection.wire.probe()

    def _forget_idle(self) -> None:
        for group in self._idle.values():
            for connection in group:
                connection.wire.abort()
        self._idle.clear()
        self._kept = 0

    async def aclose(self) -> None:
        self._closed = True
        self._forget_idle()
        for connection in self._busy:
            connection.wire.abort()
        self._busy.clear()

    def _take(self, key: Key, *, may_repeat: bool) -> _Connection | None:
        """Return the connection that was used last, if it is fit; those that are fit for nothing are closed."""
        group, now = self._idle.get(key, []), Moment.now()
        while group and group[0].idle_since.seconds_to(now) >= self._terms.most_idle:
            self._forget(group.pop(0))  # those that were used last stand last
        while group:
            if not may_repeat and group[-1].idle_since.seconds_to(now) >= self._terms.reuse_idle:
                return None  # good enough for what may be sent twice; the others have been idle for longer
            connection = group.pop()
            if connection.wire.is_fresh:
                self._kept -= 1
                return connection
            self._forget(connection)
        return None

    def _forget(self, connection: _Connection) -> None:
        self._kept -= 1
        connection.wire.abort()

    def _drop(self, connection: _Connection) -> None:
        self._busy.discard(connection)
        connection.wire.abort()
