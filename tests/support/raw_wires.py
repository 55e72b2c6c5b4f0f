"""A server on all three wires that answers with given bytes, so that a test can tell whether a single one changed.

`replies` maps a method to a function of the request that returns what is said about it, in order: texts of messages in
which `$ID` stands for the request's id. Other requests get an empty result.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

Doc = dict[str, Any]
Reply = Callable[[Doc], list[str]]
Say = Callable[[str], Awaitable[None]]
WIRES = ("http-only", "sse-only", "ws-only")
_PATHS = {"http-only": "/mcp", "sse-only": "/sse", "ws-only": "/ws"}
GREETING = (
    '{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},'
    '"serverInfo":{"name":"raw","version":"0"}}}'
)


class RawWires:
    """See the module's text. `seen` has every message that came in; `gate` holds back what is said until it is set."""

    def __init__(self, **replies: Reply) -> None:
        self.replies: dict[str, Reply] = {name.replace("_", "/"): reply for name, reply in replies.items()}
        self.seen: list[Doc] = []
        self.gates: dict[str, asyncio.Event] = {}
        """Tools whose calls wait for an event before they are answered."""
        self.port = 0
        self._changed = asyncio.Condition()
        self._stream: asyncio.Queue[str] = asyncio.Queue()

    def url(self, wire: str) -> str:
        return f"{'ws' if wire == 'ws-only' else 'http'}://127.0.0.1:{self.port}{_PATHS[wire]}"

    def of(self, method: str) -> list[Doc]:
        return [doc for doc in self.seen if doc.get("method") == method]

    async def until(self, method: str, count: int = 1) -> list[Doc]:
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: len(self.of(method)) >= count)
        return self.of(method)

    async def _serve(self, doc: Doc, say: Say) -> None:
        async with self._changed:
            self.seen.append(doc)
            self._changed.notify_all()
        if "id" not in doc or "method" not in doc:
            return
        gate = self.gates.get(str(doc.get("params", {}).get("name")))
        if gate is not None:
            await gate.wait()
        reply = self.replies.get(doc["method"])
        texts = reply(doc) if reply else ['{"jsonrpc":"2.0","id":$ID,"result":{}}']
        with contextlib.suppress(ConnectionError):  # who asked may have gone
            for text in [GREETING] if doc["method"] == "initialize" and reply is None else texts:
                await say(text.replace("$ID", json.dumps(doc["id"])))

    async def http(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405 if request.method == "GET" else 200)
        doc = await request.json()
        if "id" not in doc or "method" not in doc:
            await self._serve(doc, lambda _: asyncio.sleep(0))
            return web.Response(status=202)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)

        async def say(text: str) -> None:
            await stream.write(f"data: {text}\n\n".encode())

        await self._serve(doc, say)
        return stream

    async def sse(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self._stream = queue = asyncio.Queue[str]()
        await stream.write(b"event: endpoint\ndata: /messages\n\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await stream.write(f"data: {await queue.get()}\n\n".encode())
        return stream

    async def messages(self, request: web.Request) -> web.StreamResponse:
        doc = await request.json()
        self._tasks.create_task(self._serve(doc, self._stream.put))
        return web.Response(status=202)

    async def ws(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                self._tasks.create_task(self._serve(json.loads(frame.data), socket.send_str))
        return socket

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[RawWires]:
        """Serve on a free port."""
        app = web.Application()
        app.router.add_route("*", "/mcp", self.http)
        app.router.add_get("/sse", self.sse)
        app.router.add_post("/messages", self.messages)
        app.router.add_get("/ws", self.ws)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        async with asyncio.TaskGroup() as self._tasks:
            try:
                yield self
            finally:
                for gate in self.gates.values():
                    gate.set()
                await runner.cleanup()
