"""The server's option table: flags, variables, values and help are made from its rows. A new option is one row.

What the rows become is in `configuration`; the values end up in `settings`.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

from mcp_remote_py.arguments import file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Option
from server_stub.core.access import origin_of, split_host
from server_stub.core.addressing import DEFAULT_PATTERN, check_pattern
from server_stub.settings import Limits, Logbook, Timing

PREFIX = "MCP_REMOTE_SERVER_"
WHAT_TO_SERVE = ("stdio", "shell", "handler", "demo", "config")
WHAT, WHERE, HOSTING, AUTH, BROWSERS, LIMITS, CHILD, OUTPUT = (
    "what to serve (exactly one)",
    "where to listen",
    "many servers (--config)",
    "authentication",
    "hosts and browsers",
    "limits",
    "the child process",
    "output",
)


def _port(text: str, where: str) -> int:
    if not text.strip().isdecimal() or int(text) > 65535:
        raise ConfigError(f"{where}: {text!r} is no port. Write a number from 0 (any free port) to 65535.")
    return int(text)


def _first_port(text: str, where: str) -> int:
    if _port(text, where) == 0:
        raise ConfigError(f"{where}: each server has a known port, so the first is one from 1 to 65535.")
    return int(text)


_LIKE_A_SECRET = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{20,}|[0-9a-fA-F]{32,}", re.DOTALL)


def variable_name(text: str, where: str) -> str:
    """Parse the name of a variable. What is none may be the secret itself, so it is not repeated."""
    is_name = re.fullmatch(r"(--)?[A-Za-z_][\w.-]*", text, re.ASCII)  # with dashes: a flag of another program
    if is_name is None or _LIKE_A_SECRET.fullmatch(text):
        raise ConfigError(f"{where}: this is no name of a variable. Write one such as MY_TOKEN, without a $.")
    return text


def _variable(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s=\x00]+", name) or "\x00" in value:
        raise ConfigError(f"{where}: write NAME=VALUE.")
    return name, value


def _host_name(text: str, where: str) -> str:
    if split_host(text) is None and not re.fullmatch(r"[0-9a-fA-F:.]+", text):
        raise ConfigError(f"{where}: {text!r} is no host name. Write for example mcp.example.com (no scheme, no path).")
    return text.strip().lower()


_DOMAIN = re.compile(r"(?=.{1,253}$)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.|$))+(?<!\.)")


def _domain(text: str, where: str) -> str:
    """Return a domain as requests spell it, in ASCII: one that never stands in a `Host` would be of no use."""
    try:
        domain = text.strip().lower().removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:
        domain = ""
    if _DOMAIN.fullmatch(domain) is None:
        raise ConfigError(f"{where}: {text[:80]!r} is no domain. Write for example example.com (no scheme, no port).")
    return domain


def _origin(text: str, where: str) -> str:
    text = text.strip()
    if text == "null":
        return text
    spelled = origin_of(text)
    if spelled is not None and urllib.parse.urlsplit(text).path in ("", "/"):
        return spelled
    if spelled is None and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]*", text):
        return text  # an application's own scheme, such as vscode-webview://
    raise ConfigError(f"{where}: {text!r} is no origin. Write for example https://app.example.com (no path).")


def _cors_origin(text: str, where: str) -> str:
    return "*" if text.strip() == "*" else _origin(text, where)


def _public_url(text: str, where: str) -> str:
    if origin_of(text) is None:
        raise ConfigError(f"{where}: {text!r} is no http(s) URL. Write for example https://mcp.example.com/tools")
    return text.strip()


def _row(flag: str, group: str, text: str, **more: Any) -> Option:
    if more.get("metavar") in (options.FILE, "DIR"):
        more["parse"] = file_name
    name = flag.removeprefix("--").replace("-", "_")
    variables = (*more.pop("first_variables", ()), f"{PREFIX}{name.upper()}", *more.pop("variables", ()))
    return Option(name, (flag,), text, group, variables=() if more.pop("flag_only", False) else variables, **more)


def _switch(flag: str, group: str, text: str, **more: Any) -> Option:
    return _row(flag, group, text, sets=True, default=False, **more)


OPTIONS: tuple[Option, ...] = (
    _switch(
        "--stdio",
        WHAT,
        "run a stdio MCP server, one per session: --stdio -- CMD ARGS...",
        flag_only=True,
    ),
    _row("--shell", WHAT, "the same, with the command as one line for the shell", metavar='"CMD LINE"'),
    _row("--handler", WHAT, "a Python function that answers messages", metavar="package.module:callable"),
    _switch("--demo", WHAT, "a small server to try things with", flag_only=True),
    _row(
        "--config",
        WHAT,
        "a file of servers (claude_desktop_config.json, mcpProxy, VS Code): each becomes an endpoint, /NAME/mcp",
        variables=("CONFIG_PATH",),
        metavar="FILE",
    ),
    _row("--host", WHERE, "address to bind to (default 127.0.0.1)", default="127.0.0.1", metavar="HOST"),
    _row(
        "--port",
        WHERE,
        "port (default 8080; 0 takes a free one)",
        parse=_port,
        default=8080,
        variables=("PORT",),
        metavar="PORT",
    ),
    _switch("--stateless", WHERE, "no sessions: every POST stands alone, GET and DELETE on /mcp are refused"),
    _row(
        "--normalize-names",
        WHERE,
        "show tools and prompts under other names: snake (api_get_user for API-get-user), host-safe (only what hosts "
        "refuse is changed), off (default); calls are translated back; in a file of servers, normalizeNames wins",
        parse=options.one_of("off", "snake", "host-safe"),
        default="off",
        metavar="off|snake|host-safe",
    ),
    _row(
        "--domain",
        HOSTING,
        "the domain under which each server has a host name, too: NAME.mcp.DOMAIN",
        parse=_domain,
        first_variables=("MCP_DOMAIN", "DOMAIN"),
        metavar="DOMAIN",
    ),
    _row(
        "--host-pattern",
        HOSTING,
        "another form of these host names, such as 'mcp-{name}.{domain}' (default {name}.mcp.{domain})",
        parse=check_pattern,
        default=DEFAULT_PATTERN,
        metavar="PATTERN",
    ),
    _row(
        "--port-per-server",
        HOSTING,
        "give each server a port of its own, too: this one to the first, the next to the second...",
        parse=_first_port,
        metavar="PORT",
    ),
    _switch("--aggregate", HOSTING, "serve all of them merged into one on /mcp, /sse and /ws: tools are NAME__TOOL"),
    _row(
        "--admin-token-env",
        HOSTING,
        "the variable that holds the token for /health/servers, /listmcp and the like, and for what changes something",
        parse=variable_name,
        metavar="VAR",
        repeats=True,
        default=(),
    ),
    _row("--admin-token-file", HOSTING, "a file with one such token per line", metavar="FILE"),
    _row(
        "--log-dir",
        HOSTING,
        "keep the log of each server there (mcp-NAME.log), and our own (system.log)",
        metavar="DIR",
    ),
    _row(
        "--log-level-system",
        HOSTING,
        "how much goes into system.log: debug, info (default), warning, error",
        parse=options.log_level,
        default=Logbook().system_level,
        variables=("LOG_LEVEL_SYSTEM",),
        metavar="LEVEL",
    ),
    _row(
        "--log-level-mcp",
        HOSTING,
        "how much goes into the logs of the servers (default debug: a line for each request, and all they say)",
        parse=options.log_level,
        default=Logbook().member_level,
        variables=("LOG_LEVEL_MCP",),
        metavar="LEVEL",
    ),
    _row(
        "--log-retention-system",
        HOSTING,
        "how long system.log is kept (default 24h)",
        parse=options.positive_seconds,
        default=Logbook().system_retention,
        variables=("LOG_RETENTION_SYSTEM",),
        metavar="TIME",
    ),
    _row(
        "--log-retention-mcp",
        HOSTING,
        "how long the logs of the servers are kept (default 12h)",
        parse=options.positive_seconds,
        default=Logbook().member_retention,
        variables=("LOG_RETENTION_MCP",),
        metavar="TIME",
    ),
    _row(
        "--auth-token-env",
        AUTH,
        "the variable that holds a token which lets in",
        parse=variable_name,
        metavar="VAR",
        repeats=True,
        default=(),
    ),
    _row("--auth-token-file", AUTH, "a file with one token per line; # begins a comment", metavar="FILE"),
    _row(
        "--jwt-secret-env",
        AUTH,
        "the variable that holds the secret of HS256 JSON Web Tokens",
        parse=variable_name,
        metavar="VAR",
    ),
    _row("--jwt-public-key", AUTH, "a PEM file with the public key of RS256 or ES256 tokens", metavar="FILE"),
    _row(
        "--jwt-alg",
        AUTH,
        "the algorithm tokens must use (default: HS256 with a secret, else the one of the key); may be repeated",
        metavar="ALG",
        repeats=True,
        default=(),
    ),
    _row("--jwt-audience", AUTH, "the `aud` tokens must carry", metavar="TEXT"),
    _row("--jwt-issuer", AUTH, "the `iss` tokens must carry", metavar="TEXT"),
    _switch("--allow-unauthenticated", AUTH, "allow binding elsewhere than loopback without authentication"),
    _row(
        "--allowed-host",
        BROWSERS,
        "a host name under which clients reach this server; may be repeated",
        parse=_host_name,
        metavar="NAME",
        repeats=True,
        default=(),
    ),
    _row(
        "--public-url",
        BROWSERS,
        "the URL under which clients reach this server; its host is allowed, its path leads the /messages endpoint",
        parse=_public_url,
        metavar="URL",
    ),
    _row(
        "--allowed-origin",
        BROWSERS,
        "an origin whose pages may send requests; may be repeated",
        parse=_origin,
        metavar="ORIGIN",
        repeats=True,
        default=(),
    ),
    _row(
        "--cors-origin",
        BROWSERS,
        "an origin whose pages may also read the answers, or * for any; may be repeated (default: none)",
        parse=_cors_origin,
        variables=("CORS_ORIGINS",),
        metavar="ORIGIN",
        repeats=True,
        default=(),
    ),
    _row(
        "--max-body",
        LIMITS,
        "the largest message, either wire (default 64MiB)",
        parse=options.size,
        default=Limits().body,
        metavar="SIZE",
    ),
    _row(
        "--max-sessions",
        LIMITS,
        "how many sessions may be open (default 1000)",
        parse=options.count,
        default=Limits().sessions,
        metavar="N",
    ),
    _row(
        "--session-idle",
        LIMITS,
        "when a session without running calls and open streams expires (default 30m; 0 switches it off)",
        parse=options.seconds,
        default=Limits().session_idle,
        metavar="TIME",
    ),
    _row(
        "--grace",
        LIMITS,
        "how long open calls may go on when the server stops (default 5s)",
        parse=options.seconds,
        default=Timing().grace,
        metavar="TIME",
    ),
    _row(
        "--env",
        CHILD,
        "a variable for the child; may be repeated",
        parse=_variable,
        metavar="K=V",
        repeats=True,
        secret=True,
        default=(),
        flag_only=True,
    ),
    _switch("--pass-environment", CHILD, "give the child our whole environment, except our own tokens and secrets"),
    _row("--cwd", CHILD, "the directory the child starts in", metavar="DIR"),
    _row(
        "--service-name",
        OUTPUT,
        "the name in /health (default mcp-remote-server)",
        default="mcp-remote-server",
        metavar="NAME",
    ),
    _row(
        "--log-level",
        OUTPUT,
        "how much to say on stderr: debug, info (default), warning, error",
        parse=options.log_level,
        default="info",
        metavar="LEVEL",
    ),
    _row(
        "--log-file",
        OUTPUT,
        "write the log to this file, too; rotated at 10 MiB, three old ones are kept",
        metavar="FILE",
    ),
    _row(
        "--log-format",
        OUTPUT,
        "text (default) or json, one object per line",
        parse=options.one_of("text", "json"),
        default="text",
        metavar="text|json",
    ),
)
"""One row per option; flags, variables, help and did-you-mean are made from it."""
