"""`--print-config`: complete, valid TOML that means the same when read back, and without a single secret."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings

from mcp_remote_py.cli import main, read_settings
from mcp_remote_py.config_file import NOT_INSIDE
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.option_table import OPTIONS
from mcp_remote_py.print_config import _options, without_secrets
from tests.mcp_remote_py.test_precedence import ROWS, Said, worlds
from tests.support.host import clean_environment

URL = "https://example.com/mcp"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, env: dict[str, str] | None = None) -> str:
    assert read_settings([*arguments, "--print-config"], env or {}) is None
    return capsys.readouterr().out


def test_every_option_is_there_with_where_it_came_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[profiles.work]\nidle-timeout = "2m"\n', encoding="utf-8")
    text = printed(
        capsys,
        *(URL, "--config", str(path), "--profile", "work", "--ipv4", "--ping-interval", "0"),
        env={"MCP_REMOTE_PY_TRANSPORT": "sse-only", "MCP_AUTH_TOKEN": "hush-hush"},
    )
    lines = text.splitlines()
    for option in OPTIONS:
        key = option.name.replace("_", "-")
        assert [line for line in lines if line.removeprefix("# ").startswith((f"{key} = ", f"{key} is not set"))]
    assert f'url = "{URL}"  # from the URL' in lines
    assert f'idle-timeout = "120s"  # from {path}: [profiles.work] idle-timeout' in lines
    assert "ipv4 = true  # from --ipv4" in lines
    assert 'ping-interval = "0s"  # from --ping-interval' in lines
    assert 'transport = "sse-only"  # from MCP_REMOTE_PY_TRANSPORT' in lines
    assert 'token = "[secret]"  # from MCP_AUTH_TOKEN' in lines
    assert 'connect-timeout = "10s"  # from default' in lines
    assert "# timeout is not set  # from default" in lines
    assert "# headers: Authorization" in lines


def test_what_comes_of_it_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "none.pem"
    env = {
        "MCP_MODE": "websocket",
        "MCP_AUTH_TOKEN": "hush-hush",
        "NODE_EXTRA_CA_CERTS": str(root),
        "HTTPS_PROXY": "http://user:pass-word@proxy.example:3128",
        "NO_PROXY": ".internal",
        "MCP_REMOTE_PY_TIMOUT": "3",
    }
    text = printed(capsys, URL, "--insecure", "box.example", env=env)
    lines = text.splitlines()
    assert "# URL: wss://example.com/mcp" in lines
    assert "# transport: ws-only, token in the first message" in lines
    assert f"# certificates: NODE_EXTRA_CA_CERTS {root} CANNOT BE USED" in lines
    assert "# certificates: NOT VERIFIED for box.example" in lines
    assert [
        line for line in lines if line.startswith("# proxy variable: HTTPS_PROXY=") and "proxy.example:3128" in line
    ]
    assert "# proxy variable: NO_PROXY=.internal" in lines
    assert "# proxy: proxy.example:3128 (HTTPS_PROXY)" in lines
    assert [line for line in lines if line.startswith("# note: ") and "Did you mean MCP_REMOTE_PY_TIMEOUT?" in line]
    assert "hush-hush" not in text
    assert "pass-word" not in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("--jwt-key-env", "in-a-flag"),
        ("--client-cert", "x.pem", "--client-key-password-env", "in-a-flag"),
        ("--basic", "user:in-a-flag"),
        ("--header", "Bearer in-a-flag: x"),
    ],
)
def test_a_secret_in_the_place_of_a_name_is_not_printed(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        printed(capsys, URL, *arguments)
    assert "in-a-flag" not in f"{capsys.readouterr().out}{refused.value}"


def test_the_page_of_a_bare_line_is_a_configuration_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(printed(capsys, URL), encoding="utf-8")
    assert read_settings(["--config", str(path)], {}) == read_settings([URL], {})


def test_nothing_secret_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[headers]\nX-File = "in-the-file"\n', encoding="utf-8")
    secrets = ["in-a-query", "in-a-header", "in-the-file", "in-a-proxy", "in-a-flag", "in-the-environment", "ab1"]
    for arguments, env in (
        (("https://example.com/mcp?key=in-a-query&ab1", "--config", str(path)), {}),
        ((URL, "--header", "X-Key: in-a-header", "--proxy", "http://u:in-a-proxy@p.example"), {}),
        ((URL, "--oauth2Bearer", "in-a-flag"), {}),
        ((URL, "--username", "user", "--password", "in-a-flag"), {}),
        ((URL, "--basic", "user"), {"MCP_REMOTE_PY_BASIC_PASSWORD": "in-the-environment"}),
        ((URL, "--header", "X-Key: ${K}", "--tool-timeout", "in-a-flag=3"), {"K": "in-the-environment"}),
        (
            (URL, "--bearer-command", "curl -H in-the-environment x"),
            {"MCP_REMOTE_PY_HEADER": "X-A: in-the-environment"},
        ),
        (
            (URL, "--bearer-command", "login --client-secret in-a-flag --password=in-a-flag -u https://u:in-a-flag@h"),
            {},
        ),
    ):
        text = printed(capsys, *arguments, env=env)
        tomllib.loads(text)
        found = [secret for secret in secrets if secret in text]
        assert found == (["in-a-flag"] if "--tool-timeout" in arguments else []), arguments


def test_it_stands_on_stdout_of_the_real_program_and_ends_with_0() -> None:
    command = [sys.executable, "-m", "mcp_remote_py", URL, "--print-config", "--header", "X-Ü: é"]
    done = subprocess.run(command, capture_output=True, check=False, env=clean_environment())
    assert (done.returncode, done.stdout) == (2, done.stdout), "a header's name is ASCII: the options are there anyway"
    assert b"header =" in done.stdout
    command[-1] = "X-Umlaut: é"
    done = subprocess.run(command, capture_output=True, check=False, env=clean_environment())
    assert (done.returncode, done.stderr) == (0, b"")
    assert tomllib.loads(done.stdout.decode("utf-8"))["header"] == ["X-Umlaut: [secret]"]


def test_without_a_url_the_options_are_printed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no URL" in printed(capsys, "--ipv4")


def test_what_cannot_work_is_said_after_the_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_remote_py.cli.leave_quietly", lambda: None)
    assert main([URL, "--print-config", "--ca-bundle", "/nowhere/at/all.pem"]) == 2
    output = capsys.readouterr()
    assert 'ca-bundle = ["/nowhere/at/all.pem"]' in output.out
    assert "/nowhere/at/all.pem" in output.err


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_what_is_printed_means_the_same_when_it_is_read_back(world: dict[str, dict[str, Said]]) -> None:
    environ = {
        next(row for row in ROWS if row.name == name).variables[0]: said.text
        for name, said in world["variable"].items()
    }
    resolved = options.resolve(OPTIONS, {}, environ)
    document = tomllib.loads(_options(OPTIONS, resolved, Redactor()))
    from mcp_remote_py.config_file import _given, _Section

    again = options.resolve(OPTIONS, {}, {}, _given(_Section("c.toml:", "", document), OPTIONS))
    for option in ROWS:
        if not option.secret:
            assert again.values[option.name] == resolved.values[option.name] or (
                option.repeats and not again.values[option.name] and not resolved.values[option.name]
            ), option.name
    assert not set(document) & set(NOT_INSIDE)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/mcp", "https://a.example/mcp"),
        ("https://a.example/?k=v&w=x&plain#part", "https://a.example/?k=[secret]&w=[secret]&[secret]#[secret]"),
        ("http://u:p@a.example:1/x", "http://[secret]@a.example:1/x"),
        ("a.example:3128", "a.example:3128"),
        ("u:p@a.example:3128", "[secret]@a.example:3128"),
    ],
)
def test_what_may_be_secret_in_a_url_is_masked(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        ((), {}, "the operating system's setting, as no variable names one"),
        (("--proxy", "none"), {"HTTPS_PROXY": "http://p"}, "none (--proxy none)"),
        ((), {"HTTPS_PROXY": "http://p", "NO_PROXY": ".com"}, "none (NO_PROXY has .com)"),
        ((), {"HTTP_PROXY": "http://p"}, "none (no variable names a proxy for https)"),
        ((), {"HTTPS_PROXY": "http://p:8080/x.pac"}, "HTTPS_PROXY names a PAC file"),
    ],
)
def test_the_proxy_that_would_be_used_is_named(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    assert f"# proxy: {said}" in printed(capsys, URL, *arguments, env=env)
