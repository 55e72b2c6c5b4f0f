"""Several members' answers as one: the greeting, pages, URIs in answers, loggers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Message, parse_one
from server_stub.core import merging
from server_stub.core.catalog import PROMPTS, RESOURCES, TOOLS, Catalog, join_uri
from server_stub.core.merging import (
    Ourselves,
    Pages,
    greeting_for_members,
    merged_greeting,
    merged_list,
    offers,
    with_logger,
    with_public_uris,
)

WE = Ourselves("merged", "1.2")


def initialize(version: Any = "2025-06-18") -> Message:
    return msg.request(7, "initialize", {"protocolVersion": version, "capabilities": {"sampling": {}}})


def greeted(missing: tuple[str, ...] = (), version: Any = "2025-06-18", **members: dict[str, Any]) -> dict[str, Any]:
    answer = merged_greeting(initialize(version), members, missing, WE)
    assert answer.id == 7
    return answer.result


def test_the_greeting_names_us_and_what_all_can_do() -> None:
    result = greeted(
        a={"capabilities": {"tools": {}, "experimental": {"x": {"on": 1}}}, "instructions": " Use a. "},
        b={"capabilities": {"resources": {"subscribe": True}, "completions": {}, "experimental": {"x": {"y": 2}}}},
        c={"capabilities": {"tasks": {"list": {}}}, "instructions": "Use c.", "protocolVersion": "2024-11-05"},
    )
    assert result["serverInfo"] == {"name": "merged", "version": "1.2"}
    assert result["protocolVersion"] == "2025-06-18"
    assert result["instructions"] == "## a\n\nUse a.\n\n## c\n\nUse c."
    assert result["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
        "completions": {},
        "tasks": {"list": {}},
        "experimental": {"x": {"on": 1, "y": 2}},
    }


def test_what_nobody_can_do_is_not_declared_unless_somebody_is_still_missing() -> None:
    capabilities = greeted(a={"capabilities": {}})["capabilities"]
    assert "completions" not in capabilities
    assert capabilities["resources"] == {"subscribe": False, "listChanged": True}
    result = greeted(("b", "c"), a={"capabilities": {}})
    assert result["capabilities"]["completions"] == {}
    assert result["capabilities"]["resources"]["subscribe"] is True
    assert result["instructions"] == "Not available at the moment: b, c."


def test_a_server_without_members_that_answer_says_so() -> None:
    assert "None of the servers behind this one" in greeted(("a", "b"))["instructions"]
    assert "instructions" not in greeted()


def test_members_that_declare_nonsense_are_merged_as_if_they_declared_nothing() -> None:
    result = greeted(a={"capabilities": [], "instructions": 5}, b={"capabilities": {"resources": True, "tasks": 1}})
    assert result["capabilities"]["resources"]["subscribe"] is False
    assert "instructions" not in result


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("2024-11-05", "2024-11-05"), ("2025-11-25", "2025-11-25"), ("2026-07-28", "2025-11-25"), (5, "2025-11-25")],
)
def test_the_revision_is_the_clients_where_we_know_it(asked: Any, spoken: str) -> None:
    assert greeted(version=asked)["protocolVersion"] == spoken
    assert greeting_for_members(initialize(asked), WE).params["protocolVersion"] == spoken


def test_members_are_greeted_as_the_client_greeted_us() -> None:
    assert greeting_for_members(initialize(), WE).raw == initialize().raw
    ours = greeting_for_members(None, WE).params
    assert ours["clientInfo"] == {"name": "merged", "version": "1.2"}
    assert ours["capabilities"] == {}


def test_a_list_is_asked_for_where_it_is_declared_and_tools_always() -> None:
    assert offers({"capabilities": {"resources": {}}}, RESOURCES)
    assert not offers({"capabilities": {"resources": {}}}, PROMPTS)
    assert offers({}, TOOLS)


# --- Pages ---------------------------------------------------------------------------------------------------------


def page(items: list[Any], cursor: Any = None) -> Message:
    return msg.result(1, {"tools": items, **({} if cursor is None else {"nextCursor": cursor})})


def test_pages_are_collected_until_there_is_no_cursor() -> None:
    pages = Pages(TOOLS)
    assert pages.request(3, None).doc == {"jsonrpc": "2.0", "id": 3, "method": "tools/list"}
    assert pages.add(page([{"name": "a"}], "c")) == "c"
    assert pages.request(3, "c").params == {"cursor": "c"}
    assert pages.add(page([{"name": "b"}])) is None
    assert pages.items == ['{"name":"a"}', '{"name":"b"}']
    assert pages.cut is None


def test_items_keep_their_spelling() -> None:
    pages = Pages(TOOLS)
    pages.add(parse_one(b'{"jsonrpc":"2.0","id":1,"result":{ "tools" : [ {"n": 1.0,"\\u00e9":[]} , 5 ]}}'))
    assert pages.items == ['{"n": 1.0,"\\u00e9":[]}', "5"]


def test_cursors_without_end_come_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(TOOLS)
    assert pages.add(page([], "x")) == "x"
    assert pages.add(page([], "x")) is None
    assert pages.cut == "its pages go round in a circle"
    monkeypatch.setattr(merging, "PAGES", 3)
    pages = Pages(TOOLS)
    assert [pages.add(page([], str(number))) for number in range(3)] == ["0", "1", None]
    assert pages.cut == "it has more than 3 pages"


def test_a_list_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "ITEMS", 2)
    pages = Pages(TOOLS)
    assert pages.add(page([1, 2, 3], "more")) is None
    assert len(pages.items) == 2
    assert pages.cut is not None
    monkeypatch.setattr(merging, "ITEMS", 100)
    monkeypatch.setattr(merging, "BYTES", 10)
    pages = Pages(TOOLS)
    assert pages.add(page(["12345", "67890"], "more")) is None
    assert pages.items == ['"12345"']


@pytest.mark.parametrize("result", [{}, {"tools": {}}, {"tools": None}, {"nextCursor": 5, "tools": []}])
def test_what_is_no_list_is_an_empty_one(result: dict[str, Any]) -> None:
    pages = Pages(TOOLS)
    assert pages.add(msg.result(1, result)) is None
    assert pages.items == []


def test_a_merged_list_is_one_page_with_the_items_as_they_are() -> None:
    answer = merged_list(TOOLS, "id", ['{"name":"a","n":1.0}', '{"name":"b"}'])
    assert answer.raw == b'{"jsonrpc":"2.0","id":"id","result":{"tools":[{"name":"a","n":1.0},{"name":"b"}]}}'
    assert merged_list(TOOLS, 1, [], {}).result == {"tools": []}
    note = {"mcp-remote-server/leftOut": {"b": "gone"}}
    assert merged_list(TOOLS, 1, [], {"b": "gone"}).result == {"tools": [], "_meta": note}


# --- URIs in answers -----------------------------------------------------------------------------------------------


def two() -> Catalog:
    catalog = Catalog()
    catalog.order(["a", "b"])
    for member in ("a", "b"):
        catalog.learn(RESOURCES, member, ['{"uri":"x:1"}'])
    return catalog


def test_contents_lead_back_to_the_member_that_was_read() -> None:
    answer = msg.result(1, {"contents": [{"uri": "x:1", "text": "t"}, {"uri": "x:2", "text": "u"}]})
    uris = [one["uri"] for one in with_public_uris(two(), "b", "resources/read", answer, named=True).result["contents"]]
    assert uris == [join_uri("b", "x:1"), join_uri("b", "x:2")]
    assert with_public_uris(two(), "a", "resources/read", answer, named=False) is answer
    (first, second) = with_public_uris(two(), "b", "resources/read", answer, named=False).result["contents"]
    assert (first["uri"], second["uri"]) == (join_uri("b", "x:1"), "x:2")


def test_what_a_tool_or_a_prompt_links_leads_back_to_its_member() -> None:
    link = {"type": "resource_link", "uri": "x:1", "name": "n"}
    embedded = {"type": "resource", "resource": {"uri": "x:9", "text": "t"}}
    catalog = two()
    answer = msg.result(1, {"content": [{"type": "text", "text": "x:1"}, link, embedded]})
    content = with_public_uris(catalog, "b", "tools/call", answer, named=False).result["content"]
    assert content == [{"type": "text", "text": "x:1"}, {**link, "uri": join_uri("b", "x:1")}, embedded]
    owner = catalog.owner("x:9")
    assert owner is not None
    assert owner.member == "b"
    prompt = msg.result(1, {"messages": [{"role": "user", "content": link}, {"role": "user", "content": [link]}, 5]})
    shown = with_public_uris(catalog, "b", "prompts/get", prompt, named=False).result["messages"]
    assert shown[0]["content"]["uri"] == join_uri("b", "x:1")


def test_an_answer_without_uris_is_the_very_same() -> None:
    answer = msg.result(1, {"content": [{"type": "text", "text": "t"}], "structuredContent": {"uri": "x:1"}})
    assert with_public_uris(two(), "b", "tools/call", answer, named=False) is answer
    assert with_public_uris(two(), "b", "tools/call", msg.result(1, {"content": 5}), named=False).result["content"] == 5


# --- Loggers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "logger"),
    [
        ({"level": "info", "data": 1}, "s"),
        ({"level": "info", "logger": "net", "data": 1}, "s.net"),
        ({"level": "info", "logger": 5, "data": 1}, 5),
    ],
)
def test_a_logger_has_its_members_name_before_its_own(params: dict[str, Any], logger: Any) -> None:
    changed = with_logger(msg.notification("notifications/message", params), "s")
    assert changed.params == {**params, "logger": logger}
    assert json.loads(changed.raw) == changed.doc
