"""A server of a configuration file as commands see it: it says which file it runs, and answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mcp_remote_py.core.message import encode
from server_stub.config_file import inspect


class FakeServer:
    """Runs the file that it was started with, and takes over what is there when it is asked, if `follows`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.follows = True
        self.warnings: list[str] = []
        self.listtools: Callable[[str], tuple[int, Any]] = self._tools
        self.digest = inspect(path, {}).digest
        self.authorizations: list[str | None] = []
        self.health: tuple[int, Any] = 200, {"servers": {"one": {"name": "one", "state": "ready"}}}
        self.asked: Callable[[], None] = lambda: None
        """Called before each answer."""
        self.url = ""

    def _tools(self, name: str) -> tuple[int, Any]:
        return (200, {"server": name}) if inspect(self.path, {}).find(name) else (404, {"error": "unknown"})

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked()
        if path == "/readyz":
            if self.follows:
                self.digest = inspect(self.path, {}).digest
            return 200, {"status": "ready", "config": self.digest, "warnings": self.warnings}
        if path == "/health/servers":
            return self.health
        return self.listtools(path.rpartition("/")[2])


@contextmanager
def running(path: str) -> Iterator[FakeServer]:
    """Serve while the block runs."""
    fake = FakeServer(path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.authorizations.append(self.headers.get("Authorization"))
            status, document = fake.answer(self.path)
            body = encode(document)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name is that of the library
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
