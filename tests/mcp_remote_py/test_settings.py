"""What the command line and the environment mean, and what each mistake is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_remote_py.cli import read_settings
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from mcp_remote_py.settings import Settings

URL = "https://example.com/mcp"


def settings_of(*arguments: str, env: Mapping[str, str] | None = None) -> Settings:
    settings = read_settings(list(arguments), env or {})
    assert settings is not None
    return settings


def refusal(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read_settings(list(arguments), env or {})
    return str(caught.value)


def test_a_url_is_enough() -> None:
    settings = settings_of(URL)
    assert (settings.target.url, settings.strategy, settings.timeouts.connect) == (URL, "http-first", 10.0)
    assert settings.timeouts.request is None


def test_the_url_may_come_from_the_environment_and_the_argument_wins() -> None:
    assert settings_of(env={"MCP_REMOTE_URL": URL}).target.url == URL
    assert settings_of(URL, env={"MCP_REMOTE_URL": "https://other"}).target.url == URL


@pytest.mark.parametrize(
    ("arguments", "strategy"),
    [
        (("--transport", "auto"), "http-first"),
        (("--transport=sse-first",), "sse-first"),
        (("--http-only",), "http-only"),
        (("--sse-only",), "sse-only"),
        (("--ws-only",), "ws-only"),
        (("--http-only", "--transport", "http-only"), "http-only"),
    ],
)
def test_ways(arguments: tuple[str, ...], strategy: str) -> None:
    assert settings_of(URL, *arguments).strategy == strategy


def test_websocket_follows_from_the_scheme_and_changes_it() -> None:
    assert settings_of("wss://example.com/ws").strategy == "ws-only"
    assert settings_of(URL, "--ws-only").target.url == "wss://example.com/mcp"


def test_the_modes_of_old_configs() -> None:
    settings = settings_of(env={"MCP_REMOTE_URL": URL, "MCP_MODE": "websocket", "MCP_AUTH_TOKEN": "tok"})
    assert (settings.strategy, settings.target.ws_auth) == ("ws-only", "message")
    assert settings.target.url == "wss://example.com/mcp"
    assert settings_of(URL, env={"MCP_MODE": "http"}).strategy == "http-first"
    assert settings_of(URL, env={"MCP_MODE": "websocket"}).target.ws_auth == "header", "without a token"
    assert "mcp-remote-server" in refusal(URL, env={"MCP_MODE": "serverless"})


def test_flag_wins_over_variable_and_variable_over_default() -> None:
    env = {"MCP_REMOTE_PY_TRANSPORT": "sse-only", "MCP_REMOTE_PY_CONNECT_TIMEOUT": "3"}
    assert settings_of(URL, env=env).strategy == "sse-only"
    assert settings_of(URL, env=env).timeouts.connect == 3.0
    assert settings_of(URL, "--http-only", "--connect-timeout", "4s", env=env).timeouts.connect == 4.0
    assert settings_of(URL, "--http-only", env=env).strategy == "http-only"


def test_token_and_headers() -> None:
    settings = settings_of(URL, "--header", "X-Key:${K}", env={"K": "a b", "MCP_AUTH_TOKEN": "tok"})
    assert set(settings.credentials.headers) == {("Authorization", "Bearer tok"), ("X-Key", "a b")}
    assert {"a b", "tok", "Bearer tok"} <= set(settings.secrets)


def test_a_header_given_by_hand_wins_over_the_token_and_says_so() -> None:
    settings = settings_of(URL, "--header", "authorization: Bearer mine", env={"MCP_AUTH_TOKEN": "other"})
    assert settings.credentials.headers == (("authorization", "Bearer mine"),)
    assert "MCP_AUTH_TOKEN" in settings.notes[0]


def test_a_header_file(tmp_path: Path) -> None:
    path = tmp_path / "my headers.txt"
    path.write_bytes("\ufeff# a comment\r\n\r\nX-One: 1\r\nAuthorization: Bearer ${T}\r\n".encode())
    settings = settings_of(URL, "--header-file", str(path), env={"T": "secret"})
    assert settings.credentials.header_file is not None
    assert settings.credentials.header_file.path == str(path)
    assert "cannot be read" in refusal(URL, "--header-file", str(tmp_path / "none"))
    path.write_text("no colon here", encoding="utf-8")
    assert "line 1" in refusal(URL, "--header-file", str(path))


def test_certificates_of_old_configs_are_added() -> None:
    settings = settings_of(URL, "--ca-bundle", "/a b.pem", env={"NODE_EXTRA_CA_CERTS": "/c.pem"})
    assert [file.path for file in settings.tls.trusted] == ["/a b.pem", "/c.pem"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("2m", 120.0), ("90", 90.0), ("100000", 100.0), ("0", None)]
)
def test_timeouts(text: str, seconds: float | None) -> None:
    settings = settings_of(URL, "--timeout", text)
    assert settings.timeouts.request == seconds
    assert bool(settings.notes) == (text == "100000")


def test_connect_timeout_is_seconds_at_any_size() -> None:
    assert settings_of(URL, "--connect-timeout", "1000").timeouts.connect == 1000.0


def test_sizes() -> None:
    assert settings_of(URL, "--max-message-size", "2MiB").limits.message == 2 * 1024 * 1024
    assert settings_of(URL, "--max-message-size", "4096").limits.message == 4096


def test_levels() -> None:
    assert settings_of(URL, "--debug").logging.level == "debug"
    assert settings_of(URL, "--silent").logging.level == "error"


def test_the_port_of_mcp_remote_is_accepted() -> None:
    assert settings_of(URL, "3334").sign_in.callback_port == 3334


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "mcp-remote-py https://"),
        ((URL, "--tranport", "x"), "Did you mean --transport?"),
        ((URL, "--transport", "http-onl"), "Did you mean http-only?"),
        ((URL, "--http-only", "--sse-only"), "contradict"),
        (("ws://localhost/x", "--http-only"), "does not speak"),
        (("ftp://example.com",), "ftp"),
        (("htps://example.com",), "Did you mean https?"),
        (("example.com/mcp",), "no scheme"),
        (("https://",), "no host"),
        (("https://example.com:99999/",), "no valid URL"),
        (("https://example.com:0/",), "port 0"),
        (("https://u:pw@example.com",), "--basic"),
        (("https://exa mple.com",), "blank"),
        (("http://example.com/mcp",), "--allow-http"),
        (("ws://10.0.0.1/mcp",), "--allow-http"),
        ((URL, "--header", "no-colon"), "Name: value"),
        ((URL, "--header", "b@d: x"), "no header name"),
        ((URL, "--header", "A: b\nC: d"), "line end"),
        ((URL, "--header", "A: ${NOPE}"), "NOPE"),
        ((URL, "--header"), "--header"),
        ((URL, "--timeout", "soon"), "no duration"),
        ((URL, "--timeout", "9" * 400), "no duration"),
        ((URL, "--jwt-ttl", "9" * 400), "no duration"),
        ((URL, "--max-in-flight", "9" * 5000), "no whole number"),
        ((URL, "--max-message-size", "9" * 5000), "no size"),
        ((URL, "--max-message-size", "big"), "no size"),
        ((URL, "--ws-auth", "message"), "MCP_AUTH_TOKEN"),
        ((URL, "https://other"), "one URL"),
        ((URL, "--nonsense"), "unknown flag --nonsense"),
        (("-y", "mcp-remote", URL), "npx"),
        (("mcp-remote@latest", URL), "begin with the URL"),
        ((URL, "--header", "Authorization:", "Bearer", "x"), "Quote"),
        ((URL, "--header X-A: 1"), '--header and its value are two entries of "args"'),
        ((f"{URL} --debug",), "Each option is an entry of its own"),
        ((f"<{URL}>",), "has no scheme"),
    ],
)
def test_mistakes_are_named(arguments: tuple[str, ...], word: str) -> None:
    assert word in refusal(*arguments)


def test_secrets_are_not_repeated_in_a_refusal() -> None:
    assert "pwd1" not in refusal("https://user:pwd1@example.com")
    assert "hush" not in refusal(URL, "--header", "b@d: hush")
    assert "hush" not in refusal(URL, "--header X-A: hush")
    for flag in ("--client-key-password-env", "--jwt-key-env"):
        assert "hush" not in refusal(URL, flag, "hush-hush!")
        assert "this is no name of a variable" in refusal(URL, flag, "hush-hush!")


@pytest.mark.parametrize("path", ["${HOME}/token", "$HOME/token", "%APPDATA%\\token"])
def test_a_path_with_a_variable_is_told_that_it_is_not_replaced(path: str) -> None:
    assert "Variables are not replaced in a path" in refusal(URL, "--bearer-file", path)
    assert "Variables" not in refusal(URL, "--bearer-file", "/no such $/100% folder/token")


def test_a_variable_of_node_that_has_no_effect_is_said() -> None:
    assert "has no effect here" in settings_of(URL, env={"NODE_TLS_REJECT_UNAUTHORIZED": "0"}).notes[0]
    assert not settings_of(URL, env={"NODE_TLS_REJECT_UNAUTHORIZED": "1"}).notes


def test_unencrypted_is_fine_to_this_machine_and_by_consent() -> None:
    for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST."):
        assert settings_of(f"http://{host}:8080/mcp").target.url
    assert settings_of("http://example.com/mcp", "--allow-http").target.url
    assert not is_loopback("localhost.example.com")
    assert not is_loopback("0.0.0.0")
