"""`mcp-remote-server check`: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import encode
from server_stub import cli
from server_stub.commands import check

GOOD = encode({"mcpServers": {"a": {"command": sys.executable}}}).decode()


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_file_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, GOOD)
    assert cli.main(["check", path]) == 0
    assert capsys.readouterr().out == f"{path}: good: 1 server; no errors, no warnings.\n"


def test_each_finding_is_a_line_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, '{"mcpServers": {\n"a": {"comand": "npx"},\n"mcp": {"url": "http://x/"}}}')
    assert cli.main(["check", path]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        f"{path}:2: mcpServers.a.comand: there is no such key. Did you mean command?",
        f"{path}:3: mcpServers.mcp: /mcp means something else here: this server is reached under /servers/mcp/ only. "
        "(warning)",
        f"{path}: not good: 2 servers, 1 cannot be started; 1 error, 1 warning.",
    ]


def test_a_file_that_is_no_json_is_not_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, '{"mcpServers": {\n')
    assert cli.main(["check", path]) == 2
    assert capsys.readouterr().out.startswith(f"{path}:2: column 1: this is no JSON")


def test_a_program_that_is_not_there_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, '{"mcpServers": {"a": {"args": [],\n"command": "no-such-program"}}}')
    assert cli.main(["check", path]) == 0
    assert f"{path}:2: mcpServers.a.command: there is no program 'no-such-program'" in capsys.readouterr().out
    assert cli.main(["check", "--strict", path]) == 2
    assert "not good" in capsys.readouterr().out


def test_arguments_within_the_command_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{sys.executable} -m server".replace("\\", "/")
    check.run(["check", _file(tmp_path, f'{{"servers": {{"a": {{"command": "{words}"}}}}}}')], {})
    assert 'Its arguments belong in "args"' in capsys.readouterr().out


def test_a_command_is_looked_for_where_its_child_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / ("tool.exe" if os.name == "nt" else "tool")
    program.write_text("", encoding="utf-8")
    program.chmod(0o755)
    here = str(folder).replace("\\", "/")
    text = f'{{"mcpServers": {{"a": {{"command": "{program.name}", "env": {{"PATH": "{here}"}}}},'
    text += f'"b": {{"command": "./{program.name}", "cwd": "bin"}}}}}}'
    assert check.run(["check", _file(tmp_path, text)], {"PATH": ""}) == 0
    assert "no warnings" in capsys.readouterr().out


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, '{"mcpServers": {"a": {"command": 5}}}')
    assert cli.main(["check", "--format", "json", path]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["good"], found["servers"][0]["name"]) == (False, "a")
    assert found["findings"][0]["key"] == "mcpServers.a.command"
    assert cli.main(["check", "--format", "json", str(tmp_path / "no.json")]) == 2
    assert "there is no such file" in json.loads(capsys.readouterr().out)["error"]


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, GOOD)
    assert check.run(["check"], {"CONFIG_PATH": path}) == 0
    assert check.run(["check", "--config", path], {}) == 0
    assert capsys.readouterr().out.count(": good: ") == 2


@pytest.mark.parametrize(
    "words", [[], ["--strikt"], ["a", "b"], ["--format", "xml", "a"], ["a", "--config", "b"]], ids=str
)
def test_a_line_that_cannot_be_understood_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        check.run(["check", *words], {})


def test_help_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(["check", "--help"], {}) == 0
    assert "--strict" in capsys.readouterr().out
