"""HTTP+SSE of 2024-11-05 against a server that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TimedOut,
    TooLarge,
    Unreachable,
)
from mcp_remote_py.core.message import Message, notification, request, result
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.credentials import Fixed
from mcp_remote_py.net.wakefulness import Told, Wakefulness
from mcp_remote_py.settings import Limits, Target, Timeouts
from mcp_remote_py.transports import doubt
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.sse import HttpSse, make_link
from tests.support.link_contract import Delivered
from tests.support.scripted_server import Peer, Script, ScriptedServer, Seen, closed_port

CALL = request(2, "tools/call")
NEWS = notification("notifications/tools/list_changed")
TOKEN = ("Authorization", "Bearer secret-token")
ERROR = b'{"error":{"message":"M\\u00fc","code":-32002,"data":1.0},"jsonrpc":"2.0","id":%b}'
Act = Callable[[Seen, Peer], Awaitable[None]]


async def accept(_: Seen, peer: Peer) -> None:
    await peer.answer(202, b"Accepted", "text/plain")


class SseServer:
    """A script: a stream that names an endpoint and then says what it is told, and POSTs that `act` answers."""

    def __init__(self, act: Act = accept, endpoint: str = "/messages?session=1") -> None:
        self._act = act
        self._endpoint = endpoint
        self.peer: Peer
        self.leave = asyncio.Event()

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            self.peer = peer
            await peer.events()
            await peer.event(self._endpoint.encode(), event="endpoint")
            await self.leave.wait()
        else:
            await self._act(seen, peer)


class Opened:
    def __init__(self, link: HttpSse, delivered: Delivered, server: ScriptedServer) -> None:
        self.link = link
        self.delivered = delivered
        self.server = server

    async def fault(self, message: Message = CALL) -> Fault:
        with pytest.raises(Fault) as caught:
            await self.link.send(message)
        return caught.value


def a_link(url: str, *headers: tuple[str, str], limit: int = 1 << 20, connect: float = 5.0) -> HttpSse:
    return make_link(Reach(Target(url), Fixed(headers), Timeouts(connect=connect), limits=Limits(message=limit)))


@asynccontextmanager
async def reached(script: Script, *headers: tuple[str, str], limit: int = 1 << 20) -> AsyncIterator[Opened]:
    async with ScriptedServer(script) as server:
        link, delivered = a_link(server.url, *headers, limit=limit), Delivered()
        await link.open(delivered)
        yield Opened(link, delivered, server)
        await link.close()


async def refused_opening(script: Script, *headers: tuple[str, str]) -> Fault:
    async with ScriptedServer(script) as server:
        link = a_link(server.url, *headers)
        with pytest.raises(Fault) as caught:
            await link.open(Delivered())
        await link.close()
        assert len(server.seen) == 1
        assert not caught.value.may_have_run
        return caught.value


# --- Opening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("/messages?session=1&a=%20", "/messages?session=1&a=%20"),
        ("messages?session=1", "/messages?session=1"),
        ("?session=1", "/mcp?session=1"),
        ("{origin}/messages/?session=1", "/messages/?session=1"),
    ],
)
async def test_the_endpoint_may_be_named_in_any_way_on_the_same_origin(endpoint: str, target: str) -> None:
    async with ScriptedServer() as server:
        server.script = SseServer(endpoint=endpoint.replace("{origin}", f"http://127.0.0.1:{server.port}"))
        link = a_link(server.url, TOKEN, ("Accept", "*/*"))
        await link.open(Delivered())
        await link.send(NEWS)
        await link.close()
    get, post = server.seen
    assert (get.header("accept"), get.header("authorization")) == ("text/event-stream", "Bearer secret-token")
    assert (post.target, post.body) == (target, NEWS.raw)
    assert post.header("content-type") == "application/json"
    assert post.header("authorization") == "Bearer secret-token"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:{port}/messages",
        "https://127.0.0.1:{port}/messages",
        "http://127.0.0.1:{other}/messages",
        "//evil.example/messages?token=t",
        "http://user@127.0.0.1:{port}/messages",
        "javascript:alert(1)",
        "http://[::1",
        "/with blank",
    ],
)
async def test_an_endpoint_elsewhere_is_refused_and_nothing_is_sent_there(endpoint: str) -> None:
    async with ScriptedServer(SseServer()) as other, ScriptedServer() as server:
        server.script = SseServer(endpoint=endpoint.format(port=server.port, other=other.port))
        link = a_link(server.url, TOKEN)
        with pytest.raises(PeerBroke) as caught:
            await link.open(Delivered())
        await link.close()
    assert "endpoint" in str(caught.value)
    assert "token" not in str(caught.value)
    assert not caught.value.may_have_run
    assert other.connections == 0
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 405, 406, 500, 503])
async def test_a_refused_stream_is_refused_with_its_status(status: int) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(status, ERROR % b"null", "application/json")

    fault = await refused_opening(script)
    assert type(fault) is Refused
    assert fault.http_status == status


async def test_a_401_to_the_stream_asks_for_a_sign_in() -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(401)

    assert "asks for a sign-in" in str(await refused_opening(script))
    assert "refused the token" in str(await refused_opening(script, TOKEN))


@pytest.mark.parametrize(("content_type", "words"), [("text/html", "a web page"), ("application/json", "json")])
async def test_something_else_than_a_stream_is_called_so(content_type: str, words: str) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"{}", content_type)

    fault = await refused_opening(script)
    assert type(fault) is PeerBroke
    assert words in str(fault)
    assert fault.http_status == 200


async def test_a_stream_that_ends_without_an_endpoint_breaks_the_protocol() -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS.raw)

    fault = await refused_opening(script)
    assert type(fault) is PeerBroke
    assert "names no endpoint" in str(fault)


@pytest.mark.parametrize("begins", [True, False])
async def test_a_server_that_says_nothing_is_left_when_the_connect_time_is_over(begins: bool) -> None:
    gone = asyncio.Event()

    async def script(_: Seen, peer: Peer) -> None:
        if begins:
            await peer.events()
        await peer.gone()
        gone.set()
        await peer.hang_up()

    async with ScriptedServer(script) as server, asyncio.timeout(5):
        link = a_link(server.url, connect=0.2)
        with pytest.raises(TimedOut) as caught:
            await link.open(Delivered())
        await gone.wait()
        await link.close()
    assert "--connect-timeout" in caught.value.hint
    assert not caught.value.may_have_run


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    link = a_link(f"http://127.0.0.1:{closed_port()}/sse")
    with pytest.raises(Unreachable):
        await link.open(Delivered())
    await link.close()


async def test_nothing_is_sent_before_the_endpoint_is_known() -> None:
    name_it = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.events()
            await name_it.wait()
            await peer.event(b"/messages", event="endpoint")
            await peer.gone()
            await peer.hang_up()
        else:
            await accept(seen, peer)

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        link = a_link(server.url)
        opening = group.create_task(link.open(Delivered()))
        await server.until(1, "GET")
        assert (opening.done(), len(server.seen)) == (False, 1)
        name_it.set()
        await opening
        await link.send(NEWS)
        assert len(server.seen) == 2
        await link.close()


async def test_what_is_said_before_the_endpoint_is_kept() -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS.raw)
        await peer.event(b"/messages", event="endpoint")

    async with reached(script) as run:
        with pytest.raises(Interrupted):
            await run.link.listen()
        assert run.delivered.raws == [NEWS.raw]


# --- Sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (200, b"", None),
        (200, b"ok", "text/plain"),
        (202, b"Accepted", None),
        (204, b"", None),
        (200, b'{"ok":true}', "application/json"),
        (202, b"{", "application/json"),
        (200, result(99, {}).raw, "application/json"),
        (200, b"<html>", "text/html"),
    ],
)
async def test_any_success_only_accepts(status: int, body: bytes, content_type: str | None) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.answer(status, body, content_type)

    async with reached(SseServer(act)) as run:
        await run.link.send(CALL)
        await run.link.send(NEWS)
        assert run.delivered.items == []


@pytest.mark.parametrize("status", [200, 202])
async def test_an_answer_in_the_answer_to_the_post_is_taken(status: int) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.json(result(2, {"n": 1}).raw, status)

    async with reached(SseServer(act)) as run:
        await run.link.send(CALL)
        assert run.delivered.raws == [result(2, {"n": 1}).raw]


@pytest.mark.parametrize("message", [CALL, NEWS])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (401, SignInNeeded), (403, Refused), (404, SessionLost), (413, Refused), (500, Refused)],
)
async def test_a_failed_post_is_a_fault_and_never_a_hang(status: int, kind: type[Fault], message: Message) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.answer(status, b"Could not find session", "text/html")

    async with reached(SseServer(act)) as run, asyncio.timeout(2):
        fault = await run.fault(message)
    assert type(fault) is kind
    assert fault.may_have_run is (status == 500)


async def test_an_error_message_in_a_failed_post_is_the_answer_to_a_request_alone() -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.answer(400, ERROR % b"null", "application/json")

    async with reached(SseServer(act)) as run:
        await run.link.send(CALL)
        assert run.delivered.raws == [ERROR % b"2"]
        assert type(await run.fault(NEWS)) is Refused
        assert len(run.delivered.items) == 1


@pytest.mark.parametrize("way", ["reset", "hang_up"])
async def test_a_post_that_breaks_off_is_an_interruption(way: str) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await getattr(peer, way)()

    async with reached(SseServer(act)) as run:
        fault = await run.fault()
    assert type(fault) is Interrupted
    assert fault.may_have_run


@pytest.mark.parametrize(
    ("version", "header"), [("2024-11-05", None), ("2025-03-26", None), ("2025-06-18", "2025-06-18"), (None, None)]
)
async def test_the_version_goes_along_where_the_revision_wants_it(version: str | None, header: str | None) -> None:
    script = SseServer()
    async with reached(script) as run, asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await run.link.send(request("i", "initialize"))
        await script.peer.event(result("i", {} if version is None else {"protocolVersion": version}).raw)
        await run.delivered.until(1)
        await run.link.send(NEWS)
        listening.cancel()
    initialize, news = run.server.of("POST")
    assert initialize.header("mcp-protocol-version") is None
    assert news.header("mcp-protocol-version") == header


# --- Listening -------------------------------------------------------------------------------------------------------


async def listened(run: Opened) -> Fault:
    with pytest.raises(Fault) as caught:
        await run.link.listen()
    return caught.value


async def test_messages_are_delivered_until_the_stream_ends() -> None:
    script = SseServer()
    async with reached(script) as run, asyncio.TaskGroup() as group:
        over = group.create_task(listened(run))
        await script.peer.chunk(b": ping\n\nevent: ping\ndata: x\n\nevent: message\ndata:\n\n")
        await script.peer.event(NEWS.raw)
        await script.peer.event(b"[" + NEWS.raw + b"," + NEWS.raw + b"]")
        await script.peer.event(b"{not json")
        await script.peer.event(result(2, {}).raw)
        await run.delivered.until(4)
        script.leave.set()
        fault = await over
        assert run.delivered.raws == [NEWS.raw] * 3 + [result(2, {}).raw]
    assert type(fault) is Interrupted
    assert fault.may_have_run


@pytest.mark.parametrize("way", ["reset", "hang_up"])
async def test_a_stream_that_breaks_is_an_interruption(way: str) -> None:
    script = SseServer()
    async with reached(script) as run, asyncio.TaskGroup() as group:
        over = group.create_task(listened(run))
        await script.peer.chunk(b"data: {half")
        await getattr(script.peer, way)()
        assert type(await over) is Interrupted
        assert run.delivered.items == []


async def test_a_newer_endpoint_replaces_the_older() -> None:
    script = SseServer()
    async with reached(script) as run, asyncio.TaskGroup() as group:
        over = group.create_task(listened(run))
        await script.peer.event(b"/newer", event="endpoint")
        await script.peer.event(NEWS.raw)
        await run.delivered.until(1)
        await run.link.send(CALL)
        assert run.server.of("POST")[0].target == "/newer"
        await script.peer.event(b"http://evil.example/", event="endpoint")
        assert type(await over) is PeerBroke


async def test_an_event_over_the_limit_ends_the_stream_with_the_option() -> None:
    script = SseServer()
    async with reached(script, limit=1000) as run, asyncio.TaskGroup() as group:
        over = group.create_task(listened(run))
        await script.peer.event(b"x" * 2000)
        fault = await over
    assert type(fault) is TooLarge
    assert "--max-message-size" in fault.hint


async def test_a_link_is_listened_to_once_and_while_it_is_open() -> None:
    script = SseServer()
    async with reached(script) as run:
        script.leave.set()
        await listened(run)
        again: Any = await listened(run)
        assert type(again) is Interrupted


async def test_closing_ends_the_stream_for_both_sides() -> None:
    script = SseServer()
    async with reached(script) as run, asyncio.TaskGroup() as group:
        over = group.create_task(listened(run))
        await script.peer.event(NEWS.raw)
        await run.delivered.until(1)
        async with asyncio.timeout(2):
            await run.link.close()
            assert type(await over) is Interrupted
            await script.peer.gone()


# --- Sleep and wake --------------------------------------------------------------------------------------------------

SLEPT = Wake("nothing ran here for about 3600 s", is_doubtful=True)


class Sleeper(Wakefulness):
    """A machine that sleeps when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = asyncio.Event()

    @contextmanager
    def watching(self, told: Told) -> Iterator[None]:
        self.watched.set()
        with super().watching(told):
            yield

    def wake(self) -> None:
        for told in list(self._watching.values()):
            told(SLEPT)


