"""WebSocket against real servers: the handshake, the closes, and what comes in frames."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from mcp_remote_py import __version__
from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SignInNeeded,
    TimedOut,
    TlsRefused,
    TooLarge,
    Unreachable,
)
from mcp_remote_py.core.message import Message, notification, request, result
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.credentials import Fixed
from mcp_remote_py.net.wakefulness import Told, Wakefulness
from mcp_remote_py.settings import Limits, Target, Timeouts, Tls
from mcp_remote_py.transports import doubt
from mcp_remote_py.transports.clock import Clock
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.websocket import WebSocket
from tests.support.certificates import authority, server_context, trusting
from tests.support.link_contract import Delivered
from tests.support.scripted_server import Peer, ScriptedServer, closed_port

CALL = request(2, "tools/call")
NEWS = notification("notifications/tools/list_changed")
TOKEN = "secret-token"
Handler = Callable[[ServerConnection], Awaitable[None]]


async def stay(socket: ServerConnection) -> None:
    """Take messages and say nothing."""
    async for _ in socket:
        pass


@asynccontextmanager
async def serving(handler: Handler = stay, **options: Any) -> AsyncIterator[tuple[str, Server]]:
    options.setdefault("subprotocols", [Subprotocol("mcp")])
    async with serve(handler, "127.0.0.1", 0, max_size=None, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws?tenant=1", server


def a_link(
    url: str,
    *headers: tuple[str, str],
    ws_auth: Literal["header", "message"] = "header",
    limit: int = 1 << 20,
    connect: float = 5.0,
    tls: Tls | None = None,
) -> WebSocket:
    credentials = Fixed((("Authorization", f"Bearer {TOKEN}"), *headers))
    timeouts, limits = Timeouts(connect=connect), Limits(message=limit)
    return WebSocket(Reach(Target(url, ws_auth), credentials, timeouts, tls or Tls(), limits=limits))


@asynccontextmanager
async def opened(link: WebSocket) -> AsyncIterator[Delivered]:
    delivered = Delivered()
    await link.open(delivered)
    yield delivered
    await link.close()


async def refused(link: WebSocket) -> Fault:
    with pytest.raises(Fault) as caught:
        await link.open(Delivered())
    await link.close()
    assert not caught.value.may_have_run
    return caught.value


async def listened(link: WebSocket) -> Fault:
    with pytest.raises(Fault) as caught:
        await link.listen()
    return caught.value


# --- The handshake ---------------------------------------------------------------------------------------------------


async def seen_of(link: WebSocket, server: Server) -> Request:
    async with opened(link):
        (socket,) = server.connections
        assert socket.request is not None
        return socket.request


async def test_the_upgrade_carries_sub_protocol_token_and_the_users_headers() -> None:
    given = [("X-Api-Key", "k"), ("Sec-WebSocket-Protocol", "forged"), ("Host", "evil"), ("Connection", "close")]
    async with serving() as (url, server):
        seen = await seen_of(a_link(url, *given), server)
    assert seen.path == "/ws?tenant=1"
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["X-Api-Key"] == "k"
    assert seen.headers.get_all("Sec-WebSocket-Protocol") == ["mcp"]
    assert seen.headers.get_all("Connection") == ["Upgrade"]
    assert seen.headers.get_all("Host")[0].startswith("127.0.0.1:")
    assert seen.headers.get_all("User-Agent") == [f"mcp-remote-py/{__version__}"]
    assert "Sec-WebSocket-Extensions" not in seen.headers


async def test_the_users_own_agent_name_is_used() -> None:
    async with serving() as (url, server):
        seen = await seen_of(a_link(url, ("user-agent", "mine")), server)
    assert seen.headers.get_all("User-Agent") == ["mine"]


async def test_a_server_that_selects_no_sub_protocol_is_fine() -> None:
    async with serving(subprotocols=None) as (url, _), opened(a_link(url)):
        pass


async def test_a_server_that_selects_another_sub_protocol_breaks_the_handshake() -> None:
    def select(_: ServerConnection, __: Request, response: Response) -> None:
        del response.headers["Sec-WebSocket-Protocol"]
        response.headers["Sec-WebSocket-Protocol"] = "graphql-ws"

    async with serving(process_response=select) as (url, _):
        fault = await refused(a_link(url))
    assert type(fault) is PeerBroke
    assert "sub-protocol mcp" in str(fault)


async def test_an_http_url_is_read_as_its_websocket_twin() -> None:
    async with serving() as (url, _), opened(a_link(url.replace("ws://", "http://"))):
        pass


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    async with serving() as (url, _), opened(a_link(url)):
        pass


async def test_the_token_may_go_as_the_first_message_and_then_not_in_the_header() -> None:
    first: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()

    async def handler(socket: ServerConnection) -> None:
        first.set_result(await socket.recv())
        await stay(socket)

    async with serving(handler) as (url, server):
        link = a_link(url, ("X-Api-Key", "k"), ws_auth="message")
        async with opened(link):
            assert json.loads(await first) == {"token": TOKEN}
            (socket,) = server.connections
            assert socket.request is not None
            assert "Authorization" not in socket.request.headers
            assert socket.request.headers["X-Api-Key"] == "k"


def answering(status: int, **headers: str) -> Any:
    def answer(socket: ServerConnection, _: Request) -> Response:
        response = socket.respond(HTTPStatus(status), "secret page\n")
        for name, value in headers.items():
            response.headers[name.replace("_", "-")] = value
        return response

    return answer


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SignInNeeded),
        (403, Refused),
        (404, Refused),
        (426, Refused),
        (500, Refused),
        (503, Refused),
        (200, Refused),
    ],
)
async def test_a_refused_upgrade_says_what_its_status_means(status: int, kind: type[Fault]) -> None:
    async with serving(process_request=answering(status)) as (url, _):
        fault = await refused(a_link(url))
    assert type(fault) is kind
    assert fault.http_status == status
    assert "secret" not in f"{fault}{fault.hint}"


async def test_a_redirect_is_not_followed_and_the_address_is_named() -> None:
    async with serving() as (other, server):
        redirect = answering(307, Location=f"{other}&token=t")
        async with serving(process_request=redirect) as (url, _):
            fault = await refused(a_link(url))
        assert not server.connections
    assert type(fault) is Refused
    assert other.partition("?")[0] in str(fault)
    assert "token=" not in str(fault)


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    fault = await refused(a_link(f"ws://127.0.0.1:{closed_port()}/ws"))
    assert type(fault) is Unreachable
    assert "refused the connection" in str(fault)


async def test_a_server_that_says_nothing_is_left_when_the_connect_time_is_over() -> None:
    async def mute(peer: Peer) -> None:
        await peer.silence()

    async with ScriptedServer(raw=mute) as server:
        fault = await refused(a_link(f"ws://127.0.0.1:{server.port}/ws", connect=0.2))
    assert type(fault) is TimedOut
    assert "--connect-timeout" in fault.hint


@pytest.mark.parametrize("way", ["hang_up", "reset"])
async def test_a_server_that_hangs_up_during_the_handshake_is_unreachable(way: str) -> None:
    async def rude(peer: Peer) -> None:
        await peer.request()
        await getattr(peer, way)()

    async with ScriptedServer(raw=rude) as server:
        fault = await refused(a_link(f"ws://127.0.0.1:{server.port}/ws"))
    assert type(fault) is Unreachable


@pytest.mark.parametrize("head", [b"X: y\r\n" * 1000, b"X: " + b"y" * 300_000 + b"\r\n"])
async def test_a_head_without_measure_is_refused(head: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.raw(b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\n")
        await peer.silence()

    async with ScriptedServer(raw=script) as server:
        fault = await refused(a_link(server.url))
    assert type(fault) is TooLarge
    assert "headers" in str(fault)


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 101 Fine\r\n\r\n"])
async def test_a_server_that_speaks_something_else_breaks_the_handshake(garbage: bytes) -> None:
    async def other(peer: Peer) -> None:
        await peer.request()
        await peer.raw(garbage)
        await peer.gone()

    async with ScriptedServer(raw=other) as server:
        assert type(await refused(a_link(f"ws://127.0.0.1:{server.port}/ws"))) is PeerBroke


async def test_wss_is_verified_and_a_bundle_adds_to_what_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "company root.pem"
    authority().cert_pem.write_to_path(str(path))
    async with serving(ssl=server_context()) as (url, _):
        secure = url.replace("ws://", "wss://")
        fault = await refused(a_link(secure))
        async with opened(a_link(secure, tls=trusting(path))):
            pass
        async with opened(a_link(url.replace("ws://", "https://"), tls=trusting(path))):
            pass
    assert type(fault) is TlsRefused
    assert "the certificate of 127.0.0.1" in str(fault)
    assert "tests" in str(fault)


# --- Frames ----------------------------------------------------------------------------------------------------------


async def test_a_message_is_one_text_frame() -> None:
    frames = asyncio.Queue[Any]()

    async def handler(socket: ServerConnection) -> None:
        async for frame in socket:
            frames.put_nowait(frame)

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link):
            await link.send(CALL)
            await link.send(NEWS)
            assert [await frames.get(), await frames.get()] == [CALL.raw.decode(), NEWS.raw.decode()]


async def test_text_binary_fragments_and_arrays_are_read_and_rubbish_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    text = NEWS.raw.decode()

    async def handler(socket: ServerConnection) -> None:
        await socket.send("{not json, with-a-secret")
        await socket.send(b"\xff\xfe")
        await socket.send("")
        await socket.send(text)
        await socket.send(NEWS.raw)
        await socket.send([text[:10], text[10:]])
        await socket.send(f"[{text},{text}]")
        await stay(socket)

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link) as delivered, asyncio.TaskGroup() as group:
            task = group.create_task(link.listen())
            await delivered.until(5)
            assert delivered.raws == [NEWS.raw] * 5
            task.cancel()
    assert caplog.text.count("no JSON-RPC message") == 3
    assert "with-a-secret" not in caplog.text


async def test_a_message_as_large_as_the_limit_passes_and_a_larger_one_names_the_option() -> None:
    filling = 100_000
    exact = result(1, "x" * filling)
    limit = len(exact.raw)

    async def handler(socket: ServerConnection) -> None:
        await socket.send(exact.raw, text=True)
        await socket.recv()
        await socket.send(result(2, "x" * (filling + 5000)).raw, text=True)
        await stay(socket)

    async with serving(handler) as (url, _):
        link = a_link(url, limit=limit)
        async with opened(link) as delivered, asyncio.TaskGroup() as group:
            over = group.create_task(listened(link))
            await delivered.until(1)
            await link.send(CALL)
            fault = await over
    assert type(fault) is TooLarge
    assert "--max-message-size" in fault.hint
    assert fault.may_have_run


async def test_a_slow_reader_slows_the_server_and_loses_nothing() -> None:
    count = 200

    async def handler(socket: ServerConnection) -> None:
        for at in range(count):
            await socket.send(result(at, "x" * 10_000).raw, text=True)
        await stay(socket)

    class Slow(Delivered):
        async def __call__(self, message: Message, exchange: Any) -> None:
            await asyncio.sleep(0)
            await super().__call__(message, exchange)

    async with serving(handler) as (url, _):
        link, delivered = a_link(url), Slow()
        await link.open(delivered)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(link.listen())
            await delivered.until(count)
            task.cancel()
        await link.close()
    assert [message.id for message, _ in delivered.items] == list(range(count))


# --- Whether anybody is there ----------------------------------------------------------------------------------------

SLEPT = Wake("nothing ran here for about 3600 s", is_doubtful=True)


class Sleeper(Wakefulness):
    """A machine that looks around, or sleeps, when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = asyncio.Event()

    @contextmanager
    def watching(self, told: Told) -> Iterator[None]:
        self.watched.set()
        with super().watching(told):
            yield

    def look(self, wake: Wake | None = None) -> None:
        for told in list(self._watching.values()):
            told(wake)


