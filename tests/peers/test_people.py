"""What a person really sees: a sign-in in Chromium, consent and callback page included, and a code in a terminal.

`SIGN_IN_SCREENSHOT=FILE.png` keeps the picture of the last page, which is the one in docs/how-to/sign-in.md.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.test_sign_in import SECONDS
from tests.peers.install import Peers
from tests.peers.test_authorization_server import foreign_zoo
from tests.support.host import clean_environment, launch, script
from tests.support.zoo import Browser, open_zoo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="neither tmux nor this way to start Chromium"),
]

CLICK = """(() => {
  for (const field of document.querySelectorAll('input[required]')) field.value = 'somebody';
  const button = document.querySelector('button');
  if (button) button.click();
  return document.body.innerText;
})()"""


def program(*names: str) -> str:
    """Return where one of these programs is. Where `CI=true`, it has to be there."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{names[0]} is missing, and CI needs it")
        pytest.skip(f"{names[0]} is not installed")
    return found


async def eventually(look: Callable[[], Awaitable[Any]], text: str) -> str:
    """Look until this is seen; returns all that is seen then."""
    seen = ""
    for _ in range(300):
        seen = str(await look())
        if text in seen:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"{text!r} is not in {seen!r}")


class Tab:
    """One page of a running Chromium, by its DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                found: dict[str, Any] = answer.get("result", answer)
                return found

    async def value(self, expression: str) -> Any:
        answer = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value")


@asynccontextmanager
async def tab_of(profile: Path) -> AsyncIterator[Tab]:
    """The first page of the Chromium with this profile, which somebody else starts; it is closed at the end."""
    lines = profile / "DevToolsActivePort"

    async def place() -> str:
        return lines.read_text() if lines.exists() else ""

    port = (await eventually(place, "/devtools/")).split()[0]
    async with ClientSession() as session:

        async def pages() -> str:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                found = await answer.json(content_type=None)
                return " ".join(page["webSocketDebuggerUrl"] for page in found if page["type"] == "page")

        address = (await eventually(pages, "ws:")).split()[0]
    async with connect(address, max_size=None, proxy=None) as socket:
        tab = Tab(socket)
        try:
            yield tab
        finally:
            await tab.ask("Browser.close")


async def test_a_sign_in_in_chromium(peers: Peers, tmp_path: Path) -> None:
    """The pages are those of oidc-provider; the last one is ours."""
    chromium, profile = program("chromium", "chromium-browser", "google-chrome"), tmp_path / "profile"
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=900,500"]
    browser = " ".join([chromium, *words, "--remote-debugging-port=0", f"--user-data-dir={profile}", "%s"])
    environment = clean_environment(MCP_REMOTE_PY_HOME=str(tmp_path / "home"), BROWSER=browser)
    async with foreign_zoo(peers) as zoo, launch(zoo.url(), "--debug", env=environment) as host:
        zoo.challenge_scope = "read"
        await host.greet()
        call = host.ask("tools/call", {"name": "tool", "arguments": {}})
        async with tab_of(profile) as tab:
            await eventually(lambda: tab.value(CLICK), "Signed in to")
            async with asyncio.timeout(SECONDS):
                assert "result" in await call, host.log.decode()
            assert await tab.value("getComputedStyle(document.querySelector('main')).paddingTop") == "32px", "its style"
            assert "127.0.0.1" in await tab.value("document.title")
            assert await tab.value("document.scripts.length") == 0
            picture = base64.b64decode((await tab.ask("Page.captureScreenshot"))["data"])
        assert picture.startswith(b"\x89PNG")
        if "SIGN_IN_SCREENSHOT" in os.environ:
            await asyncio.to_thread(Path(os.environ["SIGN_IN_SCREENSHOT"]).write_bytes, picture)


async def test_a_device_code_in_a_terminal(tmp_path: Path) -> None:
    tmux, name = program("tmux"), f"sign-in-{os.getpid()}"
    environment = Browser(tmp_path).environment(tmp_path / "home")

    async def terminal(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            tmux, "-L", name, *words, stdout=asyncio.subprocess.PIPE, env={**environment, "TERM": "xterm-256color"}
        )
        return (await process.communicate())[0].decode()

    async with open_zoo() as zoo:
        zoo.device_polls = -1
        command = f"'{script('mcp-remote-py')}' login {zoo.url()} --device-code; echo EXIT $?; sleep 60"
        await terminal("new-session", "-d", "-x", "120", "-y", "60", command)
        try:
            shown = await eventually(lambda: terminal("capture-pane", "-p"), "WDJB-MJHT")
            assert f"{zoo.origins['auth']}/verify" in shown
            async with ClientSession() as session, session.get(f"{zoo.origins['auth']}/verify"):
                pass  # whoever opens it agrees
            await eventually(lambda: terminal("capture-pane", "-p"), "EXIT 0")
        finally:
            await terminal("kill-server")
        async with launch(zoo.url(), env=environment) as host:
            await host.greet()
            assert "result" in await host.request("tools/call", {"name": "tool", "arguments": {}})
        assert zoo.counts()["authorize"] == 0
