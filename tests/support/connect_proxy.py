"""A proxy for tests: CONNECT tunnels and forwarded plain requests; it remembers every byte that it was shown.

It answers for made-up names (`mcp.example.test`), which stand for 127.0.0.1 here and for nothing anywhere else: what
arrives at the server for such a name has come through the proxy. `ConnectProxy(users={...})` asks for credentials;
`deed` replaces what it does with a request by something rude; `SocksProxy` does the same in SOCKS5.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

HOST = "mcp.example.test"
"""A name that no name server knows (RFC 6761)."""


class Tunnel:
    """One connection to the proxy. `head` is the first request; `sent` all that the client sent after it."""

    def __init__(self, head: bytes) -> None:
        self.head = head
        self.sent = bytearray()

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


Deed = Callable[[Tunnel, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Proxy:
    """What both kinds share: the socket, the memory, the pump."""

    scheme = "http"

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.tunnels: list[Tunnel] = []
        self.port: int = 0

    @property
    def count(self) -> int:
        return len(self.tunnels)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, credentials: str = "") -> str:
        return f"{self.scheme}://{credentials + '@' if credentials else ''}{self.place}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for _turn in range(3):
            await asyncio.sleep(0)  # a connection that was accepted just now is served, so that it can be ended
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side may go away
        except asyncio.CancelledError:
            writer.transport.abort()  # the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _pump(
        self, tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes = b""
    ) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        to_writer.write(first)
        tasks = [
            asyncio.create_task(_copy(reader, to_writer, tunnel.sent)),  # noqa: TID251  a test's proxy
            asyncio.create_task(_copy(to_reader, writer, bytearray())),  # noqa: TID251
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, memory: bytearray) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            memory += chunk
            sink.write(chunk)
            await sink.drain()


class ConnectProxy(_Proxy):
    """See the module's text. With a context it speaks TLS itself (`https://` proxy)."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        challenge: str = 'Basic realm="corp"',
        deed: Deed | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(context)
        self.scheme = "https" if context else "http"
        self._users = users
        self._challenge = challenge
        self._deed = deed

    @property
    def connects(self) -> list[Tunnel]:
        return [tunnel for tunnel in self.tunnels if tunnel.line.startswith("CONNECT ")]

    @property
    def forwarded(self) -> list[Tunnel]:
        return [tunnel for tunnel in self.tunnels if not tunnel.line.startswith("CONNECT ")]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        tunnel = Tunnel(head)
        self.tunnels.append(tunnel)
        if self._deed is not None:
            await self._deed(tunnel, reader, writer)
        elif not self._lets_in(tunnel):
            await answer(writer, 407, f"Proxy-Authenticate: {self._challenge}\r\n")
        elif tunnel.line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._pump(tunnel, reader, writer, _port(tunnel.line.split(" ")[1]))
        else:
            method, target, version = tunnel.line.split(" ")
            authority, _, path = target.removeprefix("http://").partition("/")
            rest = b"\r\n".join(
                line for line in head.split(b"\r\n")[1:-2] if not line.lower().startswith((b"proxy-", b"connection:"))
            )
            first = f"{method} /{path} {version}\r\n".encode() + rest + b"\r\nConnection: close\r\n\r\n"
            await self._pump(tunnel, reader, writer, _port(authority), first)

    def _lets_in(self, tunnel: Tunnel) -> bool:
        if self._users is None:
            return True
        kind, _, value = tunnel.headers.get("proxy-authorization", "").partition(" ")
        name, _, password = base64.b64decode(value).decode().partition(":")
        return kind == "Basic" and self._users.get(name) == password


class SocksProxy(_Proxy):
    """SOCKS5, with or without credentials. A `reply` other than 0 refuses; `names` has what was asked for."""

    scheme = "socks5"

    def __init__(self, *, user: tuple[str, str] | None = None, reply: int = 0) -> None:
        super().__init__()
        self._user = user
        self._reply = reply
        self.names: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        offered = await reader.readexactly(count)
        wanted = 0 if self._user is None else 2
        if wanted not in offered:
            writer.write(b"\x05\xff")
            await writer.drain()
            return
        writer.write(bytes([5, wanted]))
        if self._user is not None:
            await reader.readexactly(1)
            given = (await self._text(reader), await self._text(reader))
            writer.write(b"\x01\x00" if given == self._user else b"\x01\x01")
            await writer.drain()
            if given != self._user:
                return
        await reader.readexactly(4)
        name = await self._text(reader)
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.names.append(f"{name}:{port}")
        tunnel = Tunnel(b"")
        self.tunnels.append(tunnel)
        for byte in bytes([5, self._reply, 0, 1, 127, 0, 0, 1, 0, 80]):
            writer.write(bytes([byte]))  # in pieces, as networks may bring it
            await writer.drain()
        if self._reply == 0:
            await self._pump(tunnel, reader, writer, port)

    @staticmethod
    async def _text(reader: asyncio.StreamReader) -> str:
        (size,) = await reader.readexactly(1)
        return (await reader.readexactly(size)).decode()


async def answer(writer: asyncio.StreamWriter, status: int, headers: str = "") -> None:
    """Send an answer without a body, in the proxy's own name."""
    writer.write(f"HTTP/1.1 {status} Scripted\r\n{headers}Content-Length: 0\r\n\r\n".encode())
    await writer.drain()


def refusing(status: int) -> Deed:
    """A deed: answer every request with this status."""

    async def deed(_: Tunnel, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer, status)

    return deed


def saying(raw: bytes) -> Deed:
    """A deed: say these bytes, whatever was asked, and hang up."""

    async def deed(_: Tunnel, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return deed


async def silent(_: Tunnel, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """A deed: say nothing until the client goes."""
    await reader.read()


def _port(authority: str) -> int:
    return int(authority.rpartition(":")[2])
