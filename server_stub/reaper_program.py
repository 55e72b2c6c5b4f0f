"""The reaper: a small process beside the server that ends the groups of its children once it is gone, however it went.

Run as a file of its own (`python -I -S reaper_program.py`), with nothing imported but what every interpreter has
loaded already: it lives as long as the server, and should cost next to nothing. stdin is a pipe whose writing end the
server alone holds. What it says there, a line each: `=PID` is the server; `?TICKS`, a child is about to be spawned (the
time since boot); `!`, none came of it; `+PID`, the process group of this leader lives; `-PID`, it is gone. At the end
of the pipe the groups that are left get SIGTERM, two seconds, and SIGKILL; so do groups that their descendants made for
themselves (`setsid`), where /proc says whose children they are. POSIX only.
"""

import os
import signal
import time

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
_POLL = 0.05
_CHUNK = 4096
_BIRTH = 0.3
"""Seconds for which a child that was about to be spawned is looked for."""
_BIRTH_POLL = 0.02


def watch(source: int) -> dict[int, bytes | None]:
    """Read the pipe to its end. Returns the leaders of the groups that are left, and when each of them was born."""
    server = os.getppid()
    living: dict[int, bytes | None] = {}
    expected = 0
    rest = b""
    while chunk := os.read(source, _CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            sign, number = line[:1], int(line[1:] or 0)
            if sign == b"?":
                expected = number
            elif sign == b"=":
                server = number
            elif sign == b"-":
                living.pop(number, None)
            else:
                expected = 0
                if sign == b"+":
                    living[number] = birth(number)
    if expected:  # 0: the system does not say when processes were born
        living.update(newborn(expected, server))
    return living


def newborn(since: int, server: int) -> dict[int, bytes | None]:
    """Return what the server had spawned and not told yet when it was killed; it may still be on its way to its group.

    That is an orphan of our own user, adopted by whoever adopted us, born since then as the leader of a group, and with
    a socket or a pipe as its stdin.
    """
    deadline = time.monotonic() + _BIRTH
    found: dict[int, bytes | None] = {}
    while not found and time.monotonic() < deadline:
        if os.getppid() != server:
            found = {
                pid: birth(pid) for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _is_ours(pid, since)
            }
        time.sleep(_BIRTH_POLL)
    return found


def _is_ours(process: int, since: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        parent, group, born = int(fields[1]), int(fields[2]), int(fields[19])
        return (
            born >= since
            and group == process != os.getpid()
            and parent == os.getppid()
            and os.stat(f"/proc/{process}").st_uid == os.getuid()
            and os.readlink(f"/proc/{process}/fd/0").startswith(("socket:", "pipe:"))
        )
    except (OSError, IndexError):
        return False  # it has ended meanwhile, or is none of ours


def birth(process: int) -> bytes | None:
    """Return when this process was started, in ticks since boot; None where there is none, or no /proc."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return None


def groups_apart(leader: int) -> dict[int, bytes | None]:
    """Return the groups that descendants of this process made for themselves, and when their leaders were born.

    Empty where there is no /proc, or it does not tell the children of a process. What has lost its parent on the way
    is nobody's descendant any more.
    """
    found: dict[int, bytes | None] = {}
    waiting = [leader]
    while waiting:
        for child in _children(waiting.pop()):
            waiting.append(child)
            try:
                group = os.getpgid(child)
            except OSError:
                continue  # it has ended meanwhile
            if group not in (leader, 0, os.getpgrp()):
                found.setdefault(group, birth(group))
    return found


def _children(process: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it has ended meanwhile, or the system does not tell
    return found


def end(living: dict[int, bytes | None]) -> None:
    """End these groups, but for those whose leader's pid is another process by now: that group was gone long before."""
    ours = [leader for leader, born in living.items() if birth(leader) in (None, born)]
    for leader in tuple(ours):
        ours += groups_apart(leader)
    _signal(ours, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while ours and time.monotonic() < deadline:
        time.sleep(_POLL)
        ours = _signal(ours, 0)
    _signal(ours, signal.SIGKILL)


def _signal(leaders: list[int], number: int) -> list[int]:
    """Signal these groups. Returns those that are there."""
    there = []
    for leader in leaders:
        try:
            os.killpg(leader, number)
        except OSError:
            continue  # gone, which is what was wanted; or not ours, and then nothing can be done
        there.append(leader)
    return there


def main() -> None:
    """Outlive whatever is aimed at the server and all around it: only the end of the pipe counts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    end(watch(0))


if __name__ == "__main__":
    main()
