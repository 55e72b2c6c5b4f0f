"""Files that outlive a run: private, whole, locked, and never a reason to fail."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.file_lock import lock, unlock
from mcp_remote_py.state import StateFile, private_folder


def a_file(tmp_path: Path) -> tuple[StateFile, Path]:
    path = tmp_path / "deep" / "state.json"
    return StateFile(str(path)), path


def test_what_was_written_is_read_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    state, path = a_file(tmp_path)
    assert state.read() is None
    assert state.update(lambda older: {"n": 1, "older": older})
    assert state.read() == {"n": 1, "older": None}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["state.json", "state.json.lock"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_file_and_a_folder_that_is_made_are_private(tmp_path: Path) -> None:
    state, path = a_file(tmp_path)
    before = os.umask(0)
    try:
        state.update(lambda _: {"n": 1})
        private_folder(str(tmp_path / "open"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (tmp_path / "open").chmod(0o755)
    private_folder(str(tmp_path / "open"))
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    state, path = a_file(tmp_path)
    state.update(lambda _: {"n": 1})
    before = path.stat()
    assert state.update(lambda older: dict(older or {}))
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[1]", b"5", b"[" * 100_000])
def test_a_damaged_file_is_set_aside_and_said_so(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    state, path = a_file(tmp_path)
    path.parent.mkdir()
    path.write_bytes(damage)
    assert state.read() is None
    assert not path.exists()
    assert (path.parent / "state.json.damaged").read_bytes() == damage
    assert "set aside" in caplog.text
    assert state.update(lambda older: {"older": older})
    assert state.read() == {"older": None}


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
    state, path = a_file(tmp_path)

    def add() -> None:
        for _ in range(10):
            StateFile(str(path)).update(lambda older: {"n": (older or {"n": 0})["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.read() == {"n": 40}


def test_a_lock_that_nobody_gives_back_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_remote_py.state._LOCK_SECONDS", 0.05)
    state, path = a_file(tmp_path)
    path.parent.mkdir()
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    lock(fd)
    try:
        assert state.update(lambda _: {"n": 1})
    finally:
        unlock(fd)
        os.close(fd)
    assert state.read() == {"n": 1}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = a_file(tmp_path)
    state.update(lambda _: {"n": 1})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not state.update(lambda _: {"n": 2})
    assert json.loads(path.read_bytes()) == {"n": 1}
    assert not list(path.parent.glob("*.new"))


def test_a_folder_that_cannot_be_made_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "deep").write_text("a file")
    state, _ = a_file(tmp_path)
    assert not state.update(lambda _: {"n": 1})
    assert "cannot be written" in caplog.text
    assert state.read() is None
