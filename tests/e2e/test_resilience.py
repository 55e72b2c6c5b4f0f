"""A server that is away, busy, silent or forgetful, met by the real bridge: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.host import Host, clean_environment, launch, script
from tests.support.scripted_server import Peer, ScriptedServer, Seen, closed_port

GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}, "logging": {}, "resources": {"subscribe": True}},
    "serverInfo": {"name": "real", "version": "1"},
}
TOOLS = {
    "tools": [
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "pay", "inputSchema": {"type": "object"}},
    ]
}
AWAY = ("refused the connection", "no server is listening there")


class Desk:
    """A good server. `calls` are consumed by tools/call, one each: a deed instead of an answer."""

    def __init__(self, *calls: Any) -> None:
        self.calls = list(calls)
        self.session = 1
        self.version = "2025-06-18"
        self.silent_until: asyncio.Event | None = None

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        method = seen.doc.get("method") if seen.method == "POST" else None
        if seen.method != "POST":
            await peer.answer(405 if seen.method == "GET" else 200)
        elif method == "initialize":
            if self.silent_until is not None:
                await self.silent_until.wait()
            greeting = {**GREETING, "protocolVersion": self.version}
            await peer.result(seen, greeting, headers={"Mcp-Session-Id": f"session-{self.session}"})
        elif seen.header("Mcp-Session-Id") != f"session-{self.session}":
            await peer.answer(404)
        elif method == "tools/list":
            await peer.result(seen, TOOLS)
        elif method == "tools/call" and self.calls:
            await self.calls.pop(0)(seen, peer)
        elif "id" in seen.doc and method is not None:
            await peer.result(seen, {"fine": True})
        else:
            await peer.answer(202)


def busy(status: int, **headers: str) -> Any:
    async def deed(seen: Seen, peer: Peer) -> None:
        await peer.answer(status, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return deed


async def reset(seen: Seen, peer: Peer) -> None:
    await peer.reset()


def methods(server: ScriptedServer) -> list[str]:
    return [seen.doc.get("method", "answer") for seen in server.of("POST")]


async def heard(host: Host, method: str) -> dict[str, Any]:
    """Wait for a notification of this method."""
    async with asyncio.timeout(15):
        while True:
            doc = await host.asked.get()
            if doc["method"] == method:
                return doc


# --- A server that is away ---------------------------------------------------------------------------------------


async def test_a_server_that_comes_late_is_greeted_then_and_nothing_was_lost() -> None:
    port = closed_port()
    async with launch(f"http://127.0.0.1:{port}/mcp") as host:
        result = (await host.greet())["result"]
        assert result["protocolVersion"] == "2025-06-18"
        changing = {"listChanged": True}
        assert result["capabilities"] == {"tools": changing, "prompts": changing, "resources": changing, "logging": {}}
        line = await heard(host, "notifications/message")
        assert all(words in line["params"]["data"] for words in AWAY)
        listing, pay = host.ask("tools/list"), host.ask("tools/call", {"name": "pay"})
        async with ScriptedServer(Desk(), port=port) as server:
            async with asyncio.timeout(15):
                assert (await listing)["result"] == TOOLS
                assert (await pay)["result"] == {"fine": True}
            for kind in ("tools", "prompts", "resources"):
                await heard(host, f"notifications/{kind}/list_changed")
            assert methods(server)[:2] == ["initialize", "notifications/initialized"]
            assert sorted(methods(server)[2:]) == ["tools/call", "tools/list"]
            assert await host.end() == 0


@pytest.mark.parametrize("way", ["--sse-only", "--ws-only"])
async def test_on_every_wire_the_host_is_greeted_and_told_the_cause(way: str) -> None:
    async with launch(f"http://127.0.0.1:{closed_port()}/mcp", way, "--hold", "1s") as host:
        assert "result" in await host.greet()
        assert AWAY[0] in (await heard(host, "notifications/message"))["params"]["data"]
        assert (await host.request("tools/list"))["result"] == {"tools": []}
        assert AWAY[0] in (await host.request("tools/call", {"name": "pay"}))["error"]["message"]
        assert await host.end() == 0


async def test_a_call_is_held_for_so_long_and_then_told_the_cause() -> None:
    async with launch(f"http://127.0.0.1:{closed_port()}/mcp", "--hold", "1s") as host:
        await host.greet()
        begun = time.monotonic()
        error = (await host.request("tools/call", {"name": "pay"}))["error"]
        assert 0.9 <= time.monotonic() - begun < 5
        assert error["code"] == -31001
        assert AWAY[0] in error["message"]
        assert "--hold" in error["message"]
        assert error["data"]["may_have_run"] is False
        assert error["data"]["attempts"] >= 2


async def test_a_server_that_restarts_in_the_middle_is_waited_for() -> None:
    desk = Desk()
    async with ScriptedServer(desk) as server:
        port = server.port
        async with launch(server.url) as host:
            await host.greet()
            assert (await host.request("tools/list"))["result"] == TOOLS
            await server.__aexit__(None, None, None)
            calls = [host.ask("tools/call", {"name": "look", "n": n}) for n in range(8)]
            assert (await host.request("tools/list"))["result"] == TOOLS, "from memory, or from the server that is back"
            desk.session = 2
            async with ScriptedServer(desk, port=port) as again:
                async with asyncio.timeout(15):
                    assert all(["result" in await call for call in calls])
                assert methods(again).count("initialize") == 1, "one session for all calls"
                assert await host.end() == 0


async def test_a_silent_server_is_stood_in_for_and_heard_when_it_speaks() -> None:
    desk = Desk()
    desk.silent_until, desk.version = asyncio.Event(), "2025-03-26"
    async with ScriptedServer(desk) as server, launch(server.url, "--greet-after", "500ms") as host:
        assert (await host.greet())["result"]["serverInfo"]["name"] == "mcp-remote-py"
        call = host.ask("tools/call", {"name": "pay"})
        desk.silent_until.set()
        async with asyncio.timeout(15):
            assert (await call)["result"] == {"fine": True}
        assert methods(server) == ["initialize", "notifications/initialized", "tools/call"]
        assert server.of("POST")[-1].header("Mcp-Protocol-Version") in (None, "2025-03-26")
        await heard(host, "notifications/tools/list_changed")


# --- What is remembered --------------------------------------------------------------------------------------------


async def visit(url: str, home: Path, *arguments: str, **variables: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Greet and list, with what is in this folder. Returns both answers and the log."""
    env = clean_environment(MCP_REMOTE_PY_HOME=str(home), **variables)
    async with launch(url, "--hold", "500ms", *arguments, env=env) as host:
        greeted = await host.greet()
        listed = await host.request("tools/list")
        assert await host.end() == 0
        return greeted["result"], listed["result"], host.log.decode()


