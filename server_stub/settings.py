"""The server's option table, and the frozen settings it fills. Knows no backend, and reads no environment itself.

A component receives only its own group of the settings. A new option is one row in `OPTIONS` and one field.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from mcp_remote_py.arguments import file_name
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import bare_host, is_loopback
from mcp_remote_py.core.options import Given, Option, Resolved
from server_stub.core.access import Doors, origin_of, split_host


class Jwt(NamedTuple):
    """How JSON Web Tokens are verified: with a shared secret or with a public key (PEM text), never both."""

    secret: str | None = None
    public_key: str | None = None
    algorithms: tuple[str, ...] = ()
    """Pinned algorithms; empty: HS256 for a secret, the one that fits the key for a public key."""
    audience: str | None = None
    issuer: str | None = None

    def __repr__(self) -> str:
        return f"Jwt(algorithms={self.algorithms}, audience={self.audience!r}, issuer={self.issuer!r})"


class Auth(NamedTuple):
    """Whom to let in. Nothing given: everyone who can reach the server."""

    tokens: tuple[str, ...] = ()
    jwt: Jwt | None = None

    @property
    def is_on(self) -> bool:
        return bool(self.tokens) or self.jwt is not None

    def __repr__(self) -> str:
        return f"Auth({len(self.tokens)} tokens, jwt={self.jwt!r})"


class Limits(NamedTuple):
    """Sizes in bytes, counts of things, seconds. None switches an idle limit off."""

    body: int = 64 * 1024 * 1024
    sessions: int = 1000
    in_flight: int = 1000
    """Requests that may wait for their answers in one session."""
    session_idle: float | None = 30 * 60.0


class Timing(NamedTuple):
    """Seconds."""

    keep_alive: float = 15.0
    """Between two comments on a quiet stream."""
    settle: float = 1.0
    """How long an answer may take to come as plain JSON where the client takes both; after that it is a stream."""
    ping: float = 20.0
    """Between two WebSocket pings."""
    first_message: float = 5.0
    """How long a WebSocket client may take to send its token."""
    stalled_write: float = 60.0
    """How long a client may read nothing before its connection is dropped."""
    retry: float = 1.0
    """What a client that resumes a stream is asked to wait."""
    grace: float = 5.0
    """What open calls get when the server stops."""
    whole_stop: float = 9.0


class Child(NamedTuple):
    """The command to run: `command` by its words, or `shell` as one line for a shell."""

    command: tuple[str, ...] = ()
    shell: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    pass_environment: bool = False
    hidden_variables: tuple[str, ...] = ()
    """Names of variables that hold our own secrets: no child ever gets them."""
    cwd: str | None = None


class ServeSettings(NamedTuple):
    """Everything the server was told."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 means any free port."""
    doors: Doors = Doors()
    auth: Auth = Auth()
    allow_unauthenticated: bool = False
    limits: Limits = Limits()
    timing: Timing = Timing()
    stateless: bool = False
    service_name: str = "mcp-remote-server"
    log_level: str = "info"
    log_file: str | None = None
    log_format: Literal["text", "json"] = "text"
    child: Child | None = None
    handler: str | None = None
    """`package.module:callable`."""
    demo: bool = False
    secrets: tuple[str, ...] = ()
    """Values that may never appear in a log or an error."""
    notes: tuple[str, ...] = ()
    """What the user should hear about these settings, once, at start."""

    def __repr__(self) -> str:
        what = self.handler or ("a child" if self.child else "the demo" if self.demo else "a backend")
        return f"ServeSettings({what} on {self.host}:{self.port}, {self.auth!r})"


def check(settings: ServeSettings) -> ServeSettings:
    """Return the settings with their parts agreeing. Raises `ConfigError` for what would be unsafe or cannot work."""
    if not 0 <= settings.port <= 65535:
        raise ConfigError(f"--port: {settings.port} is no port. Write a number from 0 to 65535.")
    if not is_loopback(settings.host) and not settings.auth.is_on and not settings.allow_unauthenticated:
        raise ConfigError(
            f"--host {settings.host} lets other machines in, and no authentication is configured. Set a token "
            "(--auth-token-env VAR, --auth-token-file FILE), or --jwt-secret-env VAR or --jwt-public-key FILE; or "
            "pass --allow-unauthenticated if everyone who can reach this port may use the server."
        )
    return settings._replace(doors=settings.doors._replace(bound_host=settings.host))


