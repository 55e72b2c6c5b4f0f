"""What a connection of our own must be, besides what the port's contract asks for."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from mcp_remote_py.net import wire
from mcp_remote_py.net.failures import causes
from tests.support.scripted_server import Peer, ScriptedServer, closed_port


async def _stay(peer: Peer) -> None:
    await peer.gone()


async def test_small_writes_are_not_held_back() -> None:
    async with ScriptedServer(raw=_stay) as server:
        connection = await wire.connect("127.0.0.1", server.port)
        assert connection.about("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.abort()


async def test_a_connection_is_fresh_until_something_waits_on_it() -> None:
    go_on = asyncio.Event()

    async def speak(peer: Peer) -> None:
        await go_on.wait()
        await peer.raw(b"unasked")
        await peer.gone()

    async with ScriptedServer(raw=speak) as server:
        connection = await wire.connect("127.0.0.1", server.port)
        assert connection.is_fresh
        go_on.set()
        assert await connection.read() == b"unasked"
        connection.abort()
        assert not connection.is_fresh


async def test_what_arrived_before_a_reset_is_read_before_it_is_told() -> None:
    async def speak(peer: Peer) -> None:
        await peer.reader.readexactly(1)
        await peer.raw(b"last words")
        await peer.reset()

    async with ScriptedServer(raw=speak) as server:
        connection = await wire.connect("127.0.0.1", server.port)
        assert await connection.write(b"x")
        assert await connection.read() == b"last words"
        with contextlib.suppress(ConnectionResetError):  # the loop may see an end in order instead
            assert await connection.read() == b""
        with pytest.raises(ConnectionError):
            await connection.write(b"y")


async def test_a_peer_that_does_not_read_is_left_as_soon_as_it_speaks() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.raw(b"too much")
        await peer.gone()

    async with ScriptedServer(raw=refuse) as server:
        connection = await wire.connect("127.0.0.1", server.port)
        async with asyncio.timeout(5):
            all_out = await connection.write(b"x" * (64 * 1024 * 1024))
        assert not all_out
        assert await connection.read() == b"too much"
        connection.abort()


async def test_every_address_that_fails_is_among_the_causes() -> None:
    with pytest.raises(ConnectionError) as caught:
        await wire.connect("localhost", closed_port())
    assert any(isinstance(cause, ConnectionRefusedError) for cause in causes(caught.value))
