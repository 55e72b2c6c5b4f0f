"""Logbook: a file for the server's own log and one for each member, with levels and an age at which lines go.

    DIR/system.log        everything but the members' lines
    DIR/mcp-NAME.log      what the logger `server_stub.members.NAME` says, and a line for each request (`request_line`)

Works beside `mcp_remote_py.log`, which writes to stderr: levels of the logbook change nothing there. Lines go through
the same redactor, are queued (a bounded number for each file, so that a talkative member costs no other its lines), and
are written by one daemon thread. A full disk or a folder that has gone stops nothing: the log says so once, and the
next line is tried anew.

A file is put aside as `.1` when it is large, or when its first line is a quarter of the retention old; what was last
written longer ago than the retention is deleted, also what an earlier run left there. Files of others, that only look
like ours by their names, are never touched.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
import stat
import threading
import time
from calendar import timegm
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import JsonId, encode
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.log import Format, file_line, scrubbed
from mcp_remote_py.log_file import LogFile

MEMBERS = "server_stub.members"
"""Children log to a logger below this one, of the member's name."""
LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
PARTS = 4
"""A file holds so much of the retention: what is kept is at most a quarter older than it should be."""
OLD_FILES = 6

logger = logging.getLogger(__name__)

_SYSTEM = "system.log"
_PROGRAMS = ("mcp_remote_py", "server_stub")
_QUEUE_LINES = 2000
_QUEUE_CHARACTERS = 2 * 1024 * 1024
_BATCH_CHARACTERS = 64 * 1024
_HOUSE_SECONDS = 30.0
_CLOSE_SECONDS = 1.0
_IS_OURS = re.compile(
    rb"\s*(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] [a-z]+ [\w.-]|\{\"time\": \"\d{4}-[^\"]*Z\", \"level\": )"
)
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_NAME = re.compile(r"(system|mcp-.+)\.log(?:\.\d+)?")
_PLAIN_METHOD = re.compile(r"[\w/.$-]{1,100}")


def level_of(text: str, where: str) -> int:
    """Return the level of a name, in any case. Raises `ConfigError` for another word; `where` names its place."""
    level = LEVELS.get(text.strip().lower())
    if level is None:
        raise ConfigError(f"{where}: {text!r} is no level. Write one of debug, info, warning, error.")
    return level


def file_name_of(member: str) -> str:
    """Return the name of a member's file: `mcp-NAME.log`, with a hash where the name holds what a file's may not."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", member)[:100]
    if safe != member:
        safe += "-" + hashlib.sha256(member.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"mcp-{safe}.log"


@lru_cache(maxsize=256)
def _log_of(member: str) -> logging.Logger:
    """Return a member's logger, without the lock that `getLogger` takes: this is asked for every request."""
    return logging.getLogger(f"{MEMBERS}.{member}")


def request_line(member: str, method: str | None, identifier: JsonId | None, session_label: str | None) -> None:
    """Log a request in the member's log: Method, ID, SessionID. `session_label` is a hash, never the id itself.

    In the logbook it is a line of level info, elsewhere (on stderr) of level debug.
    """
    log = _log_of(member)
    if not log.isEnabledFor(logging.DEBUG):
        return
    known = method if method is not None and _PLAIN_METHOD.fullmatch(method) else encode(method).decode()[:100]
    shown = encode(identifier).decode("utf-8", "replace")[:100]
    log.debug("Method: %s, ID: %s, SessionID: %s", known, shown, session_label or "-", extra={"mcp_request": True})


# --- Opening ---------------------------------------------------------------------------------------------------------


class Terms(NamedTuple):
    """What is kept of a log, and how long."""

    level: int
    retention: float | None
    """Seconds; None: for ever."""


def open_logbook(
    directory: str,
    system_level: str,
    member_level: str,
    system_retention: float | None,
    member_retention: float | None,
    redactor: Redactor,
    style: Format = "text",
) -> Logbook:
    """Write the log also to files in this folder, until `close`. Call it after `log.set_up`.

    `system_...` is for the server's own log, `member_...` for those of the members; retention in seconds, None: for
    ever. Raises `ConfigError` where the folder cannot be written, or a level is none.
    """
    system = Terms(level_of(system_level, "LOG_LEVEL_SYSTEM"), system_retention)
    member = Terms(level_of(member_level, "LOG_LEVEL_MCP"), member_retention)
    return logbook_of(directory, system, member, redactor, style)


