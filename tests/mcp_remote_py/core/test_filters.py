"""Filters: patterns, lists, refusals, for tools, prompts, resources and templates."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.filters import Filter, Rule, matches
from mcp_remote_py.core.message import Message, parse_one
from mcp_remote_py.core.shaping import Onward, Reply


def a_filter(
    tools: tuple[Any, Any] = ((), ()),
    prompts: tuple[Any, Any] = ((), ()),
    resources: tuple[Any, Any] = ((), ()),
    *,
    read_only: bool = False,
) -> Filter:
    return Filter(Rule("tool", *tools), Rule("prompt", *prompts), Rule("resource", *resources), read_only=read_only)


def lists(shaper: Filter, method: str, member: str, items: list[Any]) -> list[Any]:
    answer = msg.result(1, {member: items, "nextCursor": "c"})
    (step,) = shaper.to_host(answer, msg.request(1, method))
    assert isinstance(step, Onward)
    assert step.message.result["nextCursor"] == "c"
    kept: list[Any] = step.message.result[member]
    return kept


def why(shaper: Filter, message: Message) -> str | None:
    (step,) = shaper.from_host(message)
    if isinstance(step, Onward):
        assert step.message is message
        return None
    assert isinstance(step, Reply)
    error = step.message.doc["error"]
    assert error["code"] == -32602
    assert step.message.id == message.id
    text: str = error["message"]
    return text


def used(shaper: Filter, method: str, **params: Any) -> str | None:
    return why(shaper, msg.request(9, method, params))


TEXT = st.text(alphabet="aAb/.", max_size=8)


@given(st.text(alphabet="ab*/.", max_size=6), TEXT)
def test_a_pattern_means_what_the_star_of_a_shell_means_without_case(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fnmatch.fnmatchcase(text.lower(), pattern.lower())


@pytest.mark.parametrize("text", ["a?c", "a[b]c", "a+c", "a.c"])
def test_other_signs_stand_for_themselves(text: str) -> None:
    assert matches(text, text)
    assert not matches(text, "abc")


def test_a_pattern_with_many_stars_is_not_slow() -> None:
    assert not matches("*a" * 5000 + "b", "a" * 20_000)


def test_hiding_wins_over_showing() -> None:
    shaper = a_filter((("delete*",), ("*_file",)))
    tools = [{"name": name} for name in ("read_file", "delete_file", "list")]
    assert lists(shaper, "tools/list", "tools", tools) == [{"name": "read_file"}]
    assert used(shaper, "tools/call", name="read_file") is None
    assert "--ignore-tool delete*" in (used(shaper, "tools/call", name="delete_file") or "")
    assert "--only-tool" in (used(shaper, "tools/call", name="list") or "")


def test_only_what_is_asked_for_is_touched() -> None:
    shaper = a_filter((("*",), ()))
    assert lists(shaper, "prompts/list", "prompts", [{"name": "x"}]) == [{"name": "x"}]
    assert used(shaper, "prompts/get", name="x") is None
    assert used(shaper, "resources/read", uri="x") is None
    assert why(shaper, msg.request(1, "tools/list")) is None
    (step,) = shaper.to_host(msg.error(1, -1, "no"), msg.request(1, "tools/list"))
    assert isinstance(step, Onward)
    (step,) = shaper.to_host(msg.result(1, {"tools": [{"name": "x"}]}), msg.request(1, "tools/call"))
    assert isinstance(step, Onward)
    assert step.message.result == {"tools": [{"name": "x"}]}


@pytest.mark.parametrize("tools", [None, 3, {}, "x", [None, 3, [], {"name": 5}]])
def test_a_list_of_a_wrong_shape_passes_or_loses_what_has_no_name(tools: Any) -> None:
    shaper = a_filter(((), ("read*",)))
    answer = msg.result(1, {"tools": tools})
    (step,) = shaper.to_host(answer, msg.request(1, "tools/list"))
    assert isinstance(step, Onward)
    assert step.message.result["tools"] == ([] if isinstance(tools, list) else tools)


@pytest.mark.parametrize("name", [None, 5, ["delete"], {"a": "delete"}])
def test_a_name_that_is_no_string_is_refused_before_a_server_guesses(name: Any) -> None:
    assert "must be a string" in (used(a_filter((("delete",), ())), "tools/call", name=name) or "")


def test_a_name_that_stands_twice_is_refused_if_either_is_hidden() -> None:
    raw = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%s,"name":%s}}'
    shaper = a_filter((("delete",), ()))
    for pair in (("delete", "read"), ("read", "delete")):
        assert why(shaper, parse_one((raw % tuple(map(json.dumps, pair))).encode())) is not None
    doubled = parse_one(b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"delete","name":"read"}]}}')
    (step,) = shaper.to_host(doubled, msg.request(1, "tools/list"))
    assert isinstance(step, Onward)
    assert step.message.result["tools"] == []


def test_read_only_follows_what_the_server_last_said() -> None:
    shaper = a_filter(read_only=True)
    reads, writes = {"readOnlyHint": True}, {"readOnlyHint": "true"}
    assert "no tools/list has said" in (used(shaper, "tools/call", name="a") or "")
    tools = [{"name": "a", "annotations": reads}, {"name": "b", "annotations": writes}, {"name": "c"}, {}]
    assert [tool["name"] for tool in lists(shaper, "tools/list", "tools", tools)] == ["a"]
    assert used(shaper, "tools/call", name="a") is None
    for name in "bc":
        assert "does not say that it only reads" in (used(shaper, "tools/call", name=name) or "")
    lists(shaper, "tools/list", "tools", [{"name": "a", "annotations": {}}])
    assert used(shaper, "tools/call", name="a") is not None


def test_a_resource_is_hidden_by_its_uri_or_by_its_name() -> None:
    shaper = a_filter(resources=(("db://*", "Private*"), ()))
    listed = [
        {"uri": "db://x", "name": "n"},
        {"uri": "file:///p", "name": "private notes"},
        {"uri": "file:///o", "name": "open"},
    ]
    assert used(shaper, "resources/read", uri="file:///p") is None  # nobody has said its name yet
    assert [item["name"] for item in lists(shaper, "resources/list", "resources", listed)] == ["open"]
    for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        assert used(shaper, method, uri="file:///p") is not None
        assert used(shaper, method, uri="db://unlisted") is not None
        assert used(shaper, method, uri="file:///o") is None
    for uri, passes in (("file:///p", 0), ("file:///o", 1)):
        assert len(shaper.to_host(msg.notification("notifications/resources/updated", {"uri": uri}), None)) == passes


def test_what_a_hidden_template_makes_is_hidden_but_not_what_is_listed_by_itself() -> None:
    shaper = a_filter(resources=(("by-id",), ()))
    templates = [{"uriTemplate": "db://{id}", "name": "by-id"}, {"uriTemplate": "file:///{p}", "name": "files"}]
    kept = lists(shaper, "resources/templates/list", "resourceTemplates", templates)
    assert [item["name"] for item in kept] == ["files"]
    lists(shaper, "resources/list", "resources", [{"uri": "db://front", "name": "front"}])
    assert used(shaper, "resources/read", uri="db://7") is not None
    assert used(shaper, "resources/read", uri="db://front") is None
    reference = {"type": "ref/resource", "uri": "db://{id}"}
    assert used(shaper, "completion/complete", ref=reference) is not None
    assert used(shaper, "completion/complete", ref={**reference, "uri": "file:///{p}"}) is None


def test_only_resource_lets_through_what_a_shown_template_makes() -> None:
    shaper = a_filter(resources=((), ("files",)))
    assert used(shaper, "resources/read", uri="file:///x") is not None
    lists(shaper, "resources/templates/list", "resourceTemplates", [{"uriTemplate": "file:///{p}", "name": "files"}])
    assert used(shaper, "resources/read", uri="file:///x") is None
    assert used(shaper, "resources/read", uri="db://x") is not None


NAMES = st.text(alphabet="abc", min_size=1, max_size=3)


@given(st.lists(NAMES, max_size=5), st.lists(NAMES | st.just("a*"), max_size=2), st.lists(NAMES, max_size=2))
def test_what_is_listed_can_be_called_and_what_is_not_cannot(
    names: list[str], ignore: list[str], only: list[str]
) -> None:
    shaper = a_filter((tuple(ignore), tuple(only)))
    kept = [tool["name"] for tool in lists(shaper, "tools/list", "tools", [{"name": name} for name in names])]
    for name in names:
        assert (used(shaper, "tools/call", name=name) is None) is (name in kept)
