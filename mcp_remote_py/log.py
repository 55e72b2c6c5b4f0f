"""Logging to stderr, through the redactor, never blocking. Used by both packages.

A host that never reads its server's stderr must block nothing: lines are queued (a bounded number) and a daemon thread
writes them. Control characters, also those a server put into a text, never reach the terminal.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time

from mcp_remote_py.core.redact import Redactor, printable

_QUEUE_LINES = 2000


class StderrHandler(logging.Handler):
    """Writes scrubbed lines to a file descriptor from a thread. Lines that find the queue full are only counted."""

    def __init__(self, program: str, redactor: Redactor, fd: int = 2) -> None:
        super().__init__()
        self._program = program
        self._redactor = redactor
        self._fd = fd
        self._lost = 0
        self._queue: queue.Queue[str | None] = queue.Queue(_QUEUE_LINES)
        self._idle = threading.Event()
        self._idle.set()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        scrubbed = self._redactor.scrub(text)
        lines = [printable(line) for line in scrubbed.split("\n")]
        try:
            self._queue.put_nowait(f"{self._program}: {record.levelname.lower()}: " + "\n    ".join(lines) + "\n")
        except queue.Full:
            self._lost += 1
            return
        self._idle.clear()

    def drain(self, seconds: float) -> None:
        """Give the thread so long to write what is queued."""
        deadline = time.monotonic() + seconds
        while (not self._queue.empty() or not self._idle.is_set()) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            if self._lost:
                line, self._lost = f"{self._program}: warning: {self._lost} log lines were lost\n{line}", 0
            data = line.encode("utf-8", "backslashreplace")
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                pass  # nobody reads stderr; there is no other place to say so
            if self._queue.empty():
                self._idle.set()


def set_up(program: str, level: str, redactor: Redactor) -> StderrHandler:
    """Send all logging to stderr at this level. Other libraries are heard from `warning` on only."""
    handler = StderrHandler(program, redactor)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in ("mcp_remote_py", "server_stub"):
        logging.getLogger(name).setLevel(level.upper())
    logging.raiseExceptions = False  # a log line that cannot be written must not print a traceback
    return handler
