"""WebSocket over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from mcp_remote_py.core import message
from server_stub.endpoints import websocket
from server_stub.settings import Auth, Limits, ServeSettings, Timing
from tests.server_stub.links import Backends, ScriptedLink, initialize, named, request, serving, within
from tests.server_stub.mcp_client import new_http

QUICK = ServeSettings()
LOCKED = QUICK._replace(auth=Auth(tokens=("open sesame",)))
HASTY = Timing(first_message=0.3, ping=0.2)


def url_of(url: str) -> str:
    return url.replace("http://", "ws://") + "/ws"


@asynccontextmanager
async def socket(
    backends: Backends, settings: ServeSettings = QUICK, offer: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[ClientConnection]:
    async with serving(backends, settings) as url:
        protocols = [Subprotocol(one) for one in offer] or None
        options.setdefault("max_size", None)
        async with connect(url_of(url), subprotocols=protocols, proxy=None, **options) as client:
            yield client


async def ask(client: ClientConnection, document: Any) -> Any:
    await client.send(json.dumps(document) if not isinstance(document, str | bytes) else document)
    return json.loads(await within(client.recv()))


@pytest.mark.parametrize(
    ("offer", "selected"), [((), None), (("mcp",), "mcp"), (("other", "mcp"), "mcp"), (("other",), None)]
)
async def test_mcp_is_selected_where_it_is_offered_and_nothing_otherwise(
    offer: tuple[str, ...], selected: str | None
) -> None:
    async with socket(Backends(), offer=offer) as client:
        assert client.subprotocol == selected
        assert (await ask(client, initialize()))["result"]["protocolVersion"] == "2025-06-18"


@pytest.mark.parametrize("make", [ScriptedLink, named])
async def test_messages_travel_both_ways_one_per_text_frame(make: Any) -> None:
    backends = Backends(make)
    async with socket(backends) as client:
        await ask(client, initialize())
        await client.send('{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        assert await ask(client, request("1", "echo", n=1)) == {"jsonrpc": "2.0", "id": "1", "result": {"n": 1}}
        await backends.last.say(message.request("s", "roots/list"))
        question = await within(client.recv())
        assert question == '{"jsonrpc":"2.0","id":"s","method":"roots/list"}'
        await client.send('{"jsonrpc":"2.0","id":"s","result":{"roots":[]}}')
        assert (await backends.last.received(None)).raw == b'{"jsonrpc":"2.0","id":"s","result":{"roots":[]}}'


async def test_a_binary_frame_with_json_in_it_is_a_message() -> None:
    async with socket(Backends()) as client:
        assert (await ask(client, json.dumps(request(1, "ping")).encode()))["result"] == {}


@pytest.mark.parametrize("broken", ["{", b"\xff\xfe", "[]"])
async def test_what_is_no_message_gets_an_error_and_the_connection_stays(broken: Any) -> None:
    async with socket(Backends()) as client:
        answer = await ask(client, broken)
        assert answer["id"] is None
        assert answer["error"]["code"] == (-32600 if broken == "[]" else -32700)
        assert (await ask(client, request(1, "ping")))["result"] == {}


async def test_a_message_of_8_mib_passes_and_one_over_the_limit_closes_with_1009() -> None:
    settings = QUICK._replace(limits=Limits(body=9 * 1024 * 1024))
    async with socket(Backends(), settings) as client:
        text = "x" * (8 * 1024 * 1024)
        assert (await ask(client, request(1, "echo", text=text)))["result"]["text"] == text

        async def too_much() -> None:
            await client.send("x" * (9 * 1024 * 1024 + 1))  # which the close may interrupt
            await client.recv()

        with pytest.raises(ConnectionClosed) as closed:
            await within(too_much())
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_token_nobody_asked_for_is_passed_over_but_only_as_the_first_message() -> None:
    backends = Backends()
    async with socket(backends) as client:
        await client.send('{"token": "anything"}')
        assert (await ask(client, request(1, "tools/list") | {"method": "ping"}))["id"] == 1
        assert (await ask(client, '{"token": "again"}'))["error"]["code"] == -32600
    assert [one.method for one in backends.last.sent] == ["ping"]


async def test_a_doubled_id_a_second_initialize_and_a_batch_are_refused() -> None:
    backends = Backends()
    async with socket(backends) as client:
        await ask(client, initialize())
        assert (await ask(client, initialize(1)))["error"]["code"] == -32600
        assert (await ask(client, [request(5, "ping")]))["error"]["code"] == -32600
        await client.send(json.dumps(request(2, "work")))
        work = await backends.last.received("work")
        assert (await ask(client, request(2, "ping")))["error"]["code"] == -32600
        assert work.id is not None
        await backends.last.say(message.result(work.id, "done"))
        assert json.loads(await within(client.recv()))["result"] == "done"


async def test_a_batch_is_taken_apart_in_2025_03_26() -> None:
    async with socket(Backends()) as client:
        await ask(client, initialize(version="2025-03-26"))
        answers = [await ask(client, [request(1, "ping"), request(2, "ping")]), json.loads(await within(client.recv()))]
        assert sorted(one["id"] for one in answers) == [1, 2]


async def test_the_socket_is_the_session() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url:
        async with connect(url_of(url), proxy=None) as client:
            await ask(client, initialize())
        await within(backends.last.closed.wait())


@pytest.mark.parametrize("make", [ScriptedLink, named])
async def test_a_backend_that_dies_answers_what_is_open_and_closes(make: Any) -> None:
    backends = Backends(make)
    async with socket(backends) as client:
        await client.send(json.dumps(request(1, "work")))
        await backends.last.received("work")
        backends.last.die()
        answer = json.loads(await within(client.recv()))
        assert (answer["id"], answer["error"]["code"]) == (1, -31009)
        with pytest.raises(ConnectionClosed) as closed:
            await within(client.recv())
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


async def test_a_client_that_goes_on_talking_still_hears_what_became_of_its_calls() -> None:
    backends = Backends()
    async with socket(backends, max_queue=1) as client, asyncio.TaskGroup() as group:
        await ask(client, initialize())
        await client.send(json.dumps(request("1", "slow")))
        await backends.last.received("slow")

        async def tell() -> None:
            for _ in range(30):
                await backends.last.say(message.notification("notifications/news", {"text": "x" * 1_000_000}))

        telling = group.create_task(tell())  # more than a client takes that does not read: the sender has to wait
        await asyncio.sleep(0.1)
        backends.last.die()
        for _ in range(5):
            await asyncio.sleep(0.02)
            await client.send('{"jsonrpc": "2.0", "method": "notifications/progress"}')
        heard = [json.loads(frame) async for frame in _until_closed(client)]
        telling.cancel()
    assert [one["error"]["data"]["name"] for one in heard if one.get("id") == "1"] == ["BackendDown"]


async def _until_closed(client: ClientConnection) -> AsyncIterator[str | bytes]:
    while True:
        try:
            yield await within(client.recv())
        except ConnectionClosed:
            return


async def test_a_cancelled_call_gets_no_answer() -> None:
    backends = Backends()
    async with socket(backends) as client:
        await client.send(json.dumps(request(1, "work")))
        work = await backends.last.received("work")
        await client.send('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
        await backends.last.received("notifications/cancelled")
        assert work.id is not None
        await backends.last.say(message.result(work.id, "late"))
        assert (await ask(client, request(2, "ping")))["id"] == 2


async def test_a_client_that_answers_no_ping_is_given_up() -> None:
    backends = Backends()
    async with serving(backends, QUICK._replace(timing=HASTY)) as url, new_http() as http:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        }
        async with http.stream("GET", f"{url}/ws", headers=headers) as response:
            assert response.status_code == 101
            await within(backends.last.closed.wait())


async def test_a_plain_get_is_told_to_upgrade() -> None:
    async with serving(Backends(), QUICK) as url, new_http() as http:
        response = await http.get(f"{url}/ws")
        assert (response.status_code, response.headers["Upgrade"]) == (426, "websocket")


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_in_the_header_lets_in_and_a_wrong_one_is_refused_before_the_upgrade() -> None:
    backends = Backends()
    async with serving(backends, LOCKED) as url:
        right = {"Authorization": "Bearer open sesame"}
        async with connect(url_of(url), additional_headers=right, proxy=None) as client:
            assert (await ask(client, initialize()))["id"] == 0
        assert backends.last.peer.principal is not None
        with pytest.raises(InvalidStatus) as refused:
            await connect(url_of(url), additional_headers={"Authorization": "Bearer wrong"}, proxy=None)
        assert refused.value.response.status_code == 401
        assert 'error="invalid_token"' in refused.value.response.headers["WWW-Authenticate"]
        with pytest.raises(InvalidStatus) as refused:
            await connect(url_of(url), additional_headers={"Authorization": "Basic eA=="}, proxy=None)
        assert refused.value.response.status_code == 401


async def test_a_token_as_the_first_message_lets_in() -> None:
    backends = Backends()
    async with socket(backends, LOCKED) as client:
        await client.send('{"token": "open sesame"}')
        assert (await ask(client, initialize()))["id"] == 0
        assert backends.last.peer.principal is not None
        assert len(backends.links) == 1


async def test_strangers_get_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MOST_STRANGERS", 1)
    monkeypatch.setattr(websocket, "STRANGERS_BODY", 1000)
    async with serving(Backends(), LOCKED) as url, connect(url_of(url), proxy=None) as stranger:
        with pytest.raises(InvalidStatus, match="503"):
            await connect(url_of(url), proxy=None)
        known = {"Authorization": "Bearer open sesame"}
        async with connect(url_of(url), proxy=None, additional_headers=known) as client:
            await ask(client, initialize())
            assert "result" in await ask(client, request(2, "echo", text="x" * 2000))
        await stranger.send(json.dumps({"token": "x" * 1000}))
        with pytest.raises(ConnectionClosed):
            await within(stranger.recv())
        async with connect(url_of(url), proxy=None) as late:
            await late.send('{"token": "open sesame"}')
            assert "result" in await ask(late, initialize())


async def test_a_socket_with_much_to_say_lets_others_have_their_turn() -> None:
    heard: list[str] = []
    asyncio.get_running_loop().call_soon(heard.append, "somebody else")
    turn = websocket._Turn()
    await turn.over()
    assert heard == []
    turn._began -= 1
    await turn.over()
    assert heard == ["somebody else"]


@pytest.mark.parametrize(
    ("first", "code", "reason"),
    [
        ('{"token": "wrong"}', 4001, "Unauthorized"),
        (json.dumps(initialize()), 4002, "Invalid auth"),
        ('{"token": 5}', 4002, "Invalid auth"),
        ("{", 4002, "Invalid auth"),
        (None, 4002, "Invalid auth"),
    ],
)
async def test_a_first_message_that_proves_nothing_closes(first: str | None, code: int, reason: str) -> None:
    backends = Backends()
    async with socket(backends, LOCKED._replace(timing=HASTY) if first is None else LOCKED) as client:
        if first is not None:
            await client.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            await within(client.recv())
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    assert backends.links == []


# --- before the upgrade ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Host": "evil.example"}, 421)],
)
async def test_foreign_pages_and_hosts_are_refused_before_the_upgrade(headers: dict[str, str], status: int) -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
        response = await http.get(f"{url}/ws", headers={**upgrade, **key, **headers})
        assert response.status_code == status
    assert backends.links == []


async def test_one_socket_too_many_is_told_to_come_later() -> None:
    async with (
        serving(Backends(), QUICK._replace(limits=Limits(sessions=1))) as url,
        connect(url_of(url), proxy=None) as first,
        connect(url_of(url), proxy=None) as second,
    ):
        assert (await ask(first, request(1, "ping")))["id"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            await within(second.recv())
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
