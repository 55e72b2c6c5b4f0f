"""Servers that misbehave in every way beside servers that do not: what the good ones' clients notice is nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
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

from tests.server_stub.mcp_client import McpClient
from tests.support.books import WIRES, Books, Wire, caller
from tests.support.hosted import HostedServer, hosted, named
from tests.support.server_children import children_of, still_running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WILD = Path(__file__).parent.parent / "support" / "children" / "hosted.py"
GOOD = ("good-own", "good-shared", "good-principal")
WORST_SECONDS = 20.0
"""A call of a good server that took longer has met somebody else's trouble; a busy machine alone needs far less."""
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


class Visits(NamedTuple):
    """What came of the visits to bad servers: the last answer of each, and what is wrong with the books."""

    answers: dict[str, list[dict[str, Any]]]
    complaints: list[str]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return self.answers[kind] + self.answers[f"{kind}-shared"]


async def visit(server: HostedServer, name: str, wire: Wire, visits: Visits) -> None:
    """Greet a bad server, and call the tool that does the harm with another call beside it; all must be answered."""
    tool, arguments = {
        "crash": ("crash", {}), "greedy": ("grow", {"bytes": 200_000_000}), "late": ("sleep", {"seconds": 2}),
    }.get(name.removesuffix("-shared"), ("pid", {}))  # fmt: skip
    books = Books(f"{name} over {wire}")
    async with caller(wire, f"{server.url}/{name}", books, stays_away=name.startswith("greedy")) as client:
        answer = client.greeting
        if answer is not None and "result" in answer:
            answer, _ = await asyncio.gather(client.call(tool, **arguments), client.call("pid"))
    visits.answers.setdefault(name, []).append(answer or {"cut off": books.cut_off})
    visits.complaints.extend(books.complaints())


async def harm(server: HostedServer, name: str, until: float, visits: Visits) -> None:
    for wire in itertools.cycle(WIRES):
        await visit(server, name, wire, visits)
        if name.startswith("greedy") or time.monotonic() > until:
            return  # whoever has the memory of ten greedy ones has proved nothing more
        await asyncio.sleep(2.0 if name.startswith(("flood", "garbage")) else 0.3)


async def test_servers_that_misbehave_reach_nobody_else(tmp_path: Path) -> None:
    visits = Visits({}, [])
    async with hosted(everybody(), tmp_path, "--log-level", "warning") as server:
        async with good_company(server) as ledger:
            until = time.monotonic() + CHAOS_SECONDS
            async with asyncio.TaskGroup() as group:
                for name in (*TROUBLES, *(f"{name}-shared" for name in TROUBLES)):
                    if not name.startswith("hang"):  # which answers nobody: see the next test
                        group.create_task(harm(server, name, until, visits))
        children = children_of(server.system)
    assert visits.complaints == []
    assert not ledger.errors, ledger
    assert len(ledger.times) > 50, ledger
    assert max(ledger.times) < WORST_SECONDS, ledger
    for kind in ("exit", "missing", "mute", "crash"):
        assert all("error" in one for one in visits.of(kind)), visits.of(kind)
    for kind in ("flood", "garbage", "stubborn", "late"):
        assert all("result" in one for one in visits.of(kind)), visits.of(kind)
    assert any("exited with status 3" in str(one) for one in visits.of("exit")), visits.of("exit")
    assert any("command not found" in str(one) for one in visits.of("missing")), visits.of("missing")
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
        line = await server.until_logged("was ended: it uses", 60)
        assert "greedy" in line
        answer = await client.post({"jsonrpc": "2.0", "id": 9, "method": "ping"})
        assert answer.status_code == 404, answer.text
    assert not ledger.errors, ledger


TURNING = ("turning", "turning-shared")


def in_turn(turn: int) -> dict[str, Any]:
    """Return the file of one second: two members are not what they were before, and a third comes and goes."""
    turning = {
        name: named(name, "whoami", "sleep", env={"TURN": str(turn)}, share=share)
        for name, share in zip(TURNING, ("session", "shared"), strict=True)
    }
    passing = {"passing": named("passing", "whoami")} if turn % 2 else {}
    return {"mcpServers": {**good(), **turning, **passing}}


class Turns:
    """Clients of members that change: which children answered, and what is wrong with the books."""

    def __init__(self) -> None:
        self.children: set[int] = set()
        self.complaints: list[str] = []
        self.stop = asyncio.Event()

    async def use(self, server: HostedServer, name: str, wire: Wire) -> None:
        """Open one session after the other, each until it is ended, with a short and a longer call at a time."""
        for number in itertools.count(1):
            books = Books(f"session {number} of {name} over {wire}")
            async with caller(wire, f"{server.url}/{name}", books) as client:
                greeted = client.greeting is not None and "result" in client.greeting
                while greeted and not self.stop.is_set():
                    answers = await asyncio.gather(client.call("whoami"), client.call("sleep", seconds=0.2))
                    found = [one for one in answers if one is not None and "result" in one]
                    self.children |= {json.loads(one["result"]["content"][0]["text"])["pid"] for one in found}
                    greeted = bool(found)
            self.complaints += books.complaints()
            if self.stop.is_set():
                return
            await asyncio.sleep(0.05)


async def test_a_reload_each_second_under_load_loses_no_call(tmp_path: Path) -> None:
    async with hosted(in_turn(0), tmp_path) as server:
        turns = Turns()
        async with good_company(server) as ledger, asyncio.TaskGroup() as group:
            for name, wire in itertools.product(TURNING, WIRES):
                group.create_task(turns.use(server, name, wire))
            for turn in range(1, RELOADS + 1):
                await asyncio.sleep(1.0)
                before = set(turns.children)
                server.rewrite(in_turn(turn))
            async with asyncio.timeout(30):
                while turns.children <= before:  # noqa: ASYNC110  (on a busy machine a start takes more than a second)
                    await asyncio.sleep(0.05)
            turns.stop.set()
        assert turns.complaints == []
        assert not ledger.errors, ledger
        assert max(ledger.times) < WORST_SECONDS, ledger
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
