"""The published JSON Schema, the table of keys, and the reader of the file say the same."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

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
    ],
    ids=str,
)
def test_what_the_reader_refuses_the_schema_refuses(document: Any) -> None:
    assert list(VALIDATOR.iter_errors(document))


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
        ("tools", None),
        ("initTimeout", None),
        ("group", None),
        ("dangerous", None),
    ],
)
def test_a_near_miss_is_told_from_another_key(written: str, meant: str | None) -> None:
    assert nearest(written, MEMBER) == meant
