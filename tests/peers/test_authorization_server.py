"""Signing in at an authorization server that we did not write: npm's oidc-provider, with its own pages."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.e2e.test_sign_in import command
from tests.peers.install import Peers
from tests.peers.programs import running
from tests.support.authorization_server import Access, Permission
from tests.support.dialects import PLAIN
from tests.support.host import launch
from tests.support.zoo import Browser, Zoo, open_zoo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).parent / "hosts" / "authorization_server.mjs"
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
FOR_EVER = 2.0**40


class Foreign(Zoo):
    """The zoo's MCP server, whose tokens another authorization server gives and knows."""

    foreign_issuer = ""
    refused: frozenset[str] = frozenset()
    """Tokens that are taken no longer."""

    async def resource_metadata(self, request: web.Request) -> web.Response:
        document = json.loads((await super().resource_metadata(request)).text or "{}")
        return web.json_response({**document, "authorization_servers": [self.foreign_issuer]})

    async def mcp(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").partition(" ")[2]
        found = await self._known_there(token) if token and token not in self.refused else None
        if found is not None:
            permission = Permission(0, found["client_id"], found.get("scope", ""), found.get("aud"))
            self.access[token] = Access(permission, FOR_EVER, found.get("jkt"))
        else:
            self.access.pop(token, None)
        return await super().mcp(request)

    async def _known_there(self, token: str) -> dict[str, Any] | None:
        async with (
            ClientSession() as session,
            session.post(f"{self.foreign_issuer}/check", data={"token": token}) as answer,
        ):
            return await answer.json() if answer.status == 200 else None


@contextlib.asynccontextmanager
async def foreign_zoo(peers: Peers, **environment: str) -> AsyncIterator[Foreign]:
    """Both servers."""
    async with open_zoo(PLAIN, made=Foreign) as zoo:
        assert isinstance(zoo, Foreign)
        line = [peers.newer_node, str(PROGRAM), zoo.origins["mcp"]]
        async with running(line, env={"PEERS_DIR": str(peers.folder), **environment}) as child:
            zoo.foreign_issuer = (await child.logged(_LISTENING)).group(1)
            yield zoo
            assert not [entry for entry in child.log if ".error" in entry], child.log


@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
@pytest.mark.parametrize("with_dpop", ["0", "1"])
async def test_a_sign_in_at_oidc_provider(wire: str, with_dpop: str, peers: Peers, tmp_path: Path) -> None:
    """Registration, PKCE, its login and consent pages, the resource as audience; a renewal, a step-up, a logout."""
    browser = Browser(tmp_path)
    environment = browser.environment(tmp_path / "home")
    async with foreign_zoo(peers, WITH_DPOP=with_dpop) as zoo:
        zoo.challenge_scope, zoo.needs = "read", {"writer": "write"}
        words = [zoo.url(wire), "--transport", f"{wire}-only", "--debug"]
        async with launch(*words, env=environment) as host:
            assert "result" in await host.greet()
            answer = await host.request("tools/call", {"name": "tool", "arguments": {}})
            assert "result" in answer, host.log.decode()
            await host.end()
        assert browser.tabs() == 1
        scheme = "DPoP" if with_dpop == "1" else "Bearer"
        shown = zoo.tokens_shown()
        assert shown
        assert {text.partition(" ")[0] for text in shown} == {scheme}
        assert {access.permission.resource for access in zoo.access.values()} == {_resource(zoo, wire)}
        zoo.refused = frozenset(text.partition(" ")[2] for text in shown)
        async with launch(*words, env=environment) as host:
            assert "result" in await host.greet()
            assert "result" in await host.request("tools/call", {"name": "tool", "arguments": {}}), host.log.decode()
            if wire != "ws":
                answer = await host.request("tools/call", {"name": "writer", "arguments": {}})
                assert "result" in answer, host.log.decode()
            await host.end()
        assert browser.tabs() == (1 if wire == "ws" else 2)
        assert len(set(zoo.tokens_shown())) > 1, "it was renewed"
        code, _, log = await command("logout", zoo.url(wire), browser=browser, home=tmp_path / "home")
        assert code == 0, log
        assert await zoo._known_there(zoo.tokens_shown()[-1].partition(" ")[2]) is None, "it was revoked there"


def _resource(zoo: Zoo, wire: str) -> str:
    return zoo.origins["mcp"] + {"http": "/mcp", "sse": "/sse", "ws": "/ws"}[wire]
