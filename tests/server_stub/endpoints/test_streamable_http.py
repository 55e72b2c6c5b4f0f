"""Streamable HTTP over real sockets: statuses, forms of answers, streams, replay."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mcp_remote_py.core import message
from mcp_remote_py.core.errors import BackendDown, Unreachable
from mcp_remote_py.core.message import Message, parse_one
from server_stub.settings import Limits, ServeSettings, Timing
from tests.server_stub.links import Backends, ScriptedLink, eventually, initialize, named, request, serving, within
from tests.server_stub.mcp_client import BOTH, JSON, McpClient, new_http

QUICK = ServeSettings(timing=Timing(keep_alive=0.5, settle=0.25))
NOTE: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/thing"}


@asynccontextmanager
async def session(
    backends: Backends, settings: ServeSettings = QUICK, version: str = "2025-06-18"
) -> AsyncIterator[McpClient]:
    """A server, and a client that has initialized."""
    async with serving(backends, settings) as url, new_http() as http:
        client = McpClient(http, f"{url}/mcp")
        await client.start(version)
        yield client


@asynccontextmanager
async def bare(backends: Backends | None = None, settings: ServeSettings = QUICK) -> AsyncIterator[McpClient]:
    """A server, and a client that has not initialized."""
    async with serving(backends or Backends(), settings) as url, new_http() as http:
        yield McpClient(http, f"{url}/mcp")


def code(body: bytes) -> int:
    """The error code of a JSON-RPC error body."""
    value: int = json.loads(body)["error"]["code"]
    return value


def result(answered: Message, value: Any) -> Message:
    assert answered.id is not None
    return message.result(answered.id, value)


def progress(token: Any, value: int) -> Message:
    return message.notification("notifications/progress", {"progressToken": token, "progress": value})


# --- sessions and statuses -------------------------------------------------------------------------------------------


async def test_the_initialize_result_carries_a_session_id_of_visible_ascii() -> None:
    async with bare() as client:
        first, second = await client.post(initialize()), await client.post(initialize())
        ids = {first.headers["Mcp-Session-Id"], second.headers["Mcp-Session-Id"]}
        assert len(ids) == 2
        for one in ids:
            assert len(one) >= 22  # 128 bits and more, at 6 bits a character
            assert all(0x21 <= ord(character) <= 0x7E for character in one)
        assert first.headers["Content-Type"] == "application/json"
        assert first.json()["result"]["protocolVersion"] == "2025-06-18"


async def test_an_initialize_that_fails_opens_no_session() -> None:
    def refusing(peer: Any) -> ScriptedLink:
        link = ScriptedLink(peer)
        link.reply = lambda one: message.error(one.id, -32602, "no")
        return link

    backends = Backends(refusing)
    async with bare(backends) as client:
        response = await client.post(initialize())
        assert response.status_code == 200
        assert response.json()["error"] == {"code": -32602, "message": "no"}
        assert "Mcp-Session-Id" not in response.headers
        await within(backends.last.closed.wait())


async def test_a_backend_that_does_not_open_answers_initialize_with_its_fault() -> None:
    def broken(peer: Any) -> ScriptedLink:
        link = ScriptedLink(peer)
        link.open_fault = BackendDown("npx: not found", may_have_run=False)
        return link

    async with bare(Backends(broken)) as client:
        response = await client.post(initialize("x"))
        body = response.json()
        assert (response.status_code, body["id"], body["error"]["code"]) == (200, "x", -31009)
        assert body["error"]["data"]["source"] == "mcp-remote-server"
        assert "Mcp-Session-Id" not in response.headers


async def test_notifications_and_answers_get_202_and_an_empty_body() -> None:
    backends = Backends()
    async with session(backends) as client:
        for document in (NOTE, {"jsonrpc": "2.0", "id": 77, "result": {}}):
            response = await client.post(document)
            assert (response.status_code, response.content) == (202, b"")
        await backends.last.received("notifications/thing")
        assert [one.method for one in backends.last.sent] == [
            "initialize",
            "notifications/initialized",
            "notifications/thing",
        ]  # nobody asked 77


async def test_without_a_session_id_400_with_an_unknown_one_404() -> None:
    async with bare() as client:
        for response in (await client.post(request(1, "ping")), await client.post(NOTE), await client.delete()):
            assert (response.status_code, code(response.content)) == (400, -32600)
        assert (await client.get(Accept="text/event-stream")).status_code == 400
        client.headers["Mcp-Session-Id"] = "never-seen"
        for response in (
            await client.post(request(1, "ping")),
            await client.post(initialize()),
            await client.get(Accept="text/event-stream"),
            await client.delete(),
        ):
            assert (response.status_code, code(response.content)) == (404, -31004)
        assert (await client.post(request(5, "ping"))).json()["id"] == 5


async def test_after_delete_the_session_is_404_for_every_method_and_its_backend_closed() -> None:
    backends = Backends()
    async with session(backends) as client:
        assert (await client.delete()).status_code == 204
        assert (await client.post(request(1, "ping"))).status_code == 404
        assert (await client.get(Accept="text/event-stream")).status_code == 404
        assert (await client.delete()).status_code == 404
        await within(backends.last.closed.wait())


async def test_delete_answers_what_was_still_open() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(9, "work")) as events:
        await backends.last.received("work")
        assert (await client.delete()).status_code == 204
        answer = await events.message()
        assert (answer["id"], answer["error"]["code"]) == (9, -31004)
        assert await events.next() is None


async def test_methods_that_are_not_possible_are_405_with_allow() -> None:
    async with bare() as client:
        for method in ("PUT", "PATCH", "HEAD", "OPTIONS"):
            response = await client.http.request(method, client.url)
            assert response.status_code == 405
            assert set(response.headers["Allow"].split(",")) == {"GET", "POST", "DELETE"}


async def test_an_unknown_path_is_404_and_names_the_paths() -> None:
    async with bare() as client:
        response = await client.http.get(client.url + "x")
        assert response.status_code == 404
        assert response.json() == {
            "error": "Not found",
            "paths": ["/mcp", "/sse", "/messages", "/ws", "/health", "/readyz"],
        }


@pytest.mark.parametrize(
    ("accept", "status"), [("text/html", 406), ("application/json;q=0", 406), ("*/*", 200), ("APPLICATION/JSON", 200)]
)
async def test_accept_must_allow_one_of_the_forms(accept: str, status: int) -> None:
    async with session(Backends()) as client:
        assert (await client.post(request(1, "ping"), Accept=accept)).status_code == status


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/event-stream;q=0"])
async def test_a_get_that_does_not_name_event_streams_is_406(accept: str) -> None:
    async with session(Backends()) as client:
        assert (await client.get(Accept=accept)).status_code == 406


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("Application/JSON; charset=utf-8", 200)],
)
async def test_the_content_type_must_be_json(content_type: str, status: int) -> None:
    async with session(Backends()) as client:
        assert (await client.post(request(1, "ping"), Content_Type=content_type)).status_code == status


@pytest.mark.parametrize(
    ("body", "error_code", "identifier"),
    [
        (b"{not json", -32700, None),
        (b'{"jsonrpc":"2.0","id":4}', -32600, 4),
        (b"[]", -32600, None),
        (b'"x"', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b"\xff", -32700, None),
    ],
)
async def test_what_is_no_message_is_400_with_the_code_that_says_so(
    body: bytes, error_code: int, identifier: Any
) -> None:
    async with session(Backends()) as client:
        response = await client.post(body)
        assert (response.status_code, code(response.content)) == (400, error_code)
        assert response.json()["id"] == identifier


async def test_a_body_over_the_limit_is_413_whether_it_says_its_size_or_not() -> None:
    async with session(Backends(), QUICK._replace(limits=Limits(body=2000))) as client:
        big = json.dumps(request(1, "echo", text="x" * 3000)).encode()

        async def chunks() -> AsyncIterator[bytes]:
            yield big

        told = await client.post(big)
        untold = await client.http.post(client.url, content=chunks(), headers=client.headers)
        for response in (told, untold):
            assert (response.status_code, code(response.content)) == (413, -31007)
        assert (await client.post(request(1, "echo", text="x" * 1500))).status_code == 200


async def test_a_packed_body_is_refused_and_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[object] = []  # while that is done everybody waits

    def unpack(_: object, chunk: bytes, *__: object) -> bool:
        unpacked.append(chunk)
        return False

    monkeypatch.setattr("aiohttp.http_parser.DeflateBuffer.feed_data", unpack)
    async with session(Backends()) as client:
        for path in ("/mcp", "/nowhere"):
            bomb = await client.http.post(
                client.url.removesuffix("/mcp") + path,
                content=gzip.compress(bytes(100_000)),
                headers={**client.headers, "Content-Encoding": "gzip"},
            )
            assert bomb.status_code == 415
        assert (await client.post(request(1, "echo"))).status_code == 200
    assert unpacked == []


@pytest.mark.parametrize(
    ("version", "status"),
    [("2025-06-18", 200), ("2024-11-05", 200), ("2025-13-01", 400), ("2026-07-28", 400), ("", 400)],
)
async def test_a_version_header_that_is_not_spoken_is_400(version: str, status: int) -> None:
    async with session(Backends()) as client:
        for method in ("POST", "GET", "DELETE"):
            if status == 200 and method != "POST":
                continue
            headers = {**client.headers, "Accept": BOTH, "MCP-Protocol-Version": version}
            content = json.dumps(request(1, "ping")) if method == "POST" else None
            response = await client.http.request(method, client.url, headers=headers, content=content)
            assert response.status_code == status, method


async def test_the_version_a_session_negotiated_is_spoken_even_if_we_never_heard_of_it() -> None:
    backends = Backends(lambda peer: ScriptedLink(peer, version="2025-99-99"))
    async with session(backends) as client:
        assert (await client.post(request(1, "ping"), MCP_Protocol_Version="2025-99-99")).status_code == 200


async def test_a_second_initialize_is_refused() -> None:
    async with session(Backends()) as client:
        response = await client.post(initialize(3))
        assert (response.status_code, code(response.content), response.json()["id"]) == (400, -32600, 3)


async def test_an_id_that_still_waits_for_its_answer_is_refused_and_the_first_call_goes_on() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        work = await backends.last.received("work")
        second = await client.post(request(1, "work"))
        assert (second.status_code, code(second.content)) == (400, -32600)
        assert (await client.post(request("1", "ping"))).json() == {"jsonrpc": "2.0", "id": "1", "result": {}}
        await backends.last.say(result(work, "done"))
        assert (await events.message())["result"] == "done"
        assert (await client.post(request(1, "ping"))).status_code == 200


async def test_errors_of_the_server_are_200() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        await backends.last.received("work")
        await backends.last.say(parse_one(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"},"x":1e5}'))
        event = await events.next()
        assert event is not None
        assert event.data == '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"},"x":1e5}'
        assert events.response.status_code == 200


async def test_too_many_sessions_are_503_with_retry_after() -> None:
    backends = Backends()
    async with bare(backends, QUICK._replace(limits=Limits(sessions=2))) as client:
        first = await client.post(initialize())
        assert (await client.post(initialize())).status_code == 200
        third = await client.post(initialize(7))
        assert (third.status_code, third.json()["id"]) == (503, 7)
        assert int(third.headers["Retry-After"]) > 0
        client.headers["Mcp-Session-Id"] = first.headers["Mcp-Session-Id"]
        assert (await client.delete()).status_code == 204
        await within(backends.links[0].closed.wait())
        del client.headers["Mcp-Session-Id"]
        assert (await client.post(initialize())).status_code == 200


async def test_too_many_open_requests_in_one_session_are_503() -> None:
    backends = Backends()
    async with session(backends, QUICK._replace(limits=Limits(in_flight=1))) as client:
        async with client.posting(request(1, "work")):
            work = await backends.last.received("work")
            full = await client.post(request(2, "ping"))
            assert (full.status_code, full.json()["id"]) == (503, 2)
            assert (await client.post(NOTE)).status_code == 202
            await backends.last.say(result(work, 1))
        assert (await client.post(request(2, "ping"))).status_code == 200


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_as_one_array_in_2025_03_26() -> None:
    backends = Backends()
    async with session(backends, version="2025-03-26") as client:
        response = await client.post([request(1, "ping"), NOTE, request("1", "echo", a=1)])
        assert response.status_code == 200
        assert sorted(response.json(), key=lambda one: str(type(one["id"]))) == [
            {"jsonrpc": "2.0", "id": 1, "result": {}},
            {"jsonrpc": "2.0", "id": "1", "result": {"a": 1}},
        ]
        await backends.last.received("notifications/thing")
        assert (await client.post([NOTE, NOTE])).status_code == 202


async def test_a_batch_of_which_one_answer_is_late_comes_as_a_stream_that_ends_with_the_last() -> None:
    backends = Backends()
    async with (
        session(backends, version="2025-03-26") as client,
        client.posting([request(1, "ping"), request(2, "work")]) as events,
    ):
        work = await backends.last.received("work")
        assert (await events.message())["id"] == 1
        await backends.last.say(result(work, "late"))
        assert (await events.message())["id"] == 2
        assert await events.next() is None


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_a_batch_is_400_in_later_revisions(version: str) -> None:
    backends = Backends()
    async with session(backends, version=version) as client:
        response = await client.post([request(1, "ping")])
        assert (response.status_code, code(response.content)) == (400, -32600)
        assert "ping" not in [one.method for one in backends.last.sent]


async def test_initialize_is_never_part_of_a_batch() -> None:
    async with bare() as client:
        response = await client.post([initialize()])
        assert (response.status_code, code(response.content)) == (400, -32600)


async def test_a_batch_with_something_in_it_that_is_no_message_is_refused_whole() -> None:
    backends = Backends()
    async with session(backends, version="2025-03-26") as client:
        response = await client.post([request(1, "ping"), 7])
        assert (response.status_code, code(response.content)) == (400, -32600)
        twice = await client.post([request(1, "ping"), request(1, "ping")])
        assert twice.status_code == 400
        assert "ping" not in [one.method for one in backends.last.sent]


# --- the form of answers ---------------------------------------------------------------------------------------------


async def test_an_answer_that_comes_first_and_soon_is_json() -> None:
    async with session(Backends()) as client:
        response = await client.post(request(1, "ping"))
        assert response.headers["Content-Type"] == "application/json"
        assert response.content == b'{"jsonrpc":"2.0","id":1,"result":{}}'
        assert "Mcp-Session-Id" not in response.headers


@pytest.mark.parametrize("accept", ["application/json", None])
async def test_a_client_that_takes_only_json_gets_it_however_long_it_takes(accept: str | None) -> None:
    backends = Backends()
    async with session(backends) as client:
        headers = {name: value for name, value in client.headers.items() if name != "Accept"}
        if accept:
            headers["Accept"] = accept
        body = json.dumps(request(1, "work", _meta={"progressToken": 1})).encode()
        posting = client.http.build_request("POST", client.url, content=body, headers=headers)
        if accept is None:
            del posting.headers["Accept"]
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(client.http.send(posting))
            work = await backends.last.received("work")
            await backends.last.say(progress(1, 1))
            await asyncio.sleep(2 * QUICK.timing.settle)
            await backends.last.say(result(work, "done"))
            response = await within(sending)
        assert response.headers["Content-Type"] == "application/json"
        assert response.json() == {"jsonrpc": "2.0", "id": 1, "result": "done"}


async def test_a_client_that_takes_only_events_gets_a_stream() -> None:
    async with session(Backends()) as client, client.posting(request(1, "ping"), Accept="text/event-stream") as events:
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert await events.rest() == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


async def test_what_comes_before_the_answer_makes_it_a_stream_in_order() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work", _meta={"progressToken": "t"})) as events:
        work = await backends.last.received("work")
        await backends.last.say(progress("t", 1))
        await backends.last.say(result(work, "done"))
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert [one.get("method") for one in await events.rest()] == ["notifications/progress", None]


async def test_streams_have_the_headers_that_keep_proxies_from_buffering_and_comments_when_quiet() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        work = await backends.last.received("work")
        assert events.response.headers["X-Accel-Buffering"] == "no"
        assert events.response.headers["Cache-Control"] == "no-cache, no-transform"
        assert "Content-Encoding" not in events.response.headers
        await asyncio.sleep(2 * QUICK.timing.keep_alive)
        await backends.last.say(result(work, 1))
        assert (await events.message())["result"] == 1
        assert events.comments >= 1


async def test_a_message_of_8_mib_passes_both_ways_byte_for_byte() -> None:
    async with session(Backends()) as client:
        text = "ü\\u2028" * (1024 * 1024)
        body = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"text":"%s"}}' % text.encode()
        assert len(body) > 8 * 1024 * 1024
        response = await client.post(body)
        assert response.json()["result"]["text"] == json.loads(f'"{text}"')


# --- which stream ----------------------------------------------------------------------------------------------------


async def test_an_answer_is_only_on_its_own_stream_and_nothing_comes_twice() -> None:
    backends = Backends()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session(backends))
        link = backends.last
        standing = await stack.enter_async_context(client.getting())
        first = await stack.enter_async_context(client.posting(request(1, "work", _meta={"progressToken": "a"})))
        second = await stack.enter_async_context(client.posting(request(2, "work", _meta={"progressToken": "b"})))
        await link.received("work", 2)
        await link.say(progress("b", 1))
        await link.say(message.notification("notifications/tools/list_changed"))
        await link.say(message.notification("notifications/message", {"level": "info", "data": "whose?"}))
        await link.say(progress("a", 1))
        await link.say(message.result(2, "two"))
        await link.say(message.result(1, "one"))
        assert [one.get("method", one.get("result")) for one in await first.rest()] == ["notifications/progress", "one"]
        assert [one.get("method", one.get("result")) for one in await second.rest()] == [
            "notifications/progress",
            "two",
        ]
        assert (await standing.message())["method"] == "notifications/tools/list_changed"
        assert (await standing.message())["method"] == "notifications/message"
        await link.say(message.notification("notifications/last"))
        assert (await standing.message())["method"] == "notifications/last"


async def test_a_question_of_a_child_reaches_the_client_on_the_running_call_though_no_get_is_open() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        link = backends.last
        work = await link.received("work")
        await link.say(message.request("q1", "elicitation/create", {"message": "?"}))
        question = await events.message()
        assert (question["id"], question["method"]) == ("q1", "elicitation/create")
        assert (await client.post({"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept"}})).status_code == 202
        answer = await link.received(None)
        assert answer.result == {"action": "accept"}
        again = {"jsonrpc": "2.0", "id": "q1", "result": {"action": "decline"}}
        assert (await client.post(again)).status_code == 202
        await link.say(result(work, "done"))
        assert (await events.message())["result"] == "done"
        assert [one.method for one in link.sent].count(None) == 1


async def test_a_question_without_any_stream_waits_for_the_next_one() -> None:
    backends = Backends()
    async with session(backends) as client:
        await backends.last.say(message.request("r1", "roots/list"))
        await backends.last.say(message.notification("notifications/tools/list_changed"))
        async with client.getting() as standing:
            assert (await standing.message())["id"] == "r1"
            assert (await standing.message())["method"] == "notifications/tools/list_changed"


async def test_a_question_that_waits_goes_out_on_the_next_call_where_there_is_no_get() -> None:
    backends = Backends()
    async with session(backends) as client:
        await backends.last.say(message.request("r1", "roots/list"))
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            assert (await events.message())["id"] == "r1"
            await backends.last.say(result(work, 1))
            assert (await events.message())["id"] == 1


async def test_a_question_the_server_takes_back_before_anyone_saw_it_is_never_sent() -> None:
    backends = Backends()
    async with session(backends) as client:
        await backends.last.say(message.request("r1", "roots/list"))
        await backends.last.say(message.notification("notifications/cancelled", {"requestId": "r1"}))
        await backends.last.say(message.request("r2", "roots/list"))
        async with client.getting() as standing:
            assert (await standing.message())["id"] == "r2"


async def test_the_cancellation_of_a_question_follows_the_question() -> None:
    backends = Backends()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session(backends))
        link = backends.last
        first = await stack.enter_async_context(client.posting(request(1, "work")))
        one = await link.received("work")
        await link.say(message.request(5, "sampling/createMessage"))
        assert (await first.message())["id"] == 5
        second = await stack.enter_async_context(client.posting(request(2, "work")))
        two = await link.received("work", 2)
        await link.say(message.notification("notifications/cancelled", {"requestId": 5}))
        await link.say(result(one, 1))
        await link.say(result(two, 2))
        assert [each.get("method") for each in await first.rest()] == ["notifications/cancelled", None]
        assert [each.get("method") for each in await second.rest()] == [None]


async def test_a_handler_names_the_call_that_a_message_belongs_to() -> None:
    backends = Backends(named)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session(backends))
        link = backends.last
        first = await stack.enter_async_context(client.posting(request(1, "work")))
        second = await stack.enter_async_context(client.posting(request(2, "work")))
        standing = await stack.enter_async_context(client.getting())
        await link.received("work", 2)
        one, two = (each for each in link.sent if each.method == "work")
        note = message.notification("notifications/message", {"data": 1})
        await link.say(note, one.key)
        await link.say(note, None)
        await link.say(message.request(1, "sampling/createMessage"), two.key)
        await link.say(result(one, 1), one.key)
        await link.say(result(two, 2), two.key)
        assert [each.get("method") for each in await first.rest()] == ["notifications/message", None]
        assert [each.get("method") for each in await second.rest()] == ["sampling/createMessage", None]
        assert (await standing.message())["method"] == "notifications/message"


async def test_two_sessions_with_equal_ids_and_tokens_never_see_each_others_messages() -> None:
    backends = Backends()
    async with session(backends) as client:
        other = McpClient(client.http, client.url)
        await other.start()
        call = request(1, "work", _meta={"progressToken": 1})
        async with client.posting(call) as mine, other.posting(call) as theirs:
            for link, value in zip(backends.links, ("mine", "theirs"), strict=True):
                work = await link.received("work")
                await link.say(progress(1, 5 if value == "mine" else 6))
                await link.say(result(work, value))
            assert [one.get("result") for one in await mine.rest()] == [None, "mine"]
            assert [one.get("result") for one in await theirs.rest()] == [None, "theirs"]


# --- the standing stream ---------------------------------------------------------------------------------------------


async def test_a_second_get_is_409_until_the_first_has_gone() -> None:
    async with session(Backends()) as client:
        async with client.getting() as standing:
            assert standing.response.status_code == 200
            assert (await client.get(Accept="text/event-stream")).status_code == 409

        async def free() -> int:
            async with client.getting() as again:
                return again.response.status_code

        statuses = [await free()]
        while statuses[-1] == 409:
            statuses.append(await within(free()))
        assert statuses[-1] == 200


# --- cancellation, faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ScriptedLink, named])
async def test_a_cancelled_call_gets_no_answer_and_its_stream_ends(make: Any) -> None:
    backends = Backends(make)
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        work = await backends.last.received("work")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await client.post(cancel)).status_code == 202
        assert await events.next() is None
        await backends.last.received("notifications/cancelled")
        await backends.last.say(result(work, "too late"), work.key if make is named else None)
        assert (await client.post(request(1, "ping"))).json()["result"] == {}


async def test_a_cancelled_call_of_a_client_that_takes_only_json_ends_without_a_body() -> None:
    backends = Backends()
    async with session(backends) as client, asyncio.TaskGroup() as group:
        posting = group.create_task(client.post(request(1, "work"), Accept="application/json"))
        await backends.last.received("work")
        await client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
        response = await posting
        assert (response.status_code, response.content) == (202, b"")


async def test_a_child_that_dies_answers_every_open_call_and_ends_its_session() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.posting(request(1, "work")) as first, client.posting(request("b", "work")) as second:
            await backends.last.received("work", 2)
            backends.last.die("exit status 3")
            for events, identifier in ((first, 1), (second, "b")):
                answer = await events.message()
                assert (answer["id"], answer["error"]["code"]) == (identifier, -31009)
                assert answer["error"]["message"] == "exit status 3"
                assert await events.next() is None
        assert (await client.post(request(3, "ping"))).status_code == 404
        await within(backends.last.closed.wait())


async def test_a_fault_while_sending_answers_that_call_alone() -> None:
    backends = Backends(named)
    async with session(backends) as client:
        backends.last.send_fault = Unreachable("nobody there")
        response = await client.post(request(1, "work"))
        assert response.json()["error"]["code"] == -31001
        backends.last.send_fault = None
        assert (await client.post(request(2, "ping"))).json()["result"] == {}


async def test_a_handler_that_returns_without_an_answer_is_an_error_answer() -> None:
    backends = Backends(named)
    async with session(backends) as client, client.posting(request(1, "work")) as events:
        backends.last.stop_without_answer(await backends.last.received("work"))
        assert (await events.message())["error"]["code"] == -31008


async def test_a_handler_that_returns_late_does_not_answer_the_next_request_with_the_same_id() -> None:
    may_return = asyncio.Event()
    returned = asyncio.Event()

    class Late(ScriptedLink):
        async def send(self, message_: Message, written: Any = None) -> None:
            await super().send(message_, written)
            if message_.method == "echo":
                await may_return.wait()
                returned.set()

    backends = Backends(lambda peer: Late(peer, named=True))
    async with session(backends) as client:
        assert (await client.post(request(1, "echo", n=1))).json()["result"] == {"n": 1}
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            may_return.set()
            await within(returned.wait())
            await backends.last.say(result(work, "done"), work.key)
            assert [one.get("result") for one in await events.rest()] == ["done"]


async def test_an_answer_doubled_or_unasked_is_dropped() -> None:
    backends = Backends()
    async with session(backends) as client, client.getting() as standing:
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            await backends.last.say(message.result(99, "unasked"))
            await backends.last.say(result(work, "first"))
            await backends.last.say(result(work, "second"))
            assert [one["result"] for one in await events.rest()] == ["first"]
        await backends.last.say(message.notification("notifications/x"))
        assert (await standing.message())["method"] == "notifications/x"


async def test_a_bug_in_a_backend_ends_its_session_and_no_other() -> None:
    class Broken(ScriptedLink):
        async def listen(self) -> None:
            await self.received("work")
            raise RuntimeError("a bug with a secret in its text")

    backends = Backends(lambda peer: Broken(peer) if not backends.links else ScriptedLink(peer))
    async with session(backends) as client:
        other = McpClient(client.http, client.url)
        await other.start()
        error = (await client.post(request(1, "work"))).json()["error"]
        assert error["code"] == -31009
        assert "secret" not in json.dumps(error)
        assert (await client.post(request(2, "ping"))).status_code == 404
        assert (await other.post(request(2, "ping"))).status_code == 200


async def test_a_handler_may_wait_for_an_answer_of_the_client_in_a_notification() -> None:
    class Asking(ScriptedLink):
        async def send(self, message_: Message, written: Any = None) -> None:
            await super().send(message_, written)
            if message_.method == "notifications/initialized":
                await self.say(message.request("r", "roots/list"))
                await self.received(None)
                await self.say(message.notification("notifications/told"))

    backends = Backends(lambda peer: Asking(peer, named=True))
    async with session(backends) as client, client.getting() as standing:
        assert (await standing.message())["id"] == "r"
        assert (await client.post({"jsonrpc": "2.0", "id": "r", "result": {"roots": []}})).status_code == 202
        assert (await standing.message())["method"] == "notifications/told"


async def test_a_cancellation_of_a_question_that_was_answered_goes_nowhere() -> None:
    backends = Backends()
    async with session(backends) as client, client.getting() as standing:
        await backends.last.say(message.request("q", "roots/list"))
        assert (await standing.message())["id"] == "q"
        await client.post({"jsonrpc": "2.0", "id": "q", "result": {}})
        await backends.last.received(None)
        for gone in ("q", "never asked", None):
            await backends.last.say(message.notification("notifications/cancelled", {"requestId": gone}))
        await backends.last.say(message.notification("notifications/x"))
        assert (await standing.message())["method"] == "notifications/x"


# --- resuming --------------------------------------------------------------------------------------------------------


async def test_a_disconnect_does_not_stop_the_call_and_the_replay_delivers_the_result_once() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.posting(request(1, "work", _meta={"progressToken": "p"})) as events:
            work = await backends.last.received("work")
            await backends.last.say(progress("p", 1))
            event = await events.next()
            assert event is not None
            assert event.id is not None
        await backends.last.say(progress("p", 2))
        await backends.last.say(result(work, "done"))
        assert "notifications/cancelled" not in [one.method for one in backends.last.sent]
        async with client.getting(event.id) as resumed:
            rest = await resumed.rest()
        assert [one.get("params", {}).get("progress", one.get("result")) for one in rest] == [2, "done"]


async def test_a_resumed_stream_goes_on_live_and_ends_after_the_response() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.posting(request(1, "work", _meta={"progressToken": "p"})) as events:
            work = await backends.last.received("work")
            await backends.last.say(progress("p", 1))
            event = await events.next()
            assert event is not None
        await backends.last.say(progress("p", 2))
        async with client.getting(event.id) as resumed, client.getting() as standing:
            assert (await resumed.message())["params"]["progress"] == 2
            await backends.last.say(message.notification("notifications/tools/list_changed"))
            await backends.last.say(progress("p", 3))
            await backends.last.say(result(work, "done"))
            rest = await resumed.rest()
            assert [one.get("params", {}).get("progress", one.get("result")) for one in rest] == [3, "done"]
            assert (await standing.message())["method"] == "notifications/tools/list_changed"


async def test_event_ids_are_unique_in_the_session_and_a_replay_repeats_them() -> None:
    backends = Backends()
    async with session(backends) as client, client.getting() as standing:
        ids: list[str | None] = []
        for identifier in (1, 2):
            async with client.posting(request(identifier, "work", _meta={"progressToken": "p"})) as events:
                work = await backends.last.received("work", identifier)
                await backends.last.say(progress("p", 1))
                await backends.last.say(result(work, 1))
                while (event := await events.next()) is not None:
                    ids.append(event.id)
        await backends.last.say(message.notification("notifications/x"))
        event = await standing.next()
        assert event is not None
        ids.append(event.id)
        assert len(ids) == 5
        assert len(set(ids)) == 5
        assert None not in ids
        async with client.getting(ids[0]) as resumed:
            event = await resumed.next()
            assert event is not None
            assert event.id == ids[1]


async def test_whoever_resumes_takes_the_stream_over() -> None:
    backends = Backends()
    async with session(backends) as client, client.posting(request(1, "work", _meta={"progressToken": "p"})) as first:
        work = await backends.last.received("work")
        await backends.last.say(progress("p", 1))
        event = await first.next()
        assert event is not None
        async with client.getting(event.id) as second:
            assert await first.next() is None
            await backends.last.say(result(work, "done"))
            assert [one["result"] for one in await second.rest()] == ["done"]


@pytest.mark.parametrize("cursor", ["1-99", "77-1", "nonsense", "0-5", "1", "-1", "9" * 40])
async def test_an_unknown_cursor_is_400(cursor: str) -> None:
    async with session(Backends()) as client, client.getting(cursor) as events:
        assert events.response.status_code == 400


async def test_a_cursor_of_another_session_is_unknown() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            await backends.last.say(message.request(1, "roots/list"))
            event = await events.next()
            assert event is not None
        await backends.last.say(result(work, 1))
        other = McpClient(client.http, client.url)
        await other.start()
        async with other.getting(event.id) as resumed:
            assert resumed.response.status_code == 400


async def test_what_the_standing_stream_missed_is_replayed() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.getting() as standing:
            for number in range(3):
                await backends.last.say(message.notification("notifications/n", {"n": number}))
            event = await standing.next()
            assert event is not None
        async with client.getting(event.id) as resumed:
            assert (await resumed.message())["params"]["n"] == 1
            assert (await resumed.message())["params"]["n"] == 2
            await backends.last.say(message.notification("notifications/n", {"n": 3}))
            assert (await resumed.message())["params"]["n"] == 3


@pytest.mark.parametrize(("version", "primed"), [("2025-03-26", False), ("2025-06-18", False), ("2025-11-25", True)])
async def test_only_new_clients_get_a_priming_event(version: str, primed: bool) -> None:
    backends = Backends()
    async with session(backends, version=version) as client:
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            await backends.last.say(message.request(1, "roots/list"))
            first = await events.next()
            assert first is not None
            assert (first.data == "") is primed
            assert (first.retry is not None) is primed
            assert first.id is not None
        await backends.last.say(result(work, "done"))
        async with client.getting(first.id) as resumed:
            rest = await resumed.rest()
            assert [one.get("result") for one in rest] == ([None, "done"] if primed else ["done"])


async def test_a_silent_call_can_be_resumed_from_its_priming_event() -> None:
    backends = Backends()
    async with session(backends, version="2025-11-25") as client:
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            first = await events.next()
            assert first is not None
            assert first.data == ""
        async with client.getting(first.id) as resumed:
            await backends.last.say(result(work, "done"))
            assert [one["result"] for one in await resumed.rest()] == ["done"]


async def test_a_cancelled_call_cannot_be_resumed() -> None:
    backends = Backends()
    async with session(backends) as client:
        async with client.posting(request(1, "work")) as events:
            await backends.last.received("work")
            await backends.last.say(message.request(1, "roots/list"))
            event = await events.next()
            assert event is not None
            await client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
            assert await events.next() is None
        await backends.last.received("notifications/cancelled")
        async with client.getting(event.id) as resumed:
            assert resumed.response.status_code == 400


# --- idle sessions, slow clients -------------------------------------------------------------------------------------


async def test_an_idle_session_expires_but_not_while_a_call_runs_or_a_get_is_open() -> None:
    backends = Backends()
    idle = QUICK._replace(limits=Limits(session_idle=0.6))
    async with session(backends, idle) as calling:
        listening, quiet = (McpClient(calling.http, calling.url) for _ in range(2))
        await listening.start()
        await quiet.start()
        async with calling.posting(request(1, "work")) as events, listening.getting() as standing:
            await within(backends.links[2].closed.wait())
            await asyncio.sleep(0.9)
            assert (await quiet.post(request(1, "ping"))).status_code == 404
            work = await backends.links[0].received("work")
            await backends.links[0].say(result(work, 1))
            assert (await events.message())["result"] == 1
            await backends.links[1].say(message.notification("notifications/x"))
            assert (await standing.message())["method"] == "notifications/x"


async def test_a_client_that_went_away_during_a_call_does_not_make_the_session_expire() -> None:
    backends = Backends()
    async with session(backends, QUICK._replace(limits=Limits(session_idle=0.4))) as client:
        async with client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            assert events.response.status_code == 200
        await asyncio.sleep(0.8)
        assert not backends.last.closed.is_set()
        await backends.last.say(result(work, 1))
        await within(backends.last.closed.wait())


async def test_a_client_that_goes_away_before_it_knows_its_session_leaves_none_behind() -> None:
    backends = Backends()
    async with bare(backends) as client:

        def mute(peer: Any) -> ScriptedLink:
            link = ScriptedLink(peer)
            link.reply = lambda _: None
            return link

        backends._make = mute
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(client.post(initialize()))
            await eventually(lambda: bool(backends.links))
            await backends.last.received("initialize")
            posting.cancel()
        await within(backends.last.closed.wait())


async def test_a_client_that_does_not_read_holds_the_server_back_and_is_dropped_in_the_end() -> None:
    backends = Backends()
    settings = QUICK._replace(timing=QUICK.timing._replace(stalled_write=0.5))
    async with session(backends, settings) as client, client.getting():
        big = "x" * 200_000
        sent = 0
        async with asyncio.timeout(20):
            for number in range(200):
                await backends.last.say(message.notification("notifications/n", {"n": number, "big": big}))
                sent += 1
        assert sent == 200  # 40 MB, more than any buffer on the way takes
        assert (await client.post(request(1, "ping"))).status_code == 200
        async with client.getting() as again:
            assert again.response.status_code == 200  # the first one was dropped


# --- without sessions ------------------------------------------------------------------------------------------------

STATELESS = QUICK._replace(stateless=True)


async def test_without_sessions_every_post_stands_alone() -> None:
    backends = Backends()
    async with bare(backends, STATELESS) as client:
        response = await client.post(initialize())
        assert response.status_code == 200
        assert "Mcp-Session-Id" not in response.headers
        assert (await client.post(request(1, "ping"))).json()["result"] == {}
        assert (await client.post(request(1, "ping"), Mcp_Session_Id="whatever")).status_code == 200
        assert (await client.post(NOTE)).status_code == 202
        assert [link.peer.session_id for link in backends.links] == [None] * 4
        for link in backends.links:
            await within(link.closed.wait())
        await backends.last.received("notifications/thing")


async def test_without_sessions_get_and_delete_are_405() -> None:
    async with bare(settings=STATELESS) as client:
        for method in ("GET", "DELETE"):
            response = await client.http.request(method, client.url, headers={"Accept": "text/event-stream"})
            assert (response.status_code, response.headers["Allow"]) == (405, "POST")


async def test_without_sessions_a_question_of_the_server_is_refused_and_the_call_goes_on() -> None:
    backends = Backends()
    async with bare(backends, STATELESS) as client, asyncio.TaskGroup() as group:
        posting = group.create_task(client.post(request(1, "work")))
        await eventually(lambda: bool(backends.links))
        work = await backends.last.received("work")
        await backends.last.say(message.request(1, "sampling/createMessage"))
        refusal = await backends.last.received(None)
        assert refusal.doc["error"]["code"] == -32601
        await backends.last.say(result(work, "done"))
        assert (await posting).json()["result"] == "done"


async def test_without_sessions_progress_comes_on_the_stream_without_event_ids() -> None:
    backends = Backends()
    async with (
        bare(backends, STATELESS) as client,
        client.posting(request(1, "work", _meta={"progressToken": "p"})) as events,
    ):
        work = await backends.last.received("work")
        await backends.last.say(progress("p", 1))
        event = await events.next()
        assert event is not None
        assert event.id is None
        await backends.last.say(result(work, "done"))
        assert (await events.message())["result"] == "done"


async def test_without_sessions_a_call_goes_on_when_its_client_leaves() -> None:
    backends = Backends()
    async with bare(backends, STATELESS) as client:
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(client.post(request(1, "work")))
            await eventually(lambda: bool(backends.links))
            work = await backends.last.received("work")
            posting.cancel()
        await asyncio.sleep(0.1)
        assert not backends.last.closed.is_set()
        await backends.last.say(result(work, "done"))
        await within(backends.last.closed.wait())


async def test_a_post_to_sse_is_streamable_http_at_once() -> None:
    async with bare() as client:
        client.url = client.url.replace("/mcp", "/sse")
        response = await client.start()
        assert response.json()["result"]["protocolVersion"] == "2025-06-18"
        assert (await client.post(request(1, "ping"))).json()["result"] == {}
        async with client.getting() as standing:
            assert standing.response.status_code == 200
        assert (await client.delete()).status_code == 204


async def test_curl_without_accept_gets_json() -> None:
    """Seed 000: `curl -i URL -H 'Content-Type: application/json' --data '{...}'`."""
    async with bare() as client:
        for accept in ({"Accept": "*/*"}, {}):
            posting = client.http.build_request("POST", client.url, json=initialize("1"), headers={**JSON, **accept})
            if not accept:
                del posting.headers["Accept"]
            response = await client.http.send(posting)
            assert response.headers["Content-Type"] == "application/json"
            assert "Mcp-Session-Id" in response.headers
            assert response.json()["id"] == "1"
