"""Members that misbehave in every way, while a session of a good one measures that nothing reaches it.

What is measured is the time of its calls: a bad neighbour may cost processor time, but never an answer.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from mcp_remote_py.core.errors import BackendDown
from server_stub.core.roster import Care, Share
from server_stub.core.vitals import State
from tests.server_stub.backends.members import QUICK, Hosted, Session, hosted
from tests.server_stub.links import eventually, within

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups of POSIX")

BOUND = 2.0
"""Seconds that a call of the good one may take beside a bad one, on a machine that does other things, too."""
SHORT = Care(initialize=0.5, ping_every=0.1, ping_failures=2, restarts=1, window=60.0)


@asynccontextmanager
async def watched_neighbour() -> AsyncIterator[None]:
    """Calls a good member without a pause; every call must be answered, and soon."""
    times: list[float] = []

    async def call(session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            assert await session.call("echo", x=before) == {"x": before}
            times.append(loop.time() - before)
            await asyncio.sleep(0.01)

    async with hosted() as good:
        session = await good.session()
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call(session))
            await eventually(lambda: bool(times), "a first call")
            try:
                yield
                count = len(times)
                await eventually(lambda: len(times) >= count + 3, "calls afterwards")
            finally:
                calling.cancel()
        assert max(times) < BOUND
        assert good.supervised.vitals().state is State.READY


@pytest.mark.parametrize("share", ["session", "principal", "shared"])
@pytest.mark.parametrize(
    ("habit", "text"),
    [("exit", "status 3"), ("mute", "did not answer initialize"), ("no such program", "command not found")],
)
async def test_children_that_do_not_start_fail_their_member_alone(share: Share, habit: str, text: str) -> None:
    command = ("no-such-command-here",) if habit == "no such program" else None
    async with watched_neighbour(), hosted(habit, share=share, care=SHORT, command=command) as bad:
        for _ in range(3):
            with pytest.raises(BackendDown, match="github"):
                await within(bad.session())
        assert bad.supervised.vitals().state is State.FAILED
        with pytest.raises(BackendDown, match=text):
            await within(bad.session())


@pytest.mark.parametrize("habit", ["flood", "garbage"])
async def test_children_that_print_without_end_are_read_and_held_back(
    habit: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with watched_neighbour(), hosted(habit, care=QUICK) as bad:
        session = await bad.session()
        for number in range(20):
            assert await within(session.call("echo", x=number)) == {"x": number}
    lines = [record for record in caplog.records if record.name == "server_stub.members.github"]
    assert len(lines) < 5000
    assert any("not logged" in record.getMessage() for record in lines)


@pytest.mark.parametrize("share", ["session", "shared"])
async def test_children_that_hang_are_ended(share: Share) -> None:
    async with watched_neighbour(), hosted("hang", share=share, care=SHORT) as bad:
        session = await bad.session()
        pid = bad.supervised.vitals().running[0].pid or 0
        if share == "session":
            assert "pings" in str(await session.ended.settle())
            await session.link.close()
        await eventually(lambda: not psutil.pid_exists(pid), "its end")


async def test_children_that_answer_late_are_waited_for() -> None:
    async with watched_neighbour(), hosted("late", care=SHORT) as bad:
        session = await bad.session()
        assert await session.call("sleep", seconds=1.0) == {"seconds": 1.0}
        assert bad.supervised.vitals().consecutive_fails == 0


async def test_children_that_ignore_every_request_to_leave_are_killed_with_their_group() -> None:
    async with watched_neighbour():
        async with hosted("stubborn", care=QUICK) as bad:
            sessions = [await bad.session() for _ in range(3)]
            pids = [(await session.call("pid"))["pid"] for session in sessions]
        assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("share", ["session", "shared"])
async def test_children_that_crash_in_the_middle_of_a_call_answer_it(share: Share) -> None:
    async with watched_neighbour(), hosted(share=share, care=QUICK._replace(restarts=10)) as bad:
        for _ in range(3):
            session = await bad.session()
            with pytest.raises(BackendDown) as caught:
                await within(session.call("crash"))
            assert caught.value.may_have_run
            await session.link.close()


# --- Nothing is left -------------------------------------------------------------------------------------------------


async def _open_and_close(count: int, share: Share, at_once: int = 8) -> None:
    async with hosted(share=share) as member:
        gate = asyncio.Semaphore(at_once)

        async def one(principal: str) -> None:
            async with gate:
                session = await member.session(principal)
                await session.call("echo", x=principal)
                await session.link.close()

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(f"principal {number % 5}"))
        assert _state_of(member) == (0 if share == "session" else {"principal": 5, "shared": 1}[share])


def _state_of(member: Hosted) -> int:
    return len(member.supervised.vitals().running)


def _descriptors() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize(
    ("count", "share"),
    [
        (200, "shared"),
        (60, "session"),
        pytest.param(200, "session", marks=pytest.mark.slow),
        pytest.param(2000, "session", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(2000, "principal", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
async def test_sessions_that_come_and_go_leave_no_process_descriptor_or_task(count: int, share: Share) -> None:
    await _open_and_close(5, share)
    before, tasks = _descriptors(), len(asyncio.all_tasks())
    await _open_and_close(count, share)
    assert psutil.Process().children(recursive=True) == []
    assert len(asyncio.all_tasks()) == tasks
    assert _descriptors() <= before + 2
