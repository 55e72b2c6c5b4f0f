"""What is said of a line that begins with a word that is no command, instead of serving a program of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from server_stub import cli
from server_stub.commands import COMMANDS
from server_stub.commands.first_word import mistake


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chek servers.json", "Did you mean check?"),
        ("add-brigde", "Did you mean add-bridge?"),
        ("rm memory --config servers.json", "Did you mean remove?"),
        ("ls", "Did you mean list?"),
        ("no-such-program-anywhere", "Commands are: add, "),
        ("servers.json", "\n  mcp-remote-server --config servers.json\n  mcp-remote-server check servers.json"),
        ("serve --config servers.json --port 1", "Type: mcp-remote-server --config servers.json --port 1"),
    ],
)
def test_a_word_that_can_mean_nothing_is_refused(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "servers.json").write_text("{}")
    assert cli.main(line.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("line", ["sh -c true", "./server", "/opt/x", "npx -y pkg", "uvx mcp-proxy", "server.py", "-x"])
def test_a_line_of_another_program_is_left_alone(line: str) -> None:
    assert mistake(line.split()) is None


def test_the_help_names_every_command_and_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["help"]) == 0
    text = capsys.readouterr().out
    assert "mcp-remote-server --config FILE" in text
    assert set(COMMANDS) <= set(text.replace(",", " ").split())
