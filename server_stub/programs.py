"""Programs: whether the one that a server of the file wants is on this machine. Looks, starts nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from server_stub.core.roster import Command, Member, Roster


def missing(member: Member, environ: Mapping[str, str]) -> str:
    """Return the sentence about a program that would not be found, empty where all is well or nobody will start it."""
    what = member.what
    if member.invalid is not None or not member.enabled or not isinstance(what, Command) or not what.words:
        return ""
    program = what.words[0]
    path = dict(what.env).get("PATH", environ.get("PATH", os.defpath))
    where = os.path.join(what.cwd, program) if what.cwd and os.path.dirname(program) else program
    if shutil.which(where, path=path) is not None:
        return ""
    if " " in program.strip() and shutil.which(program.split()[0], path=path) is not None:
        return f'there is no program {program!r}. Its arguments belong in "args", or write "shell": true.'
    return f"there is no program {program!r} here: it is not installed, or not in PATH."


def all_missing(roster: Roster, environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each server of the file whose program is not here."""
    found = ((member.name, missing(member, environ)) for member in roster.members)
    return [f"{name}: {text}" for name, text in found if text]
