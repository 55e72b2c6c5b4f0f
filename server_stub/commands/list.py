"""`list`: the servers of the file, as a table, as JSON or by name. Secrets are never among it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mcp_remote_py.core import options
from mcp_remote_py.core.redact import Redactor
from server_stub import config_file
from server_stub.commands import words as shared
from server_stub.commands.words import Command, row, show, tell
from server_stub.core import json_text
from server_stub.core.addressing import RESERVED, SERVERS
from server_stub.core.config_layout import shown
from server_stub.core.masking import masked_line, masked_url, masked_words
from server_stub.core.roster import Member, Remote, Roster
from server_stub.option_table import variable_name
from server_stub.running_server import RunningServer, address

COMMAND = Command(
    "list",
    "[options]",
    "Lists the servers of the configuration file, with their state where a server runs.",
    (
        row(
            "--format",
            shared.OUTPUT,
            "table (default), json, or names, one in a line",
            parse=options.one_of("table", "json", "names"),
            default="table",
            metavar="table|json|names",
        ),
        shared.CONFIG,
        row("--server", shared.RUNNING, "its address (default: by PORT and the file)", metavar="URL"),
        row(
            "--admin-token-env",
            shared.RUNNING,
            "the variable that holds its admin token",
            parse=variable_name,
            metavar="VAR",
        ),
    ),
    "0 done, 2 the words or the file are wrong",
)
_WIDEST = 60


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the list. Returns the exit code. Raises `ConfigError`."""
    words = shared.read(COMMAND, arguments[1:], environ)
    if words is None:
        return 0
    shared.no_names(COMMAND, words)
    roster = config_file.inspect(shared.config_of(words), environ)
    if words.values["format"] == "names":
        show("".join(f"{member.name}\n" for member in roster.members))
        return 0
    token = environ.get(words.values["admin_token_env"] or "")
    server = RunningServer(address(words.values["server"], roster.front, environ), token)
    state = server.state()
    # a server of another file may have members of the same names
    ours = state is not None and (state.config == roster.digest or words.values["server"] is not None)
    states = server.members() if ours else {}
    if states is None:
        tell(f"{server.url}: says how they fare to its operators only: --admin-token-env VAR.")
    rows = _rows(roster, server.url, states or {})
    show(json_text.pretty(rows) if words.values["format"] == "json" else _table(rows))
    return 0


def _rows(roster: Roster, url: str, states: Mapping[str, str]) -> list[dict[str, Any]]:
    redactor = Redactor()
    for secret in roster.secrets:
        redactor.add(secret)
    base = (roster.front.base_url or url).rstrip("/")
    return [
        {
            "name": member.name,
            "state": _state(member, states),
            "what": shown(redactor.scrub(_what(member))),
            "share": member.manners.share,
            "start": member.manners.start,
            "enabled": member.enabled,
            "url": f"{base}{_path(member.name)}/mcp",
            **({"invalid": redactor.scrub(member.invalid)} if member.invalid else {}),
        }
        for member in roster.members
    ]


def _path(name: str) -> str:
    path = f"/{quote(name, safe='')}"
    return f"/{SERVERS}{path}" if name in RESERVED else path


def _state(member: Member, states: Mapping[str, str]) -> str | None:
    if member.invalid is not None:
        return "invalid"
    return states.get(member.name)


def _what(member: Member) -> str:
    what = member.what
    if isinstance(what, Remote):
        return masked_url(what.url)
    return masked_line(what.shell) if what.shell is not None else " ".join(masked_words(what.words))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    from tabulate import tabulate

    columns = ("name", "state", "what", "share", "start", "enabled", "url")
    cells = [[_cell(line[column]) for column in columns] for line in rows]
    return tabulate(cells, headers=columns, tablefmt="simple", disable_numparse=True) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "-" if value is None else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
