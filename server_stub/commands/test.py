"""`test NAME`: start one server of the file, or reach it, list its tools, say how long that took. No server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError, Fault
from mcp_remote_py.core.redact import Redactor
from server_stub import config_file
from server_stub.commands import words as shared
from server_stub.commands.words import Command, row, show, tell
from server_stub.core import json_text
from server_stub.core.roster import Member, Roster
from server_stub.trial import Trial, try_member

COMMAND = Command(
    "test",
    "NAME [options]",
    "Starts a server of the file, or reaches it, lists its tools, and ends it again.",
    (
        row(
            "--timeout",
            shared.OUTPUT,
            "how long each answer may take (default 30s)",
            parse=options.positive_seconds,
            default=30.0,
            metavar="TIME",
        ),
        row(
            "--format",
            shared.OUTPUT,
            "text (default) or json",
            parse=options.one_of("text", "json"),
            default="text",
            metavar="text|json",
        ),
        shared.CONFIG,
    ),
    "0 it works, 1 it does not, 2 the words or the file are wrong",
)


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Try the server. Returns the exit code. Raises `ConfigError`."""
    words = shared.read(COMMAND, arguments[1:], environ)
    if words is None:
        return 0
    if words.behind:
        raise ConfigError("test: nothing may stand behind `--` here.")
    name = shared.one_name(COMMAND, words)
    roster = config_file.inspect(shared.config_of(words), environ)
    member = roster.find(name)
    if member is None:
        guess = options.did_you_mean(name, [one.name for one in roster.members])
        raise ConfigError(f"{roster.file}: there is no server {name!r} in it.{guess}")
    as_json = words.values["format"] == "json"
    if member.invalid is not None:
        if as_json:
            show(json_text.pretty({"error": member.invalid, "name": name, "ok": False}))
        tell(f"{name}: {member.invalid}")
        return 1
    if not member.enabled:
        tell(f"{name} is disabled in the file; it is tried all the same.")
    return 0 if try_and_tell(member, roster, environ, words.values["timeout"], as_json=as_json) else 1


def try_and_tell(
    member: Member, roster: Roster, environ: Mapping[str, str], timeout: float, *, as_json: bool = False
) -> bool:
    """Try a server and print what came of it. Returns whether it works."""
    redactor = Redactor()
    for secret in roster.secrets:
        redactor.add(secret)
    try:
        trial = asyncio.run(try_member(member, environ, timeout, redactor, roster.token_variables))
    except Fault as fault:
        text, hint = redactor.scrub(str(fault)), redactor.scrub(fault.hint)
        if as_json:
            show(json_text.pretty({"error": text, "hint": hint, "name": member.name, "ok": False}))
        tell(f"{member.name}: does not work: {text}" + (f"\n{hint}" if hint else ""))
        return False
    show(json_text.pretty(_document(member, trial)) if as_json else _text(member, trial))
    return True


def _document(member: Member, trial: Trial) -> dict[str, object]:
    return {
        "name": member.name,
        "ok": True,
        "server": trial.server,
        "protocol": trial.protocol,
        "tools": list(trial.tools),
        "count": len(trial.tools),
        "initializeMs": round(trial.initialize * 1000),
        "listMs": round(trial.listing * 1000),
    }


def _text(member: Member, trial: Trial) -> str:
    lines = [
        f"{member.name}: works. {trial.server}, protocol {trial.protocol}",
        f"initialized in {trial.initialize * 1000:.0f} ms, listed in {trial.listing * 1000:.0f} ms",
        f"{len(trial.tools)} tools" + (":" if trial.tools else ""),
        *(f"  {name}" for name in trial.tools),
    ]
    return "\n".join(lines)
