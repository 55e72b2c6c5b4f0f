"""Server-sent events: a bounded line splitter on bytes, and the encoder. (`transports.event_stream` reads the fields.)

Lines end with CR, LF or CRLF, never at U+2028 and its like; a limit holds for each event, so that an endless line
costs bounded memory. Source: WHATWG HTML section 9.2.
"""

from __future__ import annotations

_FREE_LINES = 1000
_LINE_COST = 64
"""Bytes that each further line of one event counts besides its own: so much a line costs in memory, however short."""


class EventTooLarge(Exception):
    """One event passed the limit, in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one event is larger than {limit} bytes")
        self.limit = limit


class EventLines:
    """Buffer of one stream: feed chunks, get the lines of events, decoded strictly as UTF-8.

    The byte order mark at the start is dropped. `limit` bounds the sum of the lines of one event, where very many
    lines count a little more than their bytes. Raises
    `EventTooLarge`, or `UnicodeDecodeError` for a line that is not UTF-8.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0  # bytes of the event so far, unfinished line included
        self._count = 0  # its lines so far
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes; an empty string ends an event."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        lines: list[str] = []
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start:end])
            lines.append(self._close())
            start = end + 1
        if start < len(chunk):
            self._add(chunk[start:])
        return lines

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise EventTooLarge(self._limit)
        self._parts.append(part)

    def _close(self) -> str:
        line = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            self._size = self._count = 0  # a blank line ends the event
        elif line.startswith(b":"):
            self._size -= len(line)  # a comment belongs to no event; the lines before it are still kept
        else:
            self._count += 1
            if self._count > _FREE_LINES:
                self._size += _LINE_COST
        return line.decode("utf-8")


def encode_event(
    data: bytes, *, event: str | None = None, identifier: str | None = None, retry: int | None = None
) -> bytes:
    """Return one event. `data` is split at line ends; `retry` is in milliseconds."""
    lines: list[bytes] = []
    if event is not None:
        lines.append(b"event: " + event.encode("utf-8"))
    if identifier is not None:
        lines.append(b"id: " + identifier.encode("utf-8"))
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    pieces = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    lines.extend(b"data: " + piece if piece else b"data:" for piece in pieces)
    return b"\n".join(lines) + b"\n\n"


def encode_comment(text: str = "") -> bytes:
    """Return a comment, which every client ignores: the keep-alive."""
    return b": " + text.encode("utf-8") + b"\n\n"
