"""`test NAME`: a member is started or reached, asked for its tools, and ended."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from server_stub import cli
from tests.support.hosted import named

HOSTED = str(Path(__file__).parents[2] / "support" / "children" / "hosted.py")
Configure = Callable[..., None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    def write(*habits: str, **more: object) -> None:
        entry = {"command": sys.executable, "args": [HOSTED, *habits], **more}
        (tmp_path / "config.json").write_text(json.dumps({"mcpServers": {"one": entry}}))
        monkeypatch.setenv("CONFIG_PATH", str(tmp_path / "config.json"))

    return write


def test_it_tells_the_tools_of_all_pages_and_the_times(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("pages")
    assert cli.main(["test", "one", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["count"] == len(told["tools"]) >= 3
    assert len(set(told["tools"])) == told["count"]
    assert told["initializeMs"] >= 0
    assert cli.main(["test", "one"]) == 0
    out = capsys.readouterr().out
    assert f"{told['count']} tools:" in out
    assert "initialized in" in out


def test_the_name_of_a_tool_adds_no_line(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    (tmp_path / "config.json").write_text(json.dumps({"mcpServers": {"one": named("one", "a\ntool")}}))
    assert cli.main(["test", "one"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  a\\ntool"


def test_nothing_is_left_behind(configure: Configure) -> None:
    configure("stubborn")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert cli.main(["test", "one"]) == 0
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def test_one_that_ends_is_told_with_its_last_lines(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    entry = {"command": "sh", "args": ["-c", "echo the reason >&2; exit 4"]}
    (tmp_path / "config.json").write_text(json.dumps({"mcpServers": {"one": entry}}))
    assert cli.main(["test", "one"]) == 1
    err = capsys.readouterr().err
    assert "status 4" in err
    assert "the reason" in err


def test_one_that_says_nothing_is_given_up(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure("mute")
    began = time.monotonic()
    assert cli.main(["test", "one", "--timeout", "500ms", "--format", "json"]) == 1
    assert time.monotonic() - began < 10
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert "initialize" in told["error"]


def test_a_command_that_is_not_there_is_told(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure(command="no-such-program-here")
    assert cli.main(["test", "one"]) == 1
    assert "command not found" in capsys.readouterr().err


def test_a_remote_one_that_is_not_there_is_told(
    tmp_path: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    (tmp_path / "config.json").write_text('{"mcpServers": {"one": {"url": "http://127.0.0.1:1/mcp"}}}')
    assert cli.main(["test", "one", "--timeout", "5s"]) == 1
    assert "one: does not work" in capsys.readouterr().err


def test_a_name_that_is_not_there_is_refused(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    assert cli.main(["test", "on"]) == 2
    assert "Did you mean one?" in capsys.readouterr().err


def test_a_member_that_is_invalid_is_not_started(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure(env={"A": "${NO_SUCH_VARIABLE_HERE}"})
    assert "NO_SUCH_VARIABLE_HERE" not in os.environ
    assert cli.main(["test", "one"]) == 1
    assert "NO_SUCH_VARIABLE_HERE is not set" in capsys.readouterr().err
