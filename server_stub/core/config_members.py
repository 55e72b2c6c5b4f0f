"""Members of a configuration file: one entry of `mcpServers` in, one `Member` out. Pure; findings go to the notes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from mcp_remote_py.core.secret_places import is_secret_name
from server_stub.core import addressing, config_keys
from server_stub.core.access import origin_of
from server_stub.core.config_keys import PLACES
from server_stub.core.config_layout import Listed
from server_stub.core.config_objects import Given, Notes, Reader
from server_stub.core.relaxed_json import Entry, Object
from server_stub.core.roster import Care, Command, Manners, Member, Remote, RemoteWire

Keys = Mapping[str, Given]


class Inherited(NamedTuple):
    """What the head gives to every server."""

    options: Keys = MappingProxyType({})
    global_tokens: tuple[str, ...] = ()
    """Tokens of a head of version 1: they count besides a server's own."""
    allow: tuple[str, ...] | None = None
    block: tuple[str, ...] = ()


def read_member(listed: Listed, reader: Reader, own: Mapping[str, str], inherited: Inherited) -> Member:
    """Return the server. `own`: the variables of its own `.env` files. What is wrong with it is noted."""
    name = listed.entry.name
    _check_name(listed, reader.notes)
    reader = reader._replace(is_off=_is_off(listed.entry))
    keys = _keys(listed, reader)
    options = dict(inherited.options)
    if "options" in keys:
        given = keys["options"]
        options |= reader.read(given.value, PLACES["options"], given.path)
    options |= {key: given for key, given in keys.items() if key in OPTION_NAMES}
    what: Command | Remote = Command()
    if isinstance(listed.entry.node.value, Object):
        what = _what(keys, options, own, _Judge(listed, reader))
    manners = _manners(keys, options, inherited, listed, reader)
    return Member(name, what, manners, enabled=not reader.is_off)


OPTION_NAMES = frozenset(key.name for key in PLACES["options"].keys)


class _Judge(NamedTuple):
    """Notes what is wrong with one server as a whole."""

    listed: Listed
    reader: Reader

    def error(self, text: str, given: Given | None = None) -> None:
        line = self.listed.entry.line if given is None else given.entry.line
        path = self.listed.path if given is None else given.path
        self.reader.notes.error(line, path, text, self.listed.entry.name)


def _check_name(listed: Listed, notes: Notes) -> None:
    name, line = listed.entry.name, listed.entry.line
    if listed.unfit:
        notes.error(line, listed.path, listed.unfit, name)
    elif name in addressing.RESERVED:
        text = f"/{name} means something else here: this server is reached under /servers/{name}/ only."
        notes.warning(line, listed.path, text, name)


def _is_off(entry: Entry) -> bool:
    if not isinstance(entry.node.value, Object):
        return False
    disabled, enabled = entry.node.value.last("disabled"), entry.node.value.last("enabled")
    return (disabled is not None and disabled.node.value is True) or (
        enabled is not None and enabled.node.value is False
    )


def _keys(listed: Listed, reader: Reader) -> dict[str, Given]:
    """Return what the keys of a server say; in files of version 1 half of them stand in `config`."""
    keys = reader.read(listed.entry.node, PLACES[listed.place], listed.path)
    if "config" in keys:
        inner = keys.pop("config")
        keys |= reader.read(inner.value, PLACES["config"], inner.path)
    if "disabled" in keys and "enabled" in keys and keys["disabled"].value == keys["enabled"].value:
        _Judge(listed, reader).error("disabled and enabled contradict each other. Keep one.", keys["enabled"])
    return keys


# --- A command, or a remote server -----------------------------------------------------------------------------------


def _what(keys: Keys, options: Keys, own: Mapping[str, str], judge: _Judge) -> Command | Remote:
    local, remote = _first(keys, "command", "shell"), keys.get("url")
    if local is not None and local.value is False:
        local = keys.get("command")
    wire = keys["type"].value if "type" in keys else None
    if local is not None and remote is not None:
        judge.error(f"{local.entry.name} and {remote.entry.name} cannot both be. Keep one.", remote)
    elif local is not None and wire not in (None, "stdio"):
        judge.error(f"a {wire} server has a url. Leave {keys['type'].entry.name} out for a command.", keys["type"])
    elif remote is not None and wire == "stdio":
        judge.error("a stdio server has a command, not a url.", keys["type"])
    elif local is not None:
        return _command(keys, options, own, judge)
    elif remote is not None:
        return _remote(keys, remote, judge)
    elif not _noted(judge, "command", "shell", "url", "serverUrl", "httpUrl", "config"):
        judge.error(
            'it has neither a command nor a url. Write "command": "npx", "args": [...] or "url": "https://...".'
        )
    return Command()


