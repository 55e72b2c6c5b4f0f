"""Driver of `core.trace_record`: writes a session to a file, in a thread of its own, and never blocks the messages.

The file is private and rotated (`log_file`). Secrets are masked in the thread, which takes about a second for a
mebibyte; what does not fit into the queue meanwhile is counted, and the trace says so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque

from mcp_remote_py import __version__
from mcp_remote_py.core import trace_record
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.core.trace_record import Record, Route
from mcp_remote_py.log_file import LogFile

_LOG = logging.getLogger("mcp_remote_py.trace")
_QUEUE_BYTES = 16 * 1024 * 1024
_QUEUE_RECORDS = 10_000


class Trace:
    """One session on its way into a file. `system` says what it runs on, for the first line.

    Raises `ConfigError` where the file cannot be written.
    """

    def __init__(self, path: str, redactor: Redactor, system: str) -> None:
        self._file = _opened(path)
        self._scrub = redactor.scrub
        self._session = os.urandom(4).hex()
        self._route = Route()
        self._waiting: deque[tuple[float, Record]] = deque()
        self._bytes = 0
        self._lost = 0
        self._busy = False
        self._fails = False
        self._changed = threading.Condition()
        self._start = {"version": __version__, "system": system, "pid": os.getpid()}
        threading.Thread(target=self._run, name="trace", daemon=True).start()

    def from_host(self, raw: bytes, wire: str) -> None:
        """The host wrote this."""
        self._put(self._route.from_host(raw, wire))

    def to_server(self, raw: bytes, wire: str) -> None:
        """This is sent to the server."""
        self._put(self._route.to_server(raw, wire))

    def from_server(self, raw: bytes) -> None:
        """The server said this; what becomes of it follows, and then `handled`."""
        self._route.from_server(raw)

    def to_host(self, raw: bytes, wire: str) -> None:
        """This is written to the host."""
        self._put(self._route.to_host(raw, wire))

    def handled(self, wire: str) -> None:
        """Nothing more becomes of what the server said."""
        self._put(self._route.handled(wire))

    def drain(self, seconds: float) -> None:
        """Give the thread so long to write what is queued."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout=seconds)

    def _put(self, records: list[Record]) -> None:
        now = time.time()
        with self._changed:
            for record in records:
                if self._bytes + len(record.raw) > _QUEUE_BYTES or len(self._waiting) >= _QUEUE_RECORDS:
                    self._lost += 1
                    continue
                self._bytes += len(record.raw)
                self._waiting.append((now, record))
            self._changed.notify_all()

    def _run(self) -> None:
        self._write(trace_record.start_line(_text_of(time.time()), self._session, self._start))
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                now, record = self._waiting.popleft()
                self._bytes -= len(record.raw)
                lost, self._lost = self._lost, 0
                self._busy = True
            line = trace_record.line(_text_of(now), self._session, record, self._scrub)
            if not self._write(line):
                lost += 1
            if lost:
                self._write(trace_record.lost_line(_text_of(time.time()), self._session, lost))

    def _write(self, line: str) -> bool:
        try:
            self._file.write(line.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if not self._fails:
                _LOG.warning("the trace cannot be written (%s); its lines are lost", error.strerror)
            self._fails = True
            return False
        self._fails = False
        return True


def _text_of(seconds: float) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{milliseconds:03d}Z"


def _opened(path: str) -> LogFile:
    try:
        return LogFile(path)
    except (OSError, ValueError) as error:
        reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is no file name"
        full = os.path.abspath(os.path.expanduser(path))
        raise ConfigError(
            f"--trace: {full!r} cannot be written ({reason}). Name a file in a folder of yours, with its whole path."
        ) from None
