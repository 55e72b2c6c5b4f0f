"""Each way in which a server or the network can fail, met by the real bridge: one answer, with its cause and a hint.

After each failure the same bridge carries the next call: a failure of the remote never ends the process. What the
bridge waits for instead, and what it does in the server's place, is in test_resilience; here that is switched off
(`AT_ONCE`).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import WSMsgType, web

from tests.support.host import Host, clean_environment, launch
from tests.support.scripted_server import Peer, ScriptedServer, Seen, closed_port, head_of

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
GREETING = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "0"}}
AT_ONCE = ("--greet-after", "off")
"""Trouble with `initialize` is told at once, also where it might pass."""
Deed = Callable[[Seen, Peer], Awaitable[None]]


def server_that(deed: Deed) -> ScriptedServer:
    """A good server, but for what it does at `tools/call`."""

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405 if seen.method == "GET" else 200)
        elif seen.doc.get("method") == "tools/call":
            await deed(seen, peer)
        elif seen.doc.get("method") == "initialize":
            await peer.result(seen, GREETING)
        elif "id" in seen.doc:
            await peer.result(seen)
        else:
            await peer.answer(202)

    return ScriptedServer(script)


def answer_to(seen: Seen) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": seen.id, "result": {"fine": True}}).encode()


async def resets_before_the_head(seen: Seen, peer: Peer) -> None:
    await peer.reset()


async def closes_without_a_word(seen: Seen, peer: Peer) -> None:
    await peer.hang_up()


async def resets_within_the_head(seen: Seen, peer: Peer) -> None:
    await peer.raw(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await peer.reset()


async def truncates_the_body(seen: Seen, peer: Peer) -> None:
    await peer.answer(200, answer_to(seen)[:20], "application/json", length=500)
    await peer.hang_up()


async def half_closes_within_the_body(seen: Seen, peer: Peer) -> None:
    await peer.answer(200, answer_to(seen)[:20], "application/json", length=500)
    await peer.half_close()
    await peer.gone()


async def truncates_a_chunk(seen: Seen, peer: Peer) -> None:
    await peer.raw(head_of(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
    await peer.raw(b"400\r\n" + answer_to(seen))
    await peer.hang_up()


async def ends_the_stream_early(seen: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})


async def resets_the_stream(seen: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
    await peer.reset()


async def cuts_the_last_event_off(seen: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.chunk(b"data: " + answer_to(seen) + b"\n")


async def sends_a_web_page(seen: Seen, peer: Peer) -> None:
    await peer.answer(200, b"<html><script>alert(1)</script>", "text/html; charset=utf-8")


async def sends_something_that_is_no_json(seen: Seen, peer: Peer) -> None:
    await peer.answer(200, b'{"jsonrpc": "2.0", "id": ', "application/json")


async def sends_no_json_in_an_event(seen: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.event(b"hello")


async def sends_an_array_of_numbers(seen: Seen, peer: Peer) -> None:
    await peer.json([1, 2])


async def answers_under_a_wrong_id(seen: Seen, peer: Peer) -> None:
    await peer.json({"jsonrpc": "2.0", "id": "somebody else", "result": {}})


async def answers_under_a_wrong_id_on_a_stream(seen: Seen, peer: Peer) -> None:
    await peer.events()
    await peer.event({"jsonrpc": "2.0", "id": 4711, "result": {}})


async def accepts_without_answering(seen: Seen, peer: Peer) -> None:
    await peer.answer(202)


async def is_no_http(seen: Seen, peer: Peer) -> None:
    await peer.raw(b"220 mail.example.com ESMTP\r\n\r\n")
    await peer.hang_up()


async def lies_about_gzip(seen: Seen, peer: Peer) -> None:
    await peer.answer(200, b"not gzip at all", "application/json", headers={"Content-Encoding": "gzip"})


def status(code: int, body: bytes = b"", content_type: str | None = None, **headers: str) -> Deed:
    async def deed(seen: Seen, peer: Peer) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        await peer.answer(code, body, content_type, headers=given)

    deed.__name__ = f"status_{code}_{len(body)}"
    return deed


FAILURES: list[tuple[Deed, int, bool]] = [
    (resets_before_the_head, -31003, True),
    (closes_without_a_word, -31003, True),
    (resets_within_the_head, -31003, True),
    (truncates_the_body, -31003, True),
    (half_closes_within_the_body, -31003, True),
    (truncates_a_chunk, -31003, True),
    (ends_the_stream_early, -31003, True),
    (resets_the_stream, -31003, True),
    (cuts_the_last_event_off, -31003, True),
    (lies_about_gzip, -31003, True),
    (sends_a_web_page, -31008, True),
    (sends_something_that_is_no_json, -31008, True),
    (sends_no_json_in_an_event, -31008, True),
    (sends_an_array_of_numbers, -31008, True),
    (answers_under_a_wrong_id, -31008, True),
    (answers_under_a_wrong_id_on_a_stream, -31008, True),
    (accepts_without_answering, -31008, True),
    (is_no_http, -31008, True),
    (status(401, WWW_Authenticate="Bearer"), -31005, False),
    (status(403), -31006, False),
    (status(403, WWW_Authenticate='Bearer error="insufficient_scope", scope="a b"'), -31005, False),
    (status(400, b"<html>no</html>", "text/html"), -31006, False),
    (status(429, Retry_After="70"), -31006, False),
    (status(500, b"<html>Traceback secret-inside</html>", "text/html"), -31006, True),
    (status(502), -31006, True),
    (status(503), -31006, True),  # without Retry-After nothing proves that the gateway did not pass it on
    (status(503, Retry_After="70"), -31006, False),
    (status(307, Location="http://127.0.0.1:1/elsewhere?token=x"), -31006, False),
]


async def one_answer(host: Host, call: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        error: dict[str, Any] = (await call)["error"]
    answers = [json.loads(line) for line in host.heard]
    assert sum(answer.get("id") == 2 for answer in answers) == 1
    assert error["data"]["source"] == "mcp-remote-py"
    assert error["data"]["hint"]
    assert "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize(("deed", "code", "may_have_run"), FAILURES, ids=[failure[0].__name__ for failure in FAILURES])
async def test_a_failure_is_answered_once_and_the_bridge_goes_on(deed: Deed, code: int, may_have_run: bool) -> None:
    async with server_that(deed) as server, launch(server.url, "--http-only") as host:
        await host.greet()
        error = await one_answer(host, host.ask("tools/call", {"name": "x"}))
        assert (error["code"], error["data"]["may_have_run"]) == (code, may_have_run), error
        assert "127.0.0.1" in error["message"], "the error says who it was"
        assert "result" in await host.request("ping")
        assert sum(seen.doc.get("method") == "tools/call" for seen in server.of("POST")) == 1, "no call is repeated"
        assert await host.end() == 0


async def test_an_error_that_the_server_wrote_passes_byte_for_byte_whatever_the_status() -> None:
    async def deed(seen: Seen, peer: Peer) -> None:
        body = (
            b'{"error": {"code":-32602,"data":{"n":1.00,"z":[1e5]},"message":"no"}, "id": null, "jsonrpc":"2.0", "x":0}'
        )
        await peer.json(body, status=400)

    async with server_that(deed) as server, launch(server.url) as host:
        await host.greet()
        await host.request("tools/call", {"name": "x"})
        assert host.heard[-1] == (
            b'{"error": {"code":-32602,"data":{"n":1.00,"z":[1e5]},"message":"no"}, "id": 2, "jsonrpc":"2.0", "x":0}\n'
        )


async def test_a_doubled_answer_is_passed_once() -> None:
    async def deed(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(answer_to(seen))
        await peer.event(answer_to(seen))

    async with server_that(deed) as server, launch(server.url) as host:
        await host.greet()
        assert (await host.request("tools/call", {"name": "x"}))["result"] == {"fine": True}
        await host.request("ping")
        assert [json.loads(line)["id"] for line in host.heard] == [1, 2, 3]


@pytest.mark.parametrize("way", ["--http-only", "--sse-only", "--ws-only"])
async def test_nobody_listens(way: str) -> None:
    async with launch(f"http://127.0.0.1:{closed_port()}/mcp", way, *AT_ONCE) as host:
        for _ in range(2):
            answer = await host.request("initialize", {"protocolVersion": "2025-06-18"})
            assert answer["error"]["code"] == -31001
            assert "refused" in answer["error"]["message"]
            assert answer["error"]["data"]["may_have_run"] is False
        assert await host.end() == 0


@pytest.mark.parametrize("way", ["--http-only", "--sse-only", "--ws-only"])
async def test_a_name_that_does_not_exist(way: str) -> None:
    async with launch("https://no-such-host.invalid/mcp", way, *AT_ONCE) as host:
        error = (await host.request("initialize"))["error"]
        assert error["code"] == -31001
        assert "no-such-host.invalid" in error["message"]
        assert await host.end() == 0


@pytest.mark.parametrize("way", ["--sse-only", "--ws-only"])
async def test_a_server_that_accepts_and_stays_silent_is_not_waited_for_for_ever(way: str) -> None:
    async def silent(peer: Peer) -> None:
        await peer.silence()

    arguments = (way, "--connect-timeout", "300ms", *AT_ONCE)
    async with ScriptedServer(raw=silent) as server, launch(server.url, *arguments) as host:
        error = (await host.request("initialize"))["error"]
        assert error["code"] == -31002
        assert "--connect-timeout" in error["data"]["hint"]


async def test_the_whole_request_is_bounded_when_asked_for_and_the_server_is_told() -> None:
    async def deed(seen: Seen, peer: Peer) -> None:
        await peer.silence()

    async with server_that(deed) as server, launch(server.url, "--timeout", "3s") as host:
        assert "result" in await host.greet()
        error = await one_answer(host, host.ask("tools/call", {"name": "x"}))
        assert (error["code"], error["data"]["may_have_run"]) == (-31002, True)
        assert "--timeout" in error["data"]["hint"]
        cancel = (await server.until(4))[-1].doc
        assert (cancel["method"], cancel["params"]["requestId"]) == ("notifications/cancelled", 2)


async def test_a_refused_certificate_and_one_that_a_bundle_makes_good(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    root = tmp_path / "my root.pem"
    authority.cert_pem.write_to_path(str(root))

    async def script(seen: Seen, peer: Peer) -> None:
        await peer.result(seen, GREETING) if seen.method == "POST" and "id" in seen.doc else await peer.answer(202)

    async with ScriptedServer(script, context=context) as server:
        async with launch(server.url) as host:
            error = (await host.request("initialize"))["error"]
            assert (error["code"], error["data"]["name"]) == (-31001, "TlsRefused")
            assert "--ca-bundle" in error["data"]["hint"]
            assert not server.seen
        async with launch(server.url, "--ca-bundle", str(root)) as host:
            assert "result" in await host.greet()
        async with launch(server.url, env=clean_environment(NODE_EXTRA_CA_CERTS=str(root))) as host:
            assert "result" in await host.greet()


async def test_a_bundle_that_is_not_there_ends_with_exit_code_2(tmp_path: Path) -> None:
    async with launch("https://127.0.0.1/", "--ca-bundle", str(tmp_path / "none.pem")) as host:
        assert await host.end() == 2
        assert b"none.pem" in host.log


async def test_secrets_stay_out_of_errors_and_logs_at_the_most_talkative_level() -> None:
    async def deed(seen: Seen, peer: Peer) -> None:
        await peer.answer(401, headers={"WWW-Authenticate": f'Bearer error="{seen.header("Authorization")}"'})

    env = clean_environment(MCP_AUTH_TOKEN="tok-ABCDEF-123", KEY="key-GHIJKL-456")
    async with server_that(deed) as server:
        url = server.url + "?api_key=query-MNOPQR-789"
        async with launch(url, "--debug", "--header", "X-Key: ${KEY}", env=env) as host:
            await host.greet()
            await host.request("tools/call", {"name": "x"})
            await host.end()
            assert server.of("POST")[0].header("Authorization") == "Bearer tok-ABCDEF-123"
            assert server.of("POST")[0].header("X-Key") == "key-GHIJKL-456"
            for secret in (b"tok-ABCDEF", b"key-GHIJKL", b"query-MNOPQR"):
                assert secret not in host.log
                assert secret not in b"".join(host.heard)


# --- The optional stream, and falling back -------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 404, 405, 406, 409, 500, 501, 200])
async def test_a_refused_get_is_not_an_error(code: int) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.answer(code, b"no stream", "text/plain")
        elif seen.method == "POST" and "id" in seen.doc:
            session = {"Mcp-Session-Id": "s1"} if seen.doc["method"] == "initialize" else None
            await peer.result(seen, GREETING, headers=session)
        else:
            await peer.answer(202)

    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        await server.until(1, "GET")
        assert "result" in await host.request("tools/list")
        assert [seen.doc["method"] for seen in server.of("POST")].count("initialize") == 1
        assert b"error" not in host.log


@pytest.mark.parametrize("code", [400, 404, 405])
async def test_a_server_of_the_old_wire_is_found_by_the_first_post_alone(code: int) -> None:
    outbox: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.events()
            await peer.event(b"/messages?session=1", event="endpoint")
            while True:
                await peer.event(await outbox.get(), event="message")
        elif seen.target == "/mcp":
            await peer.answer(code, b"Cannot POST", "text/plain")
        else:
            await peer.answer(202, b"Accepted")
            if "id" in seen.doc:
                outbox.put_nowait(json.dumps({"jsonrpc": "2.0", "id": seen.id, "result": GREETING}).encode())

    async with ScriptedServer(script) as server, launch(server.url) as host:
        await host.greet()
        assert "result" in await host.request("tools/list")
        assert [(seen.method, seen.target) for seen in server.seen[:3]] == [
            ("POST", "/mcp"),
            ("GET", "/mcp"),
            ("POST", "/messages?session=1"),
        ]
        assert await host.end() == 0


@pytest.mark.parametrize("deed", [status(403), status(500), status(503)], ids=lambda deed: deed.__name__)
async def test_nothing_else_falls_back(deed: Deed) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        await deed(seen, peer)

    async with ScriptedServer(script) as server, launch(server.url, *AT_ONCE) as host:
        assert (await host.request("initialize"))["error"]["data"]["http_status"] == int(deed.__name__.split("_")[1])
        assert [seen.method for seen in server.seen] == ["POST"]


async def test_a_401_of_a_server_that_offers_no_sign_in_asks_for_a_token_and_falls_back_to_nothing() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        await peer.answer(401 if seen.target == "/mcp" else 404)

    async with ScriptedServer(script) as server, launch(server.url, *AT_ONCE) as host:
        error = (await host.request("initialize"))["error"]
        assert error["data"]["http_status"] == 401
        assert "says nothing about how one signs in" in error["message"]
        assert "MCP_AUTH_TOKEN" in error["data"]["hint"]
        assert [seen.method for seen in server.seen if seen.target == "/mcp"] == ["POST"]


async def test_when_no_wire_fits_the_first_failure_is_reported() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        await peer.answer(404 if seen.method == "POST" else 405)

    async with ScriptedServer(script) as server, launch(server.url) as host:
        assert (await host.request("initialize"))["error"]["data"]["http_status"] == 404
        assert [seen.method for seen in server.seen] == ["POST", "GET"]


async def test_an_endpoint_on_another_server_is_refused() -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.event(b"http://127.0.0.2:9/steal", event="endpoint")
        await peer.gone()

    async with ScriptedServer(script) as server, launch(server.url, "--sse-only") as host:
        error = (await host.request("initialize"))["error"]
        assert error["code"] == -31008
        assert "127.0.0.2" in error["message"]
        assert len(server.seen) == 1


# --- WebSocket -----------------------------------------------------------------------------------------------------

Talk = Callable[[web.WebSocketResponse], Awaitable[None]]


async def over_websocket(
    talk: Talk, *arguments: str, env: dict[str, str] | None = None
) -> tuple[dict[str, Any], bytes]:
    """Run a WebSocket server that does this after the upgrade; return the answer to `initialize`, and the log."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        await talk(socket)
        return socket

    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with launch(f"ws://127.0.0.1:{runner.addresses[0][1]}/ws", *arguments, env=env) as host:
            answer = await host.request("initialize", {"protocolVersion": "2025-06-18"})
            await host.end()
            return answer, host.log
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("code", "expected"), [(4001, -31005), (4002, -31005), (1008, -31005), (1011, -31003)])
async def test_what_a_close_before_the_first_answer_means(code: int, expected: int) -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.close(code=code, message=b"because \x1b[31m")

    error = (await over_websocket(talk, *AT_ONCE))[0]["error"]
    assert error["code"] == expected
    assert "because" in error["message"]
    assert "\x1b" not in error["message"]


