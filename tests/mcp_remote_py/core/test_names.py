"""Names: what hosts accept, back again, and never two for one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import parse_one
from mcp_remote_py.core.names import LONGEST, Dictionary, Mode, Names, host_safe, snake
from mcp_remote_py.core.shaping import Onward


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("API-get-user", "api_get_user"),
        ("getUserByID", "get_user_by_id"),
        ("HTTPServer", "http_server"),
        ("already_snake_2", "already_snake_2"),
        ("a.b/c d--e", "a_b_c_d_e"),
        ("__x__", "x"),
        ("日本", ""),
    ],
)
def test_snake(name: str, becomes: str) -> None:
    assert snake(name) == becomes


def test_host_safe_changes_only_what_hosts_refuse() -> None:
    assert host_safe("API-get_user.v2/x") == "API-get_user_v2_x"


TEXT = st.text(alphabet="aB-_.é", max_size=6) | st.text(max_size=80)


@given(st.sampled_from(["snake", "host-safe"]), st.lists(st.lists(TEXT, max_size=8), max_size=4))
def test_translations_are_acceptable_reversible_and_never_collide(mode: Mode, pages: list[list[str]]) -> None:
    dictionary, seen = Dictionary(mode, "tool"), dict[str, str]()
    for page in pages:
        dictionary.learn(page)
        for name in page:
            translation = dictionary.for_host(name)
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", translation)
            assert seen.setdefault(name, translation) == translation
    assert len(set(seen.values())) == len(seen)
    for name, translation in seen.items():
        assert dictionary.for_server(translation) == name


def test_a_name_that_needs_no_change_keeps_it_whatever_stands_before_it() -> None:
    dictionary = Dictionary("snake", "tool")
    dictionary.learn(["get-user", "getUser", "get_user"])
    assert dictionary.for_host("get_user") == "get_user"
    assert len({dictionary.for_host(name) for name in ("get-user", "getUser", "get_user")}) == 3
    assert all(dictionary.for_host(name).startswith("get_user_") for name in ("get-user", "getUser"))


def test_a_hash_that_is_taken_already_gives_way() -> None:
    first = Dictionary("snake", "tool")
    first.learn(["get_user", "getUser"])
    taken = first.for_host("getUser")
    second = Dictionary("snake", "tool")
    second.learn(["get_user", taken, "getUser"])
    assert second.for_host(taken) == taken
    assert second.for_host("getUser") not in (taken, "get_user")


def test_a_long_name_ends_in_a_hash_that_is_the_same_every_time() -> None:
    name = "x" * 100
    translations = set()
    for _ in range(2):
        dictionary = Dictionary("host-safe", "tool")
        dictionary.learn([name])
        translations.add(dictionary.for_host(name))
    assert len(translations) == 1
    assert len(translations.pop()) == LONGEST


def test_lists_calls_prompts_and_completions_are_translated_and_nothing_else() -> None:
    names = Names("snake")
    raw = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"title":"getUser","name" : "getUser","n":1.0}, 7]}}'
    (step,) = names.to_host(parse_one(raw), msg.request(1, "tools/list"))
    assert isinstance(step, Onward)
    assert step.message.raw == raw.replace(b'"name" : "getUser"', b'"name" : "get_user"').replace(b", 7]", b",7]")
    call = (
        b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_user","arguments":{"name":"get_user"}}}'
    )
    (step,) = names.from_host(parse_one(call))
    assert isinstance(step, Onward)
    assert step.message.raw == call.replace(b'"name":"get_user"', b'"name":"getUser"', 1)
    (step,) = names.from_host(msg.request(3, "prompts/get", {"name": "get_user"}))
    assert isinstance(step, Onward)
    assert step.message.params == {"name": "get_user"}  # a tool's name is no prompt's
    names.to_host(msg.result(1, {"prompts": [{"name": "Say-Hi"}]}), msg.request(1, "prompts/list"))
    reference = {"ref": {"type": "ref/prompt", "name": "say_hi"}}
    (step,) = names.from_host(msg.request(4, "completion/complete", reference))
    assert isinstance(step, Onward)
    assert step.message.params["ref"]["name"] == "Say-Hi"


def test_a_name_that_was_never_listed_passes_as_it_is() -> None:
    call = msg.request(1, "tools/call", {"name": "some_name"})
    assert Names("snake").from_host(call) == [Onward(call)]
