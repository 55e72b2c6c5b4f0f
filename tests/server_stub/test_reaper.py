"""The reaper: what is left of the children when the server is gone, and that it costs and disturbs nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server_stub import reaper, reaper_program
from server_stub.children import Child, ServerSpec
from tests.server_stub.links import eventually
from tests.support.children import child

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
SECONDS = 10.0


class Group:
    """A process that leads a group of its own."""

    def __init__(self, program: str = "stubborn") -> None:
        self._process = subprocess.Popen(
            child(program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        if program == "stubborn":
            self._process.stdout.readline()  # it ignores signals from now on
        self.leader = self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def ended_by(self, seconds: float = SECONDS) -> int:
        """Wait for the end; return the number of the signal that brought it."""
        return -self._process.wait(seconds)

    def clear(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def groups() -> Iterator[list[Group]]:
    """Groups that a test appends are cleared away."""
    made: list[Group] = []
    yield made
    for group in made:
        group.clear()
    until(lambda: not _a_reaper_is_left())  # it may still wait for the groups that were just cleared away


def the_reaper() -> psutil.Process | None:
    found = [one for one in psutil.Process().children() if one.is_running() and "reaper_program.py" in _line(one)]
    return found[0] if found else None


def _a_reaper_is_left() -> bool:
    """Also a dead one, while nobody has buried it."""
    return any("python" in _name(one) for one in psutil.Process().children())


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def until_ready(process: psutil.Process) -> None:
    """Wait until it ignores SIGHUP, SIGINT, SIGQUIT and SIGTERM, and has read what it was told."""
    all_four = 0x4007

    def ignored() -> int:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        return int(text.partition("SigIgn:")[2].split()[0], 16)

    until(lambda: ignored() & all_four == all_four)
    until(lambda: process.num_fds() == 3)


def pipes_of(process: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir() if entry.is_symlink()]


def running_reaper() -> psutil.Process:
    until(the_reaper)  # a process has no command line in the moment in which it becomes a program
    found = the_reaper()
    assert found is not None
    return found


# --- The program -----------------------------------------------------------------------------------------------------


def program(notes: bytes) -> tuple[float, int]:
    """Run it with these notes until the end of its pipe; return how long it took, and its exit code."""
    started = time.monotonic()
    found = subprocess.run(
        [sys.executable, "-I", "-S", reaper_program.__file__], input=notes, timeout=SECONDS, check=False, env={}
    )
    return time.monotonic() - started, found.returncode


def test_a_group_that_is_left_gets_a_sigterm(groups: list[Group]) -> None:
    groups.append(Group("echo"))
    seconds, code = program(b"+%d\n" % groups[0].leader)
    assert code == 0
    assert groups[0].ended_by() == signal.SIGTERM
    # the leader's dead body is ours to bury, and counts as a member until then
    assert seconds < 2 * reaper_program.GRACE


def test_a_group_that_ignores_it_is_killed(groups: list[Group]) -> None:
    groups.append(Group("stubborn"))
    seconds, _ = program(b"+%d\n" % groups[0].leader)
    assert groups[0].ended_by() == signal.SIGKILL
    assert reaper_program.GRACE <= seconds < 2 * reaper_program.GRACE


def test_a_group_that_was_taken_back_is_left_alone(groups: list[Group]) -> None:
    groups.extend([Group("echo"), Group("echo")])
    program(b"+%d\n+%d\n-%d\n" % (groups[0].leader, groups[1].leader, groups[0].leader))
    assert groups[1].ended_by() == signal.SIGTERM
    assert groups[0].runs


def test_nothing_left_means_to_leave_at_once() -> None:
    for notes in (b"", b"+999999999\n-999999999\n"):
        seconds, code = program(notes)
        assert code == 0
        assert seconds < reaper_program.GRACE


@linux_only
def test_a_pid_that_is_another_process_by_now_is_left_alone(groups: list[Group]) -> None:
    groups.append(Group("echo"))
    born = reaper_program.birth(groups[0].leader)
    assert born is not None
    for other in (b"1", None):  # born at another time; or the leader was gone before anybody could look
        reaper_program.end({groups[0].leader: other})
    assert groups[0].runs
    reaper_program.end({groups[0].leader: born})
    assert groups[0].ended_by() == signal.SIGTERM


SERVER = """
import subprocess, sys, time
from server_stub import reaper
with reaper.watching():
    reaper.note_started(999_999_999)
    print(reaper._current._process.pid, flush=True)
    sys.stdin.readline()
    def spawn():
        one = subprocess.Popen({command!r}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        print(one.pid, flush=True)
        time.sleep(60)
    reaper._current.spawned(spawn)
"""
"""A server that is slow to tell of the child that it has spawned."""


@linux_only
def test_a_child_that_was_spawned_and_not_told_of_yet_is_ended() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(command=child("stubborn"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    watcher = psutil.Process(int(server.stdout.readline()))
    until_ready(watcher)
    bystander = subprocess.Popen(
        child("deaf"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    server.stdin.write(b"now\n")
    server.stdin.flush()
    one = psutil.Process(int(server.stdout.readline()))
    server.kill()
    server.communicate()
    try:
        assert psutil.wait_procs([one, watcher], SECONDS)[1] == []
        assert bystander.poll() is None, "it is a child of somebody"
    finally:
        bystander.kill()
        bystander.communicate()


# --- What tells it ---------------------------------------------------------------------------------------------------


def test_without_anybody_watching_the_notes_do_nothing() -> None:
    reaper.note_started(1)
    reaper.note_ended(1)
    assert the_reaper() is None


def test_nothing_is_started_for_a_server_without_children() -> None:
    with reaper.watching():
        reaper.note_ended(1)
        assert the_reaper() is None


def test_servers_of_one_process_share_one_which_leaves_with_the_last() -> None:
    with reaper.watching():
        with reaper.watching():
            reaper.note_started(999_999_999)
            first = running_reaper()
        assert running_reaper() == first
        reaper.note_ended(999_999_999)
    assert the_reaper() is None


@linux_only
def test_it_stands_apart_and_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, groups: list[Group]) -> None:
    monkeypatch.setenv("MCP_AUTH_TOKEN", "a secret")
    with reaper.watching():
        groups.append(Group("echo"))
        reaper.note_started(groups[0].leader)
        process = running_reaper()
        until_ready(process)
        assert os.getsid(process.pid) == process.pid
        assert "MCP_AUTH_TOKEN" not in process.environ()
        assert process.cwd() == "/"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            process.send_signal(number)
        assert process.memory_info().rss < 16_000_000
    assert groups[0].ended_by() == signal.SIGTERM  # it did its work in spite of all signals


@linux_only
async def test_no_child_inherits_the_writing_end() -> None:
    with reaper.watching():
        reaper.note_started(999_999_999)
        pipe = os.readlink(f"/proc/{running_reaper().pid}/fd/0")
        one = await Child.start(ServerSpec(child("echo")))
        try:
            held, ours = pipes_of(one.pid), pipes_of(os.getpid())
        finally:
            await one.stop()
        assert pipe not in held
        assert pipe in ours
        reaper.note_ended(999_999_999)


async def test_a_child_is_noted_and_taken_back() -> None:
    with reaper.watching():
        one = await Child.start(ServerSpec(child("echo")))
        process = running_reaper()
        await one.stop()
        started = time.monotonic()
    assert not process.is_running()
    assert time.monotonic() - started < reaper_program.GRACE / 2  # it had nothing left to do


class Slow:
    """A loop on which no pipe of a child gets connected until `gate` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = asyncio.Event()
        loop = asyncio.get_running_loop()
        connect = loop.connect_write_pipe

        async def later(*arguments: Any) -> Any:
            await self.gate.wait()
            return await connect(*arguments)

        monkeypatch.setattr(loop, "connect_write_pipe", later)


def noted() -> set[int]:
    return set() if reaper._current is None else set(reaper._current._living)


def children_but_the_reaper() -> list[psutil.Process]:
    reaper_ = the_reaper()
    return [one for one in psutil.Process().children(recursive=True) if one != reaper_] if reaper_ else []


@linux_only
async def test_a_child_is_noted_before_its_pipes_are_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    with reaper.watching():
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(Child.start(ServerSpec(child("echo"))))
            await eventually(lambda: bool(children_but_the_reaper()), "a child")
            leader = children_but_the_reaper()[0].pid
            told = noted()
            slow.gate.set()
        assert told == {leader}
        await starting.result().stop()
        assert noted() == set()


@linux_only
async def test_a_start_that_is_cancelled_leaves_nothing_of_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    with reaper.watching():
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(Child.start(ServerSpec(child("parent", "stubborn"))))
            await eventually(lambda: len(children_but_the_reaper()) >= 2, "a child and its child")
            family = children_but_the_reaper()
            starting.cancel()
            slow.gate.set()
        assert psutil.wait_procs(family, SECONDS)[1] == []
        assert noted() == set()


async def test_a_child_that_ended_by_itself_is_taken_back() -> None:
    with reaper.watching():
        one = await Child.start(ServerSpec((sys.executable, "-I", "-S", "-c", "")))

        async def ignore(_message: object) -> None: ...

        async with asyncio.timeout(SECONDS):
            await one.run(ignore)
        started = time.monotonic()
    assert time.monotonic() - started < reaper_program.GRACE / 2


def test_a_reaper_that_was_killed_is_replaced_at_once_and_told_of_all(
    groups: list[Group], caplog: pytest.LogCaptureFixture
) -> None:
    groups.extend([Group("echo"), Group("echo")])
    with caplog.at_level(logging.WARNING, "server_stub.reaper"), reaper.watching():
        for group in groups:
            reaper.note_started(group.leader)
        first = running_reaper()
        first.kill()
        until(lambda: the_reaper() not in (None, first))
        assert "another one is started" in caplog.text
    assert [group.ended_by() for group in groups] == [signal.SIGTERM] * 2


def test_a_reaper_that_ends_at_once_is_not_started_again_and_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken, marks = tmp_path / "reaper_program.py", tmp_path / "marks"
    broken.write_text(f"open({str(marks)!r}, 'a').write('x')\n", encoding="utf-8")
    monkeypatch.setattr(reaper, "_PROGRAM", broken)
    with reaper.watching():
        reaper.note_started(999_999_999)
        while threads := [thread for thread in threading.enumerate() if thread.name == "reaper"]:
            threads[0].join(SECONDS)
        assert 1 < len(marks.read_text(encoding="utf-8")) <= 1 + reaper._MOST_SHORT_LIVES
        reaper.note_ended(999_999_999)


def test_a_reaper_that_does_not_read_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    with reaper.watching():
        reaper.note_started(999_999_999)
        first = running_reaper()
        first.suspend()
        with caplog.at_level(logging.WARNING, "server_stub.reaper"):
            for number in range(3_000):  # 78 kB; a pipe holds 64
                reaper.note_started(1_000_000_000 + number)
                reaper.note_ended(1_000_000_000 + number)
        assert "another one is started" in caplog.text
        assert not first.is_running()
        reaper.note_ended(999_999_999)


def test_where_none_can_be_started_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING, "server_stub.reaper"), reaper.watching():
        reaper.note_started(999_999_999)
        reaper.note_ended(999_999_999)
    assert "Children may outlive a server that is killed" in caplog.text
