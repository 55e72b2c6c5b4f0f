"""Late results: a call that outlives the host's own limit is answered with a handle, and its result is kept.

A host that gives a call up after a fixed time (Claude: 60 s or 240 s) drops the result that comes later. So shortly
before, the call is answered with a text that names a handle, and the tool `collect_result`, which is added to the
server's tools, gives the result as soon as it is there. The call itself goes on undisturbed. A tool that promises
structured content is answered with an error result, as hosts check the promise for others.
"""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.commands import Arm, Disarm, Timer
from mcp_remote_py.core.message import JsonId, Key, Kind, Message, key_of
from mcp_remote_py.core.patience import spelled
from mcp_remote_py.core.shaping import Onward, Reply, Shaper, Step

RUN_OUT, EXPIRED = "host-timeout", "keep-result"
TOOL = "collect_result"
_OTHER_NAME = "collect_late_result"
"""Where the server has a tool of the first name itself."""
HANDLE = "mcp-remote-py/handle"
"""The member of `_meta` that has the handle, for hosts that are programs."""
_PROGRESS = "notifications/progress"
_CANCELLED = "notifications/cancelled"
MOST_BYTES = 64 * 1024 * 1024


class _Handle:
    """A call that was answered early. `result` is None until the server has answered it."""

    def __init__(self, name: str, tool: str, token: object) -> None:
        self.name = name
        self.tool = tool
        self.token = token
        self.result: Message | None = None
        self.collectors: list[JsonId] = []


