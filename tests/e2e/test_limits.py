"""The limits of every buffer, through the real program: exceeding one is one clear error that names the flag, the
session goes on, and memory stays where it was."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.host import Host, launch
from tests.support.raw_wires import WIRES, RawWires
from tests.support.scripted_server import Peer, ScriptedServer, Seen

MIB = 1024 * 1024
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
Flood = Callable[[Peer], Awaitable[None]]


def nested(levels: int) -> str:
    return '{"jsonrpc":"2.0","id":$ID,"result":{"content":' + "[" * (levels - 2) + "]" * (levels - 2) + "}}"


def data_of(answer: dict[str, Any]) -> dict[str, Any]:
    data = answer["error"]["data"]
    assert isinstance(data, dict)
    return data


# --- Depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_what_is_nested_too_deeply_is_one_error_that_names_the_flag(wire: str) -> None:
    answers = iter((nested(600), nested(601), nested(100_000)))
    async with (
        RawWires(tools_call=lambda _: [next(answers)]).run() as server,
        launch(server.url(wire), "--transport", wire, "--max-depth", "600") as host,
    ):
        await host.greet()
        assert "result" in await host.request("tools/call", {"name": "deep"})
        for _ in range(2):
            answer = await host.request("tools/call", {"name": "deep"})
            assert "nested too deeply (the limit is 600 levels, --max-depth)" in answer["error"]["message"]
            assert data_of(answer)["may_have_run"] is True
        assert "result" in await host.request("ping")


async def test_what_the_host_says_has_the_same_limit_of_depth() -> None:
    async with RawWires().run() as server, launch(server.url("http-only"), "--max-depth", "600") as host:
        await host.greet()
        for levels, is_carried in ((598, True), (599, False), (100_000, False)):
            line = '{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"a":%s%s}}'
            host.write((line % ("[" * levels, "]" * levels)).encode() + b"\n")
            answer = await host.line()
            assert answer["id"] == 77
            assert ("result" in answer) is is_carried
            assert is_carried or (answer["error"]["code"] == -32600 and "--max-depth" in answer["error"]["message"])


# --- Headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("size", [4000, 20_000_000])
async def test_a_head_over_the_limit_is_one_error_that_names_the_flag(wire: str, size: int) -> None:
    async def endless(peer: Peer) -> None:
        try:
            await peer.request()
            await peer.raw(b"HTTP/1.1 101 Switching Protocols\r\n" if wire == "ws-only" else b"HTTP/1.1 200 OK\r\n")
            while True:
                await peer.raw(b"X-Filling: " + b"x" * size + b"\r\n")
        except ConnectionError:
            pass

    async with ScriptedServer(raw=endless) as server:
        url = f"{'ws' if wire == 'ws-only' else 'http'}://127.0.0.1:{server.port}/"
        async with launch(url, "--transport", wire, "--max-header-size", "64KiB") as host:
            answer = await host.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})
    assert answer["error"]["code"] == -31007
    assert "is larger than the limit of 65536 bytes" in answer["error"]["message"]
    assert "--max-header-size" in data_of(answer)["hint"]


# --- How many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_too_many_requests_at_once_are_refused_and_a_cancel_still_arrives(wire: str) -> None:
    server = RawWires()
    gate = server.gates["slow"] = asyncio.Event()
    async with server.run(), launch(server.url(wire), "--transport", wire, "--max-in-flight", "2") as host:
        await host.greet()
        slow = [host.ask("tools/call", {"name": "slow"}, at) for at in (101, 102)]
        await server.until("tools/call", 2)
        refused = await host.request("tools/call", {"name": "slow"}, 103)
        assert refused["error"]["code"] == -31007
        assert "--max-in-flight" in data_of(refused)["hint"]
        assert data_of(refused)["may_have_run"] is False
        host.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 101}})
        await server.until("notifications/cancelled")
        gate.set()
        assert "result" in await slow[1]


# --- Connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["h11", "httpx"])
@pytest.mark.parametrize(("reuse_idle", "more"), [("60s", 0), ("0", 3)])
async def test_a_call_goes_on_an_idle_connection_only_as_far_as_the_flag_says(
    library: str, reuse_idle: str, more: int
) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405)
        elif "id" in seen.doc:
            await peer.result(seen, greeting_of(seen.doc))
        else:
            await peer.answer(202)

    flags = ("--http-library", library, "--reuse-idle", reuse_idle)
    async with ScriptedServer(script) as server, launch(server.url, *flags) as host:
        await host.greet()
        await host.request("tools/call", {"name": "x"})
        await host.request("tools/call", {"name": "x"})
        before = server.connections
        for _ in range(3):
            await host.request("tools/call", {"name": "x"})
        assert server.connections == before + more


# --- Memory ----------------------------------------------------------------------------------------------------------


def peak(host: Host) -> int:
    """Return the most memory that the bridge ever had, in bytes."""
    status = Path(f"/proc/{host.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024


async def flood(peer: Peer, piece: bytes) -> None:
    while True:
        await peer.raw(b"%x\r\n%b\r\n" % (len(piece), piece))


@asynccontextmanager
async def flooding(wire: str, overflow: Flood) -> AsyncIterator[str]:
    """A server that answers `initialize`, and overflows at the first call of a tool. Yields its URL."""
    standing: list[Peer] = []

    async def script(seen: Seen, peer: Peer) -> None:
        try:
            if seen.method == "GET" and wire == "sse-only":
                standing.append(peer)
                await peer.events()
                await peer.event(b"/messages", event="endpoint")
                await peer.silence()
            elif seen.method != "POST":
                await peer.answer(405)
            elif seen.doc.get("method") == "tools/call":
                if wire == "sse-only":
                    await peer.answer(202)
                await overflow(standing[-1] if standing else peer)
            elif wire == "sse-only":
                await peer.answer(202)
                if "id" in seen.doc:
                    await standing[-1].event({"jsonrpc": "2.0", "id": seen.id, "result": greeting_of(seen.doc)})
            elif "id" in seen.doc:
                await peer.result(seen, greeting_of(seen.doc))
            else:
                await peer.answer(202)
        except ConnectionError:
            pass  # the bridge has had enough

    async with ScriptedServer(script) as server:
        yield server.url


def greeting_of(doc: dict[str, Any]) -> dict[str, Any]:
    if doc["method"] != "initialize":
        return {}
    return {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "flood", "version": "0"}}


async def bomb(peer: Peer) -> None:
    """Ten gigabytes of blanks in ten megabytes."""
    await peer.answer(
        200, gzip.compress(b" " * (16 * MIB)) * 640, "application/json", headers={"Content-Encoding": "gzip"}
    )


async def bomb_of_events(peer: Peer) -> None:
    body = gzip.compress(b"data: ") + gzip.compress(b"x" * (16 * MIB)) * 640
    await peer.answer(200, body, "text/event-stream", headers={"Content-Encoding": "gzip"})


async def endless_line(peer: Peer) -> None:
    if not peer.chunked:
        await peer.events()
    await peer.chunk(b"data: ")
    await flood(peer, b"x" * 65536)


async def endless_event(peer: Peer) -> None:
    if not peer.chunked:
        await peer.events()
    await flood(peer, b"data: x\n" * 8192)


async def endless_comment(peer: Peer) -> None:
    if not peer.chunked:
        await peer.events()
    await peer.chunk(b":")
    await flood(peer, b"x" * 65536)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("wire", "overflow"),
    [
        ("http-only", bomb),
        ("http-only", bomb_of_events),
        *((wire, deed) for wire in WIRES[:2] for deed in (endless_line, endless_event, endless_comment)),
    ],
)
async def test_what_never_ends_costs_no_more_memory_than_the_largest_message(wire: str, overflow: Flood) -> None:
    async with flooding(wire, overflow) as url, launch(url, "--transport", wire) as host:
        await host.greet()
        before = peak(host)
        async with asyncio.timeout(50):
            answer = await host.request("tools/call", {"name": "flood"})
        assert answer["error"]["code"] == -31007
        assert "67108864 bytes" in answer["error"]["message"]
        assert "--max-message-size" in data_of(answer)["hint"]
        assert peak(host) - before < 2.5 * 64 * MIB
        assert host.process.returncode is None


@LINUX
@pytest.mark.slow
async def test_a_message_without_end_on_a_websocket_costs_no_more_either() -> None:
    async def handler(socket: ServerConnection) -> None:
        async for raw in socket:
            doc = json.loads(raw)
            if doc.get("method") == "tools/call":
                try:
                    await socket.send(iter(lambda: "x" * 65536, None))
                except ConnectionClosed:
                    return
            elif "id" in doc:
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": doc["id"], "result": greeting_of(doc)}))

    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with launch(url, "--transport", "ws-only") as host:
            await host.greet()
            before = peak(host)
            async with asyncio.timeout(50):
                answer = await host.request("tools/call", {"name": "flood"})
            assert answer["error"]["code"] == -31007
            assert "--max-message-size" in data_of(answer)["hint"]
            assert peak(host) - before < 2.5 * 64 * MIB


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
async def test_levels_without_number_cost_no_more_memory_than_their_text(wire: str) -> None:
    deep = nested(4 * MIB)
    async with (
        RawWires(tools_call=lambda _: [deep]).run() as server,
        launch(server.url(wire), "--transport", wire) as host,
    ):
        await host.greet()
        before = peak(host)
        answer = await host.request("tools/call", {"name": "deep"})
        assert "--max-depth" in answer["error"]["message"]
        assert peak(host) - before < 8 * len(deep)


@LINUX
@pytest.mark.slow
async def test_a_line_of_the_host_without_end_is_read_and_not_kept() -> None:
    async with RawWires().run() as server, launch(server.url("http-only")) as host:
        await host.greet()
        before = peak(host)
        host.write(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"')
        assert host.process.stdin is not None
        for _ in range(300):
            host.write(b"x" * MIB)
            await host.process.stdin.drain()
        host.write(b'"}\n')
        answer = await host.line()
        assert (answer["id"], answer["error"]["code"]) == (7, -31007)
        assert "--max-message-size" in data_of(answer)["hint"]
        assert peak(host) - before < 2.5 * 64 * MIB
        assert "result" in await host.request("ping")
