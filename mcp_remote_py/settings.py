"""What the bridge was told: frozen settings, one group for each component. Types only.

`option_table` has the rows, `configuration` makes the settings of them. A component receives only its own group.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mcp_remote_py.core.credentials import Source
from mcp_remote_py.core.oauth.preferences import Preferences

Strategy = Literal["http-first", "sse-first", "http-only", "sse-only", "ws-only"]
Wire = Literal["http", "sse", "ws"]
Headers = tuple[tuple[str, str], ...]


class Target(NamedTuple):
    """Where the server is, and how it takes a token."""

    url: str
    ws_auth: Literal["header", "message"] = "header"


class HeaderFile(NamedTuple):
    """A file with one header per line, read again when it changes. `without`: names (lower case) given elsewhere."""

    path: str
    without: frozenset[str] = frozenset()
    environ: tuple[tuple[str, str], ...] = ()
    """The variables that it named at the start, and their values then; no others are kept."""
    headers: Headers = ()
    """What it said at the start, without those in `without`."""
    where: str = "--header-file"


class BearerFile(NamedTuple):
    """A file that holds a bearer token, read again when it changes. `where`: what named it."""

    path: str
    where: str = "--bearer-file"
    text: str = ""
    """What it said at the start."""


class BearerCommand(NamedTuple):
    """A command that prints a bearer token. Run without a shell, for at most `timeout` seconds.

    `without`: the variables of our own secrets, which it is not handed.
    """

    argv: tuple[str, ...]
    timeout: float = 30.0
    where: str = "--bearer-command"
    without: frozenset[str] = frozenset()


class MintedJwt(NamedTuple):
    """A JWT that is signed here and sent as a bearer token. `key` is the secret or the PEM text, `ttl` in seconds.

    `where`: what named the key. `claims` has all but those of time and the `jti`.
    """

    key: str
    algorithm: str
    claims: tuple[tuple[str, object], ...] = ()
    ttl: float = 300.0
    kid: str | None = None
    where: str = "--jwt-key-file"


class Credentials(NamedTuple):
    """What the server is shown. Sent to exactly the origin of the target's URL."""

    headers: Headers = ()
    """Those that never change: `--header`, `MCP_AUTH_TOKEN`, `--basic`."""
    header_file: HeaderFile | None = None
    authorization: BearerFile | BearerCommand | MintedJwt | None = None
    """What the `Authorization` header is made from, where that changes with time."""
    source: Source | None = None
    """What gives the `Authorization` header, unless the header file does."""


class Timeouts(NamedTuple):
    """Seconds; None switches a limit off."""

    connect: float | None = 10.0
    first_byte: float | None = None
    """From a request's sending to the first sign of an answer."""
    idle: float | None = None
    """Between two signs of life of an answer that has begun; progress is one."""
    request: float | None = None
    """A request in all."""
    tools: tuple[tuple[str, float | None], ...] = ()
    """A call of the tool of this name in all, instead of `request`."""
    dead_peer: float | None = 60.0
    """How long a peer's TCP may leave sent bytes or probes without an acknowledgement."""
    ping: float | None = None
    """Send the server a ping as often as this while nothing else is said."""
    drain: float = 1.0
    hold: float = 20.0
    """How long a call is held, and sent again where that does no harm, while the server is away; 0: not at all."""
    greet_after: float | None = 20.0
    reuse_idle: float = 2.0
    """What must not be sent twice goes only on a connection that was idle for less; 0: always on a new one."""
    """After so long a silence `initialize` is answered in the server's place."""


class TrustFile(NamedTuple):
    """A file or a folder of certificates to trust, and where it was named (`--ca-bundle`, `SSL_CERT_FILE`...)."""

    path: str
    where: str
    is_folder: bool = False

    @property
    def is_from_variable(self) -> bool:
        """A variable may name a file that is long gone; a flag or a configuration file may not."""
        return self.where.isupper()


class Tls(NamedTuple):
    """Whom to trust besides the operating system's store, and who we are."""

    trusted: tuple[TrustFile, ...] = ()
    missing: tuple[TrustFile, ...] = ()
    """Those that a variable names and that cannot be used: they are named again in every error about trust."""
    client_cert: str | None = None
    client_key: str | None = None
    client_password: str | None = None
    insecure: tuple[str, ...] = ()
    """Hosts (`host`, or `host:port` for that port alone) whose certificates are not verified."""


