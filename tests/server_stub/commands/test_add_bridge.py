"""`add-bridge`: three files, versions pinned, nothing that a name could smuggle in."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py import __version__
from server_stub import cli

SEED = {
    "--service": "filesystem",
    "--runtime": "node",
    "--pkg": "@modelcontextprotocol/server-filesystem",
    "--version": "0.2.3",
    "--bin-cmd": "mcp-server-filesystem",
    "--port": "9071",
    "--workspace": "/home/administrator/projects",
}


def line(out: Path, **more: str | None) -> list[str]:
    words: dict[str, str | None] = {**SEED, "--out": str(out), **more}
    return ["add-bridge", *(part for flag, value in words.items() if value is not None for part in (flag, value))]


def files(out: Path, service: str = "filesystem") -> dict[str, str]:
    folder = out / service / "bridge"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_words_of_the_seed_make_a_bridge(tmp_path: Path) -> None:
    assert cli.main(line(tmp_path)) == 0
    made = files(tmp_path)
    assert sorted(made) == ["Dockerfile", "config/config.json", "docker-compose.yml"]
    configuration = json.loads(made["config/config.json"])
    assert configuration["mcpServers"] == {"filesystem": {"command": "mcp-server-filesystem", "args": ["/workspace"]}}
    assert configuration["mcpProxy"]["addr"] == ":9071"
    docker = made["Dockerfile"]
    assert f'--find-links /opt/wheels "mcp-remote-py[server]=={__version__}"' in docker
    assert '"@modelcontextprotocol/server-filesystem@0.2.3"' in docker
    assert "FROM python:3.12-slim" in docker
    assert "USER bridge" in docker
    assert "HEALTHCHECK" in docker
    assert "/health'" in docker
    compose = made["docker-compose.yml"]
    assert 'source: "/home/administrator/projects"' in compose
    for text in ("read_only: true", "memory: 256M", "json-file", "stop_grace_period: 10s", "external: true"):
        assert text in compose
    assert "ports:" not in compose
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in tmp_path.rglob("*") if path.is_file())


def test_the_configuration_passes_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line(tmp_path)) == 0
    assert cli.main(["check", str(tmp_path / "filesystem/bridge/config/config.json")]) == 0


def test_a_python_package_needs_no_node(tmp_path: Path) -> None:
    more = {
        "--service": "fetch",
        "--runtime": "python",
        "--pkg": "mcp-server-fetch",
        "--bin-cmd": "python3 -m mcp_server_fetch",
    }
    assert cli.main(line(tmp_path, **more, **{"--workspace": None})) == 0
    made = files(tmp_path, "fetch")
    assert '"mcp-server-fetch==0.2.3"' in made["Dockerfile"]
    assert "node" not in made["Dockerfile"]
    assert "volumes" not in made["docker-compose.yml"]
    entry = json.loads(made["config/config.json"])["mcpServers"]["fetch"]
    assert entry == {"command": "python3", "args": ["-m", "mcp_server_fetch"]}


BAD: list[tuple[str, str]] = [
    ("--service", "a\nUSER root"),
    ("--service", "../up"),
    ("--service", "A"),
    ("--runtime", "ruby"),
    ("--pkg", 'x" && rm -rf "/'),
    ("--pkg", "x\nRUN y"),
    ("--pkg", "@scope/../x"),
    ("--version", "latest"),
    ("--version", "1.0\n"),
    ("--version", '1.0"'),
    ("--version", "^1.2"),
    ("--port", "0"),
    ("--port", "99999"),
    ("--port", "80; x"),
    ("--bin-cmd", ""),
    ("--bin-cmd", "x\x00"),
    ("--bin-cmd", "'open"),
    ("--workspace", "relative"),
    ("--workspace", "/srv/../etc"),
    ("--workspace", '/a"\nprivileged: true'),
]


@pytest.mark.parametrize(("flag", "value"), BAD)
def test_what_could_be_smuggled_in_is_refused(
    tmp_path: Path, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(line(tmp_path, **{flag: value})) == 2
    assert flag in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dollar_in_a_folder_is_no_variable_of_compose(tmp_path: Path) -> None:
    assert cli.main(line(tmp_path, **{"--workspace": "/a/$HOME dir"})) == 0
    assert 'source: "/a/$$HOME dir"' in files(tmp_path)["docker-compose.yml"]


def test_files_that_are_there_stay_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line(tmp_path)) == 0
    before = files(tmp_path)
    assert cli.main(line(tmp_path, **{"--version": "0.3.0"})) == 2
    assert "--force" in capsys.readouterr().err
    assert files(tmp_path) == before
    assert cli.main([*line(tmp_path, **{"--version": "0.3.0"}), "--force"]) == 0
    assert "server-filesystem@0.3.0" in files(tmp_path)["Dockerfile"]


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*line(tmp_path), "--dry-run"]) == 0
    assert "FROM python" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--service", "--runtime", "--pkg", "--version", "--bin-cmd", "--port"])
def test_what_is_missing_is_named(tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line(tmp_path, **{flag: None})) == 2
    assert flag in capsys.readouterr().err


def test_the_files_name_no_registry(tmp_path: Path) -> None:
    assert cli.main(line(tmp_path)) == 0
    text = "".join(files(tmp_path).values())
    found: list[Any] = re.findall(r"https?://(?!127\.0\.0\.1)\S+", text)
    assert found == []
