"""Connections that say nothing are closed, over real sockets, with the time in the test's hands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from server_stub.connections import HEAD_SECONDS, Connections, _Few
from tests.server_stub.links import eventually

Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Running:
    """A server whose answers to /slow wait for `go_on`."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.go_on = asyncio.Event()
        self.asked = asyncio.Event()
        self.talks: list[Talk] = []
        app = web.Application(middlewares=[connections.guard()])
        app.router.add_get("/", self._answer)
        app.router.add_get("/slow", self._answer_later)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def connect(self, sent: bytes = b"") -> Talk:
        present = self.count
        talk = await asyncio.open_connection(*self.runner.addresses[0][:2])
        self.talks.append(talk)
        talk[1].write(sent)
        await eventually(lambda: self.count > present, "the server has it")
        return talk

    @property
    def count(self) -> int:
        return 0 if self.runner.server is None else len(self.runner.server.connections)

    def sweep(self, later: float = 0.0) -> int:
        return self.connections.sweep(self.runner.server, asyncio.get_running_loop().time() + later)

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(text="yes")

    async def _answer_later(self, _request: web.Request) -> web.Response:
        self.asked.set()
        await self.go_on.wait()
        return web.Response(text="later")


@asynccontextmanager
async def running(most: int) -> AsyncIterator[Running]:
    server = Running(Connections(most))
    await server.runner.setup()
    try:
        await web.TCPSite(server.runner, "127.0.0.1", 0).start()
        yield server
    finally:
        server.go_on.set()
        for _, writer in server.talks:
            writer.close()
        await server.runner.cleanup()


async def test_who_sends_no_head_of_a_request_is_not_waited_for() -> None:
    async with running(100) as server:
        silent = await server.connect()
        half = await server.connect(b"GET / HTTP/1.1\r\nHost:")
        slow = await server.connect(REQUEST.replace(b"/ ", b"/slow ", 1))
        quiet = await server.connect(REQUEST)
        await quiet[0].readuntil(b"yes")
        await server.asked.wait()
        assert server.sweep() == 0
        assert server.sweep(HEAD_SECONDS + 1) == 2
        assert await silent[0].read() == await half[0].read() == b""
        server.go_on.set()
        assert await slow[0].readuntil(b"later")
        quiet[1].write(REQUEST)
        assert await quiet[0].readuntil(b"yes")


async def test_of_too_many_those_that_ask_nothing_go_first() -> None:
    async with running(2) as server:
        slow = await server.connect(REQUEST.replace(b"/ ", b"/slow ", 1))
        await server.asked.wait()
        old = await server.connect()
        assert server.sweep() == 0
        new = await server.connect(REQUEST)
        await new[0].readuntil(b"yes")
        assert server.sweep(1) == 1
        assert await old[0].read() == b""
        new[1].write(REQUEST)
        assert await new[0].readuntil(b"yes")
        server.go_on.set()
        assert await slow[0].readuntil(b"later")


def test_what_cannot_be_taken_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    few = _Few()
    caplog.handler.addFilter(few)
    try:
        for text in ("socket.accept() out of system resource\nsocket: x", "something else"):
            for _ in range(3):
                logging.getLogger("asyncio").error(text, exc_info=OSError(24, "Too many open files"))
    finally:
        caplog.handler.removeFilter(few)
    assert caplog.text.count("have to wait") == 1
    assert caplog.text.count("something else") == 3
