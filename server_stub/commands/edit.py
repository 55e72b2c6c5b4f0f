"""`add`, `remove`, `enable`, `disable`: one server of the configuration file, changed from the shell.

What will change is shown, checked, tried if that is wanted, and written with a backup. Where a server runs this file,
it is watched until it has taken the change over; if it does not fare well, what was there before is put back.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.redact import MASK, Redactor
from mcp_remote_py.core.secret_places import HEADERS, is_secret_name
from server_stub import config_file, programs, registry
from server_stub.commands import words as shared
from server_stub.commands.new_member import (
    TOKEN,
    NewMember,
    env_pair,
    header_pair,
    new_member,
    port,
    variable_name,
)
from server_stub.commands.words import Command, Words, row, switch, tell
from server_stub.core.env_text import assign
from server_stub.core.roster import Front, Member, Roster
from server_stub.registry import Change, Edit
from server_stub.running_server import RunningServer, State, address, why

_INTERRUPTED = 130
_OURS_ALONE = frozenset({"--dry-run", "--no-wait", "--test", "--replace", "--add-auth"})
"""Words that hardly any command of a server takes."""

_SERVER = (
    row(
        "--server",
        shared.RUNNING,
        "its address (default: by PORT and the file, else http://127.0.0.1:8080)",
        metavar="URL",
    ),
    row(
        "--admin-token-env",
        shared.RUNNING,
        "the variable that holds its admin token",
        parse=variable_name,
        metavar="VAR",
    ),
    row(
        "--wait",
        shared.RUNNING,
        "how long it may take to take the change over (default 10s)",
        parse=options.positive_seconds,
        default=10.0,
        metavar="TIME",
    ),
    switch("--no-wait", shared.RUNNING, "ask no server, only write the file"),
)
_TIMEOUT = row(
    "--timeout",
    shared.OUTPUT,
    "how long it may take to answer a question of --test (default 30s)",
    parse=options.positive_seconds,
    default=30.0,
    metavar="TIME",
)
_ADD = Command(
    "add",
    "NAME [options] -- CMD ARGS...\n       mcp-remote-server add NAME --url URL [options]",
    "Adds a server to the configuration file.",
    (
        row("--shell", shared.WHAT, "run this line with the system's shell", metavar='"CMD LINE"'),
        row("--url", shared.WHAT, "a server that runs elsewhere", metavar="URL"),
        row(
            "--type",
            shared.WHAT,
            "the wire of --url: http, sse or ws (default: found out)",
            parse=options.one_of("http", "sse", "ws", "streamable-http"),
            metavar="http|sse|ws",
        )._replace(flags=("--type", "--transport")),
        row(
            "--header",
            shared.WHAT,
            "a header for --url, may be repeated; what is secret goes into NAME.env",
            parse=header_pair,
            repeats=True,
            metavar="'N: V'",
        )._replace(flags=("--header", "-H")),
        row("--service", shared.WHAT, "a bridge made by add-bridge: its name (with --port)", metavar="NAME"),
        row("--port", shared.WHAT, "the port of that bridge", parse=port, metavar="N"),
        row(
            "--env",
            shared.WHAT,
            "a variable for the command, may be repeated; K alone: the server's own; secrets go into NAME.env",
            parse=env_pair,
            repeats=True,
            metavar="K=V",
        )._replace(flags=("--env", "-e")),
        row("--cwd", shared.WHAT, "the folder that the command starts in", metavar="DIR", parse=None),
        switch("--add-auth", shared.WHAT, f"a bearer token: sent to a --url, asked for by a command; ${{{TOKEN}}}"),
        row(
            "--auth-env",
            shared.WHAT,
            f"the variable that holds the token of --add-auth (default {TOKEN})",
            parse=variable_name,
            default=TOKEN,
            metavar="VAR",
        ),
        switch("--replace", shared.WHAT, "put it in the place of the one that has its name"),
        switch(
            "--test", shared.OUTPUT, "start or reach it first, and list its tools; if that fails, nothing is written"
        ),
        row("--test-token", shared.OUTPUT, "the value of that variable for --test", metavar="TOKEN", secret=True),
        _TIMEOUT,
        shared.DRY_RUN,
        shared.CONFIG,
        *_SERVER,
    ),
)
_REMOVE = Command(
    "remove",
    "NAME [options]",
    "Takes a server out of the configuration file.",
    (
        switch("--test", shared.RUNNING, "also make sure that the running server no longer has it"),
        row("--service", shared.WHAT, "the name, said in another way", metavar="NAME"),
        shared.DRY_RUN,
        shared.CONFIG,
        *_SERVER,
    ),
)
_ENABLE = Command("enable", "NAME [options]", "Offers a server again.", (shared.DRY_RUN, shared.CONFIG, *_SERVER))
_DISABLE = Command("disable", "NAME [options]", "Keeps a server in the file, but offers it to nobody.", _ENABLE.table)
COMMANDS = {command.name: command for command in (_ADD, _REMOVE, _ENABLE, _DISABLE)}


class _Task(NamedTuple):
    """What is to be done."""

    command: str
    name: str
    edit: Edit
    words: Words
    path: str
    environ: Mapping[str, str]
    new: NewMember | None = None

    @property
    def wants_answer(self) -> bool:
        """Whether the member must answer afterwards."""
        return self.command in ("add", "enable")


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Change the file. Returns the exit code. Raises `ConfigError`."""
    command = COMMANDS[arguments[0]]
    words = shared.read(command, arguments[1:], environ)
    if words is None:
        return 0
    task = _task(command, words, environ)
    with nullcontext() if words.values["dry_run"] else registry.edited_alone(task.path):
        return _perform(task)


