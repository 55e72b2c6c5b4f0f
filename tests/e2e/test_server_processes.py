"""The server as a process: what is left after two hundred clients, and after a signal with calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from tests.server_stub.links import initialize
from tests.support.host import clean_environment, script
from tests.support.server_children import children_of

ECHO = Path(__file__).parent.parent / "support" / "children" / "echo.py"
HEADERS = {"Accept": "application/json, text/event-stream"}


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[tuple[psutil.Process, str]]:
    """Run the real server with a child per session; yields its process and origin."""
    process = await asyncio.create_subprocess_exec(
        script("mcp-remote-server"), "--stdio", "--port", "0", "--log-level", "error", "--", sys.executable, str(ECHO),
        stderr=asyncio.subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    assert process.stderr is not None
    found = re.search(rb"listening on (http://\S+)", await process.stderr.readline())
    assert found is not None
    try:
        yield psutil.Process(process.pid), found.group(1).decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def nothing_left(process: psutil.Process) -> None:
    _, alive = await asyncio.to_thread(psutil.wait_procs, children_of(process), 15)
    assert not alive


async def over_http(client: httpx.AsyncClient, origin: str) -> None:
    answer = await client.post(f"{origin}/mcp", json=initialize(), headers=HEADERS)
    assert answer.status_code == 200
    session = {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
    assert (await client.delete(f"{origin}/mcp", headers=session)).status_code == 204


async def over_websocket(origin: str) -> None:
    async with connect(origin.replace("http", "ws") + "/ws", proxy=None) as socket:
        await socket.send(httpx.Request("POST", origin, json=initialize()).content.decode())
        await socket.recv()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_hundred_connects_and_disconnects_leave_nothing() -> None:
    async with server() as (process, origin), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(5):
            await over_http(client, origin)
            await over_websocket(origin)
        await nothing_left(process)
        descriptors, memory = process.num_fds(), process.memory_info().rss
        for _ in range(100):
            await over_http(client, origin)
            await over_websocket(origin)
        await nothing_left(process)
        assert process.num_fds() <= descriptors + 2
        assert process.memory_info().rss - memory < 8_000_000


async def test_a_signal_stops_the_server_and_its_children() -> None:
    async with server() as (process, origin), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(3):
            assert (await client.post(f"{origin}/mcp", json=initialize(), headers=HEADERS)).status_code == 200
        children = children_of(process)
        assert len(children) == 3
        process.send_signal(signal.SIGTERM)
        gone, alive = await asyncio.to_thread(psutil.wait_procs, [process, *children], 9)
        assert not alive
        assert len(gone) == 4
