"""A socket that leads through a proxy: much goes through it in both directions, and its end is an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_remote_py.core.errors import Unreachable
from mcp_remote_py.core.http.proxies import FLAG, parse
from mcp_remote_py.net.dial import Way
from mcp_remote_py.net.proxied_socket import socket_through
from tests.support.connect_proxy import HOST, ConnectProxy, refusing
from tests.support.scripted_server import Peer, ScriptedServer

MANY = bytes(range(256)) * 4096 * 8


@asynccontextmanager
async def through(proxy: ConnectProxy, port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    way = await socket_through(Way(parse(proxy.url(), FLAG)), HOST, port)
    reader, writer = await asyncio.open_connection(sock=way)
    yield reader, writer
    writer.close()


async def test_much_goes_through_in_both_directions_at_once() -> None:
    async def echo(peer: Peer) -> None:
        while chunk := await peer.reader.read(65536):
            await peer.raw(chunk)

    async with (
        ConnectProxy() as proxy,
        ScriptedServer(raw=echo) as server,
        through(proxy, server.port) as (reader, writer),
        asyncio.TaskGroup() as group,
    ):
        writer.write(MANY)
        group.create_task(writer.drain())
        assert await reader.readexactly(len(MANY)) == MANY


async def test_a_reader_that_pauses_pauses_the_server() -> None:
    sent = 0

    async def pour(peer: Peer) -> None:
        nonlocal sent
        while True:
            await peer.raw(MANY[:65536])
            sent += 65536

    async with (
        ConnectProxy() as proxy,
        ScriptedServer(raw=pour) as server,
        through(proxy, server.port) as (reader, _),
    ):
        await reader.readexactly(1)
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 64 * 1024 * 1024
        await reader.readexactly(sent)  # and it goes on


@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_the_end_of_the_server_is_the_end_of_the_socket(way: str) -> None:
    async def leave(peer: Peer) -> None:
        await peer.raw(b"last words")
        await getattr(peer, way)()

    async with (
        ConnectProxy() as proxy,
        ScriptedServer(raw=leave) as server,
        through(proxy, server.port) as (reader, _),
    ):
        async with asyncio.timeout(5):
            rest = await reader.read()
        assert rest in ((b"last words",) if way == "hang_up" else (b"last words", b""))


async def test_the_end_of_the_socket_reaches_the_server() -> None:
    gone = asyncio.Event()

    async def wait(peer: Peer) -> None:
        await peer.gone()
        gone.set()

    async with ConnectProxy() as proxy, ScriptedServer(raw=wait) as server:
        async with through(proxy, server.port) as (_, writer):
            writer.write(b"hello")
        async with asyncio.timeout(5):
            await gone.wait()


async def test_a_refusal_leaves_no_connection_behind() -> None:
    async with ConnectProxy(deed=refusing(403)) as proxy:
        with pytest.raises(Unreachable, match="does not allow"):
            await socket_through(Way(parse(proxy.url(), FLAG)), HOST, 1)
