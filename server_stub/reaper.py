"""Reaper: tells the small process of `reaper_program` which groups live, so that none outlives this one, even killed.

    with watching():                    around everything that may start children
        await Spawning(coroutine)       what spawns a child: it is noted in the step in which it is spawned
        note_started(pid)               a child leads a group now; the first one starts the reaper
        note_ended(pid)                 nothing is left of that group

Outside of `watching`, and on Windows, the notes do nothing. A reaper that is killed is replaced at once. On Linux the
reaper is told before a child is spawned, and finds it where we were killed before its pid could be told. Elsewhere a
child is noted once its pipes are connected: one that is left to itself in that moment still sees the end of its stdin,
as all children do. (docs/decisions/0007-hosting.md)
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from server_stub.reaper_program import groups_apart

T = TypeVar("T")

_PROGRAM = Path(__file__).with_name("reaper_program.py")
_NEEDED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What an interpreter may need of the environment; the rest, our secrets among it, is none of the reaper's business."""
_OUR_CHILDREN = "/proc/thread-self/children"
_LEAVING = 0.5
"""Seconds that a reaper with nothing left to do gets to leave."""
_HARDLY_LIVED = 1.0
_MOST_SHORT_LIVES = 3
"""After so many in a row that ended sooner than so (seconds), one is started at the next note only."""

logger = logging.getLogger(__name__)


class _Reaper:
    """The process, the writing end of its pipe, and what it was told."""

    def __init__(self) -> None:
        self._living: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._began = 0.0
        self._short_lives = 0
        self._expected: int | None = None
        self._lock = threading.Lock()

    def started(self, leader: int) -> None:
        with self._lock:
            self._note(leader)

    def _note(self, leader: int) -> None:
        if leader not in self._living:
            self._living.add(leader)
            self._say(b"+%d\n" % leader)

    def spawned(self, step: Callable[[], T]) -> tuple[T, list[int]]:
        """Take a step in which children may be spawned. Returns what it returns, and those that were noted."""
        with self._lock:
            self._expected = _ticks()
            self._say(b"?%d\n" % self._expected)
            before = _our_children()
            try:
                result = step()
                fresh = [pid for pid in _our_children() - before if self._process is None or pid != self._process.pid]
                for pid in fresh:
                    self._note(pid)
            finally:
                self._expected = None
                if self._pipe is not None:
                    self._say(b"!\n")
            return result, fresh

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
            news = [b"=%d\n" % os.getpid(), *(b"+%d\n" % leader for leader in sorted(self._living))]
            os.write(self._pipe, b"".join(news + ([] if self._expected is None else [b"?%d\n" % self._expected])))
        os.set_blocking(self._pipe, False)  # one that was stopped must not stop us
        self._began = time.monotonic()
        threading.Thread(target=self._attend, args=(self._process,), name="reaper", daemon=True).start()

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end; where that was not our wish, start another one."""
        process.wait()
        with self._lock:
            if self._process is not process:
                return
            self._part()
            self._short_lives = self._short_lives + 1 if time.monotonic() - self._began < _HARDLY_LIVED else 0
            if self._short_lives <= _MOST_SHORT_LIVES:
                logger.warning("the reaper process had ended; another one is started")
                self._begin()

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


def _ticks() -> int:
    """Return the time since boot as /proc counts it, rounded down; 0 where there is no such clock."""
    if sys.platform != "linux":
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) - 1


def _our_children() -> set[int]:
    """Return the children that this thread has started; none where the system does not tell."""
    try:
        with open(_OUR_CHILDREN, "rb") as file:
            return set(map(int, file.read().split()))
    except OSError:
        return set()


class Spawning(Generic[T]):
    """Awaits what spawns a child, such as `loop.subprocess_exec`, and has the child noted before anything else runs.

    asyncio spawns in the first step, and comes back when the pipes are connected, which is many steps later. Where it
    is cancelled before that, it kills the child, and waits until nobody holds its pipes: what the child had started by
    then is killed here, or the waiting might never end.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._steps: Generator[Any, Any, T] = coroutine.__await__()
        self._noted: list[int] = []

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            wanted = self._first()
            while True:
                try:
                    given = yield wanted
                except BaseException as error:  # noqa: BLE001  a cancellation, mostly: the coroutine's business
                    self._kill()
                    wanted = self._steps.throw(error)
                else:
                    wanted = self._steps.send(given)
        except StopIteration as done:
            result: T = done.value
            return result
        except BaseException:
            for leader in self._noted:
                note_ended(leader)
            raise

    def _first(self) -> object:
        if _current is None:
            return next(self._steps)
        wanted, self._noted = _current.spawned(lambda: next(self._steps))
        return wanted

    def _kill(self) -> None:
        for leader in self._noted:
            for group in (leader, *groups_apart(leader)):
                with suppress(OSError):  # it is gone, which is what was wanted
                    os.killpg(group, signal.SIGKILL)


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
