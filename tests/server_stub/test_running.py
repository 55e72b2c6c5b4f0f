"""Ports that cannot be had: what is said of them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from mcp_remote_py.core.errors import ConfigError
from server_stub.running import Sockets


async def test_a_port_that_is_taken_is_named_in_the_words_of_the_system() -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    runner = web.AppRunner(web.Application())
    await runner.setup()
    async with taken:
        try:
            sockets = Sockets(runner, "127.0.0.1")
            with pytest.raises(ConfigError, match=rf"--port {port}: [^():]+\. Choose another port"):
                await sockets.first(port)
            own = int((await sockets.first(0)).rpartition(":")[2])
            wrong = await sockets.keep({port: "a", own: "b"})
        finally:
            await runner.cleanup()
    assert wrong[1] == f"port {own}, for b: it is the server's own (--port)"
    assert "bind on address" not in wrong[0]
