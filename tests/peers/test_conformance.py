"""The official conformance suite: its client scenarios through the bridge, its server scenarios against our server.

The suite's newest version that Node 20 can run is pinned in package.json. Left out are the scenarios of sign-in, and
those server scenarios that ask for the tools of the suite's own example server.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.peers.install import Peers
from tests.peers.programs import console_script, our_server, url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT = ("initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry")
SERVER = (
    "server-initialize",
    "ping",
    "logging-set-level",
    "tools-list",
    "resources-list",
    "resources-subscribe",
    "resources-unsubscribe",
    "prompts-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
)
_PASSED = re.compile(r"Passed: (\d+)/(\d+), 0 failed, 0 warnings")


async def run_suite(peers: Peers, *arguments: str) -> None:
    """Run one scenario. Fails unless something was checked and all of it passed."""
    process = await asyncio.create_subprocess_exec(
        peers.node,
        peers.script("@modelcontextprotocol/conformance/dist/index.js"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PEERS_DIR": str(peers.folder), "BRIDGE": console_script("mcp-remote-py")},
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    found = _PASSED.search(out.decode())
    assert found is not None, out.decode()
    assert found.group(1) == found.group(2) != "0", out.decode()


@pytest.mark.parametrize("scenario", CLIENT)
async def test_a_client_scenario_passes_through_the_bridge(scenario: str, peers: Peers) -> None:
    client = Path(__file__).parent / "hosts" / "conformance_client.mjs"
    await run_suite(peers, "client", "--command", f'{peers.node} "{client}"', "--scenario", scenario)


@pytest.mark.parametrize("scenario", SERVER)
async def test_a_server_scenario_passes_against_our_server(scenario: str, peers: Peers) -> None:
    async with our_server([peers.node, peers.everything, "stdio"]) as server:
        await run_suite(peers, "server", "--url", url_of(server, "http"), "--scenario", scenario)
