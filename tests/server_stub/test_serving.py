"""serve() and RemoteMCPServer: programs of a few lines, run as programs, and the settings they mean."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import server_stub
from mcp_remote_py.core.message import request
from server_stub import RemoteMCPServer, ToolServer
from server_stub.backends import Peer
from server_stub.serving import settings_of
from server_stub.settings import Auth, Jwt, Limits
from tests.server_stub.backends.test_handler import scene
from tests.server_stub.links import initialize, within

TOOLS = """
from server_stub import ToolServer, serve
server = ToolServer("weather", "1.0")
@server.tool
def forecast(city: str) -> str:
    return f"{city}: rain"
serve(server, port=0)
"""

OLDER = """
from server_stub import RemoteMCPServer
class MCPHandler:
    def handle_request(self, data):
        return {"jsonrpc": "2.0", "id": data.get("id"), "result": {"asked": data["method"]}}
RemoteMCPServer(port=0, handler=MCPHandler()).run()
"""


@asynccontextmanager
async def program(text: str, **environment: str) -> AsyncIterator[str]:
    """Run a program that serves; yield its URL. It must stop in order when it is asked to."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        text,
        stderr=subprocess.PIPE,
        env={**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **environment},
    )
    assert process.stderr is not None
    try:
        first = (await within(process.stderr.readline())).decode()
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", first)
        assert found, first + (await process.stderr.read()).decode()
        yield found.group(1)
        process.send_signal(signal.SIGTERM)
        _, rest = await within(process.communicate())
        assert process.returncode == 0, rest.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ask(url: str, document: dict[str, Any], **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(f"{url}/mcp", json=document, headers={"Accept": "application/json", **headers})


async def test_a_tool_server_of_ten_lines_is_served() -> None:
    async with program(TOOLS) as url:
        response = await ask(url, initialize())
        assert response.json()["result"]["serverInfo"] == {"name": "weather", "version": "1.0"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "forecast"}}
        call["params"] = {"name": "forecast", "arguments": {"city": "Bergen"}}
        session = response.headers["mcp-session-id"]
        response = await ask(url, call, **{"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-06-18"})
        assert response.json()["result"]["content"] == [{"type": "text", "text": "Bergen: rain"}]


async def test_the_older_class_serves_an_older_handler_and_asks_for_the_token() -> None:
    async with program(OLDER, MCP_AUTH_TOKEN="from-the-environment") as url:
        assert (await ask(url, initialize())).status_code == 401
        assert (await ask(url, initialize(), Authorization="Bearer default-secret-token")).status_code == 401
        response = await ask(url, initialize(), Authorization="Bearer from-the-environment")
        assert response.json()["result"] == {"asked": "initialize"}


# --- What a RemoteMCPServer serves -----------------------------------------------------------------------------------


async def _answer(server: RemoteMCPServer) -> Any:
    async with scene(server.as_handler(), Peer("s", None)) as s:
        return (await s.ask(request(7, "some/method", {}))).doc


class _Sync(RemoteMCPServer):
    def handle_request(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "result": message["method"]}


class _Async(RemoteMCPServer):
    async def handle_request(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "result": message["method"]}


class _Text(RemoteMCPServer):
    def handle_request(self, message: dict[str, Any]) -> Any:
        return message["method"]


@pytest.mark.parametrize("server", [_Sync(), _Async(), RemoteMCPServer(handler=_Sync())])
async def test_handle_request_answers_wherever_it_is_defined(server: RemoteMCPServer) -> None:
    assert await _answer(server) == {"jsonrpc": "2.0", "id": 7, "result": "some/method"}


async def test_what_handle_request_must_not_return_is_an_internal_error() -> None:
    assert (await _answer(_Text()))["error"]["code"] == -32603


async def test_a_handler_is_used_as_it_is() -> None:
    server = ToolServer("mine")
    assert RemoteMCPServer(handler=server).as_handler() is server


async def test_without_any_handler_a_server_without_tools_answers(caplog: pytest.LogCaptureFixture) -> None:
    handler = RemoteMCPServer().as_handler()
    assert "no handler" in caplog.text
    async with scene(handler) as s:
        assert (await s.ask(request(1, "tools/list"))).result == {"tools": []}


def test_what_cannot_be_called_is_no_handler() -> None:
    with pytest.raises(TypeError, match="a handler is a function"):
        RemoteMCPServer(handler=5).as_handler()


def test_it_listens_on_loopback_and_port_8080_unless_told_otherwise() -> None:
    server = RemoteMCPServer()
    assert (server.host, server.port) == ("127.0.0.1", 8080)
    assert (RemoteMCPServer("::1", 9).host, RemoteMCPServer("::1", 9).port) == ("::1", 9)


# --- Options ---------------------------------------------------------------------------------------------------------


def test_short_forms_become_settings_and_their_secrets_are_known() -> None:
    jwt = Jwt(secret="jwt-secret")
    settings = settings_of(
        "127.0.0.1",
        1,
        {
            "token": "one",
            "tokens": ["two"],
            "jwt": jwt,
            "allowed_hosts": ["a.example"],
            "cors_origins": ["https://b.example"],
            "public_url": "https://a.example/x",
            "limits": Limits(sessions=3),
            "stateless": True,
        },
    )
    assert settings.auth == Auth(("two", "one"), jwt)
    assert (settings.doors.hosts, settings.doors.cors_origins) == (("a.example",), ("https://b.example",))
    assert settings.doors.public_url == "https://a.example/x"
    assert (settings.limits.sessions, settings.stateless, settings.port) == (3, True, 1)
    assert set(settings.secrets) == {"one", "two", "jwt-secret"}


def test_without_options_nobody_needs_a_token() -> None:
    assert not settings_of("127.0.0.1", 8080, {}).auth.is_on


def test_an_option_that_does_not_exist_is_refused_with_a_guess() -> None:
    with pytest.raises(TypeError, match=r"no option 'statless'.*stateless"):
        settings_of("127.0.0.1", 1, {"statless": True})


# --- The package -----------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_listed() -> None:
    for name in server_stub.__all__:
        assert getattr(server_stub, name) is not None
        assert name in dir(server_stub)
    with pytest.raises(AttributeError):
        _ = server_stub.nothing


def test_importing_the_package_or_its_tools_loads_no_web_framework() -> None:
    program_text = "import sys, server_stub; server_stub.ToolServer; server_stub.serve; print('aiohttp' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program_text], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
