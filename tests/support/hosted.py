"""The real `mcp-remote-server --config FILE` as a process, for tests.

async with hosted({"mcpServers": {"a": named("a")}}, tmp_path) as server:
    client = server.client("/a/mcp")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.server_stub.mcp_client import McpClient
from tests.support.host import clean_environment, script

NAMED = Path(__file__).parent / "children" / "named.py"


def named(name: str, *tools: str, **more: Any) -> dict[str, Any]:
    """Return the entry of a small server with these tools."""
    return {"command": sys.executable, "args": ["-I", "-S", str(NAMED), name, *tools], **more}


class HostedServer:
    """One running server with a file of servers."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, file: Path, http: httpx.AsyncClient) -> None:
        self.process = process
        self.url = url
        self.file = file
        self.http = http
        self.log: list[str] = []
        self._news = asyncio.Event()

    @property
    def system(self) -> psutil.Process:
        """The process, as the system sees it."""
        return psutil.Process(self.process.pid)

    def client(self, path: str, **headers: str) -> McpClient:
        """Return a client of the endpoint at this path."""
        return McpClient(self.http, self.url + path, headers or None)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(self.url + path, headers=headers)

    async def call(self, client: McpClient, tool: str, identifier: int = 7, **arguments: Any) -> Any:
        """Call a tool; returns the text of its answer as a document, or the whole answer where it is an error."""
        answer = await client.post(
            {
                "jsonrpc": "2.0",
                "id": identifier,
                "method": "tools/call",
                "params": {"name": tool, "arguments": arguments},
            }
        )
        document = message_in(answer)
        return document if "error" in document else json.loads(document["result"]["content"][0]["text"])

    def rewrite(self, document: Any) -> None:
        """Replace the file, as editors do."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        fresh.replace(self.file)

    async def until_logged(self, text: str, seconds: float = 15) -> str:
        """Return the first line of the log with this text, now or later."""
        async with asyncio.timeout(seconds):
            while True:
                for line in self.log:
                    if text in line:
                        return line
                self._news.clear()
                await self._news.wait()

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())
            self._news.set()


def message_in(answer: httpx.Response) -> Any:
    """Return the last message of an answer, be it JSON or a stream."""
    if answer.headers.get("Content-Type", "").startswith("text/event-stream"):
        return json.loads([line[6:] for line in answer.text.splitlines() if line.startswith("data: ")][-1])
    return answer.json()


@contextlib.asynccontextmanager
async def hosted(
    document: Any, folder: Path, *flags: str, env: dict[str, str] | None = None
) -> AsyncIterator[HostedServer]:
    """Run the server with this document (or text) as its file, on a free port."""
    file = folder / "servers.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        script("mcp-remote-server"), "--config", str(file), "--port", "0", *flags,
        stderr=asyncio.subprocess.PIPE, env=clean_environment(**(env or {})), limit=2**24,
    )  # fmt: skip
    assert process.stderr is not None
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http, asyncio.TaskGroup() as group:
        before: list[str] = []
        found = None
        async with asyncio.timeout(20):
            while found is None:
                line = (await process.stderr.readline()).decode("utf-8", "replace")
                assert line, "the server ended:\n" + "\n".join(before)
                before.append(line.rstrip())
                found = re.search(r"listening on (http://\S+)", line)
        server = HostedServer(process, found.group(1), file, http)
        server.log.extend(before)
        reading = group.create_task(server.read_log())
        try:
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(12):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
            finally:
                reading.cancel()
