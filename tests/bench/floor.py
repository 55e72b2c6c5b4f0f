"""The floor: a bridge that only carries messages over one bare socket. No errors, no streams beyond one event each.

    python -m tests.bench.floor URL

What a real bridge costs above this is what its care costs.
"""

from __future__ import annotations

import queue
import socket
import sys
import threading
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


def main(url: str) -> None:
    """Carry lines until the end of input."""
    parts = urlsplit(url)
    waiting: queue.Queue[bytes | None] = queue.Queue()
    gate = threading.Lock()

    def work(lane: Lane | None) -> None:
        while (line := waiting.get()) is not None:
            lane = lane or Lane(parts.hostname or "", parts.port or 80, parts.path)
            answer = lane.ask(line.rstrip(b"\n"))
            if answer:
                with gate:
                    sys.stdout.buffer.write(answer + b"\n")
                    sys.stdout.buffer.flush()

    workers: list[threading.Thread] = []
    for line in sys.stdin.buffer:
        if not workers or (waiting.qsize() > 0 and len(workers) < LANES):
            workers.append(threading.Thread(target=work, args=(None,)))
            workers[-1].start()
        waiting.put(line)
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main(sys.argv[1])
