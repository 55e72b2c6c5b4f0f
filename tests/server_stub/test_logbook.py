"""The log in files: which line is where, at which level, for how long, and that no disk can stop the server."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py import log
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.log_file import LogFile
from server_stub import logbook
from server_stub.logbook import MEMBERS, Logbook, Terms, file_name_of, level_of, logbook_of, open_logbook, request_line

SECRET = "hunter2-hunter2"
NAMES = (None, "mcp_remote_py", "server_stub", MEMBERS, log.BODIES, "asyncio")
DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
HOUR = 3600.0
needs_modes = pytest.mark.skipif(sys.platform == "win32", reason="file modes are POSIX's")


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(each, each.level, each.handlers[:], each.filters[:]) for each in loggers]
    raising = logging.raiseExceptions
    yield
    for each, level, handlers, filters in before:
        each.setLevel(level)
        each.handlers[:] = handlers
        each.filters[:] = filters
    logging.raiseExceptions = raising


class Clock:
    """Unix time that a test sets."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@contextmanager
def book(
    folder: Path,
    system: tuple[int, float | None] = (INFO, 24 * HOUR),
    member: tuple[int, float | None] = (INFO, 12 * HOUR),
    **fields: Any,
) -> Iterator[Logbook]:
    redactor = Redactor()
    redactor.add(SECRET)
    opened = logbook_of(str(folder), Terms(*system), Terms(*member), redactor, **fields)
    try:
        yield opened
    finally:
        opened.close()


class Stderr:
    """The other log, as `log.set_up` writes it to stderr: here, to a pipe."""

    def __init__(self, level: str) -> None:
        self._reading, self._writing = os.pipe()
        self._handler = log.set_up("program", level, Redactor())
        self._handler._fd = self._writing

    def text(self) -> str:
        self._handler.drain(5)
        os.close(self._writing)
        with os.fdopen(self._reading, "rb") as reading:
            return reading.read().decode()


def member_log(name: str = "memory") -> logging.Logger:
    return logging.getLogger(f"{MEMBERS}.{name}")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- Which line is where ---------------------------------------------------------------------------------------------


def test_each_member_has_a_file_and_all_else_is_in_system_log(tmp_path: Path) -> None:
    with book(tmp_path):
        member_log().info("from memory")
        member_log("my.server").warning("from a name with a dot")
        logging.getLogger("server_stub.app").info("from the server")
        logging.getLogger("some.library").warning("from a library")
    (line,) = lines(tmp_path / "mcp-memory.log")
    assert line.endswith(f"[{os.getpid()}] info server_stub.members.memory: from memory")
    assert lines(tmp_path / "mcp-my.server.log")[0].endswith("from a name with a dot")
    assert [line.rpartition(": ")[2] for line in lines(tmp_path / "system.log")] == [
        "from the server",
        "from a library",
    ]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "file"), [("memory", "mcp-memory.log"), ("a.b-C_9", "mcp-a.b-C_9.log"), ("-x", "mcp--x.log")]
)
def test_a_plain_name_is_the_files(name: str, file: str) -> None:
    assert file_name_of(name) == file


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "a b", "ä", "\x00", "", "x" * 300, "a\\b", "C:x", "\udcff"]
)
def test_any_other_name_stays_in_the_folder_and_is_its_own(name: str) -> None:
    file = file_name_of(name)
    assert os.path.basename(file) == file
    assert len(file) < 130
    assert file.isascii()
    assert file.startswith("mcp-")
    assert name == "" or file != file_name_of(name + "!")


