"""Editing JSON with comments: what is put in or taken out is there or gone, and all else is as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_stub.core import json_text, relaxed_json
from server_stub.core.json_text import Unfit

PATH = ("mcpServers",)
NEW = {"command": "npx", "args": ["-y", "x"]}


def load(text: str) -> Any:
    return relaxed_json.plain(relaxed_json.parse(text))


ROUND = [
    '{"mcpServers": {}}',
    '{\n  "mcpServers": {}\n}\n',
    '{\n  "mcpServers": {\n    "a": {"command": "x"}\n  }\n}\n',
    '{\n  "mcpServers": {\n    "a": {"command": "x"}, // about a\n  }\n}\n',
    '{\n  "mcpServers": {\n    "a": {"command": "x"} // about a\n    // the end\n  }\n}\n',
    '{"mcpServers": {"a": {"command": "x"}}}\n',
    '{ "mcpServers": { "a": { "command": "x" } } }\n',
    '\ufeff{\n\t"mcpServers": {\n\t\t"a": {\n\t\t\t"command": "x"\n\t\t}\n\t},\n\t"z": 1\n}\n',
    '{\r\n    "mcpServers": {\r\n        // none yet\r\n    }\r\n}\r\n',
]


@pytest.mark.parametrize("text", ROUND)
def test_what_was_put_in_and_taken_out_again_leaves_no_trace(text: str) -> None:
    there = json_text.put(text, PATH, "new", NEW)
    assert load(there) == {**load(text), "mcpServers": {**load(text)["mcpServers"], "new": NEW}}
    assert json_text.take_out(there, PATH, "new") == text


def test_a_new_member_looks_like_the_others() -> None:
    text = '{\n    "mcpServers": {\n        "a": {\n            "command": "x"\n        } // a\n    }\n}\n'
    assert json_text.put(text, PATH, "b", NEW) == (
        '{\n    "mcpServers": {\n        "a": {\n            "command": "x"\n        }, // a\n'
        '        "b": {\n            "command": "npx",\n            "args": ["-y", "x"]\n        }\n    }\n}\n'
    )


def test_missing_objects_of_the_path_are_made() -> None:
    assert load(json_text.put("{}\n", ("mcp", "servers"), "a", NEW)) == {"mcp": {"servers": {"a": NEW}}}


def test_a_comment_on_a_line_of_its_own_stays_when_the_member_below_goes() -> None:
    text = '{"mcpServers": {\n  // one\n  "a": {}, // behind\n  "b": {}\n}}'
    assert json_text.take_out(text, PATH, "a") == '{"mcpServers": {\n  // one\n  "b": {}\n}}'


def test_a_name_that_is_there_twice_is_not_guessed_at() -> None:
    with pytest.raises(Unfit, match="2 times"):
        json_text.take_out('{"mcpServers": {"a": {}, "a": {}}}', PATH, "a")


@pytest.mark.parametrize("text", ["[]", '{"mcpServers": 3}', "{", ""])
def test_what_is_no_object_is_told(text: str) -> None:
    with pytest.raises(Unfit):
        json_text.put(text, PATH, "a", NEW)


SPACE = st.sampled_from(["", " ", "\n  ", "\t", "// c , }\n", " /* b { */ ", "\n  /* two\n lines */\n", "\r\n"])
LEAF = st.sampled_from(['"x,}y"', "'//'", "-1.5", "true", "null", '"/*"', "[1, [2,], {}]", "{k: {},}"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    count = draw(st.integers(0, 3))
    items = [f'"m{n}"{draw(SPACE)}:{draw(SPACE)}{draw(LEAF)}{draw(SPACE)}' for n in range(count)]
    end = "," + draw(SPACE) if count and draw(st.booleans()) else ""
    inside = draw(SPACE) + ("," + draw(SPACE)).join(items) + end
    return (
        f'{draw(SPACE)}{{{draw(SPACE)}"mcpServers"{draw(SPACE)}:{draw(SPACE)}{{{inside}}}{draw(SPACE)}}}{draw(SPACE)}'
    )


def comments(text: str) -> list[str]:
    return [word for word in ("// c , }", "/* b { */", "/* two") for _ in range(text.count(word))]


@given(documents())
def test_however_it_is_written_only_the_member_changes(text: str) -> None:
    before = load(text)["mcpServers"]
    there = json_text.put(text, PATH, "new", NEW)
    assert list(load(there)["mcpServers"].items()) == [*before.items(), ("new", NEW)]
    assert comments(there) == comments(text)
    assert load(json_text.take_out(there, PATH, "new"))["mcpServers"] == before
    for name in before:
        rest = {other: value for other, value in before.items() if other != name}
        assert load(json_text.take_out(text, PATH, name))["mcpServers"] == rest
        assert load(json_text.put(text, PATH, name, NEW))["mcpServers"] == {**before, name: NEW}
