"""Streams that break, end, are polled and are repeated, with the real program between a host and a server."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.core.wakeups import PERIOD_SECONDS, SLACK_SECONDS
from tests.support.host import Host, launch
from tests.support.scripted_server import Peer, ScriptedServer, Seen

GREETING = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"logging": {}},
    "serverInfo": {"name": "s", "version": "0"},
}
Deed = Callable[[Seen, Peer], Awaitable[None]]


def said(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": number}}


def answer_to(seen: Seen) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.id, "result": {"content": []}}


class Server:
    """A session, in which calls and GETs are answered by one deed after the other; at the end, GET is refused."""

    def __init__(self, calls: list[Deed], gets: list[Deed]) -> None:
        self._calls, self._gets = iter(calls), iter(gets)
        self.times: list[float] = []
        """When the GETs came."""

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            self.times.append(asyncio.get_running_loop().time())
            await next(self._gets, refuse)(seen, peer)
        elif seen.method == "DELETE":
            await peer.answer(200)
        elif seen.doc.get("method") == "initialize":
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "session-1"})
        elif seen.doc.get("method") == "tools/call":
            await next(self._calls)(seen, peer)
        elif "id" in seen.doc and "method" in seen.doc:
            await peer.result(seen)
        else:
            await peer.answer(202)


async def refuse(_: Seen, peer: Peer) -> None:
    await peer.answer(405)


async def stand(_: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.gone()
    await peer.hang_up()


def primed(retry: int | None = None, identifier: str = "p-1") -> Deed:
    """A stream that closes after an event with an id and no data, as SEP-1699 says."""

    async def deed(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(b"", identifier=identifier, retry=retry)

    return deed


def says(*numbers: int, retry: int | None = None, reset: bool = False) -> Deed:
    async def deed(_: Seen, peer: Peer) -> None:
        await peer.events()
        for number in numbers:
            await peer.event(said(number), identifier=str(number), retry=retry)
        if reset:
            await asyncio.sleep(0.05)  # a reset overtakes what was sent before it
            await peer.reset()

    return deed


def answers(identifier: int) -> Deed:
    async def deed(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event({"jsonrpc": "2.0", "id": identifier, "result": {"content": []}})

    return deed


def call(host: Host) -> asyncio.Future[dict[str, Any]]:
    return host.ask("tools/call", {"name": "x"})


async def heard(host: Host, count: int) -> list[Any]:
    async with asyncio.timeout(20):
        return [(await host.asked.get())["params"]["data"] for _ in range(count)]


# --- The answer to a call --------------------------------------------------------------------------------------------


async def test_a_call_that_is_polled_is_answered_once_and_posted_once() -> None:
    script = Server([primed(200)], [refuse, primed(200, "p-2"), primed(200, "p-3"), answers(2)])
    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        await server.until(1, "GET")
        assert "result" in await call(host)
        gets = server.of("GET")[1:]
        assert [seen.header("last-event-id") for seen in gets] == ["p-1", "p-2", "p-3"]
        assert all(seen.header("mcp-session-id") == "session-1" for seen in gets)
        assert all(later - earlier >= 0.2 for earlier, later in zip(script.times[1:], script.times[2:], strict=False))
        assert [seen.doc["method"] for seen in server.of("POST")].count("tools/call") == 1
        assert sum(json.loads(line).get("id") == 2 for line in host.heard) == 1


async def test_a_stream_that_ends_without_an_id_is_an_error_that_says_that_the_call_may_have_run() -> None:
    async def ends(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(said(1))

    async with ScriptedServer(Server([ends], [])) as server, launch(server.url) as host:
        await host.greet()
        error = (await call(host))["error"]
        assert (error["code"], error["data"]["may_have_run"]) == (-31003, True)
        assert [seen.doc["method"] for seen in server.of("POST")].count("tools/call") == 1


async def test_what_a_resumed_answer_repeats_reaches_the_host_once() -> None:
    async def too_far_back(_: Seen, peer: Peer) -> None:
        await peer.events()
        for number in (1, 2, 3):
            await peer.event(said(number), identifier=str(number))
        await peer.event({"jsonrpc": "2.0", "id": 2, "result": {}}, identifier="4")

    script = Server([says(1, 2, retry=50, reset=True)], [refuse, too_far_back])
    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        await server.until(1, "GET")
        assert "result" in await call(host)
        assert await heard(host, 3) == [1, 2, 3]
        assert host.asked.empty()


async def test_a_server_that_does_not_know_the_id_any_more_is_one_error() -> None:
    async def unknown(_: Seen, peer: Peer) -> None:
        await peer.answer(400)

    async with ScriptedServer(Server([primed(10)], [refuse, unknown])) as server, launch(server.url) as host:
        await host.greet()
        await server.until(1, "GET")
        error = (await call(host))["error"]
        assert (error["code"], error["data"]["may_have_run"]) == (-31003, True)
        assert len(server.of("GET")) == 2


# --- The standing stream ---------------------------------------------------------------------------------------------


async def test_the_standing_stream_is_opened_again_after_exactly_retry_and_nothing_comes_twice() -> None:
    script = Server([], [says(1, 2, retry=300), says(2, 3), says(4, reset=True), stand])
    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        assert await heard(host, 4) == [1, 2, 3, 4]
        await server.until(4, "GET")
        assert [seen.header("last-event-id") for seen in server.of("GET")] == [None, "2", "3", "4"]
        gaps = [later - earlier for earlier, later in zip(script.times, script.times[1:], strict=False)]
        assert all(0.3 <= gap < 1.5 for gap in gaps)
        assert host.asked.empty()


async def test_a_gateway_that_is_down_for_a_while_costs_nothing_but_time() -> None:
    async def down(_: Seen, peer: Peer) -> None:
        await peer.answer(503, headers={"Retry-After": "0"})

    async with ScriptedServer(Server([], [down, down, says(1), stand])) as server, launch(server.url) as host:
        await host.greet()
        for count in range(1, 4):  # a message ends each wait
            await server.until(count, "GET")
            assert "result" in await host.request("ping")
        assert await heard(host, 1) == [1]
        assert await host.end() == 0


async def test_waiting_for_the_stream_does_not_keep_the_bridge_from_leaving() -> None:
    async with ScriptedServer(Server([], [says(1, retry=60_000)])) as server, launch(server.url) as host:
        await host.greet()
        await heard(host, 1)
        async with asyncio.timeout(5):
            assert await host.end() == 0


# --- Sleep and wake --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_after_a_real_stop_the_standing_stream_is_opened_anew_and_the_calls_go_on() -> None:
    async def slow(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await woken.wait()
        await peer.event(answer_to(seen))

    async def dead(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(said(1), identifier="1")
        await stopped.wait()
        await peer.silence()  # a peer that is gone without a word: only the waking up can tell

    woken, stopped = asyncio.Event(), asyncio.Event()
    script = Server([slow], [dead, says(2), stand])
    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        assert await heard(host, 1) == [1]
        running = call(host)
        await server.until(3)
        host.process.send_signal(signal.SIGSTOP)
        stopped.set()
        await asyncio.sleep(PERIOD_SECONDS + SLACK_SECONDS + 1)
        host.process.send_signal(signal.SIGCONT)
        assert await heard(host, 1) == [2]
        assert server.of("GET")[1].header("last-event-id") == "1"
        assert not running.done()
        woken.set()
        assert "result" in await running
        assert "result" in await host.request("tools/list")
        assert b"nothing ran here" in host.log
        assert [seen.doc["method"] for seen in server.of("POST")].count("tools/call") == 1
        assert await host.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_server_that_ended_the_streams_during_a_short_stop_is_found_again() -> None:
    async def until_stopped(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(said(1), identifier="1", retry=10)
        await stopped.wait()
        await peer.reset()

    stopped = asyncio.Event()
    async with ScriptedServer(Server([], [until_stopped, says(2), stand])) as server, launch(server.url) as host:
        await host.greet()
        assert await heard(host, 1) == [1]
        host.process.send_signal(signal.SIGSTOP)
        stopped.set()
        await asyncio.sleep(0.5)
        host.process.send_signal(signal.SIGCONT)
        assert await heard(host, 1) == [2]
        assert "result" in await host.request("tools/list")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts wake-ups in /proc")
async def test_an_idle_bridge_with_a_standing_stream_wakes_up_once_in_ten_seconds() -> None:
    def wakeups(pid: int) -> int:
        total = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    async def silent(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.silence()

    async with ScriptedServer(Server([], [silent])) as server, launch(server.url) as host:
        await host.greet()
        await server.until(1, "GET")
        await asyncio.sleep(2)
        before = wakeups(host.process.pid)
        await asyncio.sleep(21)
        assert wakeups(host.process.pid) - before <= 4