@asynccontextmanager
async def watched(
    handler: Handler,
) -> AsyncIterator[tuple[WebSocket, Delivered, Sleeper, Server, asyncio.Task[Fault]]]:
    """A link that is listened to."""
    async with serving(handler) as (url, server), asyncio.TaskGroup() as group:
        link, sleeper = a_link(url), Sleeper()
        link._wakefulness = sleeper
        async with opened(link) as delivered:
            task = group.create_task(listened(link))
            await sleeper.watched.wait()
            yield link, delivered, sleeper, server, task


def silently(link: WebSocket) -> None:
    """From now on nothing that comes in is heard, as if the cable were cut."""
    assert link._socket is not None
    link._socket.transport.pause_reading()


class Turned(Clock):
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = super().now()

    def now(self) -> float:
        return self.time


class Pings:
    """Counts the Ping frames that the link sends."""

    def __init__(self, link: WebSocket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        assert link._socket is not None
        send = link._socket.ping_now

        def counted() -> None:
            self.count += 1
            send()

        monkeypatch.setattr(link._socket, "ping_now", counted)


async def test_a_silent_pipe_is_pinged_and_a_missing_pong_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(stay) as (link, _, sleeper, _, task):
        pings, clock = Pings(link, monkeypatch), Turned()
        link._clock = clock
        silently(link)
        for _ in range(20):
            clock.time += 15
            sleeper.look()
        assert pings.count == 10
        assert not task.done()
        await link.send(CALL)
    assert caplog.text.count("has not answered a ping") == 1


async def test_a_pipe_with_traffic_is_not_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for _ in socket:
            await socket.send(NEWS.raw, text=True)

    async with watched(echo) as (link, delivered, sleeper, _, _):
        pings, clock = Pings(link, monkeypatch), Turned()
        link._clock = clock
        for at in range(1, 10):
            clock.time += 15
            await link.send(CALL)
            await delivered.until(at)
            sleeper.look()
        assert pings.count == 0


async def test_a_pipe_that_is_alive_after_waking_up_is_kept() -> None:
    async def echo(socket: ServerConnection) -> None:
        async for _ in socket:
            await socket.send(NEWS.raw, text=True)

    async with watched(echo) as (link, delivered, sleeper, server, task):
        sleeper.look(SLEPT)
        await link.send(CALL)
        await delivered.until(1)
        assert not task.done()
        assert len(server.connections) == 1


async def test_a_pipe_that_is_dead_after_waking_up_is_left_and_nothing_is_sent_into_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubt, "ANSWER_SECONDS", 0.2)
    async with watched(stay) as (link, _, sleeper, _, task):
        silently(link)
        sleeper.look(SLEPT)
        with pytest.raises(Interrupted) as caught:
            await link.send(CALL)
        assert not caught.value.may_have_run
        fault = await task
    assert type(fault) is Interrupted
    assert "slept or moved" in str(fault)


