"""No child outlives the server, however it ends; and two thousand sessions leave nothing behind.

Every server here runs children like those of `npx`: with children of their own, one of which ignores SIGTERM, and which
go on after the end of their stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from tests.server_stub.links import initialize
from tests.support.children import child
from tests.support.host import clean_environment, script
from tests.support.server_children import children_of, is_reaper, still_running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")

HEADERS = {"Accept": "application/json, text/event-stream"}
FAMILY = (*child("family"), "deaf")
OF_A_FAMILY = 6
"""The child, the one that ignores SIGTERM, a shell, two that sleep, and one that sleeps in a session of its own."""
WIRES = 3
GONE_SECONDS = 10.0
"""SIGTERM, two seconds, SIGKILL, and much room for a machine that is busy."""
STOP_SECONDS = 25.0
"""A stop takes nine seconds at most where there is a processor for it; the same room."""
LAUNCHER = """
import signal, sys
from server_stub.cli import main

def crash(number, frame):
    raise SystemExit("a defect")  # the loop itself ends with it; any other it may only log

signal.signal(signal.SIGUSR1, crash)
sys.exit(main(sys.argv[1:]))
"""
"""The console script, with a defect that a signal brings about."""


class Running(NamedTuple):
    """A server of ours as a process."""

    process: psutil.Process
    origin: str


@contextlib.asynccontextmanager
async def server(*command: str, options: tuple[str, ...] = (), fragile: bool = False) -> AsyncIterator[Running]:
    """Run it with this command as the child of each session; without one, with the options alone."""
    program = (sys.executable, "-c", LAUNCHER) if fragile else (script("mcp-remote-server"),)
    what = ("--stdio", *options, "--", *command) if command else options
    process = await asyncio.create_subprocess_exec(
        *program, "--port", "0", "--log-level", "error", *what,
        stderr=asyncio.subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    assert process.stderr is not None
    found = re.search(rb"listening on (http://\S+)", await process.stderr.readline())
    assert found is not None
    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(process.stderr.read())  # or a server that complains would be stuck
            yield Running(psutil.Process(process.pid), found.group(1).decode())
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await reading
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def sessions_on_every_wire(origin: str) -> AsyncIterator[None]:
    """Open a session over each wire, and keep it."""
    ends = (httpx.HTTPError, OSError)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=20))
        assert (await client.post(f"{origin}/mcp", json=initialize(), headers=HEADERS)).status_code == 200
        socket = await stack.enter_async_context(connect(origin.replace("http", "ws") + "/ws", proxy=None))
        await socket.send(json.dumps(initialize()))
        await socket.recv()
        with contextlib.suppress(*ends):  # how it ends is the business of whoever uses this
            async with client.stream("GET", f"{origin}/sse", headers=HEADERS) as stream:
                lines = stream.aiter_lines()
                await _over_sse(client, origin, lines)
                yield


async def _over_sse(client: httpx.AsyncClient, origin: str, lines: AsyncIterator[str]) -> None:
    async for line in lines:
        if line.startswith("data: /"):
            posted = await client.post(str(httpx.URL(origin).join(line.removeprefix("data: "))), json=initialize())
            assert posted.status_code == 202
        elif line.startswith("data: {"):
            return


async def all_gone(processes: list[psutil.Process], seconds: float) -> None:
    """Wait until they have ended, and clear away those that have not."""
    deadline = time.monotonic() + seconds
    while left := still_running(processes):
        if time.monotonic() > deadline:
            names = [" ".join(one.cmdline()) for one in left]
            for one in left:
                one.kill()
            raise AssertionError(f"left behind: {names}")
        await asyncio.sleep(0.02)


def killed(process: psutil.Process) -> None:
    process.kill()


def crashed_hard(process: psutil.Process) -> None:
    process.send_signal(signal.SIGSEGV)


def crashed_by_an_exception(process: psutil.Process) -> None:
    process.send_signal(signal.SIGUSR1)


def asked_to_stop(process: psutil.Process) -> None:
    process.terminate()


def asked_twice(process: psutil.Process) -> None:
    process.terminate()
    time.sleep(0.3)
    process.terminate()


SLOW = pytest.mark.slow
ENDINGS = [
    pytest.param(killed, 5.0, id="SIGKILL"),
    pytest.param(crashed_hard, 5.0, id="SIGSEGV", marks=SLOW),
    pytest.param(crashed_by_an_exception, STOP_SECONDS, id="exception", marks=SLOW),
    pytest.param(asked_to_stop, STOP_SECONDS, id="SIGTERM", marks=SLOW),
    pytest.param(asked_twice, 5.0, id="SIGTERM twice", marks=SLOW),
]
"""How the server ends, and how long it may take itself."""


@pytest.mark.parametrize(("ends", "seconds"), ENDINGS)
async def test_no_child_outlives_the_server(ends: Callable[[psutil.Process], None], seconds: float) -> None:
    fragile = ends is crashed_by_an_exception
    async with server(*FAMILY, fragile=fragile) as (process, origin), sessions_on_every_wire(origin):
        family = children_of(process)
        assert len(family) == WIRES * OF_A_FAMILY
        everybody = process.children(recursive=True)
        assert [one for one in everybody if is_reaper(one)]
        await asyncio.to_thread(ends, process)
        await all_gone([process], seconds)
        await all_gone(everybody, GONE_SECONDS)


@pytest.mark.slow
async def test_the_end_of_the_reaper_itself_is_mended_before_the_server_ends() -> None:
    async with server(*FAMILY) as (process, origin), sessions_on_every_wire(origin):
        everybody = process.children(recursive=True)
        first = next(one for one in everybody if is_reaper(one))
        first.kill()
        async with asyncio.timeout(5):
            while not [one for one in process.children() if is_reaper(one) and one != first]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.kill()
        await all_gone(everybody, GONE_SECONDS)


@pytest.mark.slow
async def test_a_signal_to_everything_that_runs_here_leaves_nothing() -> None:
    """A service manager may signal all processes of a service at once, the reaper too."""
    async with server(*FAMILY) as (process, origin), sessions_on_every_wire(origin):
        everybody = [process, *process.children(recursive=True)]
        for one in everybody:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        await all_gone(everybody, STOP_SECONDS + GONE_SECONDS)


async def test_a_session_that_ended_is_none_of_the_reapers_business() -> None:
    async with server(*child("echo")) as (process, origin):
        async with sessions_on_every_wire(origin):
            children = children_of(process)
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{origin}/health")).status_code == 200
        process.terminate()
        await all_gone([process, *children, *process.children(recursive=True)], STOP_SECONDS)


async def test_no_member_of_a_file_outlives_the_server(tmp_path: Path) -> None:
    program, *arguments = FAMILY
    one = {"command": program, "args": arguments}
    shared = {**one, "share": "shared", "start": "eager"}
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"own": one, "shared": shared}}), encoding="utf-8")
    async with (
        server(options=("--config", str(file))) as (process, origin),
        sessions_on_every_wire(origin + "/own"),
        sessions_on_every_wire(origin + "/shared"),
    ):
        assert len(children_of(process)) == (WIRES + 1) * OF_A_FAMILY
        everybody = process.children(recursive=True)
        process.kill()
        await all_gone(everybody, GONE_SECONDS)


MEMBERS = 3
MOMENTS = (0.05, 0.2, 0.35, None)
"""Seconds between the change of the file and the kill; None: as soon as one of the new children is there."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of children that were just spawned")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_no_child_outlives_a_server_that_is_killed_in_the_middle_of_a_reload(
    moment: float | None, tmp_path: Path
) -> None:
    program, *arguments = FAMILY
    file, fresh = tmp_path / "servers.json", tmp_path / "fresh"

    def write(turn: int) -> None:
        environment = {"MARK": str(tmp_path), "TURN": str(turn)}
        one = {"command": program, "args": arguments, "start": "eager", "share": "shared", "env": environment}
        document = {"mcpServers": {f"member-{number}": one for number in range(MEMBERS)}}
        fresh.write_text(json.dumps(document), encoding="utf-8")
        fresh.replace(file)

    write(0)
    async with server(options=("--config", str(file))) as (process, _):
        async with asyncio.timeout(20):
            while len(children_of(process)) < MEMBERS * OF_A_FAMILY:  # noqa: ASYNC110  (there is no event)
                await asyncio.sleep(0.05)
        before = _spawned_by(process)
        write(1)
        deadline = time.monotonic() + (10.0 if moment is None else moment)
        while time.monotonic() < deadline and (moment is not None or _spawned_by(process) <= before):
            pass  # whoever sleeps comes too late
        process.kill()
        await all_gone(_marked(str(tmp_path)), GONE_SECONDS)
        await all_gone(_marked(str(tmp_path)), 0)


