"""Which programs of a file are not on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from server_stub.config_file import inspect
from server_stub.programs import all_missing


def test_only_what_would_be_started_and_is_not_there_is_named(tmp_path: Path) -> None:
    servers = {
        "there": {"command": sys.executable},
        "gone": {"command": "no-such-program"},
        "off": {"command": "no-such-program", "disabled": True},
        "elsewhere": {"url": "https://example.com/mcp"},
        "line": {"shell": "no-such-program"},
        "own path": {"command": "program", "env": {"PATH": str(tmp_path)}},
        "beside": {"command": "./program", "cwd": "."},
    }
    program = tmp_path / ("program.cmd" if sys.platform == "win32" else "program")
    program.write_text("")
    program.chmod(0o755)
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    (sentence,) = all_missing(inspect(str(file), {}), {"PATH": ""})
    assert sentence.startswith("gone: there is no program 'no-such-program' here")
