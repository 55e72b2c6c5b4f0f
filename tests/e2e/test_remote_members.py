"""Members of a file that are remote servers themselves: behind every wire, refused, unreachable, gone and back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.server_stub.links import initialize
from tests.support.hosted import HostedServer, hosted, named

WIRES: dict[str, tuple[str, str, str]] = {
    "by-auto": ("http", "/f/mcp", ""),
    "by-auto-sse": ("http", "/f/sse", ""),
    "by-http": ("http", "/f/mcp", "http"),
    "by-sse": ("http", "/f/sse", "sse"),
    "by-ws": ("ws", "/f/ws", "ws"),
}
"""How a member is reached: the scheme, the path, and its `type`."""
FAR = {"mcpServers": {"f": named("f", "whoami", "sleep")}}
TOKEN = "the-token-of-the-far-server"


def members(origin: str, **more: Any) -> dict[str, Any]:
    """Return a file whose members are one server, by each of the wires."""
    entries: dict[str, Any] = {}
    for name, (scheme, path, kind) in WIRES.items():
        entries[name] = {"url": origin.replace("http", scheme, 1) + path, **({"type": kind} if kind else {}), **more}
    return {"mcpServers": entries}


def folders(tmp_path: Path) -> tuple[Path, Path]:
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    return far, near


async def whoami(server: HostedServer, path: str) -> Any:
    client = server.client(path)
    await client.start()
    return (await server.call(client, "whoami"))["name"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("share", ["session", pytest.param("principal", marks=pytest.mark.slow), "shared"])
async def test_a_remote_server_is_a_member_by_every_wire(share: str, tmp_path: Path) -> None:
    far_folder, near_folder = folders(tmp_path)
    async with hosted(FAR, far_folder) as far, hosted(members(far.url, share=share), near_folder) as near:
        for name in WIRES:
            found = await asyncio.gather(*[whoami(near, f"/{name}/mcp") for _ in range(4)])
            assert found == ["f"] * 4, name


async def test_the_token_of_a_member_reaches_its_server_and_no_log(tmp_path: Path) -> None:
    far_folder, near_folder = folders(tmp_path)
    guarded = {"mcpServers": {"f": {**FAR["mcpServers"]["f"], "options": {"authTokens": [TOKEN]}}}}
    async with hosted(guarded, far_folder) as far:
        good = members(far.url, headers={"Authorization": "Bearer ${FAR_TOKEN}"})["mcpServers"]
        bad = members(far.url)["mcpServers"]
        document = {"mcpServers": {**good, **{f"no-{name}": entry for name, entry in bad.items()}}}
        async with hosted(document, near_folder, "--log-level", "debug", env={"FAR_TOKEN": TOKEN}) as near:
            for name in WIRES:
                assert await whoami(near, f"/{name}/mcp") == "f", name
                answer = await near.client(f"/no-{name}/mcp").post(initialize())
                assert "`headers`" in answer.text, answer.text
                assert f"no-{name}" in answer.text, answer.text
                assert "--" not in answer.text, answer.text
            assert TOKEN not in "\n".join(near.log)


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with hosted(members(f"http://127.0.0.1:{free_port()}"), tmp_path) as near:
        for name in WIRES:
            answer = await near.client(f"/{name}/mcp").post(initialize())
            assert "127.0.0.1" in answer.text, answer.text
            assert '"error"' in answer.text


@pytest.mark.slow
async def test_a_remote_server_that_was_restarted_is_used_again_by_the_next_session(tmp_path: Path) -> None:
    far_folder, near_folder = folders(tmp_path)
    port = free_port()
    async with contextlib.AsyncExitStack() as later:
        async with hosted(FAR, far_folder, "--port", str(port)) as far:
            near = await later.enter_async_context(hosted(members(far.url), near_folder))
            clients = {name: near.client(f"/{name}/mcp") for name in WIRES}
            for client in clients.values():
                await client.start()
                assert (await near.call(client, "whoami"))["name"] == "f"
        await later.enter_async_context(hosted(FAR, far_folder, "--port", str(port)))
        for name, client in clients.items():
            async with asyncio.timeout(20):
                while (await client.post(call())).status_code == 200:  # noqa: ASYNC110  (it is told by being asked)
                    await asyncio.sleep(0.2)
            assert await whoami(near, f"/{name}/mcp") == "f", name
        assert near.process.returncode is None


def call() -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