@needs_modes
def test_files_and_the_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with book(folder):
        member_log().info("x")
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_no_secret_and_no_control_character_is_written(tmp_path: Path) -> None:
    with book(tmp_path):
        member_log().info("a token: %s\x1b[31m\nsecond line", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("server_stub").exception("a defect")
    member = (tmp_path / "mcp-memory.log").read_text(encoding="utf-8")
    assert "a token: [secret]\\x1b[31m\n    second line" in member
    system = (tmp_path / "system.log").read_text(encoding="utf-8")
    assert "ValueError: [secret]" in system
    assert SECRET not in member + system


def test_lines_may_be_json(tmp_path: Path) -> None:
    with book(tmp_path, style="json"):
        member_log().info("one")
        request_line("memory", "tools/call", 7, "f00d")
    first, second = [json.loads(line) for line in lines(tmp_path / "mcp-memory.log")]
    assert (first["level"], first["logger"], first["message"]) == ("info", "server_stub.members.memory", "one")
    assert (second["level"], second["message"]) == ("info", "Method: tools/call, ID: 7, SessionID: f00d")


# --- Levels ----------------------------------------------------------------------------------------------------------


def test_each_log_has_its_level(tmp_path: Path) -> None:
    with book(tmp_path, (ERROR, None), (DEBUG, None)):
        for logger in (member_log(), logging.getLogger("server_stub.app")):
            for level in (DEBUG, INFO, WARNING, ERROR):
                logger.log(level, "x")
    assert [line.split()[2] for line in lines(tmp_path / "mcp-memory.log")] == ["debug", "info", "warning", "error"]
    assert [line.split()[2] for line in lines(tmp_path / "system.log")] == ["error"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_stderr_gets_what_it_would_have_got_without_files(tmp_path: Path, level: str) -> None:
    stderr = Stderr(level)
    logging.getLogger("server_stub.own").setLevel(DEBUG)
    with book(tmp_path, (DEBUG, None), (DEBUG, None)):
        for logger in (member_log(), logging.getLogger("server_stub.app"), logging.getLogger("mcp_remote_py.x")):
            for number in (DEBUG, INFO, WARNING, ERROR):
                logger.log(number, "%s", logger.name)
        logging.getLogger("server_stub.own").debug("a level of its own")
        logging.getLogger("some.library").info("silent")
    logging.getLogger("server_stub.own").setLevel(logging.NOTSET)
    expected = {"debug": 4, "info": 3, "warning": 2, "error": 1}[level]
    text = stderr.text()
    assert [text.count(name) for name in ("members.memory", "server_stub.app", "mcp_remote_py.x")] == [expected] * 3
    assert "a level of its own" in text
    assert "silent" not in text
    assert len(lines(tmp_path / "system.log")) == 9


def test_bodies_are_heard_only_where_they_were_asked_for(tmp_path: Path) -> None:
    stderr = Stderr("info")
    logging.getLogger(log.BODIES).setLevel(DEBUG)
    with book(tmp_path, (DEBUG, None), (DEBUG, None)):
        logging.getLogger(log.BODIES).debug("a body")
        logging.getLogger(log.BODIES).setLevel(logging.CRITICAL + 1)
        logging.getLogger(log.BODIES).debug("another one")
    assert "a body" in stderr.text()
    assert len(lines(tmp_path / "system.log")) == 1


def test_closing_puts_logging_back(tmp_path: Path) -> None:
    log.set_up("program", "warning", Redactor())
    before = [(name, logging.getLogger(name).level) for name in NAMES]
    handlers = logging.getLogger().handlers[:]
    with book(tmp_path, (DEBUG, None), (DEBUG, None)):
        assert member_log().isEnabledFor(DEBUG)
    assert [(name, logging.getLogger(name).level) for name in NAMES] == before
    assert logging.getLogger().handlers == handlers
    assert handlers[0].filters == []
    assert not member_log().isEnabledFor(INFO)


@pytest.mark.parametrize("text", ["DEBUG", "debug", " Info ", "WARNING", "warn", "Error"])
def test_levels_are_read_in_any_case(text: str) -> None:
    assert level_of(text, "LOG_LEVEL_MCP") == getattr(logging, text.strip().upper())


def test_what_cannot_work_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (str(file / "logs"), "a\0b"):
        with pytest.raises(ConfigError, match="--log-dir: "):
            open_logbook(folder, "info", "info", None, None, Redactor())
    with pytest.raises(ConfigError, match="LOG_LEVEL_MCP: 'loud' is no level"):
        open_logbook(str(tmp_path), "info", "loud", None, None, Redactor())
    with pytest.raises(ConfigError, match="LOG_LEVEL_SYSTEM: "):
        open_logbook(str(tmp_path), "", "info", None, None, Redactor())
    opened = open_logbook(str(tmp_path), "INFO", "Debug", 86400.0, 43200.0, Redactor(), "json")
    opened.close()


# --- Requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "count"), [(DEBUG, 1), (INFO, 1), (WARNING, 0)])
def test_a_request_is_a_line_of_level_info_in_the_members_log(tmp_path: Path, level: int, count: int) -> None:
    stderr = Stderr("info")
    with book(tmp_path, member=(level, None)):
        request_line("memory", "initialize", 0, "abc123")
        member_log().debug("not a request")
    found = [line for line in lines(tmp_path / "mcp-memory.log") if "Method:" in line]
    assert len(found) == count
    if count:
        assert found[0].endswith(" info server_stub.members.memory: Method: initialize, ID: 0, SessionID: abc123")
    assert len(lines(tmp_path / "mcp-memory.log")) == (2 if level == DEBUG else count)
    assert stderr.text() == "", "a line for each request is no news on stderr"


def test_what_a_client_sends_cannot_forge_lines(tmp_path: Path) -> None:
    with book(tmp_path):
        request_line("memory", "evil\nMethod: x, ID: 1", "a\r\nb" + "c" * 500, None)
        request_line("memory", None, None, None)
        request_line("memory", "tools/list", "text", "label")
    first, second, third = lines(tmp_path / "mcp-memory.log")
    assert r'Method: "evil\nMethod: x, ID: 1", ID: "a\r\nbccc' in first
    assert len(first) < 400
    assert second.endswith("Method: null, ID: null, SessionID: -")
    assert third.endswith('Method: tools/list, ID: "text", SessionID: label')


def test_without_a_logbook_a_request_is_a_matter_of_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO)
    request_line("memory", "initialize", 0, "abc123")
    assert caplog.records == []
    caplog.set_level(DEBUG)
    request_line("memory", "initialize", 0, "abc123")
    assert caplog.records[0].levelname == "DEBUG"


# --- Age -------------------------------------------------------------------------------------------------------------


def test_a_file_is_put_aside_after_a_quarter_of_the_retention(tmp_path: Path) -> None:
    clock = Clock()
    with book(tmp_path, clock=clock) as opened:
        member_log().info("first")
        logging.getLogger("server_stub").info("first")
        opened.drain(5)
        clock.now += 2.9 * HOUR
        opened.keep_house()
        assert {path.name for path in tmp_path.iterdir()} == {"system.log", "mcp-memory.log"}
        clock.now += 0.2 * HOUR
        opened.keep_house()
        member_log().info("second")
        opened.drain(5)
    assert lines(tmp_path / "mcp-memory.log.1")[0].endswith("first")
    assert lines(tmp_path / "mcp-memory.log")[0].endswith("second")
    assert not (tmp_path / "system.log.1").exists()


def test_what_is_older_than_its_retention_is_deleted(tmp_path: Path) -> None:
    clock = Clock()
    with book(tmp_path, clock=clock) as opened:
        member_log().info("old")
        member_log("other").info("old")
        logging.getLogger("server_stub").info("old")
        opened.drain(5)
        clock.now += 11 * HOUR
        opened.keep_house()
        assert (tmp_path / "mcp-memory.log.1").exists()
        clock.now += 2 * HOUR
        opened.keep_house()
        assert [path.name for path in tmp_path.iterdir() if path.stat().st_size] == ["system.log.1"]
        clock.now += 12 * HOUR
        opened.keep_house()
        assert [path.name for path in tmp_path.iterdir() if path.stat().st_size] == []
        member_log().info("and it goes on")
        opened.drain(5)
        assert lines(tmp_path / "mcp-memory.log")[0].endswith("and it goes on")


def test_what_an_earlier_run_left_goes_at_the_start(tmp_path: Path) -> None:
    with book(tmp_path), book(tmp_path, style="json"):
        member_log("gone").info("text and JSON")
        member_log("kept").info("young")
    with book(tmp_path, style="json"):
        member_log("gone-too").info("JSON")
    for name in ("mcp-gone.log", "mcp-gone-too.log"):
        os.utime(tmp_path / name, (0, 0))
    with book(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"system.log", "mcp-kept.log"}


def test_the_age_of_a_file_outlives_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with book(tmp_path, clock=clock):
        member_log().info("first")
    clock.now += 4 * HOUR
    with book(tmp_path, clock=clock) as opened:
        member_log().info("second")
        opened.drain(5)
        opened.keep_house()
        assert (tmp_path / "mcp-memory.log.1").exists()


def test_for_ever_is_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    with book(tmp_path, (INFO, None), (INFO, None), clock=clock) as opened:
        member_log().info("old")
        opened.drain(5)
        clock.now += 10**6 * HOUR
        opened.keep_house()
        assert len(lines(tmp_path / "mcp-memory.log")) == 1


def test_files_of_others_are_left_alone_whatever_they_are_called(tmp_path: Path) -> None:
    others = {
        "mcp-server-github.log": "2024-12-01T12:00:00.000Z [github] [info] Server started\n",
        "mcp-memory.log.txt": "2024-12-01T12:00:00.000Z [1] info server_stub: x\n",
        "mcp-empty.log": "",
        "notes.log": "2024-12-01T12:00:00.000Z [1] info server_stub: x\n",
    }
    for name, text in others.items():
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "mcp-folder.log").mkdir()
    os.utime(tmp_path / "mcp-folder.log", (0, 0))
    with book(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*others, "system.log", "mcp-folder.log"}