def _first(keys: Keys, *names: str) -> Given | None:
    return next((keys[name] for name in names if name in keys), None)


def _noted(judge: _Judge, *names: str) -> bool:
    """Whether one of these keys is there, or was meant, so that what is wrong with it is noted already."""
    place = PLACES[judge.listed.place]
    entries: Object = judge.listed.entry.node.value
    given = [entry.name for entry in entries if entry.node.value is not None]
    return any(name in names or config_keys.nearest(name, place) in names for name in given)


def _command(keys: Keys, options: Keys, own: Mapping[str, str], judge: _Judge) -> Command:
    if "headers" in keys:
        judge.error("a command has no headers: those are for a url.", keys["headers"])
    notes = judge.reader.notes
    env = {name: value for name, value in own.items() if name not in notes.token_variables}
    env |= dict(keys["env"].value) if "env" in keys else {}
    for variable, value in env.items():
        notes.keep_secret(variable, value)
    words, line = _words(keys, judge)
    for name, value in _secrets_among(words or tuple((line or "").split())):
        notes.keep_secret(name, value)
    cwd = keys["cwd"].value if "cwd" in keys else None
    passes = bool(options["passEnvironment"].value) if "passEnvironment" in options else None
    return Command(words, line, tuple(sorted(env.items())), cwd, passes)


def _words(keys: Keys, judge: _Judge) -> tuple[tuple[str, ...], str | None]:
    """Return the words of a command, or the line for the shell."""
    command = keys["command"].value if "command" in keys else ()
    arguments = keys["args"].value if "args" in keys else ()
    shell = keys["shell"].value if "shell" in keys else False
    if shell is False:
        return (*command, *arguments), None
    if arguments:
        judge.error("with shell, the arguments stand in the line itself.", keys["args"])
    if shell is True:
        if len(command) != 1:
            judge.error('with "shell": true, command is the whole line, as text.', keys["shell"])
        return (), command[0] if command else None
    if command:
        judge.error('command and shell are both there. Keep one, or write "shell": true.', keys["shell"])
    return (), shell


_PAIR = re.compile(r"-*([\w.\-]+)\s*[=:]\s*(\S.*)", re.DOTALL)


