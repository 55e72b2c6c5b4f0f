"""A host on the official Python SDK, 1.x or 2.x: it uses everything a server offers and reports what it saw as JSON.

Runs in the SDK's own virtual environment, so it imports nothing of this project. The first argument is the file for
the report; then comes either `-- COMMAND ARGS...` (a stdio server) or `WIRE URL` (`http`, `sse`, `ws`). With
`HOST_NEGOTIATES=1` the 2.x client begins, as it does by default, with `server/discover`.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp.types as types
from mcp import ClientSession, StdioServerParameters, stdio_client

SDK = importlib.metadata.version("mcp")
IS_V1 = SDK.startswith("1.")
if IS_V1:
    from mcp.client.experimental.task_handlers import ExperimentalTaskHandlers
    from mcp.shared.exceptions import McpError as RemoteError
    from pydantic import AnyUrl
else:
    from mcp import Client
    from mcp import MCPError as RemoteError

PATIENCE = 30.0
TEXT = 'grüße, 世界 \U0001f30d \u2028 "quoted" \\ back'
ANSWERS = {
    "name": "Ada", "check": True, "firstLine": "Once", "email": "ada@example.org", "homepage": "https://example.org",
    "birthdate": "1815-12-10", "integer": 42, "number": 3.14, "untitledSingleSelectEnum": "Ross",
    "untitledMultipleSelectEnum": ["Piano"], "titledSingleSelectEnum": "hero-2",
    "titledMultipleSelectEnum": ["fish-3"], "legacyTitledEnum": "pet-2",
}  # fmt: skip


def plain(value: Any) -> Any:
    """Return a model of either SDK as plain JSON values, by the names on the wire."""
    return value.model_dump(by_alias=True, mode="json", exclude_none=True)


def url(text: str) -> Any:
    return AnyUrl(text) if IS_V1 else text


class Seen:
    """Everything the server said on its own, and a way to wait for more of it."""

    def __init__(self) -> None:
        self.sampled: list[str] = []
        self.elicited: list[str] = []
        self.roots_asked = 0
        self.logs: list[dict[str, Any]] = []
        self.updated: list[str] = []
        self.changed: list[str] = []
        self.roots = [{"uri": "file:///srv/one", "name": "One"}]
        self.tasks: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Event()

    def tell(self) -> None:
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    # --- callbacks of the SDK ---

    async def sample(self, _context: Any, params: Any) -> Any:
        asked = plain(params)["messages"][0]["content"]
        self.sampled.append((asked[0] if isinstance(asked, list) else asked)["text"])
        self.tell()
        text = {"type": "text", "text": f"sampled {TEXT}"}
        return types.CreateMessageResult.model_validate(
            {"role": "assistant", "content": text, "model": "test-model", "stopReason": "endTurn"}
        )

    async def elicit(self, _context: Any, params: Any) -> Any:
        asked = plain(params)
        self.elicited.append(f"{asked.get('mode', 'form')}: {asked['message']}")
        self.tell()
        if asked.get("mode") == "url":
            return types.ElicitResult.model_validate({"action": "accept"})
        wanted = asked["requestedSchema"]["properties"]
        content = {name: ANSWERS[name] for name in wanted if name in ANSWERS}
        if "interpretation" in wanted:
            content["interpretation"] = wanted["interpretation"]["oneOf"][0]["const"]
        return types.ElicitResult.model_validate({"action": "accept", "content": content})

    async def list_roots(self, _context: Any) -> Any:
        self.roots_asked += 1
        self.tell()
        return types.ListRootsResult.model_validate({"roots": self.roots})

    async def log(self, params: Any) -> None:
        self.logs.append(plain(params))
        self.tell()

    async def message(self, message: Any) -> None:
        if isinstance(message, Exception):
            self.changed.append(f"exception: {type(message).__name__}")
            return
        try:
            said = plain(message)
        except AttributeError:  # the 1.x SDK also shows the requests that its callbacks answer
            return
        method = said.get("method", "") if isinstance(said, dict) else ""
        if method == "notifications/resources/updated":
            self.updated.append(said["params"]["uri"])
        elif method.endswith("list_changed"):
            self.changed.append(method)
        self.tell()

    # --- requests that the 1.x SDK answers as tasks ---

    async def sample_as_task(self, context: Any, params: Any, _task: Any) -> Any:
        return self._task(await self.sample(context, params))

    async def elicit_as_task(self, context: Any, params: Any, _task: Any) -> Any:
        return self._task(await self.elicit(context, params))

    def _task(self, result: Any) -> Any:
        name = f"task-{len(self.tasks) + 1}"
        stamp = "2026-01-01T00:00:00Z"
        state = {"taskId": name, "status": "working", "createdAt": stamp, "lastUpdatedAt": stamp, "ttl": 60000}
        self.tasks[name] = {"state": state, "result": plain(result)}
        return types.CreateTaskResult.model_validate({"task": state})

    async def get_task(self, _context: Any, params: Any) -> Any:
        state = dict(self.tasks[params.taskId]["state"], status="completed")
        return types.GetTaskResult.model_validate(state)

    async def get_task_result(self, _context: Any, params: Any) -> Any:
        return types.GetTaskPayloadResult.model_validate(self.tasks[params.taskId]["result"])


@asynccontextmanager
async def connected(seen: Seen, arguments: list[str]) -> AsyncIterator[ClientSession]:
    """Yield an initialized session."""
    callbacks: dict[str, Any] = {
        "sampling_callback": seen.sample,
        "elicitation_callback": seen.elicit,
        "list_roots_callback": seen.list_roots,
        "logging_callback": seen.log,
        "message_handler": seen.message,
    }
    if not IS_V1 and os.environ.get("HOST_NEGOTIATES"):
        async with Client(_transport(arguments), mode="auto", **callbacks) as client:
            yield client.session
        return
    if IS_V1:
        callbacks["experimental_task_handlers"] = ExperimentalTaskHandlers(
            get_task=seen.get_task,
            get_task_result=seen.get_task_result,
            augmented_sampling=seen.sample_as_task,
            augmented_elicitation=seen.elicit_as_task,
        )
    async with _transport(arguments) as streams, ClientSession(streams[0], streams[1], **callbacks) as session:
        seen.initialized = plain(await session.initialize())  # type: ignore[attr-defined]
        yield session


def _transport(arguments: list[str]) -> Any:
    """Return the SDK's own transport: a child process, or one of its clients for a URL."""
    if arguments[0] == "--":
        return stdio_client(StdioServerParameters(command=arguments[1], args=arguments[2:]))
    wire, address = arguments
    if wire == "sse":
        from mcp.client.sse import sse_client

        return sse_client(address)
    if wire == "ws":
        from mcp.client.websocket import websocket_client  # 1.x with the extra [ws] alone

        return websocket_client(address)
    if IS_V1:
        from mcp.client.streamable_http import streamablehttp_client as http_client
    else:
        from mcp.client.streamable_http import streamable_http_client as http_client
    return http_client(address)


