"""The client's option table, and the frozen settings it fills. Knows no transport, and reads no environment itself.

A component receives only its own group of the settings. A new option is one row in `OPTIONS` and one field.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from mcp_remote_py.core.options import Option, Resolved

Strategy = Literal["http-first", "sse-first", "http-only", "sse-only", "ws-only"]
Wire = Literal["http", "sse", "ws"]


class Target(NamedTuple):
    """Where the server is, and what we show it."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request to exactly this URL's origin. `Authorization` from MCP_AUTH_TOKEN is among them."""
    ws_auth: Literal["header", "message"] = "header"
    token: str | None = None
    """The bearer token by itself, for `--ws-auth message`."""


class Timeouts(NamedTuple):
    """Seconds; None switches a limit off."""

    connect: float | None = 10.0
    request: float | None = None
    drain: float = 1.0


class Tls(NamedTuple):
    """Certificate files that are trusted besides the operating system's store."""

    ca_bundles: tuple[str, ...] = ()


class Limits(NamedTuple):
    """Sizes in bytes, counts of things."""

    message: int = 64 * 1024 * 1024
    in_flight: int = 1000


class Settings(NamedTuple):
    """Everything the bridge was told."""

    target: Target
    strategy: Strategy = "http-first"
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    limits: Limits = Limits()
    log_level: str = "info"
    secrets: tuple[str, ...] = ()
    """Values that may never appear in a log or an error."""
    notes: tuple[str, ...] = ()
    """What the user should hear about these settings, once, at start."""


_PREFIX = "MCP_REMOTE_PY_"
CONNECTION, CREDENTIALS, LIMITS, OUTPUT = "connection", "credentials and certificates", "limits", "output"
STRATEGIES = ("http-first", "sse-first", "http-only", "sse-only", "ws-only")
LEVELS = ("debug", "info", "warning", "error")


def _milliseconds_when_large(text: str, where: str) -> float | None:
    """`--timeout` alone: a bare number of 1000 or more is milliseconds, as in `--timeout 100000` of old configs."""
    if is_old_timeout(text):
        return float(text) / 1000
    return options.seconds(text, where)


def is_old_timeout(text: str) -> bool:
    """Whether this is a bare number that can only be meant in milliseconds."""
    return text.strip().isdecimal() and int(text) >= 1000


OPTIONS: tuple[Option, ...] = (
    Option(
        "transport",
        ("--transport",),
        "which wire to speak: http-first (Streamable HTTP, else HTTP+SSE), sse-first, http-only, sse-only, ws-only; "
        "auto is http-first",
        CONNECTION,
        options.one_of(*STRATEGIES, "auto"),
        variables=(f"{_PREFIX}TRANSPORT",),
        metavar="WAY",
    ),
    Option("http_only", ("--http-only",), "short for --transport http-only", CONNECTION, sets=True, default=False),
    Option("sse_only", ("--sse-only",), "short for --transport sse-only", CONNECTION, sets=True, default=False),
    Option("ws_only", ("--ws-only",), "short for --transport ws-only", CONNECTION, sets=True, default=False),
    Option(
        "ws_auth",
        ("--ws-auth",),
        "how a WebSocket server gets the token: in the Authorization header, or as the first message",
        CONNECTION,
        options.one_of("header", "message"),
        variables=(f"{_PREFIX}WS_AUTH",),
        metavar="header|message",
    ),
    Option(
        "allow_http",
        ("--allow-http",),
        "allow http:// and ws:// to hosts other than this one (unencrypted)",
        CONNECTION,
        variables=(f"{_PREFIX}ALLOW_HTTP",),
        sets=True,
        default=False,
    ),
    Option(
        "header",
        ("--header",),
        'a header for every request, "Name: value"; ${VAR} is replaced from the environment; may be repeated',
        CREDENTIALS,
        metavar="HEADER",
        repeats=True,
        secret=True,
    ),
    Option(
        "header_file",
        ("--header-file",),
        "a file with one header per line, which keeps them out of the process list; # begins a comment",
        CREDENTIALS,
        variables=(f"{_PREFIX}HEADER_FILE",),
        metavar="FILE",
    ),
    Option(
        "ca_bundle",
        ("--ca-bundle",),
        "certificates (PEM or DER) to trust besides the operating system's; may be repeated",
        CREDENTIALS,
        variables=(f"{_PREFIX}CA_BUNDLE",),
        metavar="FILE",
        default=(),
        repeats=True,
    ),
    Option(
        "connect_timeout",
        ("--connect-timeout",),
        "how long connecting may take (default 10s; 0 switches it off)",
        LIMITS,
        options.seconds,
        default=10.0,
        variables=(f"{_PREFIX}CONNECT_TIMEOUT",),
        metavar="TIME",
    ),
    Option(
        "timeout",
        ("--timeout",),
        "how long one request may take in all (default: no limit); a bare number of 1000 or more is milliseconds",
        LIMITS,
        _milliseconds_when_large,
        variables=(f"{_PREFIX}TIMEOUT",),
        metavar="TIME",
    ),
    Option(
        "drain",
        ("--drain",),
        "how long running requests may go on after the end of input (default 1s)",
        LIMITS,
        options.seconds,
        default=1.0,
        variables=(f"{_PREFIX}DRAIN",),
        metavar="TIME",
    ),
    Option(
        "max_message_size",
        ("--max-message-size",),
        "the largest message carried, either way (default 64MiB)",
        LIMITS,
        options.size,
        default=64 * 1024 * 1024,
        variables=(f"{_PREFIX}MAX_MESSAGE_SIZE",),
        metavar="SIZE",
    ),
    Option(
        "max_in_flight",
        ("--max-in-flight",),
        "how many requests may wait for their answers at once (default 1000)",
        LIMITS,
        options.count,
        default=1000,
        variables=(f"{_PREFIX}MAX_IN_FLIGHT",),
        metavar="N",
    ),
    Option(
        "log_level",
        ("--log-level",),
        "how much to say on stderr: debug, info (default), warning, error",
        OUTPUT,
        options.one_of(*LEVELS),
        default="info",
        variables=(f"{_PREFIX}LOG_LEVEL",),
        metavar="LEVEL",
    ),
    Option(
        "debug",
        ("--debug",),
        "short for --log-level debug",
        OUTPUT,
        variables=(f"{_PREFIX}DEBUG",),
        sets=True,
        default=False,
    ),
    Option(
        "silent",
        ("--silent",),
        "say nothing on stderr but errors",
        OUTPUT,
        variables=(f"{_PREFIX}SILENT",),
        sets=True,
        default=False,
    ),
)
"""One row per option; flags, variables, help and did-you-mean are made from it."""

