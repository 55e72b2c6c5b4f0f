"""Options: one row per option, and from the rows everything else: flags, variables, values, help, and what was meant.

No I/O: the environment and the arguments come in, texts and values go out. Precedence, per option and once, at start:
flag > environment > configuration file > default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import ConfigError

Parser = Callable[[str, str], Any]
"""(text, where it came from) -> value. Raises `ConfigError` that names the place."""


NUMBERS = ("TIME", "SIZE", "N", "PORT")
"""The metavars of options that a configuration file may also give as a bare number."""
FILE = "FILE"
"""The metavar of options that name a file: relative to the folder of a configuration file that names it."""


class Option(NamedTuple):
    """One option. `flags` are its spellings; `sets` is the constant of a flag without a value; `metavar` says in the
    help what kind of value it takes, and means something where it is one of those above."""

    name: str
    flags: tuple[str, ...]
    help: str
    group: str
    parse: Parser | None = None
    default: Any = None
    variables: tuple[str, ...] = ()
    metavar: str = ""
    repeats: bool = False
    sets: Any = None
    secret: bool = False


Given = dict[str, list[tuple[str, str]]]
"""What stood in one place (the command line, or the configuration file): the (where, text) pairs of each option."""


class Level(IntEnum):
    """Where a value came from; the higher wins."""

    DEFAULT = 0
    FILE = 1
    ENVIRONMENT = 2
    FLAG = 3


class Resolved(NamedTuple):
    """The value of every option, where each came from (`--flag`, a variable's name, `default`...), and its text."""

    values: dict[str, Any]
    origins: dict[str, str]
    texts: dict[str, str]
    levels: dict[str, Level]
    below: dict[str, list[tuple[Level, str, str]]]
    """(level, where, text) of what lower levels say about an option, which counts only where its meaning is a list of
    names or adds up: of two headers with different names both are sent, and certificates of every level are trusted."""


def resolve(
    table: Sequence[Option],
    given: Mapping[str, Sequence[tuple[str, str]]],
    environ: Mapping[str, str],
    stored: Mapping[str, Sequence[tuple[str, str]]] = MappingProxyType({}),
) -> Resolved:
    """Resolve each option of the table.

    `given` maps an option's name to the (flag, text) pairs of the command line, in order; `stored` likewise to those
    of the configuration file. Raises `ConfigError`.
    """
    found = Resolved({}, {}, {}, {}, {})
    for option in table:
        said = _levels(option, given, environ, stored)
        level, pairs = said[0] if said else (Level.DEFAULT, [])
        found.below[option.name] = [(lower, where, text) for lower, pairs in said[1:] for where, text in pairs]
        found.levels[option.name] = level
        if not pairs:
            found.values[option.name], found.origins[option.name] = option.default, "default"
            continue
        if option.repeats:
            found.values[option.name] = tuple(value(option, text, where) for where, text in pairs)
        else:
            found.values[option.name] = value(option, pairs[-1][1], pairs[-1][0])
        found.origins[option.name], found.texts[option.name] = pairs[-1]
    return found


def _levels(
    option: Option,
    given: Mapping[str, Sequence[tuple[str, str]]],
    environ: Mapping[str, str],
    stored: Mapping[str, Sequence[tuple[str, str]]],
) -> list[tuple[Level, list[tuple[str, str]]]]:
    """Return the (where, text) pairs of each level that says something about this option, the highest first."""
    found: list[tuple[Level, list[tuple[str, str]]]] = []
    if given.get(option.name):
        found.append((Level.FLAG, list(given[option.name])))
    name = next((name for name in option.variables if environ.get(name)), None)
    if name is not None:
        text = environ[name]
        lines = [line for line in text.splitlines() if line.strip()] if option.repeats else [text]
        found.append((Level.ENVIRONMENT, [(name, line) for line in lines]))
    if stored.get(option.name):
        found.append((Level.FILE, list(stored[option.name])))
    return found


def value(option: Option, text: str, where: str) -> Any:
    """Return the value that this text gives the option. A flag without value gives its constant."""
    if option.sets is not None:
        return option.sets if where.startswith("-") or truth(text, where) else option.default
    return option.parse(text, where) if option.parse else text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean X?`, or nothing."""
    spelled = {other.lower(): other for other in known}
    close = difflib.get_close_matches(word.lower(), list(spelled), n=1, cutoff=0.6)
    return f" Did you mean {spelled[close[0]]}?" if close else ""


def misspelt(table: Sequence[Option], prefix: str, environ: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a sentence for each name of a variable that begins with the prefix, but is none of the table's or `known`.

    An option that has no variable is told so; a name that is right says nothing, whatever its value.
    """
    ours = {name for option in table for name in option.variables} | set(known)
    others = {f"{prefix}{option.name.upper()}": (*option.variables, *option.flags)[0] for option in table}
    found: list[str] = []
    for name in sorted(environ):
        if not name.startswith(prefix) or name in ours:
            continue
        if name in others:
            found.append(f"{name} is not read: this option has no variable of that name. Use {others[name]}.")
            continue
        guess = did_you_mean(name, [other for other in ours if other.startswith(prefix)])
        found.append(f"{name} is not a variable of this program, so it does nothing.{guess}")
    return found


def variable(name: str, where: str, environ: Mapping[str, str]) -> str:
    """Return the value of the variable that an option names. Raises `ConfigError`, without what may be a secret."""
    if name in environ:
        return environ[name]
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ConfigError(
            f'{where}: this is no name of a variable. Put the secret into a variable in "env", and write the name of '
            "that variable here."
        )
    raise ConfigError(f'{where}: the variable {name} is not set. Add it to the "env" of this server\'s entry.')


def unexpanded(path: str) -> str:
    """Return a sentence for a path with a variable in it, which nobody replaces; empty for any other."""
    has_variable = re.search(r"\$\{|\$\w|%\w+%", path) is not None
    return " Variables are not replaced in a path: write it in full." if has_variable else ""


def one_of(*words: str) -> Parser:
    """Return a parser of one word out of these, in whatever case."""
    spelled = {word.lower(): word for word in words}

    def parse(text: str, where: str) -> str:
        word = spelled.get(text.strip().lower())
        if word is not None:
            return word
        raise ConfigError(f"{where}: {text!r} is none of {', '.join(words)}.{did_you_mean(text, words)}")

    return parse


LEVELS = ("debug", "info", "warning", "error")
_THEIR_LEVELS = {"warn": "warning", "critical": "error", "none": "error"}


def log_level(text: str, where: str) -> str:
    """Parse a log level. Those of mcp-proxy and supergateway that we do not have mean the nearest of ours."""
    word = text.strip().lower()
    return _THEIR_LEVELS.get(word) or one_of(*LEVELS)(text, where)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|m|h|d)?")


def seconds(text: str, where: str) -> float | None:
    """Parse a duration: `250ms`, `30s`, `2m`, `1h`, or bare seconds. 0 and `off` switch the limit off (None)."""
    if text.strip().lower() == "off":
        return None
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(f"{where}: {text!r} is no duration. Write for example 250ms, 30s or 2m.")
    return float(match.group(1)) * _UNITS[match.group(2) or "s"] or None


def positive_seconds(text: str, where: str) -> float:
    """Parse a duration that cannot be switched off."""
    value = seconds(text, where)
    if value is None:
        raise ConfigError(f"{where}: {text!r} is no duration above 0. Write for example 5m.")
    return value


def named_seconds(text: str, where: str) -> tuple[str, float | None]:
    """Parse `NAME=5m`."""
    name, equals, duration = text.rpartition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{where}: {text!r} is not written NAME=TIME, for example search=5m.")
    return name.strip(), seconds(duration, where)


def origin(text: str, where: str) -> str:
    """Parse an origin, `https://host` or `https://host:port`."""
    from mcp_remote_py.core.http.origins import origin_of

    try:
        scheme, host, port = origin_of(text.strip())
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no origin. Write for example https://mcp.example.com") from None
    if text.strip().rstrip("/").count("/") != 2 or "@" in text:
        raise ConfigError(f"{where}: an origin has a scheme, a host and perhaps a port, nothing more.")
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


_SIZE = re.compile(r"([0-9]{1,15})\s*(|b|k|kb|kib|m|mb|mib|g|gb|gib)")
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def size(text: str, where: str) -> int:
    """Parse a size in bytes: `65536`, `64KiB`, `64MiB`, `1GiB` (k, m, g alone mean the same)."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or int(match.group(1)) == 0:
        raise ConfigError(f"{where}: {text!r} is no size. Write for example 64MiB.")
    return int(match.group(1)) * _SIZES[match.group(2).rstrip("ib")]


def pattern(text: str, where: str) -> str:
    """Parse a pattern of names, which is any text but none."""
    if not text.strip():
        raise ConfigError(f"{where}: the pattern is empty. Write for example delete_*")
    return text.strip()


def count(text: str, where: str) -> int:
    """Parse a whole number of at least 1."""
    if re.fullmatch(r"[0-9]{1,15}", text.strip()) is None or int(text) < 1:
        raise ConfigError(f"{where}: {text!r} is no whole number of at least 1.")
    return int(text)


def depth(text: str, where: str) -> int:
    """Parse a number of levels; beyond 800 Python itself gives up."""
    levels = count(text, where)
    if levels > 800:
        raise ConfigError(f"{where}: {text!r} is more than 800 levels.")
    return levels


def truth(text: str, where: str) -> bool:
    """Parse a yes or no of a variable."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{where}: {text!r} is neither yes nor no. Write 1 or 0.")


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that `expand` would ask for."""
    return _VARIABLE.findall(text)


def expand(text: str, where: str, environ: Mapping[str, str]) -> str:
    """Return the text with each `${VAR}` replaced. Raises `ConfigError` for a variable that is not set."""

    def lookup(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in environ:
            raise ConfigError(f'{where}: the variable {name} is not set. Add it to the "env" of this server\'s entry.')
        return environ[name]

    return _VARIABLE.sub(lookup, text)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header(text: str, where: str) -> tuple[str, str]:
    """Parse `Name: value` (RFC 9110 section 5). Raises `ConfigError`, without the value in its text."""
    name, colon, content = text.partition(":")
    name, content = name.strip(), content.strip()
    if not colon or not name:
        raise ConfigError(f'{where}: a header is written "Name: value".')
    if not _TOKEN.fullmatch(name):
        if name.partition(" ")[0].lower() in ("bearer", "basic", "token"):  # what follows is no name, but a secret
            raise ConfigError(f'{where}: the name is missing. Write "Authorization: {name.partition(" ")[0]} ...".')
        raise ConfigError(f"{where}: {name!r} is no header name.")
    if any((ord(character) < 32 and character != "\t") or ord(character) in range(127, 160) for character in content):
        raise ConfigError(f"{where}: the value of {name} has a control character or a line end in it.")
    if any(ord(character) > 255 for character in content):
        raise ConfigError(f"{where}: the value of {name} has a character that no header can carry.")
    return name, content


def header_lines(text: str, where: str, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Parse a header file: one `Name: value` per line, blank lines and lines that begin with `#` are skipped."""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            place = f"{where}, line {number}"
            found.append(header(expand(line, place, environ), place))
    return found