async def test_a_server_that_says_goodbye_and_keeps_the_connection_open_is_not_waited_for() -> None:
    async def upgrade_and_close(peer: Peer) -> None:
        seen = await peer.request()
        assert seen is not None
        key = seen.header("Sec-WebSocket-Key") or ""
        accept = base64.b64encode(hashlib.sha1((key + WEBSOCKET_GUID).encode()).digest()).decode()  # noqa: S324
        head = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        await peer.raw(head_of(101, head))
        await peer.reader.read(100)
        await peer.raw(b"\x88\x02\x03\xe8")  # a Close frame, code 1000
        await peer.silence()

    async with ScriptedServer(raw=upgrade_and_close) as server, launch(server.url, "--ws-only", *AT_ONCE) as host:
        error = (await host.request("initialize"))["error"]
        assert error["code"] == -31003


async def test_the_token_may_go_as_the_first_message() -> None:
    first: list[str] = []

    async def talk(socket: web.WebSocketResponse) -> None:
        first.append((await socket.receive()).data)
        message = json.loads((await socket.receive()).data)
        await socket.send_json({"jsonrpc": "2.0", "id": message["id"], "result": GREETING})
        async for frame in socket:
            assert frame.type is WSMsgType.TEXT

    answer, log = await over_websocket(talk, "--ws-auth", "message", env=clean_environment(MCP_AUTH_TOKEN="tok-123456"))
    assert "result" in answer
    assert json.loads(first[0]) == {"token": "tok-123456"}
    assert b"tok-123456" not in log


async def test_frames_that_are_no_messages_change_nothing_and_large_ones_pass() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        message = json.loads((await socket.receive()).data)
        await socket.send_str("no json")
        await socket.send_json({"jsonrpc": "2.0", "id": message["id"], "result": {"x": "y" * 8_000_000}})
        await socket.receive()

    answer, log = await over_websocket(talk)
    assert len(answer["result"]["x"]) == 8_000_000
    assert b"warning" in log


async def test_a_frame_over_the_limit_names_the_flag() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        message = json.loads((await socket.receive()).data)
        await socket.send_json({"jsonrpc": "2.0", "id": message["id"], "result": {"x": "y" * 100_000}})
        await socket.receive()

    error = (await over_websocket(talk, "--max-message-size", "64KiB"))[0]["error"]
    assert error["code"] == -31007
    assert "--max-message-size" in error["data"]["hint"]