def _task(command: Command, words: Words, environ: Mapping[str, str]) -> _Task:
    path = shared.config_of(words)
    if command is _ADD:
        new = new_member(words)
        for word in _OURS_ALONE.intersection(words.behind or ()):
            tell(f"{word} stands behind `--`, so it is taken for an argument of the command.")
        edit = registry.adding(new.name, new.entry, replace=words.values["replace"])
        return _Task("add", new.name, edit, words, path, environ, new)
    if command is _REMOVE and words.values["service"]:
        words = words._replace(plain=(*words.plain, words.values["service"]))
    if words.behind:
        raise ConfigError(f"{command.name}: nothing may stand behind `--` here.")
    name = shared.one_name(command, words)
    if command is _REMOVE:
        return _Task("remove", name, registry.removing(name), words, path, environ)
    return _Task(command.name, name, registry.switching(name, on=command is _ENABLE), words, path, environ)


def _perform(task: _Task) -> int:
    secrets = task.new.secrets if task.new else {}
    change = registry.plan(task.path, task.edit, task.environ, secrets)
    beside = _beside(task, secrets)
    if change.changes_nothing and not beside:
        tell(f"{task.path}: nothing to change, {task.name} is that way already.")
        return 0
    shared.show(_veiled(change, secrets))
    for file in beside:
        tell(f"{file}: gets {', '.join(secrets)} (mode 0600).")
    _tell_what_is_not_there(task, change)
    if task.command == "add" and task.words.values["test"] and not _passes_trial(task, change):
        return 1
    if task.words.values["dry_run"]:
        tell("Nothing was written (--dry-run).")
        return 0
    return _write(task, change, beside)


def _tell_what_is_not_there(task: _Task, change: Change) -> None:
    """Say what this server will want, and nothing writes; and what stays when it goes."""
    if task.command == "remove":
        own = os.path.join(os.path.dirname(change.path), f"{task.name}.env")
        if os.path.exists(own):
            tell(f"{own}: stays, with the variables of {task.name} in it.")
        return
    if change.missing:
        asking = f"mcp-remote-server setup-env --config {shlex.quote(task.path)}"
        tell(f"Not set yet: {', '.join(change.missing)}. `{asking}` asks for that.")
    member = change.new.find(task.name)
    program = programs.missing(member, task.environ) if member is not None else ""
    if program:
        tell(f"{task.name}: {program}")


