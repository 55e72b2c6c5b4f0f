"""Two thousand sessions of a file of servers, ended and abandoned, leave no process, no descriptor and no memory."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.support.books import WIRES, Books, Wire, caller
from tests.support.hosted import HostedServer, hosted, named
from tests.support.server_children import children_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

TINY = (
    "read -r line; id=${line#*'\"id\":'}; id=${id%%,*}; id=${id%%\\}*}; "
    'echo "{\\"jsonrpc\\":\\"2.0\\",\\"id\\":$id,\\"result\\":{\\"protocolVersion\\":\\"2025-06-18\\",'
    '\\"capabilities\\":{},\\"serverInfo\\":{\\"name\\":\\"tiny\\",\\"version\\":\\"0\\"}}}"; '
    "while read -r line; do :; done"
)
"""An MCP server that costs a millisecond: it answers its first request, and no other."""
SHARES = ("session", "principal", "shared")
TOKENS = ("the token of Ann", "the token of Bea")
SESSIONS = 2000
AT_ONCE = 8
WARMING_UP = 300
MOST_GROWTH = 8_000_000


def servers(folder: Path) -> dict[str, Any]:
    """Return a file with one server for each way to share a child."""
    tiny = folder / "tiny.sh"  # in the file itself, its variables would be expanded
    tiny.write_text(TINY, encoding="ascii")
    own = {"command": "sh", "args": [str(tiny)]}
    principal = named("principal", share="principal", options={"authTokens": TOKENS})
    return {"mcpServers": {"session": own, "principal": principal, "shared": named("shared", share="shared")}}


class Held(NamedTuple):
    """What the server has."""

    memory: int
    descriptors: int
    threads: int
    children: int


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (processes of others have no event)
            await asyncio.sleep(0.05)


async def settled(server: HostedServer) -> Held:
    """Wait until the sessions are closed and only shared children are left; return what is held then."""
    await until(lambda: len(children_of(server.system)) <= 1 + len(TOKENS))
    last = server.system.num_fds()
    same = 0
    while same < 5:  # the last connections are closed behind their sessions
        await asyncio.sleep(0.1)
        now = server.system.num_fds()
        same, last = (same + 1 if now == last else 0), now
    children = [one for one in children_of(server.system) if one.status() != psutil.STATUS_ZOMBIE]
    return Held(server.system.memory_info().rss, last, server.system.num_threads(), len(children))


async def open_and_close(server: HostedServer, count: int) -> list[str]:
    """Open and close so many sessions, some side by side, of all servers over all wires. Returns complaints."""
    ways = itertools.cycle(itertools.product(SHARES, WIRES, TOKENS))
    numbers = iter(range(count))
    complaints: list[str] = []

    async def some() -> None:
        for number in numbers:
            share, wire, token = next(ways)
            headers = {"Authorization": f"Bearer {token}"} if share == "principal" else {}
            books = Books(f"session {number}, {share} over {wire}")
            async with caller(wire, f"{server.url}/{share}", books, headers) as client:
                answer = client.greeting
                if share != "session":
                    answer = await client.call("whoami", number=number)
                if answer is None or "result" not in answer:
                    complaints.append(f"{books.name}: {answer}")
            complaints.extend(books.complaints())

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    return complaints


async def test_two_thousand_sessions_of_all_kinds_leave_nothing(tmp_path: Path) -> None:
    async with hosted(servers(tmp_path), tmp_path, "--log-level", "warning") as server:
        assert await open_and_close(server, WARMING_UP) == []
        before = await settled(server)
        assert await open_and_close(server, SESSIONS) == []
        after = await settled(server)
        assert after.children <= 1 + len(TOKENS), after
        assert after.descriptors <= before.descriptors, (before, after)
        assert after.threads <= before.threads + 2, (before, after)
        assert after.memory - before.memory <= MOST_GROWTH, (before, after)


ABANDONED = 90


async def abandon(server: HostedServer, share: str, wire: Wire, token: str) -> None:
    """Open a session and leave without a word: over HTTP without DELETE, over the others by cutting the connection."""
    headers = {"Authorization": f"Bearer {token}"}
    async with caller(wire, f"{server.url}/{share}", headers=headers, stays_away=True) as client:
        assert client.greeting is not None
        assert "result" in client.greeting


async def test_sessions_that_clients_abandon_end_by_themselves(tmp_path: Path) -> None:
    async with hosted(servers(tmp_path), tmp_path, "--session-idle", "1s", "--log-level", "warning") as server:
        for count in (len(SHARES) * len(WIRES) * len(TOKENS), ABANDONED):
            before = await settled(server)
            ways = itertools.cycle(itertools.product(SHARES, WIRES, TOKENS))
            async with asyncio.TaskGroup() as group:
                for share, wire, token in itertools.islice(ways, count):
                    group.create_task(abandon(server, share, wire, token))
            await until_no_session(server)
        after = await settled(server)
        assert after.children <= 1 + len(TOKENS), after
        assert after.descriptors <= before.descriptors, (before, after)


async def until_no_session(server: HostedServer) -> None:
    async with asyncio.timeout(30):
        while sum(one["sessions"] for one in await states(server)):  # noqa: ASYNC110  (there is no event)
            await asyncio.sleep(0.1)


async def states(server: HostedServer) -> list[dict[str, Any]]:
    return list((await server.get("/health/servers")).json()["servers"].values())
