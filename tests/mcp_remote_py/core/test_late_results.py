"""Late results: an early answer with a handle, the result when it is there, and nothing kept for ever."""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import late_results
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Disarm, Timer, ToClient
from mcp_remote_py.core.late_results import TOOL, LateResults
from mcp_remote_py.core.message import Message, key_of, parse_one
from mcp_remote_py.core.shaping import Chain, Onward


class Host:
    """A host behind a chain with this one shaper. `armed` has the timers that run."""

    def __init__(self) -> None:
        self.chain = Chain([LateResults(230.0, 1800.0)])
        self.armed: dict[Timer, float] = {}
        self.sent: list[Message] = []

    def _take(self, steps: list[Any] | None) -> list[Message]:
        heard = []
        for step in steps or []:
            if isinstance(step, Arm):
                self.armed[step.name] = step.seconds
            elif isinstance(step, Disarm):
                self.armed.pop(step.name, None)
            elif isinstance(step, ToClient):
                heard.append(parse_one(step.raw))
            elif isinstance(step, Onward):
                self.sent.append(step.message)
        return heard

    def says(self, message: Message) -> list[Message]:
        return self._take(self.chain.from_host(message))

    def calls(self, identifier: Any, name: str = "slow", token: Any = None, **arguments: Any) -> list[Message]:
        meta = {} if token is None else {"_meta": {"progressToken": token}}
        return self.says(msg.request(identifier, "tools/call", {"name": name, "arguments": arguments, **meta}))

    def server(self, message: Message) -> list[Message]:
        return self._take(self.chain.to_host(message))

    def rings(self, purpose: str, identifier: Any) -> list[Message]:
        name = Timer(purpose, key_of(identifier))
        del self.armed[name]
        return self._take(self.chain.timer(name))

    def lists(self, *tools: Any, cursor: str | None = None) -> list[Any]:
        self.says(msg.request("list", "tools/list"))
        more = {} if cursor is None else {"nextCursor": cursor}
        (answer,) = self.server(msg.result("list", {"tools": list(tools), **more}))
        found: list[Any] = answer.result["tools"]
        return found


def text_of(message: Message) -> str:
    text: str = message.result["content"][0]["text"]
    return text


def test_a_call_that_is_answered_in_time_is_untouched() -> None:
    host = Host()
    assert host.calls(1) == []
    assert list(host.armed.values()) == [230.0]
    answer = msg.result(1, {"content": []})
    assert host.server(answer) == [answer]
    assert host.armed == {}


def test_a_late_result_is_kept_and_collected_as_often_as_is_liked() -> None:
    host = Host()
    host.calls(1, token="t")
    (early,) = host.rings("host-timeout", 1)
    assert early.id == 1
    assert "isError" not in early.result
    assert "result-1" in text_of(early)
    assert early.result["_meta"] == {late_results.HANDLE: "result-1"}
    assert host.says(msg.notification("notifications/cancelled", {"requestId": 1})) == []
    assert [message.method for message in host.sent] == ["tools/call"]  # the call goes on
    late_progress = msg.notification("notifications/progress", {"progressToken": "t", "progress": 1})
    assert host.server(late_progress) == []
    assert host.server(msg.result(1, {"content": [{"type": "text", "text": "done"}]})) == []
    for identifier, arguments in ((2, {"handle": "result-1"}), (3, {})):
        (answer,) = host.calls(identifier, TOOL, **arguments)
        assert answer.id == identifier
        assert text_of(answer) == "done"
    assert list(host.armed.values()) == [1800.0]
    host.rings("keep-result", "result-1")
    (answer,) = host.calls(4, TOOL, handle="result-1")
    assert answer.result["isError"] is True
    assert len(host.sent) == 1


def test_who_collects_before_the_result_is_there_waits_for_it_but_not_for_ever() -> None:
    host = Host()
    host.calls(1)
    host.rings("host-timeout", 1)
    assert host.calls(2, TOOL, handle="result-1") == []
    (again,) = host.rings("host-timeout", 2)
    assert (again.id, "still running" in text_of(again)) == (2, True)
    assert host.calls(3, TOOL, handle="result-1") == []
    assert host.calls(4, TOOL, handle="result-1") == []
    assert host.says(msg.notification("notifications/cancelled", {"requestId": 4})) == []
    (answer,) = host.server(msg.error(1, -31003, "broke"))
    assert answer.id == 3
    assert answer.doc["error"]["code"] == -31003
    assert list(host.armed.values()) == [1800.0]


def test_a_handle_that_is_not_there_is_answered_with_those_that_are() -> None:
    host = Host()
    for identifier in (1, 2):
        host.calls(identifier, f"tool-{identifier}")
        host.rings("host-timeout", identifier)
    for arguments in ({}, {"handle": "result-9"}, {"handle": 5}):
        (answer,) = host.calls(9, TOOL, **arguments)
        assert answer.result["isError"] is True
        assert "result-1 (tool-1), result-2 (tool-2)" in text_of(answer)


def test_the_tool_stands_at_the_end_of_the_last_page() -> None:
    host = Host()
    assert host.lists({"name": "a"}, cursor="c") == [{"name": "a"}]
    tools = host.lists({"name": "b"})
    assert [tool["name"] for tool in tools] == ["b", TOOL]
    assert tools[1]["inputSchema"]["required"] == ["handle"]
    assert [tool["name"] for tool in Host().lists()] == [TOOL]


def test_a_tool_of_the_server_with_that_name_stays_the_servers() -> None:
    host = Host()
    assert [tool["name"] for tool in host.lists({"name": TOOL})] == [TOOL, "collect_late_result"]
    host.calls(1, TOOL)
    assert len(host.sent) == 2
    (early,) = host.rings("host-timeout", 1)
    assert "call the tool collect_late_result" in text_of(early)
    host.server(msg.result(1, {"content": [{"type": "text", "text": "done"}]}))
    assert text_of(host.calls(2, "collect_late_result")[0]) == "done"


def test_a_tool_with_structured_content_is_answered_early_with_an_error_result() -> None:
    host = Host()
    host.lists({"name": "slow", "outputSchema": {"type": "object"}})
    host.calls(1)
    assert host.rings("host-timeout", 1)[0].result["isError"] is True


def test_an_id_that_is_used_again_belongs_to_the_new_call() -> None:
    host = Host()
    host.calls(1)
    host.rings("host-timeout", 1)
    host.calls(1, "other")
    answer = msg.result(1, {"content": [{"type": "text", "text": "new"}]})
    assert host.server(answer) == [answer]
    (lost,) = host.calls(2, TOOL, handle="result-1")
    assert lost.result["isError"] is True
    assert "lost" in text_of(lost)


def test_a_cancelled_call_is_not_answered_early() -> None:
    host = Host()
    host.calls(1)
    host.says(msg.notification("notifications/cancelled", {"requestId": 1}))
    assert host.armed == {}
    assert [message.method for message in host.sent] == ["tools/call", "notifications/cancelled"]


def test_the_oldest_results_give_way_when_all_are_too_large() -> None:
    host = Host()
    large = "x" * (late_results.MOST_BYTES // 3)
    for identifier in range(1, 6):
        host.calls(identifier)
        host.rings("host-timeout", identifier)
        host.server(msg.result(identifier, {"content": [{"type": "text", "text": large}]}))
    assert len(host.armed) == 2
    assert host.calls(9, TOOL, handle="result-1")[0].result["isError"] is True
    assert "isError" not in host.calls(9, TOOL, handle="result-5")[0].result
