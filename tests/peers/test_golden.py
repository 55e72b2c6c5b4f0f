"""One scripted session, recorded without us and through bridge and server: the lines must be equal, byte for byte.

The session is raw JSON-RPC in steps; a step sends lines and names the messages that it waits for. Compared is each
line as it came, so key order, number spellings, escapes and unknown members count. On HTTP, messages of different
streams may overtake each other, so within a step only the order of each stream is compared; on SSE and WebSocket
there is one stream, and the order of everything counts.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.peers.install import Peers
from tests.peers.programs import bridge, our_server, raw_host, url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MIRROR = [sys.executable, str(Path(__file__).with_name("mirror_server.py"))]
SDK_VARIABLES = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What the official SDKs let a stdio server inherit, and so does our server."""


class Step(NamedTuple):
    """Lines to send, and what to wait for: an id stands for its answer, a text for a message with that method."""

    send: Sequence[bytes]
    expect: Sequence[int | str]


def _request(identifier: int, method: str, params: dict[str, Any] | None = None) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": identifier, "method": method}
    if params is not None:
        message["params"] = params
    return json.dumps(message, ensure_ascii=False).encode()


def _call(identifier: int, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> bytes:
    return _request(identifier, "tools/call", {"name": name, "arguments": arguments or {}, **more})


def _asks(identifier: int, method: str, params: dict[str, Any] | None = None) -> Step:
    return Step([_request(identifier, method, params)], [identifier])


def _calls(identifier: int, name: str, arguments: dict[str, Any] | None = None, *expect: str, **more: Any) -> Step:
    return Step([_call(identifier, name, arguments, **more)], [*expect, identifier])


INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
CAPABILITIES = {
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "roots": {"listChanged": True},
    "experimental": {"x-unknown": {"deep": [1, 2]}},
}
EVERYTHING: list[Step] = [
    _asks(
        1,
        "initialize",
        {
            "protocolVersion": "2025-11-25",
            "capabilities": CAPABILITIES,
            "clientInfo": {"name": "golden", "version": "1", "x-unknown": True},
        },
    ),
    Step([INITIALIZED], ["roots/list", "notifications/message", *["notifications/tools/list_changed"] * 5]),
    _asks(2, "ping"),
    _asks(3, "tools/list", {"_meta": {"x-unknown": 1.0}}),
    _asks(4, "resources/list"),
    _asks(5, "resources/templates/list"),
    _asks(6, "prompts/list"),
    _calls(10, "echo", {"message": 'grüße 世界 🌍 \u2028 "q" \\'}, **{"x-unknown": {"later": [None]}}),
    _calls(11, "get-sum", {"a": 1e3, "b": 0.1}),
    _calls(12, "get-tiny-image"),
    _calls(13, "get-structured-content", {"location": "New York"}),
    _calls(14, "get-annotated-message", {"messageType": "debug", "includeImage": True}),
    _calls(15, "get-resource-links", {"count": 10}),
    _calls(16, "get-resource-reference", {"resourceType": "Blob", "resourceId": 2}),
    _calls(18, "get-roots-list"),
    _calls(
        19,
        "gzip-file-as-resource",
        {"name": "g.gz", "data": "data:text/plain;base64,aGVsbG8="},
        "notifications/resources/list_changed",
    ),
    _calls(20, "trigger-sampling-request", {"prompt": "say"}, "sampling/createMessage"),
    _calls(21, "trigger-elicitation-request", None, "elicitation/create"),
    _calls(22, "trigger-url-elicitation", {"url": "https://e.org", "elicitationId": "e"}, "elicitation/create"),
    _calls(23, "trigger-url-elicitation", {"url": "https://e.org/2", "elicitationId": "f", "errorPath": True}),
    _calls(
        24,
        "trigger-long-running-operation",
        {"duration": 0.3, "steps": 3},
        *["notifications/progress"] * 3,
        _meta={"progressToken": "token/é"},
    ),
    Step(
        [_request(25, "resources/subscribe", {"uri": "demo://resource/dynamic/text/1"})], ["notifications/message", 25]
    ),
    _calls(26, "toggle-subscriber-updates", None, "notifications/resources/updated"),
    _calls(27, "toggle-subscriber-updates"),
    Step(
        [_request(28, "resources/unsubscribe", {"uri": "demo://resource/dynamic/text/1"})],
        ["notifications/message", 28],
    ),
    _asks(29, "resources/read", {"uri": "demo://resource/static/document/features.md"}),
    _asks(30, "resources/read", {"uri": "demo://resource/session/g.gz"}),
    _asks(31, "resources/read", {"uri": "demo://resource/dynamic/text/no"}),
    _asks(32, "prompts/get", {"name": "args-prompt", "arguments": {"city": "Zürich"}}),
    _asks(33, "prompts/get", {"name": "no-such-prompt"}),
    _asks(
        34,
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "completable-prompt"}, "argument": {"name": "department", "value": "S"}},
    ),
    _asks(35, "logging/setLevel", {"level": "warning"}),
    _asks(36, "future/unheard-of", {"x": 1}),
    _calls(37, "no-such-tool"),
    _calls(38, "get-sum", {"a": "x"}),
    Step([_call(number, "echo", {"message": f"number {number}"}) for number in range(40, 60)], range(40, 60)),
    # Cancelled before it ends by itself, so no answer comes; the call after it lasts until it would have come.
    Step(
        [_call(70, "trigger-long-running-operation", {"duration": 0.9, "steps": 3}, _meta={"progressToken": 70})],
        ["notifications/progress"],
    ),
    Step([b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":70,"reason":"enough"}}'], []),
    _calls(71, "trigger-long-running-operation", {"duration": 1.5, "steps": 1}),
    _asks(72, "ping"),
]
ODD_REQUEST = (
    rb'{ "params":{"z":1.0,"a":[1e5, 12345678901234567890,-0],"_meta":{"x":"\u00e9\/"}} ,"id":%d,"method":"%s",'
    rb'"jsonrpc":"2.0", "future":{"b":1,"a":2.50}}'
)
MIRRORED: list[Step] = [
    Step(
        [
            b'{"method":"initialize","id":1,"params":{"protocolVersion":"2025-06-18","future":{"b":1.0},'
            b'"clientInfo":{"version":"1","name":"golden"},"capabilities":{"future":{}}},"jsonrpc":"2.0"}'
        ],
        [1],
    ),
    Step(
        [b'{"method":"notifications/initialized",  "future":[1.0,"\\u00e9"],"jsonrpc":"2.0"}'],
        ["notifications/mirrored"],
    ),
    Step([ODD_REQUEST % (2, b"tools/list")], [2]),
    Step([ODD_REQUEST % (3, b"future/request")], [3]),
    Step([ODD_REQUEST % (4, b"future/fail")], [4]),
    Step([ODD_REQUEST % (5, b"future/ask")], ["future/question", "notifications/mirrored", 5]),
    Step([b'{"jsonrpc":"2.0","method":"notifications/future","params":{"b":1,"a":-0}}'], ["notifications/mirrored"]),
]
ANSWERS: dict[str, dict[str, Any]] = {
    "roots/list": {"roots": [{"uri": "file:///srv/é", "name": "É"}]},
    "sampling/createMessage": {
        "role": "assistant", "content": {"type": "text", "text": "said"}, "model": "m", "x-unknown": 1.0,
    },
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "future/question": {"future": [1.0, {"b": 1, "a": "é"}]},
}  # fmt: skip
_VARYING = (
    (re.compile(rb"\d{1,2}:\d{2}:\d{2}\xe2?\x80?\xaf? ?[AP]M"), b"TIME"),
    (re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), b"UUID"),
)
"""What server-everything makes up anew in each run: the clock, the id of an elicitation that it demands."""


