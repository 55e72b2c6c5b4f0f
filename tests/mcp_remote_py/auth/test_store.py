"""What is kept of a sign-in: private, whole, one document for each name, and never a reason to fail."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from mcp_remote_py.auth.keyring_store import KeyringStore
from mcp_remote_py.auth.store import FileStore, Store, open_store
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.oauth import names, tokens

NAME = names.tokens("https://as.example", "https://mcp.example/mcp", "client")
GRANT = tokens.Grant(
    issuer="https://as.example",
    resource="https://mcp.example/mcp",
    party=tokens.Party("client", "the-client-secret"),
    token_endpoint="https://as.example/token",
    access_token="the-access-token",
    refresh_token="the-refresh-token",
    id_token="the-id-token",
)


class AKeyring(keyring.backend.KeyringBackend):
    """As strict as the one of Windows: 2560 bytes of UTF-16 for one entry."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.entries: dict[tuple[str, str], str] = {}
        self.before_each: Callable[[], None] = lambda: None

    def get_password(self, service: str, username: str) -> str | None:
        self.before_each()
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.before_each()
        if len(password.encode("utf-16-le")) > 2560:
            raise OSError("CredWrite: the stub received bad data")
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self.before_each()
        if self.entries.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not found")


@pytest.fixture
def a_keyring(monkeypatch: pytest.MonkeyPatch) -> AKeyring:
    made = AKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: made)
    return made


@pytest.fixture
def learnt() -> list[str]:
    return []


@pytest.fixture(params=["file", "keyring", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, a_keyring: AKeyring, learnt: list[str]) -> Store:
    return open_store(request.param, str(tmp_path / "home"), learnt.append)


def test_what_was_written_is_read(store: Store) -> None:
    assert store.read(NAME) is None
    assert store.names() == ()
    assert store.write(NAME, tokens.to_document(GRANT))
    assert tokens.from_document(store.read(NAME) or {}) == GRANT
    assert store.write("server-1", {"form": 1, "attempts": [1.5]})
    assert store.names() == tuple(sorted((NAME, "server-1")))
    assert store.where(NAME)


def test_what_was_written_last_counts(store: Store) -> None:
    store.write(NAME, {"n": 1})
    store.write(NAME, {"n": 2})
    assert store.read(NAME) == {"n": 2}


def test_what_is_deleted_is_gone_and_deleting_nothing_is_done(store: Store) -> None:
    store.write(NAME, {"n": 1})
    assert store.write(NAME, None)
    assert store.read(NAME) is None
    assert store.names() == ()
    assert store.write(NAME, None)


def test_a_document_that_was_read_can_be_changed_without_harm(store: Store) -> None:
    store.write(NAME, {"n": 1})
    document = store.read(NAME) or {}
    document["n"] = 2
    assert store.read(NAME) == {"n": 1}


def test_the_first_one_to_establish_something_wins(store: Store) -> None:
    assert store.establish("dpop-1", {"n": 1}) == {"n": 1}
    assert store.establish("dpop-1", {"n": 2}) == {"n": 1}
    assert store.read("dpop-1") == {"n": 1}


def test_every_secret_is_learnt_before_anything_else_happens_with_it(store: Store, learnt: list[str]) -> None:
    store.write(NAME, tokens.to_document(GRANT))
    assert set(GRANT.secrets()) <= set(learnt)
    store.establish("dpop-1", {"jwk": {"kty": "EC", "x": "public", "d": "private"}})
    assert "private" in learnt
    assert "public" not in learnt


@pytest.mark.parametrize("kind", ["file", "keyring"])
def test_another_process_learns_what_it_reads(kind: Any, tmp_path: Path, a_keyring: AKeyring) -> None:
    open_store(kind, str(tmp_path), lambda _: None).write(NAME, tokens.to_document(GRANT))
    learnt: list[str] = []
    assert open_store(kind, str(tmp_path), learnt.append).read(NAME) is not None
    assert set(learnt) == set(GRANT.secrets())


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "A", "x" * 101, ".hidden"])
def test_a_name_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name"):
        FileStore(str(tmp_path), lambda _: None).read(name)


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_and_folders_are_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = open_store("file", str(tmp_path / "home"), lambda _: None)
        store.write(NAME, {"n": 1})
    finally:
        os.umask(before)
    folder = tmp_path / "home" / "auth"
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()} == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_others_could_look_into_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    open_store("file", str(tmp_path), lambda _: None).write(NAME, {"n": 1})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_file_is_set_aside_and_the_next_one_is_kept(tmp_path: Path, damage: bytes) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    store.write(NAME, {"n": 1})
    path = Path(store.where(NAME))
    path.write_bytes(damage)
    assert store.read(NAME) is None
    assert path.with_name(path.name + ".damaged").read_bytes() == damage
    assert store.write(NAME, {"n": 2})
    assert store.read(NAME) == {"n": 2}
    assert store.names() == (NAME,)


