"""Logging to stderr and to a file, through the redactor, never blocking. Used by both packages.

A host that never reads its server's stderr, or a disk that hangs, must block nothing: lines are queued (a bounded
number, and bounded bytes), and a daemon thread for each outlet writes them. Control characters, also those a server put
into a text, never reach the terminal. Secrets are gone before a line is queued.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor, printable

if TYPE_CHECKING:
    from mcp_remote_py.log_file import LogFile

BODIES = "mcp_remote_py.bodies"
"""The logger for whole messages. It is silent unless `--log-bodies` was given, and then heard at every level."""
SIGN_IN = "mcp_remote_py.auth"
"""The logger for what a person has to do."""
BODY_BYTES = 64 * 1024
"""So much of a message is logged."""

_QUEUE_LINES = 2000
_QUEUE_CHARACTERS = 8 * 1024 * 1024
_LINE = 2000
_URL_LINE = 16 * 1024
_BODY_LINE = 4 * BODY_BYTES  # masks may be longer than what they hide

Format = Literal["text", "json"]


class _Outlet:
    """A bounded queue, and a daemon thread that writes what is in it. `tell` makes a line of a complaint of its own."""

    def __init__(self, name: str, write: Callable[[bytes], None], tell: Callable[[str], str]) -> None:
        self._write = write
        self._tell = tell
        self._lines: deque[str] = deque()
        self._waiting = 0
        self._lost = 0
        self._busy = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def put(self, line: str) -> None:
        """Queue a line. One that finds the queue full is only counted."""
        with self._changed:
            if len(self._lines) >= _QUEUE_LINES or self._waiting + len(line) > _QUEUE_CHARACTERS:
                self._lost += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            self._changed.notify_all()

    def drain(self, deadline: float) -> None:
        """Wait until everything is written, or until that moment of the monotonic clock."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._lines and not self._busy, timeout=max(0.0, deadline - time.monotonic())
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._lines))
                line, lost = self._lines.popleft(), self._lost
                self._waiting -= len(line)
                self._lost, self._busy = 0, True
            if lost:
                line = self._tell(f"{lost} log lines were lost") + line
            try:
                self._write(line.encode("utf-8", "backslashreplace"))
            except OSError:
                with self._changed:
                    self._lost += lost + 1