def logbook_of(
    directory: str,
    system: Terms,
    member: Terms,
    redactor: Redactor,
    style: Format = "text",
    clock: Callable[[], float] = time.time,
) -> Logbook:
    """Do what `open_logbook` does, for a clock of Unix time."""
    full = os.path.abspath(os.path.expanduser(directory))
    try:
        shelf = _Shelf(full, (system.retention, member.retention), style, clock)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no folder's name"
        raise ConfigError(
            f"--log-dir: {full!r} cannot be written ({reason}). Name a folder of yours, with its whole path."
        ) from None
    return Logbook(shelf, _Handler(shelf, redactor, system.level, member.level, style), system.level, member.level)


class Logbook:
    """The open files, attached to logging."""

    def __init__(self, shelf: _Shelf, handler: logging.Handler, system: int, member: int) -> None:
        self._shelf = shelf
        self._handler = handler
        if member <= logging.INFO:
            member = logging.DEBUG  # so that `request_line` is heard
        self._before = {name: logging.getLogger(name).level for name in (*_PROGRAMS, MEMBERS)}
        self._filter = _AsBefore({name: logging.getLogger(name).getEffectiveLevel() for name in self._before})
        self._others = [other for other in logging.getLogger().handlers if other is not handler]
        for other in self._others:
            other.addFilter(self._filter)
        for name in _PROGRAMS:
            self._hear(name, system)
        self._hear(MEMBERS, member)
        logging.getLogger().addHandler(handler)

    def _hear(self, name: str, level: int) -> None:
        heard = logging.getLogger(name)
        heard.setLevel(min(level, heard.getEffectiveLevel()))

    def keep_house(self) -> None:
        """Put aside and delete what is due now; the thread does it twice a minute. Blocks."""
        self._shelf.keep_house()

    def drain(self, seconds: float) -> None:
        """Give the thread so long to write what is queued."""
        self._shelf.drain(seconds)

    def close(self) -> None:
        """Detach from logging, write what is queued (for a second at most), close the files."""
        logging.getLogger().removeHandler(self._handler)
        for other in self._others:
            other.removeFilter(self._filter)
        for name, level in self._before.items():
            logging.getLogger(name).setLevel(level)
        self._shelf.close(_CLOSE_SECONDS)


class _AsBefore(logging.Filter):
    """Keeps from other handlers what they would not have got if the logbook had not lowered the levels of loggers."""

    def __init__(self, before: Mapping[str, int]) -> None:
        super().__init__()
        self._before = before

    def filter(self, record: logging.LogRecord) -> bool:
        name = record.name
        while name:
            level = self._before.get(name)
            if level is not None:
                return record.levelno >= level
            known = logging.root.manager.loggerDict.get(name)
            if isinstance(known, logging.Logger) and known.level:
                return True  # it has a level of its own, which nobody changed
            name = name.rpartition(".")[0]
        return True


class _Handler(logging.Handler):
    """Hands scrubbed lines to the file that they belong to."""

    def __init__(self, shelf: _Shelf, redactor: Redactor, system: int, member: int, style: Format) -> None:
        super().__init__()
        self._shelf = shelf
        self._redactor = redactor
        self._system = system
        self._member = member
        self._style = style

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(f"{MEMBERS}."):
            if getattr(record, "mcp_request", False):
                record = copy.copy(record)
                record.levelno, record.levelname = logging.INFO, "INFO"
            file, least = file_name_of(record.name.removeprefix(f"{MEMBERS}.")), self._member
        else:
            file, least = _SYSTEM, self._system
        if record.levelno >= least:
            text, trace = scrubbed(record, self._redactor)
            self._shelf.put(file, file_line(record, text, trace, self._style))


# --- Writing ---------------------------------------------------------------------------------------------------------


class _Queue:
    """What is still to be written to one file."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque()
        self.size = 0
        self.lost = 0

    def put(self, line: str) -> None:
        if len(self.lines) >= _QUEUE_LINES or self.size + len(line) > _QUEUE_CHARACTERS:
            self.lost += 1
        else:
            self.lines.append(line)
            self.size += len(line)

    def take(self) -> tuple[list[str], int]:
        """Return some lines, and how many lines were lost before them."""
        taken: list[str] = []
        size = 0
        while self.lines and (not taken or size + len(self.lines[0]) <= _BATCH_CHARACTERS):
            taken.append(self.lines.popleft())
            size += len(taken[-1])
        self.size -= size
        lost, self.lost = self.lost, 0
        return taken, lost


class _Volume:
    """One file. Its thread is the shelf's."""

    def __init__(self, path: str, retention: float | None, now: float) -> None:
        self._file = LogFile(path, old=OLD_FILES)
        self._retention = retention
        self._begun = _begin_of(path, now)

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def turn(self, now: float) -> None:
        """Put the file aside where its first lines are old enough."""
        if self._retention is not None and now - self._begun >= self._retention / PARTS:
            self._file.rotate()
            self._begun = now

    def close(self) -> None:
        self._file.close()


