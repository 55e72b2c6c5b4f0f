"""The demo server touches every part of the protocol, also for clients that offer nothing."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import request
from server_stub.demo import make_demo, server
from server_stub.tools import ToolServer
from tests.server_stub.backends.test_handler import Scene, scene


async def call(s: Scene, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments, "_meta": {"progressToken": "t"}}
    return (await s.ask(request(f"id-{len(s.delivered.items)}", "tools/call", params))).result


def text_of(result: dict[str, Any]) -> str:
    ((block),) = result["content"]
    return str(block["text"])


def test_there_is_one_to_serve() -> None:
    assert isinstance(server, ToolServer)


async def test_it_offers_tools_a_resource_and_a_prompt() -> None:
    async with scene(make_demo()) as s:
        tools = (await s.ask(request(1, "tools/list"))).result["tools"]
        assert [tool["name"] for tool in tools] == ["echo", "add", "slow", "ask_user", "sample", "roots"]
        assert all(tool["description"] for tool in tools)
        contents = (await s.ask(request(2, "resources/read", {"uri": "demo://greeting"}))).result["contents"]
        assert contents[0]["text"] == "Hello from the demo server."
        prompt = (await s.ask(request(3, "prompts/get", {"name": "greet", "arguments": {"name": "Ann"}}))).result
        assert "greets Ann" in prompt["messages"][0]["content"]["text"]


async def test_the_plain_tools_do_what_they_say() -> None:
    async with scene(make_demo()) as s:
        assert text_of(await call(s, "echo", text="héllo")) == "héllo"
        assert (await call(s, "add", a=2, b=3))["structuredContent"] == {"sum": 5}
        assert (await call(s, "add", a=0.5, b=0.25))["structuredContent"] == {"sum": 0.75}
        assert (await call(s, "add", a=1e308, b=1e308))["isError"]


async def test_slow_reports_its_progress() -> None:
    async with scene(make_demo()) as s:
        assert text_of(await call(s, "slow", seconds=0.01, steps=3)) == "done after 0.01 s"
        progress = [message.params for message, _ in s.delivered.items[:-1]]
        assert [(one["progress"], one["total"], one["progressToken"]) for one in progress] == [
            (1, 3, "t"),
            (2, 3, "t"),
            (3, 3, "t"),
        ]
        assert (await call(s, "slow", seconds=1e9))["isError"]


async def test_a_client_that_offers_nothing_gets_a_clear_text() -> None:
    async with scene(make_demo()) as s:
        for name, capability in (("ask_user", "elicitation"), ("sample", "sampling"), ("roots", "roots")):
            result = await call(s, name)
            assert f"this client offers no {capability}" in text_of(result)
            assert "isError" not in result


@pytest.mark.parametrize(
    ("tool", "capability", "answer", "text"),
    [
        ("ask_user", "elicitation", {"action": "accept", "content": {"answer": "Ann"}}, "The user answered: Ann"),
        ("ask_user", "elicitation", {"action": "decline"}, "The user did not answer (decline)."),
        ("sample", "sampling", {"content": {"type": "text", "text": "Hi!"}}, "Hi!"),
        ("roots", "roots", {"roots": [{"uri": "file:///a"}, {"uri": "file:///b"}]}, "file:///a\nfile:///b"),
        ("roots", "roots", {"roots": []}, "The client has no roots."),
    ],
)
async def test_the_asking_tools_tell_what_was_answered(
    tool: str, capability: str, answer: dict[str, Any], text: str
) -> None:
    async with scene(make_demo()) as s:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {capability: {}}}
        await s.ask(request("hello", "initialize", hello))
        sent = s.send(request("call", "tools/call", {"name": tool, "arguments": {}}))
        question = (await s.delivered.until(2))[1][0]
        await s.link.send(msg.result(question.key.value, answer))
        assert await sent.settle() is None
        assert text_of(s.delivered.items[-1][0].result) == text
