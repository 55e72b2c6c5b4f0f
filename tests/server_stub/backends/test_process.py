"""ProcessLink keeps the contract of links, with a real child that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psutil
import pytest

from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.message import request
from server_stub.backends import Peer
from server_stub.backends.process import ProcessLink, connect_process
from server_stub.children import ServerSpec
from tests.server_stub.links import eventually, within
from tests.support.children import child
from tests.support.link_contract import WAIT_SECONDS, Bench, Delivered, LinkContract, running

LIMIT = 16 * 1024 * 1024


class Puppeteer:
    """The far end: what the child reads comes here, what is written here the child says."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Condition()
        self._connected = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one connection of the child."""
        self._writer = writer
        self._connected.set()
        try:
            while line := await reader.readline():
                async with self._changed:
                    self.lines.append(line.removesuffix(b"\n"))
                    self._changed.notify_all()
        except ConnectionError:
            pass  # the child was killed
        writer.close()

    async def received(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.lines) >= count)
        return self.lines

    async def answer(self, request: bytes, raw: bytes) -> None:  # noqa: ARG002  (one pipe for all)
        await self.say(raw)

    async def finish(self, request: bytes) -> None:
        """A pipe has no stream of its own for a request."""

    async def say(self, raw: bytes) -> None:
        await within(self._connected.wait())
        assert self._writer is not None
        self._writer.write(raw + b"\n")
        await self._writer.drain()

    async def vanish(self) -> None:
        for process in psutil.Process().children(recursive=True):
            if any("puppet" in word for word in process.cmdline()):
                process.kill()


class TestProcessLink(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = Puppeteer()
        server = await asyncio.start_server(far.take, "127.0.0.1", 0, limit=LIMIT)
        port = server.sockets[0].getsockname()[1]
        async with server:
            yield Bench(ProcessLink(ServerSpec(command=child("puppet", str(port)))), far)


async def test_a_command_that_cannot_be_started_is_a_fault_of_open() -> None:
    link = ProcessLink(ServerSpec(command=("no-such-command-here",)))
    with pytest.raises(BackendDown) as caught:
        await link.open(Delivered())
    assert not caught.value.may_have_run
    await link.close()


async def test_nothing_works_before_it_was_opened() -> None:
    link = ProcessLink(ServerSpec(command=("cat",)))
    with pytest.raises(BackendDown):
        await link.send(request(1, "ping"))
    with pytest.raises(BackendDown):
        await link.listen()


async def test_a_child_that_was_closed_while_it_started_is_gone() -> None:
    link = ProcessLink(ServerSpec(command=("cat",)))
    await link.close()
    with pytest.raises(BackendDown):
        await link.open(Delivered())
    assert psutil.Process().children() == []


async def test_the_death_of_the_child_explains_itself_to_who_listens_and_to_who_sends() -> None:
    link = ProcessLink(ServerSpec(command=child("failing")))
    async with running(Bench(link, Puppeteer())) as run:
        fault = await run.listening.settle()
        assert fault is not None
        assert "status 3" in str(fault)
        assert "ConfigurationError" in fault.hint
        with pytest.raises(BackendDown) as caught:
            await link.send(request(1, "initialize"))
        assert (str(caught.value), caught.value.hint) == (str(fault), fault.hint)
        assert not caught.value.may_have_run


async def test_every_peer_has_a_child_of_its_own() -> None:
    connect = connect_process(ServerSpec(command=child("echo")))
    pids = set()
    for session in ("a", "b"):
        link = connect(Peer(session, None))
        async with running(Bench(link, Puppeteer())) as run:
            await link.send(request(1, "pid"))
            pids.add((await run.delivered.until(1))[0][0].result["pid"])
    assert len(pids) == 2
    await eventually(lambda: not any(map(psutil.pid_exists, pids)), "the end of both")
