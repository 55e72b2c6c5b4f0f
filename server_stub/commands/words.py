"""What the commands share: how their words are read, which file they mean, how they speak. One table per command."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mcp_remote_py.arguments import Parser, file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given, Option

PROGRAM = "mcp-remote-server"
VARIABLE = "CONFIG_PATH"
FILE, WHAT, RUNNING, OUTPUT = "the file", "the server", "the running server", "output"


def row(flag: str, group: str, text: str, **more: Any) -> Option:
    """Return one row of a table: an option with a value, which no variable sets."""
    if more.get("metavar") in ("FILE", "DIR"):
        more.setdefault("parse", file_name)
    if more.get("repeats"):
        more.setdefault("default", ())
    return Option(flag.removeprefix("--").replace("-", "_"), (flag,), text, group, **more)


def switch(flag: str, group: str, text: str) -> Option:
    """Return the row of an option without a value."""
    return row(flag, group, text, sets=True, default=False)


CONFIG = Option(
    "config", ("--config",), f"the configuration file (else: {VARIABLE})", FILE, file_name, None, (VARIABLE,), "FILE"
)
DRY_RUN = switch("--dry-run", OUTPUT, "show what would be written, and write nothing")


class Command(NamedTuple):
    """One command: its name, what its help says, its options."""

    name: str
    usage: str
    about: str
    table: tuple[Option, ...]
    exits: str = "0 done, 1 it did not work, 2 the words or the file are wrong"


class Words(NamedTuple):
    """What was typed."""

    values: dict[str, Any]
    plain: tuple[str, ...]
    """What is no option, in order."""
    behind: tuple[str, ...] | None
    """What stood behind `--`; None where there was no `--`."""


def read(command: Command, arguments: Sequence[str], environ: Mapping[str, str]) -> Words | None:
    """Read the words behind a command. None: help was asked for, and given. Raises `ConfigError`."""
    words, behind = list(arguments), None
    if "--" in words:
        at = words.index("--")
        words, behind = words[:at], tuple(words[at + 1 :])
    parser = Parser(
        command.table,
        prog=f"{PROGRAM} {command.name}",
        usage=f"{PROGRAM} {command.name} {command.usage}",
        description=command.about,
        epilog=f"Exit codes: {command.exits}.",
    )
    parsed, unknown = parser.parse_known_args(words)
    if parser.answered(parsed):
        return None
    for at, word in enumerate(unknown):
        if word.startswith("-") and word != "-":
            runs = at > 1 and behind is None and " -- " in command.usage  # `add NAME npx -y ...`
            hint = " If it belongs to the command: that stands behind `--`." if runs else ""
            raise ConfigError(f"{command.name}: {parser.unknown(word.partition('=')[0])}{hint}")
    given: Given = parsed.given or {}
    return Words(options.resolve(command.table, given, environ).values, tuple(unknown), behind)


def one_name(command: Command, words: Words) -> str:
    """Return the one word that the command takes. Raises `ConfigError`."""
    if len(words.plain) != 1:
        if not words.plain:
            raise ConfigError(f"{command.name}: A name is missing. Type: {PROGRAM} {command.name} {command.usage}")
        raise ConfigError(_unexpected(command, words.plain[1], " A name with blanks in it stands in quotes."))
    return words.plain[0]


def no_names(command: Command, words: Words) -> None:
    """Refuse words that mean nothing here. Raises `ConfigError`."""
    if words.plain or words.behind:
        word = (*words.plain, *(words.behind or ()))[0]
        raise ConfigError(_unexpected(command, word))


def _unexpected(command: Command, word: str, hint: str = "") -> str:
    if word.endswith((".json", ".jsonc", ".json5")):
        return f"{command.name}: {word!r} was not expected here. Did you mean --config {word}?"
    return f"{command.name}: {word!r} was not expected here.{hint} Type: {PROGRAM} {command.name} {command.usage}"


def config_of(words: Words) -> str:
    """Return which file is meant. Raises `ConfigError`."""
    path: str | None = words.values["config"]
    if not path:
        is_behind = any(word.partition("=")[0] == "--config" for word in words.behind or ())
        hint = " What stands behind `--` is the server's own: write --config before it." if is_behind else ""
        raise ConfigError(f"which file? Give --config FILE, or set {VARIABLE}.{hint}")
    return path


def show(text: str) -> None:
    """Print what somebody asked to see."""
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Say what happens, beside what was asked for."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
