"""Time-outs of the real bridge, on all three wires: one answer that names the limit, the server told, the next call."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.host import Host, launch
from tests.support.scripted_server import WAIT_SECONDS, Peer, ScriptedServer, Seen

GREETING = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "0"}}
TIMED_OUT = -31002
Doc = dict[str, Any]
Say = Callable[[Doc], Awaitable[None]]
Deed = Callable[["Far", Doc, Say], Awaitable[None]]


class Far:
    """A server that does at `tools/call` what the tool's name says, over whatever wire it stands on."""

    def __init__(self, **deeds: Deed) -> None:
        self.deeds = deeds
        self.seen: list[Doc] = []
        self.changed = asyncio.Condition()
        self.closed = asyncio.Event()
        """The stream of a call was closed by the bridge (Streamable HTTP)."""
        self.answered = asyncio.Event()
        """The host answered something that the server had asked."""
        self.flags: tuple[str, ...] = ()
        self.deaf_to: list[str] = []
        """Methods that are not answered; each entry is good for one request."""
        self.say_late: Say | None = None

    async def note(self, doc: Doc) -> None:
        async with self.changed:
            self.seen.append(doc)
            self.changed.notify_all()
        if "method" not in doc:
            self.answered.set()

    def of(self, method: str) -> list[Doc]:
        return [doc for doc in self.seen if doc.get("method") == method]

    async def until(self, method: str, count: int = 1) -> list[Doc]:
        async with asyncio.timeout(WAIT_SECONDS), self.changed:
            await self.changed.wait_for(lambda: len(self.of(method)) >= count)
        return self.of(method)

    async def serve(self, doc: Doc, say: Say) -> bool:
        """React to one message. Returns whether it is left without an answer."""
        await self.note(doc)
        if "id" not in doc or "method" not in doc:
            return False
        if doc["method"] in self.deaf_to:
            self.deaf_to.remove(doc["method"])
            return True
        if doc["method"] == "tools/call":
            deed = self.deeds.get(doc["params"]["name"])
            if deed is not None:
                await deed(self, doc, say)
            if deed in SILENT:
                return True
        await say(result(doc, GREETING if doc["method"] == "initialize" else {"fine": True}))
        return False


def result(doc: Doc, value: Any = None) -> Doc:
    return {"jsonrpc": "2.0", "id": doc["id"], "result": {"fine": True} if value is None else value}


def progress(doc: Doc, at: int) -> Doc:
    token = doc["params"]["_meta"]["progressToken"]
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": at}}


# --- Deeds -------------------------------------------------------------------------------------------------------


async def is_silent(far: Far, doc: Doc, say: Say) -> None:
    far.say_late = say


async def begins(far: Far, doc: Doc, say: Say) -> None:
    await say(progress(doc, 1))


async def works_and_reports(far: Far, doc: Doc, say: Say) -> None:
    for at in range(12):
        await say(progress(doc, at))
        await asyncio.sleep(0.1)


async def takes_a_second(far: Far, doc: Doc, say: Say) -> None:
    await asyncio.sleep(1)


async def begins_and_takes_a_second(far: Far, doc: Doc, say: Say) -> None:
    await say(progress(doc, 1))
    await asyncio.sleep(1)


async def asks_a_person(far: Far, doc: Doc, say: Say) -> None:
    await say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "?"}})
    await far.answered.wait()


SILENT = (is_silent, begins)


# --- The three wires ---------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def by_http(far: Far) -> AsyncIterator[str]:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405 if seen.method == "GET" else 200)
            return
        if "id" not in seen.doc or "method" not in seen.doc:
            await far.note(seen.doc)
            await peer.answer(202)
            return

        async def say(doc: Doc) -> None:
            if not peer.chunked:
                await peer.events()
            await peer.event(doc)

        if await far.serve(seen.doc, say):
            await peer.gone()
            far.closed.set()
            peer.chunked = False

    async with ScriptedServer(script) as server:
        far.flags = ("--transport", "http-only")
        yield server.url


