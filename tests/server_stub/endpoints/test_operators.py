"""What operators ask, over real sockets, of a fleet in the test's hands: paths, methods, statuses, who is answered."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from mcp_remote_py.core import message
from mcp_remote_py.core.errors import BackendDown, Fault, ShuttingDown, TimedOut
from mcp_remote_py.core.message import Message
from mcp_remote_py.core.redact import Redactor
from server_stub.core.roster import Command, Member
from server_stub.core.vitals import Running, State, Vitals
from server_stub.endpoints import operators
from server_stub.endpoints.operators import Operators
from server_stub.fleet import Hosted, Swept
from server_stub.resources import resources_of
from tests.server_stub.mcp_client import new_http

READ = ["/health/servers", "/health/resources", "/listmcp", "/listtools/memory"]
CHANGE = ["/cleanup", "/restart/memory"]
TOKEN = "the admin's token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TOOLS = message.parse_one(b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","big":12345678901234567890.0}]}}')


class Played:
    """A member as the test wants it."""

    def __init__(self, name: str, state: State = State.READY, **fields: Any) -> None:
        command = Command(("npx", "-y", f"server-{name}", "--token", "abc"), None, (("KEY", "value-of-a-variable"),))
        self.member = Member(name, command, **fields)
        self.sessions = 1
        self.now = Vitals(state, (Running(os.getpid(), 1.0, 1),) if state is State.READY else ())
        self.answer: Message | Fault = TOOLS
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.trouble: Fault | None = None
        self.swept = 0
        self.restarts = 0
        self.ended: list[tuple[int, str]] = []

    def vitals(self) -> Vitals:
        return self.now

    async def tools(self) -> Message:
        await self.may_answer.wait()
        if isinstance(self.answer, Fault):
            raise self.answer
        return self.answer

    def sweep(self) -> Swept:
        self.swept += 1
        return Swept(2, 1)

    async def restart(self) -> None:
        self.restarts += 1
        if self.trouble is not None:
            raise self.trouble

    def end_child(self, pid: int, why: str) -> None:
        self.ended.append((pid, why))


class PlayedFleet:
    def __init__(self, *members: Played) -> None:
        self.all = members

    def members(self) -> Sequence[Hosted]:
        return self.all

    def find(self, name: str) -> Hosted | None:
        return next((one for one in self.all if one.member.name == name), None)


def some() -> PlayedFleet:
    return PlayedFleet(
        Played("memory"),
        Played("a b/c", State.STOPPED),
        Played("off", State.STOPPED, enabled=False),
        Played("bad", State.STOPPED, invalid="there is no program 'secret-value'"),
    )


@asynccontextmanager
async def asked(fleet: PlayedFleet, *tokens: str) -> AsyncIterator[httpx.AsyncClient]:
    redactor = Redactor()
    redactor.add("secret-value")
    answering = Operators(fleet, tokens, resources_of(fleet), redactor.scrub)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answering.handle(request, request.rel_url.raw_path) or web.Response(status=404, text="not ours")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with new_http() as http:
            http.base_url = httpx.URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
            yield http
    finally:
        await runner.cleanup()


# --- Paths and methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/health", "/readyz", "/health/other", "/listmcpx", "/listmcp/x", "/mcp", "/tools"]
)
async def test_other_paths_are_left_to_others(path: str) -> None:
    async with asked(some(), TOKEN) as http:
        response = await http.get(path)
        assert (response.status_code, response.text) == (404, "not ours")


@pytest.mark.parametrize("path", READ)
async def test_what_reads_answers_get_and_head(path: str) -> None:
    async with asked(some()) as http:
        got = await http.get(path)
        assert got.status_code == 200
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["Cache-Control"] == "no-store"
        head = await http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            wrong = await http.request(method, path)
            assert wrong.status_code == 405
            assert wrong.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", CHANGE)
async def test_what_changes_something_answers_post_alone(path: str) -> None:
    fleet = some()
    async with asked(fleet, TOKEN) as http:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
            wrong = await http.request(method, path, headers=BEARER)
            assert wrong.status_code == 405
            assert wrong.headers["Allow"] == "POST"
        assert fleet.all[0].swept == fleet.all[0].restarts == 0
        assert (await http.post(path, headers=BEARER)).status_code == 200


# --- Who may ask -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READ)
async def test_without_a_token_only_this_machine_itself_may_look(path: str) -> None:
    async with asked(some()) as http:
        for headers in (
            {"Host": "evil.example"},
            {"X-Forwarded-For": "192.0.2.1"},
            {"Forwarded": "for=192.0.2.1"},
            {"x-forwarded-proto": "https"},
            {"Origin": "https://evil.example"},
        ):
            response = await http.get(path, headers=headers)
            assert response.status_code == 403, headers
            assert "memory" not in response.text
            assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("line", ["GET http://evil.example/listmcp HTTP/1.1", "GET /listmcp HTTP/1.0"])
async def test_a_request_line_that_says_it_was_passed_on_counts(line: str) -> None:
    async with asked(some()) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
        writer.write(f"{line}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.split()[1] == b"403"
    assert b"memory" not in answer


async def test_without_a_token_nothing_is_changed() -> None:
    fleet = some()
    async with asked(fleet) as http:
        for path in CHANGE:
            response = await http.post(path, headers=BEARER)
            assert response.status_code == 403
            assert "--admin-token-file" in response.json()["hint"]
    assert fleet.all[0].swept == fleet.all[0].restarts == 0


@pytest.mark.parametrize("path", [*READ, *CHANGE, "/listtools/nobody", "/restart/nobody"])
async def test_with_a_token_everybody_must_bring_it(path: str) -> None:
    fleet = some()
    method = "POST" if path.startswith(("/cleanup", "/restart")) else "GET"
    async with asked(fleet, "another", TOKEN) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
            response = await http.request(method, path, headers=headers)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer realm=")
            assert "memory" not in response.text
        assert fleet.all[0].swept == fleet.all[0].restarts == 0
        expected = 404 if path.endswith("nobody") else 200
        for headers in (
            BEARER,
            {"X-API-Key": TOKEN},
            {**BEARER, "Host": "far.example", "X-Forwarded-For": "192.0.2.1"},
        ):
            assert (await http.request(method, path, headers=headers)).status_code == expected


# --- Answers ---------------------------------------------------------------------------------------------------------


async def test_the_health_of_all_servers_is_told() -> None:
    async with asked(some()) as http:
        document = (await http.get("/health/servers")).json()
    assert list(document["servers"]) == ["memory", "a b/c", "off", "bad"]
    assert document["summary"] == {"total": 4, "healthy": 1, "unhealthy": 1, "unknown": 2}
    assert document["servers"]["bad"]["why"] == "there is no program '[secret]'"
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(document["timestamp"])
    assert abs(age.total_seconds()) < 60


async def test_the_use_of_a_real_process_is_told() -> None:
    async with asked(some()) as http:
        document = (await http.get("/health/resources")).json()
    (process,) = document["processes"]
    assert (process["pid"], process["name"]) == (os.getpid(), "memory")
    assert process["memoryMB"] == process["residentMB"] > 5
    assert process["virtualMB"] > process["residentMB"]
    assert process["cpuPercent"] >= 0
    assert document["summary"]["processCount"] == 1
    assert document["summary"]["totalMemoryMB"] == process["memoryMB"]


async def test_the_list_tells_what_runs_and_no_secret() -> None:
    async with asked(some()) as http:
        response = await http.get("/listmcp")
    document = response.json()
    assert document["count"] == 4
    memory, _, off, _ = document["servers"]
    assert (memory["name"], memory["running"], memory["pid"]) == ("memory", True, os.getpid())
    assert (memory["command"], memory["args"]) == ("npx", ["-y", "server-memory", "--token", "[secret]"])
    assert (off["running"], off["pid"], off["disabled"]) == (False, None, True)
    assert "value-of-a-variable" not in response.text
    assert "secret-value" not in response.text


async def test_the_tools_are_the_servers_own_answer_byte_for_byte() -> None:
    async with asked(some()) as http:
        response = await http.get("/listtools/memory")
    assert response.content == b'{"server":"memory","response":' + TOOLS.raw + b"}"


@pytest.mark.parametrize("path", ["/listtools/a%20b%2Fc", "/listtools/a%20b/c", "/listtools/memory/"])
async def test_names_are_read_as_they_are_sent(path: str) -> None:
    async with asked(some()) as http:
        assert (await http.get(path)).json()["server"] in ("a b/c", "memory")


async def test_a_json_rpc_error_is_an_answer_too() -> None:
    fleet = some()
    fleet.all[0].answer = message.error(1, -32601, "no tools here")
    async with asked(fleet) as http:
        response = await http.get("/listtools/memory")
    assert response.status_code == 200
    assert response.json()["response"]["error"]["message"] == "no tools here"


@pytest.mark.parametrize("path", ["/listtools/nobody", "/listtools", "/listtools/", "/listtools/%00"])
async def test_an_unknown_name_is_404_with_the_names_that_exist(path: str) -> None:
    async with asked(some()) as http:
        response = await http.get(path)
    assert response.status_code == 404
    assert response.json()["servers"] == ["memory", "a b/c", "off", "bad"]


@pytest.mark.parametrize(
    ("state", "fault", "status"),
    [
        (State.READY, BackendDown("It ended: secret-value."), 502),
        (State.READY, TimedOut("It did not answer."), 502),
        (State.STOPPED, BackendDown("It did not start."), 502),
        (State.FAILED, BackendDown("Too many starts failed."), 503),
        (State.COOLING, ShuttingDown("It waits."), 503),
    ],
)
async def test_a_fault_names_the_server_and_why(state: State, fault: Fault, status: int) -> None:
    fleet = some()
    fleet.all[0].answer = fault
    fleet.all[0].now = Vitals(state, why="exit code 1, secret-value")
    async with asked(fleet) as http:
        response = await http.get("/listtools/memory")
    document = response.json()
    assert response.status_code == status
    assert (document["server"], document["state"]) == ("memory", state.value)
    assert document["name"] == fault.name
    assert document["why"] == "exit code 1, [secret]"
    assert document["error"] == str(fault).replace("secret-value", "[secret]")


@pytest.mark.parametrize("name", ["off", "bad"])
async def test_what_cannot_run_is_503_for_its_tools_and_409_for_a_restart(name: str) -> None:
    fleet = some()
    for one in fleet.all:
        one.answer = BackendDown("It does not run.")
    async with asked(fleet, TOKEN) as http:
        tools = await http.get(f"/listtools/{name}", headers=BEARER)
        assert tools.status_code == 503
        assert tools.json()["error"].startswith("This server ")
        assert tools.json()["hint"].startswith("`mcp-remote-server ")
        restart = await http.post(f"/restart/{name}", headers=BEARER)
        assert restart.status_code == 409
        assert restart.json()["server"] == name
    assert [one.restarts for one in fleet.all] == [0, 0, 0, 0]


async def test_a_server_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_TOOLS_SECONDS", 0.05)
    fleet = some()
    fleet.all[0].may_answer.clear()
    async with asked(fleet) as http:
        response = await http.get("/listtools/memory")
    assert response.status_code == 502
    assert response.json()["server"] == "memory"


async def test_a_clean_up_is_of_all_or_of_one_and_says_what_it_ended() -> None:
    fleet = some()
    async with asked(fleet, TOKEN) as http:
        assert (await http.post("/cleanup", headers=BEARER)).json() == {"status": "ok", "sessions": 8, "children": 4}
        one = await http.post("/cleanup", params={"server": "a b/c"}, headers=BEARER)
        assert one.json() == {"status": "ok", "sessions": 2, "children": 1}
        unknown = await http.post("/cleanup", params={"server": "nobody"}, headers=BEARER)
        assert unknown.status_code == 404
        assert (await http.post("/cleanup?server=", headers=BEARER)).status_code == 404, "of none is not of all"
    assert [played.swept for played in fleet.all] == [1, 2, 1, 1]


async def test_a_restart_is_of_one() -> None:
    fleet = some()
    async with asked(fleet, TOKEN) as http:
        response = await http.post("/restart/memory", headers=BEARER)
        assert response.json() == {"status": "ok", "server": "memory", "state": "ready"}
        assert (await http.post("/restart/nobody", headers=BEARER)).status_code == 404
        assert (await http.post("/restart", headers=BEARER)).status_code == 404
        fleet.all[0].trouble = BackendDown("It did not start again.")
        failed = await http.post("/restart/memory", headers=BEARER)
        assert (failed.status_code, failed.json()["error"]) == (502, "It did not start again.")
    assert [one.restarts for one in fleet.all] == [2, 0, 0, 0]


async def test_one_that_asks_while_another_waits_is_answered() -> None:
    fleet = some()
    fleet.all[0].may_answer.clear()
    async with asked(fleet) as http, asyncio.TaskGroup() as group:
        waiting = group.create_task(http.get("/listtools/memory"))
        assert json.loads((await http.get("/listmcp")).content)["count"] == 4
        fleet.all[0].may_answer.set()
        assert (await waiting).status_code == 200
