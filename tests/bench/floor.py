"""The floor: a bridge that only carries messages over one bare socket. No errors, no streams beyond one event each.

    python -m tests.bench.floor URL

What a real bridge costs above this is what its care costs.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

LANES = 64


class Lane:
    """One connection, one request at a time."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nMcp-Session-Id: bench\r\nContent-Length: "
        ).encode()

    def ask(self, body: bytes) -> bytes:
        """Post one message and return the message that answers it, if one does."""
        self._socket.sendall(self._head + b"%d\r\n\r\n" % len(body) + body)
        length, chunked = 0, False
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"transfer-encoding":
                chunked = True
        if not chunked:
            return self._file.read(length)
        event = b""
        while size := int(self._file.readline(), 16):
            event += self._file.read(size)
            self._file.readline()
        self._file.readline()
        return event.partition(b"data: ")[2].rstrip(b"\n")


class Lanes:
    """As many connections as there is work for; `answered` is called in their threads, one at a time."""

    def __init__(self, url: str, answered: Callable[[bytes], None]) -> None:
        self._parts = urlsplit(url)
        self._answered = answered
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._gate = threading.Lock()
        self._workers: list[threading.Thread] = []

    def post(self, line: bytes) -> None:
        """Post a message as soon as a connection is free."""
        if not self._workers or (self._waiting.qsize() > 0 and len(self._workers) < LANES):
            self._workers.append(threading.Thread(target=self._work, daemon=True))
            self._workers[-1].start()
        self._waiting.put(line)

    def close(self) -> None:
        """Wait until all is answered."""
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        lane: Lane | None = None
        while (line := self._waiting.get()) is not None:
            lane = lane or Lane(self._parts.hostname or "", self._parts.port or 80, self._parts.path)
            answer = lane.ask(line.rstrip(b"\n"))
            if answer:
                with self._gate:
                    self._answered(answer)


def main(url: str) -> None:
    """Carry lines until the end of input."""

    def write(answer: bytes) -> None:
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()

    lanes = Lanes(url, write)
    for line in sys.stdin.buffer:
        lanes.post(line)
    lanes.close()


if __name__ == "__main__":
    main(sys.argv[1])
