"""The local end: a reader thread, a writer thread, and the guard on fd 1. Knows bytes and lines, not JSON.

The real stdout is duplicated at start; fd 1 and `sys.stdout` then point at stderr, so that a stray `print`, a library's
banner or `os.write(1, ...)` can never reach the host. Threads rather than asyncio pipes, on every system: one code path
for Windows too, the terminal is never switched to non-blocking, and a host that does not read blocks only the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable

from mcp_remote_py.core.framing import LineFramer, Oversize

_CHUNK = 1024 * 1024
_HIGH_WATER = 4 * 1024 * 1024
"""Bytes that may wait for a host that does not read, before reading from the network pauses."""

_LARGE = 256 * 1024

Lines = list[bytes | Oversize]


def take_stdout() -> int:
    """Guard fd 1: return a private duplicate of the real stdout, and point fd 1 and `sys.stdout` at stderr.

    Raises OSError where there is no stdout.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    real = os.dup(1)
    os.set_inheritable(real, False)  # noqa: FBT003  (the C function takes no keywords)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(real, os.O_BINARY)
        msvcrt.setmode(0, os.O_BINARY)
    sys.stdout = sys.stderr
    return real


class LineReader:
    """A daemon thread that reads lines from a file descriptor and hands them to the event loop."""

    def __init__(self, fd: int, limit: int, on_lines: Callable[[Lines], None], on_end: Callable[[], None]) -> None:
        self._fd = fd
        self._framer = LineFramer(limit)
        self._on_lines = on_lines
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        threading.Thread(target=self._run, name="stdin", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                chunk = os.read(self._fd, _CHUNK)
            except OSError:
                chunk = b""  # the terminal or pipe is gone, which is an end of input
            lines = self._framer.feed(chunk) if chunk else self._framer.finish()
            if lines and not self._post(self._on_lines, lines):
                return
            if not chunk:
                self._post(self._on_end)
                return

    def _post(self, call: Callable[..., None], *arguments: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            return False  # the loop has ended: nobody is left to tell
        return True


class LineWriter:
    """A daemon thread that writes lines to a file descriptor, whole and one at a time.

    `write` never blocks. `room` waits while more than 4 MiB are queued: whoever awaits it before reading more from the
    network passes the host's slowness on. `on_broken` is called once when nobody can read any more.
    """

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._done = asyncio.Event()
        self._broken = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="stdout", daemon=True).start()

    def write(self, line: bytes) -> None:
        """Queue one line; its end is added here."""
        with self._lock:
            self._waiting += len(line) + 1
            full = self._waiting > _HIGH_WATER
        if full and not self._broken:
            self._has_room.clear()
        self._queue.put(line)

    @property
    def has_room(self) -> bool:
        """Whether the host has read enough for more to be queued."""
        return self._has_room.is_set()

    async def room(self) -> None:
        """Wait until the host has read enough."""
        await self._has_room.wait()

    async def finish(self, seconds: float) -> None:
        """Write what is queued, for at most so long."""
        self._queue.put(None)
        with contextlib.suppress(TimeoutError):  # a host that does not read what it asked for goes without
            async with asyncio.timeout(seconds):
                await self._done.wait()

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            if not self._broken:
                try:
                    _write_line(self._fd, line)
                except OSError:
                    self._broken = True
                    self._tell(self._on_broken)
            with self._lock:
                self._waiting -= len(line) + 1
                room = self._waiting <= _HIGH_WATER // 2
            if (room or self._broken) and not self._has_room.is_set():
                self._tell(self._has_room.set)
        self._tell(self._done.set)

    def _tell(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is left to tell
            self._loop.call_soon_threadsafe(call)


def _write_line(fd: int, line: bytes) -> None:
    """One write for a line, unless it is so large that a copy of it would cost more than another write."""
    if len(line) < _LARGE:
        _write_all(fd, line + b"\n")
        return
    _write_all(fd, line)
    _write_all(fd, b"\n")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