def files(home: Path, pattern: str = "*.json") -> list[Path]:
    return sorted(home.rglob(pattern))


def a_file_at(path: Path) -> None:
    path.write_text("not a folder")


def token(subject: str, issued: int) -> str:
    def part(doc: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(doc).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'iss': 'i', 'sub': subject, 'iat': issued})}.c2lnbmF0dXJl"


async def test_the_greeting_and_the_lists_of_last_time_are_private_and_served_to_the_same_principal_alone(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    async with ScriptedServer(Desk()) as server:
        url = server.url
        assert (await visit(url, home, MCP_AUTH_TOKEN=token("me", 1)))[0] == GREETING
    (kept,) = files(home)
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert b"c2lnbmF0dXJl" not in kept.read_bytes()
    greeted, listed, _ = await visit(url, home, MCP_AUTH_TOKEN=token("me", 2))
    assert (greeted, listed) == (GREETING, TOOLS), "the same account, with a renewed token"
    for variables in ({"MCP_AUTH_TOKEN": token("you", 1)}, {}, {"MCP_AUTH_TOKEN": "opaque-token-1"}):
        greeted, listed, _ = await visit(url, home, **variables)
        assert greeted["serverInfo"]["name"] == "mcp-remote-py"
        assert listed == {"tools": []}
    greeted, _, _ = await visit(url + "?tenant=2", home, MCP_AUTH_TOKEN=token("me", 1))
    assert greeted["serverInfo"]["name"] == "mcp-remote-py", "another URL is another server"


async def test_no_cache_neither_writes_nor_reads(tmp_path: Path) -> None:
    async with ScriptedServer(Desk()) as server:
        url = server.url
        await visit(url, tmp_path / "a", "--no-cache")
        assert files(tmp_path) == []
        await visit(url, tmp_path / "b")
    greeted, listed, _ = await visit(url, tmp_path / "b", "--no-cache")
    assert greeted["serverInfo"]["name"] == "mcp-remote-py"
    assert listed == {"tools": []}


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"format":1}', b'{"format":99}', b"[" * 200_000])
async def test_a_damaged_file_is_set_aside_or_passed_over_and_never_fatal(tmp_path: Path, damage: bytes) -> None:
    async with ScriptedServer(Desk()) as server:
        url, port = server.url, server.port
        await visit(url, tmp_path)
    (kept,) = files(tmp_path)
    kept.write_bytes(damage)
    greeted, _, log = await visit(url, tmp_path)
    assert greeted["serverInfo"]["name"] == "mcp-remote-py"
    assert "was set aside" in log or "cannot be used" in log
    async with ScriptedServer(Desk(), port=port):
        assert (await visit(url, tmp_path))[1] == TOOLS
    assert (await visit(url, tmp_path))[0] == GREETING, "and it is written anew"


