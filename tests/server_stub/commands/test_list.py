"""`list`: names, table and JSON; secrets are never among it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server_stub import cli
from tests.server_stub.commands.fake_server import running

TEXT = """{
  "mcpServers": {
    "one": {"command": "npx", "args": ["-y", "pkg", "--api-key", "sk-0123456789abcdefghijkl"], "share": "shared"},
    "far": {"url": "https://user:pass@x.example/mcp?key=topsecret1", "disabled": true},
    "broken": {"comand": "x"}
  }
}"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.json"
    file.write_text(TEXT)
    monkeypatch.setenv("CONFIG_PATH", str(file))
    monkeypatch.setenv("PORT", "1")
    return file


def test_names_stand_one_in_a_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--format", "names"]) == 0
    assert capsys.readouterr().out == "one\nfar\nbroken\n"


def test_json_has_what_the_table_has(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--format", "json"]) == 0
    one, far, broken = json.loads(capsys.readouterr().out)
    assert one["what"].startswith("npx -y pkg --api-key")
    assert (one["state"], one["share"], one["start"], one["enabled"]) == (None, "shared", "lazy", True)
    assert one["url"] == "http://127.0.0.1:1/one/mcp"
    assert (far["what"], far["enabled"]) == ("https://x.example/mcp", False)
    assert broken["state"] == "invalid"
    assert "Did you mean command?" in broken["invalid"]


@pytest.mark.parametrize("form", ["table", "json"])
def test_no_secret_is_shown(path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "--format", form]) == 0
    out = capsys.readouterr().out
    assert all(secret not in out for secret in ("sk-0123", "pass", "topsecret1"))


def test_the_state_comes_from_the_running_server(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(str(path)) as fake:
        assert cli.main(["list", "--server", fake.url]) == 0
    head, _, one, far, broken = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "state", "what", "share", "start", "enabled", "url"]
    assert one.split()[:2] == ["one", "ready"]
    assert far.split()[:2] == ["far", "-"]
    assert broken.split()[:2] == ["broken", "invalid"]


def test_what_turns_the_writing_round_is_shown_as_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x", "args": ["a\\u202eb"]}}}')
    assert cli.main(["list", "--config", str(file)]) == 0
    assert "x a\\u202eb" in capsys.readouterr().out


def test_words_that_mean_nothing_are_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "one"]) == 2
    assert cli.main(["list", "--format", "yaml"]) == 2
    capsys.readouterr()
    assert cli.main(["list", str(path)]) == 2
    assert f"Did you mean --config {path}?" in capsys.readouterr().err


def test_addresses_can_be_used_as_they_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "1")
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"My Files": {"command": "x"}, "health": {"command": "x"}}}')
    assert cli.main(["list", "--config", str(file), "--format", "json"]) == 0
    urls = [row["url"] for row in json.loads(capsys.readouterr().out)]
    assert urls == ["http://127.0.0.1:1/My%20Files/mcp", "http://127.0.0.1:1/servers/health/mcp"]


def test_a_server_that_wants_a_token_for_its_states_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(str(path)) as fake:
        fake.health = (401, {"error": "An admin token is needed."})
        assert cli.main(["list", "--server", fake.url]) == 0
    assert "--admin-token-env VAR" in capsys.readouterr().err
