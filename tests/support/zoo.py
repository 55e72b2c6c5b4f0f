"""The zoo: a protected MCP server on all wires, and the authorization server it trusts, in one dialect.

Three origins on loopback: `mcp` is the MCP server (`/mcp`, `/sse`, `/ws`), `auth` the authorization server, `elsewhere`
whatever is of another origin than both. `asked` has every request to any of them, in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, WSMsgType, web

from tests.support.authorization_server import Access, Asked, AuthorizationServer, Handler
from tests.support.dialects import DIALECTS, Dialect
from tests.support.host import clean_environment
from tests.support.jwt_checks import Refused, check_proof

PATHS = {"http": "/mcp", "sse": "/sse", "ws": "/ws"}
GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "zoo", "version": "0"},
}
WELL_KNOWN = "/.well-known/oauth-protected-resource"
BROWSER = Path(__file__).parent / "children" / "browser.py"
Headers = dict[str, str]


class Zoo(AuthorizationServer):
    """See the module's text."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.open: frozenset[str] = frozenset()
        """Methods that need no token."""
        self.needs: dict[str, str] = {}
        """The scope that a tool needs; without it the answer is 403 insufficient_scope."""
        self.challenge_scope: str | None = None
        self.resource_scopes: tuple[str, ...] | None = None
        """`scopes_supported` of the resource."""
        self.resource_nonce: str | None = None
        """The nonce that DPoP proofs have to carry at the MCP server."""
        self.refuses_all = False
        """Whether no token is ever good enough."""
        self.called: list[Any] = []
        """Every message that was let in."""
        self._resource_jtis: set[str] = set()
        self._streams: list[asyncio.Queue[dict[str, Any]]] = []
        self._table: dict[tuple[str, str], tuple[str, Handler]] = {}

    def url(self, wire: str = "http") -> str:
        """The MCP server's URL on one wire."""
        origin = self.origins["mcp"]
        return (origin.replace("http", "ws", 1) if wire == "ws" else origin) + PATHS[wire]

    def tokens_shown(self) -> list[str]:
        """The Authorization headers that the MCP server saw, in their order."""
        shown = (asked.header("Authorization") for asked in self.asked if asked.what == "mcp")
        return [text for text in shown if text is not None]

    # --- Who is let in ---

    def _metadata_places(self) -> dict[str, str]:
        """Path of the resource's metadata -> the path of the resource it describes."""
        found = {}
        for path in PATHS.values():
            if {"header", "path"} & set(self.dialect.resource_metadata):
                found[f"{WELL_KNOWN}{path}"] = path
        if "root" in self.dialect.resource_metadata:
            found[WELL_KNOWN] = ""
        return found

    async def resource_metadata(self, request: web.Request) -> web.Response:
        document: dict[str, Any] = {
            "resource": self.origins["mcp"] + self._metadata_places()[request.path],
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
        }
        if self.resource_scopes is not None:
            document["scopes_supported"] = list(self.resource_scopes)
        return web.json_response(self._edited("resource-metadata", document))

    def _challenge(self, path: str, **parameters: str | None) -> Headers:
        given = dict(parameters)
        if "header" in self.dialect.resource_metadata:
            given["resource_metadata"] = f"{self.origins['mcp']}{WELL_KNOWN}{path}"
        text = ", ".join(f'{name}="{value}"' for name, value in given.items() if value is not None)
        return {"WWW-Authenticate": f"{self.dialect.resource_scheme} {text}".strip()}

    def guard(self, request: web.Request, message: dict[str, Any]) -> web.Response | None:
        """Return the refusal of a request; None lets it in."""
        if message.get("method") in self.open:
            return None
        path = "/sse" if request.path == "/messages" else request.path
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        access = self.access.get(token)
        if access is None or self._is_bad(access, path):
            error = "invalid_token" if token else None
            return _refusal(401, self._challenge(path, error=error, scope=self.challenge_scope))
        refused = self._proof_problem(request, access, scheme, token)
        if refused is not None:
            headers = self._challenge(path, error=refused)
            if refused == "use_dpop_nonce" and self.resource_nonce is not None:
                headers["DPoP-Nonce"] = self.resource_nonce
            return _refusal(401, headers)
        params = message.get("params")
        needed = self.needs.get(params.get("name", "")) if isinstance(params, dict) else None
        if needed is not None and not set(needed.split()) <= set(access.permission.scope.split()):
            return _refusal(403, self._challenge(path, error="insufficient_scope", scope=needed))
        return None

    def _is_bad(self, access: Access, path: str) -> bool:
        permission = access.permission
        resources = (None, self.origins["mcp"] + path, self.origins["mcp"])
        return (
            self.refuses_all
            or time.time() >= access.expires
            or permission.family in self.revoked
            or permission.resource not in resources
        )

    def _proof_problem(self, request: web.Request, access: Access, scheme: str, token: str) -> str | None:
        if access.thumbprint is None:
            return None if scheme == "Bearer" else "invalid_token"
        if scheme != "DPoP":
            return "invalid_token"
        url = f"{request.scheme}://{request.host}{request.path}"
        proofs = request.headers.getall("DPoP", [])
        try:
            found = check_proof(
                proofs, request.method, url, token=token, nonce=self.resource_nonce, seen=self._resource_jtis
            )
        except Refused as refused:
            self.troubles.append(f"the MCP server: {refused}")
            return "use_dpop_nonce" if str(refused) == "use_dpop_nonce" else "invalid_dpop_proof"
        return None if found == access.thumbprint else "invalid_token"

    # --- The MCP server ---

    async def mcp(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        message = json.loads(body) if body else {}
        refusal = self.guard(request, message)
        if refusal is not None:
            return refusal
        if request.path == "/ws":
            return await self._socket(request)
        if request.path == "/sse" and request.method == "GET":
            return await self._stream(request)
        if request.method != "POST" or request.path == "/sse":
            return web.Response(status=405)
        answer = self._answered(message)
        if request.path == "/messages" and answer is not None:
            self._streams[-1].put_nowait(answer)
        if answer is None or request.path == "/messages":
            return web.Response(status=202)
        return web.json_response(answer)

    def _answered(self, message: dict[str, Any]) -> dict[str, Any] | None:
        self.called.append(message)
        if "id" not in message or "method" not in message:
            return None
        if message["method"] == "initialize":
            result: dict[str, Any] = GREETING
        elif message["method"] == "tools/list":
            result = {"tools": [{"name": "tool", "inputSchema": {"type": "object"}}]}
        else:
            result = {"content": [{"type": "text", "text": "done"}]}
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: endpoint\ndata: /messages\n\n")
        queue = asyncio.Queue[dict[str, Any]]()
        self._streams.append(queue)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(f"event: message\ndata: {json.dumps(await queue.get())}\n\n".encode())
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                answer = self._answered(frame.json())
                if answer is not None:
                    await socket.send_json(answer)
        return socket

    # --- One handler for all ports ---

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        port = request.transport.get_extra_info("sockname")[1]
        place = next(name for name, origin in self.origins.items() if origin.endswith(f":{port}"))
        body = b"" if request.headers.get("Upgrade") else await request.read()
        what, handler = self._route(place, request.path)
        query, headers = dict(request.query), [(name, value) for name, value in request.headers.items()]
        async with self.changed:
            self.asked.append(Asked(what, place, request.method, request.path, query, headers, body))
            self.changed.notify_all()
        return await self.instead.get(what, handler)(request)

    def _route(self, place: str, path: str) -> tuple[str, Handler]:
        if place == "mcp" and path in self._metadata_places():
            return "resource-metadata", self.resource_metadata
        if place == "mcp" and path in (*PATHS.values(), "/messages"):
            return "mcp", self.mcp
        if not self._table:
            self._table = self.routes()
        return self._table.get((place, path), ("other", _nothing_here))


def _refusal(status: int, headers: Headers) -> web.Response:
    return web.Response(status=status, headers=headers, text="no")


async def _nothing_here(_: web.Request) -> web.Response:
    return web.Response(status=404, text="nothing here")


# --- Misbehaviour -----------------------------------------------------------------------------------------------------


def sends(status: int = 200, *, text: str = "", **headers: str) -> Handler:
    """An endpoint that answers this, whatever it is asked."""

    async def handler(_: web.Request) -> web.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=given)

    return handler


