"""`--print-config`: every option, its value and where it came from, as TOML that could be a configuration file.

Secrets are masked. Imported only when it was asked for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from mcp_remote_py.config_file import NOT_INSIDE
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http import proxies
from mcp_remote_py.core.message import encode
from mcp_remote_py.core.options import Level, Option, Resolved
from mcp_remote_py.core.redact import MASK, Redactor
from mcp_remote_py.core.secret_places import is_secret_name
from mcp_remote_py.settings import Settings


def show(stream: TextIO, table: Sequence[Option], resolved: Resolved, make: Callable[[], Settings]) -> None:
    """Write the page. `make` gives the settings that come of it, or raises `ConfigError`, which goes on from here once
    the options are written: they are what helps to find out why. No URL is no error here."""
    if not resolved.values["url"]:
        stream.write(_options(table, resolved, Redactor()))
        stream.write("\n# There is no URL, without which nothing can be carried.\n")
        return
    try:
        settings = make()
    except ConfigError:
        stream.write(_options(table, resolved, Redactor()))
        raise
    redactor = Redactor()
    for secret in settings.secrets:
        redactor.add(secret)
    stream.write(_options(table, resolved, redactor))
    stream.write("".join(f"# {line}\n" if line else "#\n" for line in _result(settings, redactor)))


def _options(table: Sequence[Option], resolved: Resolved, redactor: Redactor) -> str:
    lines = ["# Every option of mcp-remote-py, its value, and where it came from. Secrets are masked."]
    group = ""
    for option in table:
        if option.group != group:
            group = option.group
            lines += ["", f"# --- {group}"]
        lines.append(_line(option, resolved, redactor))
    return "\n".join(lines) + "\n"


def _line(option: Option, resolved: Resolved, redactor: Redactor) -> str:
    key = option.name.replace("_", "-")
    value, origin = resolved.values[option.name], resolved.origins[option.name]
    is_given = resolved.levels[option.name] is not Level.DEFAULT
    if value is None and not (is_given and option.metavar == "TIME"):
        return f"# {key} is not set  # from {origin}"
    # some choose the file, so they cannot stand in it; some say how a JWT is made, which without a key is an error
    hidden = "# " if option.name in NOT_INSIDE or (option.name.startswith("jwt_") and not is_given) else ""
    return f"{hidden}{key} = {_toml(_plain(option, value), redactor)}  # from {_one_line(origin)}"


def _plain(option: Option, value: Any) -> Any:
    """Return the value as the option would be written, without secrets."""
    if option.repeats:
        return [_plain(option._replace(repeats=False), item) for item in value or ()]
    if option.metavar == "TIME":
        return _duration(value)
    if option.metavar == "NAME=TIME":
        return f"{value[0]}={_duration(value[1])}"
    if option.metavar == "COMMAND":
        return shlex.join(_without_values(value))
    if option.metavar == "VAR":
        return value if re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) else MASK  # the secret itself, by mistake
    if option.name == "basic":
        user, colon, _ = value.partition(":")
        return f"{user}:{MASK}" if colon else value
    if option.name == "header":
        name, colon, _ = value.strip().partition(":")
        return f"{name.strip()}: {MASK}" if colon and " " not in name.strip() else MASK
    if option.name == "url":
        return without_secrets(value)
    if option.name == "proxy":
        return value if value in ("none", "system") else without_secrets(value)
    return MASK if option.secret else value


def _without_values(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command; of `--client-secret X`, `--token=X` and the like, the value is masked."""
    follows = False
    for word in words:
        name, equals, _ = word.partition("=")
        is_secret = word.startswith("-") and is_secret_name(name.lstrip("-"))
        yield MASK if follows and not word.startswith("-") else f"{name}={MASK}" if is_secret and equals else word
        follows = is_secret and not equals


def _duration(seconds: float | None) -> str:
    """With a unit, as a bare number may be read as milliseconds."""
    if seconds is None:
        return "0s"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def without_secrets(url: str) -> str:
    """Return a URL with what may be secret masked: user name and password, and the values of its query."""
    head, _, fragment = url.partition("#")
    head, mark, query = head.partition("?")
    scheme, separator, rest = head.rpartition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    if mark:
        query = "&".join(_masked(pair) for pair in query.split("&"))
    return f"{scheme}{separator}{authority}{slash}{path}{mark}{query}" + (f"#{MASK}" if fragment else "")


def _masked(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals else MASK


def _toml(value: Any, redactor: Redactor) -> str:
    """Spell a value as TOML. JSON's strings are TOML's, but for the delete character."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item, redactor) for item in value) + "]"
    if isinstance(value, str):
        readable = redactor.scrub(value).encode("utf-8", "backslashreplace").decode("utf-8")
        return encode(readable).decode("utf-8").replace("\x7f", "\\u007f")
    return str(value)


def _one_line(text: str) -> str:
    """A comment cannot hold control characters."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "?", text)


# --- What comes of it ------------------------------------------------------------------------------------------------


def _result(settings: Settings, redactor: Redactor) -> list[str]:
    target, tls, network = settings.target, settings.tls, settings.network
    lines = [
        "",
        "--- what comes of it",
        f"URL: {without_secrets(target.url)}",
        f"transport: {settings.strategy}" + (", token in the first message" if target.ws_auth == "message" else ""),
        f"headers: {_header_names(settings)}",
        "certificates: the operating system's store",
        *(f"certificates: {file.where} {file.path}" for file in tls.trusted),
        *(f"certificates: {file.where} {file.path} CANNOT BE USED" for file in tls.missing),
        *(f"certificates: NOT VERIFIED for {host}" for host in tls.insecure),
        f"proxy: {_proxy(settings)}",
        *(f"proxy variable: {_variable(name, text)}" for name, text in network.variables),
        f"log level: {settings.logging.level}",
        *(f"note: {note}" for note in settings.notes),
    ]
    return [_one_line(redactor.scrub(part)) for line in lines for part in line.split("\n")]


def _header_names(settings: Settings) -> str:
    credentials = settings.credentials
    names = [name for name, _ in credentials.headers]
    if credentials.authorization is not None:
        names.append("Authorization (made anew where it changes)")
    if credentials.header_file is not None:
        names.append(f"those in {credentials.header_file.path}")
    return ", ".join(names) or "none"


def _proxy(settings: Settings) -> str:
    network = settings.network
    try:
        route = proxies.choose(settings.target.url, network.proxy, dict(network.variables))
    except proxies.BadProxy as bad:
        return f"{bad}. {bad.hint}"
    if route.proxy is not None:
        return f"{route.proxy.place} ({route.why})"
    if route.why == proxies.UNNAMED:
        return "the operating system's setting, as no variable names one"
    return f"none ({route.why})"


def _variable(name: str, text: str) -> str:
    return f"{name.upper()}_PROXY={text if name == 'no' else without_secrets(text)}"
