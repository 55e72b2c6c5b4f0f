"""Event streams: chunks of bytes in, server-sent events out. Shared by both HTTP wires.

    chunks ──▶ core.sse.EventLines ──▶ EventDecoder ──▶ Event

Lines are split on bytes and bounded, fields are read as WHATWG HTML section 9.2 says. An id is given only with an event
that has an id field of its own, because a fresh decoder on a resumed stream does not know the id that still holds.
(httpx-sse would read the fields, too, and is what the tests compare with; importing it imports all of httpx.)
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from mcp_remote_py.core.errors import PeerBroke, TooLarge
from mcp_remote_py.core.sse import EventLines, EventTooLarge

_DIGITS = re.compile(r"[0-9]{1,9}")


class Event(NamedTuple):
    """One event. `data` is empty for a priming event; `id` is None where the event had no id field."""

    name: str
    data: str
    id: str | None
    retry: int | None
    """Milliseconds."""

    @property
    def is_message(self) -> bool:
        """Whether the data is to be read as JSON-RPC."""
        return self.name == "message" and self.data != ""


class EventDecoder:
    """Buffer of one stream: feed chunks, get events. A half-received event at the end never comes out."""

    def __init__(self, limit: int) -> None:
        self._lines = EventLines(limit)
        self._begin()

    def _begin(self) -> None:
        self._name = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that this chunk completes. Raises `EventTooLarge` or `UnicodeDecodeError`."""
        events: list[Event] = []
        for line in self._lines.feed(chunk):
            if line:
                self._field(line)
                continue
            data = "\n".join(self._data)
            if data or self._id is not None or self._retry is not None:
                events.append(Event(self._name or "message", data, self._id, self._retry))
            self._begin()
        return events

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and _DIGITS.fullmatch(value):
            self._retry = int(value)


class EventStream:
    """Asynchronous iterator over the events of one body. The chunks can be read on when the iteration was left."""

    def __init__(self, chunks: AsyncIterator[bytes], limit: int, host: str) -> None:
        self._chunks = chunks
        self._decoder = EventDecoder(limit)
        self._limit = limit
        self._host = host
        self._waiting: deque[Event] = deque()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Raises `TooLarge`, `PeerBroke`, or what the chunks raise."""
        while not self._waiting:
            chunk = await anext(self._chunks)
            try:
                self._waiting.extend(self._decoder.feed(chunk))
            except EventTooLarge:
                raise TooLarge(
                    f"an event from {self._host} is larger than the limit of {self._limit} bytes",
                    hint="Raise --max-message-size, or ask for less at once. The call has run on the server.",
                    may_have_run=True,
                ) from None
            except UnicodeDecodeError:
                raise PeerBroke(f"{self._host} sent an event stream that is not UTF-8") from None
        return self._waiting.popleft()
