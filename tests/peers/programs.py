"""Starting the programs of these tests as child processes: ours, the peers, and hosts that speak raw JSON-RPC."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import sysconfig
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.peers.install import Peers

STARTING = 30.0
"""Seconds that a server may take until it listens."""
ANSWERING = 45.0
"""Seconds that an expected message may take."""
LEAVING = 20.0
"""Seconds that a program may take to end once its stdin has ended; a busy machine needs some of them."""
LINE_LIMIT = 64 * 1024 * 1024
PATHS = {"http": "/mcp", "sse": "/sse", "ws": "/ws"}
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


def console_script(name: str) -> str:
    """Return one of our installed commands."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found is not None, f"{name} is not installed beside this interpreter"
    return found


def bridge(url: str, wire: str) -> list[str]:
    """Return the command line of the bridge to a URL over one wire."""
    return [console_script("mcp-remote-py"), url, "--transport", f"{wire}-only"]


class Child:
    """A running program whose stderr is kept, so that a failing test can show it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []

    async def read_log(self, *streams: asyncio.StreamReader | None) -> None:
        """Collect the lines of these streams until they end."""
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                if stream is not None:
                    group.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log.append(line.decode("utf-8", "replace").rstrip())

    async def logged(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Wait for a line of the log. Raises `ChildProcessError` when the program ends without it."""
        async with asyncio.timeout(STARTING):
            while True:
                for line in self.log:
                    if (match := pattern.search(line)) is not None:
                        return match
                if self.process.returncode is not None:
                    raise ChildProcessError("\n".join(self.log))
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(12):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


@asynccontextmanager
async def running(
    command: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Child]:
    """Run a server program; everything it writes is its log."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        limit=LINE_LIMIT,
    )
    child = Child(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(child.read_log(process.stdout, process.stderr))
        try:
            yield child
        finally:
            await child.stop()


@asynccontextmanager
async def our_server(command: Sequence[str], *options: str) -> AsyncIterator[str]:
    """Run `mcp-remote-server` around a stdio server on a free port; yield `http://127.0.0.1:PORT`."""
    line = [console_script("mcp-remote-server"), *options, "--stdio", "--port", "0", "--", *command]
    async with running(line) as child:
        match = await child.logged(_LISTENING)
        yield f"http://127.0.0.1:{match.group(1)}"


@asynccontextmanager
async def everything_server(peers: Peers, wire: str) -> AsyncIterator[str]:
    """Run server-everything itself over `http` or `sse`; yield its URL."""
    mode, path = ("streamableHttp", "/mcp") if wire == "http" else ("sse", "/sse")
    for attempt in range(5):
        port = _free_port()
        command = [peers.node, peers.everything, mode]
        async with running(command, env={"PORT": str(port)}) as child:
            try:
                await child.logged(re.compile(rf"on port {port}"))
            except ChildProcessError:  # somebody else took the port in the meantime
                if attempt == 4:
                    raise
                continue
            yield f"http://127.0.0.1:{port}{path}"
            return


def url_of(server: str, wire: str) -> str:
    """Return the URL of one wire of our server."""
    scheme = "ws" if wire == "ws" else "http"
    return server.replace("http", scheme, 1) + PATHS[wire]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def run_host(command: Sequence[str], *, env: dict[str, str], limit: float) -> None:
    """Run a host program of `hosts/` to its end. Fails with its log when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **env},
        limit=LINE_LIMIT,
    )
    child = Child(process)
    try:
        async with asyncio.timeout(limit):
            await child.read_log(process.stdout)
            await process.wait()
    except TimeoutError:
        raise AssertionError("\n".join([f"the host was not done after {limit} s", *child.log])) from None
    finally:
        await child.stop()
    assert process.returncode == 0, "\n".join(child.log)


class RawHost:
    """A host that speaks raw lines to a stdio program and keeps every line that comes back."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.child = Child(process)
        self.received: list[bytes] = []
        self.answers: dict[str, dict[str, Any]] = {}
        """The result that answers a request of the server, by method."""
        self._process = process
        self._news = asyncio.Event()

    async def send(self, *lines: bytes) -> None:
        assert self._process.stdin is not None
        for line in lines:
            self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def until(self, done: Callable[[list[bytes]], bool], start: int = 0) -> list[bytes]:
        """Wait until the lines from number `start` on satisfy the condition; return them."""
        try:
            async with asyncio.timeout(ANSWERING):
                while not done(self.received[start:]):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            got = [line[:300].decode("utf-8", "replace") for line in self.received[start:]]
            raise AssertionError("\n".join(["waited in vain; received:", *got, "log:", *self.child.log])) from None
        return self.received[start:]

    async def ask(self, identifier: int, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request and return the message that answers it."""
        message = {
            "jsonrpc": "2.0",
            "id": identifier,
            "method": method,
            **({} if params is None else {"params": params}),
        }
        await self.send(json.dumps(message).encode())
        lines = await self.until(lambda received: any(is_answer(line, identifier) for line in received))
        answer: dict[str, Any] = json.loads(next(line for line in lines if is_answer(line, identifier)))
        return answer

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.received.append(line.rstrip(b"\r\n"))
            message = json.loads(line)
            if "method" in message and "id" in message and message["method"] in self.answers:
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": self.answers[message["method"]]}
                await self.send(json.dumps(answer, ensure_ascii=False).encode())
            self._news.set()


def is_answer(line: bytes, identifier: int) -> bool:
    """Whether a line is the answer to the request with this id."""
    message = json.loads(line)
    return "method" not in message and message.get("id") == identifier


@asynccontextmanager
async def raw_host(command: Sequence[str], *, env: dict[str, str] | None = None) -> AsyncIterator[RawHost]:
    """Run a stdio program; at the end its stdin is closed, and it has to leave by itself, with exit code 0."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        limit=LINE_LIMIT,
    )
    host = RawHost(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.child.read_log(process.stderr))
        group.create_task(host.read())
        try:
            yield host
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(LEAVING):
                assert await process.wait() == 0, "\n".join(host.child.log)
        finally:
            await host.child.stop()
