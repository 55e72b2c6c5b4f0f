"""`mcp-remote-server check FILE`: what is wrong with a configuration file, line by line. Starts nothing.

Exit codes: 0 it can be served (there may be warnings), 2 something in it cannot work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mcp_remote_py.core import message, options
from mcp_remote_py.core.errors import ConfigError
from server_stub import config_file
from server_stub.config_file import Examined
from server_stub.core.config_reading import members_of
from server_stub.core.roster import Finding, Roster
from server_stub.programs import missing

_VARIABLE = "CONFIG_PATH"
_FORMATS = ("text", "json")


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check the file and print what is wrong with it. Returns the exit code. Raises `ConfigError`."""
    asked = _parsed(arguments[1:])
    if asked is None:
        return 0
    path = asked.config or asked.file or environ.get(_VARIABLE, "")
    if not path:
        raise ConfigError(f"which file? Type: mcp-remote-server check FILE (or set {_VARIABLE}).")
    try:
        examined = config_file.examine(path, environ)
    except ConfigError as error:
        _print(_unusable(str(error)) if asked.format == "json" else f"{error}\n")
        return ConfigError.exit_code
    roster = examined.roster
    roster = roster._replace(findings=(*roster.findings, *_not_found(examined, environ)))
    good = not roster.errors and not (asked.strict and roster.findings)
    _print(_as_json(roster, good=good) if asked.format == "json" else _as_text(roster, good=good))
    return 0 if good else ConfigError.exit_code


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"check: {message} (--help says what there is)")


def _parsed(words: Sequence[str]) -> argparse.Namespace | None:
    """Return what was asked. None: for help, which is answered."""
    parser = _Arguments(
        prog="mcp-remote-server check",
        description="Says what is wrong with a configuration file. Nothing is started.",
        epilog="Exit codes: 0 it can be served, 2 something in it cannot work.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=f"the file; without it, the one that {_VARIABLE} names")
    parser.add_argument("--config", metavar="FILE", help="the same")
    parser.add_argument("--strict", action="store_true", help="a warning counts like an error")
    parser.add_argument("--format", default="text", metavar="|".join(_FORMATS), help="how to print (default: text)")
    parser.add_argument("--help", "-h", action="store_true", help="show this text")
    if {"--help", "-h"} & set(words):
        parser.print_help(sys.stdout)
        return None
    asked = parser.parse_args(list(words))
    if asked.config and asked.file and asked.config != asked.file:
        raise ConfigError("check: FILE and --config FILE are both there. Keep one.")
    if asked.format not in _FORMATS:
        guess = options.did_you_mean(asked.format, _FORMATS)
        raise ConfigError(f"check: --format {asked.format!r} is none of {', '.join(_FORMATS)}.{guess}")
    return asked


# --- Programs that are not there -------------------------------------------------------------------------------------


def _not_found(examined: Examined, environ: Mapping[str, str]) -> list[Finding]:
    """Return a warning for each command that would not be found here. It may be there where the file is served."""
    file, findings = examined.roster.file, []
    for member, listed in zip(examined.roster.members, members_of(examined.layout), strict=True):
        text = missing(member, environ)
        if text:
            line = config_file.line_of(listed, "command")
            findings.append(Finding("warning", file, line, f"{listed.path}.command", text, member.name))
    return findings


# --- Printing --------------------------------------------------------------------------------------------------------


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _as_text(roster: Roster, *, good: bool) -> str:
    lines = [f"{found}{' (warning)' if found.severity == 'warning' else ''}" for found in roster.findings]
    warnings = len(roster.findings) - len(roster.errors)
    off = sum(not member.enabled for member in roster.members)
    broken = sum(member.invalid is not None for member in roster.members)
    parts = [_counted(len(roster.members), "server")]
    parts += [f"{off} disabled"] if off else []
    parts += [f"{broken} cannot be started"] if broken else []
    verdict = "good" if good else "not good"
    total = f"{_counted(len(roster.errors), 'error')}, {_counted(warnings, 'warning')}"
    lines.append(f"{roster.file}: {verdict}: {', '.join(parts)}; {total}.")
    return "".join(f"{line}\n" for line in lines)


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _as_json(roster: Roster, *, good: bool) -> str:
    return _encoded(
        {
            "file": roster.file,
            "good": good,
            "error": None,
            "servers": [
                {"name": member.name, "enabled": member.enabled, "invalid": member.invalid} for member in roster.members
            ],
            "findings": [found._asdict() for found in roster.findings],
        }
    )


def _unusable(text: str) -> str:
    return _encoded({"file": None, "good": False, "error": text, "servers": [], "findings": []})


def _encoded(document: dict[str, Any]) -> str:
    return message.encode(document).decode("utf-8") + "\n"
