"""Lines of mcp-proxy and supergateway for `mcp-remote-server`: what the fixture of the bridge's tests leaves out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcp_remote_py.core.errors import ConfigError
from server_stub.cli import read_settings
from server_stub.compat import translate, variables
from server_stub.settings import ServeSettings
from tests.server_stub.test_cli import CHILD, Client, server
from tests.support.config_folder import CONFIGS
from tests.support.host import clean_environment


def configured(*arguments: str, **env: str) -> ServeSettings:
    found = read_settings(list(arguments), env)
    assert found is not None
    return found


def refusal(*arguments: str, **env: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read_settings(list(arguments), env)
    return str(refused.value)


def test_what_is_neither_theirs_nor_ours_is_not_translated() -> None:
    assert translate(["--stdio", "npx", "-y", "x"]) is None
    assert translate(["--demo", "stray"]) is None
    assert translate(["--nonsense"]) is None


def test_a_line_may_mix_theirs_and_ours() -> None:
    found = configured("--stdio", "a | b", "--sessionTimeout", "500", "--max-sessions", "3", "--env", "K=v")
    assert found.child is not None
    assert (found.child.shell, found.child.env) == ("a | b", (("K", "v"),))
    assert (found.limits.session_idle, found.limits.sessions) == (0.5, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stdio", "x", "--sessionTimeout", "soon"), "--sessionTimeout: 'soon' is no number of milliseconds"),
        (("--stdio", "x", "--sessionTimeout"), "--sessionTimeout: its value is missing"),
        (("--stdio", "x", "--maxBodySize", "0"), "--maxBodySize: '0' is no size"),
        (("--stdio", "x", "--apiKey", ""), "--apiKey: its value is missing"),
        (("--stdio", "x", "-e", "KEY"), "-e takes a name and a value"),
        (("--stdio", "x", "--outputTransport", "stdio"), "mcp-remote-py URL"),
        (("--stdio", "x", "--outputTransport", "smoke"), "write sse, ws or streamableHttp"),
        (("--server", "both", "--", "x"), "write sse or stream"),
        (("npx", "-y", "supergateway", "--stdio", "a b"), "Remove 'npx -y supergateway'"),
        (("mcp-proxy", "--port", "9", "uvx", "x"), "Remove 'mcp-proxy'"),
        (("npx", "-y", "x", "--port", "9"), "mcp-remote-server --port 9 --stdio -- npx -y x"),
        (("uvx", "x", "--prot", "9"), "Did you mean --port?"),
        (("--shell", "--port", "0"), "--shell: the command is missing"),
        (("--stdio", "x", "--port", "http", "--apiKey", "k"), "--port: 'http' is no port"),
        (("--apiKey", "hush-hush", "--host", "0.0.0.0", "--stdio"), "needs the command"),
        (("--streamableHttp", "https://a.example/mcp"), "mcp-remote-py https://a.example/mcp --transport http-only"),
        (("https://a.example/mcp", "--header", "X-Key: hush-hush"), "mcp-remote-py https://a.example/mcp --header"),
    ],
)
def test_mistakes_name_the_flag_as_it_was_written(arguments: tuple[str, ...], words: str) -> None:
    text = refusal(*arguments)
    assert words in text
    assert "hush-hush" not in text


def test_a_line_of_the_go_proxy_names_its_file() -> None:
    found = configured("-config", str(CONFIGS / "seed002_fetch_bridge.json"))
    assert found.hosting is not None
    assert (found.port, [member.name for member in found.hosting.roster.members]) == (9072, ["fetch"])


def test_a_key_lets_in_where_others_could_connect() -> None:
    found = configured("--apiKey", "a key", "--host", "0.0.0.0", "--", "x")
    assert found.auth.tokens == ("a key",)
    assert "a key" in found.secrets
    assert "a key" not in " ".join(found.notes)


def test_our_variables_and_flags_win_over_those_of_mcp_proxy() -> None:
    env = {"MCP_PROXY_PORT": "1", "MCP_REMOTE_SERVER_PORT": "2"}
    assert configured("--demo", **env).port == 2
    assert configured("--demo", "--port", "3", **env).port == 3
    assert configured("--demo", MCP_PROXY_PORT="1", PORT="4").port == 4


def test_variables_of_others_with_the_same_prefix_say_nothing() -> None:
    assert variables({"MCP_PROXY_AUTH_TOKEN": "x", "MCP_PROXY_FULL_ADDRESS": "y", "MCP_PROXY_SHELL": "true"}) == (
        {},
        (),
    )


def test_a_misspelt_variable_is_noted() -> None:
    (note,) = configured("--demo", MCP_REMOTE_SERVER_HSOT="x").notes
    assert "Did you mean MCP_REMOTE_SERVER_HOST?" in note
    token = {"MCP_REMOTE_SERVER_MINE": "abcdef"}
    assert configured("--demo", "--auth-token-env", "MCP_REMOTE_SERVER_MINE", **token).notes == ()


def test_the_command_behind_two_dashes_is_enough() -> None:
    child = configured("--port", "0", "--", "node", "x.js", "--port", "9").child
    assert child is not None
    assert child.command == ("node", "x.js", "--port", "9")


def test_a_line_of_supergateway_serves_and_says_its_notes() -> None:
    line = subprocess.list2cmdline([sys.executable, "-c", CHILD]) if sys.platform == "win32" else None
    command = line or f"exec '{sys.executable}' -c '{CHILD}'"
    with server(
        "--stdio", command, "--ssePath", "/sse", "--messagePath", "/message", env=clean_environment()
    ) as running:
        url = running.find(r"listening on (\S+) ")
        running.find("(--messagePath: clients are told)")
        with Client(url) as client:
            assert client.start() > 0
