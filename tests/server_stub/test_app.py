"""Starting and stopping the server: the URL, signals' event by cancellation, grace, the whole stop. Real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mcp_remote_py.core import message
from mcp_remote_py.core.errors import ConfigError
from server_stub.app import GATEWAY, build_app, run
from server_stub.sessions import Gateway
from server_stub.settings import Limits, ServeSettings, Timing
from tests.server_stub.links import Backends, ScriptedLink, eventually, initialize, request, serving, within
from tests.server_stub.mcp_client import JSON, Events, McpClient, new_http

QUICK = ServeSettings(port=0, timing=Timing(keep_alive=0.5, settle=0.25))


class Stoppable:
    """A running server whose gateway the test can stop, as a signal would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gateway: Gateway | None = None
        original = build_app

        def keeping(settings: ServeSettings, connect: Any) -> Any:
            app = original(settings, connect)
            self.gateway = app[GATEWAY]
            return app

        monkeypatch.setattr("server_stub.app.build_app", keeping)

    def __call__(self) -> Gateway:
        assert self.gateway is not None
        return self.gateway


@pytest.fixture
def stoppable(monkeypatch: pytest.MonkeyPatch) -> Stoppable:
    return Stoppable(monkeypatch)


async def test_the_bound_url_is_told_with_the_port_that_was_free() -> None:
    async with serving(Backends(), QUICK) as url, new_http() as http:
        assert url.startswith("http://127.0.0.1:")
        assert not url.endswith(":0")
        assert (await http.get(f"{url}/health")).status_code == 200


async def test_a_name_with_any_free_port_is_one_address() -> None:
    async with serving(Backends(), QUICK._replace(host="localhost")) as url, new_http() as http:
        assert url.startswith("http://localhost:")
        assert (await http.get(url.replace("localhost", "127.0.0.1") + "/health")).status_code == 200


async def test_ipv6_is_spelled_with_brackets() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with serving(Backends(), QUICK._replace(host="::1")) as url, new_http() as http:
        assert url.startswith("http://[::1]:")
        assert (await http.post(f"{url}/mcp", json=initialize(), headers=JSON)).status_code == 200


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="Choose another"):
            await run(QUICK._replace(port=taken.getsockname()[1]), Backends())


async def test_unsafe_settings_are_refused_from_python_too() -> None:
    with pytest.raises(ConfigError, match="--allow-unauthenticated"):
        await run(QUICK._replace(host="0.0.0.0"), Backends())


async def test_cancelling_the_run_closes_every_backend() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http:
        for _ in range(3):
            await McpClient(http, f"{url}/mcp").start()
    assert len(backends.links) == 3
    assert all(link.closed.is_set() for link in backends.links)


async def test_while_it_stops_open_calls_go_on_and_nothing_new_begins(stoppable: Stoppable) -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http, asyncio.TaskGroup() as group:
        client = McpClient(http, f"{url}/mcp")
        await client.start()
        async with client.getting(), client.posting(request(1, "work")) as events:
            work = await backends.last.received("work")
            stopping = group.create_task(stoppable().stop(grace=10))
            await eventually(lambda: stoppable().stopping)
            fresh = await McpClient(http, f"{url}/mcp").post(initialize(5))
            assert (fresh.status_code, fresh.json()["id"], fresh.json()["error"]["code"]) == (503, 5, -31010)
            assert "Retry-After" in fresh.headers
            assert (await client.post(request(2, "ping"))).status_code == 503
            assert (await http.get(f"{url}/sse")).status_code == 503
            ready = await http.get(f"{url}/readyz")
            assert (ready.status_code, ready.json()) == (503, {"status": "stopping"})
            assert (await http.get(f"{url}/health")).status_code == 200
            await backends.last.say(message.request("q", "elicitation/create"))
            assert (await events.message())["id"] == "q"
            assert (await client.post({"jsonrpc": "2.0", "id": "q", "result": {}})).status_code == 202
            await backends.last.received(None)
            assert work.id is not None
            await backends.last.say(message.result(work.id, "done"))
            assert [one["result"] for one in await events.rest()] == ["done"]
            await within(stopping)  # the GET was still open: idle streams do not count
    assert backends.last.closed.is_set()