@asynccontextmanager
async def watched(script: SseServer) -> AsyncIterator[tuple[Opened, Sleeper, asyncio.Task[Fault]]]:
    async def fault(link: HttpSse) -> Fault:
        with pytest.raises(Fault) as caught:
            await link.listen()
        return caught.value

    async with reached(script) as run, asyncio.TaskGroup() as group:
        sleeper = run.link._wakefulness = Sleeper()
        task = group.create_task(fault(run.link))
        await sleeper.watched.wait()
        yield run, sleeper, task
        await run.link.close()


def answering(to_ping: Act) -> SseServer:
    """A server that does this with our ping, and takes all else."""

    async def act(seen: Seen, peer: Peer) -> None:
        await (to_ping if seen.doc.get("method") == "ping" else accept)(seen, peer)

    return SseServer(act)


async def test_on_waking_up_a_stream_that_answers_is_kept_and_the_host_hears_nothing_of_it() -> None:
    async def pong(seen: Seen, peer: Peer) -> None:
        await accept(seen, peer)
        await script.peer.event({"jsonrpc": "2.0", "id": seen.id, "result": {}})

    script = answering(pong)
    async with watched(script) as (run, sleeper, task):
        sleeper.wake()
        await run.link.send(CALL)
        await script.peer.event(NEWS.raw)
        await run.delivered.until(1)
        assert not task.done()
        assert run.delivered.raws == [NEWS.raw]
        assert [seen.doc["method"] for seen in run.server.of("POST")] == ["ping", "tools/call"]


