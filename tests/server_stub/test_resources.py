"""The watch over what children use: real process trees, and the rhythm with looks in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import psutil
import pytest

from server_stub import resources
from server_stub.core.roster import Care, Command, Manners, Member
from server_stub.core.usage import MEGABYTE, Look, Process, Thresholds
from server_stub.core.vitals import Running, State, Vitals
from server_stub.resources import Resources, Rhythm, look_at, resources_of
from tests.server_stub.endpoints.test_operators import Played, PlayedFleet

FAST = Rhythm(every=0.01, summary=0.02, apart=0.0, fresh=60.0)

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
BIG = "import sys; held = bytearray(64 * 1024 * 1024); print(1, flush=True); sys.stdin.read()"
BUSY = "print(1, flush=True)\nwhile True: pass"


@contextmanager
def tree(grandchild: str) -> Iterator[tuple[int, int]]:
    """A process, in a group of its own as children are, that started another one. Yields both process ids."""
    words = [sys.executable, "-c", PARENT, grandchild]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        started = int(process.stdout.readline())
        try:
            yield process.pid, started
        finally:
            for pid in (started, process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()


class Looks:
    """What a look finds, as the test says: sizes in MB and seconds of processor time by process id."""

    def __init__(self, **_: object) -> None:
        self.sizes: dict[int, float] = {}
        self.cpu: dict[int, float] = {}
        self.count = 0
        self.trouble: Exception | None = None
        self.threads: set[int] = set()

    def __call__(self, roots: Iterable[int]) -> Look:
        self.count += 1
        self.threads.add(threading.get_ident())
        if self.trouble is not None:
            raise self.trouble
        trees = {
            pid: (Process(pid, 1, pid, 0.0, self.cpu.get(pid, 0.0), int(self.sizes[pid] * MEGABYTE), 0),)
            for pid in roots
            if pid in self.sizes
        }
        return Look(float(self.count), trees)


@asynccontextmanager
async def running(watch: Resources) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for happens in threads and logs
            await asyncio.sleep(0.005)


# --- Real processes --------------------------------------------------------------------------------------------------


def test_a_child_counts_with_what_it_started() -> None:
    with tree(BIG) as (root, grandchild):
        found = look_at([root]).trees[root]
    assert {process.pid for process in found} == {root, grandchild}
    assert sum(process.resident for process in found) > 64 * MEGABYTE
    assert all(process.virtual >= process.resident > 0 for process in found)


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_what_lost_its_parent_is_still_counted() -> None:
    with tree(BIG) as (root, grandchild):
        parent = psutil.Process(root)
        parent.kill()
        parent.wait(10)
        found = look_at([root]).trees[root]
        assert grandchild in {process.pid for process in found}


def test_processes_that_do_not_exist_are_no_error() -> None:
    assert look_at([2**22 + 1]).trees == {2**22 + 1: ()}
    assert look_at([]).trees == {}


def test_a_process_that_ends_while_it_is_looked_at_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(pid: int) -> psutil.Process:
        process = psutil.Process(pid)
        process.kill()
        process.wait(10)
        return process

    def before_the_first_question() -> Iterator[psutil.Process]:
        yield end(root)

    def before_the_second_question() -> Iterator[psutil.Process]:
        yield psutil.Process(root)
        end(root)

    for listed in (before_the_first_question, before_the_second_question):
        with tree(BIG) as (root, _), monkeypatch.context() as patch:
            patch.setattr(psutil, "process_iter", listed)
            assert look_at([root]).trees == {root: ()}


async def test_an_answer_has_processor_time_though_nobody_looked_before() -> None:
    with tree(BUSY) as (root, _):
        watch = Resources(lambda: {"busy": (root,)})
        (usage,) = await watch.now()
    assert usage.cpu is not None
    assert usage.cpu > 0


async def test_the_event_loop_goes_on_during_a_look() -> None:
    looks = Looks()
    looks.sizes = {7: 1.0}
    await Resources(lambda: {"m": (7,)}, look=looks, rhythm=FAST).sample()
    assert threading.get_ident() not in looks.threads


# --- Answers ---------------------------------------------------------------------------------------------------------


async def test_who_asks_twice_within_a_second_gets_the_same_answer() -> None:
    looks = Looks()
    looks.sizes = {7: 1.0}
    children = {"m": (7,)}
    watch = Resources(lambda: children, look=looks, rhythm=FAST._replace(fresh=1e12))
    assert (await watch.now())[0].pid == 7
    assert looks.count == 2, "processor time needs two"
    await watch.now()
    assert looks.count == 2
    looks.sizes[8] = 1.0
    children["n"] = (8,)
    assert [usage.pid for usage in await watch.now()] == [7, 8], "a child that is new is looked at"


async def test_without_psutil_there_is_a_note_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resources, "find_spec", lambda _: None)
    watch = Resources(lambda: {"m": (7,)})
    assert await watch.now() == ()
    assert watch.note is not None
    await asyncio.wait_for(watch.run(), 5)
    assert "psutil is not installed" in caplog.text


def test_psutil_is_not_loaded_before_the_first_look() -> None:
    code = "import sys, server_stub.resources as r; r.Resources(dict); sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- The rhythm ------------------------------------------------------------------------------------------------------


async def test_alerts_come_once_for_each_crossing(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    looks.sizes = {7: 600.0, 8: 10.0}
    watch = Resources(lambda: {"big": (7,), "small": (8,)}, look=looks, rhythm=FAST)
    async with running(watch):
        await until(lambda: looks.count > 4)
        assert caplog.text.count("more than 500 MB") == 1
        looks.sizes[7] = 10.0
        seen = looks.count
        await until(lambda: looks.count > seen + 2)
        looks.sizes[7] = 700.0
        await until(lambda: "uses 700 MB" in caplog.text)
    alerts = [record for record in caplog.records if "more than" in record.getMessage()]
    assert [record.levelname for record in alerts] == ["WARNING", "WARNING"]


async def test_alerts_have_numbers_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    looks.sizes = {7: 20.0}
    watch = Resources(lambda: {"m": (7,)}, look=looks, rhythm=FAST, thresholds=Thresholds(10 * MEGABYTE, 50.0))
    await watch.sample()
    assert "more than 10 MB" in caplog.text
    looks.cpu[7] = 0.6
    await watch.sample()
    assert "60 % of a processor, more than 50 %" in caplog.text


async def test_a_summary_is_logged_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server_stub.resources")
    looks = Looks()
    looks.sizes = {7: 20.0}
    watch = Resources(lambda: {"m": (7,)}, look=looks, rhythm=FAST._replace(every=0.01, summary=0.05))
    async with running(watch):
        await until(lambda: caplog.text.count("resources: 1 children, 20 MB") >= 2)
    assert caplog.text.count("resources:") < looks.count, "not at every look"


async def test_a_look_that_failed_is_told_and_the_next_one_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    looks.trouble = RuntimeError("the system would not say")
    async with running(Resources(lambda: {"m": (7,)}, look=looks, rhythm=FAST)):
        await until(lambda: looks.count > 1)
        assert "could not be looked at" in caplog.text
        looks.trouble, looks.sizes = None, {7: 600.0}
        await until(lambda: "more than 500 MB" in caplog.text)


async def test_a_child_above_its_limit_is_ended_and_its_neighbours_are_not(caplog: pytest.LogCaptureFixture) -> None:
    looks = Looks()
    looks.sizes = {7: 301.0, 8: 300.0, 9: 4000.0}
    ended: list[tuple[str, int, int]] = []
    watch = Resources(
        lambda: {"a": (7, 8), "free": (9,)},
        lambda: {"a": 300 * MEGABYTE},
        lambda name, pid, size: ended.append((name, pid, size)),
        look=looks,
        rhythm=FAST,
    )
    await watch.sample()
    assert ended == [("a", 7, 301 * MEGABYTE)]
    (record,) = [record for record in caplog.records if record.name == "server_stub.members.a"]
    assert record.getMessage() == "a: pid 7 uses 301 MB of memory, and may use 300 MB (memoryLimit): it is ended"


@pytest.mark.parametrize(("limited", "is_watched"), [("a", True), ("other", False)])
async def test_children_with_a_limit_are_looked_at_more_often(limited: str, is_watched: bool) -> None:
    looks = Looks()
    rhythm = FAST._replace(every=60.0, limited=0.01)
    async with running(
        Resources(lambda: {"a": (7,), "other": ()}, lambda: {limited: MEGABYTE}, look=looks, rhythm=rhythm)
    ):
        await until(lambda: looks.count >= (3 if is_watched else 1))
        await asyncio.sleep(0.05)
        assert is_watched or looks.count == 1


async def test_a_fleets_limits_are_those_of_its_members() -> None:
    with tree(BIG) as (root, _):
        greedy, other = Played("greedy"), Played("other")
        greedy.member = Member("greedy", Command(("x",)), Manners(care=Care(memory=32 * MEGABYTE)))
        for played in (greedy, other):
            played.now = Vitals(State.READY, (Running(root, 1.0, 1), Running(None, 1.0, 0)))
        await resources_of(PlayedFleet(greedy, other)).sample()
    ((pid, why),) = greedy.ended
    assert pid == root
    assert "may use 32 MB (memoryLimit)" in why
    assert other.ended == []
