"""A remote MCP server over Streamable HTTP that does what a test tells it, and remembers every request.

`on(method)` registers what a JSON-RPC method is answered with: an aiohttp response, or a function of (request, message)
that makes one. Unregistered requests get an empty result; notifications and answers get 202.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class Seen:
    """One HTTP request."""

    def __init__(self, verb: str, headers: dict[str, str], body: bytes) -> None:
        self.verb = verb
        self.headers = headers
        self.body = body

    @property
    def doc(self) -> Any:
        return json.loads(self.body) if self.body else None


def result_of(message: dict[str, Any], result: Any, **headers: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


class FakeRemote:
    """See the module's text. `url` is its endpoint; `session` is the id it gives, or None for none."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.session: str | None = "session-1"
        self.revision = "2025-06-18"
        self.get_status = 405
        self.url = ""
        self.deleted = asyncio.Event()
        self._replies: dict[str, Reply] = {}
        self._changed = asyncio.Condition()

    def on(self, method: str) -> Callable[[Reply], Reply]:
        def register(reply: Reply) -> Reply:
            self._replies[method] = reply
            return reply

        return register

    async def until(self, count: int, method: str) -> list[Seen]:
        """Wait until so many POSTs of this method were seen."""

        def found() -> list[Seen]:
            return [seen for seen in self.posts() if seen.doc.get("method") == method]

        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(lambda: len(found()) >= count)
        return found()

    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.verb == "POST"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._changed:
            self.seen.append(Seen(request.method, dict(request.headers), body))
            self._changed.notify_all()
        if request.method == "DELETE":
            self.deleted.set()
            return web.Response(status=200)
        if request.method == "GET":
            return (
                await self._replies["GET"](request, {})
                if "GET" in self._replies
                else web.Response(status=self.get_status)
            )
        message = json.loads(body)
        reply = self._replies.get(message.get("method", "answer"))
        if reply is not None:
            return await reply(request, message)
        if message.get("method") == "initialize":
            headers = {} if self.session is None else {"Mcp-Session-Id": self.session}
            greeting = {
                "protocolVersion": self.revision,
                "capabilities": {},
                "serverInfo": {"name": "fake", "version": "0"},
            }
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": greeting}, headers=headers)
        if "id" in message and "method" in message:
            return result_of(message, {})
        return web.Response(status=202)


async def open_stream(request: web.Request) -> web.StreamResponse:
    """Begin an event stream as the answer to this request."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def event(response: web.StreamResponse, doc: Any, identifier: str | None = None) -> None:
    """Send one event on a stream."""
    head = f"id: {identifier}\n" if identifier is not None else ""
    await response.write(f"{head}event: message\ndata: {json.dumps(doc)}\n\n".encode())


@contextlib.asynccontextmanager
async def fake_remote(context: ssl.SSLContext | None = None) -> AsyncIterator[FakeRemote]:
    """Run a fake remote on a free port."""
    remote = FakeRemote()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/mcp", remote.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    remote.url = f"http{'s' if context else ''}://127.0.0.1:{port}/mcp"
    try:
        yield remote
    finally:
        await runner.cleanup()
