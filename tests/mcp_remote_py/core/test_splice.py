"""Splicing: what is named changes, every other byte stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import splice
from mcp_remote_py.core.message import Invalid, parse_one

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def message(result: str) -> Any:
    return parse_one(f'{{"jsonrpc":"2.0", "id":1 ,"result":{result}}}'.encode())


def test_nothing_to_change_gives_the_very_same_message() -> None:
    given_ = message('{"tools":[ {"a":1.00} , 2 ]}')
    assert splice.with_items(given_, ("result", "tools"), lambda item: item) is given_
    assert splice.with_items(given_, ("result", "other"), lambda _: None) is given_
    assert splice.with_items(given_, ("result",), lambda _: None) is given_


def test_an_item_is_cut_out_and_the_rest_keeps_its_spelling() -> None:
    changed = splice.with_items(
        message('{"n":1e2,"tools":[ {"a":1.00} , 2 , "\\u00e9"],"z":[]}'),
        ("result", "tools"),
        lambda item: None if item == "2" else item,
    )
    assert changed.raw.endswith(b'"result":{"n":1e2,"tools":[{"a":1.00},"\\u00e9"],"z":[]}}')
    assert changed.id == 1


def test_members_that_stand_twice_are_all_found() -> None:
    text = '{"a":{"b":1},"a":{"b":2,"b":3}}'
    assert splice.values(text, ("a", "b")) == [1, 2, 3]
    assert splice.at(text, ("a", "b"), lambda old: f"-{old}") == '{"a":{"b":-1},"a":{"b":-2,"b":-3}}'


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), JSON)
def test_replacing_a_member_is_what_it_is_for_the_parsed_object(doc: dict[str, Any], value: Any) -> None:
    text = json.dumps(doc)
    for name in doc:
        changed = json.loads(splice.at(text, (name,), lambda _: json.dumps(value)))
        assert changed == {**doc, name: value}
        assert list(changed) == list(doc)
        assert splice.values(text, (name,)) == [doc[name]]


@given(st.lists(JSON, max_size=6), st.integers(0, 63))
def test_cutting_items_out_is_what_it_is_for_the_parsed_list(items: list[Any], mask: int) -> None:
    keep = [bool(mask >> at & 1) for at in range(len(items))]
    turn = iter(keep)
    left = splice.items(json.dumps(items), lambda item: item if next(turn) else None)
    assert json.loads(left) == [item for item, kept in zip(items, keep, strict=True) if kept]


def test_a_text_that_is_nested_too_deeply_is_refused_rather_than_passed() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    for text in (f'{{"x":1,"tools":{deep}}}', f'{{"deep":{deep},"tools":[]}}'):
        with pytest.raises(Invalid, match="nested too deeply"):
            splice.at(text, ("tools",), lambda old: old)
        with pytest.raises(Invalid, match="nested too deeply"):
            splice.values(text, ("tools",))
    with pytest.raises(Invalid, match="nested too deeply"):
        splice.items(f"[{deep}]", lambda item: item)
    assert splice.values("{ }", ("tools",)) == []