def _secrets_among(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (name, value) of arguments whose names say that they are secrets: `--token X`, `-e KEY=X`, `X-Key: X`."""
    found: list[tuple[str, str]] = []
    for word, following in pairwise((*words, "")):
        pair = _PAIR.fullmatch(word)
        if pair is not None and is_secret_name(pair[1]):
            found += [(pair[1], pair[2]), (pair[1], pair[2].rpartition(" ")[2])]
        elif word.startswith("--") and is_secret_name(word.lstrip("-")) and not following.startswith("-"):
            found.append((word, following))
    return found


_WIRES: dict[str, RemoteWire] = {"http": "http", "https": "http", "ws": "ws", "wss": "ws"}


def _remote(keys: Keys, remote: Given, judge: _Judge) -> Remote:
    for name in ("args", "env", "cwd"):
        if name in keys and keys[name].value:
            judge.error(f"a server with a url has no {name}: somebody else starts it.", keys[name])
    headers = keys["headers"].value if "headers" in keys else ()
    for name, value in headers:
        judge.reader.notes.keep_secret(name, value)
        judge.reader.notes.keep_secret("token", value.rpartition(" ")[2])
    url = remote.value.strip()
    wire: RemoteWire = "http" if remote.entry.name == "httpUrl" else "auto"
    wire = keys["type"].value if "type" in keys else wire
    try:
        parts = urlsplit(url)
        fits = bool(parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"\s", url)
    except ValueError:
        parts, fits = urlsplit(""), False
    if parts.scheme.lower() not in _WIRES or not fits:
        judge.error("this is no address. Write for example https://mcp.example.com/mcp", remote)
        return Remote("")
    for name, value in (("password", parts.password or ""), *parse_qsl(parts.query)):
        if is_secret_name(name):
            judge.reader.notes.keep_secret(name, value)
    if _WIRES[parts.scheme.lower()] == "ws":
        if wire not in ("auto", "ws"):
            judge.error(f"a {wire} server has an address with http:// or https://, not {parts.scheme}://.", remote)
        wire = "ws"
    return Remote(url, wire, headers)


# --- Manners ---------------------------------------------------------------------------------------------------------


def _manners(keys: Keys, options: Keys, inherited: Inherited, listed: Listed, reader: Reader) -> Manners:
    own_options = {key: given for key, given in options.items() if given is not inherited.options.get(key)}
    tokens = own_options["authTokens"].value if "authTokens" in own_options else None
    for token in tokens or ():
        reader.notes.keep_secret("token", token)
    if tokens is not None:
        tokens = tuple(dict.fromkeys((*tokens, *inherited.global_tokens)))
    allow, block = inherited.allow, inherited.block
    if "toolFilter" in own_options:
        allow, block = read_filter(own_options["toolFilter"], reader)
    if "enabledTools" in keys:
        if "toolFilter" in own_options:
            _Judge(listed, reader).error("enabledTools and toolFilter are both there. Keep one.", keys["enabledTools"])
        allow = keys["enabledTools"].value
    block += keys["disabledTools"].value if "disabledTools" in keys else ()
    cors = read_origins(own_options.get("cors"), reader)
    plain = Manners()

    def of(name: str, default: Any) -> Any:
        return options[name].value if name in options else default

    return Manners(
        log=of("logEnabled", plain.log),
        panic_if_invalid=of("panicIfInvalid", plain.panic_if_invalid),
        tokens=tokens,
        allow=allow,
        block=tuple(dict.fromkeys(block)),
        names=of("normalizeNames", plain.names),
        cors_origins=cors,
        share=of("share", plain.share),
        start=of("start", plain.start),
        care=_care(of),
    )


def _care(of: Any) -> Care:
    plain = Care()
    return Care(
        initialize=of("initializeTimeout", plain.initialize),
        ping_every=of("pingInterval", plain.ping_every),
        ping_failures=of("pingFailures", plain.ping_failures),
        restarts=of("maxRestarts", plain.restarts),
        window=of("restartWindow", plain.window),
        idle=of("idleTimeout", plain.idle),
        memory=of("memoryLimit", plain.memory),
    )


def read_filter(given: Given, reader: Reader) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return what a `toolFilter` allows (None: all) and blocks."""
    keys = reader.read(given.value, PLACES["toolFilter"], given.path)
    mode = keys["mode"].value if "mode" in keys else None
    names = keys["list"].value if "list" in keys else ()
    wrong = ""
    if {"allow", "block"} & set(keys):
        wrong = "mode and list say the same as allow and block. Keep either." if {"mode", "list"} & set(keys) else ""
        allow: tuple[str, ...] | None = keys["allow"].value if "allow" in keys else None
        block: tuple[str, ...] = keys["block"].value if "block" in keys else ()
    else:
        if mode is None and names:
            wrong = 'mode is missing: "allow" or "block".'
        elif mode == "allow" and "list" not in keys:
            wrong = "list is missing: the tools to offer."
        allow, block = (names, ()) if mode == "allow" else (None, names)
    if wrong:
        reader.notes.error(given.entry.line, given.path, wrong, reader.member)
    return allow, block


def read_origins(given: Given | None, reader: Reader) -> tuple[str, ...] | None:
    """Return the origins of a `cors`; None where it says nothing."""
    if given is None:
        return None
    keys = reader.read(given.value, PLACES["cors"], given.path)
    if "origins" not in keys:
        return None
    origins: list[str] = []
    for origin in keys["origins"].value:
        spelled = "*" if origin.strip() == "*" else origin_of(origin.strip())
        if spelled is None:
            text = f"{origin[:80]!r} is no origin. Write for example https://app.example.com (no path)."
            reader.notes.error(keys["origins"].entry.line, keys["origins"].path, text, reader.member)
        else:
            origins.append(spelled)
    return tuple(origins)
