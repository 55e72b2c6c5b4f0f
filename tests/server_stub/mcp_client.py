"""A small Streamable HTTP client for the tests: raw enough to see statuses, headers and single events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.server_stub.links import initialize, within

BOTH = "application/json, text/event-stream"
JSON = {"Content-Type": "application/json"}


class Seen(NamedTuple):
    """One event as the client sees it."""

    event: str | None
    id: str | None
    data: str
    retry: str | None

    @property
    def document(self) -> Any:
        return json.loads(self.data)


class Events:
    """The events of one response, and its comments."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0
        self._lines = response.aiter_lines()

    async def next(self) -> Seen | None:
        """Return the next event, None at the end of the stream."""
        return await within(self._next())

    async def _next(self) -> Seen | None:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                return Seen(fields.get("event"), fields.get("id"), fields.get("data", ""), fields.get("retry"))
        return None

    async def message(self) -> Any:
        """Return the next event's message as a document."""
        event = await self.next()
        assert event is not None, "the stream has ended"
        return event.document

    async def rest(self) -> list[Any]:
        """Return the messages up to the end of the stream."""
        found: list[Any] = []
        while (event := await self.next()) is not None:
            found.append(event.document)
        return found


class McpClient:
    """One session on one URL."""

    def __init__(self, http: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None) -> None:
        self.http = http
        self.url = url
        self.headers = {**JSON, "Accept": BOTH, **(headers or {})}

    async def start(self, version: str = "2025-06-18") -> httpx.Response:
        """Initialize; from now on the session id goes with every request."""
        response = await self.post(initialize(version=version))
        assert response.status_code == 200, response.text
        self.headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]
        assert (await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})).status_code == 202
        return response

    async def post(self, document: Any, **headers: str) -> httpx.Response:
        return await within(self.http.post(self.url, content=_body(document), headers=self._with(headers)))

    @asynccontextmanager
    async def posting(self, document: Any, **headers: str) -> AsyncIterator[Events]:
        """POST, and read the answer as a stream."""
        headers_ = self._with(headers)
        async with self.http.stream("POST", self.url, content=_body(document), headers=headers_) as response:
            yield Events(response)

    @asynccontextmanager
    async def getting(self, last: str | None = None, **headers: str) -> AsyncIterator[Events]:
        """GET a stream: the standing one, or the one that the event id names."""
        headers_ = {"Accept": "text/event-stream", **headers, **({"Last-Event-ID": last} if last else {})}
        async with self.http.stream("GET", self.url, headers=self._with(headers_)) as response:
            yield Events(response)

    async def get(self, **headers: str) -> httpx.Response:
        return await within(self.http.get(self.url, headers=self._with(headers)))

    async def delete(self, **headers: str) -> httpx.Response:
        return await within(self.http.delete(self.url, headers=self._with(headers)))

    def _with(self, headers: dict[str, str]) -> dict[str, str]:
        return {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}


def _body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def new_http() -> httpx.AsyncClient:
    """Return an HTTP client that uses no proxy of the environment and says nothing of its own."""
    return httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(10.0, pool=None), limits=httpx.Limits())
