"""Streamable HTTP against a server that follows a script: every row of PROTOCOL 2, and every way to fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py import __version__
from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TlsRefused,
    TooLarge,
    Unreachable,
)
from mcp_remote_py.core.message import Key, Message, notification, parse_one, request, result
from mcp_remote_py.core.sse import encode_event
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.credentials import Fixed
from mcp_remote_py.net.wakefulness import Wakefulness
from mcp_remote_py.settings import Limits, Target, Timeouts, Tls
from mcp_remote_py.transports import streamable_http
from mcp_remote_py.transports.clock import Clock
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.remote import Remote
from mcp_remote_py.transports.streamable_http import StreamableHttp
from tests.support.certificates import authority, server_context, trusting
from tests.support.link_contract import Delivered
from tests.support.quick_clock import QuickClock
from tests.support.scripted_server import Peer, Script, ScriptedServer, Seen, closed_port, head_of

INITIALIZE = request(1, "initialize", {"protocolVersion": "2025-11-25"})
CALL = request(2, "tools/call", {"name": "add"})
NEWS = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
GREETING = {"protocolVersion": "2025-06-18", "capabilities": {}}
TOKEN = ("Authorization", "Bearer secret-token")


class Opened:
    """An open link and what it delivered."""

    def __init__(self, link: StreamableHttp, delivered: Delivered) -> None:
        self.link = link
        self.delivered = delivered

    @property
    def docs(self) -> list[Any]:
        return [message.doc for message, _ in self.delivered.items]

    async def ask(self, message: Message = CALL) -> Message:
        """Send a request and return its answer, which must have come when `send` returns."""
        await self.link.send(message)
        answer, exchange = self.delivered.items[-1]
        assert answer.is_answer
        assert exchange == message.key
        return answer

    async def fault(self, message: Message = CALL) -> Fault:
        """Send a message and return the fault."""
        with pytest.raises(Fault) as caught:
            await self.link.send(message)
        return caught.value


@asynccontextmanager
async def opened(
    url: str, *headers: tuple[str, str], clock: QuickClock | None = None, limit: int = 1 << 20, tls: Tls | None = None
) -> AsyncIterator[Opened]:
    reach = Reach(Target(url), Fixed(headers), Timeouts(connect=5.0), tls or Tls(), limits=Limits(message=limit))
    link = StreamableHttp(Remote(reach), clock)
    delivered = Delivered()
    await link.open(delivered)
    try:
        yield Opened(link, delivered)
    finally:
        await link.close()


@asynccontextmanager
async def reached(
    script: Script, *headers: tuple[str, str], clock: QuickClock | None = None, limit: int = 1 << 20
) -> AsyncIterator[tuple[Opened, ScriptedServer]]:
    async with ScriptedServer(script) as server, opened(server.url, *headers, clock=clock, limit=limit) as run:
        yield run, server


def answer_with(*args: Any, **named: Any) -> Script:
    """A script that gives every request the same answer."""

    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(*args, **named)

    return script


def posting(act: Callable[[Seen, Peer], Awaitable[None]], session: str | None = "s-1") -> Script:
    """A script with an ordinary session, in which `act` answers all other requests by POST; GET is refused."""

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405)
        elif seen.doc.get("method") == "initialize":
            await peer.result(seen, GREETING, {} if session is None else {"Mcp-Session-Id": session})
        elif "method" in seen.doc and "id" in seen.doc:
            await act(seen, peer)
        else:
            await peer.answer(202)

    return script


async def in_json(seen: Seen, peer: Peer) -> None:
    await peer.result(seen)


# --- What a request carries ------------------------------------------------------------------------------------------


async def test_every_post_is_one_message_with_the_headers_of_the_protocol() -> None:
    odd = parse_one(b'{"method":"x","jsonrpc":"2.0","id":1.0,"params":{"a":1e5,"u":"\\u00e9"}}')
    async with reached(posting(in_json)) as (run, server):
        await run.link.send(odd)
        await run.link.send(notification("notifications/initialized"))
        await run.link.send(result("s-1", {}))
    first, *rest = server.of("POST")
    assert first.body == odd.raw
    for seen in (first, *rest):
        assert seen.header("content-type") == "application/json"
        assert seen.header("accept") == "application/json, text/event-stream"
        assert seen.header("user-agent") == f"mcp-remote-py/{__version__}"
        assert seen.header("mcp-session-id") is None
        assert seen.header("mcp-protocol-version") is None
    assert len(rest) == 2


async def test_the_users_headers_go_along_but_override_nothing() -> None:
    given = [TOKEN, ("X-Api-Key", "k"), ("User-Agent", "mine"), ("accept", "*/*"), ("CONTENT-TYPE", "text/plain")]
    given += [("mcp-session-id", "forged"), ("Host", "evil"), ("Content-Length", "1"), ("MCP-Protocol-Version", "1")]
    async with reached(posting(in_json), *given) as (run, server):
        await run.ask()
    (seen,) = server.of("POST")
    assert seen.header("authorization") == "Bearer secret-token"
    assert seen.header("x-api-key") == "k"
    assert seen.header("user-agent") == "mine"
    assert seen.header("accept") == "application/json, text/event-stream"
    assert seen.header("content-type") == "application/json"
    assert seen.header("mcp-session-id") is None
    assert seen.header("host") == f"127.0.0.1:{server.port}"
    assert seen.header("content-length") == str(len(CALL.raw))


async def test_session_and_version_come_from_the_answer_to_initialize_and_go_with_everything_after_it() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.result(seen, headers={"Mcp-Session-Id": "another"})  # an echo on other answers means nothing

    async with reached(posting(act)) as (run, server):
        await run.ask(INITIALIZE)
        await run.link.send(notification("notifications/initialized"))
        await run.ask()
        await run.ask()
        await run.link.listen()
        await run.link.close()
    initialize, *rest = server.seen
    assert initialize.header("mcp-session-id") is initialize.header("mcp-protocol-version") is None
    assert [seen.method for seen in rest] == ["POST", "POST", "POST", "GET", "DELETE"]
    for seen in rest:
        assert seen.header("mcp-session-id") == "s-1"
        assert seen.header("mcp-protocol-version") == "2025-06-18"
    assert rest[3].header("accept") == "text/event-stream"


async def test_what_the_host_sends_on_hearing_the_answer_already_carries_session_and_version() -> None:
    async with ScriptedServer(posting(in_json)) as server:
        link = streamable_http.make_link(Reach(Target(server.url)))

        async def deliver(message: Message, exchange: Key | None) -> None:
            del exchange
            if message.id == 1:
                await link.send(notification("notifications/initialized"))

        await link.open(deliver)
        await link.send(INITIALIZE)
        await link.close()
    assert server.seen[1].header("mcp-session-id") == "s-1"
    assert server.seen[1].header("mcp-protocol-version") == "2025-06-18"


async def test_an_initialize_over_a_stream_opens_the_session_too() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "DELETE":
            await peer.answer(200)
        elif seen.id == 1:
            await peer.events(headers={"MCP-SESSION-ID": "s-2"})
            await peer.event(result(1, GREETING).raw)
        else:
            await peer.result(seen)

    async with reached(script) as (run, server):
        await run.ask(INITIALIZE)
        await run.ask()
    assert server.of("POST")[1].header("mcp-session-id") == "s-2"


async def test_a_server_without_sessions_gets_no_session_id_and_no_delete() -> None:
    async with reached(posting(in_json, session=None)) as (run, server):
        await run.ask(INITIALIZE)
        await run.ask()
        await run.link.close()
    assert [seen.method for seen in server.seen] == ["POST", "POST"]
    assert server.seen[1].header("mcp-session-id") is None
    assert server.seen[1].header("mcp-protocol-version") == "2025-06-18"


async def test_another_initialize_begins_without_the_old_session() -> None:
    async with reached(posting(in_json)) as (run, server):
        await run.ask(INITIALIZE)
        await run.ask(INITIALIZE)
    assert server.of("POST")[1].header("mcp-session-id") is None
    assert server.of("POST")[1].header("mcp-protocol-version") is None


async def test_a_failed_initialize_leaves_no_session() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}
        await peer.json(error, headers={"Mcp-Session-Id": "s-1"})

    async with reached(script) as (run, server):
        await run.ask(INITIALIZE)
        await run.fault(CALL)
    assert server.seen[1].header("mcp-session-id") is None
    assert server.of("DELETE") == []


async def test_a_session_id_that_no_header_may_carry_is_the_servers_mistake() -> None:
    async with reached(posting(in_json, session="two words")) as (run, _):
        fault = await run.fault(INITIALIZE)
        assert run.docs == []
    assert type(fault) is PeerBroke


async def test_cookies_keep_a_session_on_its_node() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.result(seen, headers={"Set-Cookie": "AWSALB=node-7; Path=/"})

    async with reached(posting(act)) as (run, server):
        await run.ask()
        await run.ask()
    assert [seen.header("cookie") for seen in server.of("POST")] == [None, "AWSALB=node-7"]


# --- Answers that are well -------------------------------------------------------------------------------------------


async def test_an_array_is_delivered_message_by_message() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.json([NEWS, {"jsonrpc": "2.0", "id": seen.id, "result": {}}])

    async with reached(posting(act)) as (run, _):
        await run.ask()
        assert [doc.get("method") for doc in run.docs] == [NEWS["method"], None]


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
async def test_a_stream_is_read_byte_by_byte_with_any_line_end(line_end: bytes) -> None:
    answer = '{"jsonrpc":"2.0",\n"id":2,"result":{"text":"Grüße 🌍\u2028"}}'
    lines = [":" + " ping", "event: message", *(f"data: {line}" for line in answer.split("\n")), "", ""]

    async def act(_: Seen, peer: Peer) -> None:
        await peer.raw(head_of(200, {"Content-Type": "TEXT/event-stream; charset=utf-8"}))
        await peer.drip(line_end.join(line.encode() for line in lines))
        await peer.gone()
        await peer.hang_up()

    async with reached(posting(act)) as (run, _):
        assert (await run.ask()).result == {"text": "Grüße 🌍\u2028"}


async def test_a_compressed_stream_is_read_too() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        body = b"data: " + result(seen.id, {}).raw + b"\n\n"
        await peer.answer(200, gzip.compress(body), "text/event-stream", headers={"Content-Encoding": "gzip"})

    async with reached(posting(act)) as (run, _):
        await run.ask()


async def test_the_answer_ends_the_exchange_though_the_server_keeps_the_stream() -> None:
    gone = asyncio.Event()

    async def act(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS)
        await peer.event(result(seen.id, {}).raw)
        await peer.event(NEWS)
        await peer.gone()
        gone.set()
        await peer.hang_up()

    async with reached(posting(act)) as (run, _):
        async with asyncio.timeout(2):
            await run.ask()
            await gone.wait()
        assert len(run.docs) == 2


async def test_a_stream_that_the_server_ends_in_time_keeps_its_connection() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(result(seen.id, {}).raw)

    async with reached(posting(act)) as (run, server):
        for _ in range(5):
            await run.ask()
        assert server.connections == 1


async def test_a_second_answer_is_not_delivered() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(b"data: %b\n\n" % result(seen.id, {}).raw * 2)

    async with reached(posting(act)) as (run, _):
        await run.ask()
        assert len(run.docs) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_any_success_is_good_for_what_is_no_request(status: int) -> None:
    async with reached(answer_with(status, b"whatever" if status == 200 else b"", "text/html")) as (run, _):
        await run.link.send(notification("notifications/initialized"))
        await run.link.send(result(1, {}))
        assert run.docs == []


async def test_a_redirect_on_the_same_origin_is_followed_with_the_message() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.target == "/mcp":
            await peer.answer(307, headers={"Location": "/mcp/"})
        else:
            await peer.result(seen)

    async with reached(script, TOKEN) as (run, server):
        await run.ask()
    assert [seen.target for seen in server.of("POST")] == ["/mcp", "/mcp/"]
    assert server.of("POST")[1].body == CALL.raw


async def test_a_redirect_elsewhere_is_refused_and_no_header_of_the_user_goes_there() -> None:
    async with (
        ScriptedServer(posting(in_json)) as other,
        reached(answer_with(308, headers={"Location": other.url}), TOKEN, ("X-Api-Key", "k")) as (run, _),
    ):
        fault = await run.fault()
    assert type(fault) is Refused
    assert other.url in str(fault)
    assert not fault.may_have_run
    assert other.connections == 0


# --- Answers that are not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [202, 204])
async def test_a_request_that_is_merely_accepted_is_a_fault_and_no_wait(status: int) -> None:
    async with reached(answer_with(status)) as (run, _):
        fault = await run.fault()
    assert type(fault) is PeerBroke
    assert "will not answer" in str(fault)


async def test_a_web_page_is_called_so_and_not_shown() -> None:
    async with reached(answer_with(200, b"<html>secret page</html>", "text/html; charset=utf-8")) as (run, _):
        fault = await run.fault()
    assert type(fault) is PeerBroke
    assert "a web page" in str(fault)
    assert "secret" not in f"{fault}{fault.hint}"
    assert fault.http_status == 200


@pytest.mark.parametrize("body", [b"", b"{", b'{"jsonrpc":"2.0","id":2}', b"null", b"\xff\xfe", b'{"id":2,"result":1}'])
async def test_json_that_is_no_message_breaks_the_exchange(body: bytes) -> None:
    async with reached(answer_with(200, body, "application/json")) as (run, _):
        assert type(await run.fault()) is PeerBroke


@pytest.mark.parametrize("data", [b"{not json", b'{"jsonrpc":"2.0","id":2}', b"\xff"])
async def test_an_event_that_is_no_message_breaks_the_exchange(data: bytes) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS)
        await peer.event(data)
        await peer.gone()
        await peer.hang_up()

    async with reached(posting(act)) as (run, _):
        assert type(await run.fault()) is PeerBroke


async def test_a_body_with_messages_but_no_answer_breaks_the_exchange() -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.json([NEWS])

    async with reached(posting(act)) as (run, _):
        fault = await run.fault()
        assert len(run.docs) == 1
    assert type(fault) is PeerBroke


async def test_a_wrong_id_in_json_is_named() -> None:
    async with reached(answer_with(200, result(99, {}).raw, "application/json")) as (run, _):
        fault = await run.fault()
        assert run.docs == []
    assert type(fault) is PeerBroke
    assert "under the id 99," in str(fault)


async def test_a_wrong_id_on_a_stream_is_passed_over_and_named_if_nothing_better_comes() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(result("other", {}).raw)
        await peer.event(NEWS)
        if seen.id == 3:
            await peer.event(result(3, {}).raw)

    async with reached(posting(act)) as (run, _):
        fault = await run.fault(CALL)
        assert run.docs == [NEWS]
        await run.ask(request(3, "tools/call"))
    assert type(fault) is PeerBroke
    assert 'under the id "other",' in str(fault)


ERROR = b'{"error":{"data":{"n":1.0},"message":"M\\u00fc","code":-32002},"jsonrpc":"2.0","id":%b}'


@pytest.mark.parametrize("content_type", ["application/json", "application/problem+json", "text/plain", None])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 422, 429, 500, 502, 503])
async def test_an_error_of_the_server_passes_byte_for_byte_whatever_the_status(
    status: int, content_type: str | None
) -> None:
    async with reached(answer_with(status, ERROR % b"2", content_type)) as (run, _):
        assert (await run.ask()).raw == ERROR % b"2"


@pytest.mark.parametrize("identifier", [b"null", b"77", b'"server-error"'])
async def test_an_error_under_no_id_or_a_foreign_one_becomes_the_requests(identifier: bytes) -> None:
    async with reached(answer_with(400, ERROR % identifier, "application/json")) as (run, _):
        assert (await run.ask()).raw == ERROR % b"2"


@pytest.mark.parametrize(
    ("status", "may_have_run"), [(400, False), (404, False), (405, False), (413, False), (500, True), (503, True)]
)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"<html>secret</html>", "text/html"), (b'{"error":"secret"}', "application/json"), (b"", None)],
)
async def test_an_error_without_a_message_is_refused_with_its_status(
    status: int, may_have_run: bool, body: bytes, content_type: str | None
) -> None:
    async with reached(answer_with(status, body, content_type)) as (run, _):
        fault = await run.fault()
        assert run.docs == []
    assert type(fault) is Refused
    assert (fault.http_status, fault.may_have_run) == (status, may_have_run)
    assert "secret" not in f"{fault}{fault.hint}"


@pytest.mark.parametrize("length", [10_000, 1 << 40])
async def test_an_error_body_that_breaks_off_or_has_no_end_leaves_the_status(length: int) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(500, b"{", "application/json", length=length)
        await peer.hang_up()

    async with reached(script) as (run, _):
        assert type(await run.fault()) is Refused


async def test_an_endless_error_stream_is_not_waited_for() -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(head_of(500, {"Content-Type": "text/event-stream"}))
        await peer.gone()

    async with reached(script) as (run, _), asyncio.timeout(2):
        assert type(await run.fault()) is Refused


@pytest.mark.parametrize("message", [CALL, notification("notifications/initialized"), result(1, {})])
async def test_a_401_asks_for_a_sign_in_and_tells_a_refused_token_from_a_missing_one(message: Message) -> None:
    script = answer_with(401, ERROR % b"2", "application/json", headers={"WWW-Authenticate": "Bearer"})
    async with reached(script) as (run, _):
        missing = await run.fault(message)
    async with reached(script, TOKEN) as (run, _):
        refused = await run.fault(message)
    assert type(missing) is type(refused) is SignInNeeded
    assert missing.http_status == 401
    assert missing.hint != refused.hint
    assert "secret-token" not in f"{refused}{refused.hint}"


async def test_a_403_for_scope_is_a_sign_in() -> None:
    headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="files:write"'}
    async with reached(answer_with(403, ERROR % b"2", "application/json", headers=headers)) as (run, _):
        fault = await run.fault()
    assert type(fault) is SignInNeeded
    assert (fault.http_status, "files:write" in fault.hint) == (403, True)


async def _finds_its_session_lost(message: Message, status: int, body: bytes, content_type: str) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "POST" and seen.doc.get("method") == "initialize":
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "s-1"})
        else:
            await peer.answer(status, body, content_type)

    async with reached(script) as (run, server):
        await run.ask(INITIALIZE)
        fault = await run.fault(message)
        await run.link.close()
        assert len(run.docs) == 1
    assert type(fault) is SessionLost
    assert not fault.may_have_run
    assert server.of("DELETE") == []


@pytest.mark.parametrize("message", [CALL, notification("notifications/initialized")])
@pytest.mark.parametrize("body", [b"", ERROR % b"2"])
async def test_a_404_in_a_session_means_that_it_is_lost(message: Message, body: bytes) -> None:
    await _finds_its_session_lost(message, 404, body, "application/json")


LOST_BY_ERROR = b'{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"Invalid or expired session"}}'


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (410, b"", "text/plain"),
        (400, b"Bad Request: No valid session ID provided", "text/plain"),
        (503, b'{"error": "session not found"}', "application/json"),
        (200, LOST_BY_ERROR, "application/json"),
        (200, b"data: " + LOST_BY_ERROR + b"\n\n", "text/event-stream"),
    ],
)
async def test_a_session_is_lost_in_other_words_too(status: int, body: bytes, content_type: str) -> None:
    await _finds_its_session_lost(CALL, status, body, content_type)


async def test_a_404_to_initialize_is_a_wrong_address_even_after_a_session() -> None:
    answers = iter([200, 404])

    async def script(seen: Seen, peer: Peer) -> None:
        if next(answers, 404) == 200:
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "s-1"})
        else:
            await peer.answer(404)

    async with reached(script) as (run, _):
        await run.ask(INITIALIZE)
        assert type(await run.fault(INITIALIZE)) is Refused


@pytest.mark.parametrize("status", [400, 405, 500])
async def test_a_failed_notification_is_a_fault_and_never_a_message(status: int) -> None:
    async with reached(answer_with(status, ERROR % b"2", "application/json")) as (run, _):
        fault = await run.fault(notification("notifications/initialized"))
        assert run.docs == []
    assert type(fault) is Refused


# --- Ways to break ---------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with opened(f"http://127.0.0.1:{closed_port()}/mcp") as run:
        for message in (INITIALIZE, CALL, notification("notifications/initialized")):
            fault = await run.fault(message)
            assert type(fault) is Unreachable
            assert not fault.may_have_run


async def _reset(peer: Peer) -> None:
    await peer.reset()


async def _close(peer: Peer) -> None:
    await peer.hang_up()


async def _half_close(peer: Peer) -> None:
    peer.chunked = False
    await peer.half_close()
    await peer.gone()


@pytest.mark.parametrize("ending", [_reset, _close, _half_close])
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nConte",
        head_of(200, {"Content-Type": "application/json", "Content-Length": "90"}),
        head_of(200, {"Content-Type": "application/json", "Content-Length": "90"}) + b'{"jsonrpc":"2.0","id":2,',
        head_of(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}) + b'5\r\n{"a":\r\n',
        head_of(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}),
        head_of(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}) + b"a\r\ndata: {}\n",
        head_of(200, {"Content-Type": "text/event-stream"}) + b'data: {"jsonrpc":"2.0","id":2,"result":{}}\n',
    ],
)
async def test_an_answer_that_breaks_off_anywhere_ends_the_exchange_once(begun: bytes, ending: Any) -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.raw(begun)
        await ending(peer)

    async with reached(posting(act)) as (run, server):
        fault = await run.fault()
        assert run.docs == []
        assert len(server.of("POST")) == 1
    assert type(fault) is Interrupted
    assert fault.may_have_run


async def test_a_stream_that_ends_in_order_without_an_answer_is_an_interruption() -> None:
    async def act(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS)

    async with reached(posting(act)) as (run, server):
        fault = await run.fault()
        assert run.docs == [NEWS]
        assert [seen.method for seen in server.seen] == ["POST"]
    assert type(fault) is Interrupted


async def test_a_json_answer_over_the_limit_names_the_option() -> None:
    async with reached(answer_with(200, result(2, "x" * 2000).raw, "application/json"), limit=1000) as (run, _):
        fault = await run.fault()
    assert type(fault) is TooLarge
    assert ("--max-message-size" in fault.hint, fault.may_have_run) == (True, True)


async def test_an_event_over_the_limit_ends_its_own_exchange_alone() -> None:
    async def act(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(result(seen.id, "x" * (2000 if seen.id == 2 else 5)).raw)
        await peer.gone()
        await peer.hang_up()

    async with reached(posting(act), limit=1000) as (run, _), asyncio.TaskGroup() as group:
        fault = group.create_task(run.fault(CALL))
        await run.link.send(request(3, "tools/call"))
        assert type(await fault) is TooLarge
        assert [doc["id"] for doc in run.docs] == [3]


async def test_a_cancelled_exchange_closes_its_stream() -> None:
    gone = asyncio.Event()

    async def act(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS)
        await peer.gone()
        gone.set()
        await peer.hang_up()

    async with reached(posting(act)) as (run, _), asyncio.TaskGroup() as group:
        task = group.create_task(run.link.send(CALL))
        await run.delivered.until(1)
        task.cancel()
        async with asyncio.timeout(2):
            await gone.wait()


# --- TLS -------------------------------------------------------------------------------------------------------------


async def test_https_is_verified_and_a_bundle_adds_to_what_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "company root.pem"
    authority().cert_pem.write_to_path(str(path))
    async with ScriptedServer(posting(in_json), context=server_context()) as server:
        async with opened(server.url) as run:
            fault = await run.fault()
        async with opened(server.url, tls=trusting(path)) as run:
            await run.ask()
    assert type(fault) is TlsRefused
    assert "--ca-bundle" in fault.hint


# --- Resumption ------------------------------------------------------------------------------------------------------


class Resumable:
    """A server whose calls break off after an event id, and go on at GET as `answers` say, one for each GET."""

    def __init__(self, *answers: Callable[[Seen, Peer], Awaitable[None]], ending: Any = None) -> None:
        self._answers = iter(answers)
        self._ending = ending
        self.retry: int | None = None

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await next(self._answers)(seen, peer)
        elif seen.method == "DELETE":
            await peer.answer(200)
        elif seen.doc["method"] == "initialize":
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "s-1"})
        else:
            await peer.events()
            await peer.event(b"", identifier=f"call-{seen.id}-1", retry=self.retry)
            if self._ending is not None:
                await self._ending(peer)


def resumed(*documents: Any, identifier: str | None = None, retry: int | None = None) -> Any:
    """A GET that is answered with these messages, and ends."""

    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        for document in documents:
            await peer.event(document, identifier=identifier, retry=retry)

    return script


def status(code: int, content_type: str | None = None) -> Any:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(code, b"", content_type)

    return script


ANSWER = {"jsonrpc": "2.0", "id": 2, "result": {}}


def progress(number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"n": number}}


@pytest.mark.parametrize("ending", [None, _reset, _close])
async def test_a_stream_with_an_id_is_taken_up_again_by_get(ending: Any, clock: QuickClock) -> None:
    script = Resumable(resumed(NEWS, ANSWER), ending=ending)
    async with reached(script, TOKEN, clock=clock) as (run, server):
        await run.ask(INITIALIZE)
        await run.ask()
        assert run.delivered.items[1][1] == CALL.key
    (get,) = server.of("GET")
    assert get.header("last-event-id") == "call-2-1"
    assert get.header("accept") == "text/event-stream"
    assert get.header("mcp-session-id") == "s-1"
    assert get.header("mcp-protocol-version") == "2025-06-18"
    assert get.header("authorization") == "Bearer secret-token"
    assert len(server.of("POST")) == 2
    assert clock.pauses == [1.0]


async def test_the_servers_retry_is_waited_for(clock: QuickClock) -> None:
    script = Resumable(resumed(b"", identifier="x"), resumed(ANSWER))
    script.retry = 500
    async with reached(script, clock=clock) as (run, _):
        await run.ask()
    assert clock.pauses == [0.5, 0.5]


async def test_the_servers_retry_is_waited_for_on_the_real_clock() -> None:
    script = Resumable(resumed(ANSWER))
    script.retry = 300
    async with reached(script) as (run, _):
        loop = asyncio.get_running_loop()
        started = loop.time()
        await run.ask()
        assert loop.time() - started >= 0.3


async def test_a_call_may_be_polled_as_long_as_progress_is_made(clock: QuickClock) -> None:
    polls = [resumed(b"", identifier=f"p-{at}") for at in range(30)]
    async with reached(Resumable(*polls, resumed(ANSWER)), clock=clock) as (run, server):
        await run.ask()
    assert [get.header("last-event-id") for get in server.of("GET")] == ["call-2-1", *(f"p-{at}" for at in range(30))]
    assert set(clock.pauses) == {1.0}


async def test_fruitless_attempts_slow_down_and_end(clock: QuickClock) -> None:
    script = Resumable(*[status(503), resumed(), status(500), status(429), resumed()])
    async with reached(script, clock=clock) as (run, server):
        fault = await run.fault()
    assert type(fault) is Interrupted
    assert fault.may_have_run
    assert len(server.of("GET")) == 5
    assert clock.pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_attempts_are_spread_at_random(clock: QuickClock) -> None:
    clock.luck = 0.5
    script = Resumable(*[status(503)] * 3, resumed(ANSWER))
    async with reached(script, clock=clock) as (run, _):
        await run.ask()
    assert clock.pauses == [0.5, 1.0, 2.0, 2.5]


async def test_a_call_is_polled_for_hours_though_the_polls_bring_nothing(clock: QuickClock) -> None:
    script = Resumable(*[resumed()] * 200, resumed(ANSWER))
    script.retry = 60_000
    async with reached(script, clock=clock) as (run, _):
        await run.ask()
    assert set(clock.pauses) == {60.0}


async def test_polls_that_bring_nothing_become_rarer_where_the_server_asks_for_a_busy_loop(clock: QuickClock) -> None:
    script = Resumable(*[resumed()] * 10, resumed(ANSWER))
    script.retry = 0
    async with reached(script, clock=clock) as (run, _):
        await run.ask()
    assert clock.pauses == [0.01] * 6 + [5.0] * 5


async def test_a_server_that_says_when_to_come_back_is_heard(clock: QuickClock) -> None:
    async def busy(_: Seen, peer: Peer) -> None:
        await peer.answer(503, headers={"Retry-After": "7"})

    async with reached(Resumable(busy, resumed(ANSWER)), clock=clock) as (run, _):
        await run.ask()
    assert clock.pauses == [1.0, 7.0]


async def test_what_a_resumed_stream_repeats_is_not_delivered_again(clock: QuickClock) -> None:
    async def again(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(progress(1), identifier="1")
        await peer.event(progress(2), identifier="2")
        if seen.header("last-event-id") == "call-2-1":
            await peer.reset()
        else:
            await peer.event(progress(3), identifier="3")
            await peer.event(ANSWER, identifier="4")

    async with reached(Resumable(again, again, again), clock=clock) as (run, _):
        await run.ask()
    said = [doc["params"]["n"] for doc in run.docs[:-1]]
    assert said == sorted(set(said))
    assert said[-1] == 3


async def test_progress_starts_the_count_of_attempts_anew(clock: QuickClock) -> None:
    fruitless = [status(503)] * 4
    script = Resumable(*fruitless, resumed(NEWS, identifier="n"), *fruitless, resumed(ANSWER))
    async with reached(script, clock=clock) as (run, _):
        await run.ask()


async def test_a_server_that_is_away_for_a_moment_is_found_again(clock: QuickClock) -> None:
    async def drop(_: Seen, peer: Peer) -> None:
        await peer.reset()

    async with reached(Resumable(drop, drop, resumed(ANSWER)), clock=clock) as (run, _):
        await run.ask()


@pytest.mark.parametrize(
    "refusal", [status(405), status(404), status(400), status(401), status(403), status(200, "text/html")]
)
async def test_a_refused_resumption_ends_the_exchange_at_once(refusal: Any, clock: QuickClock) -> None:
    async with reached(Resumable(refusal), clock=clock) as (run, server):
        fault = await run.fault()
        assert len(server.of("GET")) == 1
    assert type(fault) is Interrupted
    assert fault.may_have_run
    assert fault.http_status in (200, 400, 401, 403, 404, 405)


async def test_a_resumption_that_is_redirected_elsewhere_ends_the_exchange(clock: QuickClock) -> None:
    async def elsewhere(_: Seen, peer: Peer) -> None:
        await peer.answer(302, headers={"Location": "http://localhost:9/"})

    async with reached(Resumable(elsewhere), clock=clock) as (run, _):
        fault = await run.fault()
    assert type(fault) is Interrupted
    assert fault.may_have_run


async def test_two_calls_are_resumed_each_at_its_own_id(clock: QuickClock) -> None:
    async def by_id(seen: Seen, peer: Peer) -> None:
        await peer.events()
        number = int((seen.header("last-event-id") or "").split("-")[1])
        await peer.event({"jsonrpc": "2.0", "id": number, "result": {}})

    async with reached(Resumable(by_id, by_id), clock=clock) as (run, _):
        async with asyncio.TaskGroup() as group:
            group.create_task(run.link.send(request(2, "tools/call")))
            group.create_task(run.link.send(request(3, "tools/call")))
        assert sorted(str(key) for _, key in run.delivered.items) == ["2", "3"]
        assert all(message.key == key for message, key in run.delivered.items)


async def test_an_id_of_an_old_session_is_not_shown_to_a_new_one() -> None:
    script = Resumable()
    script.retry = 100

    async with reached(script) as (run, server), asyncio.TaskGroup() as group:
        await run.ask(INITIALIZE)
        fault = group.create_task(run.fault())
        await server.until(2)
        await run.ask(INITIALIZE)
        assert type(await fault) is Interrupted
        assert server.of("GET") == []


async def test_closing_ends_the_wait_for_a_resumption() -> None:
    script = Resumable()
    script.retry = 60_000
    async with reached(script) as (run, server), asyncio.TaskGroup() as group:
        fault = group.create_task(run.fault())
        await server.until(1)
        async with asyncio.timeout(2):
            await run.link.close()
            assert type(await fault) is Interrupted


# --- The standing stream ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [202, 204, 400, 403, 404, 405, 406, 501])
async def test_a_server_without_a_standing_stream_is_no_mistake(code: int, clock: QuickClock) -> None:
    async with reached(answer_with(code, ERROR % b"1", "application/json"), clock=clock) as (run, server):
        await run.link.listen()
        assert len(server.seen) == 1
        assert run.docs == []


@pytest.mark.parametrize("content_type", ["text/html", "application/json", None])
async def test_a_get_that_brings_something_else_is_not_asked_again(content_type: str | None, clock: QuickClock) -> None:
    async with reached(answer_with(200, b"{}", content_type), clock=clock) as (run, server):
        await run.link.listen()
        assert len(server.seen) == 1


async def test_a_401_to_the_standing_stream_is_a_fault() -> None:
    async with reached(answer_with(401)) as (run, _):
        with pytest.raises(SignInNeeded):
            await run.link.listen()


async def test_a_redirect_elsewhere_is_no_standing_stream() -> None:
    async with reached(answer_with(302, headers={"Location": "http://localhost:9/"})) as (run, server):
        await run.link.listen()
        assert len(server.seen) == 1


async def test_a_server_that_fails_at_every_get_has_no_standing_stream(clock: QuickClock) -> None:
    async with reached(answer_with(500), clock=clock) as (run, server):
        await run.link.listen()
        assert len(server.seen) == 5


@pytest.mark.parametrize("code", [409, 425, 429, 502, 503, 504])
async def test_a_busy_server_is_asked_for_the_stream_until_it_answers(code: int, clock: QuickClock) -> None:
    async with reached(Standing(*[status(code)] * 20, resumed(NEWS)), clock=clock) as (run, _):
        await run.link.listen()
        assert run.docs == [NEWS]
    assert max(clock.pauses) == 60.0


async def test_a_server_that_cannot_be_reached_is_tried_for_as_long_as_the_host_lives(clock: QuickClock) -> None:
    async def drop(_: Seen, peer: Peer) -> None:
        await peer.reset()

    async with reached(Standing(*[drop] * 50, resumed(NEWS)), clock=clock) as (run, server):
        await run.link.listen()
        assert run.docs == [NEWS]
        assert len(server.seen) == 52
    assert clock.pauses[:8] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


class Standing:
    """A server whose GETs are answered one after the other as `answers` say; after them it has no stream."""

    def __init__(self, *answers: Callable[[Seen, Peer], Awaitable[None]]) -> None:
        self._answers = iter(answers)

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await next(self._answers, status(405))(seen, peer)
        elif seen.method == "DELETE":
            await peer.answer(200)
        else:
            await peer.result(seen, GREETING, {"Mcp-Session-Id": f"s-{len(seen.body)}"})


async def test_an_ended_standing_stream_is_opened_again_at_its_last_id_after_retry(clock: QuickClock) -> None:
    script = Standing(
        resumed(NEWS, identifier="a", retry=250), resumed(NEWS, identifier="b"), resumed(), resumed(NEWS), status(404)
    )
    async with reached(script, clock=clock) as (run, server):
        await run.link.listen()
        assert run.docs == [NEWS] * 3
        assert {key for _, key in run.delivered.items} == {None}
    assert [seen.header("last-event-id") for seen in server.seen] == [None, "a", "b", "b", "b"]
    assert clock.pauses == [0.25, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("code", [409, 429, 500, 502, 503])
async def test_a_standing_stream_that_is_known_survives_a_restart_of_the_server(code: int, clock: QuickClock) -> None:
    async def drop(_: Seen, peer: Peer) -> None:
        await peer.reset()

    script = Standing(resumed(NEWS), *[status(code)] * 8, drop, resumed(NEWS))
    async with reached(script, clock=clock) as (run, _):
        await run.link.listen()
        assert run.docs == [NEWS] * 2
    assert clock.pauses[:3] == [1.0, 2.0, 4.0]
    assert max(clock.pauses) == 60.0
    assert clock.pauses[-1] == 1.0


async def test_an_event_id_that_the_server_forgot_costs_the_standing_stream_nothing_more(clock: QuickClock) -> None:
    script = Standing(resumed(NEWS, identifier="a"), status(400), resumed(NEWS), status(400))
    async with reached(script, clock=clock) as (run, server):
        await run.link.listen()
        assert run.docs == [NEWS] * 2
    assert [seen.header("last-event-id") for seen in server.seen] == [None, "a", None, None]


@pytest.mark.parametrize("code", [404, 410])
async def test_a_session_that_is_lost_between_two_streams_is_said(code: int, clock: QuickClock) -> None:
    async with reached(Standing(resumed(NEWS), status(code)), clock=clock) as (run, _):
        await run.ask(INITIALIZE)
        with pytest.raises(SessionLost) as caught:
            await run.link.listen()
        assert not caught.value.may_have_run
        assert (await run.ask()).is_answer  # the session is judged by the messages, which go on


async def test_what_the_standing_stream_repeats_is_not_delivered_again(clock: QuickClock) -> None:
    async def first(_: Seen, peer: Peer) -> None:
        await peer.events()
        for number in (1, 2, 3):
            await peer.event(progress(number), identifier=str(number))

    async def too_far_back(_: Seen, peer: Peer) -> None:
        await peer.events()
        for number in (2, 3, 4):
            await peer.event(progress(number), identifier=str(number))

    async with reached(Standing(first, too_far_back, resumed()), clock=clock) as (run, server):
        await run.link.listen()
        assert [doc["params"]["n"] for doc in run.docs] == [1, 2, 3, 4]
    assert [seen.header("last-event-id") for seen in server.seen] == [None, "3", "4", "4"]


async def test_a_server_that_numbers_anew_after_a_restart_loses_nothing(clock: QuickClock) -> None:
    def says(*numbers: int) -> Any:
        async def script(_: Seen, peer: Peer) -> None:
            await peer.events()
            for at, number in enumerate(numbers):
                await peer.event(progress(number), identifier=str(at))

        return script

    async with reached(Standing(says(1, 2), says(3, 4)), clock=clock) as (run, _):
        await run.link.listen()
        assert [doc["params"]["n"] for doc in run.docs] == [1, 2, 3, 4]


async def test_a_401_to_a_stream_that_stood_waits_for_the_next_message(caplog: pytest.LogCaptureFixture) -> None:
    gone = asyncio.Event()

    async def locked(_: Seen, peer: Peer) -> None:
        await peer.answer(401)
        gone.set()

    script = Standing(resumed(NEWS, retry=1), locked, resumed(NEWS, retry=1))
    async with reached(script) as (run, server), asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await gone.wait()
        await asyncio.sleep(0.4)
        assert len(server.of("GET")) == 2
        await run.ask()
        await listening
        assert len(server.of("GET")) == 4
    assert "waits for the next message" in caplog.text


async def test_a_message_of_the_host_ends_the_wait_for_the_standing_stream() -> None:
    class Unlucky(Clock):
        def chance(self) -> float:
            return 1.0

    async def drop(_: Seen, peer: Peer) -> None:
        await peer.reset()

    script = Standing(*[drop] * 6, resumed(NEWS, retry=1))
    async with ScriptedServer(script) as server, opened(server.url) as run, asyncio.TaskGroup() as group:
        run.link._clock = Unlucky()
        listening = group.create_task(run.link.listen())
        loop = asyncio.get_running_loop()
        for count in range(1, 7):  # by itself it would wait for a minute and more
            await server.until(count, "GET")
            started = loop.time()
            await run.ask()
            await server.until(count + 1, "GET")
            assert loop.time() - started < 1.5
        await listening


async def test_a_message_of_the_host_does_not_shorten_what_the_server_asked_for() -> None:
    script = Standing(resumed(NEWS, retry=700))
    async with reached(script) as (run, server), asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await run.delivered.until(1)
        started = asyncio.get_running_loop().time()
        await run.ask()
        await listening
        assert asyncio.get_running_loop().time() - started >= 0.65
        assert len(server.of("GET")) == 2


# --- Sleep and wake --------------------------------------------------------------------------------------------------

SLEPT = Wake("nothing ran here for about 3600 s", is_doubtful=True)
MOVED = Wake("the network addresses of this machine changed", is_doubtful=False)


class Sleeper(Wakefulness):
    """A machine that sleeps when a test says so."""

    def wake(self, wake: Wake) -> None:
        for told in list(self._watching.values()):
            told(wake)


@asynccontextmanager
async def asleep(script: Script) -> AsyncIterator[tuple[Opened, ScriptedServer, Sleeper]]:
    async with reached(script) as (run, server):
        sleeper = run.link._wakefulness = Sleeper()
        yield run, server, sleeper


async def stands(seen: Seen, peer: Peer) -> None:
    """A stream on which the server says one thing, and then nothing until it is left."""
    await peer.events()
    await peer.event(progress(int(seen.header("last-event-id") or "0") + 1), identifier="1")
    await peer.gone()
    await peer.hang_up()


async def test_on_waking_up_the_standing_stream_is_opened_anew_at_once() -> None:
    async with asleep(Standing(stands, resumed(NEWS))) as (run, server, sleeper), asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await run.delivered.until(1)
        started = asyncio.get_running_loop().time()
        sleeper.wake(SLEPT)
        await server.until(2, "GET")
        assert asyncio.get_running_loop().time() - started < 1
        await listening
    assert [seen.header("last-event-id") for seen in server.of("GET")][:2] == [None, "1"]


async def test_a_new_address_leaves_a_stream_alone_that_stands() -> None:
    async with asleep(Standing(stands)) as (run, server, sleeper), asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await run.delivered.until(1)
        sleeper.wake(MOVED)
        await run.ask()
        assert len(server.of("GET")) == 1
        listening.cancel()


async def test_on_waking_up_an_answer_is_taken_up_again_on_another_connection() -> None:
    async def silent(peer: Peer) -> None:
        await peer.event(progress(1))
        await peer.gone()
        await peer.hang_up()

    script = Resumable(resumed(ANSWER), ending=silent)
    async with asleep(script) as (run, server, sleeper), asyncio.TaskGroup() as group:
        asked = group.create_task(run.ask())
        await run.delivered.until(1)
        sleeper.wake(SLEPT)
        assert (await asked).doc == ANSWER
        assert server.of("GET")[0].header("last-event-id") == "call-2-1"


async def test_on_waking_up_a_call_that_cannot_be_taken_up_again_goes_on() -> None:
    async def slow(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(progress(1))
        await awake.wait()
        await peer.result(seen) if not peer.chunked else await peer.event(ANSWER)

    awake = asyncio.Event()
    async with asleep(posting(slow)) as (run, server, sleeper), asyncio.TaskGroup() as group:
        asked = group.create_task(run.ask())
        await run.delivered.until(1)
        sleeper.wake(SLEPT)
        awake.set()
        await asked
        assert len(server.seen) == 1


async def test_on_waking_up_a_wait_is_over() -> None:
    async def drop(_: Seen, peer: Peer) -> None:
        await peer.reset()

    class Unlucky(Clock):
        def chance(self) -> float:
            return 1.0

    async with asleep(Standing(*[drop] * 7)) as (run, server, sleeper), asyncio.TaskGroup() as group:
        run.link._clock = Unlucky()
        listening = group.create_task(run.link.listen())
        loop = asyncio.get_running_loop()
        for count in range(1, 8):
            await server.until(count, "GET")
            started = loop.time()
            while len(server.of("GET")) == count:
                sleeper.wake(MOVED)
                await asyncio.sleep(0.01)
            assert loop.time() - started < 1.5
        await listening


@pytest.mark.parametrize(("wake", "connections"), [(SLEPT, 3), (MOVED, 2)])
async def test_on_waking_up_no_idle_connection_is_used_again(wake: Wake, connections: int) -> None:
    async with asleep(Standing(stands, stands)) as (run, server, sleeper), asyncio.TaskGroup() as group:
        listening = group.create_task(run.link.listen())
        await run.delivered.until(1)
        await run.ask()
        assert server.connections == 2
        sleeper.wake(wake)
        await run.delivered.until(1)
        await run.ask()
        posts = server.connections - len(server.of("GET"))
        assert posts == connections - 1
        listening.cancel()


async def test_nobody_looks_around_while_nothing_stands() -> None:
    async with asleep(posting(in_json)) as (run, _, sleeper):
        await run.ask()
        await run.link.listen()
        assert not sleeper._watching


async def test_a_standing_stream_that_breaks_is_opened_again(clock: QuickClock) -> None:
    async def broken(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS, identifier="a")
        await peer.chunk(b"data: {half")
        await peer.reset()

    async with reached(Standing(broken, resumed(NEWS)), clock=clock) as (run, server):
        await run.link.listen()
        assert 1 <= len(run.docs) <= 2  # a reset may overtake what was sent before it
        assert len(server.seen) == 3


@pytest.mark.parametrize("poison", [b"data: " + b"x" * 2000 + b"\n\n", b"data: \xff\n\n"])
async def test_what_cannot_be_read_is_not_asked_for_again(poison: bytes, clock: QuickClock) -> None:
    async def bad(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS, identifier="a")
        await run.delivered.until(1)
        await peer.chunk(poison)
        await peer.gone()
        await peer.hang_up()

    async with reached(Standing(bad, resumed(NEWS)), clock=clock, limit=1000) as (run, server):
        await run.link.listen()
        assert len(run.docs) == 2
    assert [seen.header("last-event-id") for seen in server.seen] == [None, None, None]


async def test_a_new_session_gets_a_new_standing_stream_without_the_old_id(clock: QuickClock) -> None:
    async def begin_anew(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(NEWS, identifier="old")
        await run.link.send(request("again", "initialize"))

    async with reached(Standing(begin_anew, resumed(NEWS)), clock=clock) as (run, server):
        await run.ask(INITIALIZE)
        await run.link.listen()
    first, second, _ = server.of("GET")
    assert first.header("mcp-session-id") != second.header("mcp-session-id")
    assert second.header("last-event-id") is None


async def test_closing_ends_the_wait_for_a_standing_stream() -> None:
    async with reached(Standing(resumed(NEWS, retry=60_000))) as (run, _), asyncio.TaskGroup() as group:
        task = group.create_task(run.link.listen())
        await run.delivered.until(1)
        async with asyncio.timeout(2):
            await run.link.close()
            await task


# --- Bounds ----------------------------------------------------------------------------------------------------------


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    piece = b"x" * (1 << 20)
    parts = [packer.compress(b"data: ")]
    parts += [packer.compress(piece) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_a_small_body_that_unfolds_to_a_large_one_is_refused_in_bounded_memory(content_type: str) -> None:
    bomb = _bomb(200 << 20)
    assert len(bomb) < 1 << 20
    script = answer_with(200, bomb, content_type, headers={"Content-Encoding": "gzip"})
    async with reached(script) as (run, _):
        tracemalloc.start()
        try:
            fault = await run.fault()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert type(fault) is TooLarge
    assert fault.may_have_run
    assert "--max-message-size" in fault.hint
    assert peak < 16 << 20


@pytest.mark.parametrize("line", [b"data: ", b": ", b"id: ", b"unknown"])
async def test_a_line_without_an_end_is_refused_when_the_limit_is_met(line: bytes) -> None:
    async def endless(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(line)
        for _at in range(1000):
            await peer.chunk(b"x" * 65536)

    async with reached(endless) as (run, _):
        fault = await run.fault()
    assert type(fault) is TooLarge
    assert "--max-message-size" in fault.hint


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_json_that_is_nested_too_deeply_is_one_clear_error(content_type: str) -> None:
    deep = b'{"jsonrpc":"2.0","id":2,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    body = deep if content_type == "application/json" else encode_event(deep)
    async with reached(answer_with(200, body, content_type)) as (run, _):
        fault = await run.fault()
        assert type(fault) is PeerBroke
        assert "nested too deeply (the limit is 512 levels, --max-depth)" in str(fault)


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 202, 204, 400, 404, 405, 500])
async def test_a_session_is_ended_whatever_the_server_says_to_that(code: int) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "DELETE":
            await peer.answer(code)
        else:
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "s-1"})

    async with reached(script) as (run, server):
        await run.ask(INITIALIZE)
        await run.link.close()
        await run.link.close()
    (delete,) = server.of("DELETE")
    assert delete.header("mcp-session-id") == "s-1"
    assert delete.header("mcp-protocol-version") == "2025-06-18"


@asynccontextmanager
async def a_session_whose_end_hangs() -> AsyncIterator[tuple[Opened, ScriptedServer]]:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "DELETE":
            await peer.gone()
            await peer.hang_up()
        else:
            await peer.result(seen, GREETING, {"Mcp-Session-Id": "s-1"})

    async with reached(script) as (run, server):
        await run.ask(INITIALIZE)
        yield run, server


async def test_a_server_that_does_not_answer_the_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert streamable_http.DELETE_SECONDS < 2
    monkeypatch.setattr(streamable_http, "DELETE_SECONDS", 0.1)
    async with a_session_whose_end_hangs() as (run, server), asyncio.timeout(1):
        await run.link.close()
        assert len(server.of("DELETE")) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_an_end_in_a_hurry_still_tells_the_server(turns: int) -> None:
    async with a_session_whose_end_hangs() as (run, server), asyncio.TaskGroup() as group:
        task = group.create_task(run.link.close())
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(1):
            await server.until(1, "DELETE")
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture, clock: QuickClock) -> None:
    caplog.set_level(logging.DEBUG)

    async def act(seen: Seen, peer: Peer) -> None:
        if seen.id == 2:
            await peer.result(seen, {"private": "body-text"})
        else:
            await peer.reset()

    async with reached(posting(act, session="secret-session"), TOKEN, clock=clock) as (run, _):
        await run.ask(INITIALIZE)
        await run.ask()
        await run.fault(request(3, "x"))
        await run.link.listen()
    ours = [record for record in caplog.records if record.name.startswith(("mcp_remote_py", "http"))]
    for secret in ("secret", "body-text"):
        assert not any(secret in json.dumps([record.getMessage(), str(record.exc_info)]) for record in ours)
