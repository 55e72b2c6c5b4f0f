"""The option table: what each flag and variable means, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_remote_py.core.errors import ConfigError
from server_stub import configuration, option_table
from server_stub.cli import read_settings
from server_stub.settings import Auth, Child, Hosting, Jwt, ServeSettings, check
from tests.support.config_folder import CONFIGS

TOKEN = {"T": "the token"}


def configured(*arguments: str, env: dict[str, str] | None = None) -> ServeSettings:
    found = read_settings(["--demo", *arguments], env or {})
    assert found is not None
    return found


def refusal(*arguments: str, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        read_settings(list(arguments), env or {})
    return str(refused.value)


def test_the_defaults_are_the_ones_of_the_class() -> None:
    assert configured() == ServeSettings(demo=True)


def test_a_flag_wins_over_a_variable_and_our_variable_over_the_common_one() -> None:
    env = {"PORT": "1", "MCP_REMOTE_SERVER_PORT": "2"}
    assert configured("--port", "3", env=env).port == 3
    assert configured(env=env).port == 2
    assert configured(env={"PORT": "1"}).port == 1
    assert configured("--port=0").port == 0


def test_the_env_file_beside_a_file_of_servers_says_what_the_server_itself_may_be_told_there(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}', encoding="utf-8")
    beside = (
        "DOMAIN=example.com\nLOG_LEVEL_MCP=ERROR\nLOG_RETENTION_SYSTEM=2h\nPORT=7\nMCP_REMOTE_SERVER_HOST=0.0.0.0\n"
    )
    (tmp_path / ".env").write_text(beside, encoding="utf-8")

    def hosting(*arguments: str, **environ: str) -> Hosting:
        found = read_settings(["--config", str(file), *arguments], environ)
        assert found is not None
        assert (found.port, found.host) == (8080, "127.0.0.1")
        assert found.hosting is not None
        return found.hosting

    assert hosting().domain == "example.com"
    assert (hosting().logbook.member_level, hosting().logbook.system_retention) == ("error", 7200.0)
    assert hosting(DOMAIN="other.org").domain == "other.org"
    assert hosting("--domain", "flag.org", DOMAIN="other.org").domain == "flag.org"
    (tmp_path / ".env").write_text("LOG_LEVEL_MCP=loud\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"LOG_LEVEL_MCP in \.env"):
        hosting()


def test_the_command_stands_behind_two_dashes_whatever_it_is() -> None:
    found = read_settings(["--stdio", "--port", "0", "--", "npx", "--port", "9", "--"], {})
    assert found is not None
    assert found.child is not None
    assert found.child.command == ("npx", "--port", "9", "--")
    assert found.port == 0


def test_the_child_gets_what_was_given_for_it_and_our_secrets_are_named() -> None:
    env = {"T": "tok", "J": "a secret", "MCP_REMOTE_SERVER_GRACE": "3s"}
    found = read_settings(
        [
            *("--shell", "x | y", "--env", "A=1=2", "--env", "B=", "--pass-environment", "--cwd", "somewhere"),
            *("--auth-token-env", "T", "--jwt-secret-env", "J"),
        ],
        env,
    )
    assert found is not None
    child = found.child
    assert child is not None
    assert (child.shell, child.command) == ("x | y", ())
    assert child.env == (("A", "1=2"), ("B", ""))
    assert child.pass_environment
    assert child.cwd == "somewhere"
    assert {"T", "J", "MCP_REMOTE_SERVER_GRACE"} <= set(child.hidden_variables)
    assert {"tok", "a secret", "1=2"} <= set(found.secrets)
    assert found.timing.grace == 3.0


def test_limits_and_times_have_units() -> None:
    found = configured("--max-body", "2MiB", "--session-idle", "90s", "--grace", "500ms", "--max-sessions", "7")
    assert (found.limits.body, found.limits.session_idle, found.limits.sessions) == (2 * 1024 * 1024, 90.0, 7)
    assert found.timing.grace == 0.5
    assert configured("--session-idle", "0").limits.session_idle is None
    assert configured("--grace", "0").timing.grace == 0.0


def test_lists_come_from_repeated_flags_or_from_one_variable_with_commas() -> None:
    flags = configured("--cors-origin", "https://a.example", "--cors-origin", "https://B.example:443/")
    assert flags.doors.cors_origins == ("https://a.example", "https://b.example")
    variable = configured(env={"CORS_ORIGINS": "https://a.example, *,", "MCP_REMOTE_SERVER_ALLOWED_HOST": "a,b:1"})
    assert variable.doors.cors_origins == ("https://a.example", "*")
    assert variable.doors.hosts == ("a", "b:1")
    assert configured("--cors-origin", "*", env={"CORS_ORIGINS": "https://a.example"}).doors.cors_origins == ("*",)


def test_tokens_come_from_variables_and_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text("\ufeff# ours\n\n one \ntwo\none\n", encoding="utf-8")
    found = configured("--auth-token-file", str(path), "--auth-token-env", "T", env=TOKEN)
    assert found.auth.tokens == ("the token", "one", "two")
    assert "two" not in repr(found.auth)


def test_json_web_tokens_need_a_secret_or_a_key() -> None:
    found = configured("--jwt-secret-env", "J", "--jwt-audience", "us", "--jwt-alg", "HS512", env={"J": " x "})
    assert found.auth.jwt == Jwt(secret="x", algorithms=("HS512",), audience="us")
    assert "x" not in repr(found.auth.jwt).replace("Jwt", "")
    assert "no default" in refusal("--demo", "--jwt-secret-env", "J")
    assert "no default" in refusal("--demo", "--auth-token-env", "T", env={"T": " "})
    assert "--jwt-issuer needs" in refusal("--demo", "--jwt-issuer", "x")
    for algorithm in ("none", "RS256", "hs256"):
        assert "does not fit" in refusal("--demo", "--jwt-secret-env", "J", "--jwt-alg", algorithm, env={"J": "x"})
    both = ("--jwt-secret-env", "J", "--jwt-public-key", "f")
    assert "contradict" in refusal("--demo", *both, env={"J": "x"})
    assert "cannot be read" in refusal("--demo", "--jwt-public-key", "/nowhere/at/all")
    assert "cannot be read" in refusal("--demo", "--auth-token-file", "/nowhere/at/all")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.lan", ""])
def test_other_addresses_need_authentication_or_the_flag_that_allows_it(host: str) -> None:
    assert "--allow-unauthenticated" in refusal("--demo", "--host", host)
    assert configured("--host", host, "--allow-unauthenticated").doors.bound_host == host
    assert configured("--host", host, "--auth-token-env", "T", env=TOKEN).host == host
    with pytest.raises(ConfigError):
        check(ServeSettings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback_needs_none(host: str) -> None:
    assert configured("--host", host).host == host.strip("[]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stdio",), configuration.EXAMPLE),
        (("--stdio", "--"), configuration.EXAMPLE),
        (("--stdio", "npx", "-y", "x"), configuration.EXAMPLE),
        (("--demo", "--", "npx"), configuration.EXAMPLE),
        ((), "exactly one"),
        (("--demo", "--shell", "x"), "--shell and --demo"),
        (("--dem",), "Did you mean --demo?"),
        (("--demo", "--por", "8"), "Did you mean --port?"),
        (("--demo", "--log-level", "inf"), "Did you mean info?"),
        (("--demo", "--port", "65536"), "no port"),
        (("--demo", "--port", "x"), "no port"),
        (("--config", "x", "--port-per-server", "0"), "from 1"),
        (("--config", str(CONFIGS / "seed001_minimal.json"), "--cwd", "x"), "its own 'cwd'"),
        (("--demo", "--port"), "--port"),
        (("--demo", "--max-body", "much"), "no size"),
        (("--demo", "--grace", "8s"), "7s at most"),
        (("--demo", "--env", "A"), "NAME=VALUE"),
        (("--demo", "--env", "=x"), "NAME=VALUE"),
        (("--demo", "--allowed-host", "https://x"), "no host name"),
        (("--demo", "--allowed-origin", "x.example"), "no origin"),
        (("--demo", "--cors-origin", "https://x.example/path"), "no origin"),
        (("--demo", "--public-url", "x.example"), "no http(s) URL"),
        (("--demo", "stray"), "'stray'"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(arguments: tuple[str, ...], words: str) -> None:
    assert words in refusal(*arguments)


@pytest.mark.parametrize("flag", ["--auth-token-env", "--admin-token-env", "--jwt-secret-env"])
@pytest.mark.parametrize("value", ["", "gDRFYAzR-kp1upLHYWY3oOAJX7ENLE", "a3f9" * 8, "hush-hush!"])
def test_a_secret_in_the_place_of_its_variable_is_refused_and_not_repeated(flag: str, value: str) -> None:
    said = refusal("--demo", flag, value)
    assert f"{flag}: this is no name of a variable" in said
    assert not value or value not in said


def test_names_of_hosts_need_a_domain(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    line = ["--config", str(file), "--host-pattern", "mcp-{name}.{domain}"]
    with pytest.raises(ConfigError, match="--host-pattern needs --domain"):
        read_settings(line, {})
    configured = read_settings(line, {"DOMAIN": "example.com"})
    assert configured is not None
    assert configured.hosting is not None
    assert configured.hosting.domain == "example.com"


def test_a_domain_is_spelled_as_requests_spell_it(tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    line = ["--config", str(file), "--host-pattern", "{name}.{domain}.", "--domain"]
    configured = read_settings([*line, "Bücher.Example."], {})
    assert configured is not None
    assert configured.hosting is not None
    assert configured.hosting.domain == "xn--bcher-kva.example"
    assert configured.hosting.host_pattern == "{name}.{domain}"
    for wrong in ("example.com:8080", "*", "-a.example", "a..b", "https://example.com", "a" * 64):
        with pytest.raises(ConfigError, match=r"--domain: .* is no domain"):
            read_settings([*line, wrong], {})


def test_every_option_is_in_the_help_and_has_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert read_settings(["--help"], {}) is None
    text = capsys.readouterr().out
    for option in option_table.OPTIONS:
        assert option.flags[0] in text
        assert option.group + ":" in text


def test_secrets_are_not_shown_by_repr() -> None:
    auth = Auth(tokens=("hush",), jwt=Jwt(secret="hush"))
    shown = repr(ServeSettings(auth=auth, child=Child(env=(("K", "hush"),)), secrets=("hush",)))
    assert "hush" not in shown
