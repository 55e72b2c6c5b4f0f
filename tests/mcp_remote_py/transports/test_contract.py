"""Every wire of the bridge keeps the contract of `core.link`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mcp_remote_py.settings import Target
from mcp_remote_py.transports import open_link
from mcp_remote_py.transports.reach import Reach
from tests.support.far_ends import HttpFarEnd, SseFarEnd, websocket_far_end
from tests.support.link_contract import Bench, FarEnd, LinkContract


def _bench(wire: str, url: str, far: FarEnd) -> Bench:
    return Bench(open_link(wire, Reach(Target(url))), far)


class TestStreamableHttp(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = HttpFarEnd()
        async with far.server:
            yield _bench("http", far.server.url, far)


class TestHttpSse(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = SseFarEnd()
        async with far.server:
            yield _bench("sse", far.server.url, far)


class TestWebSocket(LinkContract):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        async with websocket_far_end() as far:
            yield _bench("ws", far.url, far)
