"""The event store of one process: bounded by count and bytes per session, by bytes in all, and by age.

What is dropped is always the oldest. The newest event of a session is kept whatever its size, or no large answer could
ever be resumed.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from server_stub.core.outbox import Event, EventId


class Bounds(NamedTuple):
    """How much is kept. Counts, bytes, seconds."""

    session_events: int = 1000
    session_bytes: int = 16 * 1024 * 1024
    total_bytes: int = 256 * 1024 * 1024
    age: float = 10 * 60.0


class _Session:
    def __init__(self) -> None:
        self.streams: dict[int, deque[Event]] = {}
        self.order: OrderedDict[EventId, float] = OrderedDict()  # when it came
        self.bytes = 0


class MemoryEvents:
    """An `EventStore` in dictionaries. `clock` counts seconds."""

    def __init__(self, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._order: OrderedDict[tuple[str, EventId], None] = OrderedDict()
        self._bytes = 0

    async def append(self, session: str, event: Event) -> None:
        home = self._sessions.setdefault(session, _Session())
        home.streams.setdefault(event.id.stream, deque()).append(event)
        home.order[event.id] = self._clock()
        self._order[session, event.id] = None
        home.bytes += len(event.message.raw)
        self._bytes += len(event.message.raw)
        self._make_room(session, home)

    async def after(self, session: str, cursor: EventId) -> list[Event] | None:
        self._drop_aged()
        home = self._sessions.get(session)
        kept = home.streams.get(cursor.stream) if home else None
        if not kept or not kept[0].id.place - 1 <= cursor.place <= kept[-1].id.place:
            return None
        return [event for event in kept if event.id.place > cursor.place]

    async def forget(self, session: str, stream: int | None = None) -> None:
        home = self._sessions.get(session)
        if home is None:
            return
        for number in list(home.streams) if stream is None else [stream]:
            while number in home.streams:
                self._drop(session, home.streams[number][0].id)

    def _make_room(self, session: str, home: _Session) -> None:
        bounds = self._bounds
        while len(home.order) > 1 and (len(home.order) > bounds.session_events or home.bytes > bounds.session_bytes):
            self._drop(session, next(iter(home.order)))
        while len(self._order) > 1 and self._bytes > bounds.total_bytes:
            self._drop(*next(iter(self._order)))
        self._drop_aged()

    def _drop_aged(self) -> None:
        limit = self._clock() - self._bounds.age
        while self._order:
            session, oldest = next(iter(self._order))
            if self._sessions[session].order[oldest] >= limit:
                return
            self._drop(session, oldest)

    def _drop(self, session: str, oldest: EventId) -> None:
        """Drop the oldest event of a stream, and with the last one every trace of stream and session."""
        home = self._sessions[session]
        kept = home.streams[oldest.stream]
        size = len(kept.popleft().message.raw)
        home.bytes -= size
        self._bytes -= size
        del home.order[oldest], self._order[session, oldest]
        if not kept:
            del home.streams[oldest.stream]
        if not home.order:
            del self._sessions[session]