async def test_a_home_that_is_a_file_is_a_line_in_the_log(tmp_path: Path) -> None:
    a_file_at(tmp_path / "home")
    async with ScriptedServer(Desk()) as server:
        greeted, _, log = await visit(server.url, tmp_path / "home")
    assert greeted == GREETING
    assert "nothing is remembered" in log
    greeted, _, _ = await visit(server.url, tmp_path / "home")
    assert greeted["serverInfo"]["name"] == "mcp-remote-py"


async def test_started_twice_both_work_and_what_is_kept_is_whole(tmp_path: Path) -> None:
    async with ScriptedServer(Desk()) as server:
        url = server.url
        visits = await asyncio.gather(*(visit(url, tmp_path) for _ in range(4)))
    assert all((greeted, listed) == (GREETING, TOOLS) for greeted, listed, _ in visits)
    assert not any("warning" in log for _, _, log in visits)
    (kept,) = files(tmp_path)
    assert json.loads(kept.read_bytes())["format"] == 1
    assert files(tmp_path, "*.new") == []


# --- What is sent again ----------------------------------------------------------------------------------------------


async def in_session(host: Host) -> None:
    await host.greet()
    await host.request("tools/list")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_when_it_said(status: int) -> None:
    async with ScriptedServer(Desk(busy(status, Retry_After="1"))) as server, launch(server.url) as host:
        await in_session(host)
        begun = time.monotonic()
        assert (await host.request("tools/call", {"name": "pay"}))["result"] == {"fine": True}
        assert time.monotonic() - begun >= 1.0
        assert methods(server).count("tools/call") == 2


async def test_a_date_is_understood_by_the_servers_own_clock() -> None:
    dates = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry_After": "Sun, 06 Nov 1994 08:49:38 GMT"}
    async with ScriptedServer(Desk(busy(429, **dates))) as server, launch(server.url) as host:
        await in_session(host)
        begun = time.monotonic()
        assert (await host.request("tools/call", {"name": "pay"}))["result"] == {"fine": True}
        assert time.monotonic() - begun >= 1.0


async def test_a_wait_that_does_not_fit_is_an_error_at_once_that_says_when() -> None:
    async with ScriptedServer(Desk(busy(429, Retry_After="3600"))) as server, launch(server.url) as host:
        await in_session(host)
        begun = time.monotonic()
        error = (await host.request("tools/call", {"name": "look"}))["error"]
        assert time.monotonic() - begun < 5
        assert "3600 seconds" in error["data"]["hint"]
        assert "tried once" in error["message"]
        assert (error["data"]["may_have_run"], error["data"]["http_status"]) == (False, 429)


