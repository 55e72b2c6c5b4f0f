"""A folder with a configuration file and the `.env` files beside it, for tests that read one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp_remote_py.core.message import encode
from server_stub.config_file import inspect
from server_stub.core.roster import Command, Member, Roster

CONFIGS = Path(__file__).resolve().parent / "configs"
"""The examples of the seeds, and one file with every key."""
FILES = sorted(path.name for path in CONFIGS.glob("*.json*"))
ENVIRON = {
    "MCP_PROXY_TOKEN": "changeme-token",
    "GITHUB_PERSONAL_TOKEN": "ghp_personal",
    "GITHUB_WORK_TOKEN": "ghp_work",
    "perplexity-key": "pplx-12345",
}
"""What the examples ask for."""


class Folder:
    """A folder for a configuration and its `.env` files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)

    def read(self, document: Any, environ: Mapping[str, str] | None = None) -> Roster:
        text = document if isinstance(document, str) else encode(document).decode()
        return inspect(self.write("config.json", text), environ or {})

    def member(self, entry: Any, environ: Mapping[str, str] | None = None, name: str = "a") -> Member:
        return self.read({"mcpServers": {name: entry}}, environ).members[0]

    def command(self, entry: Any, environ: Mapping[str, str] | None = None) -> Command:
        member = self.member(entry, environ)
        assert member.invalid is None
        assert isinstance(member.what, Command)
        return member.what
