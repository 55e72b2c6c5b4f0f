"""A member that is a remote server: one pipe for the front, whatever the wire; the right words for operators."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_remote_py.core.errors import BackendDown, Fault, Interrupted, SessionLost, SignInNeeded, TlsRefused
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Message, notification, parse_one, request
from server_stub.backends.remote import remote_link
from server_stub.core.roster import Remote
from tests.server_stub.links import Backends, eventually, serving, within
from tests.support.certificates import authority, server_context
from tests.support.every_wire import HANG_UP, every_wire
from tests.support.far_ends import HttpFarEnd, SseFarEnd, websocket_far_end
from tests.support.link_contract import Bench, FarEnd, LinkContract, Outcome, Running, running
from tests.support.scripted_server import Peer, ScriptedServer, Seen

INITIALIZE = request(0, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
INITIALIZED = notification("notifications/initialized")
NEWS = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
SECRET = "the-token-of-this-member"
ACCEPT = {"Accept": "application/json, text/event-stream"}
ENVIRONMENT: dict[str, str] = {}


def bench(remote: Remote, far: Any = None, learnt: list[str] | None = None) -> Bench:
    """Return the link to this server, which learns secrets into `learnt` and has no environment."""
    learn = (lambda _: None) if learnt is None else learnt.append
    return Bench(remote_link(remote, learn=learn, name="weather", environ=ENVIRONMENT), far)


def _bench(wire: Any, url: str, far: FarEnd) -> Bench:
    return bench(Remote(url, wire), far)


# --- The contract ----------------------------------------------------------------------------------------------------


class TestStreamableHttp(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = HttpFarEnd()
        async with far.server:
            yield _bench("http", far.server.url, far)

    async def test_what_the_server_says_on_its_own_is_delivered_without_an_exchange(self, bench: Bench) -> None:
        async with running(bench) as run:
            await run.link.send(INITIALIZED)  # before it, no server may speak on its own
            await run.far.say(NEWS)
            ((message, exchange),) = await run.delivered.until(1)
            assert (message.raw, exchange) == (NEWS, None)

    async def test_what_is_no_message_is_passed_over(self, bench: Bench) -> None:
        async with running(bench) as run:
            await run.link.send(INITIALIZED)
            await run.far.say(b"{not json")
            await run.far.say(b"[" + NEWS + b"," + NEWS + b"]")
            await run.delivered.until(2)
            assert run.delivered.raws == [NEWS, NEWS]

    async def test_a_server_that_vanishes_is_a_fault_and_the_call_may_have_run(self, bench: Bench) -> None:
        async with running(bench) as run:
            assert await run.send(request(1, "tools/call")).settle() is None
            await run.far.received(1)
            await run.far.vanish()
            ((answer, _),) = await run.delivered.until(1)
            error = json.loads(answer.raw)["error"]
            assert (answer.id, error["data"]["name"], error["data"]["may_have_run"]) == (1, "Interrupted", True)
            assert error["message"].startswith("weather: ")


class TestHttpSse(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = SseFarEnd()
        async with far.server:
            yield _bench("sse", far.server.url, far)


class TestWebSocket(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with websocket_far_end() as far:
            yield _bench("ws", far.url.replace("ws:", "http:"), far)  # the wire says what the scheme shall be


# --- Which wire ------------------------------------------------------------------------------------------------------


async def greeted(run: Running) -> Message:
    """Shake hands, and return the answer to `initialize`."""
    at = len(run.delivered.items)
    await within(run.link.send(INITIALIZE))
    answer, _ = (await run.delivered.until(at + 1))[at]
    await within(run.link.send(INITIALIZED))
    return answer


@pytest.mark.parametrize(
    ("wire", "scheme", "path", "spoken"),
    [
        ("auto", "http", "/mcp", ["POST /mcp", "POST /mcp", "GET /mcp", "POST /mcp"]),
        ("auto", "http", "/sse", ["GET /sse", "POST /messages", "POST /messages", "POST /messages"]),
        ("auto", "ws", "/ws", ["GET /ws"]),
        ("http", "http", "/mcp", ["POST /mcp", "POST /mcp", "GET /mcp", "POST /mcp"]),
        ("sse", "http", "/sse", ["GET /sse", "POST /messages", "POST /messages", "POST /messages"]),
        ("ws", "http", "/ws", ["GET /ws"]),
    ],
)
async def test_each_wire_carries_a_session_with_the_members_headers(
    wire: Any, scheme: str, path: str, spoken: list[str]
) -> None:
    async with every_wire() as server:
        remote = Remote(server.url(scheme, path), wire, (("Authorization", f"Bearer {SECRET}"),))
        async with running(bench(remote)) as run:
            assert (await greeted(run)).result["serverInfo"]["name"] == "every wire"
            await within(run.link.send(request("a", "tools/list")))
            await run.delivered.until(2)
            assert [f"{method} {path}" for method, path, _ in server.seen if method != "DELETE"] in (
                spoken,
                [*spoken[:2], *spoken[:1:-1]],  # the standing stream may come after the call
            )
            assert set(server.headers("Authorization")) == {f"Bearer {SECRET}"}


class Choosy:
    """A server of HTTP+SSE alone, at whose address a POST is refused with `status`; and one of POST alone."""

    def __init__(self, status: int, *, speaks: str) -> None:
        self.status = status
        self.speaks = speaks
        self.stream: Peer | None = None
        self.server = ScriptedServer(self._script)

    async def _script(self, seen: Seen, peer: Peer) -> None:
        if self.speaks == "sse":
            await self._sse(seen, peer)
        elif seen.method == "POST" and "id" in seen.doc:
            await peer.result(seen, {"protocolVersion": "2025-06-18", "wire": "http"})
        else:
            await peer.answer(202 if seen.method == "POST" else self.status)

    async def _sse(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            self.stream = peer
            await peer.events()
            await peer.event(b"/messages?session=1", event="endpoint")
            await peer.silence()
        elif seen.target.startswith("/messages"):
            await peer.answer(202)
            if "id" in seen.doc and self.stream is not None:
                answer = {"jsonrpc": "2.0", "id": seen.id, "result": {"protocolVersion": "2025-06-18", "wire": "sse"}}
                await self.stream.event(json.dumps(answer).encode())
        else:
            await peer.answer(self.status)


@pytest.mark.parametrize(
    ("path", "status", "speaks"),
    [("/", 405, "sse"), ("/", 404, "sse"), ("/", 400, "sse"), ("/sse", 405, "http"), ("/sse", 404, "http")],
)
async def test_auto_finds_the_wire_that_is_not_the_first(path: str, status: int, speaks: str) -> None:
    choosy = Choosy(status, speaks=speaks)
    async with choosy.server as server, running(bench(Remote(server.url.rsplit("/", 1)[0] + path))) as run:
        assert (await greeted(run)).result["wire"] == speaks
        await within(run.link.send(request("a", "tools/list")))
        assert (await run.delivered.until(2))[1][0].id == "a"


async def test_a_handshake_that_comes_back_goes_no_further() -> None:
    came: list[Message] = []

    async def far(seen: Seen, peer: Peer) -> None:
        if "id" in seen.doc:
            came.append(parse_one(seen.body))
        await peer.result(seen, {"protocolVersion": "2025-06-18"})

    async with ScriptedServer(far) as server:
        async with running(bench(Remote(server.url, "http"))) as run:
            await within(run.link.send(INITIALIZE))
        async with running(bench(Remote(server.url, "http"))) as again:
            with pytest.raises(BackendDown, match="weather leads back to this server"):
                await within(again.link.send(came[0]))
    assert len(came) == 1


async def test_where_no_wire_is_right_the_first_refusal_is_reported() -> None:
    async def nothing_here(seen: Seen, peer: Peer) -> None:
        await peer.answer(404 if seen.method == "POST" else 405)

    async with ScriptedServer(nothing_here) as server, running(bench(Remote(server.url))) as run:
        with pytest.raises(Fault) as caught:
            await within(run.link.send(INITIALIZE))
        assert caught.value.http_status == 404
        assert str(caught.value).startswith("weather: ")


async def test_a_notification_waits_until_the_wire_is_known() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()
    seen_by_server: list[Any] = []

    async def slow(seen: Seen, peer: Peer) -> None:
        if seen.method != "POST":
            await peer.answer(405)
            return
        seen_by_server.append(seen.doc["method"])
        if "id" not in seen.doc:
            await peer.answer(202)
            return
        asked.set()
        await may_answer.wait()
        await peer.result(seen, {"protocolVersion": "2025-06-18"})

    async with ScriptedServer(slow) as server, running(bench(Remote(server.url))) as run:
        first, second = run.send(INITIALIZE), run.send(notification("notifications/roots/list_changed"))
        await within(asked.wait())
        assert not second.done.is_set()
        may_answer.set()
        assert (await first.settle(), await second.settle()) == (None, None)
        assert seen_by_server == ["initialize", "notifications/roots/list_changed"]


# --- Exchanges of Streamable HTTP ------------------------------------------------------------------------------------


async def test_a_call_that_waits_holds_nothing_up() -> None:
    far = HttpFarEnd()
    async with far.server, running(_bench("http", far.server.url, far)) as run:
        for at in range(3):
            await within(run.link.send(request(at, "tools/call")))  # returns, although nothing is answered
        assert len(await far.received(3)) == 3


async def test_a_cancelled_call_is_not_read_any_more() -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def endless(seen: Seen, peer: Peer) -> None:
        if seen.method == "POST" and "id" in seen.doc:
            await peer.events()
            asked.set()
            await peer.gone()
            hung_up.set()
        else:
            await peer.answer(202)

    async with ScriptedServer(endless) as server, running(bench(Remote(server.url, "http"))) as run:
        await within(run.link.send(request("slow", "tools/call")))
        await within(asked.wait())
        await within(run.link.send(notification("notifications/cancelled", {"requestId": "slow"})))
        await within(hung_up.wait())
        assert run.delivered.items == []


async def test_an_error_without_an_id_answers_the_request_on_whose_stream_it_came() -> None:
    async def no_id(seen: Seen, peer: Peer) -> None:
        del seen
        await peer.json({"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}, 400)

    async with ScriptedServer(no_id) as server, running(bench(Remote(server.url, "http"))) as run:
        await within(run.link.send(request(5, "tools/list")))
        ((answer, _),) = await run.delivered.until(1)
        assert (answer.id, json.loads(answer.raw)["error"]["code"]) == (5, -32600)


# --- The end of the remote session -----------------------------------------------------------------------------------


async def test_a_lost_session_ends_the_link_and_names_the_member() -> None:
    async with every_wire() as server, running(bench(Remote(server.url("http", "/mcp")))) as run:
        await greeted(run)
        await within(run.link.send(request(1, HANG_UP)))
        await run.delivered.until(2)
        with contextlib.suppress(Fault):  # raised, or delivered as the answer: who asks has it either way
            await within(run.link.send(request(2, "tools/list")))
        fault = await run.listening.settle()
        assert isinstance(fault, SessionLost)
        assert str(fault).startswith("weather: ")
        assert "host" not in fault.hint
        with pytest.raises(SessionLost):
            await run.link.send(request(3, "tools/list"))


async def test_a_socket_that_closes_ends_the_link() -> None:
    async with every_wire() as server, running(bench(Remote(server.url("ws", "/ws")))) as run:
        await greeted(run)
        await within(run.link.send(request(1, HANG_UP)))
        fault = await run.listening.settle()
        assert str(fault).startswith("weather: ")


async def test_an_event_stream_that_breaks_ends_the_link() -> None:
    choosy = Choosy(405, speaks="sse")
    async with choosy.server as server, running(bench(Remote(server.url, "sse"))) as run:
        await greeted(run)
        assert choosy.stream is not None
        await choosy.stream.reset()
        fault = await run.listening.settle()
        assert str(fault).startswith("weather: ")


async def test_a_standing_stream_that_is_not_offered_ends_nothing() -> None:
    refused = asyncio.Event()

    async def no_stream(seen: Seen, peer: Peer) -> None:
        if seen.method == "GET":
            await peer.answer(405)
            refused.set()
        elif seen.method == "POST" and "id" in seen.doc:
            await peer.result(seen, {"protocolVersion": "2025-06-18"})
        else:
            await peer.answer(202)

    async with ScriptedServer(no_stream) as server, running(bench(Remote(server.url))) as run:
        await greeted(run)
        await within(refused.wait())
        await within(run.link.send(request(1, "ping")))
        await run.delivered.until(2)
        assert not run.listening.done.is_set()


async def test_closing_tells_the_remote_server() -> None:
    async with every_wire() as server:
        async with running(bench(Remote(server.url("http", "/mcp")))) as run:
            await greeted(run)
        assert isinstance(run.listening.fault, Interrupted)
        assert [method for method, _, _ in server.seen][-1] == "DELETE"


# --- Words and secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [(), (("Authorization", f"Bearer {SECRET}"),)])
@pytest.mark.parametrize(("wire", "path"), [("http", "/mcp"), ("sse", "/sse"), ("ws", "/ws"), ("auto", "/mcp")])
async def test_a_401_says_which_members_headers_need_a_token(
    wire: Any, path: str, headers: tuple[tuple[str, str], ...]
) -> None:
    async def closed(seen: Seen, peer: Peer) -> None:
        del seen
        await peer.answer(401, headers={"WWW-Authenticate": 'Bearer realm="x"'})

    async with ScriptedServer(closed) as server:
        link, _ = bench(Remote(server.url.rsplit("/", 1)[0] + path, wire, headers))
        fault = await _greet_alone(link)
        assert isinstance(fault, SignInNeeded)
        assert str(fault).startswith("weather: ")
        assert "`headers`" in fault.hint
        assert "--" not in fault.in_full
        assert "MCP_AUTH_TOKEN" not in fault.in_full
        assert SECRET not in fault.in_full


async def _greet_alone(link: Any) -> Fault | None:
    """Try to shake hands; return how it failed."""

    async def ignore(_message: Message, _key: Any) -> None: ...

    listening, greeting = Outcome(), Outcome()
    try:
        await within(link.open(ignore))
        async with asyncio.TaskGroup() as group:
            group.create_task(listening.watch(link.listen()))
            await within(greeting.watch(link.send(INITIALIZE)))
            await link.close()
    except Fault as fault:
        return fault
    return greeting.fault


async def test_every_secret_is_learnt() -> None:
    learnt: list[str] = []
    async with every_wire() as server:
        remote = Remote(
            server.url("http", "/mcp?key=query-secret"),
            headers=(("Authorization", f"Bearer {SECRET}"), ("X-Api-Key", "key-of-the-api"), ("X-Short", "1")),
        )
        async with running(bench(remote, learnt=learnt)) as run:
            await greeted(run)
    assert {f"Bearer {SECRET}", SECRET, "key-of-the-api", "query-secret", "session-of-every-wire"} <= set(learnt)
    assert "1" not in learnt


async def test_headers_never_follow_a_redirect_to_another_server() -> None:
    async with every_wire() as server, every_wire() as elsewhere:
        server.redirect = (307, elsewhere.url("http", "/mcp"))
        remote = Remote(server.url("http", "/moved"), "http", (("Authorization", f"Bearer {SECRET}"),))
        async with running(bench(remote)) as run:
            with pytest.raises(Fault) as caught:
                await within(run.link.send(INITIALIZE))
        assert SECRET not in elsewhere.everything()
        assert "--allow-redirect-to" not in caught.value.in_full


async def test_the_proxy_of_the_environment_is_used_and_no_proxy_is_kept_to() -> None:
    asked: list[str] = []

    async def proxy(seen: Seen, peer: Peer) -> None:
        asked.append(seen.target)
        await peer.result(seen, {"protocolVersion": "2025-06-18"})

    async with ScriptedServer(proxy) as server:
        origin = server.url.rsplit("/", 1)[0]
        for url, environ in (
            ("http://inside.example/mcp", {"HTTP_PROXY": origin}),
            (f"{origin}/straight", {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}),
        ):
            link = remote_link(Remote(url, "http"), learn=lambda _: None, environ=environ)
            assert await _greet_alone(link) is None
    assert [target for target in asked if "inside" in target or "straight" in target] == [
        "http://inside.example/mcp",
        "/straight",
    ]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
@pytest.mark.parametrize(("scheme", "path"), [("https", "/mcp"), ("https", "/sse"), ("wss", "/ws"), ("https", "/ws")])
async def test_certificates_that_the_environment_names_are_trusted(
    variable: str, scheme: str, path: str, tmp_path: Path
) -> None:
    trusted = tmp_path / "authority.pem"
    authority().cert_pem.write_to_path(str(trusted))
    async with every_wire(server_context()) as server:
        remote = Remote(server.url(scheme, path), "ws" if path == "/ws" else "auto")
        assert await _greet_alone(_linked(remote, {variable: str(trusted)})) is None
        refused = await _greet_alone(_linked(remote, {variable: str(tmp_path / "gone.pem")}))
        assert isinstance(refused, TlsRefused)
        assert "--ca-bundle" not in refused.in_full
        assert "NODE_EXTRA_CA_CERTS" in refused.hint


def _linked(remote: Remote, environ: dict[str, str]) -> Link:
    return remote_link(remote, learn=lambda _: None, environ=environ)


# --- The real server on both sides -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("wire", "path"), [("auto", "/mcp"), ("auto", "/sse"), ("sse", "/sse"), ("ws", "/ws")])
async def test_our_own_server_stands_in_front_of_our_own_server(wire: Any, path: str) -> None:
    far = Backends()
    async with serving(far) as behind:
        remote = Remote(behind + path, wire)
        async with (
            serving(lambda _: bench(remote).link) as origin,
            httpx.AsyncClient(trust_env=False, timeout=20) as client,
        ):
            hello = json.loads(INITIALIZE.raw)
            answer = await client.post(f"{origin}/mcp", json=hello, headers=ACCEPT)
            assert answer.status_code == 200
            session = {**ACCEPT, "Mcp-Session-Id": answer.headers["Mcp-Session-Id"]}
            assert (
                await client.post(f"{origin}/mcp", json=json.loads(INITIALIZED.raw), headers=session)
            ).status_code == 202
            asked = {"jsonrpc": "2.0", "id": 7, "method": "echo", "params": {"x": 1}}
            answer = await client.post(f"{origin}/mcp", json=asked, headers=session)
            assert '"id":7' in answer.text.replace(" ", "")
            far.last.die()
            await eventually(far.last.closed.is_set)
            answer = await client.post(f"{origin}/mcp", json={**asked, "id": 8}, headers=session)
            if answer.status_code == 200:  # it was on its way when the loss was noticed: that ends the session
                answer = await client.post(f"{origin}/mcp", json={**asked, "id": 9}, headers=session)
            assert answer.status_code == 404