def test_deleting_leaves_no_secret_behind_that_a_crash_left_beside_the_file(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    store.write(NAME, {"access_token": "secret"})
    path = Path(store.where(NAME))
    path.with_name(path.name + ".4711.new").write_text('{"access_token":"secret')
    path.with_name(path.name + ".damaged").write_text("secret")
    store.write(NAME, None)
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "home").write_text("a file stands where the folder should be")
    store = open_store("file", str(tmp_path / "home"), lambda _: None)
    assert not store.write(NAME, {"n": 1})
    assert store.read(NAME) is None
    assert store.names() == ()
    assert store.establish("dpop-1", {"n": 1}) == {"n": 1}
    assert "the sign-in is not remembered" in caplog.text


def test_files_of_others_in_the_folder_are_no_documents_of_ours(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    store.write(NAME, {"n": 1})
    for name in ("Notes.json", "x.lease", ".json", "a.b.json"):
        (tmp_path / "auth" / name).write_text("{}")
    assert store.names() == (NAME,)


def test_a_reader_never_sees_half_of_a_document(tmp_path: Path) -> None:
    writer, reader = (open_store("file", str(tmp_path), lambda _: None) for _ in range(2))
    writer.write(NAME, {"text": "0" * 50_000})
    done = threading.Event()

    def write() -> None:
        for digit in "12345678" * 5:
            writer.write(NAME, {"text": digit * 50_000})
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while not done.is_set():
        seen.append(reader.read(NAME))
    thread.join()
    assert seen
    assert all(document is not None and len(set(document["text"])) == 1 for document in seen)


def test_without_a_home_nothing_is_kept_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("file", "", lambda _: None).write(NAME, {"n": 1})
    assert list(tmp_path.iterdir()) == []


# --- The keyring -----------------------------------------------------------------------------------------------------


def test_a_document_beyond_the_limit_of_windows_is_kept_in_parts(tmp_path: Path, a_keyring: AKeyring) -> None:
    store = KeyringStore(str(tmp_path / "auth"), lambda _: None, most=1200)
    long = {"access_token": "ä𐍈" * 2000}
    assert store.write(NAME, long)
    assert len(a_keyring.entries) > 4
    assert store.read(NAME) == long
    assert store.write(NAME, {"access_token": "b" * 4000})
    assert store.read(NAME) == {"access_token": "b" * 4000}
    assert len(a_keyring.entries) == 1 + 4
    assert store.write(NAME, {"n": 1})
    assert len(a_keyring.entries) == 1
    store.write(NAME, long)
    store.write(NAME, None)
    assert a_keyring.entries == {}


def test_parts_that_do_not_fit_together_are_as_good_as_nothing(tmp_path: Path, a_keyring: AKeyring) -> None:
    store = KeyringStore(str(tmp_path / "auth"), lambda _: None, most=100)
    store.write(NAME, {"access_token": "a" * 500})
    part = next(place for place in a_keyring.entries if place[1].endswith(".1"))
    del a_keyring.entries[part]
    assert store.read(NAME) is None
    a_keyring.entries[f"mcp-remote-py/{NAME}", NAME] = '{"parts":"x"}'
    assert store.read(NAME) is None


def test_nothing_secret_is_on_the_disk(tmp_path: Path, a_keyring: AKeyring) -> None:
    open_store("keyring", str(tmp_path), lambda _: None).write(NAME, tokens.to_document(GRANT))
    on_disk = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert NAME.encode() in on_disk
    assert not any(secret.encode() in on_disk for secret in GRANT.secrets())


def test_a_locked_keyring_costs_a_sign_in_and_is_said_without_the_words_of_its_library(
    tmp_path: Path, a_keyring: AKeyring, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store("keyring", str(tmp_path), lambda _: None)
    store.write(NAME, {"n": 1})

    def refuse() -> None:
        raise keyring.errors.KeyringLocked("foreign words")

    a_keyring.before_each = refuse
    assert store.read(NAME) is None
    assert not store.write(NAME, {"n": 2})
    assert store.establish("dpop-1", {"n": 3}) == {"n": 3}
    assert "KeyringLocked" in caplog.text
    assert "foreign words" not in caplog.text


def test_a_machine_without_a_keyring_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "get_keyring", keyring.backends.fail.Keyring)
    with pytest.raises(ConfigError, match=r"--token-store keyring: there is no keyring.*--token-store file"):
        open_store("keyring", str(tmp_path), lambda _: None)


def test_without_the_library_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.delitem(sys.modules, "mcp_remote_py.auth.keyring_store")
    with pytest.raises(ConfigError, match=r"needs the package keyring.*\[keyring\]"):
        open_store("keyring", str(tmp_path), lambda _: None)
