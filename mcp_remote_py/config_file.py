"""The configuration file: TOML in, the (where, text) pairs of each option out, as `core.options.resolve` takes them.

Top-level keys, and `[profiles.NAME]` whose keys win. What a key means is decided by the option table; here it is only
found, brought into text, and, where it names a file, made relative to the folder of the configuration file.
Imported only where a file is named.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import encode
from mcp_remote_py.core.options import Given, Option

PROFILES = "profiles"
HEADERS = "headers"
NOT_INSIDE = ("config", "profile", "print_config")
"""Options that choose the file, or what to do with it."""

_RIVALS: tuple[tuple[str, ...], ...] = (
    ("transport", "http_only", "sse_only", "ws_only"),
    ("token", "bearer_file", "bearer_command", "basic", "jwt_key_env", "jwt_key_file"),
    ("basic_password_env", "basic_password_file"),
    ("client_id", "static_oauth_client_info"),
    ("client_secret", "client_secret_env", "client_secret_file"),
    ("grant", "client_credentials", "device_code"),
    ("log_level", "debug", "silent"),
    ("keep_alive", "ping_interval"),
)
"""Options that answer the same question: a profile that gives one of them is not contradicted by the keys above it."""

_FOLLOWERS = {"bearer_command": "bearer_command_", "basic": "basic_", "jwt_key_env": "jwt_", "jwt_key_file": "jwt_"}
"""What else goes where one of these goes: the options that begin so."""

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "an array"),
    (dict, "a table"),
)


class Stored(NamedTuple):
    """What the file says, what the user should hear about it, and the names of its profiles."""

    given: Given
    notes: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


class _Section(NamedTuple):
    """The top of the file, or a profile. `place` is how its keys are named to people."""

    place: str
    folder: str
    keys: Mapping[str, Any]


def read(path: str, where: str, profile: str | None, profile_where: str, table: Sequence[Option]) -> Stored:
    """Read the file that `where` (`--config`, or a variable) names, with this profile of it.

    Raises `ConfigError` that names the file, and the line or the key.
    """
    text, is_open_to_all = _text_of(path, where)
    document = _parsed(text, path)
    profiles = document.pop(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(keys, dict) for keys in profiles.values()):
        raise ConfigError(f"{path}: {PROFILES} holds tables, each written [{PROFILES}.NAME].")
    folder = os.path.dirname(path)
    shown = f"./{path}" if path.startswith("-") else path  # what begins with a dash would be taken for a flag
    given = _given(_Section(f"{shown}:", folder, document), table)
    if profile is not None:
        if profile not in profiles:
            raise ConfigError(_no_profile(profile, profile_where, path, list(profiles)))
        chosen = _given(_Section(f"{shown}: [{PROFILES}.{profile}]", folder, profiles[profile]), table)
        given = _over(given, chosen)
    notes: tuple[str, ...] = ()
    if is_open_to_all:
        secret = sorted({key for keys in (document, *profiles.values()) for key in _secret_keys(keys)})
        if secret:
            notes = (f"{shown} holds secrets ({', '.join(secret)}), and every user here can read it: chmod 600 it.",)
    return Stored(given, notes, tuple(profiles))


def _text_of(path: str, where: str) -> tuple[str, bool]:
    """Return the text, and whether everybody on this machine may read it (known on POSIX alone)."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            is_open_to_all = os.name == "posix" and bool(os.fstat(file.fileno()).st_mode & 0o004)
            return file.read(), is_open_to_all
    except OSError as error:
        raise ConfigError(f"{where} {path}: cannot be read ({error.strerror or 'unknown reason'}).") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where} {path}: cannot be read (it is not UTF-8).") from None


_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        found = _AT.search(words)
        line, column = (found.group(1), found.group(2)) if found else (None, None)
        if line is None:
            lines = text.splitlines() or [""]
            line, column = str(len(lines)), str(len(lines[-1]) + 1)
        place = f"{path}, line {line}, column {column}"
        raise ConfigError(f"{place}: this is no TOML: {_AT.sub('', words)}.{_commonest(text, line)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: its arrays or tables are nested too deeply.") from None


def _commonest(text: str, line: str) -> str:
    """The commonest mistakes: no quotes, and on Windows `"C:\\Users\\me"`, whose backslashes TOML takes for escapes."""
    at = text.splitlines()[int(line) - 1 : int(line)]
    if at and re.search(r'"[^"]*\\', at[0]):
        return r" A path with backslashes stands in single quotes: 'C:\folder\file'."
    if at and re.search(r"=\s*[A-Za-z/~]", at[0]):
        return ' Text stands in quotes: "like this".'
    return ""


def _no_profile(profile: str, where: str, path: str, known: list[str]) -> str:
    there = f"There are {', '.join(known)}." if known else f"It has none: a profile is written [{PROFILES}.NAME]."
    return f"{where}: {path} has no profile {profile!r}. {there}{options.did_you_mean(profile, known)}"