async def test_the_error_says_how_often_it_was_tried() -> None:
    deeds = [busy(429, Retry_After="1")] * 9
    async with ScriptedServer(Desk(*deeds)) as server, launch(server.url, "--hold", "2500ms") as host:
        await in_session(host)
        error = (await host.request("tools/call", {"name": "pay"}))["error"]
        tries = methods(server).count("tools/call")
        assert tries >= 2
        assert error["data"]["attempts"] == tries
        assert "tried twice" in error["message"] or f"tried {tries} times" in error["message"]


@pytest.mark.parametrize("deed", [reset, busy(502), busy(503), busy(504)], ids=["reset", "502", "503", "504"])
async def test_only_what_does_no_harm_is_sent_again(deed: Any) -> None:
    async with ScriptedServer(Desk(deed)) as server, launch(server.url) as host:
        await in_session(host)
        assert (await host.request("tools/call", {"name": "look"}))["result"] == {"fine": True}
        assert methods(server).count("tools/call") == 2
    async with ScriptedServer(Desk(deed)) as server, launch(server.url) as host:
        await in_session(host)
        assert (await host.request("tools/call", {"name": "pay"}))["error"]["data"]["may_have_run"] is True
        assert methods(server).count("tools/call") == 1


# --- A session that was lost ---------------------------------------------------------------------------------------


async def test_ten_calls_that_lose_the_session_together_cause_one_new_one_with_all_that_the_old_one_had() -> None:
    desk = Desk()
    async with ScriptedServer(desk) as server, launch(server.url) as host:
        await in_session(host)
        await host.request("logging/setLevel", {"level": "debug"})
        await host.request("resources/subscribe", {"uri": "file:///a"})
        desk.session = 2
        calls = [host.ask("tools/call", {"name": "pay", "n": n}) for n in range(10)]
        async with asyncio.timeout(15):
            assert [(await call)["result"] for call in calls] == [{"fine": True}] * 10
        again = [seen.doc for seen in server.of("POST") if seen.header("Mcp-Session-Id") == "session-2"]
        assert methods(server).count("initialize") == 2
        restored = [doc for doc in again if doc["method"] in ("logging/setLevel", "resources/subscribe")]
        assert sorted(doc["method"] for doc in restored) == ["logging/setLevel", "resources/subscribe"]
        assert {key: doc["params"][key] for doc in restored for key in doc["params"]} == {
            "level": "debug",
            "uri": "file:///a",
        }
        ran = [doc["params"]["n"] for doc in again if doc["method"] == "tools/call"]
        assert sorted(ran) == list(range(10)), "each call ran once"
        assert all(str(json.loads(line).get("id", "")).isdigit() for line in host.heard if b'"id"' in line)


async def test_lists_that_changed_with_the_session_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    async with ScriptedServer(desk) as server, launch(server.url) as host:
        await in_session(host)
        monkeypatch.setitem(TOOLS, "tools", [{"name": "new"}])
        desk.session = 2
        await host.request("tools/call", {"name": "pay"})
        await heard(host, "notifications/tools/list_changed")


# --- The real server, killed ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def demo_server(port: int) -> AsyncIterator[None]:
    """The server's own demo, in a process of its own, which is killed at the end."""
    words = [script("mcp-remote-server"), "--demo", "--port", str(port)]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*words, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(15):
            while not await listens(port):  # noqa: ASYNC110  there is nothing to wait on but the port itself
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize(("way", "path"), [("--http-only", "/mcp"), ("--sse-only", "/sse"), ("--ws-only", "/ws")])
async def test_a_server_that_is_killed_and_comes_back_answers_what_was_asked_meanwhile(way: str, path: str) -> None:
    port = closed_port()
    async with contextlib.AsyncExitStack() as stack:
        async with demo_server(port):
            host = await stack.enter_async_context(launch(f"http://127.0.0.1:{port}{path}", way))
            await in_session(host)
        calls = [host.ask("tools/call", {"name": "echo", "arguments": {"text": str(n)}}) for n in range(5)]
        async with demo_server(port):
            async with asyncio.timeout(20):
                answers = [await call for call in calls]
            assert [answer["result"]["content"][0]["text"] for answer in answers] == [str(n) for n in range(5)]
            assert await host.end() == 0
