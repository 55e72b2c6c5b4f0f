"""Cold start, as sets of modules: what is loaded when, on any machine. Milliseconds are measured in tests/bench."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.support.fake_remote import fake_remote
from tests.support.host import clean_environment, launch, python_command

HEAVY = {"httpx", "httpcore", "httpx_sse", "websockets", "jwt", "truststore", "aiohttp", "cryptography", "server_stub"}
NEVER = {"aiohttp", "server_stub", "jwt", "cryptography", "importlib.metadata", "email", "rich", "pydantic"}

AT_EXIT = """
import os, sys
real = os._exit
def leave(code):
    with open(sys.argv[1], "w") as file:
        file.write("\\n".join(sys.modules))
    real(code)
os._exit = leave
from mcp_remote_py.cli import main
sys.exit(main(sys.argv[2:]))
"""


def after(source: str) -> set[str]:
    """The modules that are loaded after this Python text."""
    command = python_command(source + "\nimport sys; sys.stderr.write('\\n'.join(sys.modules))")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    return set(done.stderr.split())


def test_version_and_help_load_next_to_nothing() -> None:
    for flag in ("--version", "--help"):
        loaded = after(f"from mcp_remote_py.cli import main; main([{flag!r}])")
        assert not loaded & (HEAVY | {"asyncio", "ssl", "logging", "socket", "subprocess"}), flag


def test_the_package_itself_loads_nothing() -> None:
    assert not {name for name in after("import mcp_remote_py") if name.startswith("mcp_remote_py.")}


def test_the_bridge_before_its_first_message_has_no_network_library() -> None:
    loaded = after("import mcp_remote_py.bridge")
    assert not loaded & HEAVY


@pytest.mark.parametrize("wire", ["http", "https"])
async def test_after_initialize_over_http_and_https(wire: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = None
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    if wire == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    modules = tmp_path / "modules"
    command = [*python_command(AT_EXIT), str(modules)]
    extra = ["--ca-bundle", str(root)] if context else []
    async with fake_remote(context) as remote, launch(remote.url, *extra, command=command) as host:
        assert "result" in await host.greet()
        assert await host.end() == 0
    loaded = set(modules.read_text().split())
    assert not loaded & ((NEVER - {"email", "importlib.metadata"}) | {"websockets"})
    assert ("mcp_remote_py.net.tls" in loaded) == (wire == "https")
    assert ("truststore" in loaded) == (wire == "https" and sys.platform in ("darwin", "win32"))
    assert not loaded & {"mcp_remote_py.net.client_certificate", "mcp_remote_py.net.refusals"}


async def test_after_initialize_over_a_websocket(tmp_path: Path) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and "id" in (doc := message.json()):
                await socket.send_json({"jsonrpc": "2.0", "id": doc["id"], "result": {"protocolVersion": "2025-06-18"}})
        return socket

    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    modules = tmp_path / "modules"
    try:
        url = f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
        async with launch(url, command=[*python_command(AT_EXIT), str(modules)]) as host:
            assert "result" in await host.greet()
            assert await host.end() == 0
    finally:
        await runner.cleanup()
    loaded = set(modules.read_text().split())
    assert not loaded & ((NEVER - {"email", "importlib.metadata"}) | {"httpx", "httpcore", "httpx_sse", "truststore"})
    assert "websockets" in loaded
