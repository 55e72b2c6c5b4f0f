"""Credentials with the real console script over the three wires: what the server is shown, when a command is run again,
what a refusal is told, and that no secret is written anywhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import WSMsgType, web
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OctKey

from tests.support.host import Host, clean_environment, launch, script

PROGRAM = Path(__file__).parents[1] / "support" / "children" / "token_command.py"
GREETING = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "0"}}
WIRES = ("http", "sse", "ws", "ws-message")


class Guarded:
    """An MCP server on all wires that takes the credentials in `good` alone; `shown` has all it saw, in their order."""

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.takes_all = False
        self.shown: list[str] = []
        self.others: list[dict[str, str]] = []
        self.port = 0
        self.sockets: list[web.WebSocketResponse] = []
        self._streams: list[web.StreamResponse] = []

    def url(self, wire: str) -> str:
        path = {"http": "/mcp", "sse": "/sse"}.get(wire, "/ws")
        return f"{'ws' if wire.startswith('ws') else 'http'}://127.0.0.1:{self.port}{path}"

    def lets_in(self, text: str, headers: dict[str, str] | None = None) -> bool:
        self.shown.append(text)
        self.others.append(headers or {})
        return self.takes_all or text in self.good

    def _asked(self, request: web.Request) -> bool:
        return self.lets_in(request.headers.get("Authorization", ""), dict(request.headers))

    async def post(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        if not self._asked(request):
            return web.Response(status=401)
        if "id" not in message:
            return web.Response(status=202)
        return web.json_response(answer(message))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if not self._asked(request):
            return web.Response(status=401)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self._streams.append(response)
        await response.write(b"event: endpoint\ndata: /messages\n\n")
        await asyncio.Event().wait()
        return response

    async def message(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        if not self._asked(request):
            return web.Response(status=401)
        if "id" in message:
            await self._streams[-1].write(f"data: {json.dumps(answer(message))}\n\n".encode())
        return web.Response(status=202)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        by_message = request.headers.get("Authorization") is None
        if not by_message and not self._asked(request):
            return web.Response(status=401)
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        self.sockets.append(socket)
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            message = json.loads(frame.data)
            if "token" in message:
                if not self.lets_in(f"Bearer {message['token']}"):
                    await socket.close(code=4002, message=b"Invalid token")
            elif "id" in message:
                await socket.send_json(answer(message))
        return socket


def answer(message: dict[str, Any]) -> dict[str, Any]:
    result = GREETING if message["method"] == "initialize" else {"fine": True}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


@contextlib.asynccontextmanager
async def guarded(*good: str) -> AsyncIterator[Guarded]:
    server = Guarded()
    server.good = set(good)
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    app.router.add_get("/mcp", no_stream)
    app.router.add_get("/sse", server.stream)
    app.router.add_post("/messages", server.message)
    app.router.add_get("/ws", server.socket)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def no_stream(request: web.Request) -> web.Response:
    return web.Response(status=405)


def way(server: Guarded, wire: str) -> list[str]:
    more = {"http": ["--http-only"], "sse": ["--sse-only"], "ws-message": ["--ws-auth", "message"]}
    return [server.url(wire), *more.get(wire, [])]


class Command:
    """A command, what its runs print, and how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flags = ["--bearer-command", f'"{sys.executable}" "{PROGRAM}" "{folder}"']

    def plans(self, *steps: dict[str, Any]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(steps))

    @property
    def pids(self) -> list[int]:
        path = self.folder / "runs"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    @property
    def runs(self) -> int:
        return len(self.pids)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what other processes do is no event here
            await asyncio.sleep(0.01)


def jwt(expires: float, number: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(expires), "n": number}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


async def call(host: Host) -> dict[str, Any]:
    return await host.request("tools/call", {"name": "t"})


