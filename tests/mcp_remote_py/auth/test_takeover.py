"""Changing over from mcp-remote asks nobody to sign in. The files are those that mcp-remote 0.15.1 wrote when it was
run (its `parseCommandLineArgs` and `NodeOAuthClientProvider`), names included; those of older versions follow it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.auth import takeover
from mcp_remote_py.auth.store import open_store
from mcp_remote_py.auth.takeover import Entry, TakenOver, find
from mcp_remote_py.core.oauth import redirect
from mcp_remote_py.core.oauth.preferences import Client
from mcp_remote_py.core.oauth.tokens import Party

URL = "https://mcp.example.com/mcp"
PLAIN = Entry(URL)
FULL = Entry(
    URL,
    resource="https://api.example.com/",
    headers=(("X-Tenant", "eins"), ("B", '2 "ä"')),
    authorize_params=(("prompt", "consent"), ("a", "1")),
)
PLAIN_HASH, FULL_HASH = "94baabe3c3fadb285b26c035e4e86046", "83418133dd7f0c0d077a6abf1173b9fc"
"""What mcp-remote 0.15.1 named its files for these two entries."""
EXPIRES = 1795260907.983
TOKENS = {
    "access_token": "at-94ba",
    "token_type": "bearer",
    "expires_in": 3600,
    "refresh_token": "rt-1",
    "scope": "read write",
    "issuer": "https://as.example.com",
    "expires_at": 1795260907983,
    "requested_scope": "openid email profile",
}
CLIENT = {
    "client_id": "registered-94ba",
    "client_secret": "the-secret",
    "client_id_issued_at": 1790000000,
    "client_secret_expires_at": 0,
    "redirect_uris": ["http://localhost:41409/oauth/callback"],
    "token_endpoint_auth_method": "client_secret_post",
    "issuer": "https://as.example.com",
}
PARTY = Party("registered-94ba", "the-secret", "client_secret_post", None, ("http://localhost:41409/oauth/callback",))
NOW = EXPIRES - 3600


def put(
    home: Path,
    tokens: dict[str, Any] | bytes | None = None,
    client: dict[str, Any] | bytes | None = None,
    *,
    version: str = "v1",
    name: str = PLAIN_HASH,
    at: float = NOW,
) -> None:
    """Write the two files of one entry, as of a time; an empty object for none."""
    folder = home / f"mcp-remote-{version}"
    folder.mkdir(exist_ok=True)
    for kind, given, usual in (("tokens", tokens, TOKENS), ("client_info", client, CLIENT)):
        content = usual if given is None else given
        if content != {}:
            path = folder / f"{name}_{kind}.json"
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
            os.utime(path, (at, at))


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def found(home: Path, entry: Entry = PLAIN, now: float = NOW) -> TakenOver:
    taken = find(str(home), entry, now)
    assert taken is not None
    return taken


def test_what_mcp_remote_wrote_is_read_as_it_was_meant(tmp_path: Path) -> None:
    put(tmp_path)
    assert found(tmp_path) == TakenOver(
        access_token="at-94ba",
        refresh_token="rt-1",
        expires=EXPIRES,
        obtained=NOW,
        scope="read write",
        id_token=None,
        issuer="https://as.example.com",
        client=PARTY,
    )


@pytest.mark.parametrize(("entry", "name"), [(PLAIN, PLAIN_HASH), (FULL, FULL_HASH)])
def test_the_files_have_the_names_that_mcp_remote_gives_them(entry: Entry, name: str, tmp_path: Path) -> None:
    put(tmp_path, name=name)
    assert found(tmp_path, entry).access_token == "at-94ba"


@pytest.mark.parametrize(
    "other",
    [
        Entry("https://mcp.example.com/other"),
        FULL,
        PLAIN._replace(headers=(("X-Tenant", "zwei"),)),
        PLAIN._replace(resource="https://other.example.com/"),
    ],
)
def test_tokens_of_another_entry_are_left_alone(other: Entry, tmp_path: Path) -> None:
    put(tmp_path)
    assert find(str(tmp_path), other, NOW) is None


def test_nothing_is_changed_in_the_folder_of_mcp_remote(tmp_path: Path) -> None:
    put(tmp_path)
    before = {path: (path.read_bytes() if path.is_file() else b"") for path in tmp_path.rglob("*")}
    found(tmp_path)
    assert {path: (path.read_bytes() if path.is_file() else b"") for path in tmp_path.rglob("*")} == before


# --- Versions --------------------------------------------------------------------------------------------------------


def test_versions_before_0_1_30_knew_an_entry_by_its_url_alone(tmp_path: Path) -> None:
    name = hashlib.md5(URL.encode(), usedforsecurity=False).hexdigest()
    put(tmp_path, without(TOKENS, "expires_at", "issuer", "requested_scope"), version="0.1.29", name=name)
    taken = found(tmp_path, FULL)
    assert taken.expires == NOW + 3600  # they kept no time but the one of the file
    assert taken.issuer == "https://as.example.com"
    put(tmp_path, version="0.1.30", name=name)
    (tmp_path / "mcp-remote-0.1.29" / f"{name}_tokens.json").unlink()
    assert find(str(tmp_path), FULL, NOW) is None


def test_versions_from_0_1_30_took_resource_and_headers_into_the_name(tmp_path: Path) -> None:
    put(tmp_path, version="0.1.37", name=redirect.server_hash(URL, FULL.resource, FULL.headers))
    assert found(tmp_path, FULL).access_token == "at-94ba"


def test_of_several_versions_the_one_that_was_used_last_counts(tmp_path: Path) -> None:
    put(tmp_path, {**TOKENS, "access_token": "newest-layout"}, version="v1", at=NOW - 86400)
    put(tmp_path, {**TOKENS, "access_token": "used-last"}, version="0.1.37", at=NOW)
    assert found(tmp_path).access_token == "used-last"


def test_of_files_that_were_copied_together_those_of_the_newest_version_count(tmp_path: Path) -> None:
    for number, version in enumerate(("0.1.37", "v1", "0.1.9", "0.1.38")):
        put(tmp_path, {**TOKENS, "access_token": version}, version=version, at=NOW + number)
    assert found(tmp_path).access_token == "v1"
    (tmp_path / "mcp-remote-v1" / f"{PLAIN_HASH}_tokens.json").unlink()
    assert found(tmp_path).access_token == "0.1.38"


def test_newer_tokens_that_are_of_no_use_do_not_hide_older_ones(tmp_path: Path) -> None:
    put(tmp_path, {**without(TOKENS, "refresh_token"), "expires_at": 1}, version="v1", at=NOW)
    put(tmp_path, {**TOKENS, "access_token": "older"}, version="0.1.37", at=NOW - 86400)
    assert found(tmp_path).access_token == "older"


def test_folders_of_other_names_are_not_looked_into(tmp_path: Path) -> None:
    for version in ("", "v", "v1.bak", "x.y.z", "0.1"):
        put(tmp_path, version=version)
    assert find(str(tmp_path), PLAIN, NOW) is None


# --- Clients ---------------------------------------------------------------------------------------------------------


def test_a_client_that_was_configured_goes_before_one_that_was_registered(tmp_path: Path) -> None:
    put(tmp_path)
    given = PLAIN._replace(client=Client("mine", "my-secret"))
    assert found(tmp_path, given).client == Party("mine", "my-secret", "client_secret_basic")


def test_a_client_by_its_metadata_document_is_never_in_a_file(tmp_path: Path) -> None:
    entry = PLAIN._replace(client_metadata_url="https://me.example.com/client.json")
    put(tmp_path, client={}, name=redirect.server_hash(URL, client_metadata_url=entry.client_metadata_url))
    taken = found(tmp_path, entry)
    assert taken.client == Party("https://me.example.com/client.json")
    assert taken.refresh_token == "rt-1"


def test_without_any_client_the_access_token_is_good_as_long_as_it_lives(tmp_path: Path) -> None:
    put(tmp_path, client={})
    taken = found(tmp_path)
    assert (taken.access_token, taken.refresh_token, taken.client) == ("at-94ba", None, None)
    assert find(str(tmp_path), PLAIN, EXPIRES + 1) is None


@pytest.mark.parametrize(
    ("client", "method"),
    [
        (without(CLIENT, "token_endpoint_auth_method"), "client_secret_basic"),
        (without(CLIENT, "token_endpoint_auth_method", "client_secret"), "none"),
        (without(CLIENT, "client_secret"), "none"),
        ({**CLIENT, "token_endpoint_auth_method": "tls_client_auth"}, "client_secret_basic"),
        ({**CLIENT, "token_endpoint_auth_method": "none"}, "none"),
    ],
)
def test_how_a_client_shows_itself_follows_its_registration(
    client: dict[str, Any], method: str, tmp_path: Path
) -> None:
    put(tmp_path, client=client)
    party = found(tmp_path).client
    assert party is not None
    assert party.method == method


def test_a_secret_that_expires_is_known_to(tmp_path: Path) -> None:
    put(tmp_path, client={**CLIENT, "client_secret_expires_at": 1795000000})
    party = found(tmp_path).client
    assert party is not None
    assert party.secret_expires == 1795000000


# --- What is of no use -----------------------------------------------------------------------------------------------


def test_an_expired_token_is_taken_over_for_the_sake_of_its_refresh_token(tmp_path: Path) -> None:
    put(tmp_path)
    assert found(tmp_path, now=EXPIRES + 86400).refresh_token == "rt-1"
    put(tmp_path, without(TOKENS, "refresh_token"))
    assert find(str(tmp_path), PLAIN, EXPIRES + 86400) is None


def test_a_token_that_tells_no_time_is_taken_for_good(tmp_path: Path) -> None:
    put(tmp_path, without(TOKENS, "expires_at", "expires_in"))
    assert found(tmp_path).expires is None


DAMAGE: list[dict[str, Any] | bytes] = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[]",
    b"[" * 100_000,
    b'{"access_token":"' + b"x" * 2_000_000 + b'"}',
    without(TOKENS, "access_token"),
    {**TOKENS, "access_token": 5},
    {**TOKENS, "access_token": ""},
    {**TOKENS, "access_token": "two words"},
    {**TOKENS, "access_token": "line\r\nX-Injected: yes"},
    {**TOKENS, "token_type": "DPoP"},
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tokens_are_none(damage: dict[str, Any] | bytes, tmp_path: Path) -> None:
    put(tmp_path, damage)
    assert find(str(tmp_path), PLAIN, NOW) is None


@pytest.mark.parametrize("damage", [b"", b"[]", {"client_id": 5}, {"client_id": "a\nb"}])
def test_a_damaged_client_is_none(damage: dict[str, Any] | bytes, tmp_path: Path) -> None:
    put(tmp_path, client=damage)
    assert found(tmp_path).client is None


@pytest.mark.parametrize("time", ["1795260907983", 1795260907.983, "x", True, None, [], 10**400, "inf"])
def test_odd_times_do_no_harm(time: Any, tmp_path: Path) -> None:
    put(tmp_path, {**TOKENS, "expires_at": time})
    assert found(tmp_path).expires == pytest.approx(EXPIRES, abs=1)


@pytest.mark.parametrize("folder", ["", "missing", "file"])
def test_where_mcp_remote_was_never_used_there_is_nothing(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert find(str(tmp_path / folder) if folder else "", PLAIN, NOW) is None


# --- Once ------------------------------------------------------------------------------------------------------------


def test_it_happens_once_for_each_server(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    assert takeover.is_due(store, URL)
    takeover.conclude(store, URL)
    assert not takeover.is_due(open_store("file", str(tmp_path), lambda _: None), URL)
    assert takeover.is_due(store, "https://other.example/mcp")
    assert [takeover.is_mark(name) for name in store.names()] == [True]
