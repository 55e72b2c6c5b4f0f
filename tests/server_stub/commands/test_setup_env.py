"""`setup-env`: what it asks, what it hides, what it writes. Asked through a pseudo terminal, as people are."""

from __future__ import annotations

import io
import os
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server_stub import cli

if sys.platform == "win32":
    pytest.skip("a pseudo terminal", allow_module_level=True)

import pty

TEXT = """{
  "inputs": [{"id": "notion-key", "password": true, "description": "of the workspace"}],
  "servers": {
    "a": {"command": "x", "env": {"T": "${GITHUB_TOKEN}", "L": "${LEVEL:-info}", "R": "${REGION}"}},
    "b": {"command": "x", "env": {"T": "${GITHUB_TOKEN}", "N": "${input:notion-key}"}},
    "off": {"command": "x", "env": {"X": "${NOT_NEEDED}"}, "disabled": true}
  }
}"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "mcp.json"
    file.write_text(TEXT)
    monkeypatch.setenv("CONFIG_PATH", str(file))
    for name in ("GITHUB_TOKEN", "REGION"):
        monkeypatch.delenv(name, raising=False)
    return file


def test_what_is_missing_is_listed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["setup-env", "--non-interactive"]) == 1
    assert capsys.readouterr().out == "GITHUB_TOKEN\nREGION\nnotion-key\n"


def test_when_all_is_set_nothing_is_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (path.parent / ".env").write_text("GITHUB_TOKEN=x\nnotion-key=y\n")
    monkeypatch.setenv("REGION", "z")
    assert cli.main(["setup-env", "--non-interactive"]) == 0
    assert cli.main(["setup-env"]) == 0


class Terminal:
    """The command on a pseudo terminal."""

    def __init__(self, path: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server_stub", "setup-env", "--config", str(path), *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={"PATH": os.environ["PATH"]},
        )
        os.close(slave)

    def until(self, text: str) -> None:
        """Read until this was shown."""
        deadline = time.monotonic() + 30
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.seen
            self.seen += os.read(self.master, 4096).decode()

    def answer(self, question: str, text: str) -> None:
        self.until(question)
        os.write(self.master, f"{text}\n".encode())

    def end(self) -> int:
        code = self.process.wait(30)
        try:
            while piece := os.read(self.master, 4096):
                self.seen += piece.decode()
        except OSError:
            pass  # the other end is closed
        os.close(self.master)
        return code


def test_it_asks_once_for_each_hides_secrets_and_keeps_other_lines(path: Path) -> None:
    env = path.parent / ".env"
    env.write_text("# ours\nOLD=1\n")
    env.chmod(0o644)
    terminal = Terminal(path)
    terminal.answer("GITHUB_TOKEN for a: ", "hunter2hunter2")
    terminal.answer("REGION for a: ", "")
    terminal.until("may not be empty")
    terminal.seen = terminal.seen.replace("REGION for a: ", "", 1)
    terminal.answer("REGION for a: ", "eu west")
    terminal.answer("notion-key for b (of the workspace): ", "ntn_1")
    assert terminal.end() == 0
    assert "hunter2" not in terminal.seen
    assert "ntn_1" not in terminal.seen
    assert "eu west" in terminal.seen
    assert "begin with ghp_" in terminal.seen
    assert env.read_text() == "# ours\nOLD=1\nGITHUB_TOKEN=hunter2hunter2\nREGION='eu west'\nnotion-key=ntn_1\n"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert cli.main(["setup-env", "--non-interactive"]) == 0


def test_each_server_can_have_its_own_file(path: Path) -> None:
    terminal = Terminal(path, "--per-server")
    terminal.answer("GITHUB_TOKEN for a: ", "ghp_a")
    terminal.answer("REGION for a: ", "eu")
    terminal.answer("GITHUB_TOKEN for b: ", "ghp_b")
    terminal.answer("notion-key for b", "ntn_2")
    assert terminal.end() == 0
    assert (path.parent / "a.env").read_text() == "GITHUB_TOKEN=ghp_a\nREGION=eu\n"
    assert (path.parent / "b.env").read_text() == "GITHUB_TOKEN=ghp_b\nnotion-key=ntn_2\n"
    assert not (path.parent / ".env").exists()


def test_who_stops_has_written_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("ghp_x\n"))
    assert cli.main(["setup-env"]) == 1
    assert not (path.parent / ".env").exists()


def test_answers_may_come_through_a_pipe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("ghp_x\neu\nntn_y\n"))
    assert cli.main(["setup-env"]) == 0
    assert (path.parent / ".env").read_text() == "GITHUB_TOKEN=ghp_x\nREGION=eu\nnotion-key=ntn_y\n"


def test_a_control_character_is_no_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("gh\x1bp_x\n" * 3))
    assert cli.main(["setup-env"]) == 1
    assert "control character" in capsys.readouterr().err
    assert not (path.parent / ".env").exists()