Recording = list[list[bytes]]
"""The lines that came back, by step."""


async def record(command: Sequence[str], script: Sequence[Step], env: dict[str, str] | None = None) -> Recording:
    """Play a script to a stdio program."""
    steps: Recording = []
    async with raw_host(command, env=env) as host:
        host.answers.update(ANSWERS)
        start = 0
        for step in script:
            await host.send(*step.send)
            lines = await host.until(partial(_satisfied, step.expect), start)
            start += len(lines)
            steps.append([_normal(line) for line in lines])
    assert len(host.received) == start, f"more came after the end: {host.received[start:]!r}"
    return steps


def _satisfied(expected: Sequence[int | str], lines: Sequence[bytes]) -> bool:
    got: Counter[int | str] = Counter()
    for line in lines:
        message = json.loads(line)
        got[message["method"] if "method" in message else message["id"]] += 1
    return not Counter(expected) - got


def _normal(line: bytes) -> bytes:
    """Return a line without what varies from run to run; a blob that holds the time is decoded for it."""
    for pattern, instead in _VARYING:
        line = pattern.sub(instead, line)
    return re.sub(rb'"blob":"([A-Za-z0-9+/=]+)"', _blob, line)


def _blob(match: re.Match[bytes]) -> bytes:
    decoded = base64.b64decode(match.group(1))
    return b'"blob":"' + _VARYING[0][0].sub(b"TIME", decoded) + b'"' if b"created at" in decoded else match.group(0)


