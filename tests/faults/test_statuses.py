"""Each HTTP status with each content type and each body, where a message or a connection is expected."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from tests.support import fault_server as faults
from tests.support.fault_server import FaultServer, Wire
from tests.support.near_bridge import near_bridge
from tests.support.survival import CASE_SECONDS, Fault, check_error, in_session, meet, still_works

STATUSES = (
    *(200, 201, 202, 203, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 399),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 417, 418, 421, 422, 423, 424),
    *(425, 426, 428, 429, 431, 444, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 522, 524, 530, 599),
    *(600, 999),
)
TYPES = (None, "application/json", "text/event-stream", "text/html; charset=utf-8", "text/plain", "nonsense", "")
ERROR = b'{"jsonrpc":"2.0","id":$ID,"error":{"code":-32050,"message":"no"}}'
BODIES = (
    b"",
    ERROR,
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32050,"message":"no"}}',
    b'{"jsonrpc":"2.0","id":$ID,"result":{"of":"the body"}}',
    b'data: {"jsonrpc":"2.0","id":$ID,"result":{"of":"the body"}}\n\n',
    b"<!DOCTYPE html><title>Bad</title>",
    b'{"jsonrpc":"2.0","id":$ID,"resu',
    b"Session not found",
    b"\xff\xfe\x00",
)


def has_run(code: int, body: bytes) -> bool:
    """Whether a server that answers so may have run the call: not with 3xx, 4xx, and for a session that it lost."""
    return (code < 300 or code >= 500) and not (body.startswith(b"Session") and code in (500, 503))


def combinations(step: int) -> Iterator[tuple[int, str | None, bytes]]:
    """Every `step`th of all; a step that shares no divisor with the lists' lengths meets each value of each list."""
    return itertools.islice(itertools.product(STATUSES, TYPES, BODIES), 0, None, step)


async def each_status(wire: Wire, place: str, step: int) -> None:
    async with FaultServer(wire) as server, near_bridge(server.url, f"--{wire}-only") as host:
        await in_session(host)
        for number, (code, kind, body) in enumerate(combinations(step)):
            fault = Fault(faults.status(code, kind, body), None, runs=has_run(code, body))
            answer = await meet(server, host, place, ("pay", "look")[number % 2], fault)
            error = answer.get("error", {})
            if error.get("data", {}).get("source") and error["data"].get("http_status") not in (None, code):
                pytest.fail(f"{code} was called {error}")
            if place == "tools/call" and body is ERROR and kind == "application/json" and code >= 400:
                passed = error.get("code") == -32050
                assert passed or code in (401, 404, 410) or "result" in answer, (code, answer)


@pytest.mark.parametrize(("wire", "place"), [("http", "tools/call"), ("sse", "accepting tools/call")])
async def test_statuses_types_and_bodies(wire: Wire, place: str) -> None:
    await each_status(wire, place, 23)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("wire", "place"), [("http", "tools/call"), ("sse", "accepting tools/call")])
async def test_each_status_type_and_body(wire: Wire, place: str) -> None:
    await each_status(wire, place, 1)


MENDING = frozenset([429, 502, 503, 504])


async def each_status_of_the_opening(wire: Wire, place: str, step: int) -> None:
    async with FaultServer(wire) as server:
        for code, kind, body in combinations(step):
            server.spoil(place, faults.status(code, kind, body), times=2)
            async with near_bridge(server.url, f"--{wire}-only") as host:
                async with asyncio.timeout(CASE_SECONDS):
                    answer = await host.greet()
                assert host.answers["1"] == 1
                if "error" in answer and "source" in answer["error"].get("data", {}):
                    check_error(answer, ran=False)
                    assert code not in MENDING or body, f"{code} passes by itself: {answer}"
                server.mend()
                if "error" in answer:
                    assert "result" in await host.greet(), "the next attempt finds a good server"
                elif "of" in answer["result"]:
                    continue  # this is what the server said, and it gave no session
                await still_works(server, host)


OPENINGS: list[tuple[Wire, str]] = [("http", "initialize"), ("sse", "opening"), ("ws", "opening")]


@pytest.mark.parametrize(("wire", "place"), OPENINGS)
async def test_statuses_types_and_bodies_of_an_opening(wire: Wire, place: str) -> None:
    await each_status_of_the_opening(wire, place, 131)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("wire", "place"), OPENINGS)
async def test_each_status_type_and_body_of_an_opening(wire: Wire, place: str) -> None:
    await each_status_of_the_opening(wire, place, 1)
