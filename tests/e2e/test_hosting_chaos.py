"""Servers that misbehave in every way beside servers that do not: what the good ones' clients notice is nothing."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

from tests.server_stub.links import initialize
from tests.server_stub.mcp_client import McpClient
from tests.support.hosted import HostedServer, hosted, message_in, named
from tests.support.server_children import children_of, still_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WILD = Path(__file__).parent.parent / "support" / "children" / "hosted.py"
GOOD = ("good-own", "good-shared", "good-principal")
WORST_SECONDS = 10.0
"""A call of a good server that took longer has met somebody else's trouble; a busy machine alone needs far less."""
INITIALIZE = initialize()
CHAOS_SECONDS = 10.0
RELOADS = 8


def wild(*habits: str, **more: Any) -> dict[str, Any]:
    """Return the entry of a server with these habits."""
    return {"command": sys.executable, "args": ["-I", "-S", str(WILD), *habits], **more}


def good() -> dict[str, Any]:
    shares = ("session", "shared", "principal")
    return {name: named(name, "whoami", share=share) for name, share in zip(GOOD, shares, strict=True)}


TROUBLES: dict[str, dict[str, Any]] = {
    "exit": wild("exit"),
    "missing": {"command": "there-is-no-such-program"},
    "mute": wild("mute", initializeTimeout="1s"),
    "hang": wild("hang", pingInterval="1s", pingFailures=2),
    "flood": wild("flood"),
    "garbage": wild("garbage"),
    "greedy": named("greedy", "grow", memoryLimit="120MB"),
    "stubborn": wild("stubborn"),
    "late": wild("late"),
    "crash": wild(),
}
"""Each of them once with children of sessions' own, and once shared by all."""


def everybody() -> dict[str, Any]:
    shared = {f"{name}-shared": {**entry, "share": "shared"} for name, entry in TROUBLES.items()}
    return {"mcpServers": {**good(), **TROUBLES, **shared}}


