"""Signals to a child and everything it started. Knows process ids, nothing of MCP.

POSIX: the child leads its own session and process group, whose id is its own pid; signals go to the group. On Linux
they go also to groups that its descendants made for themselves (`setsid`: browsers are started so), as far as they
were there when the child was asked to end. Whoever left both the group and its parent, or ran behind a child that
ended by itself, has left our reach. Windows: the child leads a console process group; the hard end is `taskkill /T`,
which walks the tree of parents while the leader is still there.

A pid may be used again once the last member of its group is gone, so nothing here is called after that was seen.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

from server_stub.reaper_program import birth, groups_apart

_FRESH = 0.1
"""Seconds for which a look at all processes is believed when it says that somebody is there."""
_last_look: tuple[float, set[int]] = (0.0, set())


def spawn_options() -> dict[str, Any]:
    """Return the keyword arguments that make a new process the leader of its own group."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def wait_without_threads() -> None:
    """Let asyncio hear of the end of children by their file descriptors. To be called before the loop is made.

    Python 3.11 has a thread for each child otherwise: 15 KB, and one of the few that a container may have. Newer
    Pythons do this by themselves. Where the system has no such descriptors (before Linux 5.3), threads it is.
    """
    if sys.platform != "linux" or sys.version_info >= (3, 12):
        return
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return
    asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


class Family:
    """The group of one child, and the groups apart that were seen. `leader` is the child's pid."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._apart: dict[int, bytes | None] = {}

    def look(self) -> None:
        """Remember the groups that descendants have made for themselves. The child has not been waited for yet."""
        self._apart = {**groups_apart(self._leader), **self._apart}

    def is_alive(self) -> bool:
        """See the function of this name."""
        return any(is_alive(group) for group in self._groups())

    def ask_to_end(self) -> None:
        """Send SIGTERM (Windows: CTRL_BREAK) to all of them."""
        for group in self._groups():
            ask_to_end(group)

    async def end(self) -> None:
        """Kill all of them at once."""
        for group in self._groups():
            await end(group)

    def _groups(self) -> list[int]:
        return [self._leader, *(group for group, born in self._apart.items() if birth(group) in (None, born))]


def is_alive(leader: int) -> bool:
    """Whether the group still has a member that runs. On Windows that cannot be asked, and the answer is no.

    The leader must have been waited for before: its dead body would be taken for an orphan's.
    """
    if sys.platform == "win32":
        return False
    _reap(leader)
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies; nothing in it can be signalled
        return False
    return sys.platform != "linux" or _has_running_member(leader)


def _has_running_member(leader: int) -> bool:
    """Whether one of the group is no zombie: a process 1 that is slow to reap must not be waited for.

    Where many wait for the end of their groups, they share a look: one that is a little old may say yes, never no.
    """
    global _last_look
    at, groups = _last_look
    if leader not in groups or time.monotonic() - at > _FRESH:
        groups = _running_groups()
        _last_look = time.monotonic(), groups
    return leader in groups


def _running_groups() -> set[int]:
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, _parent, group = file.read().rpartition(b")")[2].split()[:3]
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            if state not in (b"Z", b"X"):
                found.add(int(group))
    return found


def ask_to_end(leader: int) -> None:
    """Send SIGTERM (Windows: CTRL_BREAK) to the group."""
    try:
        if sys.platform == "win32":
            os.kill(leader, signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(leader, signal.SIGTERM)
    except OSError:
        pass  # the group is gone, which is what was wanted


async def end(leader: int) -> None:
    """Kill the group at once: SIGKILL, on Windows `taskkill /T /F`."""
    if sys.platform == "win32":
        quiet = asyncio.subprocess.DEVNULL
        killer = await asyncio.create_subprocess_exec(
            "taskkill", "/T", "/F", "/PID", str(leader), stdin=quiet, stdout=quiet, stderr=quiet
        )
        await killer.wait()
    else:
        try:
            os.killpg(leader, signal.SIGKILL)
        except OSError:
            pass  # the group is gone, which is what was wanted


def _reap(leader: int) -> None:
    """Collect dead members that became our children: as process 1 of a container, orphans come to us."""
    if sys.platform == "win32":
        return
    try:
        while os.waitpid(-leader, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # none of them is ours, which is the usual case


def signal_name(number: int) -> str:
    """Return what people call a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
