"""From a command line that serves, of mcp-proxy or supergateway, to the options of `mcp-remote-server`.

Used by that program itself, and by the bridge to say what to write where it was meant. Pure: words in, options out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mcp_remote_py.core.options import Given
from mcp_remote_py.peer_flags import OURS_SERVING, SERVING, Line, Part, plain, split

PROGRAM = "mcp-remote-server"
WHAT = ("stdio", "shell", "handler", "demo", "config")
"""The options that say what to serve."""
TOKEN_VARIABLE = "MCP_SERVER_TOKEN"  # noqa: S105, the name of a variable


class Served(NamedTuple):
    """What a line means: our options, the command to run (None: none was given), and what else there is to say."""

    given: Given
    command: tuple[str, ...] | None
    tokens: dict[str, str]
    """Tokens that let in, by the flag that gave each. They are no part of `given`."""
    notes: list[str]
    refused: list[str]
    """A sentence for each flag that has no counterpart."""
    unknown: tuple[str, ...]
    left_over: tuple[str, ...]
    """Words that belong to nothing."""
    flags: frozenset[str]
    """All flags of the line, as they were written."""


_SAME = {
    "port": "port",
    "sseport": "port",
    "host": "host",
    "ssehost": "host",
    "cwd": "cwd",
    "baseurl": "public_url",
    "maxbodysize": "max_body",
    "loglevel": "log_level",
    "namedserverconfig": "config",
    "-config": "config",
}
_SWITCHES = {"stateless": "stateless", "passenvironment": "pass_environment"}
_MILLISECONDS = {
    "sessiontimeout": "session_idle",
    "sessionidletimeout": "session_idle",
    "gracefulshutdowntimeout": "grace",
}
_FIXED: dict[str, tuple[tuple[str, ...], str]] = {
    "ssepath": (("/sse",), "HTTP+SSE is always at /sse"),
    "sseendpoint": (("/sse",), "HTTP+SSE is always at /sse"),
    "streamablehttppath": (("/mcp",), "Streamable HTTP is always at /mcp"),
    "streamendpoint": (("/mcp",), "Streamable HTTP is always at /mcp"),
    "endpoint": (("/mcp", "/sse"), "Streamable HTTP is always at /mcp, HTTP+SSE at /sse"),
    "healthendpoint": (("/health", "/readyz"), "the health checks are always at /health and /readyz"),
    "upstreamprotocol": (("legacy",), "the client's own protocol version is passed through"),
    "exposeheader": (("mcp-session-id", "www-authenticate"), "pages may read Mcp-Session-Id and WWW-Authenticate"),
    "corsaddallowedheader": (
        (
            "authorization",
            "content-type",
            "accept",
            "last-event-id",
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "x-api-key",
        ),
        "pages may send what MCP needs, Authorization and X-API-Key",
    ),
}
"""Flags that may say what is so anyway: the values, and the sentence for any other."""
_ANYWAY = ("stateful", "nostateless", "nopassenvironment", "nodebug", "noshell", "eventstore", "notunnel")
"""Flags that change nothing here."""
_TLS = "is not offered: let a reverse proxy end TLS in front of this server, and name it with --public-url"
_LEAVE = "leave it out"
_REFUSED = {
    "header": f"adds a header to answers, which is not offered: {_LEAVE}",
    "oauth2bearer": "adds a header to answers. To ask clients for a token, write --auth-token-env VAR",
    "protocolversion": f"is not needed, the client's own protocol version is passed through: {_LEAVE}",
    "connectiontimeout": f"is not offered, a server may take as long as it needs to start: {_LEAVE}",
    "requesttimeout": f"is not offered, a call may take as long as it needs, the client limits it: {_LEAVE}",
    "keepalivetimeout": f"is not offered: {_LEAVE}",
    "noeventstore": f"is not offered, what a client missed is kept for it in bounded memory: {_LEAVE}",
    "eventstoremaxevents": f"is not offered, the memory for missed events has its own bound: {_LEAVE}",
    "modern": f"is not needed, the client's own protocol version is passed through: {_LEAVE}",
    "nomodern": f"is not offered, the client's own protocol version is passed through: {_LEAVE}",
    "sslca": _TLS,
    "sslcert": _TLS,
    "sslkey": _TLS,
    "tunnel": "is not offered: start a tunnel of your choice, and name its URL with --public-url",
    "tunnelsubdomain": "is not offered: start a tunnel of your choice, and name its URL with --public-url",
}


def serve(arguments: Sequence[str], *, in_command: bool = False) -> Served:
    """Translate the line. Nothing is checked but the flags themselves; our own keep their meaning.

    `in_command`: unknown flags behind the first word are taken for the command's own.
    """
    line = split(arguments, OURS_SERVING, SERVING)
    flags = frozenset(part.flag for part in line.parts if part.flag)
    found = Served({}, line.command, {}, [], [], line.unknown, (), flags)
    words: list[str] = []
    shells: list[str] = []
    parts = list(line.parts)
    for at, part in enumerate(parts):
        if not part.flag:
            if _completes_env(parts, at):
                found.given["env"][-1] = (parts[at - 1].flag, f"{parts[at - 1].text}={part.text}")
            else:
                words.append(part.text)
        elif part.flag in OURS_SERVING and part.flag not in ("--stdio", "--shell"):
            _own(part, found)
        elif part.is_known:
            _one(part, found, shells)
        elif in_command and words:
            words.append("=".join((part.flag, *part.texts)))
    return _with_command(found, line, words, shells)


def _completes_env(parts: list[Part], at: int) -> bool:
    """mcp-proxy writes `--env NAME VALUE`, where we write `--env NAME=VALUE`."""
    before = parts[at - 1] if at else None
    return before is not None and before.flag == "--env" and bool(before.texts) and "=" not in before.text


def _add(found: Served, name: str, part: Part, text: str) -> None:
    found.given.setdefault(name, []).append((part.flag, text))


def _own(part: Part, found: Served) -> None:
    name = part.flag[2:].replace("-", "_")
    if OURS_SERVING[part.flag] == "":
        if part.text != "false":
            _add(found, name, part, "1")
    elif part.texts:
        _add(found, name, part, part.text)
    else:
        found.refused.append(_missing(part))


def _one(part: Part, found: Served, shells: list[str]) -> None:
    name = plain(part.flag)
    if SERVING[name] == "" and part.text == "false":
        return  # `--stateless=false` switches nothing on
    special = _SPECIAL.get(name)
    if special is not None:
        special(part, found)
    elif name in ("stdio", "shell"):
        _what(name, part, found, shells)
    elif name in _REFUSED:
        found.refused.append(f"{part.flag} {_REFUSED[name]}.")
    elif name in _FIXED:
        _fixed(part, found, *_FIXED[name])
    elif name in _SWITCHES:
        _add(found, _SWITCHES[name], part, "1")
    elif name not in _ANYWAY and not part.texts:
        found.refused.append(_missing(part))
    elif name in _SAME and part.text:
        _add(found, _SAME[name], part, part.text)
    elif name in _MILLISECONDS:
        _milliseconds(part, found, _MILLISECONDS[name])


def _milliseconds(part: Part, found: Served, name: str) -> None:
    if part.text.strip().replace(".", "", 1).isdecimal():
        _add(found, name, part, f"{part.text.strip()}ms")
    else:
        found.refused.append(f"{part.flag}: {part.text!r} is no number of milliseconds.")


def _what(name: str, part: Part, found: Served, shells: list[str]) -> None:
    if name == "stdio" and not part.texts:
        _add(found, "stdio", part, "1")
    elif part.text in ("", "true") and name == "shell":
        shells.append("")
    else:
        shells.append(part.text)
        _add(found, "shell", part, part.text)
        if name == "stdio" and "--pass-environment" not in found.flags:
            found.notes.append(
                f"{part.flag}: the command gets the standard variables and those of --env. supergateway gave it all, "
                "as --pass-environment does."
            )


def _fixed(part: Part, found: Served, allowed: tuple[str, ...], sentence: str) -> None:
    if not part.texts:
        found.refused.append(_missing(part))
    elif not all(text.lower().rstrip("/") in allowed for text in part.texts):
        found.refused.append(f"{part.flag} {' '.join(part.texts)} is not offered: {sentence}. Leave it out.")


def _missing(part: Part) -> str:
    return f"{part.flag}: its value is missing."


def _output(part: Part, found: Served) -> None:
    if part.text == "stdio":
        found.refused.append(f"{part.flag} stdio is what mcp-remote-py does: write mcp-remote-py URL.")
    elif part.text.lower() not in ("sse", "ws", "streamablehttp"):
        found.refused.append(f"{part.flag}: write sse, ws or streamableHttp, or leave it out: all are served.")
    elif part.text.lower() == "streamablehttp":
        if "--stateful" not in found.flags:
            _add(found, "stateless", part, "1")
            found.notes.append(f"{part.flag} {part.text} without --stateful has no sessions (--stateless).")
    elif part.text == "ws":
        found.notes.append(f"{part.flag} ws: WebSocket clients connect to /ws; /mcp and /sse are served, too.")


def _wires(part: Part, found: Served) -> None:
    if part.text not in ("sse", "stream"):
        found.refused.append(f"{part.flag}: write sse or stream, or leave it out: both are served.")
    else:
        found.notes.append(f"{part.flag} {part.text}: every wire is served (/mcp, /sse and /ws).")


def _message_path(part: Part, found: Served) -> None:
    if part.texts:
        found.notes.append(f"{part.flag}: clients are told where to send messages (/messages), so it is not needed.")
    else:
        found.refused.append(_missing(part))


def _cors(part: Part, found: Served) -> None:
    for text in part.texts or ("*",):
        if len(text) > 1 and text.startswith("/") and text.endswith("/"):
            found.refused.append(f"{part.flag} {text}: patterns are not offered. Write --cors-origin for each origin.")
        else:
            _add(found, "cors_origin", part, text)


def _api_key(part: Part, found: Served) -> None:
    if not part.text.strip():
        found.refused.append(_missing(part))
        return
    found.tokens[part.flag] = part.text
    found.notes.append(
        f"{part.flag}: others on this machine can see it in the process list. Put it into a variable, and write "
        "--auth-token-env VAR."
    )


def _env(part: Part, found: Served) -> None:
    if len(part.texts) == 2:
        _add(found, "env", part, "=".join(part.texts))
    else:
        found.refused.append(f"{part.flag} takes a name and a value.")


def _debug(part: Part, found: Served) -> None:
    _add(found, "log_level", part, "debug")


def _named(part: Part, found: Served) -> None:
    command = shlex.quote(part.texts[1]) if len(part.texts) == 2 else '"CMD LINE"'
    found.refused.append(
        f"{part.flag} is not offered. Write the servers into a file, as Claude Desktop has them, and each is at "
        f"/servers/NAME/:\n  {PROGRAM} --config FILE\nor start one for each, with a port of its own:\n"
        f"  {PROGRAM} --port PORT --shell {command}"
    )


_SPECIAL: dict[str, Callable[[Part, Served], None]] = {
    "outputtransport": _output,
    "server": _wires,
    "messagepath": _message_path,
    "cors": _cors,
    "alloworigin": _cors,
    "apikey": _api_key,
    "-e": _env,
    "env": _env,
    "debug": _debug,
    "namedserver": _named,
}


def _with_command(found: Served, line: Line, words: list[str], shells: list[str]) -> Served:
    """Find the command: behind `--`, or in words of its own, as mcp-proxy takes it; for a shell it is one line."""
    command = line.command
    if shells and (words or command):  # npm's mcp-proxy: --shell is a switch
        pieces = [*(text for text in shells if text), *words, *(command or ())]
        where = next(part.flag for part in line.parts if plain(part.flag) in ("shell", "stdio"))
        if plain(where) == "stdio":
            return found._replace(left_over=tuple(words))
        found.given["shell"] = [(where, " ".join(pieces))]
        return found._replace(command=None)
    if shells and "shell" not in found.given:
        found.refused.append("--shell: the command is missing.")
    if any(name in found.given for name in WHAT):
        return found._replace(left_over=tuple(words))
    if command is None and words:
        command = tuple(words)
        words = []
    if command is not None:
        found.given["stdio"] = [("--", "1")]
    return found._replace(command=command, left_over=tuple(words))


def written(served: Served) -> str:
    """Return the line for `mcp-remote-server`, without any secret."""
    words = [PROGRAM]
    for name, pairs in served.given.items():
        flag = f"--{name.replace('_', '-')}"
        for _, text in pairs:
            if name == "stdio" or (name == "shell" and pairs[-1][1] != text):
                continue
            shown = f"{text.partition('=')[0]}=..." if name == "env" else shlex.quote(text)
            words.append(flag if OURS_SERVING[flag] == "" else f"{flag} {shown}")
    if served.tokens:
        words.append(f"--auth-token-env {TOKEN_VARIABLE}")
    if "stdio" in served.given or not any(name in served.given for name in WHAT):
        words += ["--stdio --", shlex.join(served.command) if served.command else "CMD ARGS..."]
    return " ".join(words)
