"""Backends for the tests of the front: links that do what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mcp_remote_py.core import message
from mcp_remote_py.core.errors import BackendDown, Fault
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.app import run
from server_stub.backends import Connect, Peer
from server_stub.settings import ServeSettings

T = TypeVar("T")

SECONDS = 10.0
"""What any one wait of a test may take."""


def initialized(request: Message, version: str | None = None) -> Message:
    """Return the result of an initialize, with the version that was asked for."""
    assert request.id is not None
    asked = version or request.params.get("protocolVersion", "2025-06-18")
    return message.result(
        request.id,
        {"protocolVersion": asked, "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}},
    )


class ScriptedLink:
    """A backend in the test's hands: what was sent to it is in `sent`; `say` sends something back.

    Answers initialize, ping and `echo` by itself, everything else when told to. `named`: it says to which request a
    message belongs, as a handler does; otherwise it is a pipe, as a child is.
    """

    def __init__(self, peer: Peer, *, named: bool = False, version: str | None = None) -> None:
        self.peer = peer
        self.sent: list[Message] = []
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.open_fault: Fault | None = None
        self.send_fault: Fault | None = None
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.reply: Callable[[Message], Message | None] = self._answer_at_once
        self._named = named
        self._version = version
        self._news = asyncio.Condition()
        self._deliver: Deliver | None = None
        self._dead: asyncio.Future[Fault] | None = None
        self._over: dict[Key, asyncio.Event] = {}

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=self._named)

    async def open(self, deliver: Deliver) -> None:
        await self.may_open.wait()
        if self.open_fault is not None:
            raise self.open_fault
        self._deliver = deliver
        self._dead = asyncio.get_running_loop().create_future()
        self.opened.set()

    async def send(self, message_: Message, written: Callable[[], None] | None = None) -> None:
        if self.send_fault is not None:
            raise self.send_fault
        async with self._news:
            self.sent.append(message_)
            self._news.notify_all()
        if written is not None:
            written()
        if message_.kind is not Kind.REQUEST:
            return
        over = self._over[message_.key] = asyncio.Event()
        answer = self.reply(message_)
        if answer is not None:
            await self.say(answer, message_.key if self._named else None)
        elif self._named:
            await over.wait()

    def _answer_at_once(self, request: Message) -> Message | None:
        assert request.id is not None
        if request.method == "initialize":
            return initialized(request, self._version)
        if request.method == "ping":
            return message.result(request.id, {})
        if request.method == "echo":
            return message.result(request.id, request.params)
        return None

    async def listen(self) -> None:
        assert self._dead is not None
        raise await self._dead

    async def close(self) -> None:
        await self.may_close.wait()
        self.closed.set()

    # for the test

    async def say(self, message_: Message, exchange: Key | None = None) -> None:
        """Deliver a message to the client."""
        assert self._deliver is not None
        await self._deliver(message_, exchange)
        if message_.is_answer and message_.id is not None and message_.key in self._over:
            self._over[message_.key].set()

    def stop_without_answer(self, request: Message) -> None:
        """Let the `send` of this request return."""
        self._over[request.key].set()

    def die(self, text: str = "the child has died") -> None:
        assert self._dead is not None
        self._dead.set_result(BackendDown(text))

    async def received(self, method: str | None = None, count: int = 1) -> Message:
        """Wait until so many messages with this method (None: answers) have come; return the last of them."""
        found: list[Message] = []

        def there() -> bool:
            found[:] = [one for one in self.sent if one.method == method]
            return len(found) >= count

        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(there)
        return found[count - 1]


class Backends:
    """A `Connect` that keeps the links it made."""

    def __init__(self, make: Callable[[Peer], ScriptedLink] = ScriptedLink) -> None:
        self.links: list[ScriptedLink] = []
        self._make = make
        self._news = asyncio.Condition()

    def __call__(self, peer: Peer) -> ScriptedLink:
        link = self._make(peer)
        self.links.append(link)
        return link

    @property
    def last(self) -> ScriptedLink:
        return self.links[-1]


def named(peer: Peer) -> ScriptedLink:
    """A backend that names the request of each message."""
    return ScriptedLink(peer, named=True)


@asynccontextmanager
async def serving(connect: Connect, settings: ServeSettings | None = None) -> AsyncIterator[str]:
    """Run the server on a free port; yield its URL."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[str] = loop.create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run((settings or ServeSettings())._replace(port=0), connect, ready.set_result))
        try:
            yield await ready
        finally:
            task.cancel()


async def eventually(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait for what has no event of its own."""
    try:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110  (there is no event to wait for)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true") from None


async def within(awaitable: Awaitable[T]) -> T:
    """Await, for a bounded time."""
    async with asyncio.timeout(SECONDS):
        return await awaitable


def request(identifier: Any, method: str, **params: Any) -> dict[str, Any]:
    """Return a request as a document."""
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}


def initialize(identifier: Any = 0, version: str = "2025-06-18") -> dict[str, Any]:
    """Return an initialize request as a document."""
    client = {"name": "test", "version": "1"}
    return request(identifier, "initialize", protocolVersion=version, capabilities={}, clientInfo=client)