def _beside(task: _Task, secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the server's own `.env` file with its secrets, by its path; nothing where there are none."""
    if not secrets:
        return {}
    path = os.path.join(os.path.dirname(os.path.abspath(task.path)), f"{task.name}.env")
    if config_file.may_be_planted(path, task.path):
        raise ConfigError(f"{path}: belongs to somebody else, in a folder for all: no secret is written there.")
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: cannot be read, and the secrets belong there.") from None
    return {path: assign(text, secrets)}


# --- What is shown ---------------------------------------------------------------------------------------------------

_PAIR = re.compile(r"""(["']?)([\w.-]{1,64})\1(\s*:\s*)(["'])((?:[^"'\\]|\\.)*)\4""")


def _veiled(change: Change, secrets: Mapping[str, str]) -> str:
    """Return the difference without secrets: those that are known, and what stands behind a name of one."""
    redactor = Redactor()
    for secret in (*secrets.values(), *change.new.secrets, *(change.old.secrets if change.old else ())):
        redactor.add(secret)

    def hide(found: re.Match[str]) -> str:
        name, value = found.group(2), found.group(5)
        if "${" in value or not value or not (is_secret_name(name) or name.lower() in HEADERS):
            return found.group(0)
        return found.group(0).replace(value, MASK)

    return redactor.scrub(_PAIR.sub(hide, change.diff()))


# --- The trial -------------------------------------------------------------------------------------------------------


def _passes_trial(task: _Task, change: Change) -> bool:
    from server_stub.commands.test import try_and_tell

    environ = dict(task.environ)
    values = task.words.values
    if values["test_token"]:
        environ[values["auth_env"]] = values["test_token"]
    environ |= task.new.secrets if task.new else {}
    roster = config_file.examine(task.path, environ, change.after).roster
    member = roster.find(task.name)
    if member is None or member.invalid is not None:
        tell(f"{task.name}: {member.invalid if member else 'it is not in the file'} Nothing was written.")
        return False
    if try_and_tell(member, roster, environ, values["timeout"]):
        return True
    tell("Nothing was written.")
    return False


# --- Writing, and the running server ---------------------------------------------------------------------------------


class _Watched(NamedTuple):
    """A server that runs this file, and how it fared before."""

    server: RunningServer
    before: State


def _write(task: _Task, change: Change, beside: Mapping[str, str]) -> int:
    watched = _watched(task, change)
    if watched is None and task.command == "remove" and task.words.values["test"]:
        tell("--test: no server that runs this file was found, so nothing was removed.")
        return 1
    written = registry.write(change, beside)
    if written.backup:
        tell(f"{change.path}: written; what was there before is in {os.path.basename(written.backup)}")
    else:
        tell(f"{change.path}: written.")
    if watched is None:
        return 0
    code = 1
    try:
        wrong = _trouble(task, watched)
    except KeyboardInterrupt:
        wrong, code = "interrupted before it was known how it fares", _INTERRUPTED
    if wrong is None:
        tell(f"{watched.server.url}: has taken it over.")
        return 0
    tell(f"{watched.server.url}: {wrong}.")
    changed = written.restore()
    for path in changed:
        tell(f"{path}: somebody else has changed it since, so it stays as it is.")
    if not changed:
        tell(f"{change.path}: put back as it was.")
    return code


def _watched(task: _Task, change: Change) -> _Watched | None:
    """Return the server that runs the file as it is now; None where there is none. Raises `ConfigError`."""
    values = task.words.values
    if values["no_wait"]:
        return None
    front = change.old.front if change.old else Front()
    variable = values["admin_token_env"]
    token = task.environ.get(variable, "") if variable else None
    if token == "":
        raise ConfigError(f"--admin-token-env: the variable {variable} is not set, or empty.")
    server = RunningServer(address(values["server"], front, task.environ), token)
    state = server.state()
    if state is None:
        text = f"{server.url}: no server of a configuration file answers there"
        if values["server"]:
            raise ConfigError(f"--server: {text}. Nothing was written; without --server, only the file is.")
        tell(f"{text}: only the file is written.")
        return None
    if values["server"] is None and (change.old is None or state.config != change.old.digest):
        tell(f"{server.url}: runs another configuration, so it is not watched. Name it with --server if it is meant.")
        return None
    if token and server.members() is None:
        raise ConfigError(
            f"--admin-token-env: {server.url} does not take the token in {variable} for that of its operators. "
            "Nothing was written."
        )
    return _Watched(server, state)


def _trouble(task: _Task, watched: _Watched) -> str | None:
    """Wait for the server to take the change over. Returns what is wrong, None for nothing."""
    roster: Roster = _read_again(task)
    expected = [found.text for found in roster.findings if found.severity == "warning"]
    wrong = watched.server.wait_for(roster.digest, watched.before, task.words.values["wait"], expected)
    member = roster.find(task.name)
    if wrong is not None:
        reason = member.invalid if task.wants_answer and member is not None else None
        return f"it cannot run {task.name}: {reason.rstrip('.')}" if reason else wrong
    if task.wants_answer and member is not None:
        return _answers(task, watched.server, member)
    if task.command == "remove" and task.words.values["test"]:
        reply = watched.server.tools_of(task.name, 0.0)
        if reply.status in (401, 403):
            return "it wants an admin token to say whether the server is gone: --admin-token-env VAR"
        if reply.status != 404:
            return f"it still has {task.name} ({why(reply)})"
    return None


def _read_again(task: _Task) -> Roster:
    return config_file.inspect(task.path, task.environ)


def _answers(task: _Task, server: RunningServer, member: Member) -> str | None:
    reply = server.tools_of(task.name, member.manners.care.initialize)
    if reply.status in (401, 403):
        tell("Its tools were not asked for: the server wants an admin token (--admin-token-env VAR).")
        return None
    if reply.status != 200:
        return f"{task.name} does not answer: {why(reply)}"
    return None