async def test_a_silent_pipe_is_kept_after_waking_up_while_a_call_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubt, "ANSWER_SECONDS", 0.05)
    async with watched(stay) as (link, _, sleeper, _, task):
        await link.send(CALL)
        silently(link)
        sleeper.look(SLEPT)
        await asyncio.sleep(0.3)
        assert not task.done()


# --- The end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "heard", "kind", "may_have_run"),
    [
        (4001, False, SignInNeeded, False),
        (4002, False, SignInNeeded, False),
        (4001, True, SignInNeeded, True),
        (1008, False, SignInNeeded, False),
        (1008, True, Interrupted, True),
        (1009, True, TooLarge, True),
        (1000, True, Interrupted, True),
        (1001, False, Interrupted, True),
        (1011, True, Interrupted, True),
        (4500, True, Interrupted, True),
    ],
)
async def test_a_close_code_says_why_the_connection_is_gone(
    code: int, heard: bool, kind: type[Fault], may_have_run: bool
) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send('{"status":"hello, which is no message"}')
        if heard:
            await socket.send(NEWS.raw, text=True)
        await socket.close(code, "because \x1b[31mof this")

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link):
            fault = await listened(link)
    assert type(fault) is kind
    assert fault.may_have_run is may_have_run
    assert "because \\x1b[31mof this" in str(fault)


