"""Official SDKs as hosts: what they see through our programs is what they see without them.

Each host program drives every tool, resource and prompt of server-everything, completion, sampling, elicitation,
roots, logging, progress, cancellation and, where its SDK has them, tasks. Its report over a direct stdio connection
is the reference; through the bridge, through our server, or through both, the report must be the same.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.peers.install import Peers
from tests.peers.programs import bridge, everything_server, our_server, run_host, url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

HOSTS = Path(__file__).with_name("hosts")
ROUND_LIMIT = 100.0
"""Seconds for one round of a host; a direct one takes up to 17."""


class Host(NamedTuple):
    """One way to run a host program."""

    sdk: str
    negotiates: bool = False
    """Whether it begins with `server/discover`, as the 2.x clients can."""

    def command(self, peers: Peers, report: Path, *target: str) -> list[str]:
        if self.sdk.startswith("py"):
            return [peers.python(self.sdk), str(HOSTS / "python_sdk.py"), str(report), *target]
        return [peers.node, str(HOSTS / "typescript_sdk.mjs"), str(report), *target]

    def environment(self, peers: Peers) -> dict[str, str]:
        return {
            "PEERS_DIR": str(peers.folder),
            "HOST_SDK": self.sdk[-1],
            "HOST_NEGOTIATES": "1" if self.negotiates else "",
            "PYTHONUTF8": "1",
        }

    async def report(self, peers: Peers, folder: Path, *target: str) -> dict[str, Any]:
        file = folder / "report.json"
        await run_host(self.command(peers, file, *target), env=self.environment(peers), limit=ROUND_LIMIT)
        return read_report(file)


def read_report(file: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return report


HOST_KINDS = {
    "python-1": Host("py1"),
    "python-2": Host("py2"),
    "python-2-discover": Host("py2", negotiates=True),
    "typescript-1": Host("ts1"),
    "typescript-2": Host("ts2"),
    "typescript-2-discover": Host("ts2", negotiates=True),
}
DIRECT_CLIENTS = [
    *((sdk, wire) for sdk in ("python-1", "typescript-1") for wire in ("http", "sse", "ws")),
    *((sdk, wire) for sdk in ("python-2", "typescript-2") for wire in ("http", "sse")),
]
"""The wires that each SDK's own client speaks; 2.x has no WebSocket any more."""


def _kind(*values: str) -> Any:
    """Keep the tests of a host in one worker (`--dist loadgroup`): they share its direct report."""
    return pytest.param(*values, marks=pytest.mark.xdist_group(values[0]), id="-over-".join(values))


every_host = pytest.mark.parametrize("kind", [_kind(name) for name in HOST_KINDS])

_VARYING = (
    (re.compile(r"\d{1,2}:\d{2}:\d{2}\s[AP]M"), "TIME"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "TASK"),
    (re.compile(r"for session (undefined|UUID)"), "for session NAME"),
)
"""What server-everything itself makes up anew in each run: the clock, ids of tasks and sessions."""


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without what varies from run to run."""
    kept = {name: value for name, value in report.items() if name not in ("sdk", "late")}
    kept["called"] = {name: value for name, value in report["called"].items() if name != "get-env"}
    kept["progress"] = report["progress"][:3]  # TypeScript clients lose the last one, which is followed by the result
    normal: dict[str, Any] = _normal(kept)
    return normal


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _blob(each) if name == "blob" else _normal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_normal(each) for each in value]
    if isinstance(value, str):
        for pattern, instead in _VARYING:
            value = pattern.sub(instead, value)
    return value


def _blob(encoded: str) -> str:
    try:
        return str(_normal(base64.b64decode(encoded).decode("ascii")))
    except (UnicodeDecodeError, binascii.Error):
        return encoded


_references: dict[str, dict[str, Any]] = {}


async def reference(kind: str, peers: Peers, folder: Path) -> dict[str, Any]:
    """Return what this host sees of server-everything over stdio, with nothing of ours between."""
    if kind not in _references:
        target = ("--", peers.node, peers.everything, "stdio")
        _references[kind] = await HOST_KINDS[kind].report(peers, folder, *target)
    return _references[kind]


def check(report: dict[str, Any], direct: dict[str, Any], *, without: str = "") -> None:
    """Compare a report with the direct one, and see that the direct one was worth comparing with.

    `without` is a notification that cannot be expected.
    """
    assert len(direct["tools"]) >= 17
    assert {name.split()[0] for name in direct["called"]} == set(direct["tools"])
    assert len(direct["read"]) >= 10
    assert len(direct["prompted"]) == 4
    assert direct["sampled"]
    assert len(direct["elicited"]) >= 2
    assert direct["roots_asked"] == 2
    assert direct["progress"][:3] == [[1, 4], [2, 4], [3, 4]]
    assert direct["cancelled"] == "no answer"
    assert "notifications/resources/list_changed" in direct["changed"]
    got, wanted = comparable(report), comparable(direct)
    for each in (got, wanted):
        each["changed"] = [method for method in each["changed"] if method != without]
    for name in wanted:
        assert got.get(name) == wanted[name], f"{name} differs"
    assert got.keys() == wanted.keys()


@every_host
@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_a_host_sees_a_foreign_server_through_the_bridge_as_it_is(
    kind: str, wire: str, peers: Peers, tmp_path: Path
) -> None:
    direct = await reference(kind, peers, tmp_path)
    async with everything_server(peers, wire) as url:
        report = await HOST_KINDS[kind].report(peers, tmp_path, "--", *bridge(url, wire))
    # Over HTTP, server-everything announces its tools before any client can have opened a stream to hear of it.
    check(report, direct, without="notifications/tools/list_changed" if wire == "http" else "")


@every_host
@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_a_host_sees_a_stdio_server_through_bridge_and_server_as_it_is(
    kind: str, wire: str, peers: Peers, tmp_path: Path
) -> None:
    direct = await reference(kind, peers, tmp_path)
    async with our_server([peers.node, peers.everything, "stdio"]) as server:
        report = await HOST_KINDS[kind].report(peers, tmp_path, "--", *bridge(url_of(server, wire), wire))
    check(report, direct)
    environment = json.loads(report["called"]["get-env"]["content"][0]["text"])
    wanted = json.loads(direct["called"]["get-env"]["content"][0]["text"])
    assert environment == wanted  # the SDK's default set, and nothing of our own


@pytest.mark.parametrize(("kind", "wire"), [_kind(*client) for client in DIRECT_CLIENTS])
async def test_a_client_of_an_sdk_sees_a_stdio_server_through_our_server_as_it_is(
    kind: str, wire: str, peers: Peers, tmp_path: Path
) -> None:
    direct = await reference(kind, peers, tmp_path)
    async with our_server([peers.node, peers.everything, "stdio"]) as server:
        report = await HOST_KINDS[kind].report(peers, tmp_path, wire, url_of(server, wire))
    check(report, direct)


def test_what_varies_is_taken_out_and_nothing_else() -> None:
    blob = partial(base64.b64encode, altchars=None)
    before = {
        "text": "created at 4:00:50 AM for session undefined",
        "blob": blob(b"at 11:00:50 PM").decode(),
        "other": ["for session 01234567-89ab-cdef-0123-456789abcdef", 1.0],
    }
    after = {"text": "created at TIME for session NAME", "blob": "at TIME", "other": ["for session NAME", 1.0]}
    assert _normal(before) == after
