"""Watched file: whether a small text file has changed since it was read, and what it says; not what that means."""

from __future__ import annotations

import os
import stat

LIMIT = 256 * 1024
"""Bytes. No header could carry more."""

Signature = tuple[int, int, int]


class Unreadable(Exception):
    """The file cannot be read. The text is a phrase for people."""


class WatchedFile:
    """One file, looked at when it is asked about: a single `stat` where nothing changed.

    What is no ordinary file (a pipe of the shell, `<(...)`) can be read once only, which was done at the start: it
    never changes.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._signature: Signature | None = None

    def look_again(self) -> None:
        """Read at the next question, whatever the file's times say."""
        self._signature = None

    def changed(self) -> str | None:
        """Return the file's text if it may have changed since the last call, else None. Raises `Unreadable`.

        After a failure the next call tries again.
        """
        try:
            status = os.stat(self.path)
            if not stat.S_ISREG(status.st_mode):
                return None
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature == self._signature:
                return None
            self._signature = None
            with open(self.path, "rb") as file:
                raw = file.read(LIMIT + 1)
        except OSError as error:
            self._signature = None
            raise Unreadable(error.strerror or type(error).__name__) from None
        if len(raw) > LIMIT:
            raise Unreadable("it is far too large")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Unreadable("it is not UTF-8") from None
        self._signature = signature  # from before the reading: what is written meanwhile is seen next time
        return text