async def test_calls_that_outlive_the_grace_are_answered_on_every_wire(stoppable: Stoppable) -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http, asyncio.TaskGroup() as group:
        client = McpClient(http, f"{url}/mcp")
        await client.start()
        async with (
            client.posting(request(1, "work")) as posting,
            http.stream("GET", f"{url}/sse") as stream,
            connect(url.replace("http", "ws") + "/ws", proxy=None) as websocket,
        ):
            sse = Events(stream)
            endpoint = await sse.next()
            assert endpoint is not None
            await http.post(url + endpoint.data, json=request(2, "work"))
            await websocket.send(json.dumps(request(3, "work")))
            for link in backends.links:
                await link.received("work")
            stopping = group.create_task(stoppable().stop(grace=0.1))
            answers = [await posting.message(), await sse.message(), json.loads(await within(websocket.recv()))]
            assert [(one["id"], one["error"]["code"]) for one in answers] == [(1, -31010), (2, -31010), (3, -31010)]
            assert await posting.next() is None
            assert await sse.next() is None
            with pytest.raises(ConnectionClosed) as closed:
                await within(websocket.recv())
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            await within(stopping)
    assert all(link.closed.is_set() for link in backends.links)


async def test_backends_that_never_close_do_not_hold_the_stop_up_and_are_closed_side_by_side(
    stoppable: Stoppable, caplog: pytest.LogCaptureFixture
) -> None:
    backends = Backends()
    settings = QUICK._replace(timing=QUICK.timing._replace(whole_stop=1.9))
    async with serving(backends, settings) as url, new_http() as http:
        for _ in range(5):
            await McpClient(http, f"{url}/mcp").start()
        for link in backends.links:
            link.may_close.clear()
        begin = asyncio.get_running_loop().time()
        await within(stoppable().stop(grace=0))
        assert asyncio.get_running_loop().time() - begin < 1.4
    assert "did not close in time" in caplog.text


async def test_a_backend_that_opens_slowly_can_be_stopped(stoppable: Stoppable) -> None:
    def slow(peer: Any) -> ScriptedLink:
        link = ScriptedLink(peer)
        link.may_open.clear()
        return link

    backends = Backends(slow)
    async with serving(backends, QUICK) as url, new_http() as http, asyncio.TaskGroup() as group:
        posting = group.create_task(McpClient(http, f"{url}/mcp").post(initialize("x")))
        await eventually(lambda: bool(backends.links))
        await within(stoppable().stop(grace=0.05))
        answer = (await posting).json()
        assert (answer["id"], answer["error"]["code"]) == ("x", -31010)


async def test_two_hundred_sessions_come_and_go_and_nothing_is_left(stoppable: Stoppable) -> None:
    backends = Backends()
    async with serving(backends, QUICK._replace(limits=Limits(sessions=20))) as url, new_http() as http:
        for number in range(200):
            if number % 2:
                client = McpClient(http, f"{url}/mcp")
                await client.start()
                assert (await client.delete()).status_code == 204
            else:
                async with connect(url.replace("http", "ws") + "/ws", proxy=None) as websocket:
                    await websocket.send(json.dumps(request(1, "ping")))
                    await within(websocket.recv())
            await within(backends.last.closed.wait())
        await eventually(lambda: not stoppable()._living)
        assert stoppable()._sessions == {}


async def test_connections_that_die_without_a_word_leave_no_session_behind() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url:
        port = int(url.rpartition(":")[2])
        for path in ("/sse", "/ws"):
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}\r\n".encode())
            assert await within(reader.readuntil(b"\r\n\r\n"))
            await eventually(lambda: bool(backends.links))
            writer.transport.abort()
            await within(backends.last.closed.wait())


async def test_many_clients_at_once_each_get_their_own_answers() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http:

        async def one(number: int) -> None:
            client = McpClient(http, f"{url}/mcp")
            await client.start()
            answers = await asyncio.gather(*(client.post(request(i, "echo", me=number, i=i)) for i in range(10)))
            for i, answer in enumerate(answers):
                assert answer.json() == {"jsonrpc": "2.0", "id": i, "result": {"me": number, "i": i}}

        await asyncio.gather(*(one(number) for number in range(10)))


async def test_a_header_that_is_too_long_leaves_no_trace_of_itself_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Backends(), QUICK) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hush-" + b"x" * 9000 + b"\r\n\r\n"
        )
        assert b" 400 " in await reader.readline()
        writer.close()
    assert "hush" not in caplog.text
