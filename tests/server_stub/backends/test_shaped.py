"""A member's tool filter and names, around links of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_remote_py.core import message as msg
from server_stub.backends import Connect, Peer
from server_stub.backends.handler import connect_handler
from server_stub.backends.process import ProcessLink
from server_stub.backends.shaped import shaped
from server_stub.children import ServerSpec
from server_stub.core.roster import Manners
from tests.server_stub.backends import test_process
from tests.server_stub.backends.merged import Client, Piped, Server, grouped
from tests.server_stub.links import SECONDS
from tests.support.children import child
from tests.support.link_contract import Bench

HOW = pytest.mark.parametrize("piped", [False, True], ids=["handler", "pipe"])


class _Direct(Client):
    """A client of one member; on a pipe an answer comes some time after it was asked for."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(grouped(), Peer("s", None))
        self.link = connect(Peer("s", None))

    async def __call__(self, message: msg.Message, exchange: Any) -> None:
        await super().__call__(message, message.key if message.is_answer else exchange)

    async def send(self, message: msg.Message) -> msg.Message:
        async with asyncio.timeout(SECONDS):
            await self.link.send(message)
            async with self._news:
                await self._news.wait_for(lambda: message.key in self._answers)
        return self._answers[message.key]


@asynccontextmanager
async def client_of(server: Server, *, piped: bool = False, **manners: Any) -> AsyncIterator[_Direct]:
    connect: Connect = Piped(server) if piped else connect_handler(server)
    client = _Direct(shaped(connect, Manners(**manners)))
    async with asyncio.TaskGroup() as tasks:
        await client.link.open(client)
        listening = tasks.create_task(client.link.listen())
        try:
            yield client
        finally:
            await client.link.close()
            listening.cancel()


class TestShapedProcess(test_process.TestProcessLink):
    """It is a link as any other."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        far = test_process.Puppeteer()
        server = await asyncio.start_server(far.take, "127.0.0.1", 0, limit=test_process.LIMIT)
        spec = ServerSpec(command=child("puppet", str(server.sockets[0].getsockname()[1])))
        connect = shaped(lambda _: ProcessLink(spec), Manners(names="snake", block=("hidden",)))
        async with server:
            yield Bench(connect(Peer("s", None)), far)


def test_manners_that_ask_for_nothing_cost_nothing() -> None:
    connect = connect_handler(Server())
    assert shaped(connect, Manners()) is connect
    assert shaped(connect, Manners(allow=())) is not connect


@HOW
async def test_what_is_blocked_is_neither_listed_nor_called(piped: bool) -> None:
    server = Server("read", "delete_file", "delete_all", page=1)
    async with client_of(server, piped=piped, block=("delete*",)) as client:
        assert await client.names() == ["read"]
        error = await client.error("tools/call", name="delete_all")
        assert error["code"] == -32602
        assert error["message"] == 'the tool "delete_all" is blocked by this server\'s toolFilter'
        assert error["data"]["source"] == "mcp-remote-server"
        assert "--" not in str(error)
        assert server.all("tools/call") == []
        assert (await client.result("tools/call", name="read"))["content"][0]["text"] == "read"


@HOW
async def test_of_allowed_tools_there_are_no_others(piped: bool) -> None:
    async with client_of(Server("read", "write", "list"), piped=piped, allow=("read", "l*"), block=("list",)) as client:
        assert await client.names() == ["read"]
        assert "toolFilter allows" in (await client.error("tools/call", name="write"))["message"]
        assert "blocked by" in (await client.error("tools/call", name="list"))["message"]


async def test_an_empty_allow_list_allows_nothing() -> None:
    async with client_of(Server("read"), allow=()) as client:
        assert await client.names() == []
        await client.error("tools/call", name="read")


@HOW
async def test_names_are_translated_both_ways(piped: bool) -> None:
    server = Server("API-get-user", "getUser", "ok", prompts=["Do-It"], page=2)
    async with client_of(server, piped=piped, names="snake") as client:
        assert await client.names() == ["api_get_user", "get_user"]
        assert (await client.result("tools/call", name="api_get_user"))["content"][0]["text"] == "API-get-user"
        assert await client.names("prompts/list") == ["do_it"]
        assert (await client.result("prompts/get", name="do_it"))["description"] == "Do-It"
        asked = await client.result("completion/complete", ref={"type": "ref/prompt", "name": "do_it"})
        assert asked["asked"]["ref"]["name"] == "Do-It"


@HOW
async def test_names_are_translated_in_a_session_that_never_listed_anything(piped: bool) -> None:
    server = Server("ok", "API-get-user", "other-tool", prompts=["Do-It"], page=1)
    async with client_of(server, piped=piped, names="snake") as client:
        assert (await client.result("tools/call", name="api_get_user"))["content"][0]["text"] == "API-get-user"
        assert (await client.result("tools/call", name="ok"))["content"][0]["text"] == "ok"
        assert (await client.result("tools/call", name="unknown"))["content"][0]["text"] == "unknown"
        assert len(server.all("tools/list")) == 3  # its three pages, once
        assert (await client.result("prompts/get", name="do_it"))["description"] == "Do-It"
        assert client.told == []


async def test_a_changed_list_is_fetched_again_for_a_name_that_is_not_known() -> None:
    server = Server("ok")
    async with client_of(server, names="snake") as client:
        await client.result("tools/call", name="ok")
        server.lists["tools/list"] = ["API-new"]
        await client.result("tools/call", name="api_new")
        await server.sessions[0].notify("notifications/tools/list_changed")
        assert (await client.result("tools/call", name="api_new"))["content"][0]["text"] == "API-new"


async def test_the_filter_knows_the_servers_own_names() -> None:
    server = Server("API-get-user", "API-delete-user")
    async with client_of(server, names="snake", block=("API-delete-*",)) as client:
        assert await client.names() == ["api_get_user"]
        await client.error("tools/call", name="api_delete_user")
        await client.error("tools/call", name="API-delete-user")
        assert server.all("tools/call") == []


async def test_a_server_that_cannot_list_is_called_by_the_name_that_was_given() -> None:
    server = Server()
    del server.lists["tools/list"]
    async with client_of(server, names="host-safe") as client:
        assert (await client.result("tools/call", name="x"))["content"][0]["text"] == "x"


async def test_what_is_not_changed_travels_as_it_is() -> None:
    server = Server("ok")
    async with client_of(server, names="host-safe", block=("x",)) as client:
        raw = b'{"id":"\\u0041","params":{"name":"ok","arguments":{"n":1.0}},"method":"tools/call","jsonrpc":"2.0"}'
        assert (await client.send(msg.parse_one(raw))).id == "A"
        await server.sessions[0].notify("notifications/whatever", {"n": 1.0})
        assert b"1.0" in (await client.heard("notifications/whatever")).raw


async def test_the_merged_server_has_its_members_in_their_manners() -> None:
    a = shaped(connect_handler(Server("API-x", "API-y")), Manners(names="snake", block=("*y",)))
    group = grouped(a=a, b=Server("z"))
    client = Client(group, Peer("s", None))
    async with asyncio.TaskGroup() as tasks:
        await client.link.open(client)
        tasks.create_task(client.link.listen())
        result = await client.result("tools/call", name="a__api_x")
        assert result["content"][0]["text"] == "API-x"
        assert await client.names() == ["a__api_x", "b__z"]
        await client.link.close()
