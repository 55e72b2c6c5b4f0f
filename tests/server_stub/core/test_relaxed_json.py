"""`relaxed_json`: what is read as JSON has it, what is read beyond it, where things stand, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_stub.core.relaxed_json import DEEPEST, Node, NotJson, Object, parse, plain

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS, st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_json_reads_it(document: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert plain(parse(text)) == document


@given(st.text())
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    place = (1, 1)
    try:
        parse(text)
    except NotJson as error:
        place = (error.line, error.column)
    assert place >= (1, 1)
    assert place[0] <= text.count("\n") + text.count("\r") + 1
    assert place[1] <= len(text) + 1


def _nodes(node: Node) -> list[Node]:
    inner = [entry.node for entry in node.value] if isinstance(node.value, Object) else []
    inner = node.value if isinstance(node.value, list) else inner
    return [node, *(found for one in inner for found in _nodes(one))]


@given(DOCUMENTS, st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_value_stands_where_its_node_says(document: object, line_end: str) -> None:
    text = json.dumps(document, indent=1).replace("\n", line_end)
    for node in _nodes(parse(text)):
        assert json.loads(text[node.start : node.end]) == plain(node)
        assert node.line == text[: node.start].count(line_end) + 1


def test_comments_trailing_commas_single_quotes_and_bare_names_are_read() -> None:
    text = """\ufeff// first
    { /* a , } */ name: 'it\\'s', "list": [1, 2, /* none */ ], "url": "http://x/y", // "gone": 1,
      $b_1: {}, "hex": 0x1F, "half": .5, "plus": +1, "big": 1e3, }
    // last"""
    assert plain(parse(text)) == {
        "name": "it's",
        "list": [1, 2],
        "url": "http://x/y",
        "$b_1": {},
        "hex": 31,
        "half": 0.5,
        "plus": 1,
        "big": 1000.0,
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"C:\\xampp\\u00e9\\n", r"C:\xampp\u00e9\n"),
        (r"\ud83d\ude00 \u00e9\/\t", "\U0001f600 é/\t"),
        ("a\\\nb", "ab"),
        ("a\\\r\nb", "ab"),
        ("\u2028", "\u2028"),
    ],
)
def test_backslashes_mean_what_json_says(written: str, meant: str) -> None:
    assert plain(parse(f'{{"a": "{written}"}}')) == {"a": meant}


def test_a_name_that_stands_twice_is_there_twice() -> None:
    document = parse('{"a": 1,\n "a": 2}').value
    assert [(entry.name, entry.line, entry.node.value) for entry in document] == [("a", 1, 1), ("a", 2, 2)]
    assert document.last("a").node.value == 2
    assert document.last("b") is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "a value is missing before the end of the file"),
        ("// only this\n", 2, "a value is missing"),
        ('{\n"a": 1\n"b": 2}', 3, "a comma, or }, is missing"),
        ('{"a": [1, 2}', 1, "a comma, or ], is missing before '}'"),
        ('{"a": [1,,2]}', 1, "',' stands where an array goes on"),
        ('{"a": 1,,}', 1, "',' stands where an object goes on"),
        ('{"a" 1}', 1, "a colon is missing"),
        ('{"a": 1', 1, "} is missing"),
        ('{"a": "no end}\n', 1, "this text has no end"),
        ('{"a": "C:\\Users"}', 1, "a backslash is written twice"),
        ('{"a": "\\u12"}', 1, "a backslash is written twice"),
        ('{"a": True}', 1, "written true, not True"),
        ('{"a": npx}', 1, "'npx' is no value: text stands in quotes"),
        ('{"a": 01}', 1, "a value is missing before '0'"),
        ('{"a": }', 1, "a value is missing before '}'"),
        ("# hash\n{}", 1, "begins with //"),
        ("{} /* open", 1, "this comment has no end"),
        ("{}\n{}", 2, "the text goes on"),
        ('{1: 2}', 1, "a name in quotes belongs here"),
        ("[" * (DEEPEST + 2), 1, "stand within each other"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(NotJson) as caught:
        parse(text)
    assert says in str(caught.value)
    assert caught.value.line == line


def test_an_error_never_shows_a_long_word_that_may_be_a_secret() -> None:
    with pytest.raises(NotJson) as caught:
        parse('{"token": sk_live_1234567890abcdef}')
    assert "sk_live" not in str(caught.value)


def test_thousands_of_lines_are_counted_right() -> None:
    text = "[" + ",\n".join(['{"command": "npx", "args": ["-y", "a"]}'] * 3_000) + "]"
    document = parse(text)
    assert document.value[-1].line == 3_000