class Round:
    """One round through everything that server-everything offers. Each method fills a part of the report."""

    def __init__(self, session: Any, seen: Seen) -> None:
        self.session = session
        self.seen = seen
        self.report: dict[str, Any] = {"sdk": f"python {SDK}"}

    async def tool(self, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        return plain(await self.session.call_tool(name, arguments or {}, **more))

    async def run(self) -> None:
        for part in (
            self.greeting, self.lists, self.plain_tools, self.questions, self.watching, self.resources, self.prompts,
            self.completions, self.errors, self.progress, self.cancel, self.side_by_side, self.new_roots, self.tasks,
        ):  # fmt: skip
            started = asyncio.get_running_loop().time()
            async with asyncio.timeout(60):
                await part()
            sys.stderr.write(f"{part.__name__}: {asyncio.get_running_loop().time() - started:.2f} s\n")
        seen = self.seen
        changed = sorted(set(seen.changed))
        self.report.update(sampled=seen.sampled, elicited=seen.elicited, roots_asked=seen.roots_asked, changed=changed)

    async def greeting(self) -> None:
        initialized = getattr(self.seen, "initialized", None) or plain(self.session.initialize_result)
        self.report["initialize"] = initialized
        self.report["ping"] = plain(await self.session.send_ping())
        await self.seen.until(lambda: self.seen.roots_asked > 0 and len(self.seen.logs) > 0)
        self.report["first_log"] = self.seen.logs[0]

    async def lists(self) -> None:
        session = self.session
        tools = await self._all(session.list_tools, "tools")
        self.report["tools"] = sorted(tool["name"] for tool in tools)
        self.report["tool_definitions"] = {tool["name"]: tool for tool in tools}
        self.report["resources"] = await self._all(session.list_resources, "resources")
        self.report["templates"] = await self._all(session.list_resource_templates, "resourceTemplates")
        self.report["prompts"] = await self._all(session.list_prompts, "prompts")

    async def _all(self, method: Callable[..., Awaitable[Any]], member: str) -> list[Any]:
        items: list[Any] = []
        cursor = None
        while True:
            page = plain(await method(params=types.PaginatedRequestParams(cursor=cursor)))
            items += page[member]
            cursor = page.get("nextCursor")
            if cursor is None:
                return items

    async def plain_tools(self) -> None:
        data = "data:text/plain;base64,aGVsbG8="
        called = {
            "echo": await self.tool("echo", {"message": TEXT}),
            "get-sum": await self.tool("get-sum", {"a": 2, "b": 0.5}),
            "get-env": await self.tool("get-env"),
            "get-tiny-image": await self.tool("get-tiny-image"),
            "get-structured-content": await self.tool("get-structured-content", {"location": "Chicago"}),
            "get-resource-links": await self.tool("get-resource-links", {"count": 4}),
            "gzip-file-as-resource": await self.tool("gzip-file-as-resource", {"name": "a.gz", "data": data}),
        }
        arguments: dict[str, Any]
        for kind in ("error", "success", "debug"):
            arguments = {"messageType": kind, "includeImage": True}
            called[f"get-annotated-message {kind}"] = await self.tool("get-annotated-message", arguments)
        for kind in ("Text", "Blob"):
            arguments = {"resourceType": kind, "resourceId": 3}
            called[f"get-resource-reference {kind}"] = await self.tool("get-resource-reference", arguments)
        arguments = {"name": "b.gz", "data": data, "outputType": "resource"}
        called["gzip-file-as-resource inline"] = await self.tool("gzip-file-as-resource", arguments)
        self.report["called"] = called

    async def questions(self) -> None:
        called = self.report["called"]
        called["get-roots-list"] = await self.tool("get-roots-list")
        called["trigger-sampling-request"] = await self.tool("trigger-sampling-request", {"prompt": TEXT})
        called["trigger-elicitation-request"] = await self.tool("trigger-elicitation-request")
        arguments: dict[str, Any] = {"url": "https://example.org/sign", "elicitationId": "e-1"}
        called["trigger-url-elicitation"] = await self.tool("trigger-url-elicitation", arguments)
        arguments = {"url": "https://example.org/other", "elicitationId": "e-2", "errorPath": True}
        called["trigger-url-elicitation error"] = await self._error(self.tool("trigger-url-elicitation", arguments))

    async def watching(self) -> None:
        """Subscriptions and logging: the immediate messages, and none of the later, periodic ones."""
        session, seen = self.session, self.seen
        called = self.report["called"]
        watched = "demo://resource/dynamic/text/7"
        self.report["subscribe"] = plain(await session.subscribe_resource(url(watched)))
        called["toggle-subscriber-updates"] = await self.tool("toggle-subscriber-updates")
        await seen.until(lambda: watched in seen.updated)
        called["toggle-subscriber-updates again"] = await self.tool("toggle-subscriber-updates")
        self.report["unsubscribe"] = plain(await session.unsubscribe_resource(url(watched)))
        self.report["set_level"] = plain(await session.set_logging_level("debug"))
        before = len(seen.logs)
        called["toggle-simulated-logging"] = await self.tool("toggle-simulated-logging")
        await seen.until(lambda: len(seen.logs) > before)
        called["toggle-simulated-logging again"] = await self.tool("toggle-simulated-logging")

    async def resources(self) -> None:
        read = {}
        for resource in self.report["resources"]:
            read[resource["uri"]] = plain(await self.session.read_resource(url(resource["uri"])))
        for more in ("dynamic/text/5", "dynamic/blob/6", "session/a.gz"):
            uri = f"demo://resource/{more}"
            read[uri] = plain(await self.session.read_resource(url(uri)))
        self.report["read"] = read

    async def prompts(self) -> None:
        get = self.session.get_prompt
        self.report["prompted"] = {
            "simple-prompt": plain(await get("simple-prompt")),
            "args-prompt": plain(await get("args-prompt", {"city": "Zürich", "state": "ZH"})),
            "completable-prompt": plain(await get("completable-prompt", {"department": "Sales", "name": "Eve"})),
            "resource-prompt": plain(await get("resource-prompt", {"resourceType": "Text", "resourceId": "4"})),
        }

    async def completions(self) -> None:
        complete = self.session.complete
        prompt = types.PromptReference(type="ref/prompt", name="completable-prompt")
        template = types.ResourceTemplateReference(type="ref/resource", uri="demo://resource/dynamic/text/{resourceId}")
        self.report["completed"] = {
            "department": plain(await complete(prompt, {"name": "department", "value": "S"})),
            "name": plain(await complete(prompt, {"name": "name", "value": ""}, {"department": "Marketing"})),
            "resourceId": plain(await complete(template, {"name": "resourceId", "value": "12"})),
        }

    async def _error(self, call: Awaitable[Any]) -> dict[str, Any]:
        try:
            return {"no error": await call}
        except RemoteError as error:
            return dict(plain(error.error))

    async def errors(self) -> None:
        session = self.session
        self.report["errors"] = {
            "unknown tool": await self._error(self.tool("no-such-tool")),
            "wrong arguments": await self._error(self.tool("get-sum", {"a": "x"})),
            "unknown resource": await self._error(session.read_resource(url("demo://resource/dynamic/text/zero"))),
            "unknown prompt": await self._error(session.get_prompt("no-such-prompt")),
        }

    async def progress(self) -> None:
        steps: list[list[float | None]] = []

        async def step(progress: float, total: float | None, message: str | None) -> None:
            steps.append([progress, total])

        arguments = {"duration": 0.4, "steps": 4}
        self.report["called"]["trigger-long-running-operation"] = await self.tool(
            "trigger-long-running-operation", arguments, progress_callback=step
        )
        self.report["progress"] = steps

    async def cancel(self) -> None:
        """Cancel a call that would end after two seconds, and see that its answer never comes."""
        begun = asyncio.Event()

        async def step(progress: float, total: float | None, message: str | None) -> None:
            begun.set()

        async def call() -> Any:
            return await self.tool(
                "trigger-long-running-operation", {"duration": 2, "steps": 10}, progress_callback=step
            )

        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call())
            await begun.wait()
            self.report["cancelled"] = "no answer"
            if IS_V1:  # has no call for it: send the notification, go on waiting, and see that nothing comes
                note = {"requestId": self.session._request_id - 1, "reason": "enough"}
                await self.session.send_notification(
                    types.ClientNotification(
                        types.CancelledNotification(params=types.CancelledNotificationParams.model_validate(note))
                    )
                )
                done, _ = await asyncio.wait([calling], timeout=4)
                self.report["cancelled"] = "answered" if done else "no answer"
            calling.cancel()
        self.report["after_cancel"] = await self.tool("echo", {"message": "still here"})

    async def side_by_side(self) -> None:
        calls = [self.tool("echo", {"message": f"number {number}"}) for number in range(20)]
        slow = self.tool("trigger-long-running-operation", {"duration": 0.5, "steps": 1})
        answers = await asyncio.gather(slow, *calls)
        self.report["side_by_side"] = [answer["content"][0]["text"] for answer in answers]

    async def new_roots(self) -> None:
        asked, logged = self.seen.roots_asked, len(self.seen.logs)
        self.seen.roots = [{"uri": "file:///srv/two", "name": "Two"}, {"uri": "file:///srv/three"}]
        await self.session.send_roots_list_changed()
        await self.seen.until(
            lambda: (
                self.seen.roots_asked > asked
                and any(str(log["data"]).startswith("Roots updated") for log in self.seen.logs[logged:])
            )
        )
        self.report["called"]["get-roots-list again"] = await self.tool("get-roots-list")

    async def tasks(self) -> None:
        """Tasks of revision 2025-11-25: the 1.x SDK speaks them, 2.x does not any more."""
        called = self.report["called"]
        if not IS_V1:
            called["simulate-research-query"] = await self._error(self.tool("simulate-research-query", {"topic": "x"}))
            return
        tasks = self.session.experimental
        created = await tasks.call_tool_as_task("simulate-research-query", {"topic": "python", "ambiguous": True})
        statuses: list[str] = []
        while True:
            status = await tasks.get_task(created.task.taskId)
            if status.status not in statuses:
                statuses.append(status.status)
            if status.status != "working":
                break
            await asyncio.sleep(0.25)
        result = await tasks.get_task_result(created.task.taskId, types.CallToolResult)
        self.report["task_statuses"] = statuses
        called["simulate-research-query"] = plain(result)
        called["trigger-sampling-request-async"] = await self.tool(
            "trigger-sampling-request-async", {"prompt": "later"}
        )
        called["trigger-elicitation-request-async"] = await self.tool("trigger-elicitation-request-async")


async def main(arguments: list[str]) -> dict[str, Any]:
    seen = Seen()
    async with connected(seen, arguments) as session:
        the_round = Round(session, seen)
        await the_round.run()
    return the_round.report


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the SDKs deprecate what this host is here to use
    text = json.dumps(asyncio.run(main(sys.argv[2:])), indent=1)
    Path(sys.argv[1]).write_text(text, encoding="utf-8")
