"""A lock on an open file, between processes: for the log file, and for what is remembered. Never waits.

Not the library filelock: a lock is one call of the operating system, and the callers differ in what they lock and how
long they wait. A process that dies loses its locks.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    _LOCK_AT = 0x7FFFFFF0
    """Beyond all that is written: a lock of Windows also forbids reading."""

    def lock(fd: int) -> None:
        """Take the lock. Raises `OSError` where another process has it, or there are no locks."""
        os.lseek(fd, _LOCK_AT, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def unlock(fd: int) -> None:
        """Give it back."""
        os.lseek(fd, _LOCK_AT, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def lock(fd: int) -> None:
        """Take the lock. Raises `OSError` where another process has it, or there are no locks."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(fd: int) -> None:
        """Give it back."""
        fcntl.flock(fd, fcntl.LOCK_UN)
