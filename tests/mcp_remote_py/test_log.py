"""Log lines: their forms, what is never in them, and that no outlet can stop the program or another outlet."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py import log
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.log import BODIES, BODY_BYTES, LogHandler, catch_all, excerpt, set_up
from mcp_remote_py.log_file import LogFile

SECRET = "hunter2-hunter2"
NAMES = (None, "mcp_remote_py", "server_stub", BODIES, "asyncio", "py.warnings")


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    """Everything that a set-up changes in the process, put back."""
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(each, each.level, each.handlers[:], each.filters[:]) for each in loggers]
    hooks, raising = (sys.excepthook, threading.excepthook, sys.unraisablehook), logging.raiseExceptions
    yield
    for each, level, handlers, filters in before:
        each.setLevel(level)
        each.handlers[:] = handlers
        each.filters[:] = filters
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.raiseExceptions = raising
    logging.captureWarnings(capture=False)


class Sinks:
    """A pipe that stands for stderr, and a log file."""

    def __init__(self, folder: Path) -> None:
        self.reading, self.writing = os.pipe()
        self.path = folder / "bridge.log"
        self.made: list[LogHandler] = []

    def handler(self, style: log.Format = "text", file: LogFile | None = None) -> LogHandler:
        redactor = Redactor()
        redactor.add(SECRET)
        return self._keep(LogHandler("program", redactor, self.writing, style, file or LogFile(str(self.path))))

    def set_up(self, monkeypatch: pytest.MonkeyPatch, level: str = "debug", **options: Any) -> LogHandler:
        """As a program does it, with the pipe in the place of stderr."""
        monkeypatch.setattr(log, "LogHandler", self._with_pipe)
        redactor = Redactor()
        redactor.add(SECRET)
        return set_up("program", level, redactor, file=str(self.path), **options)

    def _with_pipe(self, program: str, redactor: Redactor, **options: Any) -> LogHandler:
        return self._keep(LogHandler(program, redactor, self.writing, **options))

    def _keep(self, handler: LogHandler) -> LogHandler:
        self.made.append(handler)
        return handler

    def close(self) -> None:
        """Let the threads write what they have: the next test may get the same descriptors."""
        os.set_blocking(self.reading, False)
        while any(outlet._busy or outlet._lines for handler in self.made for outlet, _ in handler._outlets):
            self.stderr()
            time.sleep(0.001)
        os.close(self.reading)
        os.close(self.writing)

    def stderr(self) -> str:
        os.set_blocking(self.reading, False)
        try:
            return os.read(self.reading, 10**6).decode()
        except BlockingIOError:
            return ""

    def file(self) -> str:
        return self.path.read_text()


@pytest.fixture
def sinks(tmp_path: Path) -> Iterator[Sinks]:
    made = Sinks(tmp_path)
    yield made
    made.close()


def record(text: str, *values: object, name: str = "mcp_remote_py.x", **more: Any) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, text, values, more.get("exc_info"))


def trouble() -> Any:
    try:
        raise ValueError(f"bad token {SECRET}")
    except ValueError:
        return sys.exc_info()


# --- Lines -----------------------------------------------------------------------------------------------------------


def test_a_line_on_stderr_has_the_program_and_the_level_and_one_in_the_file_the_time_as_well(sinks: Sinks) -> None:
    handler = sinks.handler()
    handler.emit(record("said %s\nand \x1b[31mmore", "this"))
    handler.drain(5)
    assert sinks.stderr() == "program: warning: said this\n    and \\x1b[31mmore\n"
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[%d\] warning mcp_remote_py\.x: said this\n    and .x1b\[31mmore\n"
    assert re.fullmatch(form % os.getpid(), sinks.file())


def test_as_json_each_line_is_one_object_in_both_places(sinks: Sinks) -> None:
    handler = sinks.handler("json")
    made = record('said "this"\nand \x1b[31mmore ä', exc_info=trouble())
    made.created = 1_700_000_000.0425
    handler.emit(made)
    handler.drain(5)
    assert sinks.stderr() == sinks.file()
    assert sinks.file().isascii()
    assert sinks.file().count("\n") == 1
    entry = json.loads(sinks.file())
    assert entry["time"] == "2023-11-14T22:13:20.042Z"
    assert (entry["level"], entry["logger"]) == ("warning", "mcp_remote_py.x")
    assert entry["message"] == 'said "this"\nand \x1b[31mmore ä'
    assert entry["exc"].startswith("Traceback")
    assert entry["exc"].endswith("ValueError: bad token [secret]")


@pytest.mark.parametrize("style", ["text", "json"])
def test_secrets_are_gone_from_the_text_its_values_and_the_traceback(sinks: Sinks, style: log.Format) -> None:
    handler = sinks.handler(style)
    handler.emit(record(f"a {SECRET} b %s c %r", SECRET, {"Authorization": "Bearer x"}, exc_info=trouble()))
    handler.drain(5)
    for text in (sinks.stderr(), sinks.file()):
        assert SECRET not in text
        assert "Bearer x" not in text
        assert text.count("[secret]") == 4


def test_a_message_that_does_not_fit_its_values_is_logged_as_it_is(sinks: Sinks) -> None:
    handler = sinks.handler()
    handler.emit(record("%d of %d", "x"))
    handler.drain(5)
    assert sinks.stderr() == "program: warning: %d of %d\n"


def test_a_traceback_shows_no_local_variables(sinks: Sinks) -> None:
    def fails() -> None:
        local = "a value that nobody knows"
        raise ValueError(len(local))

    handler = sinks.handler()
    try:
        fails()
    except ValueError:
        handler.emit(record("failed", exc_info=sys.exc_info()))
    handler.drain(5)
    assert "ValueError: 25" in sinks.file()
    assert "nobody knows" not in sinks.file().replace('local = "a value that nobody knows"', "")


def test_a_long_line_is_cut_and_says_how_long_it_was(sinks: Sinks) -> None:
    for style in ("text", "json"):
        handler = sinks.handler(style)
        handler.emit(record("x" * 100_000))
        handler.drain(5)
        assert "… (100000 characters)" in sinks.file().replace("\\u2026", "…")
        assert len(sinks.stderr()) < 2500
        sinks.path.unlink()


# --- Bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_is_logged_up_to_64_kib_and_with_its_real_size() -> None:
    assert excerpt("ä".encode()) == "ä"
    assert excerpt(b"x" * BODY_BYTES) == "x" * BODY_BYTES
    assert excerpt(b"x" * (BODY_BYTES + 1)) == "x" * BODY_BYTES + "… (65537 bytes in all)"


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_whole_body_fits_into_a_line_and_a_secret_at_the_cut_does_not_show(sinks: Sinks, style: log.Format) -> None:
    handler = sinks.handler(style)
    raw = b"x" * (BODY_BYTES - 9) + SECRET.encode() + b"y" * 100
    threading.Thread(target=lambda: handler.emit(record("server: %s", excerpt(raw), name=BODIES))).start()
    seen = ""
    while "in all" not in seen:
        seen += os.read(sinks.reading, 10**6).decode()
    assert "x" * (BODY_BYTES - 9) in seen
    assert "hunter" not in seen
    assert f"({len(raw)} bytes in all)" in seen


@pytest.mark.parametrize(("level", "bodies"), [("debug", False), ("error", True)])
def test_bodies_appear_when_they_were_asked_for_and_only_then(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch, level: str, bodies: bool
) -> None:
    handler = sinks.set_up(monkeypatch, level, bodies=bodies)
    assert logging.getLogger(BODIES).isEnabledFor(logging.DEBUG) is bodies
    logging.getLogger(BODIES).debug("server: %s", "{}")
    handler.drain(5)
    assert ("server: {}" in sinks.file()) is bodies


# --- Whom we listen to -----------------------------------------------------------------------------------------------


def test_libraries_are_heard_from_warning_on_however_talkative_we_are(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpcore
    import httpx
    import truststore
    import websockets
    from aiohttp import web

    import mcp_remote_py.net.http

    assert all((mcp_remote_py.net.http, httpcore, httpx, truststore, websockets, web))
    sinks.set_up(monkeypatch, "debug", bodies=True)
    known = logging.Logger.manager.loggerDict
    talkative = [
        name
        for name in known
        if logging.getLogger(name).isEnabledFor(logging.INFO)
        and name.partition(".")[0] not in ("mcp_remote_py", "server_stub")
    ]
    assert "httpcore.http11" in known
    assert [name for name in talkative if not name.startswith(("hypothesis", "faker"))] == []


async def test_asyncio_tells_of_callbacks_and_tasks_without_their_values(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = sinks.set_up(monkeypatch, "debug")
    loop = asyncio.get_running_loop()
    happened = asyncio.Event()

    def fails(message: bytes) -> None:
        happened.set()
        raise ValueError(len(message))

    loop.call_soon(fails, b"a message")
    await happened.wait()
    logging.getLogger("asyncio").warning("Executing %r took %.3f seconds", "<Handle f(b'a message')>", 0.2)
    handler.drain(5)
    assert "Exception in callback" in sinks.file()
    assert "ValueError: 9" in sinks.file()
    assert "took 0.200 seconds" in sinks.file()
    assert "a message" not in sinks.file().replace('loop.call_soon(fails, b"a message")', "")


class Unfriendly:
    """Its end is an exception that cannot be handed on."""

    def __del__(self) -> None:
        raise ValueError(f"at the end: {SECRET}")

    def __repr__(self) -> str:
        return "a value that nobody knows"


def uncaught() -> None:
    sys.excepthook(*trouble())


def in_thread() -> None:
    thread = threading.Thread(target=uncaught_in_thread, name="worker")
    thread.start()
    thread.join()


def uncaught_in_thread() -> None:
    raise ValueError(f"in a thread: {SECRET}")


def unraisable() -> None:
    Unfriendly()


def warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"old: {SECRET}", stacklevel=1)


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (uncaught, "the program ended because of a defect"),
        (in_thread, "the thread worker ended because of a defect"),
        (unraisable, "an exception could not be handed on"),
        (warned, "UserWarning: old"),
    ],
)
def test_what_python_would_print_by_itself_goes_through_the_redactor(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None], said: str
) -> None:
    handler = sinks.set_up(monkeypatch, "info")
    catch_all(handler)
    happens()
    handler.drain(5)
    assert said in sinks.file()
    assert "[secret]" in sinks.file()
    assert SECRET not in sinks.file() + sinks.stderr()
    assert "nobody knows" not in sinks.file()


# --- Trouble with outlets --------------------------------------------------------------------------------------------


def test_a_stderr_that_nobody_reads_stops_neither_the_program_nor_the_file(sinks: Sinks) -> None:
    handler = sinks.handler()
    begin = time.monotonic()
    for number in range(3000):
        handler.emit(record(f"line {number:04d} " + "x" * 100))
    assert time.monotonic() - begin < 5
    handler.drain(2)
    assert sinks.file().count("line ") > 500
    assert re.search(r"line \d{4}", sinks.file())


def test_lines_that_did_not_fit_are_counted(sinks: Sinks) -> None:
    handler = sinks.handler()
    for number in range(3000):
        handler.emit(record(f"line {number:04d} " + "x" * 100))
    lost = re.compile(r"program: warning: (\d+) log lines were lost")
    seen = ""
    while handler._stderr._lines:  # while the queue is full, the last line could be among the lost ones
        seen += os.read(sinks.reading, 10**6).decode()
    handler.emit(record("the last line"))
    while "the last line" not in seen:
        seen += os.read(sinks.reading, 10**6).decode()
    counted = sum(map(int, lost.findall(seen)))
    assert counted + seen.count(": line ") == 3000


def test_huge_lines_that_nobody_reads_do_not_fill_the_memory(sinks: Sinks) -> None:
    handler = sinks.handler()
    for _ in range(400):
        handler._stderr.put("x" * 64 * 1024)
    assert handler._stderr._waiting <= 8 * 1024 * 1024


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_log_file_that_fails_is_named_once_on_stderr_and_tried_again(sinks: Sinks, tmp_path: Path) -> None:
    handler = sinks.handler(file=LogFile(str(tmp_path / "logs" / "bridge.log")))
    handler.emit(record("one"))
    handler.drain(5)
    folder = tmp_path / "logs"
    (folder / "bridge.log").unlink()
    folder.rmdir()
    folder.write_text("in the way")
    for text in ("two", "three"):
        handler.emit(record(text))
        handler.drain(5)
    handler.drain(5)
    seen = sinks.stderr()
    assert seen.count("cannot be written") == 1
    assert "program: warning: the log file" in seen
    assert [text for text in ("one", "two", "three") if f": {text}\n" not in seen] == []
    folder.unlink()
    handler.emit(record("four"))
    handler.drain(5)
    lines = (folder / "bridge.log").read_text().splitlines()
    assert [line.partition(": ")[2] for line in lines] == ["2 log lines were lost", "four"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_is_said_once(sinks: Sinks) -> None:
    handler = sinks.handler(file=LogFile("/dev/full"))
    for text in ("one", "two"):
        handler.emit(record(text))
        handler.drain(5)
    handler.drain(5)
    assert sinks.stderr().count("/dev/full cannot be written (No space left on device)") == 1


@pytest.mark.parametrize("bad", ["{tmp}", "{tmp}/file/bridge.log", "nul\0byte"])
def test_a_file_that_cannot_be_written_is_a_mistake_of_the_configuration(tmp_path: Path, bad: str) -> None:
    (tmp_path / "file").write_text("")
    path = bad.format(tmp=tmp_path)
    with pytest.raises(ConfigError, match=r"--log-file: .* cannot be written \((Is a directory|Not a directory|it is)"):
        set_up("program", "info", Redactor(), file=path)