# --- The table -------------------------------------------------------------------------------------------------------

PREFIX = "MCP_REMOTE_SERVER_"
WHAT_TO_SERVE = ("stdio", "shell", "handler", "demo")
WHAT, WHERE, AUTH, BROWSERS, LIMITS, CHILD, OUTPUT = (
    "what to serve (exactly one)",
    "where to listen",
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


def _variable(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[^\s=\x00]+", name) or "\x00" in value:
        raise ConfigError(f"{where}: write NAME=VALUE.")
    return name, value


def _host_name(text: str, where: str) -> str:
    if split_host(text) is None and not re.fullmatch(r"[0-9a-fA-F:.]+", text):
        raise ConfigError(f"{where}: {text!r} is no host name. Write for example mcp.example.com (no scheme, no path).")
    return text.strip().lower()


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
        "--auth-token-env",
        AUTH,
        "the variable that holds a token which lets in",
        metavar="VAR",
        repeats=True,
        default=(),
    ),
    _row("--auth-token-file", AUTH, "a file with one token per line; # begins a comment", metavar="FILE"),
    _row("--jwt-secret-env", AUTH, "the variable that holds the secret of HS256 JSON Web Tokens", metavar="VAR"),
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

_LISTS = ("auth_token_env", "jwt_alg", "allowed_host", "allowed_origin", "cors_origin")
"""Options whose variable holds several values, separated by commas."""

EXAMPLE = "mcp-remote-server --stdio -- npx -y @modelcontextprotocol/server-everything"


def with_lists(given: Given, environ: Mapping[str, str]) -> Given:
    """Return `given` with the comma-separated variables of options that were not on the command line."""
    found = dict(given)
    for option in OPTIONS:
        if option.name in _LISTS and option.name not in found:
            name = next((name for name in option.variables if environ.get(name)), None)
            pieces = [piece.strip() for piece in environ[name].split(",")] if name else []
            if name and any(pieces):
                found[option.name] = [(name, piece) for piece in pieces if piece]
    return found


class Inputs(NamedTuple):
    """What the outside world gives: the environment, and a function that reads a text file or raises OSError."""

    environ: Mapping[str, str]
    read_text: Callable[[str], str]


def build(command: tuple[str, ...] | None, resolved: Resolved, inputs: Inputs) -> ServeSettings:
    """Make the settings. `command` is what stood behind `--`, None where there was no `--`. Raises `ConfigError`."""
    values = resolved.values
    auth, hidden = _auth(values, inputs)
    child, handler = _what_to_serve(values, command, hidden)
    grace = values["grace"] or 0.0
    if grace > Timing().whole_stop - 2:
        raise ConfigError(f"--grace: a stop takes {Timing().whole_stop:g} s at most, so this can be 7s at most.")
    jwt_secret = auth.jwt.secret if auth.jwt else None
    given = tuple(value for _, value in child.env) if child else ()
    return check(
        ServeSettings(
            host=bare_host(values["host"]),
            port=values["port"],
            doors=Doors(
                hosts=values["allowed_host"],
                origins=values["allowed_origin"],
                cors_origins=values["cors_origin"],
                public_url=values["public_url"],
            ),
            auth=auth,
            allow_unauthenticated=values["allow_unauthenticated"],
            limits=Limits(
                body=values["max_body"], sessions=values["max_sessions"], session_idle=values["session_idle"]
            ),
            timing=Timing(grace=grace),
            stateless=values["stateless"],
            service_name=values["service_name"],
            log_level=values["log_level"],
            log_file=values["log_file"],
            log_format=values["log_format"],
            child=child,
            handler=handler,
            demo=values["demo"],
            secrets=(*auth.tokens, *((jwt_secret,) if jwt_secret else ()), *given),
        )
    )


def _what_to_serve(
    values: dict[str, Any], command: tuple[str, ...] | None, hidden: tuple[str, ...]
) -> tuple[Child | None, str | None]:
    chosen = [flag for flag in WHAT_TO_SERVE if values[flag]]
    if values["stdio"] and not command:
        raise ConfigError(f"--stdio needs the command behind `--`. Type for example:\n  {EXAMPLE}")
    if command is not None and chosen != ["stdio"]:
        raise ConfigError(f"What stands behind `--` is the command of --stdio. Type for example:\n  {EXAMPLE}")
    if len(chosen) != 1:
        what = " and ".join(f"--{flag}" for flag in chosen) + " were given" if chosen else "Nothing to serve was given"
        raise ConfigError(
            f"{what}: give exactly one of --stdio, --shell, --handler, --demo. Type for example:\n"
            f"  {EXAMPLE}\n  mcp-remote-server --demo"
        )
    if not (values["stdio"] or values["shell"]):
        return None, values["handler"]
    child = Child(
        command=command or (),
        shell=values["shell"],
        env=values["env"],
        pass_environment=values["pass_environment"],
        hidden_variables=hidden,
        cwd=values["cwd"],
    )
    return child, None


def _auth(values: dict[str, Any], inputs: Inputs) -> tuple[Auth, tuple[str, ...]]:
    """Return whom to let in, and the names of the variables that hold secrets of ours."""
    tokens = [_secret(name, "--auth-token-env", inputs.environ) for name in values["auth_token_env"]]
    if values["auth_token_file"] is not None:
        tokens.extend(_tokens_in(values["auth_token_file"], inputs))
    hidden = [*values["auth_token_env"], *(name for name in inputs.environ if name.startswith(PREFIX))]
    if values["jwt_secret_env"] is not None:
        hidden.append(values["jwt_secret_env"])
    return Auth(tuple(dict.fromkeys(tokens)), _jwt(values, inputs)), tuple(hidden)


def _secret(name: str, flag: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{flag}: the variable {name} is not set, or empty. There is no default token or secret.")
    return value


def _tokens_in(path: str, inputs: Inputs) -> list[str]:
    lines = [line.strip() for line in _text_of(path, "--auth-token-file", inputs).splitlines()]
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError(f"--auth-token-file {path}: no token is in it. Write one per line.")
    return tokens


def _text_of(path: str, flag: str, inputs: Inputs) -> str:
    try:
        return inputs.read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{flag} {path}: cannot be read ({reason}).") from None


_SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
_KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


def _jwt(values: dict[str, Any], inputs: Inputs) -> Jwt | None:
    secret_env, key_file = values["jwt_secret_env"], values["jwt_public_key"]
    if secret_env is None and key_file is None:
        for name in ("jwt_alg", "jwt_audience", "jwt_issuer"):
            if values[name]:
                raise ConfigError(f"--{name.replace('_', '-')} needs --jwt-secret-env or --jwt-public-key.")
        return None
    if secret_env is not None and key_file is not None:
        raise ConfigError("--jwt-secret-env and --jwt-public-key contradict each other. Keep one of them.")
    algorithms: tuple[str, ...] = values["jwt_alg"]
    fitting = _SECRET_ALGORITHMS if secret_env is not None else _KEY_ALGORITHMS
    for name in algorithms:
        if name not in fitting:
            kind = "a secret" if secret_env is not None else "a public key"
            raise ConfigError(f"--jwt-alg: {name!r} does not fit: {kind} verifies {', '.join(fitting)}.")
    return Jwt(
        secret=None if secret_env is None else _secret(secret_env, "--jwt-secret-env", inputs.environ),
        public_key=None if key_file is None else _text_of(key_file, "--jwt-public-key", inputs),
        algorithms=algorithms,
        audience=values["jwt_audience"],
        issuer=values["jwt_issuer"],
    )