def _spawned_by(process: psutil.Process) -> set[str]:
    return set(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split())


def _marked(mark: str) -> list[psutil.Process]:
    """Return all processes of this machine that inherited this mark."""
    return [one for one in psutil.process_iter() if _environment(one).get("MARK") == mark]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


NODE = """
const {spawn} = require('child_process');
process.on('SIGTERM', () => {});
if (process.argv[1] === 'inner') { setInterval(() => {}, 1000); } else {
  spawn(process.execPath, ['-e', process.env.SELF, 'inner'], {stdio: 'ignore', env: process.env});
  require('readline').createInterface({input: process.stdin}).on('line', line => {
    const message = JSON.parse(line);
    if (message.id !== undefined) console.log(JSON.stringify({jsonrpc: '2.0', id: message.id, result: message.params}));
  });
  setInterval(() => {}, 1000);
}
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("node") is None and os.environ.get("CI") != "true", reason="node is not installed, and need not be"
)
async def test_no_node_is_left_when_the_server_is_killed() -> None:
    options = ("--env", f"SELF={NODE}")
    async with server("node", "-e", NODE, options=options) as (process, origin), sessions_on_every_wire(origin):
        everybody = process.children(recursive=True)
        nodes = [one for one in everybody if one.name() == "node"]
        assert len(nodes) == WIRES * 2
        process.kill()
        await all_gone(everybody, GONE_SECONDS)


# --- Two thousand sessions -------------------------------------------------------------------------------------------

TINY = (
    "read -r line; "
    'echo \'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},'
    '"serverInfo":{"name":"tiny","version":"0"}}}\'; '
    "while read -r line; do :; done"
)
"""An MCP server that costs a millisecond."""
SESSIONS = 2000
AT_ONCE = 8
MOST_GROWTH = 6_000_000


async def _by_post(client: httpx.AsyncClient, origin: str) -> None:
    answer = await client.post(f"{origin}/mcp", json=initialize(), headers=HEADERS)
    assert answer.status_code == 200
    session = {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
    assert (await client.delete(f"{origin}/mcp", headers=session)).status_code == 204


async def _by_stream(client: httpx.AsyncClient, origin: str) -> None:
    async with client.stream("GET", f"{origin}/sse", headers=HEADERS) as stream:
        await _over_sse(client, origin, stream.aiter_lines())


async def _by_socket(client: httpx.AsyncClient, origin: str) -> None:
    del client
    async with connect(origin.replace("http", "ws") + "/ws", proxy=None) as socket:
        await socket.send(json.dumps(initialize()))
        await socket.recv()


async def _open_and_close(origin: str, count: int) -> None:
    """Open and close so many sessions, some side by side, over the three wires in turn."""
    ways = (_by_post, _by_stream, _by_socket)
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await ways[number % len(ways)](client, origin)

    async with httpx.AsyncClient(trust_env=False, timeout=30) as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


async def _settled(process: psutil.Process) -> tuple[int, int]:
    """Wait until no child is left; return memory and descriptors."""
    await all_gone(children_of(process), 15)
    await asyncio.sleep(0.3)  # the last sockets are closed
    assert [one for one in process.children(recursive=True) if not is_reaper(one)] == []
    return process.memory_info().rss, process.num_fds()


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_thousand_sessions_leave_nothing() -> None:
    async with server("sh", "-c", TINY) as (process, origin):
        await _open_and_close(origin, 300)
        reapers = [one for one in process.children() if is_reaper(one)]
        memory, descriptors = await _settled(process)
        reaper_memory = reapers[0].memory_info().rss
        await _open_and_close(origin, SESSIONS)
        memory_after, descriptors_after = await _settled(process)
        assert descriptors_after <= descriptors, (descriptors, descriptors_after)
        assert memory_after - memory <= MOST_GROWTH, (memory, memory_after)
        assert [one for one in process.children() if is_reaper(one)] == reapers
        assert reapers[0].memory_info().rss - reaper_memory < 500_000