class Ledger:
    """What the clients of good servers saw."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors: list[str] = []

    def __repr__(self) -> str:
        worst = max(self.times, default=0.0)
        return f"{len(self.times)} calls, the worst {worst:.2f} s, {len(self.errors)} errors: {self.errors[:3]}"


async def calls(server: HostedServer, client: McpClient, name: str, ledger: Ledger, stop: asyncio.Event) -> None:
    """Call one good server again and again."""
    for number in itertools.count(10):
        if stop.is_set():
            return
        begin = time.monotonic()
        try:
            answer = await server.call(client, "whoami", number, turn=number)
        except (httpx.HTTPError, TimeoutError) as error:
            ledger.errors.append(f"{name}: {error!r}")
            continue
        ledger.times.append(time.monotonic() - begin)
        if answer.get("name") != name or answer.get("arguments") != {"turn": number}:
            ledger.errors.append(f"{name}: {answer}")
        await asyncio.sleep(0.01)


@asynccontextmanager
async def good_company(server: HostedServer) -> AsyncIterator[Ledger]:
    """Let two clients of each good server call it while the block runs."""
    ledger, stop = Ledger(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for name in (*GOOD, *GOOD):
            client = server.client(f"/{name}/mcp")
            await client.start()
            group.create_task(calls(server, client, name, ledger, stop))
        try:
            yield ledger
        finally:
            stop.set()


class Trouble(NamedTuple):
    """What one visit to a bad server came to: an HTTP status, and the message, if there was one."""

    status: int
    message: dict[str, Any]


async def visit(server: HostedServer, name: str) -> Trouble:
    """Greet a bad server, and call the tool that does the harm; every step of it must be answered."""
    client = server.client(f"/{name}/mcp")
    greeting = await client.post(INITIALIZE)
    if "Mcp-Session-Id" not in greeting.headers:
        return Trouble(greeting.status_code, message_in(greeting))
    client.headers["Mcp-Session-Id"] = greeting.headers["Mcp-Session-Id"]
    tool, arguments = {
        "crash": ("crash", {}), "greedy": ("grow", {"bytes": 200_000_000}), "late": ("sleep", {"seconds": 2}),
        "hang": ("sleep", {"seconds": 0}),
    }.get(name.removesuffix("-shared"), ("pid", {}))  # fmt: skip
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    answer = await client.post(call)
    if not name.startswith("greedy"):  # whose end is to come by the watch over its memory
        await client.delete()
    return Trouble(answer.status_code, message_in(answer))


async def harm(server: HostedServer, name: str, until: float, found: dict[str, list[Trouble]]) -> None:
    while time.monotonic() < until:
        try:
            visited = await visit(server, name)
        except TimeoutError:
            visited = Trouble(0, {"nothing": "was answered"})
        found.setdefault(name, []).append(visited)
        if name.startswith("greedy"):
            return  # whoever has the memory of ten of them has proved nothing more
        await asyncio.sleep(2.0 if name.startswith(("flood", "garbage")) else 0.3)


def of(found: dict[str, list[Trouble]], kind: str) -> list[Trouble]:
    return found[kind] + found[f"{kind}-shared"]


async def test_servers_that_misbehave_reach_nobody_else(tmp_path: Path) -> None:
    found: dict[str, list[Trouble]] = {}
    async with hosted(everybody(), tmp_path, "--log-level", "warning") as server:
        async with good_company(server) as ledger:
            until = time.monotonic() + CHAOS_SECONDS
            async with asyncio.TaskGroup() as group:
                for name in (*TROUBLES, *(f"{name}-shared" for name in TROUBLES)):
                    if not name.startswith("hang"):  # which answers nobody: see the next test
                        group.create_task(harm(server, name, until, found))
        children = children_of(server.system)
    assert not [name for name, visits in found.items() if any(one.status == 0 for one in visits)], found
    assert not ledger.errors, ledger
    assert len(ledger.times) > 50, ledger
    assert max(ledger.times) < WORST_SECONDS, ledger
    for kind in ("exit", "missing", "mute", "crash"):
        assert all("error" in one.message for one in of(found, kind)), found[kind]
    for kind in ("flood", "garbage", "stubborn", "late"):
        assert all("result" in one.message for one in of(found, kind)), of(found, kind)
    assert any("exited with status 3" in str(one.message) for one in of(found, "exit")), found["exit"]
    assert any("command not found" in str(one.message) for one in of(found, "missing")), found["missing"]
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert not still_running(alive)


async def test_a_server_that_answers_no_ping_is_ended_while_others_go_on(tmp_path: Path) -> None:
    servers = {**good(), "hang": TROUBLES["hang"], "hang-shared": {**TROUBLES["hang"], "share": "shared"}}
    async with hosted({"mcpServers": servers}, tmp_path) as server, good_company(server) as ledger:
        for name in ("hang", "hang-shared"):
            await server.client(f"/{name}/mcp").start()
        for name in ("hang", "hang-shared"):
            await server.until_logged(f"{name} did not answer", 30)
    assert not ledger.errors, ledger
    assert max(ledger.times) < WORST_SECONDS, ledger


async def test_a_child_over_its_memory_limit_is_ended_and_named(tmp_path: Path) -> None:
    servers = {**good(), "greedy": TROUBLES["greedy"]}
    async with hosted({"mcpServers": servers}, tmp_path) as server, good_company(server) as ledger:
        client = server.client("/greedy/mcp")
        await client.start()
        await server.call(client, "grow", bytes=300_000_000)
        line = await server.until_logged("memory", 60)
        assert "greedy" in line
        answer = await client.post({"jsonrpc": "2.0", "id": 9, "method": "ping"})
        assert answer.status_code == 404, answer.text
    assert not ledger.errors, ledger


def in_turn(turn: int) -> dict[str, Any]:
    """Return the file of one second: one member is not what it was before."""
    return {"mcpServers": {**good(), "turning": named("turning", "whoami", env={"TURN": str(turn)}, share="shared")}}


async def child_of(server: HostedServer, name: str) -> set[int]:
    """Return the child that answered a new session; none where that was ended by a reload in the meantime."""
    client = server.client(f"/{name}/mcp")
    answer = await client.post(INITIALIZE)
    session = answer.headers.get("Mcp-Session-Id")
    if session is None:
        assert answer.status_code in (200, 503), answer.text
        return set()
    client.headers["Mcp-Session-Id"] = session
    document = await server.call(client, "whoami")
    await client.delete()
    assert "pid" in document or "error" in document, document
    return {document["pid"]} if "pid" in document else set()


async def test_a_reload_each_second_under_load_loses_no_call(tmp_path: Path) -> None:
    async with hosted(in_turn(0), tmp_path) as server:
        children: set[int] = set()
        async with good_company(server) as ledger:
            for turn in range(1, RELOADS + 1):
                begin = time.monotonic()
                server.rewrite(in_turn(turn))
                while time.monotonic() - begin < 1.0:
                    children |= await child_of(server, "turning")
                    await asyncio.sleep(0.05)
        assert not ledger.errors, ledger
        assert max(ledger.times) < WORST_SECONDS, ledger
        assert len(children) > RELOADS // 2, "the member that changed was started anew"
        own = [one for one in children_of(server.system) if any(name in one.cmdline() for name in GOOD)]
        assert len(own) == 4, "two of the sessions' own, one shared, one of the principal"


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper works with process groups and /proc")
async def test_sigkill_of_the_server_leaves_no_child_behind(tmp_path: Path) -> None:
    servers = {**good(), "stubborn": TROUBLES["stubborn"], "shell": {"shell": f"{sys.executable} {WILD} & wait"}}
    async with hosted({"mcpServers": servers}, tmp_path) as server:
        for name in (*GOOD, "stubborn"):
            await server.client(f"/{name}/mcp").start()
        everything: Sequence[psutil.Process] = server.system.children(recursive=True)
        assert len(everything) >= 5
        server.process.send_signal(signal.SIGKILL)
        await server.process.wait()
        assert await asyncio.to_thread(wait_for, lambda: not still_running(list(everything)), 15.0)
