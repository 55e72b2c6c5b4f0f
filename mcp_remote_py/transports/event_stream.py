"""Event streams: chunks of bytes in, server-sent events out. Shared by both HTTP wires.

    chunks ──▶ core.sse.EventLines ──▶ httpx_sse.SSEDecoder ──▶ Event

Lines are split on bytes and bounded; the library only reads fields. What it takes more lightly than WHATWG HTML
section 9.2 is kept from it here: a `retry` that is not all digits. An id is given only with an event that has an id
field of its own, because a fresh decoder on a resumed stream does not know the id that still holds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from httpx_sse._decoders import SSEDecoder

from mcp_remote_py.core.errors import PeerBroke, TooLarge
from mcp_remote_py.core.sse import EventLines, EventTooLarge

_RETRY = re.compile(r"retry: ?[0-9]{1,9}")


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
        self._decoder = SSEDecoder()
        self._has_id = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that this chunk completes. Raises `EventTooLarge` or `UnicodeDecodeError`."""
        events: list[Event] = []
        for line in self._lines.feed(chunk):
            if line.startswith("retry") and not _RETRY.fullmatch(line):
                continue
            if (line == "id" or line.startswith("id:")) and "\0" not in line:
                self._has_id = True
            event = self._decoder.decode(line)
            if event is not None and (event.data or self._has_id or event.retry is not None):
                # the library also makes an empty event of the blank line after a comment, once an id was seen
                events.append(Event(event.event, event.data, event.id if self._has_id else None, event.retry))
                self._has_id = False
        return events


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
