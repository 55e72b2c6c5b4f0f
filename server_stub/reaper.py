"""Reaper: tells the small process of `reaper_program` which groups live, so that none outlives this one, even killed.

    with watching():            around everything that may start children
        note_started(pid)       a child leads a group now; the first one starts the reaper
        note_ended(pid)         nothing is left of that group

Outside of `watching`, and on Windows, the notes do nothing. A child that is started in the moment between its start
and the note is not known yet; it sees the end of its stdin, as all children do. (docs/decisions/0007-hosting.md)
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROGRAM = Path(__file__).with_name("reaper_program.py")
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What an interpreter may need of the environment; the rest, our secrets among it, is none of the reaper's business."""
_LEAVING = 0.5
"""Seconds that a reaper with nothing left to do gets to leave."""

logger = logging.getLogger(__name__)


class _Reaper:
    """The process, the writing end of its pipe, and what it was told."""

    def __init__(self) -> None:
        self._living: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._lock = threading.Lock()

    def started(self, leader: int) -> None:
        with self._lock:
            self._living.add(leader)
            self._say(b"+%d\n" % leader)

    def ended(self, leader: int) -> None:
        with self._lock:
            if leader in self._living:
                self._living.discard(leader)
                self._say(b"-%d\n" % leader)

    def leave(self) -> None:
        """Close the pipe. What is still on the list is ended."""
        with self._lock:
            self._part()

    def _say(self, line: bytes) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, line)
                return
            except OSError:  # it is gone, or does not read
                logger.warning("the reaper process had ended; another one is started")
                self._part(kill=True)
        self._begin()

    def _begin(self) -> None:
        """Start a process and tell it of all groups that live."""
        try:
            self._pipe = self._start()
        except OSError as error:
            reason = error.strerror or "the system refused"
            logger.warning("no reaper process: %s. Children may outlive a server that is killed", reason.lower())
            return
        with suppress(OSError):  # it is gone already: the next note tells
            os.write(self._pipe, b"".join(b"+%d\n" % leader for leader in sorted(self._living)))
        os.set_blocking(self._pipe, False)  # one that was stopped must not stop us

    def _start(self) -> int:
        """Start the process; return the writing end of its pipe. Raises `OSError`."""
        reading, writing = os.pipe()  # neither is inherited by other children
        try:
            self._process = subprocess.Popen(  # noqa: S603  (our own file, by the interpreter that runs us)
                [sys.executable, "-I", "-S", str(_PROGRAM)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in _NEEDED if name in os.environ},
                start_new_session=True,
            )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return writing

    def _part(self, *, kill: bool = False) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()  # two of them would end the same groups
        try:
            process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            logger.warning("children are left; the reaper process ends them")
            threading.Thread(target=process.wait, name="reaper", daemon=True).start()  # for who goes on living here


_current: _Reaper | None = None
_users = 0


@contextmanager
def watching() -> Iterator[None]:
    """See the module's text. Servers of one process share one reaper."""
    global _current, _users
    if sys.platform == "win32" or not sys.executable or not _PROGRAM.is_file():
        yield
        return
    _users += 1
    _current = _current or _Reaper()
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            reaper, _current = _current, None
            reaper.leave()


def note_started(leader: int) -> None:
    """A child with this pid was started, the leader of a group of its own."""
    if _current is not None:
        _current.started(leader)


def note_ended(leader: int) -> None:
    """Nothing is left of the group that this child led. May be called more than once."""
    if _current is not None:
        _current.ended(leader)
