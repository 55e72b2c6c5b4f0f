"""The log file: private, rotated, shared by several processes, and tried again after every trouble."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcp_remote_py.log_file import LogFile
from tests.support.host import clean_environment

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and devices")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def written(path: Path) -> list[str]:
    """The lines of the file and its old ones, the oldest first."""
    files = sorted(path.parent.glob(path.name + "*"), reverse=True)
    return [line for file in files for line in file.read_text().splitlines()]


@posix
def test_the_file_its_old_ones_and_its_folders_are_private(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "bridge.log"
    before = os.umask(0)
    try:
        log = LogFile(str(path), most=10)
        for _ in range(6):
            log.write(b"12345678\n")
    finally:
        os.umask(before)
    names = [file.name for file in sorted(path.parent.iterdir())]
    assert names == ["bridge.log", "bridge.log.1", "bridge.log.2", "bridge.log.3"]
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    assert mode(tmp_path / "made") == mode(tmp_path / "made" / "here") == 0o700
    log.close()


@posix
def test_a_file_that_others_could_read_is_made_private_and_a_folder_that_is_there_stays_as_it_is(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "bridge.log"
    path.write_text("older\n")
    path.chmod(0o644)
    log = LogFile(str(path))
    log.write(b"newer\n")
    assert mode(path) == 0o600
    assert mode(tmp_path) == 0o755
    assert written(path) == ["older", "newer"]
    log.close()


def test_the_youngest_old_file_has_the_lowest_number_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    log = LogFile(str(path), most=20, old=2)
    for number in range(9):
        log.write(b"line %03d\n" % number)
    log.close()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["bridge.log", "bridge.log.1", "bridge.log.2"]
    assert written(path) == [f"line {number:03d}" for number in range(4, 9)]


def test_a_line_that_is_larger_than_the_file_may_be_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    log = LogFile(str(path), most=10)
    log.write(b"x" * 100 + b"\n")
    log.write(b"y\n")
    log.close()
    assert [len(line) for line in written(path)] == [100, 1]


def test_a_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    LogFile("~/logs/bridge.log").close()
    assert (tmp_path / "logs" / "bridge.log").exists()


WRITER = """
import sys
from mcp_remote_py.log_file import LogFile
log = LogFile(sys.argv[1], most=4000, old=200)
for number in range(400):
    log.write(f"{sys.argv[2]} {number:03d} {'x' * 30}\\n".encode())
"""


def test_no_line_is_lost_or_torn_when_several_processes_share_and_rotate_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], env=clean_environment()) for name in "ABC"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert sorted(lines) == [f"{name} {number:03d} {'x' * 30}" for name in "ABC" for number in range(400)]
    assert len(list(tmp_path.iterdir())) > 10
    assert all(file.stat().st_size <= 8000 for file in tmp_path.iterdir()), (
        "one that waited for long writes all the same"
    )


def test_a_file_that_was_renamed_or_deleted_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "bridge.log"
    log = LogFile(str(path))
    log.write(b"one\n")
    path.rename(tmp_path / "elsewhere.log")
    log.write(b"two\n")
    assert path.read_text() == "two\n"
    path.unlink()
    path.parent.rmdir()
    log.write(b"three\n")
    assert path.read_text() == "three\n"
    log.close()


@posix
def test_what_cannot_be_a_log_file_is_an_error_and_no_long_wait(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "file").write_text("")
    for path in (tmp_path, pipe, tmp_path / "file" / "bridge.log", Path("/proc/nothing/bridge.log")):
        with pytest.raises(OSError, match=re.escape(str(path.parent))):
            LogFile(str(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_is_an_error_for_each_line_and_the_file_is_never_rotated() -> None:
    log = LogFile("/dev/full", most=1)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            log.write(b"line\n")
    log.close()


def test_after_half_a_line_the_next_begins_on_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bridge.log"
    log, real, calls = LogFile(str(path)), os.write, []

    def fills_up(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(fd, data[:4])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fills_up)
        with pytest.raises(OSError, match="No space left"):
            log.write(b"first line\n")
    log.write(b"second line\n")
    log.close()
    assert path.read_text() == "firs\nsecond line\n"


def test_a_process_that_holds_the_lock_for_ever_does_not_stop_the_others(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "bridge.log"
    log = LogFile(str(path), most=10)
    log.write(b"12345678\n")
    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        log.write(b"87654321\n")
    assert written(path) == ["12345678", "87654321"]
    assert not (tmp_path / "bridge.log.1").exists()
    log.write(b"abcdefgh\n")
    assert (tmp_path / "bridge.log.1").exists()
    log.close()


def test_two_log_files_of_one_process_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"

    def write(name: str) -> None:
        log = LogFile(str(path), most=500, old=100)
        for number in range(100):
            log.write(f"{name} {number:03d}\n".encode())
        log.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "AB"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written(path)) == [f"{name} {number:03d}" for name in "AB" for number in range(100)]


def test_a_rotation_begins_a_new_file_where_there_is_something_in_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    log = LogFile(str(path), old=2)
    log.rotate()
    assert not (tmp_path / "bridge.log.1").exists()
    for line in (b"1\n", b"2\n", b"3\n", b"4\n"):
        log.write(line)
        log.rotate()
    log.write(b"5\n")
    assert [(tmp_path / name).read_text() for name in ("bridge.log", "bridge.log.1", "bridge.log.2")] == [
        "5\n",
        "4\n",
        "3\n",
    ]
    path.unlink()
    log.rotate()
    log.close()
    assert path.read_text() == ""
