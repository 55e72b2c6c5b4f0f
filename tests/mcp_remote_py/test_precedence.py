"""A flag wins over a variable, a variable over the file, a profile over the keys above it, all over the default: for
every row of the table, with all of them at once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.cli import _read_file, _read_line, read_settings
from mcp_remote_py.config_file import NOT_INSIDE
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import encode
from mcp_remote_py.core.oauth.preferences import AUTH_METHODS, GRANTS
from mcp_remote_py.core.options import Level, Option
from mcp_remote_py.option_row import PREFIX
from mcp_remote_py.option_table import ALGORITHMS, OPTIONS, WAYS
from mcp_remote_py.settings import Settings
from tests.support.examples import examples

ROWS = [option for option in OPTIONS if option.name not in NOT_INSIDE]
PLACES = ("flag", "variable", "profile", "top")
URL = "https://example.com/mcp"


class Said(NamedTuple):
    """What one place says about one option: how it is written there, and its value."""

    text: str
    value: Any


def _samples(option: Option) -> list[str]:
    """Texts that this option takes, different from its default."""
    numbers = [str(number) for number in (1, 2, 3, 4)]
    known = {
        "transport": [*WAYS],
        "jwt_alg": [*ALGORITHMS],
        "log_level": ["debug", "warning", "error"],
        "grant": [*GRANTS],
        "token_auth_method": [*AUTH_METHODS],
        "signing_alg": ["ES256", "RS256", "PS256", "EdDSA"],
        "authorize_param": [f"name{number}=text" for number in numbers],
    }
    by_metavar = {
        "TIME": [f"{number}s" for number in numbers],
        "NAME=TIME": [f"tool{number}={number}m" for number in numbers],
        "SIZE": [f"{number}KiB" for number in numbers],
        "N": numbers,
        "PORT": numbers,
        "ORIGIN": [f"https://host{number}.example" for number in numbers],
        "HEADER": [f"X-Header: {number}" for number in numbers],
        "COMMAND": [f"program {number}" for number in numbers],
        "URL": [f"https://host{number}.example/mcp" for number in numbers],
        "FILE": [f"/folder/file{number}" for number in numbers],
    }
    words = option.metavar.split("|") if "|" in option.metavar and option.metavar.islower() else []
    return known.get(option.name) or by_metavar.get(option.metavar) or words or [f"text{number}" for number in numbers]


def _value(option: Option, text: str) -> Any:
    value = option.parse(text, "-") if option.parse else text
    return (value,) if option.repeats else value


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, dict[str, Said]]:
    """For each place, what it says about some of the options."""
    world: dict[str, dict[str, Said]] = {place: {} for place in PLACES}
    for option in ROWS:
        for place in PLACES:
            if (place == "variable" and not option.variables) or not draw(st.booleans()):
                continue
            if option.sets is not None:
                on = place == "flag" or draw(st.booleans())
                world[place][option.name] = Said("1" if on else "0", on)
            else:
                text = draw(st.sampled_from(_samples(option)))
                world[place][option.name] = Said(text, _value(option, text))
    return world


def _arguments(said: Mapping[str, Said]) -> list[str]:
    words: list[str] = []
    for option in ROWS:
        if option.name in said and option.name != "url":
            words += [option.flags[0]] if option.sets is not None else [f"{option.flags[0]}={said[option.name].text}"]
    return [*words, said["url"].text] if "url" in said else words


def _toml(option: Option, said: Said) -> str:
    key = option.name.replace("_", "-")
    if option.sets is not None:
        return f"{key} = {'true' if said.value else 'false'}\n"
    text = encode(said.text).decode()
    return f"{key} = [{text}]\n" if option.repeats else f"{key} = {text}\n"


def _file(world: Mapping[str, Mapping[str, Said]]) -> str:
    top, profile = (
        "".join(_toml(option, world[place][option.name]) for option in ROWS if option.name in world[place])
        for place in ("top", "profile")
    )
    return f"{top}[profiles.p]\n{profile}"


@settings(max_examples=examples(50), deadline=None)
@given(worlds(), st.data())
def test_the_highest_place_wins_for_every_option_at_once(
    world: dict[str, dict[str, Said]], data: st.DataObject
) -> None:
    variables = {
        name: data.draw(st.sampled_from(next(row for row in ROWS if row.name == name).variables))
        for name in world["variable"]
    }
    environ = {variables[name]: said.text for name, said in world["variable"].items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(_file(world), encoding="utf-8")
        line = _read_line([*_arguments(world["flag"]), "--config", str(path), "--profile", "p"])
        assert line is not None
        stored, _, _ = _read_file(line.given, environ)
    resolved = options.resolve(OPTIONS, line.given, environ, stored)
    rivals = _dropped_by_the_profile(world)
    for option in ROWS:
        name = option.name
        place = next(
            (place for place in PLACES if name in world[place] and (place != "top" or name not in rivals)), None
        )
        wanted = world[place][name].value if place else option.default
        assert resolved.values[name] == wanted, name
        levels = {"flag": Level.FLAG, "variable": Level.ENVIRONMENT, "profile": Level.FILE, "top": Level.FILE}
        assert resolved.levels[name] is (levels[place] if place else Level.DEFAULT)
        origin = resolved.origins[name]
        spelled = {
            "flag": option.flags[0] if option.flags else "the URL",
            "variable": variables.get(name, ""),
            "profile": f"{path}: [profiles.p] {name.replace('_', '-')}",
            "top": f"{path}: {name.replace('_', '-')}",
        }
        assert origin == (spelled[place] if place else "default")


def _dropped_by_the_profile(world: Mapping[str, Mapping[str, Said]]) -> set[str]:
    """Options of which the top of the file is not asked, as the profile answers the same question in another way."""
    profile = set(world["profile"])
    groups: list[tuple[set[str], str]] = [
        ({"transport", "http_only", "sse_only", "ws_only"}, "-"),
        ({"log_level", "debug", "silent"}, "-"),
        ({"keep_alive", "ping_interval"}, "-"),
        ({"basic_password_env", "basic_password_file"}, "-"),
        ({"client_id", "static_oauth_client_info"}, "-"),
        ({"client_secret", "client_secret_env", "client_secret_file"}, "-"),
        ({"grant", "client_credentials", "device_code"}, "-"),
    ]
    sources = {"token", "bearer_file", "bearer_command", "basic", "jwt_key_env", "jwt_key_file"}
    gone = {name for group, _ in groups if group & profile for name in group}
    if sources & profile:
        gone |= sources
        for family, names in (
            ("jwt_", {"jwt_key_env", "jwt_key_file"}),
            ("basic_", {"basic"}),
            ("bearer_command_", {"bearer_command"}),
        ):
            if not names & profile and not any(name.startswith(family) for name in profile):
                gone |= {option.name for option in ROWS if option.name.startswith(family)}
    return gone


def _settings(*arguments: str, **env: str) -> Settings:
    found = read_settings([URL, *arguments], env)
    assert found is not None
    return found


@pytest.mark.parametrize("option", [row for row in ROWS if row.variables], ids=lambda row: row.name)
def test_an_empty_variable_says_nothing(option: Option) -> None:
    resolved = options.resolve(OPTIONS, {}, dict.fromkeys(option.variables, ""))
    assert resolved.values[option.name] == option.default
    assert resolved.levels[option.name] is Level.DEFAULT


@pytest.mark.parametrize("option", [row for row in ROWS if len(row.variables) > 1], ids=lambda row: row.name)
def test_the_first_of_several_variables_wins(option: Option) -> None:
    texts = _samples(option)
    environ = {name: texts[at % len(texts)] for at, name in enumerate(option.variables)}
    resolved = options.resolve(OPTIONS, {}, environ)
    assert resolved.origins[option.name] == option.variables[0]


def test_what_is_short_for_something_else_keeps_its_level(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("debug = true\nkeep-alive = true\nws-auth = 'header'\nhttp-only = true\n", encoding="utf-8")
    config = ("--config", str(path))
    assert _settings(*config).logging.level == "debug"
    assert _settings(*config, "--log-level", "error").logging.level == "error"
    assert _settings(*config, MCP_REMOTE_PY_LOG_LEVEL="warning").logging.level == "warning"
    assert _settings(*config, MCP_REMOTE_PY_DEBUG="0").logging.level == "info"
    assert _settings(*config).timeouts.ping == 30.0
    assert _settings(*config, "--ping-interval", "0").timeouts.ping is None
    assert _settings(*config, "--sse-only").strategy == "sse-only"
    assert _settings(*config, MCP_REMOTE_PY_TRANSPORT="sse-only").strategy == "sse-only"
    mode = _settings(*config, MCP_MODE="websocket", MCP_AUTH_TOKEN="abcdef")
    assert (mode.strategy, mode.target.ws_auth) == ("ws-only", "message")
    assert _settings(*config, MCP_MODE="remote").strategy == "http-first"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{PREFIX}TIMOUT", "Did you mean MCP_REMOTE_PY_TIMEOUT?"),
        (f"{PREFIX}CONECT_TIMEOUT", "Did you mean MCP_REMOTE_PY_CONNECT_TIMEOUT?"),
        (f"{PREFIX}ZZQQ", "does nothing."),
        (f"{PREFIX}HTTP_ONLY", "Use --http-only."),
        (f"{PREFIX}TOKEN", "Use MCP_AUTH_TOKEN."),
    ],
)
def test_a_misspelt_variable_is_noted_with_what_was_meant(name: str, words: str) -> None:
    (note,) = _settings(**{name: "hush-hush"}).notes
    assert note.startswith(name)
    assert words in note
    assert "hush-hush" not in note


def test_a_variable_that_is_right_is_not_noted() -> None:
    env = {name: "" for option in ROWS for name in option.variables}
    assert _settings(**env, MCP_REMOTE_PY_BASIC_PASSWORD="").notes == ()
    assert _settings("--header", "X-A: ${MCP_REMOTE_PY_MINE}", MCP_REMOTE_PY_MINE="x").notes == ()
    assert _settings("--jwt-key-env", f"{PREFIX}KEY", **{f"{PREFIX}KEY": "k" * 32}).notes == ()


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--transport", "websocket", "is none of"),
        ("--transport", "htp-first", "Did you mean http-first?"),
        ("--log-level", "debgu", "Did you mean debug?"),
        ("--log-format", "jsn", "Did you mean json?"),
        ("--jwt-alg", "HS265", "Did you mean HS256?"),
        ("--ws-auth", "heder", "Did you mean header?"),
    ],
)
def test_a_misspelt_value_is_guessed(option: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        _settings(option, text)


def test_words_may_be_written_in_any_case() -> None:
    assert _settings("--transport", "HTTP-Only").strategy == "http-only"
    assert _settings("--log-level", "WARN").logging.level == "warning"
