"""The far ends of the link contract for the three wires of the bridge, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.support.link_contract import WAIT_SECONDS
from tests.support.scripted_server import Peer, ScriptedServer, Seen


class _Inbox:
    """What came in, with a way to wait for it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._changed = asyncio.Condition()

    async def add(self, raw: bytes) -> None:
        async with self._changed:
            self.messages.append(raw)
            self._changed.notify_all()

    async def received(self, count: int) -> list[bytes]:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return list(self.messages)


class HttpFarEnd(_Inbox):
    """Streamable HTTP: each request gets an event stream, GET the standing one."""

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[bytes, tuple[Peer, asyncio.Event]] = {}
        self._standing: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        self.server = ScriptedServer(self._script)

    async def _script(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.events()
            self._standing.set_result(peer)
            await peer.silence()
        elif seen.method == "DELETE":
            await peer.answer(200)
        elif "method" in seen.doc and "id" in seen.doc:
            finished = asyncio.Event()
            await peer.events()
            self._streams[seen.body] = (peer, finished)
            await self.add(seen.body)
            await finished.wait()
        else:
            await peer.answer(202)
            await self.add(seen.body)

    async def answer(self, request: bytes, raw: bytes) -> None:
        await self._streams[request][0].event(raw)

    async def finish(self, request: bytes) -> None:
        self._streams[request][1].set()

    async def say(self, raw: bytes) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            peer = await asyncio.shield(self._standing)
        await peer.event(raw)

    async def vanish(self) -> None:
        self.server.stop_listening()
        for peer, _ in self._streams.values():
            await peer.reset()


class SseFarEnd(_Inbox):
    """HTTP+SSE: everything goes down the one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._stream: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        self.server = ScriptedServer(self._script)

    async def _script(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.events()
            await peer.event(b"/messages?session=1", event="endpoint")
            self._stream.set_result(peer)
            await peer.silence()
        else:
            assert seen.target == "/messages?session=1"
            await peer.answer(202, b"Accepted", "text/plain")
            await self.add(seen.body)

    async def answer(self, request: bytes, raw: bytes) -> None:
        del request
        await self.say(raw)

    async def finish(self, request: bytes) -> None:
        del request

    async def say(self, raw: bytes) -> None:
        await (await asyncio.shield(self._stream)).event(raw)

    async def vanish(self) -> None:
        self.server.stop_listening()
        await (await asyncio.shield(self._stream)).reset()


class WebSocketFarEnd(_Inbox):
    """WebSocket: one frame, one message."""

    def __init__(self) -> None:
        super().__init__()
        self._socket: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()
        self.url = ""

    async def accept(self, socket: ServerConnection) -> None:
        self._socket.set_result(socket)
        async for frame in socket:
            assert isinstance(frame, str)
            await self.add(frame.encode())

    async def answer(self, request: bytes, raw: bytes) -> None:
        del request
        await self.say(raw)

    async def finish(self, request: bytes) -> None:
        del request

    async def say(self, raw: bytes) -> None:
        await (await asyncio.shield(self._socket)).send(raw, text=True)

    async def vanish(self) -> None:
        (await asyncio.shield(self._socket)).transport.abort()


@asynccontextmanager
async def websocket_far_end(**options: Any) -> AsyncIterator[WebSocketFarEnd]:
    """Serve one until the end of the block. `options` go to `websockets.serve`."""
    far = WebSocketFarEnd()
    async with serve(far.accept, "127.0.0.1", 0, subprotocols=[Subprotocol("mcp")], max_size=None, **options) as server:
        far.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        yield far
