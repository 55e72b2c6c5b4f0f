"""What the server was told, as frozen values. Knows no option, no backend, and reads nothing.

A component receives only its own group.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from server_stub.core.access import Doors
from server_stub.core.addressing import DEFAULT_PATTERN
from server_stub.core.roster import Names, Roster


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


class Logbook(NamedTuple):
    """Where each member's output and our own log are kept, besides stderr. Seconds."""

    directory: str | None = None
    system_level: str = "info"
    member_level: str = "debug"
    system_retention: float = 24 * 3600.0
    member_retention: float = 12 * 3600.0


class Hosting(NamedTuple):
    """A file of servers, each of them an endpoint of its own."""

    file: str
    roster: Roster
    domain: str | None = None
    host_pattern: str = DEFAULT_PATTERN
    port_per_server: int | None = None
    """The port of the first member; those that follow have the next ones."""
    aggregate: bool = False
    pass_environment: bool = False
    """Of the servers about which the file says nothing."""
    own_tokens: tuple[str, ...] = ()
    """Tokens of flags and variables, which hold whatever the file says."""
    admin_tokens: tuple[str, ...] = ()
    logbook: Logbook = Logbook()
    hidden_variables: tuple[str, ...] = ()
    """Names of variables that hold our own secrets: no child ever gets them."""

    def __repr__(self) -> str:
        return f"Hosting({self.file!r}, domain={self.domain!r}, aggregate={self.aggregate})"


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
    names: Names = "off"
    """Under what names tools and prompts are shown, where the file of servers says nothing else."""
    service_name: str = "mcp-remote-server"
    log_level: str = "info"
    log_file: str | None = None
    log_format: Literal["text", "json"] = "text"
    child: Child | None = None
    handler: str | None = None
    """`package.module:callable`."""
    demo: bool = False
    hosting: Hosting | None = None
    secrets: tuple[str, ...] = ()
    """Values that may never appear in a log or an error."""
    notes: tuple[str, ...] = ()
    """What the user should hear about these settings, once, at start."""

    def __repr__(self) -> str:
        what = self.handler or ("a child" if self.child else "the demo" if self.demo else "a backend")
        what = self.hosting.file if self.hosting else what
        return f"ServeSettings({what} on {self.host}:{self.port}, {self.auth!r})"


def check(settings: ServeSettings) -> ServeSettings:
    """Return the settings with their parts agreeing. Raises `ConfigError` for what would be unsafe or cannot work."""
    if not 0 <= settings.port <= 65535:
        raise ConfigError(f"--port: {settings.port} is no port. Write a number from 0 to 65535.")
    is_open = settings.hosting is None and not settings.auth.is_on  # with many servers, each is looked at by itself
    if is_open and not is_loopback(settings.host) and not settings.allow_unauthenticated:
        raise ConfigError(
            f"--host {settings.host} lets other machines in, and no authentication is configured. Set a token "
            "(--auth-token-env VAR, --auth-token-file FILE), or --jwt-secret-env VAR or --jwt-public-key FILE; or "
            "pass --allow-unauthenticated if everyone who can reach this port may use the server."
        )
    return settings._replace(doors=settings.doors._replace(bound_host=settings.host))
