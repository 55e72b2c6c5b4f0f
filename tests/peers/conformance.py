"""The client scenarios of the official conformance suite that are about signing in, run through the bridge.

`python -m tests.peers.conformance` runs them all and writes `conformance_results.json`, of which
docs/reference/conformance.md is printed; the slow tests fail while a run brings something else than is written there.
`python -m tests.peers.conformance SCENARIO [REVISION]` shows one of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.install import Peers, ready
from tests.peers.programs import console_script
from tests.support.zoo import Browser

RESULTS = Path(__file__).with_name("conformance_results.json")
HOST = Path(__file__).parent / "hosts" / "sign_in_client.mjs"
SUITE = "@modelcontextprotocol/conformance/dist/index.js"
EXTENSION = "extension"
SECONDS = 60
_SILENT = ("INFO", "SKIPPED")

MARCH = ("auth/2025-03-26-oauth-metadata-backcompat", "auth/2025-03-26-oauth-endpoint-fallback")
JUNE = ("auth/token-endpoint-auth-basic", "auth/token-endpoint-auth-post", "auth/token-endpoint-auth-none")
NOVEMBER = (
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    *JUNE,
    "auth/pre-registration",
)
JULY = (
    *NOVEMBER,
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/authorization-server-migration",
    "auth/iss-supported",
    "auth/iss-not-advertised",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
)
EXTENSIONS = (
    "auth/client-credentials-jwt",
    "auth/client-credentials-basic",
    "auth/enterprise-managed-authorization",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/wif-jwt-bearer",
)
BY_REVISION = {
    "2025-03-26": MARCH,
    "2025-06-18": JUNE,
    "2025-11-25": NOVEMBER,
    EXTENSION: EXTENSIONS,
    "2026-07-28": JULY,
}
MUST_PASS = ("2025-03-26", "2025-06-18", "2025-11-25", EXTENSION)
"""What has to pass whole; the others are run and reported."""


class Outcome(NamedTuple):
    """What the suite said. `checks`: its own check ids, each with its worst status."""

    passed: bool
    checks: dict[str, str]
    output: str


async def run(peers: Peers, scenario: str, revision: str, folder: Path, *, direct: bool = False) -> Outcome:
    """Run one scenario. `folder` is for what the bridge keeps and what the suite finds out."""
    results = folder / "results"
    words = [peers.newer_node, peers.script(SUITE), "client", "--command", f'"{peers.newer_node}" "{HOST}"']
    words += ["--scenario", scenario, "--output-dir", str(results)]
    if revision != EXTENSION:
        words += ["--spec-version", revision]
    environment = Browser(folder).environment(folder / "home", PEERS_DIR=str(peers.folder))
    environment |= {"BRIDGE": console_script("mcp-remote-py"), **({"DIRECT": "1"} if direct else {})}
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment, cwd=folder
    )
    async with asyncio.timeout(SECONDS):
        out, _ = await process.communicate()
    found = sorted(results.rglob("checks.json"))
    checks = json.loads(found[-1].read_text("utf-8")) if found else []
    return Outcome(process.returncode == 0, _worst(checks), out.decode("utf-8", "replace"))


def _worst(checks: list[dict[str, str]]) -> dict[str, str]:
    """Return id -> status, FAILURE before WARNING before SUCCESS."""
    order = ["SUCCESS", "WARNING", "FAILURE"]
    worst: dict[str, str] = {}
    for check in checks:
        name, status = check["id"], check["status"]
        if status not in _SILENT:
            worst[name] = max(worst.get(name, "SUCCESS"), status, key=order.index)
    return dict(sorted(worst.items()))


def written() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the results as they are written down: revision -> scenario -> passed, checks and, where it did not pass,
    whether the official SDK passes without a bridge."""
    document: dict[str, dict[str, dict[str, Any]]] = json.loads(RESULTS.read_text("utf-8"))
    return document


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        yield Path(name)


async def _write_all(peers: Peers) -> None:
    document: dict[str, dict[str, dict[str, object]]] = {}
    for revision, scenarios in BY_REVISION.items():
        for scenario in scenarios:
            async with _folder() as folder:
                outcome = await run(peers, scenario, revision, folder)
            entry: dict[str, object] = {"passed": outcome.passed, "checks": outcome.checks}
            if not outcome.passed:
                async with _folder() as folder:
                    entry["direct"] = (await run(peers, scenario, revision, folder, direct=True)).passed
            document.setdefault(revision, {})[scenario] = entry
            print("passed" if outcome.passed else "FAILED", revision, scenario, flush=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


async def _show(peers: Peers, scenario: str, revision: str) -> None:
    async with _folder() as folder:
        outcome = await run(peers, scenario, revision, folder, direct=bool(os.environ.get("DIRECT")))
    print(outcome.output)
    print(json.dumps(outcome.checks, indent=1), "passed" if outcome.passed else "FAILED")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_show(ready(), sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else EXTENSION))
    else:
        asyncio.run(_write_all(ready()))
