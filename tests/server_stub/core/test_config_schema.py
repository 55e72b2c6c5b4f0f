"""The published JSON Schema, the table of keys, and the reader of the file say the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from mcp_remote_py.core.message import encode
from server_stub.config_file import examine
from server_stub.core import relaxed_json
from server_stub.core.config_keys import MEMBER, PLACES, known, nearest
from server_stub.core.config_schema import schema
from tests.support.config_folder import CONFIGS, FILES

VALIDATOR = Draft7Validator(schema())


def _document(name: str) -> Any:
    return relaxed_json.plain(relaxed_json.parse((CONFIGS / name).read_text(encoding="utf-8")))


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("name", FILES)
def test_the_examples_keep_to_the_schema(name: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(_document(name))] == []


def test_the_examples_use_every_key_of_ours() -> None:
    used: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            used.update(value)
            for inner in value.values():
                walk(inner)

    for name in FILES:
        walk(_document(name))
    ours = {key.name for key in MEMBER.keys} | {key.name for key in PLACES["options"].keys}
    assert ours - used == {"cwd", "envFile"}, "these two name files, which an example cannot bring along"


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"mcpProxy": {}},
        {"mcpServers": []},
        {"mcpServers": {"a": {}}},
        {"mcpServers": {"a": {"command": 5}}},
        {"mcpServers": {"a": {"comand": "npx"}}},
        {"mcpServers": {"a": {"command": "npx", "args": "-y"}}},
        {"mcpServers": {"a": {"command": "npx", "env": {"A": 1}}}},
        {"mcpServers": {"a": {"command": "npx", "url": "http://x/"}}},
        {"mcpServers": {"a": {"command": "npx", "share": "all"}}},
        {"mcpServers": {"a": {"command": "npx", "idleTimeout": "soon"}}},
        {"mcpServers": {"a": {"command": "npx", "pingFailures": 0}}},
        {"mcpServers": {"a": {"command": "npx", "options": {"toolFilter": {"list": ["x"]}}}}},
        {"mcpServers": {"a": {"command": "npx", "options": {"authTokens": []}}}},
        {"servers": {"a": {"url": "http://x/", "type": "smtp"}}},
        {"mcpServers": {"a": {"command": "npx", "httpUrl": "http://x/"}}},
        {"mcpServers": {"a": {"command": "npx", "type": "sse"}}},
        {"mcpServers": {"a": {"command": "npx", "shell": "npx -y"}}},
        {"mcpServers": {"a": {"url": "x"}}},
        {"mcpServers": {"a": {"command": " "}}},
        {"mcpServers": {"a": {"command": "npx", "toolFilter": {"mode": "allow"}}}},
        {"mcpProxy": {"addr": "9090"}, "mcpServers": {}},
        {"mcpProxy": {"baseURL": "mcp.example.com"}, "mcpServers": {}},
    ],
    ids=str,
)
def test_what_the_reader_refuses_the_schema_refuses(document: Any) -> None:
    assert list(VALIDATOR.iter_errors(document))


_OF_ENTRIES = [
    key.name for key in MEMBER.keys if key.place is None and key.name not in ("cwd", "envFile", "enabled", "url")
]
_ANYTHING = [
    *(
        None,
        True,
        False,
        0,
        1,
        1.5,
        -1,
        "",
        " ",
        "x",
        "30s",
        "off",
        "0",
        "500MB",
        "stdio",
        "http",
        "ws",
        "eager",
        "snake",
    ),
    *([], ["x"], ["x", 1], [""], {}, {"A": "b"}, {"A": 1}, {"A": None}),
]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([{"command": "x"}, {"url": "http://x/"}]),
    st.dictionaries(st.sampled_from(_OF_ENTRIES), st.sampled_from(_ANYTHING), max_size=3),
)
def test_the_schema_and_the_reader_agree(start: dict[str, Any], more: dict[str, Any]) -> None:
    document = {"mcpServers": {"a": more | start}}
    errors = examine(str(CONFIGS / FILES[0]), {}, encode(document).decode()).roster.errors
    assert bool(errors) == bool(list(VALIDATOR.iter_errors(document))), errors


def test_no_two_keys_of_a_place_are_spelled_alike() -> None:
    for place in PLACES.values():
        spellings = [spelling for key in place.keys for spelling in (key.name, *key.aliases)] + list(place.ignored)
        assert len(spellings) == len(set(spellings)), place.name


def test_every_key_of_a_place_means_itself() -> None:
    for place in PLACES.values():
        for spelling in known(place):
            near = nearest(spelling, place)
            assert near is not None
            assert known(place)[near] is known(place)[spelling]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("comand", "command"),
        ("Command", "command"),
        ("arg", "args"),
        ("arguments", "args"),
        ("cmd", "command"),
        ("evn", "env"),
        ("ulr", "url"),
        ("envs", "env"),
        ("env_file", "envFile"),
        ("URL", "url"),
        ("header", "headers"),
        ("disable", "disabled"),
        ("memory_limit", "memoryLimit"),
        ("workingDirectory", "cwd"),
        ("tokens", "authTokens"),
        ("tools", None),
        ("initTimeout", None),
        ("group", None),
        ("dangerous", None),
    ],
)
def test_a_near_miss_is_told_from_another_key(written: str, meant: str | None) -> None:
    assert nearest(written, MEMBER) == meant
