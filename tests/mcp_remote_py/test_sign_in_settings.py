"""What the options about signing in come to, and what is said about those that cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcp_remote_py.cli import read_settings
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.oauth.preferences import Client
from mcp_remote_py.settings import Settings, SignIn

URL = "https://mcp.example.com/mcp"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"


def settings_of(*arguments: str, **env: str) -> Settings:
    found = read_settings([URL, *arguments], env)
    assert found is not None
    return found


def test_without_any_option_nothing_is_decided_but_where_mcp_remote_keeps_its_tokens() -> None:
    found = settings_of(MCP_REMOTE_CONFIG_DIR="/folder/of/mcp-remote")
    assert found.sign_in == SignIn(mcp_remote_home="/folder/of/mcp-remote")


def test_a_secret_is_taken_from_wherever_it_is_named_and_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from a file\n", encoding="utf-8")
    for arguments, env, secret in (
        (("--client-secret-env", "THE_SECRET"), {"THE_SECRET": "from a variable"}, "from a variable"),
        (("--client-secret-file", str(path)), {}, "from a file"),
        ((), {"MCP_REMOTE_PY_CLIENT_SECRET": "from our variable"}, "from our variable"),
    ):
        found = settings_of("--client-id", "me", *arguments, **env)
        assert found.sign_in.preferences.client == Client("me", secret)
        assert secret in found.secrets
        assert not found.notes


def test_a_secret_in_the_process_list_is_pointed_out() -> None:
    assert "process list" in settings_of("--client-id", "me", "--client-secret", "hush").notes[0]


def test_the_client_of_mcp_remote_is_read_from_json_files_and_variables(tmp_path: Path) -> None:
    info = {
        "client_id": "me",
        "client_secret": "${THE_SECRET}",
        "token_endpoint_auth_method": "client_secret_post",
        "redirect_uris": ["http://localhost:3334/oauth/callback"],
    }
    path = tmp_path / "info.json"
    path.write_text(json.dumps(info), encoding="utf-8")
    wanted = Client("me", "hush", "client_secret_post", ("http://localhost:3334/oauth/callback",))
    for text in (json.dumps(info), f"@{path}"):
        found = settings_of("--static-oauth-client-info", text, THE_SECRET="hush")
        assert found.sign_in.preferences.client == wanted
        assert "hush" in found.secrets


def test_a_key_and_how_it_signs(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(PEM, encoding="utf-8")
    found = settings_of(
        "--client-credentials", "--client-id", "me", "--private-key", str(path), "--signing-alg", "es256"
    )
    assert found.sign_in.private_key == PEM
    assert found.sign_in.preferences.has_private_key
    assert found.sign_in.preferences.signing_alg == "ES256"
    assert PEM in found.secrets


def test_enterprise_managed_authorization_has_its_identity_provider() -> None:
    found = settings_of(
        *("--grant", "enterprise-managed", "--idp-issuer", "https://idp.example.com", "--idp-client-id", "us"),
        *("--idp-token-endpoint", "https://idp.example.com/token", "--idp-id-token-env", "ID_TOKEN"),
        ID_TOKEN="e.y.J",
    )
    enterprise = found.sign_in.preferences.enterprise
    assert enterprise is not None
    assert enterprise == ("https://idp.example.com", "https://idp.example.com/token", "us", None, "e.y.J")
    assert "e.y.J" in found.secrets


def test_an_authorization_that_is_configured_wins_and_that_is_said() -> None:
    found = settings_of("--client-id", "me", MCP_AUTH_TOKEN="t0ken-of-mine")
    assert "nobody signs in: --client-id has no effect" in found.notes[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grant", "cod"), "'cod' is none of code, "),
        (("--grant", "code", "--device-code"), "contradict each other"),
        (("--client-credentials",), "--client-credentials needs --client-id ID"),
        (("--grant", "jwt-bearer"), "--grant jwt-bearer needs --assertion-file"),
        (("--grant", "enterprise-managed"), "needs --idp-issuer and --idp-client-id and --idp-id-token-env"),
        (("--client-secret-env", "NOT_SET"), "NOT_SET is not set"),
        (("--client-secret", "hush"), "needs the id that belongs to it"),
        (("--client-id", "a", "--client-secret", "b", "--client-secret-env", "HOME"), "both give the same secret"),
        (("--client-id", "a", "--static-oauth-client-info", '{"client_id": "b"}'), "both name a client"),
        (("--static-oauth-client-info", "[]"), "no JSON object"),
        (("--static-oauth-client-info", "{"), "no JSON"),
        (("--static-oauth-client-info", '{"client_secret": "b"}'), 'has no "client_id"'),
        (("--client-id", "a", "--token-auth-method", "private_key_jwt"), "needs --private-key"),
        (("--client-id", "a", "--token-auth-method", "client_secret_post"), "needs --client-secret-env"),
        (("--client-metadata-url", "http://127.0.0.1/client.json"), "an https URL"),
        (("--client-metadata-url", "https://example.com/"), "has a path"),
        (("--token-endpoint", "http://example.com/token"), "must begin with https://"),
        (("--auth-issuer", "example.com"), "is no URL"),
        (("--authorize-param", "audience"), "Write KEY=VALUE"),
        (("--authorize-param", "resource=x"), "--resource URL"),
        (("--authorize-param", "state=x"), "belongs to the sign-in itself"),
        (("--callback-port", "70000"), "up to 65535"),
        (("--callback-path", "/a?b"), "is no path"),
        (("--private-key", "/nowhere/at/all.pem"), "cannot be read"),
        (("--auth-timeout", "0"), "--auth-timeout"),
    ],
)
def test_what_cannot_work_is_said_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(*arguments, HOME="/home/me")
    assert said in str(refused.value)
    assert "hush" not in str(refused.value)
