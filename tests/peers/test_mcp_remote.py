"""The npm program mcp-remote, whose place the bridge takes, as a client of our server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers.install import Peers
from tests.peers.programs import our_server, raw_host, url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "host", "version": "1"},
}


@pytest.mark.parametrize("strategy", ["http-only", "sse-only", "http-first", "sse-first"])
async def test_mcp_remote_calls_a_tool_through_our_server(strategy: str, peers: Peers, tmp_path: Path) -> None:
    path = "sse" if strategy.startswith("sse") else "http"
    async with our_server([peers.node, peers.everything, "stdio"]) as server:
        command = [peers.node, peers.mcp_remote, url_of(server, path), "--transport", strategy]
        home = {**os.environ, "HOME": str(tmp_path), "MCP_REMOTE_CONFIG_DIR": str(tmp_path / "auth")}
        async with raw_host(command, env=home) as host:
            greeting = await host.ask(1, "initialize", CLIENT)
            assert greeting["result"]["serverInfo"]["name"] == "mcp-servers/everything"
            await host.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
            tools = (await host.ask(2, "tools/list"))["result"]["tools"]
            assert {"echo", "get-sum", "get-tiny-image"} <= {tool["name"] for tool in tools}
            called = await host.ask(3, "tools/call", {"name": "get-sum", "arguments": {"a": 20, "b": 22}})
            assert called["result"]["content"][0]["text"] == "The sum of 20 and 22 is 42."