class _Shelf:
    """All files of a folder, and the daemon thread that writes them."""

    def __init__(
        self,
        directory: str,
        retention: tuple[float | None, float | None],
        style: Format,
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._retention = retention
        self._style = style
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        self._volumes: dict[str, _Volume] = {}
        self._failing: set[str] = set()
        self._changed = threading.Condition()
        self._files = threading.RLock()
        self._busy = False
        self._closing = False
        self._house_at = time.monotonic() + _HOUSE_SECONDS
        self._volume(_SYSTEM)
        self.keep_house()
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)
        self._thread.start()

    def put(self, file: str, line: str) -> None:
        """Queue a line. One that finds its queue full is only counted."""
        with self._changed:
            if self._closing:
                return
            self._queues.setdefault(file, _Queue()).put(line)
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self._is_waiting(), timeout=seconds)

    def close(self, seconds: float) -> None:
        self.drain(seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if not self._thread.is_alive():  # else it hangs in a write, and has the files
            for volume in self._volumes.values():
                volume.close()
            self._volumes.clear()

    def _is_waiting(self) -> bool:
        return any(queue.lines for queue in self._queues.values())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                left = max(0.0, self._house_at - time.monotonic())
                self._changed.wait_for(lambda: self._closing or self._is_waiting(), timeout=left)
                if self._closing:
                    return
                batches = {file: queue.take() for file, queue in self._queues.items() if queue.lines}
                self._busy = True
            for file, (lines, lost) in batches.items():
                self._write(file, lines, lost)
            if time.monotonic() >= self._house_at:
                self.keep_house()

    def _write(self, file: str, lines: list[str], lost: int) -> None:
        told = [self._complaint(f"{lost} log lines were lost")] if lost else []
        data = "".join((*told, *lines)).encode("utf-8", "backslashreplace")
        try:
            with self._files:
                self._volume(file).write(data)
        except OSError as error:
            self._complain(file, error, lost + len(lines))
        else:
            self._failing.discard(file)

    def _complaint(self, text: str) -> str:
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        return file_line(record, text, "", self._style)

    def _complain(self, file: str, error: OSError, lines: int) -> None:
        with self._changed:
            self._queues[file].lost += lines
        if file not in self._failing:
            self._failing.add(file)
            path = os.path.join(self._directory, file)
            logger.warning("the log file %s cannot be written (%s); its lines are lost", path, error.strerror or "?")

    def _volume(self, file: str) -> _Volume:
        """Return the open file. Raises OSError."""
        volume = self._volumes.get(file)
        if volume is None:
            path = os.path.join(self._directory, file)
            volume = self._volumes[file] = _Volume(path, self._retention_of(file), self._clock())
        return volume

    def _retention_of(self, file: str) -> float | None:
        return self._retention[0 if file.startswith(_SYSTEM) else 1]

    # --- Age -------------------------------------------------------------------------------------------------------

    def keep_house(self) -> None:
        """Put aside what is due, delete what is too old."""
        self._house_at = time.monotonic() + _HOUSE_SECONDS
        now = self._clock()
        with self._files:
            for volume in self._volumes.values():
                with contextlib.suppress(OSError):  # it is tried again, and a write tells more
                    volume.turn(now)
            try:
                entries = list(os.scandir(self._directory))
            except OSError:
                return  # the folder has gone: nothing in it is too old
            for entry in entries:
                self._delete_if_old(entry, now)

    def _delete_if_old(self, entry: os.DirEntry[str], now: float) -> None:
        retention = self._retention_of(entry.name)
        if retention is None or _NAME.fullmatch(entry.name) is None:
            return
        try:
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and now - found.st_mtime > retention and _is_ours(entry.path):
                volume = self._volumes.pop(entry.name, None)
                if volume is not None:
                    volume.close()  # what is written next begins a new file
                os.unlink(entry.path)
        except OSError:
            pass  # somebody else was quicker, or it is not ours to delete


def _head_of(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    try:
        return os.read(fd, 200)
    finally:
        os.close(fd)


def _is_ours(path: str) -> bool:
    """Whether a file begins with a line that we wrote: folders for logs have other tenants."""
    return _IS_OURS.match(_head_of(path)) is not None


def _begin_of(path: str, now: float) -> float:
    """Return when the first line of a file was written; now where it has none."""
    try:
        stamp = _STAMP.search(_head_of(path))
        return float(timegm(time.strptime(stamp.group().decode("ascii"), "%Y-%m-%dT%H:%M:%S"))) if stamp else now
    except (OSError, ValueError):
        return now