def redirects(to: str, status: int = 307) -> Handler:
    """An endpoint that is somewhere else."""
    return sends(status, Location=to)


def hangs(zoo: Zoo, what: str, seconds: float) -> None:
    """Let an endpoint answer late."""
    usual = dict(zoo.routes().values())[what]

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await usual(request)

    zoo.instead[what] = handler


# --- Running it -------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_zoo(
    dialect: str | Dialect = "plain",
    *,
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    made: type[Zoo] = Zoo,
) -> AsyncIterator[Zoo]:
    """Run one on free ports. `host`: the name in its URLs; it has to lead to 127.0.0.1. `made`: another class."""
    zoo = made(DIALECTS[dialect] if isinstance(dialect, str) else dialect)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", zoo.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for place in ("mcp", "auth", "elsewhere"):
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            zoo.origins[place] = f"http{'s' if context else ''}://{host}:{runner.addresses[-1][1]}"
        yield zoo
    finally:
        await runner.cleanup()


async def agree(url: str) -> str:
    """What a person with a browser on another machine does; returns the address at which that browser ends."""
    async with ClientSession() as session:
        async with session.get(url) as page:
            number = re.search(r'name="request" value="(\w+)"', await page.text())
        assert number is not None, "no page that asks for consent"
        form = {"request": number.group(1), "decision": "allow"}
        async with session.post(urllib.parse.urljoin(url, "/consent"), data=form, allow_redirects=False) as answer:
            return answer.headers["Location"]


class Browser:
    """The fake browser: what `$BROWSER` must be, and what was opened with it."""

    def __init__(self, folder: Path, *ways: str) -> None:
        """`ways`: the arguments of `children/browser.py`."""
        self.log = folder / "opened.jsonl"
        self.ways = ways

    @property
    def command(self) -> str:
        words = (sys.executable, str(BROWSER), str(self.log), *self.ways)
        return " ".join(f"'{word}'" for word in words) + " %s"

    def opened(self) -> list[dict[str, Any]]:
        """One entry for each tab: `url`, and where it ended: `status`, `text`, `at`."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def tabs(self) -> int:
        return sum(1 for entry in self.opened() if entry["event"] == "opened")

    def pages(self) -> list[dict[str, Any]]:
        """What the person saw at the end of each tab."""
        return [entry for entry in self.opened() if entry["event"] == "closed"]

    def environment(self, home: Path, **extra: str) -> dict[str, str]:
        """The environment of a bridge that uses this browser and keeps its things in `home`."""
        return clean_environment(MCP_REMOTE_PY_HOME=str(home), BROWSER=self.command, **extra)