SCHEMES = ("https", "http", "wss", "ws")


class Inputs(NamedTuple):
    """What the outside world gives: the environment, and a function that reads a text file or raises OSError."""

    environ: Mapping[str, str]
    read_text: Callable[[str], str]


def build(url: str | None, resolved: Resolved, inputs: Inputs) -> Settings:
    """Make the settings. Raises `ConfigError` for whatever cannot work."""
    values, environ = resolved.values, inputs.environ
    notes: list[str] = []
    url, where = _url_and_origin(url, environ)
    strategy, ws_auth = _strategy(values, resolved.origins, environ)
    url, strategy = _match_scheme(check_url(url, where), strategy, where)
    _check_plain(url, allow=bool(values["allow_http"]))
    headers, token = _headers(values, inputs, notes)
    if token is None and ws_auth == "message":
        raise ConfigError("--ws-auth message needs a token: set MCP_AUTH_TOKEN.")
    if is_old_timeout(resolved.texts.get("timeout", "")):
        notes.append(
            f"{resolved.origins['timeout']}: a bare number of 1000 or more is read as milliseconds, "
            f"so this is {values['timeout']:g} s. Write 100s or 2m to be clear."
        )
    return Settings(
        target=Target(url, headers, ws_auth, token),
        strategy=strategy or "http-first",
        timeouts=Timeouts(values["connect_timeout"], values["timeout"], values["drain"] or 0.0),
        tls=Tls(_bundles(values, environ)),
        limits=Limits(values["max_message_size"], values["max_in_flight"]),
        log_level="debug" if values["debug"] else "error" if values["silent"] else values["log_level"],
        secrets=_secrets(url, headers, token),
        notes=tuple(notes),
    )


