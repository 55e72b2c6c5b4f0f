"""Which scopes are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.oauth.scopes import covers, first, join, of_list, split, union


@pytest.mark.parametrize(
    ("challenged", "resource", "preferred", "server", "expected"),
    [
        ("a b", ("c",), None, None, "a b"),
        (None, ("c", "d"), None, None, "c d"),
        (None, None, None, None, None),
        # the authorization server's own list is not what the resource needs
        (None, None, None, ("x", "y"), None),
        # an empty list means that none is wanted
        (None, (), None, ("x", "offline_access"), None),
        ("", ("c",), None, None, "c"),
        ("a", ("c",), "mine and only mine", ("offline_access",), "mine and only"),
        ("a", ("c",), "", None, None),
        ("a", None, None, ("a", "offline_access"), "a offline_access"),
        (None, ("c",), None, ("offline_access",), "c offline_access"),
        (None, ("c", "offline_access"), None, ("offline_access",), "c offline_access"),
        # not alone, as it would take the place of the server's default scopes
        (None, None, None, ("offline_access",), None),
        # listed by the resource, and not by the authorization server
        (None, ("c", "offline_access"), None, ("c",), "c"),
        (None, ("c", "offline_access"), None, None, "c"),
        # a challenge says what the request needs
        ("a offline_access", None, None, ("a",), "a offline_access"),
    ],
)
def test_the_first_scope(
    challenged: str | None,
    resource: tuple[str, ...] | None,
    preferred: str | None,
    server: tuple[str, ...] | None,
    expected: str | None,
) -> None:
    assert first(challenged, resource, preferred, server) == expected


def test_without_a_person_nothing_is_asked_for_offline() -> None:
    assert first("a", None, None, ("offline_access",), for_person=False) == "a"


def test_a_step_up_asks_for_everything_so_far_and_what_is_wanted_now() -> None:
    assert union("a b", None, "b c", "") == "a b c"
    assert union(None, "") is None


def test_whether_scopes_are_enough() -> None:
    assert covers("a b", "b")
    assert covers("a", None)
    assert not covers("a", "a b")
    assert not covers(None, "a")


def test_what_no_scope_can_be_is_left_out() -> None:
    assert of_list(["a", 1, None, "b c", 'd"', "e\\", "", "ü", "a", ["f"], "f:g/h.i"]) == ("a", "f:g/h.i")
    assert split(" a\tb\x00 \n c ") == ("a", "c")
    assert join([]) is None


TEXT = st.none() | st.text()


@given(TEXT, st.none() | st.lists(st.text(), max_size=4), TEXT, st.none() | st.lists(st.text(), max_size=4))
def test_a_scope_parameter_is_none_or_well_formed(
    challenged: str | None, resource: list[str] | None, preferred: str | None, server: list[str] | None
) -> None:
    for found in (first(challenged, resource, preferred, server), union(challenged, preferred)):
        assert found is None or split(found) == tuple(found.split(" "))
