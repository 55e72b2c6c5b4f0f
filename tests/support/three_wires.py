"""A small MCP server that speaks all three wires on one port, also in TLS: /mcp, /sse, /ws."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

PATHS = {"http": "/mcp", "sse": "/sse", "ws": "/ws"}


def _answer(message: Any) -> dict[str, Any] | None:
    if "id" not in message or "method" not in message:
        return None
    greeting = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "three", "version": "0"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": greeting if message["method"] == "initialize" else {}}


class ThreeWires:
    """`port` is where it listens; `clients` has the certificate that each request's client showed, or None."""

    def __init__(self) -> None:
        self.port = 0
        self.clients: list[dict[str, Any] | None] = []
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def url(self, wire: str, host: str = "127.0.0.1") -> str:
        scheme = "wss" if wire == "ws" else "https"
        return f"{scheme}://{host}:{self.port}{PATHS[wire]}"

    def _note(self, request: web.Request) -> None:
        self.clients.append(None if request.transport is None else request.transport.get_extra_info("peercert"))

    async def http(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        if request.method != "POST":
            return web.Response(status=405 if request.method == "GET" else 200)
        answer = _answer(await request.json())
        return web.Response(status=202) if answer is None else web.json_response(answer)

    async def sse(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outgoing = outgoing
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"event: endpoint\ndata: /messages\n\n")
        while True:
            answer = await outgoing.get()
            await stream.write(f"event: message\ndata: {json.dumps(answer)}\n\n".encode())

    async def messages(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        answer = _answer(await request.json())
        if answer is not None:
            self._outgoing.put_nowait(answer)
        return web.Response(status=202)

    async def ws(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                answer = _answer(json.loads(frame.data))
                if answer is not None:
                    await socket.send_json(answer)
        return socket


@contextlib.asynccontextmanager
async def three_wires(context: ssl.SSLContext) -> AsyncIterator[ThreeWires]:
    """Run the server on a free port."""
    remote = ThreeWires()
    app = web.Application()
    app.router.add_route("*", "/mcp", remote.http)
    app.router.add_get("/sse", remote.sse)
    app.router.add_post("/messages", remote.messages)
    app.router.add_get("/ws", remote.ws)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    remote.port = runner.addresses[0][1]
    try:
        yield remote
    finally:
        await runner.cleanup()
