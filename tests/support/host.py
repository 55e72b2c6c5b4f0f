"""A host for tests: starts the real console script with pipes, speaks lines, and remembers everything it heard."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

SECONDS = 20.0


def script(name: str) -> str:
    """The console script of this environment, as a host would find it."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found is not None, f"{name} is not installed in this environment"
    return found


_HOMES = tempfile.TemporaryDirectory(prefix="mcp-remote-py-homes-")
atexit.register(_HOMES.cleanup)  # or it is a warning at the end of each run
_HOME_NUMBERS = itertools.count()


def clean_environment(**extra: str) -> dict[str, str]:
    """What a host passes on: nothing of ours, no proxy, no certificates from the shell; a bridge remembers nothing of
    the one before it, nor finds what mcp-remote keeps on this machine."""
    home = os.path.join(_HOMES.name, str(next(_HOME_NUMBERS)))
    extra.setdefault("MCP_REMOTE_PY_HOME", home)
    extra.setdefault("MCP_REMOTE_CONFIG_DIR", os.path.join(home, "mcp-auth"))
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE", "APPDATA")
    return {name: os.environ[name] for name in keep if name in os.environ} | extra


class Speaker:
    """A host's side of a bridge. `heard` has every line that the bridge said, `log` what it wrote to stderr."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.log = b""
        self.answers: Counter[str] = Counter()
        """How many answers each id, as JSON, has had."""
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        """Requests and notifications of the server."""
        self._count = 0

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._hear(line)
        self._lines.put_nowait(None)
        for future in self._waiting.values():
            future.cancel()

    def _hear(self, line: bytes) -> None:
        self.heard.append(line)
        doc = json.loads(line)
        waiting = None
        if isinstance(doc, dict) and "method" not in doc:
            self.answers[json.dumps(doc.get("id"))] += 1
            waiting = self._waiting.pop(json.dumps(doc.get("id")), None)
        elif isinstance(doc, dict):
            self.asked.put_nowait(doc)
        if waiting is None:
            self._lines.put_nowait(line)
        elif not waiting.done():
            waiting.set_result(doc)

    def write(self, raw: bytes) -> None:
        raise NotImplementedError

    def send(self, doc: object) -> None:
        self.write(json.dumps(doc, ensure_ascii=False).encode() + b"\n")

    async def line(self) -> Any:
        """The next line that answers no `request`, decoded."""
        async with asyncio.timeout(SECONDS):
            line = await self._lines.get()
        assert line is not None, f"the bridge closed its output; it said:\n{self.log.decode()}"
        return json.loads(line)

    def ask(self, method: str, params: object = None, identifier: Any = None) -> asyncio.Future[dict[str, Any]]:
        """Send a request; its answer will be the future's result."""
        self._count += 1
        identifier = self._count if identifier is None else identifier
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[json.dumps(identifier)] = future
        self.send({"jsonrpc": "2.0", "id": identifier, "method": method, "params": {} if params is None else params})
        return future

    async def request(self, method: str, params: object = None, identifier: Any = None) -> dict[str, Any]:
        async with asyncio.timeout(SECONDS):
            return await self.ask(method, params, identifier)

    async def greet(self, revision: str = "2025-06-18", **capabilities: Any) -> dict[str, Any]:
        """The whole handshake."""
        client = {"name": "test", "version": "0"}
        answer = await self.request(
            "initialize", {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": client}
        )
        if "result" in answer:
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer


class Host(Speaker):
    """One running bridge, a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self.process = process

    async def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        await self._read(self.process.stdout)

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(65536):
            self.log += chunk

    def write(self, raw: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(raw)

    async def end(self) -> int:
        """Close its input and wait for it to go; returns the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def launch(
    *arguments: str, env: Mapping[str, str] | None = None, command: list[str] | None = None, cwd: Path | None = None
) -> AsyncIterator[Host]:
    """Start `mcp-remote-py` with these arguments; it is gone when the block is left."""
    words = command or [script("mcp-remote-py")]
    process = await asyncio.create_subprocess_exec(
        *words,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env) if env is not None else clean_environment(),
        limit=2**30,
        cwd=cwd,
    )
    host = Host(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(host._read_stdout())
        group.create_task(host._read_stderr())
        try:
            yield host
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def python_command(source: str) -> list[str]:
    """A command that runs this Python text."""
    return [sys.executable, "-c", source]