def test_the_thread_keeps_house_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "_HOUSE_SECONDS", 0.05)
    clock = Clock()
    with book(tmp_path, clock=clock):
        member_log().info("old")
        until(lambda: lines(tmp_path / "mcp-memory.log"))
        clock.now += 13 * HOUR
        until(lambda: not lines(tmp_path / "mcp-memory.log") and not (tmp_path / "mcp-memory.log.1").exists())


# --- Trouble ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    with book(folder) as opened:
        member_log().info("one")
        opened.drain(5)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        opened.keep_house()
        member_log().info("two")
        opened.drain(5)
        assert lines(folder / "mcp-memory.log")[0].endswith("two")


def test_a_full_disk_is_told_once_and_the_lost_lines_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Stderr("info")
    write = LogFile.write
    full = True

    def written(self: LogFile, line: bytes) -> None:
        if full and "memory" in self.path:
            raise OSError(28, "No space left on device")
        write(self, line)

    monkeypatch.setattr(LogFile, "write", written)
    with book(tmp_path) as opened:
        for number in range(3):
            member_log().info("lost %d", number)
            opened.drain(5)
        member_log("other").info("not my trouble")
        full = False
        member_log().info("there is space again")
        opened.drain(5)
    found = lines(tmp_path / "mcp-memory.log")
    assert found[0].endswith("3 log lines were lost")
    assert found[1].endswith("there is space again")
    assert len(lines(tmp_path / "mcp-other.log")) == 1
    told = [line for line in stderr.text().splitlines() if "cannot be written" in line]
    assert len(told) == 1
    assert "mcp-memory.log cannot be written (No space left on device)" in told[0]
    assert "cannot be written" in (tmp_path / "system.log").read_text(encoding="utf-8")


