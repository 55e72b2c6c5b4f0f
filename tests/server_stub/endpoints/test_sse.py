"""HTTP+SSE over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_remote_py.core import message
from server_stub.core.access import Doors
from server_stub.settings import Limits, ServeSettings, Timing
from tests.server_stub.links import Backends, ScriptedLink, initialize, named, request, serving, within
from tests.server_stub.mcp_client import JSON, Events, new_http

QUICK = ServeSettings(timing=Timing(keep_alive=0.1))


async def test_the_first_event_is_the_endpoint_and_answers_come_on_the_stream() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http, http.stream("GET", f"{url}/sse") as response:
        events = Events(response)
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Mcp-Session-Id" not in response.headers
        first = await events.next()
        assert first is not None
        assert first.event == "endpoint"
        assert first.data.startswith("/messages?session_id=")
        where = url + first.data
        posted = await http.post(where, json=initialize(0, "2024-11-05"))
        assert (posted.status_code, posted.text) == (202, "Accepted")
        answer = await events.next()
        assert answer is not None
        assert (answer.event, answer.id) == ("message", None)
        assert answer.document["result"]["protocolVersion"] == "2024-11-05"
        await http.post(where, json=request("1", "echo", a=1))
        assert await events.message() == {"jsonrpc": "2.0", "id": "1", "result": {"a": 1}}
        await backends.last.say(message.request(7, "roots/list"))
        assert (await events.message())["method"] == "roots/list"
        assert (await http.post(where, json={"jsonrpc": "2.0", "id": 7, "result": {}})).status_code == 202
        await backends.last.received(None)


async def test_posts_are_refused_by_what_is_wrong_with_them() -> None:
    async with (
        serving(Backends(), QUICK._replace(limits=Limits(body=1000))) as url,
        new_http() as http,
        http.stream("GET", f"{url}/sse", headers={"Accept": "*/*"}) as response,
    ):
        events = Events(response)
        first = await events.next()
        assert first is not None
        where = url + first.data
        missing = await http.post(f"{url}/messages", json=request(1, "ping"))
        unknown = await http.post(f"{url}/messages?session_id=nobody", json=request(1, "ping"))
        assert (missing.status_code, missing.json()["id"]) == (400, 1)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, -31004)
        assert (await http.post(where, content="{", headers=JSON)).status_code == 400
        assert (await http.post(where, content="{}")).status_code == 415
        assert (await http.post(where, json=request(1, "echo", text="x" * 2000))).status_code == 413
        assert (await http.post(where, json=[request(1, "ping")])).status_code == 202  # as 2025-03-26 is assumed
        assert (await http.get(where)).status_code == 405
        streamable = {**JSON, "Mcp-Session-Id": first.data.partition("=")[2]}
        crossed = await http.post(f"{url}/mcp", json=request(1, "ping"), headers=streamable)
        assert crossed.status_code == 404  # a session belongs to the wire that opened it


async def test_the_stream_is_the_session() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http:
        async with http.stream("GET", f"{url}/sse") as response:
            first = await Events(response).next()
            assert first is not None
        await within(backends.last.closed.wait())
        assert (await http.post(url + first.data, json=request(1, "ping"))).status_code == 404


@pytest.mark.parametrize("make", [ScriptedLink, named])
async def test_a_backend_that_dies_answers_what_is_open_and_ends_the_stream(make: Any) -> None:
    backends = Backends(make)
    async with serving(backends, QUICK) as url, new_http() as http, http.stream("GET", f"{url}/sse") as response:
        events = Events(response)
        first = await events.next()
        assert first is not None
        await http.post(url + first.data, json=request(1, "work"))
        await backends.last.received("work")
        backends.last.die()
        answer = await events.message()
        assert (answer["id"], answer["error"]["code"]) == (1, -31009)
        assert await events.next() is None


async def test_the_endpoint_keeps_the_path_prefix_of_the_public_url() -> None:
    settings = QUICK._replace(doors=Doors(public_url="https://mcp.example.com/tools/"))
    async with serving(Backends(), settings) as url, new_http() as http:
        headers = {"Host": "mcp.example.com"}
        async with http.stream("GET", f"{url}/sse", headers=headers) as response:
            first = await Events(response).next()
            assert first is not None
            assert first.data.startswith("/tools/messages?session_id=")


async def test_a_quiet_stream_has_comments() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http, http.stream("GET", f"{url}/sse") as response:
        raw = b""
        async for chunk in response.aiter_raw():
            raw += chunk
            if raw.count(b": keep-alive\n\n") >= 2:
                break
        assert raw.startswith(b"event: endpoint\ndata: /messages?")


async def test_a_second_initialize_and_a_doubled_id_are_refused() -> None:
    backends = Backends()
    async with serving(backends, QUICK) as url, new_http() as http, http.stream("GET", f"{url}/sse") as response:
        events = Events(response)
        first = await events.next()
        assert first is not None
        where = url + first.data
        await http.post(where, json=initialize(0))
        await events.message()
        again = await http.post(where, json=initialize(1))
        assert (again.status_code, json.loads(again.content)["error"]["code"]) == (400, -32600)
        await http.post(where, json=request(2, "work"))
        work = await backends.last.received("work")
        assert (await http.post(where, json=request(2, "ping"))).status_code == 400
        assert work.id is not None
        await backends.last.say(message.result(work.id, "done"))
        assert (await events.message())["result"] == "done"
