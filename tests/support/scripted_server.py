"""A raw socket server that does on each connection what a script says: any status and body, or any way to fail.

    async def script(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(b'{"jsonrpc":"2.0",...}', identifier="1")
        await peer.reset()

    async with ScriptedServer(script) as server:
        ...server.url, server.seen...

A script is called for every request, also for several on one connection. With `raw=True` it is called once for each
connection, before anything was read. What a script raises, other than a broken connection, fails the test at the end.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from mcp_remote_py.core.sse import encode_event

WAIT_SECONDS = 20


class Seen:
    """One HTTP request as it came."""

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def doc(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> Any:
        return self.doc.get("id")


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.chunked = False
        self.has_finished = False
        """Whether it has said that nothing more will come."""

    async def request(self) -> Seen | None:
        """Read one request; None where the client hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        seen = Seen(method, target, headers, b"")
        seen.body = await self.reader.readexactly(int(seen.header("content-length") or 0))
        return seen

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own as far as the loop allows."""
        for at in range(len(data)):
            await self.raw(data[at : at + 1])
            await asyncio.sleep(0)

    async def answer(
        self,
        status: int = 200,
        body: bytes = b"",
        content_type: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send a whole answer. `length` is a Content-Length that need not be true."""
        given = dict(headers or {})
        if content_type is not None:
            given["Content-Type"] = content_type
        given["Content-Length"] = str(len(body) if length is None else length)
        await self.raw(head_of(status, given) + body)

    async def json(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send a JSON answer; `document` may be bytes."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        await self.answer(status, body, "application/json", headers=headers)

    async def result(self, seen: Seen, result: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer a request as JSON."""
        document = {"jsonrpc": "2.0", "id": seen.id, "result": {} if result is None else result}
        await self.json(document, headers=headers)

    async def events(self, content_type: str = "text/event-stream", headers: dict[str, str] | None = None) -> None:
        """Begin an event stream."""
        self.chunked = True
        head = {"Content-Type": content_type, "Transfer-Encoding": "chunked", **(headers or {})}
        await self.raw(head_of(200, head))

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(
        self, data: Any = b"", *, event: str | None = None, identifier: str | None = None, retry: int | None = None
    ) -> None:
        """Send one event; what is not bytes is sent as JSON."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        await self.chunk(encode_event(body, event=event, identifier=identifier, retry=retry))

    async def end(self) -> None:
        """End a chunked body in order."""
        self.chunked = False
        await self.raw(b"0\r\n\r\n")

    async def reset(self) -> None:
        """Break the connection with RST."""
        await self.writer.drain()
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def half_close(self) -> None:
        """Say that nothing more will come, and go on reading."""
        self.has_finished = True
        self.writer.write_eof()

    async def hang_up(self) -> None:
        """Close in order, also in the middle of a body."""
        self.chunked = False
        self.writer.close()

    async def silence(self) -> None:
        """Say nothing more, until the client hangs up."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass  # it may hang up as rudely as it likes

    async def gone(self) -> None:
        """Wait until the client hung up."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self.silence()


Script = Callable[[Seen, Peer], Awaitable[None]]
RawScript = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """See the module's text."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        raw: RawScript | None = None,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.script = script
        """May be set later: a script that needs to know the port is made when the server stands."""
        self._raw = raw
        self._context = context
        self._host = host
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: list[Exception] = []
        self._changed = asyncio.Condition()
        self.seen: list[Seen] = []
        self.connections = 0
        self.port = port
        """Given where the server is to come back at an address that is known already."""

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://{self._host}:{self.port}/mcp"

    def of(self, method: str) -> list[Seen]:
        """The requests of one HTTP method so far."""
        return [seen for seen in self.seen if seen.method == method]

    def stop_listening(self) -> None:
        """Refuse new connections from now on."""
        self._server.close()

    async def until(self, count: int, method: str = "POST") -> list[Seen]:
        """Wait until so many requests of this HTTP method were read."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.of(method)) >= count)
        return self.of(method)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            await task
        await self._server.wait_closed()
        if self._failures and error is None:
            raise self._failures[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        peer = Peer(reader, writer)
        try:
            if self._raw is not None:
                await self._raw(peer)
            else:
                await self._requests(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which is its right
        except asyncio.CancelledError:
            # the test is over; asyncio would log a handler that ends cancelled as a failure, and an orderly end of TLS
            # would wait for the client
            writer.transport.abort()
        except Exception as failure:  # noqa: BLE001  handed to the test at the end
            self._failures.append(failure)
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _requests(self, peer: Peer) -> None:
        while (seen := await peer.request()) is not None:
            async with self._changed:
                self.seen.append(seen)
                self._changed.notify_all()
            assert self.script is not None
            await self.script(seen, peer)
            if peer.has_finished:
                await peer.silence()
            if peer.writer.is_closing() or peer.has_finished:
                return
            if peer.chunked:
                await peer.end()


def head_of(status: int, headers: dict[str, str]) -> bytes:
    """Return the head of an HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