@contextlib.asynccontextmanager
async def by_sse(far: Far) -> AsyncIterator[str]:
    stream: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    async def say(doc: Doc) -> None:
        await (await asyncio.shield(stream)).event(doc)

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.events()
            await peer.event(b"/messages", event="endpoint")
            stream.set_result(peer)
            await peer.silence()
        else:
            await peer.answer(202)
            group.create_task(far.serve(seen.doc, say))  # the connection is free for the next POST

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        far.flags = ("--transport", "sse-only")
        yield server.url


@contextlib.asynccontextmanager
async def by_websocket(far: Far) -> AsyncIterator[str]:
    async def accept(socket: ServerConnection) -> None:
        async def say(doc: Doc) -> None:
            await socket.send(json.dumps(doc))

        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(ConnectionClosed):  # the bridge is killed at the end of a test
                async for frame in socket:
                    group.create_task(far.serve(json.loads(frame), say))

    async with serve(accept, "127.0.0.1", 0, subprotocols=[Subprotocol("mcp")]) as server:
        far.flags = ()
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


Wire = Callable[[Far], contextlib.AbstractAsyncContextManager[str]]
WIRES: list[Wire] = [by_http, by_sse, by_websocket]
ON_EACH_WIRE = pytest.mark.parametrize("wire", WIRES, ids=["http", "sse", "websocket"])


@contextlib.asynccontextmanager
async def bridged(wire: Wire, far: Far, *flags: str, greet: bool = True) -> AsyncIterator[Host]:
    async with wire(far) as url, launch(url, *far.flags, *flags) as host:
        if greet:
            await in_time(host.greet)
            await far.until("notifications/initialized")
        yield host


async def in_time(attempt: Callable[[], Awaitable[Doc]]) -> Doc:
    """Try until the answer came in time: the limits here are so short that a busy machine may miss one."""
    for _ in range(10):
        answer = await attempt()
        if "result" in answer:
            return answer
        assert answer["error"]["code"] == TIMED_OUT, answer
    raise AssertionError("every attempt timed out")


def call(host: Host, tool: str) -> Awaitable[Doc]:
    params = {"name": tool, "arguments": {}, "_meta": {"progressToken": f"of {tool}"}}
    return host.request("tools/call", params)


async def timed_out(host: Host, far: Far, tool: str) -> Doc:
    """Call a tool, check all that is common to time-outs, and return the error."""
    cancelled = len(far.of("notifications/cancelled"))
    answer = await call(host, tool)
    assert answer["error"]["code"] == TIMED_OUT, answer
    assert answer["error"]["data"]["may_have_run"] is True
    cancels = await far.until("notifications/cancelled", cancelled + 1)
    assert cancels[-1]["params"]["requestId"] == answer["id"]
    assert cancels[-1]["params"]["reason"] == answer["error"]["message"]
    await in_time(lambda: call(host, "any"))
    assert len(answers_to(host, answer["id"])) == 1
    error: Doc = answer["error"]
    return error


def answers_to(host: Host, identifier: Any) -> list[Doc]:
    docs = [json.loads(line) for line in host.heard]
    return [doc for doc in docs if doc.get("id") == identifier and "method" not in doc]


# --- The limits --------------------------------------------------------------------------------------------------


@ON_EACH_WIRE
async def test_a_call_that_takes_too_long_is_answered_once_and_the_next_one_works(wire: Wire) -> None:
    far = Far(slow=is_silent)
    async with bridged(wire, far, "--timeout", "400ms") as host:
        error = await timed_out(host, far, "slow")
        assert error["message"] == "no answer within 0.4 s (--timeout)"
        assert "--timeout" in error["data"]["hint"]
        assert "--tool-timeout slow=0.8s" in error["data"]["hint"]
        if wire is by_http:
            async with asyncio.timeout(WAIT_SECONDS):
                await far.closed.wait()
        else:
            assert far.say_late is not None
            late = far.of("tools/call")[0]
            await far.say_late(result(late))
            await in_time(lambda: call(host, "any"))
            assert len(answers_to(host, late["id"])) == 1


