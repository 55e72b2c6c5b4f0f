"""A log file that several processes may share: private, rotated, whole lines only. Blocks; `log` calls it in a thread.

Not the standard library's `RotatingFileHandler`: hosts start the same entry twice, and two of those handlers on one
file rotate it under each other's hands and write on into files that have been renamed. Here

- each line is one `write` to a file opened for appending, which puts it behind all others, whole;
- a process that finds that the name means another file now (somebody rotated, or deleted it) opens that;
- one process at a time writes or rotates, by a lock on the file itself. The lock is waited for a second at most:
  without it lines are still whole, only the rotation is left to the next line.

The file and its old ones (`.1` is the youngest) can be read by their owner alone; so can a folder that is made here.
On Windows a file that somebody has open cannot be renamed, so there the rotation waits until one bridge has it alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator

from mcp_remote_py.file_lock import lock, unlock

MOST_BYTES = 10 * 1024 * 1024
OLD_FILES = 3
_LOCK_SECONDS = 1.0
_ATTEMPTS = 5
_POSTPONED_BYTES = 256 * 1024


class LogFile:
    """See the module's text. `path` is absolute, with `~` expanded. Sizes in bytes."""

    def __init__(self, path: str, most: int = MOST_BYTES, old: int = OLD_FILES) -> None:
        """Open the file. Raises OSError where it cannot be written."""
        self.path = os.path.abspath(os.path.expanduser(path))
        self._most = most
        self._old = old
        self._postponed = 0
        self._is_torn = False
        self._fd = -1
        self._open()

    def write(self, line: bytes) -> None:
        """Write one line with its end. Raises OSError; the next line is tried anew."""
        for _ in range(_ATTEMPTS):
            if not self._is_current():
                self._open()
            with self._alone() as alone:
                if not self._is_current():
                    continue  # rotated by another process while we waited for it
                if alone and self._is_full(len(line)) and self._rotate():
                    continue
                self._append(line)
                return
        self._append(line)

    def rotate(self) -> None:
        """Begin a new file now, where there is something in this one. Raises OSError."""
        if not self._is_current():
            self._open()
        with self._alone() as alone:
            if alone and self._is_current() and os.fstat(self._fd).st_size > 0:
                self._rotate()

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        self.close()
        _make_folder(os.path.dirname(self.path))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        fd = os.open(self.path, flags, 0o600)  # not blocking: a pipe that nobody reads is an error, not a long wait
        try:
            if sys.platform != "win32":
                os.set_blocking(fd, True)
                found = os.fstat(fd)
                if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077 and found.st_uid == os.geteuid():
                    os.fchmod(fd, 0o600)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _is_current(self) -> bool:
        """Whether the name still means the file that we have open."""
        if self._fd < 0:
            return False
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock; False where it could not be had."""
        deadline = time.monotonic() + _LOCK_SECONDS
        fd, locked = self._fd, False
        while not locked and time.monotonic() < deadline:
            try:
                lock(fd)
                locked = True
            except (BlockingIOError, PermissionError):
                time.sleep(0.001)
            except OSError:
                break  # this file system knows no locks
        try:
            yield locked
        finally:
            if locked and fd == self._fd:  # a file that was closed has lost its lock
                unlock(fd)

    def _is_full(self, more: int) -> bool:
        found = os.fstat(self._fd)
        limit = max(self._most, self._postponed)
        return stat.S_ISREG(found.st_mode) and found.st_size > 0 and found.st_size + more > limit

    def _rotate(self) -> bool:
        """Rename this file and the old ones. Returns whether that went well; otherwise it is tried again later."""
        size = os.fstat(self._fd).st_size
        if sys.platform == "win32":
            self.close()  # an open file cannot be renamed there
        try:
            os.rename(self.path, self.path)  # fails where another process has it open (Windows), before harm is done
            for number in range(self._old - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            os.replace(self.path, f"{self.path}.1")
        except OSError:
            self._postponed = size + _POSTPONED_BYTES
            if self._fd < 0:
                self._open()
            return False
        self._postponed = 0
        self._open()
        return True

    def _append(self, line: bytes) -> None:
        if sys.platform == "win32":
            os.lseek(self._fd, 0, os.SEEK_END)
        data = b"\n" + line if self._is_torn else line
        rest = data
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            self._is_torn = self._is_torn or len(rest) < len(data)
            raise
        self._is_torn = False


def _make_folder(folder: str) -> None:
    """Make a folder and those above it that are missing, for the owner alone."""
    if os.path.isdir(folder):
        return
    _make_folder(os.path.dirname(folder))
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
