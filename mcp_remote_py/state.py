"""State: what is remembered from one run to the next, as small JSON files that several processes may share. Blocks.

A file is private (0600, in a folder with 0700), replaced as a whole (a reader sees the old one or the new one, never a
part), and changed under a lock, as hosts start the same entry twice. One that cannot be read as JSON is set aside and
said so. Nothing here is ever fatal: whoever cannot remember, forgets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.file_lock import lock, unlock

_LOG = logging.getLogger("mcp_remote_py.state")
MOST_BYTES = 64 * 1024 * 1024
_LOCK_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
Document = dict[str, Any]


class StateFile:
    """One file. `path` is absolute; the folders on the way are made when something is written."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> Document | None:
        """Return what the file says; None where there is none, or none that can be read."""
        try:
            with open(self.path, "rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("%s cannot be read: %s", self.path, error.strerror)
            return None
        document = _decoded(raw)
        if document is None:
            self.set_aside("it is damaged")
        return document

    def update(self, change: Callable[[Document | None], Document]) -> bool:
        """Make the file say what `change` makes of it. Returns whether it does; why not is in the log."""
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with self._alone():
                older = self.read()
                newer = change(older)
                if newer != older:
                    self._replace(msg.encode(newer))
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self.path, error.strerror)
            return False
        return True

    def set_aside(self, reason: str) -> None:
        """Move the file out of the way, so that it can be looked at, and say so."""
        aside = f"{self.path}.damaged"
        try:
            os.replace(self.path, aside)
        except OSError:
            return  # another process was faster, or nothing may be changed here: it is read as empty all the same
        _LOG.warning("%s was set aside as %s: %s", self.path, os.path.basename(aside), reason)

    def _replace(self, raw: bytes) -> None:
        """Write a new file beside it, and give it the name."""
        new = f"{self.path}.{os.getpid()}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine could leave the name with nothing behind it
            os.replace(new, self.path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first trouble is the one to report
                os.unlink(new)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock, in a file of its own as this one is replaced. After a second without it go on all the same:
        a whole file that is not the very last is better than none."""
        fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            locked = _locked_within(fd, _LOCK_SECONDS)
            try:
                yield
            finally:
                if locked:
                    unlock(fd)
        finally:
            os.close(fd)


def private_folder(path: str) -> None:
    """Make a folder that its owner alone can look into, and take others' permissions away from one that is there."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name == "posix" and mode & 0o077:
        os.chmod(path, mode & 0o700)


def _locked_within(fd: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            lock(fd)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(_PAUSE_SECONDS)
        else:
            return True


def _decoded(raw: bytes) -> Document | None:
    if len(raw) > MOST_BYTES:
        return None
    try:
        document = msg.value_of(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