class LogHandler(logging.Handler):
    """Hands scrubbed lines to the outlets: stderr, and a file where there is one."""

    def __init__(
        self,
        program: str,
        redactor: Redactor,
        fd: int = 2,
        style: Format = "text",
        file: LogFile | None = None,
    ) -> None:
        super().__init__()
        self._program = program
        self._redactor = redactor
        self._fd = fd
        self._style = style
        self._file = file
        self._file_fails = False
        self._stderr = _Outlet("log", self._to_stderr, self._complaint(self._for_stderr))
        self._outlets = [(self._stderr, self._for_stderr)]
        if file is not None:
            self._outlets.append((_Outlet("log file", self._to_file, self._complaint(self._for_file)), self._for_file))

    def emit(self, record: logging.LogRecord) -> None:
        text, trace = scrubbed(record, self._redactor)
        for outlet, line in self._outlets:
            outlet.put(line(record, text, trace))

    def drain(self, seconds: float) -> None:
        """Give the threads so long to write what is queued."""
        deadline = time.monotonic() + seconds
        for outlet, _ in self._outlets:
            outlet.drain(deadline)

    # --- Lines -------------------------------------------------------------------------------------------------

    def _for_stderr(self, record: logging.LogRecord, text: str, trace: str) -> str:
        """Hosts put the time before what they read from stderr."""
        if self._style == "json":
            return _as_json(record, text, trace)
        return f"{self._program}: {record.levelname.lower()}: {_indented(record, text, trace)}\n"

    def _for_file(self, record: logging.LogRecord, text: str, trace: str) -> str:
        return file_line(record, text, trace, self._style)

    def _complaint(self, line: Callable[[logging.LogRecord, str, str], str]) -> Callable[[str], str]:
        return lambda text: line(_record(text), text, "")

    # --- Outlets -----------------------------------------------------------------------------------------------

    def _to_stderr(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            pass  # nobody reads stderr; there is no other place to say so

    def _to_file(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101  there is no such outlet without a file
        try:
            self._file.write(data)
        except OSError as error:
            if not self._file_fails:
                self._file_fails = True
                text = f"the log file {self._file.path} cannot be written ({_reason(error)}); its lines are lost"
                text = self._redactor.scrub(text)
                self._stderr.put(self._for_stderr(_record(text), text, ""))
            raise
        self._file_fails = False


def scrubbed(record: logging.LogRecord, redactor: Redactor) -> tuple[str, str]:
    """Return the text of a record and the trace of its exception (or nothing), without any secret."""
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001  a library whose message does not fit its arguments must not fail for it
        text = str(record.msg)
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    return redactor.scrub(text), redactor.scrub(trace)


def file_line(record: logging.LogRecord, text: str, trace: str, style: Format) -> str:
    """Return the line of a log file, with its end. `text` and `trace` as `scrubbed` returns them."""
    if style == "json":
        return _as_json(record, text, trace)
    head = f"{_time_of(record)} [{record.process}] {record.levelname.lower()} {record.name}"
    return f"{head}: {_indented(record, text, trace)}\n"


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("mcp_remote_py.log", logging.WARNING, "", 0, text, None, None)


def _time_of(record: logging.LogRecord) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    seconds, milliseconds = divmod(int(record.created * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"


def _as_json(record: logging.LogRecord, text: str, trace: str) -> str:
    """All of ASCII, so that no control character and no broken character is left."""
    entry: dict[str, Any] = {
        "time": _time_of(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _bounded(text, _width(record)),
        "pid": record.process,
    }
    if trace:
        entry["exc"] = trace
    return json.dumps(entry) + "\n"


def _bounded(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[:width]}… ({len(text)} characters)"


def _width(record: logging.LogRecord) -> int:
    if record.name == SIGN_IN:
        return _URL_LINE  # an address that somebody has to open is of no use in part
    return _BODY_LINE if record.name == BODIES else _LINE


def _indented(record: logging.LogRecord, text: str, trace: str) -> str:
    """A record is one line; whatever belongs to it on further lines is indented."""
    lines = [*text.split("\n"), *(trace.split("\n") if trace else ())]
    return "\n    ".join(printable(line, _width(record)) for line in lines)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def excerpt(raw: bytes) -> str:
    """Return a message for the log: at most 64 KiB of it, and its real size where that is more."""
    text = raw[:BODY_BYTES].decode("utf-8", "replace")
    return text if len(raw) <= BODY_BYTES else f"{text}… ({len(raw)} bytes in all)"


# --- Setting up ------------------------------------------------------------------------------------------------------


def set_up(
    program: str,
    level: str,
    redactor: Redactor,
    *,
    file: str | None = None,
    style: Format = "text",
    bodies: bool = False,
) -> LogHandler:
    """Send all logging to stderr, and to `file`, at this level. Other libraries are heard from `warning` on only.

    Raises `ConfigError` where the file cannot be written.
    """
    handler = LogHandler(program, redactor, style=style, file=None if file is None else _opened(file))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in ("mcp_remote_py", "server_stub"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger(BODIES).setLevel(logging.DEBUG if bodies else logging.CRITICAL + 1)
    logging.getLogger("asyncio").addFilter(_without_values)
    logging.raiseExceptions = False  # a log line that cannot be written must not print a traceback
    return handler


def _opened(path: str) -> LogFile:
    from mcp_remote_py.log_file import LogFile

    try:
        return LogFile(path)
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "it is no file name"
        full = os.path.abspath(os.path.expanduser(path))
        raise ConfigError(
            f"--log-file: {full!r} cannot be written ({reason}). Name a file in a folder of yours, with its whole path."
        ) from None


_VALUES = re.compile(r"<.*>|\(.*\)")


def _without_values(record: logging.LogRecord) -> bool:
    """asyncio describes tasks and callbacks by their arguments, which are messages here: leave those out."""
    record.msg, record.args = _VALUES.sub("…", record.getMessage().partition("\n")[0]), None
    return True


def catch_all(handler: LogHandler) -> None:
    """Send to the log what Python would write to stderr by itself: uncaught exceptions, and warnings.

    For programs of our own: whoever embeds us has hooks of their own.
    """
    log = logging.getLogger("mcp_remote_py")

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.error("the program ended because of a defect of its own", exc_info=(kind, error, trace))
        handler.drain(0.5)

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
            name = found.thread.name if found.thread is not None else "unknown"
            trouble = (found.exc_type, found.exc_value, found.exc_traceback)
            log.error("the thread %s ended because of a defect", name, exc_info=trouble)

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        if found.exc_value is not None:  # the object it happened in is not shown: it may be a message
            trouble = (found.exc_type, found.exc_value, found.exc_traceback)
            log.warning("an exception could not be handed on", exc_info=trouble)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable
    logging.captureWarnings(capture=True)
