"""What a bridge holds: its memory, its descriptors, its threads; before and after very much has passed through it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from mcp_remote_py.core.redact import RECEIVED
from tests.support import fault_server as faults
from tests.support.fault_server import FaultServer, Wire
from tests.support.host import Host, Speaker, launch
from tests.support.scripted_server import Peer

AT_ONCE = 16
CALL_SECONDS = 60
SLACK = 3
MOST_THREADS = 4 + min(32, (os.cpu_count() or 1) + 4)
"""Those of the bridge, and the pool that asyncio fills little by little."""
_KEYS = itertools.count(10_000)


class Held(NamedTuple):
    """What a process holds; memory in bytes."""

    memory: int
    descriptors: int
    threads: int


class Amount(NamedTuple):
    """How much is to pass."""

    calls: int
    reconnects: int
    sessions: int


def held_by(pid: int) -> Held:
    """Look it up in /proc (Linux)."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Held(int(fields["VmRSS"].split()[0]) * 1024, descriptors, int(fields["Threads"]))


async def settled(pid: int) -> Held:
    """Wait until descriptors and threads stay the same for half a second: connections close behind their calls."""
    last, since = held_by(pid), 0
    while since < 5:
        await asyncio.sleep(0.1)
        now = held_by(pid)
        since = since + 1 if now[1:] == last[1:] else 0
        last = now
    return last


async def call(host: Speaker) -> None:
    """Call a tool until it works: a call may meet the end of the connection that the one before it brought about."""
    answer: dict[str, Any] = {}
    while "result" not in answer:
        key = next(_KEYS)
        async with asyncio.timeout(CALL_SECONDS):
            answer = await host.ask("tools/call", {"name": "look", "key": key}, key)
        assert "result" in answer or answer["error"]["data"]["name"] == "Interrupted", answer
    host.heard.clear()
    host.answers.clear()


async def work(server: FaultServer, host: Speaker, amount: Amount) -> None:
    """Let so much pass through a bridge that is in session with this server, over whatever wire."""
    left = iter(range(amount.calls))

    async def caller() -> None:
        for _ in left:
            await call(host)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(caller())
    for number in range(amount.reconnects):
        server.spoil("tools/call", faults.closed_after(None, (Peer.hang_up, Peer.reset)[number % 2]))
        await call(host)
    for _ in range(amount.sessions):
        if server.wire == "ws":
            server.spoil("tools/call", faults.instead(b"\x88\x02\x03\xe8"))
            await call(host)
        else:
            server.forget()
            await call(host)
    server.ran.clear()
    server.methods.clear()
    server.seen.clear()


@contextlib.asynccontextmanager
async def in_session(wire: Wire) -> AsyncIterator[tuple[FaultServer, Host]]:
    """Run a real bridge over this wire, and let it greet."""
    async with (
        FaultServer(wire, "events") as server,
        launch(server.url, f"--{wire}-only", "--log-level", "error") as host,
    ):
        assert "result" in await host.greet()
        assert "result" in await host.request("tools/list")
        yield server, host


async def growth(wire: Wire, warm: Amount, amount: Amount) -> tuple[Held, Held]:
    """Return what a real bridge holds after its warming up, and after so much more. Linux only."""
    async with in_session(wire) as (server, host):
        await work(server, host, warm)
        before = await settled(host.process.pid)
        await work(server, host, amount)
        after = await settled(host.process.pid)
        assert await host.end() == 0
        return before, after


BOUNDED = {
    "mcp_remote_py.core.message.Key": 700,  # when the last few hundred requests came
    "mcp_remote_py.core.redact._Pattern": 6 * 2 * RECEIVED,  # the secrets that were received last, in each spelling
    "mcp_remote_py.core.http.origins.Origin": 200,  # caches of a fixed size
    "mcp_remote_py.core.http.origins.Requested": 200,
}
"""Objects that may become more, by so many: they are kept up to a limit."""


def objects_of_ours() -> Counter[str]:
    """How many objects of each class of the bridge are alive in this process, and timers that are still to ring."""
    gc.collect()
    found: Counter[str] = Counter()
    for item in gc.get_objects():
        kind = type(item)
        if str(kind.__module__).startswith("mcp_remote_py"):  # of some types of the libraries it is no text
            found[f"{kind.__module__}.{kind.__name__}"] += 1
        elif isinstance(item, asyncio.TimerHandle) and not item.cancelled():
            found["timer"] += 1
    return found


def grown(before: Counter[str], after: Counter[str]) -> dict[str, int]:
    """How many more there are of each, where that is not to be."""
    more = {name: count - before[name] for name, count in after.items() if count > before[name] + SLACK}
    return {name: count for name, count in more.items() if count > BOUNDED.get(name, 0)}
