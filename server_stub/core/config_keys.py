"""The keys of a configuration file: one table for each place. From it come the checks, "did you mean", the JSON Schema,
and the reference for people. Pure; nothing is read here.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from server_stub.core import config_kinds as kinds
from server_stub.core.config_kinds import Kind


class Key(NamedTuple):
    """One key."""

    name: str
    kind: Kind
    meaning: str
    aliases: tuple[str, ...] = ()
    """Other spellings, of other programs, that mean the same."""
    place: str | None = None
    """The place whose keys the object in it has."""


class Place(NamedTuple):
    """An object of the file."""

    name: str
    words: str
    """For people: where it stands and what it is."""
    keys: tuple[Key, ...]
    ignored: tuple[str, ...] = ()
    """Keys of other programs that say nothing to us: neither wrong nor worth a word."""
    is_closed: bool = False
    """Whether any other key is an error: who wrote it meant to keep something out, and it would be let in."""


WIRES = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamableHttp": "http",
    "streamable_http": "http",
    "streamable": "http",
    "sse": "sse",
    "ws": "ws",
    "websocket": "ws",
    "remote": "auto",
    "auto": "auto",
}
_TYPES = kinds.choice(
    "stdio", "http", "sse", "ws", "auto", spellings={k: v for k, v in WIRES.items() if k not in WIRES.values()}
)

_CARE = (
    Key(
        "share",
        kinds.choice("session", "principal", "shared"),
        "Who shares a child: each session has its own (`session`, the default), all sessions of a principal, or all.",
    ),
    Key(
        "start",
        kinds.choice("lazy", "eager"),
        "Start when somebody asks (`lazy`, the default) or with the server (`eager`).",
    ),
    Key(
        "normalizeNames",
        kinds.choice("off", "snake", "host-safe"),
        "Names of tools and prompts for clients: as they are (`off`), `api_get_user` for `API-get-user` (`snake`), or "
        "only what hosts refuse changed (`host-safe`). Calls are translated back. Default: `--normalize-names`.",
    ),
    Key("initializeTimeout", kinds.SECONDS, "How long the answer to `initialize` may take. Default: 30s."),
    Key("pingInterval", kinds.SECONDS_OR_OFF, "How often it is pinged. Default: 30s."),
    Key("pingFailures", kinds.COUNT, "After so many pings without answer it is restarted. Default: 3."),
    Key("maxRestarts", kinds.WHOLE, "At most so many restarts within `restartWindow`. Default: 3."),
    Key("restartWindow", kinds.SECONDS, "The time in which restarts are counted. Default: 5m."),
    Key("idleTimeout", kinds.SECONDS_OR_OFF, "A lazily started child ends when unused for so long. Default: 10m."),
    Key("memoryLimit", kinds.BYTES_OR_OFF, "A child that takes more resident memory is ended. Default: off."),
    Key(
        "passEnvironment",
        kinds.FLAG,
        "Whether the child gets all variables of the server but its secrets, not only the default set of the MCP SDKs. "
        "Default: `--pass-environment`.",
    ),
)

_OPTIONS = (
    Key("logEnabled", kinds.FLAG, "Whether what it writes goes to the log. Default: true."),
    Key("panicIfInvalid", kinds.FLAG, "Whether nothing is served when this server cannot be. Default: false."),
    Key("authTokens", kinds.TOKENS, "Bearer tokens, one of which a client must send."),
    Key("toolFilter", kinds.OBJECT, "Which tools are offered.", place="toolFilter"),
    Key("cors", kinds.OBJECT, "Which web pages may call.", place="cors"),
    *_CARE,
)

TOP = Place(
    "file",
    "the file",
    (
        Key(
            "mcpServers",
            kinds.OBJECT,
            "The servers by name, as Claude Desktop, Claude Code, Cursor and TBXark's mcp-proxy have them.",
            place="member",
        ),
        Key("mcpProxy", kinds.OBJECT, "The head of TBXark's mcp-proxy.", place="mcpProxy"),
        Key("servers", kinds.OBJECT, "The servers by name, as VS Code has them in mcp.json.", place="member"),
        Key(
            "inputs", kinds.OBJECTS, "VS Code's inputs. `${input:ID}` is read from a variable named ID.", place="input"
        ),
        Key("mcp.servers", kinds.OBJECT, "The servers by name, in the settings of VS Code.", place="member"),
        Key("mcp", kinds.OBJECT, "`servers` and `inputs`, in the settings of VS Code.", place="mcp"),
        Key("server", kinds.OBJECT, "The head of TBXark's mcp-proxy, version 1.", place="server"),
        Key("clients", kinds.OBJECT, "The servers of TBXark's mcp-proxy, version 1.", place="client"),
    ),
)
MCP = Place(
    "mcp", "`mcp`, in the settings of VS Code", tuple(key for key in TOP.keys if key.name in ("servers", "inputs"))
)
INPUT = Place(
    "input",
    "`inputs`: one input",
    (
        Key("id", kinds.TEXT, "The name of the variable that holds its value."),
        Key("type", kinds.TEXT, "Not used."),
        Key("description", kinds.TEXT, "What `setup-env` shows when it asks."),
        Key("password", kinds.FLAG, "Whether `setup-env` hides what is typed."),
        Key("default", kinds.TEXT, "What `setup-env` proposes."),
    ),
    ("options", "command", "args"),
)
_HEAD = (
    Key(
        "baseURL",
        kinds.text_like(r"[hH][tT]{2}[pP][sS]?://.*"),
        "The address by which clients reach this server.",
        ("baseUrl",),
    ),
    Key(
        "addr",
        kinds.text_like(r"[^/]*:[0-9]{1,5}"),
        'Where to listen: ":9090" (this machine alone, as 127.0.0.1:9090) or "0.0.0.0:9090" (others, too).',
    ),
    Key("name", kinds.TEXT, "The name that the merged server tells."),
    Key("version", kinds.TEXT, "The version that the merged server tells."),
)
HEAD = Place(
    "mcpProxy",
    "`mcpProxy`: the head",
    (
        *_HEAD,
        Key(
            "type",
            kinds.choice(
                "sse", "streamable-http", spellings={"http": "streamable-http", "streamableHttp": "streamable-http"}
            ),
            "What `/{name}/` is meant to speak; it speaks both here.",
        ),
        Key("options", kinds.OBJECT, "Options that all servers inherit, key by key.", place="options"),
        *_OPTIONS,
    ),
)
HEAD_V1 = Place(
    "server",
    "`server`: the head of version 1",
    (*_HEAD, Key("globalAuthTokens", kinds.TOKENS, "Tokens that count for all servers, besides their own.")),
)
OPTIONS = Place("options", "`options`, of the head or of a server", _OPTIONS, ("metrics",))
TOOL_FILTER = Place(
    "toolFilter",
    "`toolFilter`",
    (
        Key(
            "mode",
            kinds.choice("allow", "block"),
            "Whether `list` holds the only tools that are offered, or those that are not.",
        ),
        Key("list", kinds.WORDS, "Names of tools; `*` stands for any characters."),
        Key("allow", kinds.WORDS, "In place of `mode` and `list`: the only tools that are offered."),
        Key("block", kinds.WORDS, "In place of `mode` and `list`: tools that are not offered."),
    ),
    is_closed=True,
)
CORS = Place(
    "cors",
    "`cors`",
    (
        Key(
            "origins",
            kinds.WORDS,
            'Origins of web pages: "https://app.example.com", or "*".',
            ("allowedOrigins", "allowOrigins", "allow_origins"),
        ),
    ),
    ("allowedMethods", "allowedHeaders", "allowCredentials", "maxAge", "enabled", "exposedHeaders"),
)
_COMMAND = (
    Key("command", kinds.TEXT_OR_WORDS, "The program to start (an array: with its arguments)."),
    Key("args", kinds.WORDS, "Its arguments."),
    Key("env", kinds.VARIABLES, "Its variables, besides the default set of the MCP SDKs.", ("environment",)),
)
_REMOTE = (
    Key(
        "url",
        kinds.text_like(r"([hH][tT]{2}[pP]|[wW][sS])[sS]?://\S+"),
        "The address of a server that runs elsewhere: http, https, ws or wss.",
        ("serverUrl", "httpUrl"),
    ),
    Key("headers", kinds.HEADERS, "Headers for that server.", ("http_headers",)),
)
MEMBER = Place(
    "member",
    "`mcpServers`, `servers`: one server",
    (
        *_COMMAND,
        Key("cwd", kinds.TEXT, "The folder to start it in, relative to that of the file."),
        Key("shell", kinds.SHELL, "A line for the system's shell; or true, and `command` is that line."),
        Key("envFile", kinds.TEXT_OR_WORDS, "`.env` files in place of NAME.env and NAME/NAME.env; the later wins."),
        *_REMOTE,
        Key(
            "type", _TYPES, "The wire of a remote server; without it, it is found out.", ("transportType", "transport")
        ),
        Key("disabled", kinds.FLAG, "true: it is not offered."),
        Key("enabled", kinds.FLAG, "false: it is not offered."),
        Key("enabledTools", kinds.WORDS, "The only tools that are offered.", ("includeTools", "enabled_tools")),
        Key("disabledTools", kinds.WORDS, "Tools that are not offered.", ("excludeTools", "disabled_tools")),
        Key("options", kinds.OBJECT, "Options of this server; they win over those of the head.", place="options"),
        *_OPTIONS,
    ),
    (
        "alwaysAllow",
        "autoApprove",
        "description",
        "dev",
        "displayName",
        "gallery",
        "icon",
        "name",
        "timeout",
        "trust",
        "version",
        "restart",
        "tags",
        "alwaysLoad",
        "connectionTimeout",
        "networkTimeout",
    ),
)
CLIENT_V1 = Place(
    "client",
    "`clients`: one server of version 1",
    (
        Key("type", _TYPES, "The wire."),
        Key("config", kinds.OBJECT, "The command or the address.", place="config"),
        *(key for key in _OPTIONS if key.name in ("panicIfInvalid", "logEnabled", "authTokens")),
    ),
)
CONFIG_V1 = Place("config", "`config`, of a server of version 1", (*_COMMAND, *_REMOTE), ("timeout",))

PLACES: dict[str, Place] = {
    place.name: place
    for place in (TOP, HEAD, OPTIONS, TOOL_FILTER, CORS, MEMBER, MCP, INPUT, HEAD_V1, CLIENT_V1, CONFIG_V1)
}
OF_MEMBERS = ("mcpServers", "servers", "mcp.servers", "clients")
"""The keys of the file that hold servers."""


def known(place: Place) -> dict[str, Key]:
    """Return every spelling of the keys of a place."""
    return {spelling: key for key in place.keys for spelling in (key.name, *key.aliases)}


def is_remark(name: str) -> bool:
    """Whether a key is a remark, or for others: `_comment`, `$schema`, `//`, `x-note`."""
    return name.startswith(("_", "$", "//", "#", "x-")) or name.lower() in ("comment", "comments", "notes", "note")


_MEANT = {
    "cmd": "command",
    "program": "command",
    "executable": "command",
    "arguments": "args",
    "params": "args",
    "vars": "env",
    "variables": "env",
    "workdir": "cwd",
    "workingdir": "cwd",
    "workingdirectory": "cwd",
    "uri": "url",
    "address": "url",
    "endpoint": "url",
    "tokens": "authtokens",
}
"""What people write from memory, which is not spelled alike."""


def nearest(name: str, place: Place) -> str | None:
    """Return the key that was meant by this one, where it is spelled so nearly like it that nothing else was meant."""
    word = name.lower().replace("_", "").replace("-", "")
    spelled = {other.lower(): other for other in reversed(known(place))}
    if _MEANT.get(word) in spelled:
        return spelled[_MEANT[word]]
    swapped = [other for other in spelled if sorted(other) == sorted(word)]
    close = swapped or difflib.get_close_matches(word, list(spelled), n=1, cutoff=0.82)
    return spelled[close[0]] if close else None
