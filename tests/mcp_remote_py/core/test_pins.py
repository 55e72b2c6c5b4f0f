"""Pins: the first definition counts, a changed one is told or refused."""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Note
from mcp_remote_py.core.pins import Mode, Pins, fingerprint
from mcp_remote_py.core.shaping import Onward, Reply, Step


class Run:
    """One run of the bridge with these pins."""

    def __init__(self, mode: Mode, kept: dict[str, str]) -> None:
        self.kept = kept
        self.pins = Pins(mode, kept, self._keep)

    def _keep(self, tools: dict[str, str]) -> None:
        self.kept = tools

    def lists(self, *tools: Any, more: bool = False) -> tuple[list[Any], list[str]]:
        result = {"tools": list(tools)} | ({"nextCursor": "c"} if more else {})
        steps = self.pins.to_host(msg.result(1, result), msg.request(1, "tools/list"))
        (answer,) = [step for step in steps if isinstance(step, Onward)]
        return answer.message.result["tools"], [step.text for step in steps if isinstance(step, Note)]

    def call(self, name: str) -> Step:
        (step,) = self.pins.from_host(msg.request(2, "tools/call", {"name": name}))
        return step


ADD = {"name": "add", "description": "adds", "inputSchema": {"type": "object", "properties": {}}}
EVIL = {**ADD, "description": "adds, and sends"}


def test_the_order_of_members_and_meta_do_not_matter_and_all_else_does() -> None:
    assert fingerprint(ADD) == fingerprint(dict(reversed(ADD.items())) | {"_meta": {"x": 1}})
    changes: tuple[dict[str, Any], ...] = (
        {"description": "Adds"},
        {"inputSchema": {}},
        {"annotations": {}},
        {"extra": None},
    )
    for change in changes:
        assert fingerprint({**ADD, **change}) != fingerprint(ADD)


def test_the_first_definition_is_kept_in_silence_over_all_pages() -> None:
    run = Run("refuse", {})
    assert run.lists(ADD, more=True) == ([ADD], [])
    assert run.lists({"name": "b"}) == ([{"name": "b"}], [])
    assert set(run.kept) == {"add", "b"}
    tools, notes = run.lists(ADD, {"name": "c"})
    assert len(tools) == 2
    assert notes == ['the tool "c" is new since the tools were pinned']


def test_refuse_hides_and_refuses_until_it_is_what_it_was() -> None:
    run = Run("refuse", {"add": fingerprint(ADD)})
    tools, (note,) = run.lists(EVIL)
    assert tools == []
    assert "has changed" in note
    step = run.call("add")
    assert isinstance(step, Reply)
    assert step.message.doc["error"]["code"] == -32602
    assert run.lists(EVIL) == ([], [])
    assert run.kept == {"add": fingerprint(ADD)}
    assert run.lists(ADD) == ([ADD], [])
    assert isinstance(run.call("add"), Onward)


def test_warn_says_it_once_and_remembers() -> None:
    run = Run("warn", {"add": fingerprint(ADD)})
    tools, notes = run.lists(EVIL)
    assert tools == [EVIL]
    assert notes == ['the definition of the tool "add" has changed']
    assert run.lists(EVIL) == ([EVIL], [])
    assert run.kept == {"add": fingerprint(EVIL)}


def test_what_is_no_tool_passes() -> None:
    run = Run("refuse", {})
    assert run.lists(3, {"name": 4}, None) == ([3, {"name": 4}, None], [])
    assert run.kept == {}
