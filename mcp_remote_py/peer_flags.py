"""The command lines of mcp-remote, mcp-proxy (PyPI, npm, Go) and supergateway: the flags, and how to split them.

Data and one function; what a flag means here is decided by `compat` (to carry) and `serve_line` (to serve). Read from
mcp-remote 0.15.1, mcp-proxy 0.13.0 (PyPI), mcp-proxy 6.7 (npm) and supergateway 4.0.0. Imported only where a flag was
seen that is not ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

PEERS = ("mcp-remote", "mcp-proxy", "supergateway", "mcp-remote-py", "mcp-remote-server")

# How many words follow a flag: "" none, "1", "2", "?" one or none, "*" all up to the next flag.

CARRYING: dict[str, str] = {
    # mcp-remote
    "authtimeout": "1",
    "protocol": "1",
    "callbackpath": "1",
    "authsuccessurl": "1",
    "resource": "1",
    "disableresourceparameter": "",
    "authorizeparam": "1",
    "staticoauthclientinfo": "1",
    "staticoauthclientmetadata": "1",
    "clientmetadataurl": "1",
    "clientcredentials": "",
    "tokenendpoint": "1",
    "devicecode": "",
    "useidtoken": "",
    # mcp-proxy of PyPI
    "-H": "2",
    "headers": "2",
    "clientid": "1",
    "clientsecret": "1",
    "tokenurl": "1",
    "username": "1",
    "password": "1",
    "digest": "",
    "verifyssl": "?",
    "noverifyssl": "",
    "nodebug": "",
    # supergateway
    "sse": "1",
    "streamablehttp": "1",
    "outputtransport": "1",
    "protocolversion": "1",
    "oauth2bearer": "1",
}
"""Flags of programs that carry to a remote server, by `plain` name, and what they take."""

SERVING: dict[str, str] = {
    # supergateway
    "stdio": "?",
    "outputtransport": "1",
    "port": "1",
    "baseurl": "1",
    "ssepath": "1",
    "messagepath": "1",
    "streamablehttppath": "1",
    "loglevel": "1",
    "cors": "*",
    "healthendpoint": "*",
    "header": "*",
    "oauth2bearer": "1",
    "stateful": "",
    "sessiontimeout": "1",
    "protocolversion": "1",
    # mcp-proxy of PyPI
    "host": "1",
    "ssehost": "1",
    "sseport": "1",
    "stateless": "",
    "nostateless": "",
    "-e": "2",
    "env": "2",
    "cwd": "1",
    "passenvironment": "",
    "nopassenvironment": "",
    "debug": "",
    "nodebug": "",
    "namedserver": "2",
    "namedserverconfig": "1",
    "alloworigin": "*",
    "exposeheader": "1",
    # TBXark's mcp-proxy
    "-config": "1",
    # mcp-proxy of npm
    "apikey": "1",
    "connectiontimeout": "1",
    "corsaddallowedheader": "*",
    "endpoint": "1",
    "eventstore": "",
    "noeventstore": "",
    "eventstoremaxevents": "1",
    "gracefulshutdowntimeout": "1",
    "keepalivetimeout": "1",
    "maxbodysize": "1",
    "modern": "",
    "nomodern": "",
    "requesttimeout": "1",
    "server": "1",
    "sessionidletimeout": "1",
    "shell": "?",
    "noshell": "",
    "sseendpoint": "1",
    "sslca": "1",
    "sslcert": "1",
    "sslkey": "1",
    "streamendpoint": "1",
    "tunnel": "",
    "notunnel": "",
    "tunnelsubdomain": "1",
    "upstreamprotocol": "1",
}
"""Flags of programs that serve, likewise."""

OURS_SERVING: dict[str, str] = {
    "--stdio": "?",
    "--shell": "?",
    "--handler": "1",
    "--demo": "",
    "--config": "1",
    "--host": "1",
    "--port": "1",
    "--stateless": "",
    "--normalize-names": "1",
    "--domain": "1",
    "--host-pattern": "1",
    "--port-per-server": "1",
    "--aggregate": "",
    "--admin-token-env": "1",
    "--admin-token-file": "1",
    "--log-dir": "1",
    "--log-level-system": "1",
    "--log-level-mcp": "1",
    "--log-retention-system": "1",
    "--log-retention-mcp": "1",
    "--auth-token-env": "1",
    "--auth-token-file": "1",
    "--jwt-secret-env": "1",
    "--jwt-public-key": "1",
    "--jwt-alg": "1",
    "--jwt-audience": "1",
    "--jwt-issuer": "1",
    "--allow-unauthenticated": "",
    "--allowed-host": "1",
    "--public-url": "1",
    "--allowed-origin": "1",
    "--cors-origin": "1",
    "--max-body": "1",
    "--max-sessions": "1",
    "--session-idle": "1",
    "--grace": "1",
    "--env": "1",
    "--pass-environment": "",
    "--cwd": "1",
    "--service-name": "1",
    "--log-level": "1",
    "--log-file": "1",
    "--log-format": "1",
}
"""The flags of mcp-remote-server, which the bridge's package does not import; a test compares them."""


class Part(NamedTuple):
    """A piece of a command line: a flag as it was written and the words that belong to it; no flag: a word alone."""

    flag: str
    texts: tuple[str, ...]
    is_known: bool = True

    @property
    def text(self) -> str:
        return self.texts[0] if self.texts else ""


class Line(NamedTuple):
    """A command line in pieces, and what stood behind `--` (None where there was none)."""

    parts: tuple[Part, ...]
    command: tuple[str, ...] | None

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(part.text for part in self.parts if not part.flag)

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(part.flag for part in self.parts if not part.is_known)


def plain(flag: str) -> str:
    """Return a flag's name for look-up: `--apiKey` and `--api-key` are one. Short flags stay as they are."""
    return flag if not flag.startswith("--") else flag[2:].replace("-", "").lower()


def split(arguments: Sequence[str], ours: Mapping[str, str], theirs: Mapping[str, str]) -> Line:
    """Split a command line. `ours` has our flags as they are written, and wins; `theirs` has `plain` names."""
    words, command = list(arguments), None
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], tuple(words[at + 1 :])

    def takes(word: str) -> str | None:
        flag = word.partition("=")[0]
        return ours[flag] if flag in ours else theirs.get(plain(flag)) if _is_flag(flag) else None

    parts: list[Part] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not _is_flag(word):
            parts.append(Part("", (word,)))
            continue
        flag, equals, text = word.partition("=")
        count = takes(word)
        if count is None or equals:
            parts.append(Part(flag, (text,) if equals else (), count is not None))
            continue
        most = {"": 0, "1": 1, "?": 1, "2": 2, "*": len(words)}[count]
        texts: list[str] = []
        while at < len(words) and len(texts) < most and takes(words[at]) is None:
            if count in ("?", "*") and _is_flag(words[at]):
                break
            texts.append(words[at])
            at += 1
        if count == "" and at < len(words) and words[at] in ("true", "false"):  # as yargs takes it
            texts.append(words[at])
            at += 1
        parts.append(Part(flag, tuple(texts)))
    return Line(tuple(parts), command)


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and not word[1:].replace(".", "").isdecimal()


def is_peer(word: str) -> bool:
    """Whether this is the name of a program whose lines are known here, perhaps with its version behind an @."""
    return word.partition("@")[0] in PEERS


def is_url(word: str) -> bool:
    """Whether this can only be meant as the URL of a server."""
    return word.lower().startswith(("http://", "https://", "ws://", "wss://"))
