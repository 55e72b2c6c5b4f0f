"""One at a time signs in or renews, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp_remote_py.auth import lease as lease_module
from mcp_remote_py.auth.lease import Lease
from mcp_remote_py.core.errors import SignInNeeded

NAME = "server-1"
HOLD = """
import asyncio, sys
from mcp_remote_py.auth.lease import Lease

async def main():
    async with Lease(sys.argv[1]).held(sys.argv[2], 5):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), NAME], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    child.wait()
    child.stdout.close()


async def test_a_free_lease_is_had_at_once_and_given_back(tmp_path: Path) -> None:
    one, other = Lease(str(tmp_path)), Lease(str(tmp_path))
    for lease in (one, other, one):
        async with lease.held(NAME, 1):
            pass


async def test_leases_of_different_names_do_not_touch(tmp_path: Path) -> None:
    async with Lease(str(tmp_path)).held("server-1", 1), Lease(str(tmp_path)).held("server-2", 1):
        pass


@pytest.mark.parametrize("shared", [True, False])
async def test_two_tasks_are_never_inside_together(tmp_path: Path, shared: bool) -> None:
    leases = [Lease(str(tmp_path))] * 2 if shared else [Lease(str(tmp_path)), Lease(str(tmp_path))]
    inside, most = 0, 0

    async def enter(lease: Lease) -> None:
        nonlocal inside, most
        async with lease.held(NAME, 10):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for lease in leases * 4:
            group.create_task(enter(lease))
    assert most == 1


async def test_one_that_fails_inside_gives_it_back(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path))
    with pytest.raises(RuntimeError):
        async with lease.held(NAME, 1):
            raise RuntimeError
    async with Lease(str(tmp_path)).held(NAME, 1):
        pass


async def test_a_hanging_holder_is_named_when_the_time_is_up(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    with pytest.raises(SignInNeeded) as caught:
        async with Lease(str(tmp_path)).held(NAME, 0.3):
            pytest.fail("it is somebody else's")
    assert 0.25 < time.monotonic() - began < 5
    assert f"process {holder.pid}," in str(caught.value)
    assert "--auth-timeout" in caught.value.hint
    assert caught.value.may_have_run is False


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
async def test_the_lease_of_a_stopped_process_is_not_taken_from_it(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(SignInNeeded):
        async with Lease(str(tmp_path)).held(NAME, 0.2):
            pytest.fail("it may go on")


async def test_whoever_waits_gets_the_lease_of_a_process_that_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    entered = asyncio.Event()

    async def wait() -> None:
        async with Lease(str(tmp_path)).held(NAME, 20):
            entered.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(wait())
        await asyncio.sleep(0.1)
        assert not entered.is_set()
        holder.kill()
        async with asyncio.timeout(5):
            await entered.wait()


async def test_the_loop_goes_on_while_a_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, tries = threading.Event(), lease_module._try

    def slowly(path: str) -> int:
        assert let_go.wait(20)
        return tries(path)

    monkeypatch.setattr(lease_module, "_try", slowly)

    async def hold() -> None:
        async with Lease(str(tmp_path)).held(NAME, 20):
            pass

    async with asyncio.TaskGroup() as group:
        task = group.create_task(hold())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        let_go.set()


async def test_one_that_is_cancelled_while_it_tries_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, let_go, tries = threading.Event(), threading.Event(), lease_module._try

    def slowly(path: str) -> int:
        began.set()
        assert let_go.wait(20)
        return tries(path)

    monkeypatch.setattr(lease_module, "_try", slowly)

    async def hold() -> None:
        async with Lease(str(tmp_path)).held(NAME, 20):
            pytest.fail("it was cancelled before")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(hold())
        await asyncio.to_thread(began.wait, 20)
        task.cancel()
    let_go.set()
    monkeypatch.setattr(lease_module, "_try", tries)
    async with Lease(str(tmp_path)).held(NAME, 5):
        pass


async def test_one_that_is_cancelled_while_it_waits_leaves_the_others_their_turn(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    lease = Lease(str(tmp_path))

    async def hold() -> None:
        async with lease.held(NAME, 20):
            pass

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        holder.kill()
        async with asyncio.timeout(5):
            await asyncio.wait(tasks[1:])
    assert [task.cancelled() for task in tasks] == [True, False, False]


async def test_a_task_of_this_process_that_hangs_is_named(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path))
    async with lease.held(NAME, 1):
        with pytest.raises(SignInNeeded, match="This process is signing in"):
            async with lease.held(NAME, 0.05):
                pytest.fail("it is held")


async def test_a_disk_without_locks_is_said_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(fd: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lease_module, "lock", no_locks)
    async with Lease(str(tmp_path)).held(NAME, 1):
        assert "cannot be locked" in caplog.text


async def test_a_home_that_cannot_be_made_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "home").write_text("")
    async with Lease(str(tmp_path / "home")).held(NAME, 1):
        assert "cannot be locked" in caplog.text


async def test_without_a_home_there_is_nobody_to_wait_for() -> None:
    lease = Lease("")
    async with lease.held(NAME, 1):
        with pytest.raises(SignInNeeded):
            async with lease.held(NAME, 0.05):
                pytest.fail("it is held")


async def test_a_holder_that_left_no_name_is_just_another_process(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (tmp_path / "auth" / f"{NAME}.lease").write_text("[")
    with pytest.raises(SignInNeeded, match="Another process is signing in"):
        async with Lease(str(tmp_path)).held(NAME, 0.1):
            pytest.fail("it is held")
