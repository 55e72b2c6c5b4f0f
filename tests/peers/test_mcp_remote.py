"""The npm program mcp-remote, whose place the bridge takes, as a client of our server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers.install import Peers
from tests.peers.programs import our_server, raw_host, url_of
from tests.support.host import launch
from tests.support.zoo import Browser, open_zoo

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


@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_what_mcp_remote_was_signed_in_with_is_taken_over_and_nobody_is_asked(
    wire: str, peers: Peers, tmp_path: Path
) -> None:
    theirs, ours = Browser(tmp_path), Browser(tmp_path / "ours")
    config = str(tmp_path / "auth")
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\nexec " + theirs.command.replace("%s", '"$@"') + "\n")
    program.chmod(0o755)
    async with open_zoo() as zoo:
        variables = {**os.environ, "HOME": str(tmp_path), "MCP_REMOTE_CONFIG_DIR": config, "BROWSER": str(program)}
        command = [peers.node, peers.mcp_remote, zoo.url(wire), "--transport", f"{wire}-only"]
        async with raw_host(command, env=variables) as old:
            await old.ask(1, "initialize", CLIENT)
            await old.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
            await old.ask(2, "tools/list")
        before = len(zoo.asked)
        environment = ours.environment(tmp_path / "home", MCP_REMOTE_CONFIG_DIR=config)
        async with launch(zoo.url(wire), "--transport", f"{wire}-only", env=environment) as host:
            await host.greet()
            assert "result" in await host.request("tools/list"), host.log.decode()
            zoo.expire_access()
            if wire == "http":
                assert "result" in await host.request("tools/list"), host.log.decode()
                assert zoo.grants("refresh_token")
            await host.end()
        later = {asked.what for asked in zoo.asked[before:]}
        assert not later & {"authorize", "register"}
        assert zoo.troubles == []
    assert (theirs.tabs(), ours.tabs()) == (1, 0)
