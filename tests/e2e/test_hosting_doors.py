"""Whom a hosted server lets in, as a real process: tokens that are taken away while streams are open."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.server_stub.links import initialize
from tests.support.hosted import HostedServer, hosted, named

OLD, KEPT, OWN = "a token that will be taken away", "a token that stays", "a token of one member"


def heads(*tokens: str) -> dict[str, Any]:
    return {
        "mcpProxy": {"baseURL": "http://localhost", "name": "test", "options": {"authTokens": list(tokens)}},
        "mcpServers": {"a": named("a"), "b": named("b", options={"authTokens": [OWN]})},
    }


async def opened(server: HostedServer, path: str, token: str) -> ClientConnection:
    url = f"{server.url.replace('http', 'ws')}{path}"
    talk = await connect(url, proxy=None, additional_headers={"Authorization": f"Bearer {token}"})
    await talk.send(json.dumps(initialize()))
    assert "result" in json.loads(await talk.recv())
    return talk


async def test_who_loses_its_token_loses_what_it_has_open(tmp_path: Path) -> None:
    async with hosted(heads(OLD, KEPT), tmp_path, "--aggregate") as server, asyncio.timeout(20):
        gone = [await opened(server, path, OLD) for path in ("/a/ws", "/ws")]
        stay = [await opened(server, path, KEPT) for path in ("/a/ws", "/ws")]
        stay.append(await opened(server, "/b/ws", OWN))
        async with server.http.stream("GET", f"{server.url}/a/sse", headers={"Authorization": f"Bearer {OLD}"}) as sse:
            server.rewrite(heads(KEPT))
            await server.until_logged("read again")
            async for _ in sse.aiter_lines():
                pass  # it ends
        for talk in gone:
            with pytest.raises(ConnectionClosed):
                await talk.recv()
        for talk in stay:
            await talk.send('{"jsonrpc":"2.0","id":9,"method":"tools/list"}')
            assert "result" in json.loads(await talk.recv())
            await talk.close()