class Network(NamedTuple):
    """How to get out of this network, and what to keep and follow on the way."""

    proxy: str = "system"
    """`system` (the variables, else the operating system's settings), `none`, or the proxy's URL."""
    variables: tuple[tuple[str, str], ...] = ()
    """The proxy variables of the environment: `https`, `http`, `all`, `no`, `auto` in lower case, and their values."""
    redirect_to: tuple[str, ...] = ()
    """Other origins that a redirect may lead to; they are shown no credential."""
    cookies: bool = True
    ipv4: bool = False
    library: Literal["h11", "httpx"] = "h11"
    """What carries HTTP."""


class Limits(NamedTuple):
    """Sizes in bytes, counts of things."""

    message: int = 64 * 1024 * 1024
    in_flight: int = 1000
    head: int = 256 * 1024
    """The head of an HTTP answer."""
    depth: int = 512
    """How deeply the JSON of a message may be nested."""


class Visibility(NamedTuple):
    """Patterns of what is hidden, and of what alone is shown, for one kind of thing."""

    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class Shaping(NamedTuple):
    """What the host sees differently from what the server says. Nothing, unless it was asked for."""

    tools: Visibility = Visibility()
    prompts: Visibility = Visibility()
    resources: Visibility = Visibility()
    read_only: bool = False
    names: Literal["off", "snake", "host-safe"] = "off"
    pins: Literal["off", "warn", "refuse"] = "off"
    heartbeat: float | None = None
    """Seconds between signs of life that the host gets for a running call."""
    host_timeout: float | None = None
    """Seconds after which a call is answered with a handle, because the host would give it up."""
    keep_results: float = 1800.0
    """Seconds for which the result behind a handle is kept."""
    max_result: int | None = None
    """Bytes of a result that the host takes."""


class SignIn(NamedTuple):
    """How to sign in (OAuth), should the server ask for it and no `Authorization` be configured."""

    preferences: Preferences = Preferences()
    browser: bool = True
    """Whether a browser may be opened here; else the URL is shown, and the redirect URL is taken from a person."""
    callback_host: str = "localhost"
    """The host in the redirect URI. We listen on the loopback addresses, whatever it is."""
    callback_port: int | None = None
    """None: derived from the server's URL, as mcp-remote does."""
    callback_path: str = "/oauth/callback"
    success_url: str | None = None
    """Where the browser is sent after a sign-in, instead of being shown our page."""
    timeout: float = 300.0
    """Seconds that one sign-in may take."""
    private_key: str | None = None
    """The PEM text of the key for `private_key_jwt`."""
    assertion_file: str | None = None
    """The file with the platform's JWT for `--grant jwt-bearer`, read anew for each use."""
    token_store: Literal["file", "keyring", "memory"] = "file"  # noqa: S105  (a place, no secret)
    private_hosts: tuple[str, ...] = ()
    """Hosts of an authorization server inside a private network, although the MCP server is public."""
    mcp_remote_home: str = ""
    """The folder with what mcp-remote keeps, whose tokens are taken over once; empty: none."""


class Logging(NamedTuple):
    """What is said to people, and where."""

    level: str = "info"
    file: str | None = None
    format: Literal["text", "json"] = "text"
    bodies: bool = False
    trace: str | None = None
    """A file for all messages."""


class Settings(NamedTuple):
    """Everything the bridge was told."""

    target: Target
    strategy: Strategy = "http-first"
    credentials: Credentials = Credentials()
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    network: Network = Network()
    limits: Limits = Limits()
    logging: Logging = Logging()
    shaping: Shaping = Shaping()
    sign_in: SignIn = SignIn()
    home: str = ""
    """The folder for what is remembered from one run to the next."""
    cache: bool = True
    """Whether what the server says is remembered there."""
    secrets: tuple[str, ...] = ()
    """Values that may never appear in a log or an error."""
    notes: tuple[str, ...] = ()
    """What the user should hear about these settings, once, at start."""
