"""Ten servers that people run, of npm and of PyPI: how each is started, what to ask it, and what it says.

Also the forms of file in which they are given to `mcp-remote-server --config`: three with their commands, and one with
the URLs at which another of our servers has them.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tests.peers.install import Peers

TOKEN = "the-token-of-the-file"
SQLITE = "from mcp_server_sqlite import main; main()"
PAGE = b"<html><head><title>A page</title></head><body><article><p>What the page says.</p></article></body></html>"
FORMS = ("claude", "proxy", "vscode")


class Real(NamedTuple):
    """One server, one call of one of its tools, and what is in the answer."""

    name: str
    command: tuple[str, ...]
    tool: str
    arguments: dict[str, Any]
    says: str
    env: dict[str, str] = {}  # noqa: RUF012  read only


def ten_servers(peers: Peers, folder: Path, page: str) -> list[Real]:
    """Return all ten, with the data that they need laid out in a folder. `page` is the URL of `PAGE`."""
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "note.txt").write_text("what the file says", encoding="utf-8")
    entity = {"type": "entity", "name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
    (folder / "memory.jsonl").write_text(json.dumps(entity) + "\n", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", str(folder / "repository")], check=True)
    with sqlite3.connect(folder / "data.db") as data:
        data.execute("create table answers (answer integer)")
        data.execute("insert into answers values (42)")
    data.close()

    def npm(command: str, *arguments: str) -> tuple[str, ...]:
        return (peers.command(command), *arguments)

    def pypi(environment: str, module: str, *arguments: str) -> tuple[str, ...]:
        return (peers.python(environment), "-m", module, *arguments)

    files, note = str(folder / "files"), str(folder / "files" / "note.txt")
    repository, data_file = str(folder / "repository"), str(folder / "data.db")
    thought = {"thought": "once", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    moment = {"source_timezone": "UTC", "time": "16:30", "target_timezone": "Asia/Tokyo"}
    query = {"query": "select answer from answers"}
    memory = {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")}
    return [
        Real("everything", npm("mcp-server-everything", "stdio"), "get-sum", {"a": 20, "b": 22}, "is 42"),
        Real("filesystem", npm("mcp-server-filesystem", files), "read_text_file", {"path": note}, "what the file says"),
        Real("memory", npm("mcp-server-memory"), "read_graph", {}, "wrote the first program", memory),
        Real("thinking", npm("mcp-server-sequential-thinking"), "sequentialthinking", thought, "thoughtNumber"),
        Real("hello-world", npm("mcp-hello-world"), "echo", {"message": "grüße, 世界"}, "You said: grüße, 世界"),
        Real("time", pypi("servers", "mcp_server_time", "--local-timezone=UTC"), "convert_time", moment, "01:30"),
        Real(
            "fetch",
            pypi("servers", "mcp_server_fetch", "--allow-private-ips"),
            "fetch",
            {"url": page},
            "What the page says",
        ),
        Real("git", pypi("servers", "mcp_server_git"), "git_status", {"repo_path": repository}, "No commits yet"),
        Real(
            "sqlite", (peers.python("older-servers"), "-c", SQLITE, "--db-path", data_file), "read_query", query, "42"
        ),
        Real("calculator", pypi("older-servers", "mcp_server_calculator"), "calculate", {"expression": "6*7"}, "42"),
    ]


def write_config(form: str, servers: list[Real], file: Path, **more: Any) -> None:
    """Write the servers in one of `FORMS`, each with what is special about it, and with `more` in each entry."""
    entries: dict[str, dict[str, Any]] = {
        one.name: {
            "command": one.command[0],
            "args": list(one.command[1:]),
            **({"env": one.env} if one.env else {}),
            **more,
        }
        for one in servers
    }
    if form == "claude":
        text = json.dumps({"mcpServers": entries}, indent=2)
    elif form == "proxy":
        options = {"logEnabled": True, "panicIfInvalid": False, "authTokens": ["${TOKEN_OF_THE_FILE}"]}
        head = {"baseURL": "http://127.0.0.1:9090", "addr": ":9090", "name": "ten", "version": "1", "options": options}
        text = json.dumps({"mcpProxy": {**head, "type": "streamable-http"}, "mcpServers": entries}, indent=2)
    else:
        variables = [f"{name}={value}\n" for one in servers for name, value in one.env.items()]
        file.with_name("memory.env").write_text("".join(variables), encoding="utf-8")
        for one in servers:
            entries[one.name]["type"] = "stdio"
            if entries[one.name].pop("env", None):
                entries[one.name]["envFile"] = str(file.with_name("memory.env"))
        inner = json.dumps(entries, indent=2)[:-2]
        text = f'{{\n// as VS Code writes it\n"inputs": [],\n"servers": {inner},\n}}, // the last of them\n}}\n'
    file.write_text(text, encoding="utf-8")
    os.chmod(file, 0o600)


def write_remote_config(url: str, servers: list[Real], file: Path) -> None:
    """Write a file whose servers are those of another server of ours, over all wires, as each program spells them."""
    headers = {"Authorization": "Bearer ${TOKEN_OF_THE_FILE}"}
    kinds: list[tuple[str, dict[str, str]]] = [
        ("mcp", {"type": "http"}),
        ("sse", {"type": "sse"}),
        ("ws", {"type": "ws"}),
        ("mcp", {"transportType": "streamable-http"}),
        ("sse", {"transportType": "sse"}),
        ("", {}),  # no word about the wire: it is found out
    ]
    entries = {
        one.name: {"url": f"{url}/{one.name}/{path}", **words, "headers": headers}
        for one, (path, words) in zip(servers, itertools.cycle(kinds), strict=False)
    }
    for entry in entries.values():
        if entry.get("type") == "ws":
            entry["url"] = str(entry["url"]).replace("http", "ws", 1)
    file.write_text(json.dumps({"mcpServers": entries}, indent=2), encoding="utf-8")
    os.chmod(file, 0o600)
