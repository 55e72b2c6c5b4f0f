"""Lease: the right to sign in or to renew, for one process at a time. Whoever gets it reads the store again first.

A lock of the operating system on a file in `<home>/auth/`: the lease of a process that dies is free at that moment.
The file says whose it is, for the error of one who waited in vain; it is never deleted, as a lock on a deleted file
locks nobody out. Nothing here blocks the loop: a home folder over a network may take its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import AsyncIterator

from mcp_remote_py.auth.keeping import checked, make_folder
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth.names import FOLDER
from mcp_remote_py.file_lock import lock, unlock

_LOG = logging.getLogger("mcp_remote_py.auth.lease")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two tries."""
_SILENT_SECONDS = 1.0
"""Renewing takes less; who waits longer is told."""
_MOST_BYTES = 1000
_TAKEN = frozenset([errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK])
"""What a lock answers while another process has it; everything else means that there are no locks here."""


class Lease:
    """Gives leases. `home`: the folder for what is remembered; empty: there are no other processes to think of."""

    def __init__(self, home: str) -> None:
        self._folder = os.path.join(os.path.abspath(home), FOLDER) if home else ""
        self._alone: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def held(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Hold the lease of this name inside. Waits as long as `seconds` for it; raises `SignInNeeded` after that.

        Where the disk knows no locks, only tasks of this process are kept apart, and that is said.
        """
        checked(name)
        until = time.monotonic() + seconds
        here = self._alone.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(seconds):
                await here.acquire()
        except TimeoutError:
            raise _in_vain(seconds, "This process") from None
        try:
            fd = await self._taken(name, until, seconds)
            try:
                yield
            finally:
                if fd is not None:
                    giving = asyncio.get_running_loop().run_in_executor(None, _give_back, fd)
                    await asyncio.shield(giving)  # it is given back even if nobody waits for that any more
        finally:
            here.release()

    async def _taken(self, name: str, until: float, seconds: float) -> int | None:
        """Return the open file that holds the lock, None where there can be none."""
        if not self._folder:
            return None
        path, pause, has_said = os.path.join(self._folder, f"{name}.lease"), _FIRST_PAUSE, False
        while True:
            try:
                return await _in_a_thread(path)
            except BlockingIOError:
                pass  # it is somebody else's for now
            except OSError as error:
                _LOG.warning("%s cannot be locked: %s; other processes may sign in, too", path, error.strerror)
                return None
            left = until - time.monotonic()
            if left <= 0:
                raise _in_vain(seconds, await asyncio.to_thread(_holder, path))
            if not has_said and left < seconds - _SILENT_SECONDS:
                _LOG.info("another process is signing in to the same server; what comes of it is waited for")
                has_said = True
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


async def _in_a_thread(path: str) -> int:
    """Try once. A try that nobody waits for any more is undone when it ends."""
    trying = asyncio.get_running_loop().run_in_executor(None, _try, path)
    try:
        return await asyncio.shield(trying)
    except asyncio.CancelledError:
        trying.add_done_callback(_undo)
        raise


def _undo(trying: asyncio.Future[int]) -> None:
    if not trying.cancelled() and trying.exception() is None:
        _give_back(trying.result())


def _try(path: str) -> int:
    """Return the open, locked file. Raises `BlockingIOError` where another one has it, `OSError` for other trouble."""
    make_folder(os.path.dirname(path))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            lock(fd)
        except OSError as error:
            if error.errno in _TAKEN:
                raise BlockingIOError from None
            raise
        with contextlib.suppress(OSError):  # a full disk: the lock is ours all the same, it only bears no name
            _sign(fd, msg.encode({"pid": os.getpid(), "since": time.time()}))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _sign(fd: int, text: bytes) -> None:
    os.lseek(fd, 0, os.SEEK_SET)
    os.ftruncate(fd, 0)
    os.write(fd, text)


def _give_back(fd: int) -> None:
    try:
        with contextlib.suppress(OSError):
            _sign(fd, b"")
        with contextlib.suppress(OSError):  # closing the file does it, too
            unlock(fd)
    finally:
        os.close(fd)


def _holder(path: str) -> str:
    """Return in words whose it is, as far as the file says."""
    try:
        with open(path, "rb") as file:
            document = msg.value_of(file.read(_MOST_BYTES).decode("utf-8"))
        pid, since = document["pid"], document["since"]
        if type(pid) is int and isinstance(since, int | float):
            return f"The process {pid}, which began {max(0.0, time.time() - since):.0f} s ago,"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass  # it is just being written, or damaged: a lock without a name is still a lock
    return "Another process"


def _in_vain(seconds: float, who: str) -> SignInNeeded:
    return SignInNeeded(
        f"{who} is signing in to the same server, and has not finished within {seconds:g} s.",
        hint="Finish the sign-in that is open in a browser, or end that process; then try again. "
        "--auth-timeout sets how long to wait.",
    )
