"""One MCP server on all wires, in plain and in TLS, that remembers every request with all its headers.

`/mcp` is Streamable HTTP, `/sse` with `/messages` is HTTP+SSE, `/ws` is a WebSocket. `redirect` sends every request for
a path that begins with `/moved` on, with the status and the location that it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import WSMsgType, web

GREETING = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "every wire", "version": "0"}}
SESSION = "session-of-every-wire"
HANG_UP = "x/hang-up"
"""A method after whose answer a WebSocket is closed, and a session over HTTP is no longer known."""


class EveryWire:
    """See the module's text. `cookie` is set with each answer where it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.frames: list[Any] = []
        self.ports: dict[str, int] = {}
        self.redirect: tuple[int, str] = (307, "")
        self.cookie: str | None = None
        self.moves_to: str | None = None
        """From now on everything is redirected there."""
        self.gone: set[str] = set()
        """The sessions that are no longer known."""
        self._streams: list[asyncio.Queue[dict[str, Any]]] = []

    def url(self, scheme: str, path: str, host: str = "127.0.0.1") -> str:
        secure = scheme in ("https", "wss")
        return f"{scheme}://{host}:{self.ports['https' if secure else 'http']}{path}"

    def headers(self, name: str) -> list[str | None]:
        """The values of this header in all requests, in their order."""
        return [next((v for k, v in given.items() if k.lower() == name.lower()), None) for _, _, given in self.seen]

    def everything(self) -> str:
        """All that was ever sent here, as one text to search for secrets in."""
        return f"{self.seen!r} {self.frames!r}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path, dict(request.headers)))
        headers = {} if self.cookie is None else {"Set-Cookie": self.cookie}
        if self.moves_to is not None or request.path.startswith("/moved"):
            status, location = self.redirect if self.moves_to is None else (307, self.moves_to)
            return web.Response(status=status, headers={**headers, "Location": location})
        if request.path == "/ws":
            return await self._socket(request, headers)
        if request.path == "/sse":
            return await self._stream(request, headers)
        if request.method == "GET":
            return web.Response(status=405)
        if request.headers.get("Mcp-Session-Id") in self.gone:
            return web.Response(status=404)
        if request.method == "DELETE":
            return web.Response(status=200, headers=headers)
        message = await request.json()
        answer = self._answer(message)
        if request.path == "/messages":
            if answer is not None:
                self._streams[-1].put_nowait(answer)
            return web.Response(status=202)
        if answer is None:
            return web.Response(status=202)
        session = f"{SESSION}-{len(self.gone)}" if self.gone else SESSION
        if message["method"] == HANG_UP:
            self.gone.add(session)
        return web.json_response(answer, headers={"Mcp-Session-Id": session, **headers})

    def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        self.frames.append(message)
        if "id" not in message or "method" not in message:
            return None
        result = GREETING if message["method"] == "initialize" else {}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async def _stream(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await response.prepare(request)
        await response.write(b"event: endpoint\ndata: /messages\n\n")
        queue = asyncio.Queue[dict[str, Any]]()
        self._streams.append(queue)
        with contextlib.suppress(ConnectionError):
            while True:
                answer = json.dumps(await queue.get())
                await response.write(f"event: message\ndata: {answer}\n\n".encode())
        return response

    async def _socket(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        socket.headers.update(headers)
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                answer = self._answer(frame.json())
                if answer is not None:
                    await socket.send_json(answer)
                if frame.json().get("method") == HANG_UP:
                    await socket.close()
        return socket


@contextlib.asynccontextmanager
async def every_wire(context: ssl.SSLContext | None = None) -> AsyncIterator[EveryWire]:
    """Run such a server on free ports, the second one with this context."""
    server = EveryWire()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for scheme, given in (("http", None), ("https", context)):
            if scheme == "http" or given is not None:
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=given).start()
                server.ports[scheme] = runner.addresses[-1][1]
        yield server
    finally:
        await runner.cleanup()
