"""`setup-env`: asks for the variables that the configuration file needs and nobody has set, and writes `.env` files.

What is typed for a secret is not shown. Files get mode 0600; their other lines and comments stay.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence

from mcp_remote_py.core.errors import ConfigError
from server_stub import config_file, registry, wanted_variables
from server_stub.commands import words as shared
from server_stub.commands.words import Command, Words, show, switch, tell
from server_stub.core.env_text import assign
from server_stub.wanted_variables import Wanted

COMMAND = Command(
    "setup-env",
    "[options]",
    "Asks for the variables that the configuration file needs and nobody has set, and writes them into .env files.",
    (
        switch("--per-server", shared.OUTPUT, "into NAME.env of each server, not into the .env of all"),
        switch("--non-interactive", shared.OUTPUT, "ask nothing, only list what is missing"),
        shared.DRY_RUN,
        shared.CONFIG,
    ),
    "0 all are set, 1 some are missing, 2 the words or the file are wrong",
)
_PATIENCE = 3
_BEGINNINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("GITHUB", ("ghp_", "gho_", "ghs_", "ghu_", "github_pat_")),
    ("GITLAB", ("glpat-",)),
    ("NOTION", ("ntn_", "secret_")),
    ("ANTHROPIC", ("sk-ant-",)),
    ("OPENAI", ("sk-",)),
    ("SLACK", ("xox", "xapp-")),
)
"""How tokens of these services begin, at the time of writing: worth a hint, never a refusal."""


class _GivenUp(Exception):
    """Whoever was asked does not answer."""


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask and write. Returns the exit code. Raises `ConfigError`."""
    words = shared.read(COMMAND, arguments[1:], environ)
    if words is None:
        return 0
    shared.no_names(COMMAND, words)
    path = shared.config_of(words)
    text = config_file.read_text(path)
    per_server: bool = words.values["per_server"]
    open_ones = _once(wanted_variables.missing(text, path, environ), per_server=per_server)
    if not open_ones:
        tell(f"{path}: every variable that it needs is set.")
        return 0
    if words.values["non_interactive"]:
        show("".join(f"{one.name}\n" for one in _once(open_ones, per_server=False)))
        tell(f"{path}: {len(open_ones)} {'variable is' if len(open_ones) == 1 else 'variables are'} not set.")
        return 1
    return _ask_and_write(path, text, open_ones, words)


def _ask_and_write(path: str, text: str, open_ones: Sequence[Wanted], words: Words) -> int:
    files: dict[str, dict[str, str]] = {}
    try:
        for one in open_ones:
            file = _file_for(one, path, text, per_server=words.values["per_server"])
            if config_file.may_be_planted(file, path):
                raise ConfigError(f"{file}: belongs to somebody else, in a folder for all: no secret is written there.")
            files.setdefault(file, {})[one.name] = _answer(one, file)
    except (_GivenUp, EOFError, KeyboardInterrupt):
        tell("\nStopped: nothing was written.")
        return 1
    for file, values in files.items():
        if not words.values["dry_run"]:
            _write(file, values)
        tell(f"{file}: {'would get' if words.values['dry_run'] else 'has'} {', '.join(values)} (mode 0600).")
    return 0


def _once(found: Sequence[Wanted], *, per_server: bool) -> list[Wanted]:
    """Return each variable once: for each server, or for all of them. What any of them calls secret is secret."""
    kept: dict[tuple[str, str | None], Wanted] = {}
    for one in found:
        key = (one.name, one.member if per_server else None)
        before = kept.get(key)
        kept[key] = one if before is None else before._replace(is_secret=before.is_secret or one.is_secret)
    return list(kept.values())


def _file_for(one: Wanted, path: str, text: str, *, per_server: bool) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    if not per_server or one.member is None:
        return os.path.join(folder, config_file.SHARED)
    files = wanted_variables.files_of(one.member, text, path)
    if not files:
        raise ConfigError(f"{path}: {one.member} cannot have a .env file of its own. Leave --per-server out.")
    return os.path.join(folder, os.path.expanduser(files[0]))


# --- Asking ----------------------------------------------------------------------------------------------------------


def _answer(one: Wanted, file: str) -> str:
    """Ask until there is an answer that can be used. Raises `_GivenUp`."""
    whom = f" for {one.member}" if one.member else ""
    about = f" ({one.about})" if one.about else ""
    proposed = f" [{one.proposed}]" if one.proposed and not one.is_secret else ""
    for _ in range(_PATIENCE):
        value = _typed(f"{one.name}{whom}{about}{proposed}: ", hidden=one.is_secret).strip() or one.proposed
        wrong = _unusable(value)
        if wrong is None:
            _hint(one.name, value)
            return value
        tell(f"{one.name}: {wrong}")
    tell(f"{file}: no value for {one.name} after {_PATIENCE} questions.")
    raise _GivenUp


def _typed(question: str, *, hidden: bool) -> str:
    if hidden and sys.stdin.isatty():
        import getpass

        return getpass.getpass(question, stream=sys.stderr)
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _unusable(value: str) -> str | None:
    if not value:
        return "it may not be empty."
    if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        return "it holds a control character. Was it pasted with something else?"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "it holds bytes that are no UTF-8."
    return None


def _hint(name: str, value: str) -> None:
    for service, beginnings in _BEGINNINGS:
        if service in name.upper() and not value.startswith(beginnings):
            tell(f"{name}: tokens of this service begin with {' or '.join(beginnings)}. It is taken as it is.")
            return


def _write(file: str, values: Mapping[str, str]) -> None:
    """Set the variables in the file. Raises `ConfigError`."""
    try:
        with registry.edited_alone(file):
            before = ""
            if os.path.exists(file):
                with open(file, encoding="utf-8", newline="") as opened:
                    before = opened.read()
            registry.replace(file, assign(before, values).encode(), private=True)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror or 'the system refuses'}).") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: this is not UTF-8. Save the file as UTF-8.") from None