@ON_EACH_WIRE
async def test_a_tool_has_its_own_limit_and_the_last_one_given_holds(wire: Wire) -> None:
    far = Far(slow=is_silent, patient=takes_a_second, other=is_silent)
    flags = ("--tool-timeout=slow=5h", "--tool-timeout=slow=300ms", "--tool-timeout=patient=off", "--timeout=500ms")
    async with bridged(wire, far, *flags) as host:
        error = await timed_out(host, far, "slow")
        assert error["message"] == "no answer within 0.3 s (--tool-timeout)"
        assert "--tool-timeout slow=" in error["data"]["hint"]
        assert (await call(host, "patient"))["result"] == {"fine": True}
        assert (await timed_out(host, far, "other"))["message"] == "no answer within 0.5 s (--timeout)"


@ON_EACH_WIRE
@pytest.mark.parametrize("flag", ["--first-byte-timeout=400ms", "--headers-timeout=0.4"])
async def test_a_server_that_does_not_begin_is_given_up_and_one_that_did_has_time(wire: Wire, flag: str) -> None:
    far = Far(slow=is_silent, patient=begins_and_takes_a_second)
    async with bridged(wire, far, flag) as host:
        error = await timed_out(host, far, "slow")
        assert error["message"] == "no answer was begun within 0.4 s (--first-byte-timeout)"
        assert "--first-byte-timeout" in error["data"]["hint"]
        assert (await call(host, "patient"))["result"] == {"fine": True}


@ON_EACH_WIRE
@pytest.mark.parametrize("flag", ["--idle-timeout=500ms", "--body-timeout=0.5"])
async def test_an_answer_that_falls_silent_is_given_up_and_one_that_reports_is_not(wire: Wire, flag: str) -> None:
    far = Far(slow=begins, busy=works_and_reports)
    async with bridged(wire, far, flag) as host:
        assert (await call(host, "busy"))["result"] == {"fine": True}
        error = await timed_out(host, far, "slow")
        assert error["message"] == "an answer was begun, then nothing came for 0.5 s (--idle-timeout)"
        assert "--idle-timeout" in error["data"]["hint"]