def _streams(lines: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Split the lines of a step by the stream on which they may come: each call's own, or the standing one."""
    streams: dict[str, list[bytes]] = {}
    for line in lines:
        message = json.loads(re.sub(rb'"blob":"[^"]*"', b'"blob":""', line))
        if "method" not in message:
            name = f"answer {message['id']}"
        elif message["method"] == "notifications/progress":
            name = f"progress {message['params']['progressToken']}"
        else:
            name = "standing"
        streams.setdefault(name, []).append(line)
    return streams


_PROGRESS = b'"method":"notifications/progress"'


def compare(script: Sequence[Step], direct: Recording, through: Recording, wire: str) -> None:
    """Compare two recordings step by step.

    Left out is the progress of a call after the host cancelled it: this server goes on telling it, and whether it
    still arrives depends on whether the call's stream was closed by then.
    """
    cancelled = False
    for step, *both in zip(script, direct, through, strict=True):
        cancelled = cancelled or any(b"notifications/cancelled" in line for line in step.send)
        wanted, got = ([line for line in lines if not (cancelled and _PROGRESS in line)] for lines in both)
        # over HTTP+SSE all answers come on one stream, but requests sent at once are POSTs that may overtake each other
        if wire == "http" or (wire == "sse" and len(step.send) > 1):
            assert _streams(got) == _streams(wanted), step.send
        else:
            assert got == wanted, step.send


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in SDK_VARIABLES if name in os.environ}


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_a_session_with_server_everything_is_the_same_through_bridge_and_server(wire: str, peers: Peers) -> None:
    command = [peers.node, peers.everything, "stdio"]
    direct = await record(command, EVERYTHING, _environment())
    async with our_server(command) as server:
        through = await record(bridge(url_of(server, wire), wire), EVERYTHING)
    compare(EVERYTHING, direct, through, wire)


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_unknown_members_numbers_and_spellings_survive_both_ways(wire: str) -> None:
    direct = await record(MIRROR, MIRRORED, _environment())
    assert b"12345678901234567890" in direct[2][0]
    async with our_server(MIRROR) as server:
        through = await record(bridge(url_of(server, wire), wire), MIRRORED)
    compare(MIRRORED, direct, through, wire)


async def test_the_comparison_notices_a_number_that_was_decoded() -> None:
    direct = await record(MIRROR, MIRRORED, _environment())
    changed = [[line.replace(b"1e5", b"100000.0") for line in lines] for lines in direct]
    for wire in ("http", "ws"):
        with pytest.raises(AssertionError):
            compare(MIRRORED, direct, changed, wire)
