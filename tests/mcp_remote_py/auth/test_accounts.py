"""The commands for people: who is signed in, and signing out. Signing in itself is in tests/e2e/test_sign_in.py."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.fail
import pytest

from mcp_remote_py import cli
from mcp_remote_py.auth import accounts, takeover
from mcp_remote_py.auth.authorizer import Authorizer
from mcp_remote_py.auth.signing import dpop_name
from mcp_remote_py.auth.store import Store, open_store
from mcp_remote_py.core.oauth import names, tokens
from mcp_remote_py.core.oauth.tokens import Grant, Party

URL, OTHER = "https://mcp.example/mcp", "https://other.example/mcp"
FAR = 4102444800.0  # 2100-01-01


def a_token(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2lnbmF0dXJl"


GRANT = Grant(
    issuer="https://as.example",
    resource=URL,
    party=Party("client-1", "the-client-secret", redirect_uris=("http://localhost:4711/oauth/callback",)),
    token_endpoint="https://as.example/token",
    access_token="the-access-token",
    expires=FAR,
    refresh_token="the-refresh-token",
    scope="read write",
    id_token=a_token(sub="4711", email="ada@example.com"),
)
Run = Callable[..., int]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MCP_REMOTE_URL", "MCP_AUTH_TOKEN", "MCP_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(accounts, "_log_to_stderr", lambda *_: None)  # the tests' own log stays as it is

    def run(*words: str) -> int:
        return cli.main([*words, "--home", str(home)])

    return run


@pytest.fixture
def store(home: Path) -> Store:
    return open_store("file", str(home), lambda _: None)


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[Grant]:
    """What the authorization servers were told of."""
    told: list[Grant] = []

    async def end(_: Authorizer, grant: Grant) -> bool:
        told.append(grant)
        return grant.revocation_endpoint is not None

    monkeypatch.setattr(Authorizer, "end", end)
    return told


def keep(store: Store, grant: Grant = GRANT, url: str = URL, account: str = "") -> str:
    """Keep tokens as a sign-in does. Returns their name."""
    name = names.tokens(grant.issuer, grant.resource, grant.party.client_id)
    store.write(name, tokens.to_document(grant))
    about = {"form": 1, "url": url, "issuer": grant.issuer, "tokens": name, "attempts": []}
    store.write(names.server(url, account), about)
    return name


# --- auth status -----------------------------------------------------------------------------------------------------


def test_status_as_json_says_all_but_the_tokens(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    name = keep(store)
    assert run("auth", "status", "--json") == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == {
        "sign_ins": [
            {
                "url": URL,
                "who": "ada@example.com",
                "client_id": "client-1",
                "issuer": "https://as.example",
                "resource": URL,
                "scopes": ["read", "write"],
                "grant": "code",
                "token_type": "Bearer",
                "expires": "2100-01-01T00:00:00Z",
                "expired": False,
                "renewable": True,
                "stored": store.where(name),
            }
        ]
    }
    assert not any(secret in shown for secret in GRANT.secrets())


def test_status_for_people_has_the_same_in_words(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    name = keep(store)
    assert run("auth", "status", URL) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    assert dict(lines) == {
        "who": "ada@example.com",
        "issuer": "https://as.example",
        "client": "client-1",
        "scopes": "read write",
        "expires": "2100-01-01T00:00:00Z; renewed by itself",
        "stored": store.where(name),
    }


@pytest.mark.parametrize(
    ("grant", "expires"),
    [
        (GRANT._replace(expires=None), "not told; renewed when it is refused"),
        (GRANT._replace(expires=None, refresh_token=None), "not told"),
        (GRANT._replace(expires=1.0), "1970-01-01T00:00:01Z, which is over; renewed at the next call"),
        (GRANT._replace(expires=1.0, refresh_token=None), "1970-01-01T00:00:01Z, which is over; the next call needs"),
        (GRANT._replace(refresh_token=None), "2100-01-01T00:00:00Z; then a new sign-in is needed"),
        (GRANT._replace(expires=1e300), "never; renewed by itself"),
    ],
)
def test_status_says_what_happens_when_the_time_is_over(
    grant: Grant, expires: str, run: Run, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store, grant)
    assert run("auth", "status") == 0
    assert f"  expires  {expires}" in capsys.readouterr().out


def test_who_it_is_may_stand_in_the_access_token_or_nowhere(
    run: Run, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store, GRANT._replace(id_token=None, access_token=a_token(sub="service-7")))
    run("auth", "status")
    assert "who      service-7" in capsys.readouterr().out
    keep(store, GRANT._replace(id_token=None))
    run("auth", "status")
    assert "who      not told" in capsys.readouterr().out


def test_what_servers_wrote_cannot_drive_a_terminal(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    wild = a_token(email="\x1b[2Jada", sub="x")
    keep(store, GRANT._replace(id_token=wild, scope="a\x07 " + "b" * 5000, issuer="https://as\x1b.example"))
    run("auth", "status")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown) < 2000


def test_status_of_one_server_shows_it_alone(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    keep(store)
    keep(store, GRANT._replace(resource=OTHER), OTHER)
    assert run("auth", "status", OTHER) == 0
    shown = capsys.readouterr().out
    assert OTHER in shown
    assert URL not in shown
    assert run("auth", "status") == 0
    shown = capsys.readouterr().out
    assert OTHER in shown
    assert URL in shown


def test_status_shows_each_account_of_a_server(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    keep(store)
    keep(store, GRANT._replace(party=Party("client-2")), account="another client")
    assert run("auth", "status", URL, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["sign_ins"]
    assert {row["client_id"] for row in rows} == {"client-1", "client-2"}


@pytest.mark.parametrize("words", [(), (URL,), ("--json",)])
def test_nobody_signed_in_is_code_1(words: tuple[str, ...], run: Run, store: Store) -> None:
    assert run("auth", "status", *words) == 1
    store.write(names.server(URL), {"form": 1, "url": URL, "attempts": [1.0]})
    assert run("auth", "status", *words) == 1


def test_damaged_tokens_are_no_sign_in(run: Run, store: Store) -> None:
    Path(store.where(keep(store))).write_text("{")
    assert run("auth", "status") == 1


# --- logout ----------------------------------------------------------------------------------------------------------


def test_logout_revokes_and_forgets_all_that_belongs_to_a_server(
    run: Run, store: Store, revoked: list[Grant], capsys: pytest.CaptureFixture[str]
) -> None:
    grant = GRANT._replace(revocation_endpoint="https://as.example/revoke")
    keep(store, grant)
    store.write(dpop_name(URL), {"form": 1})
    store.write(names.registration(grant.issuer, grant.party.redirect_uris[0]), {"form": 1})
    others = keep(store, GRANT._replace(resource=OTHER), OTHER)
    assert run("logout", URL) == 0
    assert revoked == [grant]
    assert capsys.readouterr().out == f"{URL}: signed out; https://as.example has revoked the tokens.\n"
    left = [name for name in store.names() if not takeover.is_mark(name)]
    assert left == sorted((others, names.server(OTHER)))


def test_logout_ends_every_account_of_a_server(run: Run, store: Store, revoked: list[Grant]) -> None:
    keep(store)
    keep(store, GRANT._replace(party=Party("client-2")), account="another client")
    assert run("logout", URL) == 0
    assert {grant.party.client_id for grant in revoked} == {"client-1", "client-2"}
    assert all(takeover.is_mark(name) for name in store.names())


def test_logout_says_where_the_server_could_not_be_told(
    run: Run, store: Store, revoked: list[Grant], capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store)
    assert run("logout", URL) == 0
    assert "signed out here; https://as.example offers no way to revoke tokens" in capsys.readouterr().out


def test_a_revocation_that_fails_forgets_all_the_same(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store, GRANT._replace(revocation_endpoint="https://as.example/revoke"))

    async def end(_: Authorizer, _grant: Grant) -> bool:
        return False

    monkeypatch.setattr(Authorizer, "end", end)
    assert run("logout", URL) == 0
    assert "did not revoke the tokens" in capsys.readouterr().out
    assert all(takeover.is_mark(name) for name in store.names())


def test_logout_resets_the_brakes(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(names.server(URL), {"form": 1, "url": URL, "attempts": [1.0, 2.0, 3.0]})
    assert run("logout", URL) == 0
    assert "forgotten" in capsys.readouterr().out
    assert store.read(names.server(URL)) is None


def test_logout_of_a_server_that_nobody_knows_is_code_1(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("logout", URL) == 1
    assert capsys.readouterr().out == f"{URL}: nobody is signed in.\n"


def test_after_a_logout_nothing_is_taken_over_any_more(run: Run, store: Store) -> None:
    assert takeover.is_due(store, URL)
    run("logout", URL)
    assert not takeover.is_due(store, URL)


def test_logout_of_everything_leaves_nothing(
    run: Run, home: Path, store: Store, revoked: list[Grant], capsys: pytest.CaptureFixture[str]
) -> None:
    keep(store)
    keep(store, GRANT._replace(resource=OTHER), OTHER)
    store.write("client-lost", {"client_secret": "the-client-secret"})
    assert run("logout", "--all") == 0
    assert len(revoked) == 2
    left = [path for path in (home / "auth").iterdir() if path.suffix != ".lease"]
    assert all(takeover.is_mark(path.name) for path in left)
    assert not any(secret.encode() in path.read_bytes() for path in left for secret in GRANT.secrets())
    capsys.readouterr()
    assert run("logout", "--all") == 0
    assert capsys.readouterr().out == "Nobody is signed in anywhere.\n"


def test_a_sign_in_that_hangs_elsewhere_keeps_nobody_from_signing_out(
    run: Run, store: Store, revoked: list[Grant], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from mcp_remote_py.auth import lease

    keep(store)
    monkeypatch.setattr(accounts, "_LEASE_SECONDS", 0.1)
    fd = lease._try(str(home / "auth" / f"{names.server(URL)}.lease"))
    try:
        assert run("logout", URL) == 0
    finally:
        lease._give_back(fd)
    assert all(takeover.is_mark(name) for name in store.names())


# --- What cannot work ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("login",), "No URL was given"),
        (("logout",), "No URL was given"),
        (("auth",), "auth status [URL] [--json]"),
        (("auth", "state"), "auth status [URL] [--json]"),
        (("logout", "--all", URL), "--all means every server"),
        (("login", URL, "--token-store", "memory"), "--token-store memory keeps nothing"),
        (("login", URL, "--header", "Authorization: Bearer abcdefgh"), "an Authorization is configured"),
        (("login", URL, "--bogus"), "unknown flag --bogus"),
        (("auth", "status", "--bogus"), "unknown flag --bogus"),
        (("auth", "status", URL, OTHER), "one URL is enough"),
        ((URL, "--token-store", "keyring"), "there is no keyring that can be used here"),
        (("auth", "status", "--token-store", "keyring"), "there is no keyring that can be used here"),
    ],
)
def test_what_cannot_work_is_code_2_with_the_reason(
    words: tuple[str, ...],
    says: str,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)
    assert run(*words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["login", "logout", "auth"])
def test_each_command_explains_itself(command: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: mcp-remote-py {command}")
    assert "Exit codes: 0" in shown


def test_the_help_of_the_program_names_the_commands(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for words in ("login URL", "logout URL|--all", "auth status [URL] [--json]"):
        assert words in shown


def test_the_value_of_an_option_is_not_taken_for_the_server(run: Run, store: Store) -> None:
    keep(store)
    assert run("logout", "--all", "--proxy", "http://127.0.0.1:9") == 0
    assert run("auth", "status") == 1
