"""What the pages about hosting tell people to type is typed here: lines for our programs, and entries for clients."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.cli import read_settings as read_bridge
from server_stub.cli import read_settings
from server_stub.commands import COMMANDS
from server_stub.commands.deploy import run as deploy
from server_stub.config_file import read_roster
from server_stub.core.roster import Remote

HOW_TO = Path(__file__).resolve().parent.parent / "docs" / "how-to"
MANY, LINUX = ((HOW_TO / name).read_text(encoding="utf-8") for name in ("host-many-servers.md", "deploy-on-linux.md"))
SERVERS = '{"mcpServers": {"time": {"command": "docker", "args": ["run", "-i", "--rm", "mcp/time"]}}}'

HARMLESS = {
    "add": ["--dry-run", "--no-wait"],
    "remove": ["--dry-run", "--no-wait"],
    "disable": ["--dry-run", "--no-wait"],
    "setup-env": ["--dry-run", "--non-interactive"],
    "test": ["--help"],
    "check": [],
    "list": [],
}
"""What keeps a command of the pages from writing and starting anything."""


def blocks(text: str, language: str) -> list[str]:
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [block.replace("\\\n", " ") for block in found]


def lines_of(text: str) -> list[list[str]]:
    """Every line of a page that begins with our server's name, as words."""
    lines = [line.strip() for block in blocks(text, "sh") for line in block.splitlines()]
    ours = [line.split(" && ")[0] for line in lines if line.startswith("mcp-remote-server ")]
    return [shlex.split(line, comments=True)[1:] for line in ours]


def entry(holder: str) -> dict[str, Any]:
    found = [json.loads(block) for block in blocks(MANY, "json")]
    (document,) = [document for document in found if holder in document]
    return document[holder]["time"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("words", lines_of(MANY) + lines_of(LINUX), ids=" ".join)
def test_a_line_for_the_server_is_understood(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "deploy" and sys.platform == "win32":
        pytest.skip("the files are for machines with POSIX paths")
    monkeypatch.chdir(tmp_path)
    for name in ("servers.json", "claude_desktop_config.json"):
        (tmp_path / name).write_text(SERVERS)
    (tmp_path / "tokens").write_text("a-token-that-is-long-enough\n")
    words = [str(tmp_path) if word.startswith(("/etc/systemd", "/etc/nginx")) else word for word in words]
    if words[0] == "deploy":
        assert deploy(words, {}) == 0
        assert capsys.readouterr().out
    elif words[0] in COMMANDS:
        (tmp_path / "servers.json").write_text(SERVERS.replace("time", "fetch") if words[0] != "add" else SERVERS)
        at = words.index("--") if "--" in words else len(words)
        quietly = [*(word for word in words[:at] if word != "--test"), *HARMLESS[words[0]], *words[at:]]
        assert importlib.import_module(COMMANDS[words[0]]).run(quietly, {}) == 0
        assert any(capsys.readouterr())
    else:
        settings = read_settings(words, {})
        assert settings is not None
        assert settings.hosting is not None


def test_the_line_for_claude_code_has_its_words() -> None:
    (line,) = [line for block in blocks(MANY, "sh") for line in block.splitlines() if line.startswith("claude mcp add")]
    words = shlex.split(line)
    assert words[3:9] == ["time", "--scope", "user", "--transport", "http", "https://time.mcp.example.com/mcp"]
    assert words[9:] == ["--header", "Authorization: Bearer TOKEN"]


def test_an_entry_for_a_client_means_what_it_should(tmp_path: Path) -> None:
    desktop = entry("mcpServers")
    settings = read_bridge(desktop["args"], desktop["env"])
    assert settings is not None
    assert settings.target.url == "https://time.mcp.example.com/mcp"
    file = tmp_path / "mcp.json"
    file.write_text(next(block for block in blocks(MANY, "json") if '"servers"' in block))
    (member,) = read_roster(str(file), {"mcp-token": "T"}).members
    assert member.what == Remote(settings.target.url, "http", (("Authorization", "Bearer T"),))
    for client in ("Gemini CLI", "Codex CLI", "Open WebUI"):
        assert client in MANY


def test_the_page_says_where_clients_keep_their_configuration() -> None:
    for place in ("`~/.claude.json`", "`.mcp.json`", "`~/.claude/settings.json`", "`claude_desktop_config.json`"):
        assert place in MANY
    assert "--mcp-config FILE --strict-mcp-config" in MANY


def test_the_page_names_the_ports_that_a_firewall_lets_through() -> None:
    assert "A firewall needs ports 80 and 443 open" in LINUX
