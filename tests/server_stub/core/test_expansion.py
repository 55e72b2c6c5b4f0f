"""`expansion`: which variables a text names, what becomes of them, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_stub.core.expansion import expand

VARIABLES = {"A": "one", "EMPTY": "", "OPEN": "${A}", "api-key": "k", "WORK_KEY": "w", "N_1": "${"}
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${A}", "one"),
        ("<${A}${env:A}>", "<oneone>"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-x y}", "x y"),
        ("${NONE:-}", ""),
        ("${A:-x}", "one"),
        ("${env:NONE:-a:b}", "a:b"),
        ("${NONE:-${A}!}", "one!"),
        ("${NONE:-${NEITHER:-z}}", "z"),
        ("${OPEN}", "${A}"),
        ("${N_1}", "${"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A $$A pa$$word $", "$A $$A pa$$word $"),
        ("${input:api-key}", "k"),
        ("${input:work-key}", "w"),
    ],
)
def test_forms(text: str, becomes: str) -> None:
    found = expand(text, VARIABLES)
    assert (found.text, found.missing) == (becomes, ())


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("${NONE}", "NONE", "the variable NONE is not set"),
        ("${env:NONE}", "NONE", "the variable NONE is not set"),
        ("x ${input:id} y", "id", "the input id is not known"),
        ("${workspaceFolder}/x", "workspaceFolder", "known to an editor only"),
        ("${A", "", "has no }"),
        ("${}", "", "is no variable"),
        ("${A-b}", "", "is no variable"),
        ("${NONE:-${NEITHER}}", "NEITHER", "the variable NEITHER is not set"),
    ],
)
def test_what_is_missing_is_named(text: str, name: str, says: str) -> None:
    missing = expand(text, VARIABLES).missing
    assert [one.name for one in missing] == [name]
    assert says in missing[0].reason


def test_the_text_between_braces_is_never_shown() -> None:
    assert "hunter2" not in str(expand("${hunter2!}", {}).missing)


@given(st.text(), st.dictionaries(NAMES, st.text()))
def test_a_text_without_braces_stays_as_it_is(text: str, variables: dict[str, str]) -> None:
    text = text.replace("${", "$ {")
    assert expand(text, variables).text == text


@given(st.text())
def test_any_text_can_be_written_so_that_it_stays(text: str) -> None:
    found = expand(text.replace("${", "$${"), {})
    assert found.missing == ()
    assert found.text == text


@given(st.lists(st.tuples(NAMES, st.text(), st.text(alphabet="abc {}")), max_size=5))
def test_what_a_variable_holds_is_put_in_as_it_is(parts: list[tuple[str, str, str]]) -> None:
    variables = {name: value for name, value, _ in parts}
    text = "".join(f"{between}${{{name}}}" for name, _, between in parts)
    found = expand(text, variables)
    assert found.text == "".join(between + variables[name] for name, _, between in parts)
    assert set(found.wanted) == set(variables)


@given(st.text(alphabet="${}:-aA", max_size=30))
def test_no_text_breaks_it(text: str) -> None:
    found = expand(text, {"A": "x"})
    assert "${" not in found.text or "$${" in text or "${" in text


def test_a_hundred_thousand_open_braces_are_read_at_once() -> None:
    assert expand("${A:-" * 20_000, {}).missing