def test_a_disk_that_hangs_holds_nobody_up_and_a_flood_costs_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    write = LogFile.write

    def written(self: LogFile, line: bytes) -> None:
        may_write.wait(20)
        write(self, line)

    monkeypatch.setattr(LogFile, "write", written)
    with book(tmp_path) as opened:
        begin = time.monotonic()
        for number in range(5000):
            member_log("loud").info("line %d", number)
        member_log("quiet").info("heard")
        assert time.monotonic() - begin < 10
        may_write.set()
        opened.drain(10)
    loud = lines(tmp_path / "mcp-loud.log")
    assert 2000 <= len(loud) < 5000
    assert any("log lines were lost" in line for line in loud)
    assert len(lines(tmp_path / "mcp-quiet.log")) == 1


def test_closing_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()
    monkeypatch.setattr(LogFile, "write", lambda *_: may_write.wait(20))
    monkeypatch.setattr(logbook, "_CLOSE_SECONDS", 0.1)
    with book(tmp_path):
        member_log().info("x")
    may_write.set()


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    with book(tmp_path) as opened:
        handler = logging.getLogger().handlers[-1]
    handler.handle(logging.LogRecord("server_stub", ERROR, "", 0, "late", None, None))
    opened.drain(1)
    assert lines(tmp_path / "system.log") == []
