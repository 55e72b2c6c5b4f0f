"""The far end of every measurement: an MCP server that does nothing, as fast as asyncio lets it, in its own process.

    python -m tests.bench.far        prints its port; GET /count answers how many requests came since the last asking

Bare sockets: a framework here would be measured along with the bridge. Keep-alive, chunked event streams (`/events` in
the path of the URL makes POSTs answer with one), `/late` in it makes each answer come 100 ms later, and bodies of the
asked size.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

_HEAD = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s\r\n"
_TOOLS = [{"name": "echo", "description": "says it again", "inputSchema": {"type": "object"}}]


LATE_SECONDS = 0.1


class Far(asyncio.Protocol):
    """One connection."""

    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, _, rest = self._data.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self._data = rest[length:]
            method, path, _ = head.split(b" ", 2)
            if b"/late" in path:
                asyncio.get_running_loop().call_later(LATE_SECONDS, self._answer, method, path, rest[:length])
            else:
                self._answer(method, path, rest[:length])

    def _answer(self, method: bytes, path: bytes, body: bytes) -> None:
        if path == b"/count":
            self._send(200, b"OK", b"text/plain", b"%d" % Far.requests)
            Far.requests = 0
            return
        Far.requests += 1
        if method != b"POST":
            self._send(405 if method == b"GET" else 200, b"-", b"text/plain", b"")
            return
        message = json.loads(body)
        if "id" not in message or "method" not in message:
            self._send(202, b"Accepted", b"text/plain", b"")
            return
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": _result(message)}).encode()
        if b"events" in path:
            event = b"event: message\ndata: " + answer + b"\n\n"
            chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)
            head = _HEAD % (200, b"OK", b"text/event-stream", _SESSION + b"Transfer-Encoding: chunked\r\n")
            self._transport.write(head + chunked)
        else:
            self._send(200, b"OK", b"application/json", answer)

    def _send(self, status: int, reason: bytes, kind: bytes, body: bytes) -> None:
        more = _SESSION + b"Content-Length: %d\r\n" % len(body)
        self._transport.writelines([_HEAD % (status, reason, kind, more), body])


_SESSION = b"Mcp-Session-Id: bench\r\n"


def _result(message: dict[str, object]) -> object:
    if message["method"] == "initialize":
        params = cast("dict[str, object]", message["params"])
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "far", "version": "1"},
        }
    if message["method"] == "tools/list":
        return {"tools": _TOOLS}
    if message["method"] == "tools/call":
        arguments = cast("dict[str, dict[str, object]]", message["params"])["arguments"]
        size = arguments.get("size")
        text = "x" * size if isinstance(size, int) else str(arguments.get("text"))
        return {"content": [{"type": "text", "text": text}]}
    return {}


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Far, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