async def test_a_connection_that_is_cut_is_an_interruption() -> None:
    async def handler(socket: ServerConnection) -> None:
        socket.transport.abort()

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link):
            fault = await listened(link)
    assert type(fault) is Interrupted
    assert fault.may_have_run


async def test_a_frame_against_the_protocol_is_the_servers_mistake() -> None:
    async def handler(socket: ServerConnection) -> None:
        socket.transport.write(b"\xff\x00")
        await stay(socket)

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link):
            assert type(await listened(link)) is PeerBroke


@pytest.mark.parametrize(("code", "kind"), [(4001, SignInNeeded), (1011, Interrupted)])
async def test_what_is_sent_after_the_server_closed_never_ran_and_says_why(code: int, kind: type[Fault]) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.close(code, "no token")

    async with serving(handler) as (url, _):
        link = a_link(url)
        async with opened(link):
            await listened(link)
            with pytest.raises(kind, match="no token") as caught:
                await link.send(CALL)
    assert not caught.value.may_have_run


async def test_the_end_is_told_to_the_server() -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def handler(socket: ServerConnection) -> None:
        await stay(socket)
        closed.set_result(socket.close_code)

    async with serving(handler) as (url, _):
        async with opened(a_link(url)):
            pass
        assert await closed == 1000


async def test_an_end_that_is_cancelled_still_cuts_the_connection() -> None:
    gone = asyncio.Event()

    async def deaf(peer: Peer) -> None:
        """Open the WebSocket and never answer the close."""
        seen = await peer.request()
        assert seen is not None
        await peer.raw(accepting(seen.header("sec-websocket-key") or ""))
        await peer.silence()
        gone.set()

    async with ScriptedServer(raw=deaf) as server, asyncio.TaskGroup() as group:
        link = a_link(f"ws://127.0.0.1:{server.port}/ws")
        await link.open(Delivered())
        task = group.create_task(link.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(2):
            await gone.wait()


def accepting(key: str) -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(1011, "over")

    async with serving(handler, logger=logging.getLogger("test.server")) as (url, _):
        link = a_link(url, ws_auth="message")
        async with opened(link):
            await listened(link)
    ours = [record for record in caplog.records if record.name.startswith(("mcp_remote_py", "websockets"))]
    assert not any(TOKEN in record.getMessage() for record in ours)
