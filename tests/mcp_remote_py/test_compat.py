"""Old command lines: every flag of four other bridges means what it meant, or is told what to write instead."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.cli import read_settings
from mcp_remote_py.compat import REFUSED, mode
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.peer_flags import CARRYING, OURS_SERVING, SERVING, plain, split
from mcp_remote_py.settings import Settings
from server_stub import option_table as server_options
from server_stub.cli import read_settings as read_server_settings
from server_stub.settings import ServeSettings
from tests.support.host import clean_environment, python_command

SUPPORT = Path(__file__).resolve().parent.parent / "support"
PEERS: dict[str, Any] = tomllib.loads((SUPPORT / "peer_lines.toml").read_text(encoding="utf-8"))
LINES: list[dict[str, Any]] = PEERS["line"]
SEED: dict[str, Any] = json.loads((SUPPORT / "company_entries.json").read_text(encoding="utf-8"))
URL = "https://example.com/mcp"
SECRETS = (
    "passphrase",
    "dXNlcjpwYXNzcGhyYXNl",
    "some-access-token",
    "a long key",
    "YOUR_TOKEN",
    "another-header",
    "hush",
)


def _words(line: dict[str, Any]) -> list[str]:
    words: list[str] = line["carry"] if "carry" in line else line["serve"]
    return words


def _name(line: dict[str, Any]) -> str:
    return f"{line['peer']}: {shlex.join(_words(line))}"


def _read(line: dict[str, Any]) -> Settings | ServeSettings:
    env = line.get("env", {})
    found = read_settings(line["carry"], env) if "carry" in line else read_server_settings(line["serve"], env)
    assert found is not None
    return found


def _at(settings: object, path: str) -> object:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else None if value == "none" else value


@pytest.mark.parametrize("line", LINES, ids=_name)
def test_an_old_line_means_what_it_meant_or_is_told_what_to_write(line: dict[str, Any], tmp_path: Path) -> None:
    headers = tmp_path / "headers.txt"
    headers.write_text("X-One: 1\n", encoding="utf-8")
    line = json.loads(json.dumps(line).replace("{headers}", headers.as_posix()))
    if "says" in line:
        with pytest.raises(ConfigError) as refused:
            _read(line)
        text = str(refused.value)
        assert line["says"] in text
        assert not [secret for secret in SECRETS if secret in text]
        return
    found = _read(line)
    for path, value in line["means"].items():
        assert _at(found, path) == _tuples(value), path
    notes = " ".join(found.notes)
    assert line.get("notes", "") in notes
    assert not [secret for secret in SECRETS if secret in notes]
    if "notes" not in line and "carry" in line:
        assert not found.notes


@pytest.mark.parametrize("peer", PEERS["flags"])
def test_every_flag_of_a_peer_has_a_line(peer: str) -> None:
    seen = {word.partition("=")[0] for line in LINES if line["peer"] == peer for word in _words(line)}
    unseen = set(PEERS["flags"][peer]) - seen - {"--help", "--version", "-h"}
    assert not unseen


@pytest.mark.parametrize("peer", PEERS["flags"])
def test_every_flag_of_a_peer_is_in_the_tables(peer: str) -> None:
    ours = {flag for option in OPTIONS for flag in option.flags} | {"--help", "--version", "-h"}
    for flag in PEERS["flags"][peer]:
        assert flag in ours or plain(flag) in {**CARRYING, **SERVING}, flag


SERVING_LINES = [line for line in LINES if "serve" in line and "remote-py" not in line.get("says", "")]


@pytest.mark.parametrize("line", SERVING_LINES, ids=_name)
def test_a_line_that_serves_is_shown_to_whoever_gives_it_to_the_bridge(line: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(line["serve"], {})
    text = str(refused.value)
    assert "mcp-remote-server" in text
    assert not [secret for secret in SECRETS if secret in text]


def _shown_line(arguments: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_settings(arguments, {})
    found = re.search(r"^  mcp-remote-server (.*)$", str(refused.value), re.MULTILINE)
    assert found is not None, refused.value
    return shlex.split(found.group(1))


@pytest.mark.parametrize("line", [line for line in SERVING_LINES if "means" in line and "env" not in line], ids=_name)
def test_the_line_that_is_shown_means_the_same(line: dict[str, Any]) -> None:
    shown = _shown_line(line["serve"])
    found = read_server_settings(shown, {"MCP_SERVER_TOKEN": "a long key"})
    assert found is not None
    for path, value in line["means"].items():
        if path != "child.env":
            assert _at(found, path) == _tuples(value), path
    assert found.notes == ()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--demo",), "--demo"),
        (("--handler", "app:handle", "--auth-token-env", "T"), "--handler app:handle --auth-token-env T"),
        (("uvx", "mcp-server-fetch"), "--stdio -- uvx mcp-server-fetch"),
        (("npx", "-y", "@example/server", "/folder"), "--stdio -- npx -y @example/server /folder"),
        (("npx", "-y", "supergateway", "--stdio", "a b"), "--shell 'a b'"),
        (("--port", "1", "--", "npx", "-y", "mcp-remote", "x"), "--port 1 --stdio -- npx -y mcp-remote x"),
        (("--", "node", "x.js"), "--stdio -- node x.js"),
        ((f"{URL}?key=hush", "--port", "1"), f"--port 1 --stdio -- mcp-remote-py '{URL}?...'"),
        (("--port", "1"), "--port 1 --stdio -- CMD ARGS..."),
    ],
)
def test_what_serves_is_refused_with_the_exact_line(arguments: tuple[str, ...], shown: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings(list(arguments), {})
    assert f"  mcp-remote-server {shown}" in str(refused.value)


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read_settings([URL, "--digest", "--protocol-version", "x", "--username", "y"], {})
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("flag", "meant"),
    [("--Header", "--header"), ("--HEADER", "--header"), ("--Debug", "--debug"), ("--LOGLEVEL", "--log")],
)
def test_a_flag_of_ours_in_another_case_is_not_taken_for_one_of_a_server(flag: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown flag {flag}[.] Did you mean {meant}"):
        read_settings([URL, flag, "X: y"], {})


@pytest.mark.parametrize("flag", ["--debug", "--no-cookies"])
def test_a_flag_without_a_value_says_so(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"^{flag} takes no value: write {flag} alone"):
        read_settings([URL, f"{flag}=true"], {})


def test_a_flag_of_two_words_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^--headers takes two words: --headers Authorization"):
        read_settings([URL, "--headers", '{"A": "b"}'], {})


def test_the_password_of_a_flag_is_a_secret() -> None:
    found = read_settings([URL, "--username", "user", "--password", "passphrase"], {})
    assert found is not None
    assert {"passphrase", "dXNlcjpwYXNzcGhyYXNl"} <= set(found.secrets)


def test_verification_is_off_for_the_host_of_the_url_wherever_the_url_stands() -> None:
    found = read_settings(["--no-verify-ssl"], {"MCP_REMOTE_URL": "https://[2001:db8::1]:8443/mcp"})
    assert found is not None
    assert found.tls.insecure == ("[2001:db8::1]",)


def test_two_headers_of_different_flags_with_one_name_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="both give the header"):
        read_settings([URL, "-H", "Authorization", "Bearer x", "--oauth2Bearer", "y"], {})


def test_no_flag_is_both_ours_and_refused() -> None:
    assert not {plain(flag) for option in OPTIONS for flag in option.flags} & set(REFUSED)


def test_the_list_of_the_servers_flags_is_the_servers() -> None:
    theirs = {flag: "" if option.sets else "1" for option in server_options.OPTIONS for flag in option.flags}
    theirs["--stdio"] = theirs["--shell"] = "?"  # with the command in one word, and as npm's mcp-proxy has it
    assert theirs == OURS_SERVING


def test_a_negative_number_is_a_value() -> None:
    assert split(["--port", "-1"], {"--port": "1"}, {}).parts[0].texts == ("-1",)


# --- Modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["serverless", "lambda", "server", "serve", "hosted", "local", "stdio"])
def test_a_mode_that_serves_says_the_command(name: str) -> None:
    for spelled in (name, name.upper()):
        with pytest.raises(ConfigError) as refused:
            read_settings([URL], {"MCP_MODE": spelled})
        command = re.search(r"^  mcp-remote-server (.*)$", str(refused.value), re.MULTILINE)
        assert command is not None
        assert read_server_settings(shlex.split(command.group(1)), {}) is not None


def test_a_misspelt_mode_is_guessed() -> None:
    assert "Did you mean websocket?" in mode("websockets")
    with pytest.raises(ConfigError, match="Did you mean remote"):
        read_settings([URL], {"MCP_MODE": "remot"})


@pytest.mark.parametrize("token", ["MCP_AUTH_TOKEN", "API_ACCESS_TOKEN"])
def test_the_websocket_mode_sends_the_token_as_the_first_message(token: str) -> None:
    found = read_settings([], {"MCP_REMOTE_URL": "http://localhost:8081/ws", "MCP_MODE": "WebSocket", token: "abc"})
    assert found is not None
    assert (found.target.url, found.target.ws_auth, found.strategy) == ("ws://localhost:8081/ws", "message", "ws-only")


@pytest.mark.parametrize("name", ["http", "remote"])
def test_the_other_modes_are_http_first_and_leave_a_websocket_url_alone(name: str) -> None:
    found = read_settings([URL], {"MCP_MODE": name})
    assert found is not None
    assert found.strategy == "http-first"
    socket = read_settings(["wss://example.com/ws"], {"MCP_MODE": name})
    assert socket is not None
    assert socket.strategy == "ws-only"


def test_a_flag_wins_over_the_mode() -> None:
    found = read_settings([URL, "--sse-only"], {"MCP_MODE": "websocket", "MCP_AUTH_TOKEN": "abc"})
    assert found is not None
    assert (found.strategy, found.target.ws_auth) == ("sse-only", "header")
    header = read_settings([URL, "--ws-auth", "header"], {"MCP_MODE": "websocket", "MCP_AUTH_TOKEN": "abc"})
    assert header is not None
    assert header.target.ws_auth == "header"


# --- The ten entries that were found in use --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEED["mcpServers"])
def test_an_entry_of_a_company_works_without_npx(name: str) -> None:
    entry = SEED["mcpServers"][name]
    assert entry["args"][0] == "mcp-remote"
    found = read_settings(entry["args"][1:], entry["env"])
    assert found is not None
    assert found.target.url == entry["args"][1]
    assert found.strategy == "http-only"
    assert found.timeouts.request == 100.0
    assert [note for note in found.notes if "milliseconds" in note] == list(found.notes)
    assert [(file.path, file.where) for file in found.tls.trusted] == [
        (entry["env"]["NODE_EXTRA_CA_CERTS"], "NODE_EXTRA_CA_CERTS")
    ]


def test_an_entry_that_is_copied_with_its_npx_is_told_what_to_remove() -> None:
    entry = next(iter(SEED["mcpServers"].values()))
    for left in ([], ["-y"], ["npx"], ["npx", "-y"]):
        with pytest.raises(ConfigError, match="begin with the URL"):
            read_settings([*left, *entry["args"]], {})


# --- What it costs ---------------------------------------------------------------------------------------------------

LOADED = """
import sys
from {module} import read_settings
read_settings(sys.argv[1:], {{}})
sys.stdout.write(" ".join(sys.modules))
"""


@pytest.mark.parametrize(
    ("module", "arguments", "names"),
    [
        ("mcp_remote_py.cli", (URL, "--http-only"), set()),
        ("mcp_remote_py.cli", (URL, "-H", "X-A", "b"), {"mcp_remote_py.compat"}),
        ("server_stub.cli", ("--stdio", "--", "x"), set()),
        ("server_stub.cli", ("--stdio", "x"), {"server_stub.compat"}),
    ],
)
def test_old_spellings_cost_nothing_where_none_is_used(
    module: str, arguments: tuple[str, ...], names: set[str]
) -> None:
    command = [*python_command(LOADED.format(module=module)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    loaded = set(done.stdout.split()) & {"mcp_remote_py.compat", "server_stub.compat", "tomllib"}
    assert loaded == names
