"""A new member from the words of `add`: its entry in the file, and the secrets that are kept beside the file.

A secret's value never goes into the configuration: the file gets `${NAME}`, and the value stands in the server's own
`.env` file. Decides; reads and writes nothing.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.secret_places import HEADERS, is_secret_name
from server_stub.commands.words import Words

TOKEN = "MCP_PROXY_TOKEN"  # noqa: S105 - the name of a variable, as seed 002 has it
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class NewMember(NamedTuple):
    """What is added."""

    name: str
    entry: dict[str, Any]
    secrets: dict[str, str]
    """Variables for the server's own `.env` file."""

    def __repr__(self) -> str:
        return f"NewMember({self.name!r}, {len(self.secrets)} secrets)"


def new_member(words: Words) -> NewMember:
    """Return what the words ask for. Raises `ConfigError`."""
    values, secrets = words.values, dict[str, str]()
    service, port = values["service"], values["port"]
    name = _name(words, service)
    url = values["url"]
    if (service is None) != (port is None):
        raise ConfigError("add: --service and --port belong together: --service NAME --port N")
    if service is not None:
        if _SERVICE.fullmatch(service) is None:
            raise ConfigError(f"--service: {service!r} is no name of a service: letters, digits, - _ .")
        url = f"http://mcp-{service}-bridge:{port}/{service}/sse"
    ways = [("a command behind --", words.behind), ("--shell", values["shell"]), ("--url", url)]
    chosen = [way for way, value in ways if value]
    if len(chosen) != 1:
        what = f"{' and '.join(chosen)} were given" if chosen else "What it runs is missing"
        raise ConfigError(
            f"add: {what}: give exactly one of `-- CMD ARGS...`, --shell, --url (or --service with --port)."
        )
    entry = _remote(name, url, words, secrets) if url else _local(words, secrets)
    return NewMember(name, entry, secrets)


def _name(words: Words, service: str | None) -> str:
    names = [*words.plain, *([service] if service else [])]
    if len(words.plain) > 1:
        hint = "An address stands behind --url." if "://" in words.plain[1] else "The command stands behind `--`."
        raise ConfigError(f"add: {words.plain[1]!r} was not expected here. {hint}")
    if not names:
        raise ConfigError("add: A name is missing. Type: mcp-remote-server add NAME -- CMD ARGS...")
    return names[0]


def _local(words: Words, secrets: dict[str, str]) -> dict[str, Any]:
    values = words.values
    for flag in ("type", "header"):
        if values[flag]:
            raise ConfigError(f"add: --{flag} belongs to --url.")
    entry: dict[str, Any] = {}
    if words.behind:
        entry["command"] = words.behind[0]
        entry["args"] = list(words.behind[1:])
        if not entry["args"]:
            del entry["args"]
    else:
        entry["shell"] = values["shell"]
    env: dict[str, str] = {}
    for key, value in values["env"]:
        if value is None or _is_reference(value):
            env[key] = value or f"${{{key}}}"
        elif is_secret_name(key) and value:
            env[key] = f"${{{key}}}"
            secrets[key] = _storable(value, f"--env {key}")
        else:
            env[key] = value
    if env:
        entry["env"] = env
    if values["cwd"]:
        entry["cwd"] = values["cwd"]
    if values["add_auth"]:
        entry["options"] = {"authTokens": [f"${{{values['auth_env']}}}"]}
    return entry


def _remote(name: str, url: str, words: Words, secrets: dict[str, str]) -> dict[str, Any]:
    values = words.values
    for flag in ("env", "cwd"):
        if values[flag]:
            raise ConfigError(f"add: --{flag} belongs to a command, not to --url.")
    entry: dict[str, Any] = {"url": url}
    wire = values["type"] or ("sse" if values["service"] else None)
    if wire:
        entry = {"type": wire, **entry}
    headers: dict[str, str] = {}
    for header, value in values["header"]:
        headers[header] = value
        if (header.lower() in HEADERS or is_secret_name(header)) and not _is_reference(value):
            variable = re.sub(r"\W", "_", f"{name}_{header}", flags=re.ASCII).upper()
            variable = f"_{variable}" if variable[0].isdigit() else variable
            scheme, blank, secret = value.partition(" ")
            scheme, secret = (scheme + blank, secret) if blank else ("", value)
            secrets[variable] = _storable(secret, f"--header {header}")
            headers[header] = f"{scheme}${{{variable}}}"
    if values["add_auth"]:
        if any(header.lower() == "authorization" for header in headers):
            raise ConfigError("add: --add-auth and --header Authorization say the same. Keep one of them.")
        headers["Authorization"] = f"Bearer ${{{values['auth_env']}}}"
    if headers:
        entry["headers"] = headers
    return entry


def _is_reference(value: str) -> bool:
    return "${" in value


def _storable(value: str, where: str) -> str:
    if re.search(r"[\x00-\x1f\x7f-\x9f]", value):
        raise ConfigError(f"{where}: its value holds a control character.")
    return value


def env_pair(text: str, where: str) -> tuple[str, str | None]:
    """Parse `KEY=VALUE`, or `KEY` alone: the value that the server finds in a variable of this name."""
    name, equals, value = text.partition("=")
    if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is None:
        raise ConfigError(f"{where}: {name[:40]!r} is no name of a variable. Write KEY=VALUE, or KEY alone.")
    return name, value if equals else None


def header_pair(text: str, where: str) -> tuple[str, str]:
    """Parse `Name: value`."""
    name, colon, value = text.partition(":")
    if not colon or re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name.strip()) is None or not value.strip():
        raise ConfigError(f"{where}: {name[:40]!r} is not written 'Name: value'.")
    return name.strip(), value.strip()


def variable_name(text: str, where: str) -> str:
    """Parse the name of a variable. What is none may be the secret itself, so it is not repeated."""
    if re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is None:
        raise ConfigError(f"{where}: this is no name of a variable. Write one such as MY_TOKEN, without a $.")
    return text


def port(text: str, where: str) -> int:
    """Parse a port that can be reached."""
    if not re.fullmatch(r"[0-9]{1,5}", text.strip(), re.ASCII) or not 0 < int(text) < 65536:
        raise ConfigError(f"{where}: {text[:40]!r} is no port. Write a number from 1 to 65535.")
    return int(text)
