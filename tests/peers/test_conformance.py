"""The official conformance suite: its client scenarios through the bridge, its server scenarios against our server.

The scenarios of sign-in are in `conformance`, with a page of their results. Left out are those server scenarios that
ask for the tools of the suite's own example server.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.peers import conformance
from tests.peers.conformance import BY_REVISION, MUST_PASS, SUITE
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
REVISION = "2025-11-25"
_PASSED = re.compile(r"Passed: (\d+)/(\d+), 0 failed, 0 warnings")
ROWS = [(revision, scenario) for revision, scenarios in BY_REVISION.items() for scenario in scenarios]


async def run_suite(peers: Peers, *arguments: str) -> None:
    """Run one scenario. Fails unless something was checked and all of it passed."""
    process = await asyncio.create_subprocess_exec(
        peers.newer_node,
        peers.script(SUITE),
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
    words = ["client", "--command", f'{peers.node} "{client}"', "--scenario", scenario, "--spec-version", REVISION]
    await run_suite(peers, *words)


@pytest.mark.parametrize("scenario", SERVER)
async def test_a_server_scenario_passes_against_our_server(scenario: str, peers: Peers) -> None:
    async with our_server([peers.node, peers.everything, "stdio"]) as server:
        words = ["server", "--url", url_of(server, "http"), "--scenario", scenario, "--spec-version", REVISION]
        await run_suite(peers, *words)


@pytest.mark.parametrize(("revision", "scenario"), ROWS)
async def test_a_sign_in_scenario_ends_as_the_page_of_results_says(
    revision: str, scenario: str, peers: Peers, tmp_path: Path
) -> None:
    outcome = await conformance.run(peers, scenario, revision, tmp_path)
    assert outcome.passed or revision not in MUST_PASS, outcome.output
    row = conformance.written()[revision][scenario]
    assert (outcome.passed, outcome.checks) == (row["passed"], row["checks"]), outcome.output
