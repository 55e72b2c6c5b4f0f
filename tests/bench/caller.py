"""The client of the wrappers' bench: raw sockets and one selector, so that little of what is measured is the client's.

A `Caller` is one session on one keep-alive connection. It speaks as much of Streamable HTTP as answers need: JSON or an
event stream, by length or in chunks.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

PATIENCE = 60.0
"""Seconds that any answer may take."""
AT_ONCE = 10
"""How many sessions are opened side by side."""
VERSION = "2025-06-18"
INITIALIZE = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}


class Failed(Exception):
    """No answer, or one that is an error."""


class Reply:
    """One HTTP response, as far as it has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._data = bytearray()
        self._at = 0
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        """Take in more bytes; says whether the response is whole."""
        self._data += data
        return (self.status != 0 or self._head()) and self._rest()

    def message(self) -> bytes:
        """Return the message in the body: the last one of an event stream, nothing of an empty one."""
        body = b"".join(self._body)
        if not self.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            return body
        said = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        return next((one for one in reversed(said) if one), b"")

    def _head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._data[:end]).split(b"\r\n")
        self.status = int(first.split(b" ", 2)[1])
        for line in lines:
            name, _, value = line.partition(b":")
            self.headers[name.lower()] = value.strip()
        self._at = end + 4
        return True

    def _rest(self) -> bool:
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            return self._chunks()
        length = int(self.headers.get(b"content-length", b"0"))
        if len(self._data) - self._at < length:
            return False
        self._body = [bytes(self._data[self._at : self._at + length])]
        return True

    def _chunks(self) -> bool:
        while (end := self._data.find(b"\r\n", self._at)) >= 0:
            size = int(self._data[self._at : end].partition(b";")[0], 16)
            if len(self._data) < end + 2 + size + 2:
                return False
            self._body.append(bytes(self._data[end + 2 : end + 2 + size]))
            self._at = end + 2 + size + 2
            if size == 0:
                return True
        return False


class Caller:
    """One session. Everything blocks but `begin` and `take`."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\n"
        )
        self._count = 0
        self._sent = b""
        self._reply = Reply()
        self.socket = self._connected()

    def open(self) -> None:
        """Greet. Raises `Failed`."""
        self.begin("initialize", INITIALIZE)
        self._wait()
        self.greeted()

    def greeted(self) -> None:
        """Take in the answer to initialize, and end the greeting."""
        self.answer()
        self._head += f"MCP-Protocol-Version: {VERSION}\r\n"
        session = self._reply.headers.get(b"mcp-session-id")
        if session is not None:
            self._head += f"Mcp-Session-Id: {session.decode()}\r\n"
        self.begin("notifications/initialized", None)
        self._wait()
        if self._reply.status not in (200, 202, 204):
            raise Failed(f"HTTP {self._reply.status}")

    def call(self, **arguments: object) -> dict[str, Any]:
        """Call the tool. Raises `Failed`."""
        self.begin("tools/call", {"name": "echo", "arguments": arguments})
        self._wait()
        return self.answer()

    def begin(self, method: str, params: object | None) -> None:
        """Send a message."""
        message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        if not method.startswith("notifications/"):
            self._count += 1
            message["id"] = self._count
        body = json.dumps(message).encode()
        self._sent = f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._reply = Reply()
        self.socket.sendall(self._sent)

    def take(self) -> bool:
        """Read what has come; says whether the answer is whole. Raises `Failed` where the connection is lost."""
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise Failed("no answer") from None
        except ConnectionError:
            data = b""
        if not data:
            raise Failed("the connection was closed")
        return self._reply.feed(data)

    def answer(self) -> dict[str, Any]:
        """Return the message that was asked for. Raises `Failed`."""
        if self._reply.status != 200:
            raise Failed(f"HTTP {self._reply.status}")
        message: dict[str, Any] = json.loads(self._reply.message() or b"{}")
        if "result" not in message or message.get("id") != self._count:
            raise Failed(f"{str(message)[:200]} is no answer to request {self._count}")
        return message

    def fresh(self) -> None:
        """Connect anew where the server has closed a connection on which nothing had happened for a while."""
        self.socket.settimeout(0)
        try:
            gone = self.socket.recv(1) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        self.socket.settimeout(PATIENCE)
        if gone:
            self.socket.close()
            self.socket = self._connected()

    def close(self) -> None:
        self.socket.close()

    def _wait(self) -> None:
        while not self.take():
            pass

    def _connected(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


class Crowd(NamedTuple):
    """What many callers at once have seen."""

    times: list[float]
    """Seconds of each call."""
    errors: int
    seconds: float


def opened(count: int, make: Callable[[], Caller]) -> list[Caller]:
    """Open so many sessions, a few at once. Raises `Failed`."""
    callers: list[Caller] = []
    while len(callers) < count:
        some = [make() for _ in range(min(AT_ONCE, count - len(callers)))]
        for caller in some:
            caller.begin("initialize", INITIALIZE)
        for caller in some:
            while not caller.take():
                pass
            caller.greeted()
        callers += some
    return callers


def crowd(callers: Sequence[Caller], seconds: float) -> Crowd:
    """Let all call again and again for so long, each as soon as it has its answer."""
    times: list[float] = []
    errors = 0
    began: dict[Caller, float] = {}
    with selectors.DefaultSelector() as selector:

        def begin(caller: Caller) -> None:
            began[caller] = time.perf_counter()
            caller.begin("tools/call", {"name": "echo", "arguments": {"text": "hello"}})

        for caller in callers:
            caller.fresh()
        start = time.perf_counter()
        for caller in callers:
            begin(caller)
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                errors += len(selector.get_map())
                break
            for key, _ in ready:
                one: Caller = key.data
                try:
                    if not one.take():
                        continue
                    one.answer()
                    times.append(time.perf_counter() - began[one])
                    if time.perf_counter() - start < seconds:
                        begin(one)
                        continue
                except (Failed, OSError):
                    errors += 1
                selector.unregister(key.fileobj)
    return Crowd(times, errors, time.perf_counter() - start)


def hears_endpoint(port: int, path: str) -> float:
    """Open an HTTP+SSE connection; return the seconds until its first event. Raises `Failed`."""
    begin = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
        connection.sendall(head.encode())
        heard = b""
        while b"endpoint" not in heard:
            data = connection.recv(65536)
            heard += data
            if not data:
                raise Failed(heard[:200].decode("utf-8", "replace"))
    return time.perf_counter() - begin