def _over(given: Given, chosen: Given) -> Given:
    """Return what the top of the file gives with the profile's keys over it."""
    gone = set(chosen)
    for rivals in _RIVALS:
        if any(name in chosen for name in rivals):
            for name in rivals:
                prefix = _FOLLOWERS.get(name)
                if prefix and name not in chosen and not any(other.startswith(prefix) for other in chosen):
                    gone |= {other for other in given if other.startswith(prefix)}
            gone |= set(rivals)
    return {name: pairs for name, pairs in given.items() if name not in gone} | chosen


# --- Keys ------------------------------------------------------------------------------------------------------------


def _given(section: _Section, table: Sequence[Option]) -> Given:
    known = {option.name: option for option in table if option.name not in NOT_INSIDE}
    given: Given = {}
    spelled: dict[str, str] = {}
    for key, content in section.keys.items():
        name = "header" if key == HEADERS else key.replace("-", "_")
        option = known.get(name)
        if option is None:
            raise ConfigError(f"{section.place} {_unknown(key, content, table)}")
        if name in spelled and HEADERS not in (key, spelled[name]):
            raise ConfigError(f"{section.place} {spelled[name]} and {key} are the same option. Keep one of them.")
        spelled[name] = key
        place = f"{section.place} {key}"
        given.setdefault(name, []).extend(
            (where, _located(text, option, section.folder)) for where, text in _pairs(option, content, place)
        )
    return given


def _unknown(key: str, content: object, table: Sequence[Option]) -> str:
    name = key.replace("-", "_")
    if name == "profile" and isinstance(content, dict):
        return f"a profile is written [{PROFILES}.NAME], not [{key}.NAME]."
    if name in NOT_INSIDE:
        return f"{key} cannot stand in the file: it is a flag (--{name.replace('_', '-')})."
    aliases = {flag.lstrip("-"): option.name for option in table for flag in option.flags}
    if key in aliases:
        return f"there is no option {key}. Did you mean {aliases[key].replace('_', '-')}?"
    keys = [HEADERS, PROFILES, *(option.name.replace("_", "-") for option in table if option.name not in NOT_INSIDE)]
    guess = options.did_you_mean(name.replace("_", "-").lower(), keys)
    if not guess and isinstance(content, dict):
        guess = f" A profile is written [{PROFILES}.{key}]."
    return f"there is no option {key}.{guess}"


def _located(text: str, option: Option, folder: str) -> str:
    """A file is meant relative to the one that names it."""
    if option.metavar != options.FILE or not text.strip():
        return text
    return os.path.join(folder, os.path.expanduser(text))


def _pairs(option: Option, content: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, dict) and option.name in _TABLES:
        for name, value in content.items():
            # in quotes, or the redactor takes what is said about `headers.X-Api-Key: ` for the key
            place = f'{where}."{name}"' if option.name == "header" else f"{where}.{name}"
            yield place, _entry(option, name, value, place)
    elif isinstance(content, list) and option.name == "bearer_command":
        yield where, shlex.join(_text(option, word, where) for word in content)
    elif isinstance(content, list) and option.repeats:
        for value in content:
            yield where, _text(option, value, where)
    else:
        yield where, _text(option, content, where)


_TABLES = ("header", "tool_timeout", "jwt_claim")
"""Options of names and values, which may be written as a table, too."""


def _entry(option: Option, name: str, value: object, where: str) -> str:
    """Return one row of a table as the flag of this option would have it."""
    if option.name == "jwt_claim":
        try:
            return f"{name}={encode(value).decode('utf-8')}"
        except (TypeError, ValueError):
            raise _wrong(where, value, "text, a number, true or false, an array or a table of these") from None
    separator = ": " if option.name == "header" else "="
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return f"{name}{separator}{value if isinstance(value, str) else _number(value)}"
    raise _wrong(where, value, "text")


def _text(option: Option, value: object, where: str) -> str:
    if option.sets is not None:
        if isinstance(value, bool):
            return "1" if value else "0"
        raise _wrong(where, value, "true or false")
    if isinstance(value, str):
        return value
    takes_numbers = option.metavar in options.NUMBERS
    if takes_numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value)
    if takes_numbers:
        raise _wrong(where, value, "text or a number")
    raise _wrong(where, value, "an array of text" if option.repeats else "text, in quotes")


def _number(value: float) -> str:
    """Spell a number without an exponent, which no flag takes."""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def _wrong(where: str, value: object, wanted: str) -> ConfigError:
    kind = next((name for types, name in _KINDS if isinstance(value, types)), "a date or a time")
    return ConfigError(f"{where}: this is {kind}. It takes {wanted}.")


# --- Secrets ---------------------------------------------------------------------------------------------------------


def _secret_keys(keys: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys whose values are secrets themselves, and do not just name a variable or a file that holds one."""
    for key, content in keys.items():
        name = key.replace("-", "_")
        texts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else [content]
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                continue
            in_header = name in ("header", HEADERS) and "${" not in text
            in_proxy = name == "proxy" and "@" in text
            if name == "token" or in_header or in_proxy:
                yield key
