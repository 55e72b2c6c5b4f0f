"""Connections that end at every byte of a small exchange, on every wire: one answer, the truth about it, and life
goes on.

The bridge runs in the process of the test, over real pipes and sockets, so that thousands of ends take seconds.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fault_server import Ending, FaultServer, Flavour, Wire, cut
from tests.support.near_bridge import near_bridge
from tests.support.scripted_server import Peer
from tests.support.survival import CASE_SECONDS, KEYS, call, check_error, in_session, still_works

ENDINGS: dict[str, Ending] = {"reset": Peer.reset, "closed": Peer.hang_up, "half-closed": Peer.half_close}
ANSWERS: list[tuple[Wire, Flavour, str]] = [
    ("http", "json", "tools/call"),
    ("http", "events", "tools/call"),
    ("http", "resumable", "tools/call"),
    ("sse", "json", "tools/call"),
    ("sse", "json", "accepting tools/call"),
    ("ws", "json", "tools/call"),
]
GREETINGS: list[tuple[Wire, str]] = [
    ("http", "initialize"),
    ("http", "accepting notifications/initialized"),
    ("sse", "opening"),
    ("sse", "initialize"),
    ("sse", "accepting initialize"),
    ("ws", "opening"),
    ("ws", "initialize"),
]


async def ended_calls(wire: Wire, flavour: Flavour, place: str, name: str, ending: Ending, step: int) -> None:
    """End the answer to a call after each `step`th number of bytes."""
    async with FaultServer(wire, flavour) as server, near_bridge(server.url, f"--{wire}-only") as host:
        await in_session(host)
        size = server.sizes[place]
        for at in [*range(0, size, step), size - 1, size]:
            key = next(KEYS)
            server.spoil(place, cut(at, ending))
            answer = await call(host, name, key)
            if "error" in answer:
                check_error(answer, ran=server.ran[key] > 0)
                assert name == "pay", answer
            assert at < min(size, server.resumable_from) or "result" in answer, answer
            assert server.ran[key] == 1 or name == "look"
            await still_works(server, host)


async def ended_greetings(wire: Wire, place: str, ending: Ending, step: int) -> None:
    """End what comes before the first call after each `step`th number of bytes."""
    async with FaultServer(wire) as server:
        async with near_bridge(server.url, f"--{wire}-only") as host:
            await in_session(host)
        size = server.sizes[place]
        for at in [*range(0, size, step), size - 1, size]:
            server.spoil(place, cut(at, ending))
            async with near_bridge(server.url, f"--{wire}-only") as host:
                async with asyncio.timeout(CASE_SECONDS):
                    answer = await host.greet()
                assert "result" in answer, f"{place} ended after {at} bytes: {answer}"
                assert host.answers["1"] == 1
                await still_works(server, host)


@pytest.mark.parametrize(("wire", "flavour", "place"), ANSWERS)
@pytest.mark.parametrize(("name", "ending"), [("pay", "reset"), ("look", "closed")])
async def test_an_answer_that_ends_early(wire: Wire, flavour: Flavour, place: str, name: str, ending: str) -> None:
    await ended_calls(wire, flavour, place, name, ENDINGS[ending], 9)


@pytest.mark.parametrize(("wire", "place"), GREETINGS)
@pytest.mark.parametrize("ending", ["reset", "closed"])
async def test_a_greeting_that_ends_early(wire: Wire, place: str, ending: str) -> None:
    await ended_greetings(wire, place, ENDINGS[ending], 29)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("wire", "flavour", "place"), ANSWERS)
@pytest.mark.parametrize("name", ["pay", "look"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_answer_that_ends_at_every_byte(
    wire: Wire, flavour: Flavour, place: str, name: str, ending: str
) -> None:
    await ended_calls(wire, flavour, place, name, ENDINGS[ending], 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("wire", "place"), GREETINGS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_greeting_that_ends_at_every_byte(wire: Wire, place: str, ending: str) -> None:
    await ended_greetings(wire, place, ENDINGS[ending], 1)
