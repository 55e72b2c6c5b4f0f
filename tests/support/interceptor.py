"""A proxy that opens TLS, as a company's inspector does: it answers CONNECT, and then speaks as the server itself.

It shows a certificate for the host, made by the inspector's own authority, and carries what it reads to the real
server, over TLS of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from tests.support.certificates import Issued, issue

_HEAD = 65536


class Interceptor:
    """`url` is the proxy's; `targets` has the places that were asked for, `heard` everything that it read."""

    def __init__(self, authority: Issued, upstream: int) -> None:
        self.url = ""
        self.targets: list[str] = []
        self.heard = b""
        self._authority = authority
        self._upstream = upstream

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that does not trust us hangs up, which is what many tests are about
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ")[1].decode()
        self.targets.append(target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        host = target.rpartition(":")[0].strip("[]")
        await writer.start_tls(issue(host, by=self._authority).server())
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream, ssl=anybody)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, far_writer, listen=True))
                group.create_task(self._carry(far_reader, writer))
        finally:
            far_writer.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, listen: bool = False) -> None:
        while chunk := await source.read(_HEAD):
            if listen:
                self.heard += chunk
            sink.write(chunk)
            await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def intercepting(authority: Issued, upstream: int) -> AsyncIterator[Interceptor]:
    """Run the proxy on a free port. Whatever host is asked for, the server is that on the port `upstream`."""
    interceptor = Interceptor(authority, upstream)
    server = await asyncio.start_server(interceptor.serve, "127.0.0.1", 0)
    interceptor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield interceptor
    finally:
        server.close()