@pytest.mark.parametrize("status", [202, 400, 404, 410, 500])
async def test_on_waking_up_a_stream_that_is_dead_is_left_and_nothing_is_sent(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Seen, peer: Peer) -> None:
        await peer.answer(status)

    monkeypatch.setattr(doubt, "ANSWER_SECONDS", 0.2)
    async with watched(answering(refuse)) as (run, sleeper, task):
        sleeper.wake()
        fault = await run.fault()
        assert type(fault) is Interrupted
        assert not fault.may_have_run
        left = await task
        assert type(left) is Interrupted
        assert not left.may_have_run
        assert len(run.server.of("POST")) == 1


async def test_on_waking_up_a_stream_on_which_a_call_waits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubt, "ANSWER_SECONDS", 0.05)
    script = answering(accept)
    async with watched(script) as (run, sleeper, task):
        await run.link.send(CALL)
        sleeper.wake()
        await run.server.until(2)
        await asyncio.sleep(0.2)
        assert not task.done()
        await script.peer.event(result(2, {}).raw)
        await run.delivered.until(1)


async def test_events_before_the_endpoint_are_bounded_by_size_too() -> None:
    async def flood(_: Seen, peer: Peer) -> None:
        await peer.events()
        for _at in range(3):
            await peer.event(b"x" * 400_000)
        await peer.gone()

    fault = await refused_opening(flood)
    assert type(fault) is PeerBroke
    assert "endpoint" in str(fault)
