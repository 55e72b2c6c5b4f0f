"""`mcp-remote-py demo`: a real server, the real bridge, and real calls over each of the three transports.

The server is started as a child process (it is the other package, and stays another process), and the bridge too, three
times, exactly as a host would start it. Prints what happened; exit code 0 if all three worked, 1 if not, 2 without the
extra `[server]`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from mcp_remote_py.core.errors import INSTALL_SERVER, ConfigError, McpRemoteError

_SECONDS = 30.0
"""How long any one step of the demo may take."""


class Way(NamedTuple):
    """One transport of the demo."""

    flag: str
    path: str


WAYS = (Way("http-only", "/mcp"), Way("sse-only", "/sse"), Way("ws-only", "/ws"))


class _Failed(McpRemoteError):
    """A step of the demo went wrong; the text says which."""


def main(arguments: list[str]) -> int:
    """Run the demo. Raises `ConfigError` for arguments, which it does not take, and without the extra `[server]`."""
    if arguments:
        raise ConfigError(f"demo takes no arguments, but got {' '.join(arguments)}")
    if importlib.util.find_spec("aiohttp") is None:
        raise ConfigError(f"the demo needs the server side. {INSTALL_SERVER}")
    with _Child([sys.executable, "-m", "server_stub", "--demo", "--port", "0"]) as server:
        try:
            origin = server.find(r"listening on (http://\S+)")
        except _Failed as failure:
            _say(f"The demo server did not start: {failure}")
            return 1
        _say(f"mcp-remote-server --demo is listening on {origin}")
        passed = sum(_try(way, origin) for way in WAYS)
    _say(f"{passed}/{len(WAYS)} transports ok")
    return 0 if passed == len(WAYS) else 1


def _try(way: Way, origin: str) -> bool:
    command = [sys.executable, "-m", "mcp_remote_py", origin + way.path, "--transport", way.flag]
    _say(f"\n$ mcp-remote-py {origin}{way.path} --transport {way.flag}")
    try:
        with _Child(command) as bridge:
            _converse(bridge)
    except _Failed as failure:
        _say(f"  failed: {failure}")
        return False
    return True


def _converse(bridge: _Child) -> None:
    begin = time.perf_counter()
    greeting = bridge.request(
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "demo", "version": "1"}},
    )
    elapsed = (time.perf_counter() - begin) * 1000
    wire = bridge.find(r"speaking (.+?) with ")
    server = greeting.get("serverInfo", {}).get("name")
    _say(f"  wire        {wire}, protocol {greeting.get('protocolVersion')}, server {server}, {elapsed:.0f} ms")
    bridge.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    tools = [tool["name"] for tool in bridge.request("tools/list", {})["tools"]]
    _say(f"  tools/list  {', '.join(tools)}")
    text = "Grüße, 世界"
    _expect("echo", _text(bridge.call("echo", {"text": text})), text)
    total = bridge.call("add", {"a": 2, "b": 40}).get("structuredContent", {}).get("sum")
    _expect("add", f"2 + 40 = {total}", "2 + 40 = 42")
    bridge.call("slow", {"seconds": 0.3}, "demo")
    if not bridge.progress:
        raise _Failed("slow brought no progress notification")
    _say(f"  slow        done, with {bridge.progress} progress notifications on the way")


def _expect(tool: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise _Failed(f"{tool} answered {found!r} instead of {wanted!r}")
    _say(f"  {tool:<11} {found}")


def _text(result: dict[str, Any]) -> str:
    return "".join(str(item.get("text", "")) for item in result.get("content", []))


class _Child:
    """A child process that speaks JSON-RPC on its pipes, or just logs; ended when the block is left."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._count = 0
        self._log: list[str] = []
        self._news = threading.Condition()
        self.progress = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  (this program itself, with fixed arguments)
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        threading.Thread(target=self._collect, args=(self._process.stderr,), daemon=True).start()
        self._watchdog = threading.Timer(4 * _SECONDS, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(0.1 if "server_stub" in self._command else 5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(12)
            except subprocess.TimeoutExpired:
                self._process.kill()
        if self._process.stdout:
            self._process.stdout.close()

    def _collect(self, stream: IO[bytes]) -> None:
        for line in stream:
            with self._news:
                self._log.append(line.decode("utf-8", "replace").rstrip())
                self._news.notify_all()
        with self._news:
            self._log.append("")
            self._news.notify_all()

    def find(self, pattern: str) -> str:
        """Wait for a line of the log that matches; return its first group."""
        deadline = time.monotonic() + _SECONDS
        with self._news:
            while True:
                for line in self._log:
                    if match := re.search(pattern, line):
                        return match.group(1)
                left = deadline - time.monotonic()
                if left <= 0 or (self._log and not self._log[-1] and self._process.poll() is not None):
                    raise _Failed("it said: " + (" / ".join(line for line in self._log[-5:] if line) or "nothing"))
                self._news.wait(left)

    def send(self, doc: dict[str, Any]) -> None:
        """Write one message."""
        assert self._process.stdin is not None  # noqa: S101  (a pipe was asked for)
        try:
            self._process.stdin.write(json.dumps(doc, ensure_ascii=False).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Failed("the bridge has ended") from None

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and read until its answer."""
        assert self._process.stdout is not None  # noqa: S101  (a pipe was asked for)
        self._count += 1
        self.send({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params})
        for line in self._process.stdout:
            doc = json.loads(line)
            if doc.get("method") == "notifications/progress":
                self.progress += 1
            if doc.get("id") == self._count and "method" not in doc:
                if "error" in doc:
                    raise _Failed(f"{method}: {doc['error'].get('message')}")
                result: dict[str, Any] = doc["result"]
                return result
        raise _Failed(f"{method}: the bridge ended without an answer")

    def call(self, tool: str, arguments: dict[str, Any], progress_token: str | None = None) -> dict[str, Any]:
        """Call a tool."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if progress_token is not None:
            params["_meta"] = {"progressToken": progress_token}
        return self.request("tools/call", params)


def _say(text: str) -> None:
    stream = sys.stdout
    encoding = stream.encoding or "ascii"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