class LateResults(Shaper):
    """See the module's text. `seconds` before the early answer, `keep` for which a result can be collected."""

    purposes = frozenset({RUN_OUT, EXPIRED})

    def __init__(self, seconds: float, keep: float) -> None:
        self._seconds = seconds
        self._keep = keep
        self._count = 0
        self._running: dict[Key, Message] = {}
        self._late: dict[Key, _Handle] = {}
        """By the key of the request that the server has not answered yet."""
        self._handles: dict[str, _Handle] = {}
        self._tool = TOOL
        self._listed: set[str] = set()
        self._structured: set[str] = set()

    # --- From the host ----------------------------------------------------------------------------------------

    def from_host(self, message: Message) -> list[Step]:
        if message.method == _CANCELLED:
            return self._cancel(message)
        if message.kind is not Kind.REQUEST:
            return [Onward(message)]
        steps = self._taken_over(message.key)
        if message.method != "tools/call":
            return [*steps, Onward(message)]
        if message.params.get("name") == self._tool and self._tool not in self._listed:
            return steps + self._collect(message)
        self._running[message.key] = message
        return [*steps, Arm(Timer(RUN_OUT, message.key), self._seconds), Onward(message)]

    def _cancel(self, message: Message) -> list[Step]:
        identifier = message.params.get("requestId")
        if isinstance(identifier, bool) or not isinstance(identifier, str | int | float):
            return [Onward(message)]
        key = key_of(identifier)
        if key in self._late:
            return []  # it has been answered already, so there is nothing left to cancel
        if self._running.pop(key, None) is not None:
            return [Disarm(Timer(RUN_OUT, key)), Onward(message)]
        for handle in self._handles.values():
            if any(key_of(waiting) == key for waiting in handle.collectors):
                handle.collectors = [waiting for waiting in handle.collectors if key_of(waiting) != key]
                return [Disarm(Timer(RUN_OUT, key))]
        return [Onward(message)]

    def _taken_over(self, key: Key) -> list[Step]:
        """The host uses an id again: whatever was asked under it will not be answered any more."""
        steps: list[Step] = []
        if self._running.pop(key, None) is not None:
            steps.append(Disarm(Timer(RUN_OUT, key)))
        handle = self._late.pop(key, None)
        if handle is not None and handle.name in self._handles:
            lost = _text_result(0, "The result was lost: the id of the call was used again.", is_error=True)
            steps += self._arrived(handle, lost)
        return steps

    def _collect(self, message: Message) -> list[Step]:
        arguments = message.params.get("arguments")
        asked = arguments.get("handle") if isinstance(arguments, dict) else None
        handle = self._handles.get(asked) if isinstance(asked, str) else None
        if handle is None and asked is None and len(self._handles) == 1:
            handle = next(iter(self._handles.values()))
        if message.id is None:
            return []
        if handle is None:
            known = ", ".join(f"{handle.name} ({handle.tool})" for handle in self._handles.values())
            text = f"There is no result under this handle. There is: {known or 'none'}."
            return [Reply(_text_result(message.id, text, is_error=True))]
        if handle.result is not None:
            return [Reply(msg.with_id(handle.result, message.id))]
        handle.collectors.append(message.id)
        return [Arm(Timer(RUN_OUT, message.key), self._seconds)]

    # --- To the host ------------------------------------------------------------------------------------------

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        if message.method == _PROGRESS:
            token = message.params.get("progressToken")
            is_late = any(handle.token is not None and handle.token == token for handle in self._late.values())
            return [] if is_late else [Onward(message)]
        if not message.is_answer or message.id is None:
            return [Onward(message)]
        handle = self._late.pop(message.key, None)
        if handle is not None:
            return self._arrived(handle, message)
        if self._running.pop(message.key, None) is not None:
            return [Disarm(Timer(RUN_OUT, message.key)), Onward(message)]
        if request is not None and request.method == "tools/list" and message.kind is Kind.RESULT:
            return [Onward(self._with_tool(message))]
        return [Onward(message)]

    def _arrived(self, handle: _Handle, result: Message) -> list[Step]:
        handle.result = result
        steps: list[Step] = [Arm(Timer(EXPIRED, key_of(handle.name)), self._keep)]
        for identifier in handle.collectors:
            steps += [Disarm(Timer(RUN_OUT, key_of(identifier))), Reply(msg.with_id(result, identifier))]
        handle.collectors = []
        return steps + self._made_room()

    def _made_room(self) -> list[Step]:
        """Give up the oldest results where all of them together are too large."""
        steps: list[Step] = []
        kept = [handle for handle in self._handles.values() if handle.result is not None]
        size = sum(len(handle.result.raw) for handle in kept if handle.result is not None)
        for handle in kept[:-1]:
            if size > MOST_BYTES and handle.result is not None:
                size -= len(handle.result.raw)
                del self._handles[handle.name]
                steps.append(Disarm(Timer(EXPIRED, key_of(handle.name))))
        return steps

    def _with_tool(self, message: Message) -> Message:
        tools = message.result.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            name = tool.get("name") if isinstance(tool, dict) else None
            if isinstance(name, str):
                self._listed.add(name)
                (self._structured.add if "outputSchema" in tool else self._structured.discard)(name)
        if message.result.get("nextCursor") is not None:
            return message
        self._tool = _OTHER_NAME if TOOL in self._listed else TOOL
        own = msg.encode(_definition(self._tool, self._keep)).decode("utf-8")

        def add(text: str) -> str:
            if not text.startswith("["):
                return text
            return f"{text[:-1]},{own}]" if msg.array_items(text) else f"[{own}]"

        return splice.with_at(message, ("result", "tools"), add)

    # --- Time -------------------------------------------------------------------------------------------------

    def timer(self, name: Timer) -> list[Step]:
        if name.purpose == EXPIRED:
            self._handles.pop(str(name.exchange.value), None)
            return []
        request = self._running.pop(name.exchange, None)
        if request is not None and request.id is not None:
            return self._answered_early(request, request.id)
        for handle in self._handles.values():
            for identifier in handle.collectors:
                if key_of(identifier) == name.exchange:
                    handle.collectors.remove(identifier)
                    text = f"The call of {handle.tool} is still running. {self._how(handle)}"
                    return [Reply(_text_result(identifier, text, is_error=False, handle=handle.name))]
        return []

    def _answered_early(self, request: Message, identifier: JsonId) -> list[Step]:
        self._count += 1
        meta = request.params.get("_meta")
        tool = request.params.get("name")
        named = tool if isinstance(tool, str) else "the tool"
        handle = _Handle(f"result-{self._count}", named, meta.get("progressToken") if isinstance(meta, dict) else None)
        self._handles[handle.name] = handle
        self._late[request.key] = handle
        text = (
            f"The call of {named} is still running after {spelled(self._seconds)}; it was not stopped, and must not be "
            f"repeated. {self._how(handle)} The result is kept for {spelled(self._keep)} after it has come."
        )
        return [Reply(_text_result(identifier, text, is_error=named in self._structured, handle=handle.name))]

    def _how(self, handle: _Handle) -> str:
        return f'To get its result, call the tool {self._tool} with {{"handle": "{handle.name}"}}: it waits for it.'


def _definition(name: str, keep: float) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Gives the result of an earlier tool call that was still running when it was answered with a "
        f"handle. Waits for the result. Results are kept for {spelled(keep)}. (Offered by mcp-remote-py, not by the "
        "server.)",
        "inputSchema": {
            "type": "object",
            "properties": {"handle": {"type": "string", "description": "The handle from the earlier answer."}},
            "required": ["handle"],
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _text_result(identifier: JsonId, text: str, *, is_error: bool, handle: str | None = None) -> Message:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if is_error:
        result["isError"] = True
    if handle is not None:
        result["_meta"] = {HANDLE: handle}
    return msg.result(identifier, result)
