"""ToolServer: decorated functions as an MCP server, method by method, through a real link."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated, Any, Literal

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Message, notification, request
from server_stub import Call, RpcError, Session, ToolServer, Unanswered
from server_stub.backends import Peer
from tests.server_stub.backends.test_handler import Scene, error_of, scene
from tests.server_stub.links import within


def make_server() -> ToolServer:
    server = ToolServer("test", "1.2", instructions="Be kind.")

    @server.tool
    def forecast(city: str, days: int = 3) -> str:
        """Say what the weather will be.

        It always rains.
        """
        return f"{city}: rain for {days} days"

    @server.tool(name="renamed", title="A title", description="Other words.", annotations={"readOnlyHint": True})
    async def original() -> dict[str, int]:
        return {"a": 1}

    @server.tool
    def fail(kind: str) -> None:
        if kind == "rpc":
            raise RpcError(-32050, "mine")
        if kind == "silent":
            raise KeyError
        raise ValueError("the disk is full")

    @server.tool
    def unsendable() -> object:
        return {"a": object()}

    @server.resource("test://plain", mime_type="text/markdown")
    def plain() -> str:
        """A resource."""
        return "# hi"

    @server.resource("test://files/{name}/lines/{count}")
    def file(name: str, count: Literal["10", "20"] = "10") -> dict[str, str]:
        return {"name": name, "count": count}

    @server.resource("test://deep/{+path}")
    async def deep(path: str) -> bytes:
        return path.encode()

    @server.prompt
    def greet(name: Annotated[str, "Whom."], tone: Literal["warm", "cool", "cold"] = "warm") -> str:
        """A greeting."""
        return f"greet {name}, {tone}"

    return server


async def result_of(s: Scene, method: str, **params: Any) -> dict[str, Any]:
    answer = await s.ask(request(f"id-{len(s.delivered.items)}", method, params))
    assert answer.kind is msg.Kind.RESULT, answer.doc
    return answer.result


async def failure_of(s: Scene, method: str, **params: Any) -> tuple[int, str]:
    return error_of(await s.ask(request(f"id-{len(s.delivered.items)}", method, params)))


async def initialized(s: Scene, **capabilities: Any) -> dict[str, Any]:
    return await result_of(s, "initialize", protocolVersion="2025-06-18", capabilities=capabilities)


# --- Lifecycle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), (5, "2025-11-25")],
)
async def test_initialize_negotiates_the_version_and_says_what_is_there(asked: Any, answered: str) -> None:
    async with scene(make_server()) as s:
        assert await result_of(s, "initialize", protocolVersion=asked) == {
            "protocolVersion": answered,
            "capabilities": {
                "tools": {},
                "logging": {},
                "resources": {"subscribe": True},
                "prompts": {},
                "completions": {},
            },
            "serverInfo": {"name": "test", "version": "1.2"},
            "instructions": "Be kind.",
        }
        await s.link.send(notification("notifications/initialized"))
        assert await result_of(s, "ping") == {}


async def test_a_server_of_tools_alone_promises_no_more() -> None:
    async with scene(ToolServer("bare")) as s:
        result = await initialized(s)
        assert result["capabilities"] == {"tools": {}, "logging": {}}
        assert "instructions" not in result
        assert await result_of(s, "tools/list") == {"tools": []}


async def test_a_method_that_is_not_known_says_so() -> None:
    async with scene(make_server()) as s:
        code, text = await failure_of(s, "tasks/list")
        assert (code, "tasks/list" in text) == (-32601, True)
        code, _ = error_of(await s.ask(msg.from_document({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []})))
        assert code == -32602


# --- Tools -----------------------------------------------------------------------------------------------------------


async def test_tools_are_listed_with_their_schemas() -> None:
    async with scene(make_server()) as s:
        first, second, *_ = (await result_of(s, "tools/list"))["tools"]
    assert first == {
        "name": "forecast",
        "description": "Say what the weather will be.\n\nIt always rains.",
        "inputSchema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    assert second["name"] == "renamed"
    assert (second["title"], second["description"]) == ("A title", "Other words.")
    assert second["annotations"] == {"readOnlyHint": True}


async def test_a_tool_is_called_with_its_arguments() -> None:
    async with scene(make_server()) as s:
        result = await result_of(s, "tools/call", name="forecast", arguments={"city": "Oslo", "days": 2.0})
        assert result == {"content": [{"type": "text", "text": "Oslo: rain for 2 days"}]}
        result = await result_of(s, "tools/call", name="renamed")
        assert result["structuredContent"] == {"a": 1}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "forecast"}, "argument city: is missing"),
        ({"name": "forecast", "arguments": {"city": 1}}, "argument city: must be a string"),
        ({"name": "forecast", "arguments": {"city": "a", "x": 1}}, "argument x: is not known"),
        ({"name": "forecast", "arguments": []}, "arguments must be an object"),
        ({"name": "nothing"}, "there is no tool 'nothing'"),
        ({"name": ["forecast"]}, "there is no tool"),
        ({}, "there is no tool"),
    ],
)
async def test_a_call_that_does_not_fit_is_refused_with_the_reason(params: dict[str, Any], words: str) -> None:
    async with scene(make_server()) as s:
        code, text = await failure_of(s, "tools/call", **params)
        assert code == -32602
        assert words in text


@pytest.mark.parametrize(("kind", "text"), [("loud", "the disk is full"), ("silent", "KeyError")])
async def test_a_tool_that_fails_tells_the_model(kind: str, text: str) -> None:
    async with scene(make_server()) as s:
        result = await result_of(s, "tools/call", name="fail", arguments={"kind": kind})
        assert result == {"content": [{"type": "text", "text": text}], "isError": True}


async def test_a_tool_may_raise_a_protocol_error() -> None:
    async with scene(make_server()) as s:
        assert await failure_of(s, "tools/call", name="fail", arguments={"kind": "rpc"}) == (-32050, "mine")


async def test_a_value_that_is_no_json_is_the_tools_failure() -> None:
    async with scene(make_server()) as s:
        assert (await result_of(s, "tools/call", name="unsendable"))["isError"] is True


def test_what_cannot_be_a_tool_is_refused_when_it_is_registered() -> None:
    server = make_server()
    with pytest.raises(TypeError, match="has no name"):
        server.tool(lambda: None)
    with pytest.raises(ValueError, match="registered already"):

        @server.tool(name="forecast")
        def another() -> None: ...

    with pytest.raises(TypeError, match="no JSON schema"):

        @server.tool
        def binary(data: bytes) -> None: ...


async def test_ten_lines_make_a_working_tool_server() -> None:
    program = '''
from server_stub import ToolServer

server = ToolServer("weather", "1.0")

@server.tool
def forecast(city: str, days: int = 3) -> str:
    """Say what the weather will be."""
    return f"{city}: rain for {days} days"
'''
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102  (the text of the module's docstring, as a user would write it)
    async with scene(names["server"]) as s:
        result = await result_of(s, "tools/call", name="forecast", arguments={"city": "Rome"})
        assert result["content"][0]["text"] == "Rome: rain for 3 days"


# --- What is injected ------------------------------------------------------------------------------------------------


async def test_session_and_call_are_given_and_are_in_no_schema() -> None:
    server = ToolServer("test")
    seen: list[Any] = []

    @server.tool
    async def tool(a: int, session: Session, somehow: Annotated[Call, "doc"]) -> None:
        seen.extend([session, somehow])

    @server.tool
    def bare(session, call):  # type: ignore[no-untyped-def]
        seen.extend([session, call])

    @server.tool
    def wants_a_text(session: str) -> None:
        seen.append(session)

    async with scene(server) as s:
        listed = (await result_of(s, "tools/list"))["tools"]
        assert [list(tool["inputSchema"]["properties"]) for tool in listed] == [["a"], [], ["session"]]
        await result_of(s, "tools/call", name="tool", arguments={"a": 1})
        await result_of(s, "tools/call", name="bare")
        await result_of(s, "tools/call", name="wants_a_text", arguments={"session": "s"})
    assert [type(one) for one in seen] == [Session, Call, Session, Call, str]
    assert seen[0] is seen[2]


async def test_progress_and_logs_are_sent_from_coroutines_and_threads() -> None:
    server = ToolServer("test")

    @server.tool
    async def soft(call: Call) -> None:
        await call.progress(1, 2, "half")
        await call.log("info", "soft")

    @server.tool
    def hard(call: Call) -> None:
        assert threading.current_thread() is not threading.main_thread()
        call.progress_sync(1, 2, "half")
        call.log_sync("info", "hard")

    async with scene(server) as s:
        for name in ("soft", "hard"):
            count = len(s.delivered.items)
            await result_of(s, "tools/call", name=name, _meta={"progressToken": name})
            progress, log = (message for message, _ in s.delivered.items[count : count + 2])
            assert progress.params == {"progressToken": name, "progress": 1, "total": 2, "message": "half"}
            assert log.params == {"level": "info", "data": name}


@pytest.mark.parametrize("meta", [None, {}, {"progressToken": True}, {"progressToken": [1]}, "odd"])
async def test_without_a_token_there_is_no_progress(meta: Any) -> None:
    server = ToolServer("test")

    @server.tool
    async def tool(call: Call) -> None:
        await call.progress(1)

    async with scene(server) as s:
        await result_of(s, "tools/call", name="tool", _meta=meta)
        assert len(s.delivered.items) == 1


def _asking() -> ToolServer:
    server = ToolServer("asking")

    @server.tool
    async def elicit(call: Call) -> Any:
        return await call.elicit("Name?", {"type": "object"})

    @server.tool
    async def sample(call: Call) -> Any:
        return await call.sample("Hello", 10, temperature=0)

    @server.tool
    async def roots(call: Call) -> Any:
        return await call.roots()

    @server.tool
    def roots_in_a_thread(call: Call) -> Any:
        return call.wait_for(call.roots)

    return server


@pytest.mark.parametrize(
    ("tool", "capability", "method", "params", "result"),
    [
        (
            "elicit",
            "elicitation",
            "elicitation/create",
            {"message": "Name?", "requestedSchema": {"type": "object"}},
            {},
        ),
        (
            "sample",
            "sampling",
            "sampling/createMessage",
            {
                "messages": [{"role": "user", "content": {"type": "text", "text": "Hello"}}],
                "maxTokens": 10,
                "temperature": 0,
            },
            {"role": "assistant"},
        ),
        ("roots", "roots", "roots/list", {}, {"roots": [{"uri": "file:///a"}]}),
        ("roots_in_a_thread", "roots", "roots/list", {}, {"roots": [{"uri": "file:///a"}]}),
    ],
)
async def test_a_tool_asks_a_client_that_can_be_asked(
    tool: str, capability: str, method: str, params: dict[str, Any], result: dict[str, Any]
) -> None:
    async with scene(_asking()) as s:
        await initialized(s, **{capability: {}})
        sent = s.send(request("call", "tools/call", {"name": tool}))
        question = (await s.delivered.until(2))[1][0]
        assert (question.method, question.params) == (method, params)
        await s.link.send(msg.result(question.key.value, result))
        assert await sent.settle() is None
        answer = s.delivered.items[-1][0].result
        assert answer["content"][0]["text"] == msg.encode(result.get("roots", result)).decode()


async def test_a_client_that_offers_nothing_is_not_asked() -> None:
    async with scene(_asking()) as s:
        await initialized(s)
        for tool, capability in (("elicit", "elicitation"), ("sample", "sampling"), ("roots", "roots")):
            result = await result_of(s, "tools/call", name=tool)
            assert result["isError"]
            assert result["content"][0]["text"] == f"this client offers no {capability}"


async def test_a_refusal_of_the_client_is_the_tools_failure() -> None:
    async with scene(_asking()) as s:
        await initialized(s, roots={})
        sent = s.send(request("call", "tools/call", {"name": "roots"}))
        question = (await s.delivered.until(2))[1][0]
        await s.link.send(msg.error(question.key.value, -1, "no"))
        assert await sent.settle() is None
        result = s.delivered.items[-1][0].result
        assert result["isError"]
        assert result["content"][0]["text"] == "the client refused roots/list: no"


async def test_a_client_that_leaves_is_an_unanswered_question() -> None:
    server = ToolServer("test")
    ended: list[Exception] = []

    @server.tool
    async def tool(call: Call) -> None:
        try:
            await call.roots()
        except Unanswered as reason:
            ended.append(reason)
            raise

    async with scene(server, Peer(None, None)) as s:
        await initialized(s, roots={})
        result = await result_of(s, "tools/call", name="tool")
    assert "no session" in result["content"][0]["text"]
    assert len(ended) == 1


async def test_a_call_that_is_cancelled_stops() -> None:
    server = ToolServer("test")
    started, stopped = asyncio.Event(), asyncio.Event()

    @server.tool
    async def tool() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with scene(server) as s:
        sent = s.send(request(1, "tools/call", {"name": "tool"}))
        await within(started.wait())
        await s.link.send(notification("notifications/cancelled", {"requestId": 1}))
        assert await sent.settle() is None
        assert stopped.is_set()


# --- Resources -------------------------------------------------------------------------------------------------------


async def test_resources_and_templates_are_listed_apart() -> None:
    async with scene(make_server()) as s:
        assert await result_of(s, "resources/list") == {
            "resources": [
                {"uri": "test://plain", "name": "plain", "description": "A resource.", "mimeType": "text/markdown"}
            ]
        }
        templates = (await result_of(s, "resources/templates/list"))["resourceTemplates"]
    assert [one["uriTemplate"] for one in templates] == ["test://files/{name}/lines/{count}", "test://deep/{+path}"]


@pytest.mark.parametrize(
    ("uri", "contents"),
    [
        ("test://plain", {"mimeType": "text/markdown", "text": "# hi"}),
        ("test://files/a%20b/lines/20", {"mimeType": "application/json", "text": '{"name":"a b","count":"20"}'}),
        ("test://deep/a/b", {"mimeType": "application/octet-stream", "blob": "YS9i"}),
    ],
)
async def test_a_resource_is_read(uri: str, contents: dict[str, Any]) -> None:
    async with scene(make_server()) as s:
        assert await result_of(s, "resources/read", uri=uri) == {"contents": [{"uri": uri, **contents}]}


async def test_a_resource_that_is_not_there_or_does_not_fit_is_refused() -> None:
    async with scene(make_server()) as s:
        assert (await failure_of(s, "resources/read", uri="test://files/a/b/c"))[0] == -32002
        assert (await failure_of(s, "resources/subscribe", uri="test://nothing"))[0] == -32002
        assert (await failure_of(s, "resources/read"))[0] == -32602
        code, text = await failure_of(s, "resources/read", uri="test://files/a/lines/15")
        assert (code, "argument count" in text) == (-32602, True)


def test_a_template_must_agree_with_its_function() -> None:
    server = ToolServer("test")
    with pytest.raises(TypeError, match="do not agree"):

        @server.resource("x://{a}")
        def other(b: str) -> str:
            return b


async def test_subscribers_and_nobody_else_hear_of_an_update() -> None:
    server = make_server()
    async with scene(server) as first, scene(server) as second:
        for s in (first, second):
            await result_of(s, "resources/subscribe", uri="test://plain")
        await result_of(second, "resources/unsubscribe", uri="test://plain")
        await server.resource_updated("test://plain")
        await server.resource_updated("test://other")
        told = [message for message, _ in first.delivered.items if message.method is not None]
        assert [(one.method, one.params) for one in told] == [
            ("notifications/resources/updated", {"uri": "test://plain"})
        ]
        assert all(message.is_answer for message, _ in second.delivered.items)


# --- Prompts, completion, logging ------------------------------------------------------------------------------------


async def test_prompts_are_listed_and_got() -> None:
    async with scene(make_server()) as s:
        assert await result_of(s, "prompts/list") == {
            "prompts": [
                {
                    "name": "greet",
                    "description": "A greeting.",
                    "arguments": [
                        {"name": "name", "required": True, "description": "Whom."},
                        {"name": "tone", "required": False},
                    ],
                }
            ]
        }
        result = await result_of(s, "prompts/get", name="greet", arguments={"name": "Ann"})
        text = {"type": "text", "text": "greet Ann, warm"}
        assert result == {"messages": [{"role": "user", "content": text}], "description": "A greeting."}
        assert (await failure_of(s, "prompts/get", name="nothing"))[0] == -32602
        assert (await failure_of(s, "prompts/get", name="greet"))[0] == -32602


def test_the_arguments_of_a_prompt_are_strings() -> None:
    with pytest.raises(TypeError, match="arguments are strings"):

        @ToolServer("test").prompt
        def count(number: int) -> str:
            return str(number)


async def test_completion_proposes_what_a_literal_allows() -> None:
    async with scene(make_server()) as s:

        async def proposed(reference: dict[str, Any], name: str, value: str) -> list[str]:
            argument = {"name": name, "value": value}
            result = await result_of(s, "completion/complete", ref=reference, argument=argument)
            values: list[str] = result["completion"]["values"]
            assert result["completion"] == {"values": values, "total": len(values), "hasMore": False}
            return values

        prompt = {"type": "ref/prompt", "name": "greet"}
        assert await proposed(prompt, "tone", "co") == ["cool", "cold"]
        assert await proposed(prompt, "name", "") == []
        assert await proposed(prompt, "other", "") == []
        template = {"type": "ref/resource", "uri": "test://files/{name}/lines/{count}"}
        assert await proposed(template, "count", "") == ["10", "20"]
        unknown = {"type": "ref/prompt", "name": "nothing"}
        assert (await failure_of(s, "completion/complete", ref=unknown, argument={}))[0] == -32602
        assert (await failure_of(s, "completion/complete"))[0] == -32602


async def test_the_log_level_of_a_session_is_kept() -> None:
    server = ToolServer("test")

    @server.tool
    async def talk(call: Call) -> None:
        await call.log("info", 1)
        await call.log("error", 2)

    async with scene(server) as s, scene(server) as other:
        await result_of(s, "logging/setLevel", level="warning")
        assert (await failure_of(s, "logging/setLevel", level="loud"))[0] == -32602

        def told(scene_: Scene) -> list[Message]:
            return [message for message, _ in scene_.delivered.items if message.method == "notifications/message"]

        for one in (s, other):
            await result_of(one, "tools/call", name="talk")
        assert [message.params["data"] for message in told(s)] == [2]
        assert [message.params["data"] for message in told(other)] == [1, 2]


@pytest.mark.parametrize("method", ["tools/list", "resources/list", "resources/templates/list", "prompts/list"])
async def test_a_cursor_is_never_one_of_ours(method: str) -> None:
    async with scene(make_server()) as s:
        assert (await failure_of(s, method, cursor="x"))[0] == -32602