@ON_EACH_WIRE
async def test_a_person_may_think_for_longer_than_the_server_may_be_silent(wire: Wire) -> None:
    far = Far(asking=asks_a_person)
    async with bridged(wire, far, "--idle-timeout=500ms", "--first-byte-timeout=500ms") as host:
        answer = host.ask("tools/call", {"name": "asking"})
        question = await asyncio.wait_for(host.asked.get(), WAIT_SECONDS)
        await asyncio.sleep(1)  # the person
        host.send({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        assert (await answer).get("result") == {"fine": True}, await answer


@ON_EACH_WIRE
async def test_an_initialize_that_is_not_answered_is_no_end(wire: Wire) -> None:
    far = Far()
    far.deaf_to = ["initialize"]
    async with bridged(wire, far, "--timeout=400ms", greet=False) as host:
        answer = await host.greet()
        assert answer["error"]["message"] == "no answer within 0.4 s (--timeout)"
        assert far.of("notifications/cancelled") == []
        await in_time(host.greet)
        await in_time(lambda: call(host, "any"))


@ON_EACH_WIRE
async def test_without_a_limit_nobody_is_given_up(wire: Wire) -> None:
    far = Far(patient=takes_a_second)
    async with bridged(wire, far, "--timeout=0", "--idle-timeout=off", "--tool-timeout=other=100ms") as host:
        assert (await call(host, "patient"))["result"] == {"fine": True}


# --- Streamable HTTP: any byte counts ------------------------------------------------------------------------------


def http_server(deed: Callable[[Seen, Peer], Awaitable[None]]) -> ScriptedServer:
    """A server over Streamable HTTP that answers `tools/call` byte by byte as the test wants, and GET likewise."""

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET" and seen.header("last-event-id") is None:
            await peer.answer(405)
        elif seen.method == "GET" or (seen.method == "POST" and seen.doc.get("method") == "tools/call"):
            await deed(seen, peer)
        elif seen.method == "POST" and "id" in seen.doc:
            await peer.result(seen, GREETING if seen.doc["method"] == "initialize" else {})
        else:
            await peer.answer(202)

    return ScriptedServer(script)


async def sends_comments(seen: Seen, peer: Peer) -> None:
    await peer.events()
    for _ in range(12):
        await peer.chunk(b": still here\n\n")
        await asyncio.sleep(0.1)
    await peer.event(result(seen.doc))


async def drips_json(seen: Seen, peer: Peer) -> None:
    body = json.dumps(result(seen.doc)).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    await peer.raw(head.encode())
    step = len(body) // 11
    for at in range(0, len(body), step):
        await asyncio.sleep(0.1)
        await peer.raw(body[at : at + step])


async def goes_on_in_another_stream(seen: Seen, peer: Peer) -> None:
    await peer.events()
    if seen.method == "POST":
        await peer.event(b"", identifier=f"{seen.id}/1", retry=50)
        return
    identifier, _, part = (seen.header("last-event-id") or "").partition("/")
    await asyncio.sleep(0.25)
    if int(part) < 4:
        await peer.event(b"", identifier=f"{identifier}/{int(part) + 1}")
    else:
        await peer.event({"jsonrpc": "2.0", "id": int(identifier), "result": {"fine": True}})


@pytest.mark.parametrize("deed", [sends_comments, drips_json, goes_on_in_another_stream])
async def test_every_byte_of_an_answer_is_a_sign_of_life(deed: Callable[[Seen, Peer], Awaitable[None]]) -> None:
    async with http_server(deed) as server, launch(server.url, "--idle-timeout=600ms") as host:
        await in_time(host.greet)
        assert (await call(host, "any")).get("result") == {"fine": True}


async def test_a_body_that_stalls_is_given_up() -> None:
    async def stalls(seen: Seen, peer: Peer) -> None:
        await peer.answer(200, json.dumps(result(seen.doc)).encode()[:20], "application/json", length=500)
        await peer.gone()
        peer.writer.close()

    async with http_server(stalls) as server, launch(server.url, "--idle-timeout=300ms") as host:
        await in_time(host.greet)
        error = (await call(host, "any"))["error"]
        assert error["message"] == "an answer was begun, then nothing came for 0.3 s (--idle-timeout)"
        await in_time(lambda: host.request("tools/list"))


# --- Keep-alive ----------------------------------------------------------------------------------------------------


@ON_EACH_WIRE
async def test_a_silent_session_is_kept_awake_and_the_host_hears_nothing_of_it(wire: Wire) -> None:
    far = Far()
    async with bridged(wire, far, "--ping-interval=0.2") as host:
        pings = await far.until("ping", 3)
        assert len({ping["id"] for ping in pings}) == 3
        answer = await call(host, "any")
        assert answer["result"] == {"fine": True}
        assert not any(answers_to(host, ping["id"]) for ping in pings)


@ON_EACH_WIRE
async def test_an_unanswered_ping_ends_nothing(wire: Wire) -> None:
    far = Far(patient=takes_a_second)
    far.deaf_to = ["ping"]
    async with bridged(wire, far, "--ping-interval=0.2") as host:
        await far.until("ping")
        assert (await call(host, "patient"))["result"] == {"fine": True}
        (ping,) = far.of("ping")
        assert answers_to(host, ping["id"]) == []
        assert await host.end() == 0
        assert host.log.count(b"has not answered a ping for 0.2 s") == 1


@ON_EACH_WIRE
async def test_without_the_flag_there_is_no_ping(wire: Wire) -> None:
    far = Far(patient=takes_a_second)
    async with bridged(wire, far) as host:
        await call(host, "patient")
        assert far.of("ping") == []


@pytest.mark.slow
async def test_a_server_that_takes_not_even_the_cancellation_is_left_with_nothing_open() -> None:
    hung_up = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405)
        elif seen.doc["method"] == "initialize":
            await peer.result(seen, GREETING)
        elif seen.doc["method"] == "notifications/initialized":
            await peer.answer(202)
        else:
            await peer.gone()
            peer.writer.close()
            if seen.doc["method"] == "notifications/cancelled":
                hung_up.set()

    async with ScriptedServer(script) as server, launch(server.url, "--timeout=400ms", "--debug") as host:
        await in_time(host.greet)
        assert (await call(host, "any"))["error"]["code"] == TIMED_OUT
        async with asyncio.timeout(WAIT_SECONDS):
            await hung_up.wait()
        assert await host.end() == 0
        assert b"notifications/cancelled did not reach the server: the server did not take it" in host.log
