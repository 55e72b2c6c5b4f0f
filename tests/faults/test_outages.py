"""Servers that are not there yet, go and come, stay silent and forget; connections that end at the wrong moment."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from tests.support import fault_server as faults
from tests.support.fault_server import WIRES, Deed, FaultServer, Wire
from tests.support.near_bridge import near_bridge
from tests.support.scripted_server import Peer, closed_port
from tests.support.survival import CASE_SECONDS, KEYS, call, check_error, in_session, still_works


@pytest.mark.parametrize("wire", WIRES)
async def test_a_server_that_is_not_there_yet_loses_nothing(wire: Wire) -> None:
    server = FaultServer(wire, port=closed_port())
    async with near_bridge(server.url, f"--{wire}-only") as host:
        assert "result" in await host.greet()
        waiting = [(key, host.ask("tools/call", {"name": "pay", "key": key}, key)) for key in itertools.islice(KEYS, 5)]
        async with server, asyncio.timeout(CASE_SECONDS):
            for key, answer in waiting:
                assert (await answer)["result"] == {"n": key}
                assert (host.answers[str(key)], server.ran[key]) == (1, 1)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_server_that_accepts_and_stays_silent_is_told_of_and_waited_for(wire: Wire) -> None:
    place = "initialize" if wire == "http" else "opening"
    arguments = (f"--{wire}-only", "--connect-timeout", "1s", "--greet-after", "500ms")
    async with FaultServer(wire) as server, near_bridge(server.url, *arguments) as host:
        server.spoil(place, faults.silence, times=2)
        async with asyncio.timeout(CASE_SECONDS):
            assert "result" in await host.greet()
        line = await asyncio.wait_for(host.asked.get(), CASE_SECONDS)
        assert "127.0.0.1" in line["params"]["data"] or "--greet-after" in line["params"]["data"]
        if wire != "http":  # there, the answer that does not come stays awaited
            await still_works(server, host)


@pytest.mark.parametrize("wire", WIRES)
async def test_restarts_in_the_middle_of_calls_answer_each_once_and_run_none_twice(wire: Wire) -> None:
    async with FaultServer(wire) as server, near_bridge(server.url, f"--{wire}-only") as host:
        await in_session(host)
        for _ in range(10):
            keys = list(itertools.islice(KEYS, 8))
            asked = [host.ask("tools/call", {"name": ("pay", "look")[key % 2], "key": key}, key) for key in keys]
            await asyncio.wait(asked, timeout=0.002)
            await server.down()
            await asyncio.sleep(0)
            await server.up()
            async with asyncio.timeout(CASE_SECONDS):
                answers = await asyncio.gather(*asked)
            for key, answer in zip(keys, answers, strict=True):
                assert host.answers[str(key)] == 1
                if key % 2:
                    assert answer.get("result") == {"n": key}, answer
                else:
                    assert server.ran[key] <= 1
                    if "error" in answer:
                        check_error(answer, ran=server.ran[key] > 0)
            await still_works(server, host)


DIALECTS: dict[str, Deed] = {
    "404": faults.status(404),
    "410": faults.status(410, "text/plain", b"gone"),
    "400 in words": faults.status(400, "application/json", b'{"error":"Session has expired"}'),
    "400 as JSON-RPC": faults.status(
        400, "application/json",
        b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"No valid session ID provided"}}',
    ),
    "200 as JSON-RPC": faults.status(
        200, "application/json", b'{"jsonrpc":"2.0","id":$ID,"error":{"code":-32001,"message":"Session not found"}}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_ten_calls_that_lose_the_session_together_open_one_and_run_once(dialect: str) -> None:
    async with FaultServer("http") as server, near_bridge(server.url, "--http-only") as host:
        server.says_lost = DIALECTS[dialect]
        await in_session(host)
        for _ in range(5):
            server.forget()
            greeted = server.methods.count("initialize")
            keys = list(itertools.islice(KEYS, 10))
            async with asyncio.timeout(CASE_SECONDS):
                answers = await asyncio.gather(
                    *(host.ask("tools/call", {"name": "pay", "key": key}, key) for key in keys)
                )
            assert [answer.get("result") for answer in answers] == [{"n": key} for key in keys]
            assert all(server.ran[key] == 1 for key in keys)
            assert server.methods.count("initialize") == greeted + 1


async def test_a_pipe_whose_session_is_lost_is_opened_anew() -> None:
    async with FaultServer("sse") as server, near_bridge(server.url, "--sse-only") as host:
        await in_session(host)
        for _ in range(5):
            server.forget()
            await still_works(server, host)


@pytest.mark.parametrize("ending", [Peer.hang_up, Peer.reset, Peer.half_close])
async def test_a_connection_that_is_closed_just_as_the_next_call_goes_costs_that_call_at_most(ending: Any) -> None:
    async with FaultServer("http") as server, near_bridge(server.url, "--http-only") as host:
        await in_session(host)
        for number in range(60):
            first, second = next(KEYS), next(KEYS)
            server.spoil("tools/call", faults.closed_after(number * 0.00005, ending))
            assert (await call(host, "pay", first))["result"] == {"n": first}
            answer = await call(host, "pay", second)
            assert server.ran[first] == 1
            assert server.ran[second] <= 1
            if "error" in answer:
                check_error(answer, ran=server.ran[second] > 0)
            await still_works(server, host)


async def test_a_proxy_that_holds_an_event_stream_back_is_no_server() -> None:
    arguments = ("--sse-only", "--connect-timeout", "1s", "--greet-after", "off")
    async with FaultServer("sse") as server, near_bridge(server.url, *arguments) as host:
        server.spoil("opening", faults.silence)
        answer = await host.greet()
        check_error(answer, ran=False)
        assert "endpoint" in answer["error"]["message"]
        assert "result" in await host.greet()
        await still_works(server, host)


@pytest.mark.parametrize("wire", WIRES)
async def test_whoever_leaves_while_a_connection_is_being_made_leaves_nothing_behind(wire: Wire) -> None:
    place = "initialize" if wire == "http" else "opening"
    async with FaultServer(wire) as server:
        for hundredth in range(0, 16, 3):
            server.spoil(place, faults.silence, times=100)
            async with near_bridge(server.url, f"--{wire}-only", "--connect-timeout", "50ms") as host:
                host.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})
                await asyncio.sleep(hundredth / 100)  # it is dialling, waiting or dialling again: nobody knows
                assert await host.end() == 0
