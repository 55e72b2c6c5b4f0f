"""LineFramer: chunks of bytes in, whole lines out, with a limit. Knows bytes, not JSON.

The delimiter is the byte 0x0A only (MCP stdio: a raw U+2028 or U+0085 belongs to a string). One trailing CR, blank
lines and a byte order mark at the start of the stream are tolerated.
"""

from __future__ import annotations

from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_HEAD = 64 * 1024
_TAIL = 4 * 1024


class Oversize(NamedTuple):
    """A line over the limit: how it began, how it ended, and how long it was, in bytes."""

    head: bytes
    tail: bytes
    size: int


class LineFramer:
    """Buffer of one stream. Feed chunks, get lines without their ends; memory stays within the limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None  # set while an oversize line is being skipped
        self._tail = b""
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes | Oversize]:
        """Return the lines that this chunk completes."""
        lines: list[bytes | Oversize] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start:end])
            self._close(lines)
            start = end + 1
        if start < len(chunk):
            self._add(chunk[start:] if start else chunk)
        return lines

    def finish(self) -> list[bytes | Oversize]:
        """Return the last line where the stream ended without a line end."""
        lines: list[bytes | Oversize] = []
        if self._parts or self._head is not None:
            self._close(lines)
        return lines

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._head is not None:
            self._tail = (self._tail + part[-_TAIL:])[-_TAIL:]
            return
        self._parts.append(part)
        if self._size > self._limit + 1:  # one byte of grace for a CR
            line = b"".join(self._parts)
            self._head, self._tail = line[:_HEAD], line[-_TAIL:]
            self._parts = []

    def _close(self, lines: list[bytes | Oversize]) -> None:
        if self._head is not None:
            lines.append(Oversize(self._head, self._tail, self._size))
        else:
            line = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            if line.endswith(b"\r"):
                line = line[:-1]
            if self._at_start and line.startswith(_BOM):
                line = line[3:]
            self._at_start = False
            if len(line) > self._limit:
                lines.append(Oversize(line[:_HEAD], line[-_TAIL:], len(line)))
            elif line and not line.isspace():
                lines.append(line)
        self._at_start = False
        self._parts, self._size, self._head, self._tail = [], 0, None, b""
