"""Clients that keep books, one for each wire: every request id is to get exactly one answer, whatever dies.

    async with caller("ws", server.url + "/name") as client:
        outcome = await client.call("whoami")
    assert not client.books.complaints()

A request ends in one of three ways: with its answer; *cut off*, when its connection ended before that, which the client
sees; or in silence, which is always wrong, as is a second answer and an answer to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.server_stub.links import initialize

Wire = Literal["http", "sse", "ws"]
WIRES: tuple[Wire, ...] = ("http", "sse", "ws")
PATIENCE = 40.0
"""Seconds after which a request that has met nothing has met silence: more than any limit of the server here."""
ENDS = (httpx.HTTPError, OSError, WebSocketException)
_BOTH = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Books:
    """What one client asked, and everything that came of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answers: dict[int, list[dict[str, Any]]] = {}
        self.cut_off: dict[int, str] = {}
        self._strays: list[Any] = []
        self._waiting: dict[int, asyncio.Event] = {}

    def ask(self, identifier: int) -> None:
        assert identifier not in self.answers
        self.answers[identifier] = []
        self._waiting[identifier] = asyncio.Event()

    def hear(self, document: Any) -> None:
        """Note a message of the server; one that is no answer is nobody's business here."""
        if not isinstance(document, dict) or "method" in document:
            return
        found = self.answers.get(document.get("id", -1))
        if found is None:
            self._strays.append(document)
            return
        found.append(document)
        self._waiting[document["id"]].set()

    def cut(self, why: str, *identifiers: int) -> None:
        """The connection of these requests is gone; without any: of all that wait."""
        for identifier in identifiers or tuple(self.answers):
            if not self.answers[identifier] and identifier not in self.cut_off:
                self.cut_off[identifier] = why
                self._waiting[identifier].set()

    async def outcome(self, identifier: int) -> dict[str, Any] | None:
        """Wait for the answer; None where there will be none."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._waiting[identifier].wait()
        except TimeoutError:
            return None
        return next(iter(self.answers[identifier]), None)

    def complaints(self) -> list[str]:
        """Return what is wrong, a sentence each."""
        silent = [number for number, found in self.answers.items() if not found and number not in self.cut_off]
        twice = [number for number, found in self.answers.items() if len(found) > 1]
        return [
            *(f"{self.name}: {number} was never answered" for number in silent),
            *(f"{self.name}: {number} was answered {len(self.answers[number])} times" for number in twice),
            *(f"{self.name}: nobody had asked for {stray}" for stray in self._strays),
        ]


class _Carrier(Protocol):
    async def send(self, document: dict[str, Any]) -> None: ...


class Caller:
    """One client, in session. `call` may be used side by side."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.greeting: dict[str, Any] | None = None
        self._ids = itertools.count(1)
        self.carrier: _Carrier | None = None

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """Ask; returns the answer, or None where the connection ended before it."""
        assert self.carrier is not None
        number = next(self._ids)
        self.books.ask(number)
        try:
            await self.carrier.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        except ENDS as error:
            self.books.cut(repr(error), number)
        return await self.books.outcome(number)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def greet(self) -> None:
        self.greeting = await self.ask("initialize", initialize()["params"])
        if self.greeting is not None and "result" in self.greeting:
            assert self.carrier is not None
            with contextlib.suppress(*ENDS):
                await self.carrier.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


class _Posts:
    """Streamable HTTP."""

    def __init__(self, http: httpx.AsyncClient, url: str, books: Books) -> None:
        self.headers = dict(_BOTH)
        self._http = http
        self._url = url
        self._books = books

    async def send(self, document: dict[str, Any]) -> None:
        async with self._http.stream("POST", self._url, json=document, headers=self.headers) as response:
            if "Mcp-Session-Id" in response.headers:
                self.headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]
            if "id" not in document:
                return  # what is said about a notification answers nothing
            if response.headers.get("Content-Type", "").startswith("text/event-stream"):
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        self._books.hear(json.loads(line[6:]))
            elif body := await response.aread():
                self._books.hear(json.loads(body))
        self._books.cut(f"ended with status {response.status_code}", document["id"])

    async def end(self) -> None:
        if "Mcp-Session-Id" in self.headers:
            with contextlib.suppress(httpx.HTTPError):
                await self._http.delete(self._url, headers=self.headers)


class _Pipe:
    """HTTP+SSE: what is posted is answered on the stream."""

    def __init__(self, http: httpx.AsyncClient, books: Books) -> None:
        self._http = http
        self._books = books
        self._where: httpx.URL | None = None
        self.opened = asyncio.Event()

    async def send(self, document: dict[str, Any]) -> None:
        if self._where is None:
            raise ConnectionResetError("there is no stream")
        response = await self._http.post(self._where, json=document)
        if response.status_code != 202 and "id" in document:
            self._books.hear(response.json())

    async def listen(self, url: str) -> None:
        try:
            async with self._http.stream("GET", url, headers={"Accept": "text/event-stream"}) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: /"):
                        self._where = response.url.join(line[6:])
                        self.opened.set()
                    elif line.startswith("data: "):
                        self._books.hear(json.loads(line[6:]))
        except httpx.HTTPError:
            pass  # it is the end of the stream that counts, not how it came
        self._where = None
        self.opened.set()
        self._books.cut("the stream has ended")


class _Socket:
    def __init__(self, socket: ClientConnection, books: Books) -> None:
        self._socket = socket
        self._books = books

    async def send(self, document: dict[str, Any]) -> None:
        await self._socket.send(json.dumps(document))

    async def listen(self) -> None:
        with contextlib.suppress(WebSocketException):
            async for frame in self._socket:
                self._books.hear(json.loads(frame))
        self._books.cut("the socket was closed")


@contextlib.asynccontextmanager
async def caller(
    wire: Wire,
    origin: str,
    books: Books | None = None,
    headers: dict[str, str] | None = None,
    *,
    stays_away: bool = False,
) -> AsyncIterator[Caller]:
    """Open a session over this wire, beside `origin`/mcp, /sse or /ws, and greet; end it at the end of the block.

    `stays_away`: it is not ended; the connections are cut, and nobody comes back.
    """
    client = Caller(books or Books(f"{wire} of {origin}"))
    async with contextlib.AsyncExitStack() as stack:
        if wire == "ws":
            address = origin.replace("http", "ws", 1) + "/ws"
            socket = await stack.enter_async_context(
                connect(address, proxy=None, max_size=None, additional_headers=headers, close_timeout=1)
            )
            if stays_away:
                stack.callback(socket.transport.abort)
            client.carrier = carrier = _Socket(socket, client.books)
            listen = carrier.listen()
        else:
            limits, timeout = httpx.Limits(max_connections=None), httpx.Timeout(PATIENCE + 5)
            http = await stack.enter_async_context(
                httpx.AsyncClient(
                    trust_env=False,
                    verify=False,  # noqa: S501  (nothing here is TLS, and reading all certificates takes long)
                    timeout=timeout,
                    limits=limits,
                    headers=headers,
                )
            )
            if wire == "http":
                client.carrier = posts = _Posts(http, f"{origin}/mcp", client.books)
                await client.greet()
                yield client
                if not stays_away:
                    await posts.end()
                return
            client.carrier = pipe = _Pipe(http, client.books)
            listen = pipe.listen(f"{origin}/sse")
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen)
            if isinstance(client.carrier, _Pipe):
                await client.carrier.opened.wait()
            await client.greet()
            try:
                yield client
            finally:
                listening.cancel()
