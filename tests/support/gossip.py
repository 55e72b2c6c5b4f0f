"""A server that repeats everything it was told, in every place where a bridge might read it, and in every spelling.

The wires are those of the bridge: `http`, `sse`, `ws`. Each gives a session id or a cookie of its own. What a call
brings is decided by its tool's name; see `_FAILURES`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.scripted_server import Peer, ScriptedServer, Seen
from tests.support.spellings import SPELLINGS

COOKIE = "c00kie-0f-the-server/4+8=="
SESSION = "5e55ion-0f-the-server-Q7vX2"
LOST = {"http": ("error", "scope", "type", "redirect", "elsewhere", "refused"), "sse": ("error", "redirect"), "ws": ()}
"""The tools of a wire whose calls end in an error of the bridge."""


class Gossip:
    """What was heard, and how it is told on."""

    def __init__(self, session: str = SESSION) -> None:
        self.session = session
        self.heard: list[list[tuple[str, str]]] = []
        self.query = ""

    def hear(self, headers: list[tuple[str, str]], target: str) -> None:
        self.heard.append(headers)
        self.query = target.partition("?")[2] or self.query

    def credentials(self) -> set[str]:
        """All tokens that came, without their scheme."""
        values = [value for headers in self.heard for name, value in headers if name.lower() == "authorization"]
        return {value.partition(" ")[2] for value in values}

    def values(self) -> list[str]:
        return [value for headers in self.heard[-1:] for _, value in headers] + [COOKIE, self.session, self.query]

    def whole(self) -> str:
        """All values in all spellings, and all headers as they are."""
        spelled = [spell(value) for value in self.values() for spell in SPELLINGS.values()]
        return json.dumps(dict(self.heard[-1])) + "\n" + self.raw() + "\n" + " ".join(spelled)

    def raw(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.heard[-1]) + f"\nGET /mcp?{self.query}"

    def short(self) -> str:
        """What fits into a header."""
        return " ".join(value for value in self.values() if value.isascii()).replace('"', "'")

    def result(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["method"] == "initialize":
            greeting = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "serverInfo": {"name": "g", "version": "0"},
            }
            return {"jsonrpc": "2.0", "id": message["id"], "result": greeting}
        content = [{"type": "text", "text": self.whole()}]
        return {"jsonrpc": "2.0", "id": message["id"], "result": {"content": content, "headers": dict(self.heard[-1])}}

    def notification(self) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": self.whole()}}


def tool_of(message: dict[str, Any]) -> str:
    return str(message.get("params", {}).get("name", "")) if message.get("method") == "tools/call" else ""


# --- The ways to fail over HTTP --------------------------------------------------------------------------------------


async def _error(gossip: Gossip, peer: Peer) -> None:
    headers = {"Retry-After": gossip.short(), "X-Debug": gossip.short()}
    await peer.answer(503, gossip.whole().encode(), "text/plain", headers=headers)


async def _scope(gossip: Gossip, peer: Peer) -> None:
    challenge = f'Bearer error="insufficient_scope", scope="{gossip.short()}"'
    await peer.answer(403, gossip.whole().encode(), "text/html", headers={"WWW-Authenticate": challenge})


async def _type(gossip: Gossip, peer: Peer) -> None:
    await peer.answer(200, gossip.whole().encode(), f"text/{gossip.short()}")


async def _redirect(gossip: Gossip, peer: Peer) -> None:
    path = "/".join(SPELLINGS["quote"](value) for value in gossip.values())
    location = f"https://u:{COOKIE}@other.example/{path}?token={path}#{path}"
    await peer.answer(307, gossip.whole().encode(), "text/plain", headers={"Location": location})


async def _elsewhere(gossip: Gossip, peer: Peer) -> None:
    path = "/".join(SPELLINGS["base64url"](value) for value in gossip.values())
    await peer.answer(302, b"", headers={"Location": f"/{path}?{gossip.query}"})


async def _refused(gossip: Gossip, peer: Peer) -> None:
    challenge = f'Bearer realm="{gossip.short()}", error="invalid_token", error_description="{gossip.short()}"'
    await peer.answer(401, gossip.whole().encode(), "text/html", headers={"WWW-Authenticate": challenge})


_FAILURES: dict[str, Callable[[Gossip, Peer], Awaitable[None]]] = {
    "error": _error,
    "scope": _scope,
    "type": _type,
    "redirect": _redirect,
    "elsewhere": _elsewhere,
    "refused": _refused,
}


# --- The wires -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def gossip_over(wire: str, gossip: Gossip) -> AsyncIterator[str]:
    """Run the server; the URL of it, without a query."""
    async with {"http": _http, "sse": _sse, "ws": _ws}[wire](gossip) as url:
        yield url


@contextlib.asynccontextmanager
async def _http(gossip: Gossip) -> AsyncIterator[str]:
    async def script(seen: Seen, peer: Peer) -> None:
        gossip.hear(seen.headers, seen.target)
        if seen.method == "GET":
            await peer.answer(405)
        elif seen.method == "DELETE":
            await peer.answer(500, gossip.whole().encode(), "text/plain")
        elif "id" not in seen.doc:
            await peer.answer(202)
        elif tool_of(seen.doc) in _FAILURES:
            await _FAILURES[tool_of(seen.doc)](gossip, peer)
        elif seen.doc["method"] == "initialize":
            cookies = f"lb={COOKIE}; Path=/; HttpOnly"
            await peer.json(gossip.result(seen.doc), headers={"Mcp-Session-Id": SESSION, "Set-Cookie": cookies})
        else:
            await peer.events()
            await peer.event(gossip.notification())
            await peer.event(gossip.result(seen.doc), identifier=SESSION)

    async with ScriptedServer(script) as server:
        yield server.url


@contextlib.asynccontextmanager
async def _sse(gossip: Gossip) -> AsyncIterator[str]:
    streams: list[Peer] = []

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            gossip.hear(seen.headers, seen.target)
            streams.append(peer)
            await peer.events(headers={"Set-Cookie": f"lb={COOKIE}; Path=/"})
            await peer.event(f"/messages?sessionId={SESSION}".encode(), event="endpoint")
            await peer.silence()
        elif tool_of(seen.doc) in _FAILURES:
            await _FAILURES[tool_of(seen.doc)](gossip, peer)
        else:
            await peer.answer(202)
            if "id" in seen.doc:
                await streams[-1].event(gossip.notification())
                await streams[-1].event(gossip.result(seen.doc))

    async with ScriptedServer(script) as server:
        yield server.url


@contextlib.asynccontextmanager
async def _ws(gossip: Gossip) -> AsyncIterator[str]:
    def hear(connection: ServerConnection, request: Request) -> None:
        del connection
        gossip.hear(list(request.headers.raw_items()), request.path)

    def give(connection: ServerConnection, request: Request, response: Response) -> None:
        del connection, request
        response.headers["Set-Cookie"] = f"lb={COOKIE}; Path=/"

    async def speak(socket: ServerConnection) -> None:
        while True:
            try:
                message = json.loads(await socket.recv())
            except ConnectionClosed:
                return
            if tool_of(message) == "goodbye":
                secrets = [value for name, value in gossip.heard[-1] if name.lower() == "authorization"]
                await socket.close(4003, f"{COOKIE} {secrets[-1] if secrets else ''}"[:123])
            elif "id" in message:
                await socket.send(json.dumps(gossip.notification()))
                await socket.send(json.dumps(gossip.result(message)))

    server = await serve(speak, "127.0.0.1", 0, process_request=hear, process_response=give)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def gossiping_proxy(status: HTTPStatus) -> AsyncIterator[tuple[str, Gossip]]:
    """An HTTP proxy that answers everything, tunnels too, with this status and all that it heard: host:port."""
    gossip = Gossip()

    async def script(seen: Seen, peer: Peer) -> None:
        gossip.hear(seen.headers, seen.target)
        headers = {"Proxy-Authenticate": f'Basic realm="{gossip.short()}"', "Connection": "close"}
        await peer.answer(status, gossip.whole().encode(), "text/html", headers=headers)
        await peer.hang_up()

    async with ScriptedServer(script) as server:
        yield f"127.0.0.1:{server.port}", gossip
        await asyncio.sleep(0)
