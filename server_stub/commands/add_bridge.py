"""`add-bridge`: a stdio server as a container of its own: Dockerfile, compose file, configuration; versions pinned."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mcp_remote_py import __version__
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from server_stub import config_file, registry
from server_stub.commands import words as shared
from server_stub.commands.new_member import port
from server_stub.commands.words import Command, row, show, switch, tell
from server_stub.core.json_text import pretty

_NEEDED = ("service", "runtime", "pkg", "version", "bin_cmd", "port")
_PACKAGES = {
    "node": re.compile(r"(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*"),
    "python": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._,-]+\])?"),
}
_WORKSPACE = "/workspace"


def _matching(pattern: str, example: str) -> Callable[[str, str], str]:
    def parse(text: str, where: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ConfigError(f"{where}: {text[:60]!r} cannot be used. Write for example {example}")
        return text

    return parse


def _folder(text: str, where: str) -> str:
    if not text.startswith("/") or re.search(r"[\x00-\x1f\x7f\"'`\\]", text) or ".." in text.split("/"):
        raise ConfigError(
            f"{where}: {text[:60]!r} is no full path of a folder: it begins with / and has no quotes and no `..`."
        )
    return text


def _command_words(text: str, where: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words or re.search(r"[\x00-\x1f\x7f]", text) or words[0].startswith("-"):
        raise ConfigError(f"{where}: {text[:60]!r} is no command. Write for example 'python3 -m mcp_server_fetch'")
    return words


_EXAMPLE = (
    "mcp-remote-server add-bridge --service filesystem --runtime node --pkg @modelcontextprotocol/server-filesystem "
    "--version 0.2.3 --bin-cmd mcp-server-filesystem --port 9071 --workspace /srv/files"
)
COMMAND = Command(
    "add-bridge",
    "--service S --runtime node|python --pkg P --version V --bin-cmd CMD --port N [options]",
    "Writes what a container needs that serves one stdio server: DIR/S/bridge/ with Dockerfile, docker-compose.yml "
    "and config/config.json. `add --service S --port N` makes it known to another server.",
    (
        row(
            "--service",
            shared.WHAT,
            "its name",
            parse=_matching(r"[a-z0-9][a-z0-9_-]{0,40}", "filesystem"),
            metavar="S",
        ),
        row("--runtime", shared.WHAT, "node or python", parse=options.one_of("node", "python"), metavar="node|python"),
        row("--pkg", shared.WHAT, "the package that has it", metavar="P"),
        row(
            "--version",
            shared.WHAT,
            "the exact version of the package",
            parse=_matching(r"[0-9][0-9A-Za-z.+!_-]{0,63}", "1.2.3"),
            metavar="V",
        ),
        row("--bin-cmd", shared.WHAT, "the command that the package brings", parse=_command_words, metavar="CMD"),
        row("--port", shared.WHAT, "where it listens, within the containers' network", parse=port, metavar="N"),
        row("--workspace", shared.WHAT, f"a folder that it may read, as {_WORKSPACE}", parse=_folder, metavar="DIR"),
        row("--out", shared.OUTPUT, "where to write (default: here)", default=".", metavar="DIR"),
        switch("--force", shared.OUTPUT, "write over files that are there"),
        shared.DRY_RUN,
    ),
    "0 done, 2 the words are wrong, or files are there already",
)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write the files. Returns the exit code. Raises `ConfigError`."""
    words = shared.read(COMMAND, arguments[1:], environ)
    if words is None:
        return 0
    shared.no_names(COMMAND, words)
    values = words.values
    absent = [f"--{name.replace('_', '-')}" for name in _NEEDED if not values[name]]
    if absent:
        raise ConfigError(f"add-bridge: {', '.join(absent)} missing. Type for example:\n  {_EXAMPLE}")
    if _PACKAGES[values["runtime"]].fullmatch(values["pkg"]) is None:
        raise ConfigError(f"--pkg: {values['pkg'][:60]!r} is no name of a {values['runtime']} package.")
    folder = os.path.join(os.path.abspath(values["out"]), values["service"], "bridge")
    files = {os.path.join(folder, name): text for name, text in bridge_files(values).items()}
    configuration = os.path.join(folder, "config", "config.json")
    errors = config_file.examine(configuration, {}, files[configuration]).roster.errors
    if errors:
        raise ConfigError("\n".join(str(error) for error in errors))
    there = [path for path in files if os.path.exists(path)]
    if there and not values["force"]:
        raise ConfigError(f"add-bridge: {', '.join(there)} is there already. --force writes over it.")
    if values["dry_run"]:
        show("".join(f"=== {path}\n{text}" for path, text in files.items()))
        tell("Nothing was written (--dry-run).")
        return 0
    _write(files)
    tell(
        f"Written: {', '.join(files)}\nBuild and start it: "
        f"docker compose --project-directory {shlex.quote(folder)} up -d --build\n"
        f"Make it known: mcp-remote-server add --service {values['service']} --port {values['port']}"
    )
    return 0


def bridge_files(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the files by their names, from checked values."""
    from server_stub.deploy.rendering import render

    words = values["bin_cmd"]
    args = [*words[1:], *([_WORKSPACE] if values["workspace"] else [])]
    configuration = {
        "mcpProxy": {
            "addr": f":{values['port']}",
            "name": f"{values['service']}-bridge",
            "options": {"logEnabled": True, "panicIfInvalid": False},
        },
        "mcpServers": {values["service"]: {"command": words[0], **({"args": args} if args else {})}},
    }
    given = {
        **values,
        "ours": __version__,
        "workspace": pretty(values["workspace"]).replace("$", "$$") if values["workspace"] else None,
        "inside": _WORKSPACE,
        "tag": re.sub(r"[^\w.-]", "_", values["version"], flags=re.ASCII),
    }
    return {
        "Dockerfile": render("bridge.Dockerfile.j2", given),
        "docker-compose.yml": render("bridge.compose.j2", given),
        os.path.join("config", "config.json"): pretty(configuration) + "\n",
    }


def _write(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            registry.replace(path, text.encode())
            # no secret is in it, and the container reads it as another user
            os.chmod(path, 0o644)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror or 'the system refuses'}).") from None
