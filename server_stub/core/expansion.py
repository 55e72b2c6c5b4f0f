"""Expansion: `${VAR}` in the values of a configuration file. Pure: the variables are given.

    ${VAR}, ${env:VAR}                the variable
    ${VAR:-text}, ${env:VAR:-text}    the text (which is expanded, too) where the variable is not set, or is empty
    ${input:ID}                       an input of VS Code: the variable of that name; `my-key` may be MY_KEY, too
    $${                               the two characters ${

All else stays as it is: `$VAR` is for a shell to expand. What a variable holds is not expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_FORM = re.compile(r"(?:(?:env:)?([A-Za-z_]\w*)|input:([\w.\-]+))(?::-(.*))?", re.DOTALL | re.ASCII)
_DEEPEST = 10


class Missing(NamedTuple):
    """Something in a text that cannot be expanded."""

    name: str
    """The variable that is not set; empty where the text itself is wrong."""
    reason: str
    """For people. Never what a variable holds."""
    is_input: bool = False


class Expanded(NamedTuple):
    """A text with its variables filled in. What is missing became nothing."""

    text: str
    used: tuple[tuple[str, str], ...] = ()
    """The variables that were put in, with their values, which may be secrets."""
    missing: tuple[Missing, ...] = ()
    wanted: tuple[str, ...] = ()
    """The names of all variables that the text asks for."""


def expand(text: str, variables: Mapping[str, str], depth: int = 0) -> Expanded:
    """Fill in the variables of a text."""
    if "${" not in text:
        return Expanded(text)
    parts: list[str] = []
    pieces: list[Expanded] = []
    at = 0
    while True:
        start = text.find("${", at)
        if start < 0:
            parts.append(text[at:])
            return _joined("".join(parts), pieces)
        if start > at and text[start - 1] == "$":
            parts.append(text[at : start - 1] + "${")
            at = start + 2
            continue
        parts.append(text[at:start])
        end = _end(text, start + 2)
        if end is None:
            piece = _wrong("${ has no } behind it.")
            end = len(text) - 1
        else:
            piece = _one(text[start + 2 : end], variables, depth)
        parts.append(piece.text)
        pieces.append(piece)
        at = end + 1


def _joined(text: str, pieces: list[Expanded]) -> Expanded:
    return Expanded(
        text,
        tuple(one for piece in pieces for one in piece.used),
        tuple(one for piece in pieces for one in piece.missing),
        tuple(one for piece in pieces for one in piece.wanted),
    )


def _end(text: str, at: int) -> int | None:
    """Return where the brace closes that was opened before `at`."""
    open_braces = 1
    while at < len(text):
        if text[at] == "}":
            open_braces -= 1
            if not open_braces:
                return at
        elif text.startswith("${", at):
            open_braces += 1
            at += 1
        at += 1
    return None


def _one(inside: str, variables: Mapping[str, str], depth: int) -> Expanded:
    form = _FORM.fullmatch(inside)
    if form is None or depth > _DEEPEST:
        return _wrong("what stands between ${ and } is no variable.")  # not what: it may be half of a password
    name, default = form[1] or form[2], form[3]
    known = next((spelled for spelled in spellings(name) if spelled in variables), None)
    value = None if known is None else variables[known]
    if default is not None and not value:
        otherwise = expand(default, variables, depth + 1)
        return otherwise._replace(wanted=(name, *otherwise.wanted))
    if known is None or value is None:
        return Expanded("", (), (_missing(name, is_input=form[2] is not None),), (name,))
    return Expanded(value, ((known, value),), (), (name,))


def spellings(name: str) -> tuple[str, ...]:
    """Return the variables that a name may mean. Ids of inputs may hold what no shell can set: `my-key`."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return (name,) if plain == name else (name, plain.upper(), plain)


def _wrong(reason: str) -> Expanded:
    return Expanded("", (), (Missing("", f"{reason} Write $${{ for the characters ${{."),))


_OF_EDITORS = frozenset({"workspaceFolder", "workspaceRoot", "userHome", "workspaceFolderBasename", "cwd", "file"})


def _missing(name: str, *, is_input: bool) -> Missing:
    if is_input:
        read_from = " or ".join(spellings(name)[:2])
        text = f"the input {name} is not known. Its value is read from a variable {read_from}."
        return Missing(name, text, is_input=True)
    if name in _OF_EDITORS:
        return Missing(name, f"${{{name}}} is known to an editor only. Write the folder itself.")
    return Missing(name, f"the variable {name} is not set.")
