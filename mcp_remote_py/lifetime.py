"""When to leave: signals and the death of the parent, as events. The only place that touches `signal`.

A parent's death is seen by its process descriptor on Linux (no polling); elsewhere the parent's id is looked at every
two seconds. No PR_SET_PDEATHSIG: it follows the parent's *thread*.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
_SNAPSHOT = "SIGUSR1"
_POLL_SECONDS = 2.0


def leave_quietly() -> None:
    """Let a signal end the process at once with exit code 0: nothing has been promised to anybody yet.

    For the moments between the start of the program and the start of `Lifetime`, which replaces these handlers.
    """
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda *_: os._exit(0))
    if hasattr(signal, _SNAPSHOT):  # a handler, not SIG_IGN, which the programs that we start would inherit
        signal.signal(getattr(signal, _SNAPSHOT), lambda *_: None)


class Lifetime:
    """Watches for reasons to leave. `on_leave(reason)` is called once; a second signal ends the process at once.

    `on_snapshot` is called for SIGUSR1, where the system has it.
    """

    def __init__(self, on_leave: Callable[[str], None], on_snapshot: Callable[[], None] | None = None) -> None:
        import asyncio  # not at the top: `leave_quietly` runs before anything heavy is loaded

        self._on_leave = on_leave
        self._on_snapshot = on_snapshot
        self._loop = asyncio.get_running_loop()
        self._signalled = False
        self._parent_fd: int | None = None

    def start(self) -> None:
        """Install the signal handlers and begin to watch the parent."""
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self._handle)
        if self._on_snapshot is not None and hasattr(signal, _SNAPSHOT):
            signal.signal(getattr(signal, _SNAPSHOT), self._snapshot)
        # The handler runs in the main thread between two bytecodes; the loop must wake up for it.
        self._watch_parent()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled:
            os._exit(128 + number)
        self._signalled = True
        name = signal.Signals(number).name
        self._loop.call_soon_threadsafe(self._on_leave, f"{name} was received")

    def _snapshot(self, _number: int, _frame: FrameType | None) -> None:
        if self._on_snapshot is not None:
            self._loop.call_soon_threadsafe(self._on_snapshot)

    def _watch_parent(self) -> None:
        parent = os.getppid()
        if parent <= 1:
            return  # started by init: there is no host to lose
        if sys.platform == "linux":
            try:
                self._parent_fd = os.pidfd_open(parent)
            except OSError:
                self._parent_fd = None  # an old kernel, a sandbox, or a parent that has just died: look at its id
            else:
                self._loop.add_reader(self._parent_fd, self._parent_died)
                if os.getppid() != parent:
                    self._parent_died()  # it died before the descriptor was opened
                return
        if hasattr(os, "getppid"):
            self._loop.call_later(_POLL_SECONDS, self._poll, parent)

    def _poll(self, parent: int) -> None:
        if os.getppid() != parent:
            self._parent_died()
            return
        self._loop.call_later(_POLL_SECONDS, self._poll, parent)

    def _parent_died(self) -> None:
        if self._parent_fd is not None:
            self._loop.remove_reader(self._parent_fd)
            os.close(self._parent_fd)
            self._parent_fd = None
        self._on_leave("the host has gone")