def _url_and_origin(url: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    if url is not None:
        return url, "the URL"
    for name in ("MCP_REMOTE_URL", f"{_PREFIX}URL"):
        if environ.get(name):
            return environ[name], name
    raise ConfigError(
        "No URL was given. Write: mcp-remote-py https://example.com/mcp   (or set MCP_REMOTE_URL; --help has the rest)"
    )


def check_url(text: str, where: str) -> str:
    """Return the URL without its fragment. Raises `ConfigError` that says what is wrong with it."""
    text = text.strip()
    if any(character.isspace() or ord(character) < 32 or ord(character) == 127 for character in text):
        raise ConfigError(f"{where} has a blank or a control character in it.")
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{where} is no valid URL: check the host and the port.") from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        if "://" in text:
            suggestion = options.did_you_mean(scheme, SCHEMES)
            raise ConfigError(f"{where}: the scheme {scheme!r} is none of {', '.join(SCHEMES)}.{suggestion}")
        raise ConfigError(f"{where}: {text!r} has no scheme. Write the whole URL, for example https://example.com/mcp")
    if not parts.hostname:
        raise ConfigError(f"{where} has no host.")
    if port == 0:
        raise ConfigError(f"{where} has the port 0, which no server listens on.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{where} has a user name or password in it, where others can read it. Pass it as a header: "
            '--header-file FILE with a line "Authorization: Basic ..."'
        )
    return urllib.parse.urlunsplit((scheme, parts.netloc, parts.path, parts.query, ""))


def _strategy(
    values: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]
) -> tuple[Strategy | None, Literal["header", "message"]]:
    """Return what was asked for, None where nothing was, and how a WebSocket server gets the token."""
    asked = {
        f"--{name.replace('_', '-')}": name.replace("_", "-")
        for name in ("http_only", "sse_only", "ws_only")
        if values[name]
    }
    if values["transport"] is not None:
        way = "http-first" if values["transport"] == "auto" else values["transport"]
        if not asked or origins["transport"].startswith("-"):  # a flag wins over a variable
            asked[origins["transport"]] = way
    if len(set(asked.values())) > 1:
        raise ConfigError(f"{' and '.join(asked)} contradict each other. Keep one of them.")
    ws_auth = values["ws_auth"]
    mode = environ.get("MCP_MODE", "")
    if not asked and mode:
        if mode == "websocket":
            asked["MCP_MODE"] = "ws-only"
            if environ.get("MCP_AUTH_TOKEN", "").strip():  # without a token there is no first message to send
                ws_auth = ws_auth or "message"
        elif mode in ("remote", "http"):
            asked["MCP_MODE"] = "http-first"
        else:
            raise ConfigError(
                f"MCP_MODE: {mode!r} is not a way to reach a server. Write websocket, http or remote; "
                "to run a server, use mcp-remote-server."
            )
    way = next(iter(asked.values()), None)
    return cast("Strategy | None", way), ws_auth or "header"


def _match_scheme(url: str, strategy: Strategy | None, where: str) -> tuple[str, Strategy | None]:
    scheme, rest = url.split(":", 1)
    if scheme in ("ws", "wss"):
        if strategy not in (None, "ws-only"):
            raise ConfigError(f"{where} begins with {scheme}://, which --transport {strategy} does not speak.")
        return url, "ws-only"
    if strategy == "ws-only":
        return {"http": "ws", "https": "wss"}[scheme] + ":" + rest, strategy
    return url, strategy


def _check_plain(url: str, *, allow: bool) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("http", "ws") and not allow and not is_loopback(parts.hostname or ""):
        secure = {"http": "https", "ws": "wss"}[parts.scheme]
        raise ConfigError(
            f"{parts.scheme}://{parts.hostname} is not encrypted: anyone on the way could read the token and the data. "
            f"Use {secure}://, or pass --allow-http if you trust the network."
        )


def _headers(
    values: dict[str, Any], inputs: Inputs, notes: list[str]
) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """Return the headers for every request, and the bearer token. A flag wins over the file, the file over a token."""
    found: dict[str, tuple[str, str]] = {}
    token = inputs.environ.get("MCP_AUTH_TOKEN", "").strip() or None
    if token is not None:
        options.header(f"Authorization: {token}", "MCP_AUTH_TOKEN")
        found["authorization"] = ("Authorization", f"Bearer {token.removeprefix('Bearer ').strip()}")
    path = values["header_file"]
    if path is not None:
        try:
            text = inputs.read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"--header-file {path}: cannot be read ({reason}).") from None
        for name, content in options.header_lines(text, f"--header-file {path}", inputs.environ):
            found[name.lower()] = (name, content)
    for text in values["header"] or ():
        name, content = options.header(options.expand(text, "--header", inputs.environ), "--header")
        found[name.lower()] = (name, content)
    authorization = found.get("authorization", ("", ""))[1]
    if token is not None and authorization != f"Bearer {token.removeprefix('Bearer ').strip()}":
        notes.append("An Authorization header was configured, so MCP_AUTH_TOKEN is not used.")
    if authorization.lower().startswith("bearer "):
        token = authorization[7:].strip()
    return tuple(found.values()), token


def _bundles(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[str, ...]:
    node = environ.get("NODE_EXTRA_CA_CERTS", "")
    return (*values["ca_bundle"], *((node,) if node else ()))


def _secrets(url: str, headers: tuple[tuple[str, str], ...], token: str | None) -> tuple[str, ...]:
    """Every header value a user gives counts as secret, and so does what stands in the query of the URL."""
    found = [content for _, content in headers] + ([token] if token else [])
    found += [rest for _, content in headers if (rest := content.partition(" ")[2])]
    found += [content for _, content in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)]
    return tuple(found)