def start(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the console script to its end, without input."""
    words = [script("mcp-remote-py"), *arguments]
    return subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=clean_environment(**env),
        timeout=30,
        check=False,
    )


# --- A command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
async def test_the_token_of_a_command_is_shown(wire: str, command: Command) -> None:
    command.plans({"out": "tok-first\n", "err": "signing in\n"})
    async with guarded("Bearer tok-first") as server, launch(*way(server, wire), *command.flags) as host:
        assert "result" in await host.greet()
        assert (await call(host))["result"] == {"fine": True}
        assert await host.end() == 0
    assert set(server.shown) == {"Bearer tok-first"}
    assert command.runs == 1
    log = host.log.decode()
    assert "--bearer-command says: signing in" in log
    assert "tok-first" not in log


@pytest.mark.parametrize("wire", WIRES)
async def test_after_a_401_the_command_is_run_once_more_and_nobody_notices(wire: str, command: Command) -> None:
    command.plans({"out": "tok-old"}, {"out": "tok-new"})
    async with guarded("Bearer tok-new") as server, launch(*way(server, wire), *command.flags) as host:
        assert "result" in await host.greet()
        assert (await call(host))["result"] == {"fine": True}
    assert server.shown[:2] == ["Bearer tok-old", "Bearer tok-new"]
    assert set(server.shown[2:]) <= {"Bearer tok-new"}
    assert command.runs == 2


@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_a_token_that_is_revoked_in_the_middle_is_replaced_by_one_run_for_fifty_calls(
    wire: str, command: Command
) -> None:
    command.plans({"out": "tok-old"}, {"out": "tok-new"}, {"out": "tok-too-new"})
    async with guarded("Bearer tok-old") as server, launch(*way(server, wire), *command.flags) as host:
        await host.greet()
        await call(host)
        server.good = {"Bearer tok-new"}
        answers = await asyncio.gather(*(call(host) for _ in range(50)))
    assert all(one.get("result") == {"fine": True} for one in answers)
    assert command.runs == 2


@pytest.mark.parametrize("wire", WIRES)
async def test_a_token_that_is_refused_again_is_an_error_that_names_its_source(wire: str, command: Command) -> None:
    command.plans({"out": "tok-same"})
    async with guarded() as server, launch(*way(server, wire), *command.flags) as host:
        error = (await host.greet())["error"]
        assert error["code"] == -31005
        assert "refused the token from --bearer-command" in error["message"]
        assert error["data"]["may_have_run"] is False
        assert "right account" in error["data"]["hint"]
        assert command.runs == 2
        assert server.shown == ["Bearer tok-same"], "the same token is not tried twice"
    assert b"tok-same" not in host.log


async def test_a_token_close_to_its_end_is_renewed_before_the_call(command: Command) -> None:
    old, new = jwt(time.time() + 20, 1), jwt(time.time() + 3600, 2)
    command.plans({"out": old}, {"out": json.dumps({"access_token": new, "expires_in": 3600})}, {"out": "never"})
    async with (
        guarded(f"Bearer {old}", f"Bearer {new}") as server,
        launch(*way(server, "http"), *command.flags) as host,
    ):
        await host.greet()
        for _ in range(3):
            assert "result" in await call(host)
        assert server.shown[-1] == f"Bearer {new}"
    assert command.runs == 2


@pytest.mark.parametrize("wire", ["ws", "ws-message"])
async def test_a_socket_that_is_closed_for_its_token_is_opened_again_with_another(wire: str, command: Command) -> None:
    command.plans({"out": "tok-old"}, {"out": "tok-new"})
    async with guarded("Bearer tok-old") as server, launch(*way(server, wire), *command.flags) as host:
        await host.greet()
        assert "result" in await call(host)
        server.good = {"Bearer tok-new"}
        await server.sockets[-1].close(code=4001, message=b"token expired")
        await until(lambda: b"the connection was lost" in host.log)
        assert "result" in await call(host)
    assert command.runs == 2
    assert server.shown == ["Bearer tok-old", "Bearer tok-new"]


async def test_fifty_first_calls_cause_one_run(command: Command) -> None:
    command.plans({"out": "tok-first", "wait": str(command.folder / "go")})
    async with guarded("Bearer tok-first") as server, launch(*way(server, "http"), *command.flags) as host:
        asked = [host.ask("ping") for _ in range(50)]
        await until(lambda: command.runs == 1)
        (command.folder / "go").touch()
        assert all("result" in one for one in await asyncio.gather(*asked))
    assert command.runs == 1


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("step", "words", "flags"),
    [
        ({"code": 3, "err": "please log in\n"}, "exit code 3", []),
        ({"out": "two words"}, "printed no token", []),
        ({"out": "tok", "hang": True}, "longer than 1.5 s", ["--bearer-command-timeout", "1500ms"]),
    ],
)
async def test_a_command_that_fails_is_named_and_the_next_call_tries_again(
    wire: str, step: dict[str, Any], words: str, flags: list[str], command: Command
) -> None:
    command.plans(step)
    async with guarded("Bearer tok-mended") as server, launch(*way(server, wire), *command.flags, *flags) as host:
        error = (await host.greet())["error"]
        assert (error["code"], error["data"]["may_have_run"]) == (-31005, False)
        assert words in error["message"]
        assert "--bearer-command" in error["message"]
        assert "two words" not in json.dumps(error)
        command.plans({"out": "tok-mended"})
        assert "result" in await host.greet()
        assert await host.end() == 0
    assert server.shown[0] == "Bearer tok-mended", "nothing was sent before"
    if "err" in step:
        assert b"warning: --bearer-command says: please log in" in host.log


async def test_a_command_does_not_outlive_the_bridge(command: Command) -> None:
    command.plans({"hang": True, "child": True})
    async with guarded() as server, launch(*way(server, "http"), *command.flags) as host:
        host.ask("initialize", {"protocolVersion": "2025-06-18"})
        await until(lambda: (command.folder / "child").exists() and (command.folder / "child").read_text() != "")
        began = time.monotonic()
        assert await host.end() == 0
        assert time.monotonic() - began < 5
    pids = [*command.pids, int((command.folder / "child").read_text())]
    await until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_command_that_takes_longer_than_connecting_may_is_waited_for(command: Command) -> None:
    command.plans({"out": "tok-first", "wait": str(command.folder / "go")})
    flags = [*command.flags, "--connect-timeout", "200ms"]
    async with guarded("Bearer tok-first") as server, launch(*way(server, "sse"), *flags) as host:
        asked = host.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
        await until(lambda: command.runs == 1)
        await asyncio.sleep(0.4)  # longer than the limit
        (command.folder / "go").touch()
        assert "result" in await asked


# --- Files, passwords, keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_files_are_read_again(wire: str, tmp_path: Path) -> None:
    token, header = tmp_path / "token", tmp_path / "headers"
    token.write_text("tok-one\n")
    header.write_text("X-Key: ${KEY}-one\n")
    flags = ["--bearer-file", str(token), "--header-file", str(header)]
    env = clean_environment(KEY="key-value")
    async with guarded("Bearer tok-one") as server, launch(*way(server, wire), *flags, env=env) as host:
        await host.greet()
        await call(host)
        assert server.others[-1]["X-Key"] == "key-value-one"
        if wire != "ws":
            server.good = {"Bearer tok-second"}
            token.write_text("tok-second\n")
            header.write_text("X-Key: ${KEY}-second\n")
            assert "result" in await call(host)
            assert server.others[-1]["X-Key"] == "key-value-second"
    for secret in (b"tok-one", b"tok-second", b"key-value"):
        assert secret not in host.log


async def test_a_bearer_file_without_a_token_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    async with guarded() as server, launch(server.url("http"), "--bearer-file", str(tmp_path / "token")) as host:
        error = (await host.greet())["error"]
        assert error["code"] == -31005
        assert str(tmp_path / "token") in error["message"]
        assert server.shown == []


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_basic(wire: str) -> None:
    pair = "Basic " + base64.b64encode("j\u00fcrgen:p\u00e4ss w\u00f6rd".encode()).decode()
    env = clean_environment(MCP_REMOTE_PY_BASIC_PASSWORD="p\u00e4ss w\u00f6rd", LC_ALL="C.UTF-8")
    async with guarded(pair) as server:
        async with launch(*way(server, wire), "--basic", "j\u00fcrgen", env=env) as host:
            assert "result" in await host.greet()
        server.good = set()
        async with launch(*way(server, wire), "--basic", "j\u00fcrgen", "--debug", env=env) as host:
            error = (await host.greet())["error"]
        assert "the user name or the password of --basic" in error["message"]
    assert b"p\xc3\xa4ss" not in host.log


@pytest.mark.parametrize("wire", WIRES)
async def test_a_jwt_is_signed_and_the_server_can_verify_it(wire: str) -> None:
    key = "0123456789abcdef0123456789abcdef"
    flags = ["--jwt-key-env", "KEY", "--jwt-issuer", "me", "--jwt-claim", 'roles=["a"]', "--jwt-ttl", "60s"]
    async with guarded() as server:
        server.takes_all = True
        async with launch(*way(server, wire), *flags, env=clean_environment(KEY=key)) as host:
            assert "result" in await host.greet()
            await call(host)
    tokens = {text.removeprefix("Bearer ") for text in server.shown}
    (token,) = tokens
    claims = joserfc_jwt.decode(token, OctKey.import_key(key)).claims
    assert (claims["iss"], claims["roles"], claims["exp"] - claims["iat"]) == ("me", ["a"], 60)
    assert token.encode() not in host.log


async def test_a_refused_jwt_names_its_key_and_is_not_tried_twice() -> None:
    env = clean_environment(KEY="0123456789abcdef0123456789abcdef")
    async with guarded() as server, launch(server.url("http"), "--jwt-key-env", "KEY", env=env) as host:
        error = (await host.greet())["error"]
        assert "the JWT signed with --jwt-key-env KEY" in error["message"]
        assert "audience" in error["data"]["hint"]
        assert len(server.shown) == 1


async def test_the_token_of_the_environment_is_named_too() -> None:
    env = clean_environment(MCP_AUTH_TOKEN="Bearer tok-of-env")
    async with guarded() as server, launch(server.url("http"), env=env) as host:
        error = (await host.greet())["error"]
        assert "refused the token from MCP_AUTH_TOKEN (HTTP 401)" in error["message"]
        assert server.shown == ["Bearer tok-of-env"]


async def test_without_an_authorization_a_401_asks_for_a_sign_in() -> None:
    async with guarded() as server, launch(server.url("http"), "--header", "X-Key: abc") as host:
        await host.greet()
        assert (await host.request("tools/list"))["error"]["data"]["name"] == "SignInNeeded"
        assert server.others[0]["X-Key"] == "abc"


# --- At the start ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--bearer-command", "no-such-program-of-ours x"], ["--bearer-command", "no-such-program-of-ours"]),
        (["--bearer-file", "/no/such/file"], ["--bearer-file", "/no/such/file"]),
        (["--jwt-key-env", "KEY", "--jwt-alg", "RS256"], ["--jwt-key-env KEY", "RSA"]),
        (["--jwt-key-env", "NOPE"], ["--jwt-key-env", "NOPE"]),
        (["--basic", "me"], ["--basic", "MCP_REMOTE_PY_BASIC_PASSWORD"]),
        (["--bearer-command", "sh", "--jwt-key-env", "KEY"], ["--bearer-command", "--jwt-key-env KEY"]),
    ],
)
def test_what_cannot_work_ends_with_2_and_names_the_option(flags: list[str], words: list[str]) -> None:
    done = start("http://127.0.0.1:9/mcp", *flags, KEY="secret-of-key")
    assert done.returncode == 2
    assert all(word in done.stderr for word in words)
    assert "secret-of-key" not in done.stderr
    assert done.stdout == ""


def test_the_higher_level_wins_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok-file")
    done = start("http://127.0.0.1:9/mcp", "--bearer-file", str(tmp_path / "token"), MCP_AUTH_TOKEN="tok-env")
    assert done.returncode == 0
    assert "so MCP_AUTH_TOKEN is not used" in done.stderr
    noted = start("http://127.0.0.1:9/mcp", API_ACCESS_TOKEN="tok-of-another", JUNK=os.devnull)
    assert "API_ACCESS_TOKEN" in noted.stderr
    short = start("http://127.0.0.1:9/mcp", "--jwt-key-env", "KEY", KEY="short-key")
    assert "at least 32" in short.stderr
