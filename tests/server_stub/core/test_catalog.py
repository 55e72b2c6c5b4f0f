"""The names and URIs of a merged server: reversible, free of collisions, legal, and the same whoever else is there."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from server_stub.core.catalog import (
    LONGEST,
    PROMPTS,
    RESOURCES,
    SCHEME,
    TASKS,
    TEMPLATES,
    TOOLS,
    Catalog,
    Listing,
    Place,
    is_hashed,
    join_name,
    join_uri,
    split_name,
    split_uri,
)

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
TRICKY = st.text(alphabet="ab_-.é 0", min_size=1, max_size=80)
"""Names of few letters, so that they meet, with what hosts do not take."""
PLACES = st.lists(st.tuples(TRICKY, TRICKY), min_size=1, max_size=12, unique=True)


def listed(listing: Listing, catalog: Catalog, **items: Sequence[str]) -> dict[str, list[str]]:
    """Have members list things of these names; return what each is called in the merged list."""
    catalog.order(items)
    texts = {member: [msg.encode({listing.key: own}).decode() for own in names] for member, names in items.items()}
    for member, written in texts.items():
        catalog.learn(listing, member, written)
    return {
        member: [msg.value_of(item)[listing.key] for item in catalog.shown(listing, member, written)]
        for member, written in texts.items()
    }


def test_a_tool_is_called_by_its_server_and_its_name() -> None:
    assert join_name("github", "create_issue") == "github__create_issue"
    assert split_name("github__create_issue") == Place("github", "create_issue")
    assert join_name("time", "get-current-time") == "time__get-current-time"
    assert join_name("a", "b__c") == "a__b__c"
    assert split_name("a__b__c") == Place("a", "b__c")


def test_two_places_that_would_have_one_name_have_two() -> None:
    names = {join_name("a", "b__c"), join_name("a__b", "c"), join_name("a", "_x"), join_name("a_", "x")}
    assert len(names) == 4
    assert join_name("a__b", "c").startswith("a__b__c_")


@given(PLACES, st.randoms())
def test_names_are_legal_and_lead_back_whatever_order_they_come_in(places: list[tuple[str, str]], dice: object) -> None:
    catalog = Catalog()
    catalog.order(member for member, _ in places)
    names = {place: catalog.name_of(TOOLS, *place) for place in places}
    assert len(set(names.values())) == len(places)
    for place, name in names.items():
        assert LEGAL.fullmatch(name)
        assert catalog.find(TOOLS, name) == Place(*place)
    shuffled = list(places)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    other = Catalog()
    assert {place: other.name_of(TOOLS, *place) for place in shuffled} == names


@given(st.text(alphabet="a_.", min_size=3, max_size=12))
def test_the_same_letters_parted_elsewhere_are_another_name(letters: str) -> None:
    cuts = range(1, len(letters))
    assert len({join_name(letters[:at], letters[at:]) for at in cuts}) == len(cuts)


@given(TRICKY, TRICKY)
def test_a_name_without_a_hash_is_taken_apart_without_any_list(member: str, own: str) -> None:
    name = join_name(member, own)
    assert len(name) <= LONGEST
    assert split_name(name) == (None if is_hashed(name) else Place(member, own))


def test_a_name_that_looks_hashed_is_hashed_so_that_the_two_kinds_never_meet() -> None:
    name = join_name("a", "tool_0123456789ab")
    assert name != "a__tool_0123456789ab"
    assert is_hashed(name)


def test_names_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def __init__(self, data: bytes) -> None:
            self._text = "00" if data.startswith((b"1:", b"2:")) and b"\x00" not in data else "11"

        def hexdigest(self) -> str:
            return self._text * 6

    monkeypatch.setattr("server_stub.core.catalog.hashlib.sha256", Constant)
    catalog = Catalog()
    catalog.order(["a.b", "a/b"])
    first, second = catalog.name_of(TOOLS, "a.b", "t"), catalog.name_of(TOOLS, "a/b", "t")
    assert first != second
    assert catalog.find(TOOLS, first) == Place("a.b", "t")
    assert catalog.find(TOOLS, second) == Place("a/b", "t")
    assert catalog.name_of(TOOLS, "a/b", "t") == second


def test_a_name_of_a_member_that_is_not_there_leads_nowhere() -> None:
    catalog = Catalog()
    catalog.order(["a"])
    assert catalog.find(TOOLS, "b__tool") is None
    assert catalog.find(TOOLS, "tool") is None
    assert catalog.find(TOOLS, "__tool") is None
    assert catalog.find(TOOLS, "a__") is None


def test_tools_and_prompts_of_one_name_are_apart() -> None:
    catalog = Catalog()
    catalog.order(["a"])
    tool = catalog.name_of(TOOLS, "a", "x.y")
    assert catalog.find(PROMPTS, tool) is None
    assert catalog.name_of(PROMPTS, "a", "x.y") == tool
    assert catalog.find(PROMPTS, tool) == Place("a", "x.y")


def test_items_keep_their_bytes_but_for_the_name() -> None:
    catalog = Catalog()
    catalog.order(["s"])
    item = '{ "description":"\\u00e9 1.0","name" : "t","inputSchema":{"b":1e5,"a":12345678901234567890} , "x":[]}'
    (shown,) = catalog.shown(TOOLS, "s", [item])
    assert shown == item.replace('"t"', '"s__t"')


def test_items_that_nobody_could_use_are_left_out() -> None:
    catalog = Catalog()
    catalog.order(["s"])
    items = ['{"name":"t","n":1}', '{"name":"t","n":2}', '{"name":7}', "5", "{}", '{"name":""}']
    shown = [msg.value_of(item) for item in catalog.shown(TOOLS, "s", items)]
    assert shown[0] == {"name": "s__t", "n": 1}
    assert [one["name"] for one in shown[1:]] == [join_name("s", "")]


def test_of_a_name_that_stands_twice_the_last_counts_and_both_are_changed() -> None:
    catalog = Catalog()
    catalog.order(["s"])
    assert catalog.shown(TOOLS, "s", ['{"name":"a","name":"b"}']) == ['{"name":"s__b","name":"s__b"}']


# --- URIs ----------------------------------------------------------------------------------------------------------


@given(st.text(alphabet="ab/%:.é ", min_size=1, max_size=12), st.text(max_size=30))
def test_a_uri_under_a_members_name_leads_back(member: str, own: str) -> None:
    assert split_uri(join_uri(member, own)) == Place(member, own)


def test_of_two_resources_with_one_uri_the_later_stands_under_its_members_name() -> None:
    catalog = Catalog()
    shown = listed(RESOURCES, catalog, a=["file:///x", "file:///a"], b=["file:///b", "file:///x"])
    assert shown == {"a": ["file:///x", "file:///a"], "b": ["file:///b", f"{SCHEME}b/file:///x"]}
    for member, uris in shown.items():
        for uri, own in zip(uris, {"a": ["file:///x", "file:///a"], "b": ["file:///b", "file:///x"]}[member]):  # noqa: B905
            assert catalog.owner(uri) == Place(member, own)


URIS = st.lists(st.sampled_from(["x:1", "x:2", f"{SCHEME}a/x:1", f"{SCHEME}b/x:2", SCHEME]), max_size=5, unique=True)


@given(URIS, URIS, URIS)
def test_every_listed_uri_leads_back_and_none_stands_twice(a: list[str], b: list[str], c: list[str]) -> None:
    catalog = Catalog()
    own = {"a": a, "b": b, "c": c}
    shown = listed(RESOURCES, catalog, **own)
    pairs = [(uri, Place(name, one)) for name in own for uri, one in zip(shown[name], own[name], strict=True)]
    assert len({uri for uri, _ in pairs}) == len(pairs)
    assert all(catalog.owner(uri) == place for uri, place in pairs)


def test_a_uri_that_is_not_listed_belongs_to_the_template_that_says_most_of_it() -> None:
    catalog = Catalog()
    listed(TEMPLATES, catalog, a=["file:///{path}"], b=["file:///notes/{name}"])
    assert catalog.owner("file:///notes/today") == Place("b", "file:///notes/today")
    assert catalog.owner("file:///else") == Place("a", "file:///else")
    assert catalog.owner("http://else") is None


def test_two_members_with_one_template_have_two_templates() -> None:
    catalog = Catalog()
    shown = listed(TEMPLATES, catalog, a=["file:///{path}"], b=["file:///{path}"])
    assert shown["b"] == [f"{SCHEME}b/file:///{{path}}"]
    assert catalog.owner(shown["b"][0].replace("{path}", "x/y")) == Place("b", "file:///x/y")


def test_a_uri_that_a_member_mentioned_is_its_unless_another_lists_it() -> None:
    catalog = Catalog()
    listed(RESOURCES, catalog, a=["x:1"], b=[])
    assert catalog.reachable("b", "x:2") == "x:2"
    assert catalog.owner("x:2") == Place("b", "x:2")
    assert catalog.reachable("a", "x:2") == join_uri("a", "x:2")
    assert catalog.reachable("b", "x:1") == join_uri("b", "x:1")


def test_what_was_known_of_a_member_that_is_gone_is_forgotten() -> None:
    catalog = Catalog()
    listed(RESOURCES, catalog, a=["x:1"], b=["x:1", "x:2"])
    catalog.mention(TASKS, "a", "task")
    catalog.order(["b"])
    assert catalog.owner("x:1") == Place("b", "x:1")
    assert catalog.uri_of("b", "x:1") == "x:1"
    assert catalog.owner(join_uri("a", "x:1")) is None
    assert catalog.task_owner("task") is None


def test_a_task_belongs_to_the_member_that_spoke_of_it_first() -> None:
    catalog = Catalog()
    catalog.order(["a", "b"])
    catalog.mention(TASKS, "a", "1")
    catalog.mention(TASKS, "b", "1")
    assert catalog.task_owner("1") == "a"
    assert catalog.task_owner("2") is None


def test_what_is_remembered_of_mentions_is_bounded() -> None:
    catalog = Catalog()
    catalog.order(["a"])
    for number in range(5000):
        catalog.mention(TASKS, "a", str(number))
    assert catalog.task_owner("0") is None
    assert catalog.task_owner("4999") == "a"
