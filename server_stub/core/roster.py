"""Roster: what a configuration file says, read and checked. Types only: no file is read here, and nothing is started.

A *member* is one server of the file: a command that we run, or a remote server that we reach. What is wrong with the
file are *findings*; a member that has a finding of severity `error` is kept, so that who asks for it is told why it
does not run, and is not started.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Share = Literal["session", "principal", "shared"]
"""Who shares a child: every client session has its own; all sessions of a principal; all."""
Start = Literal["lazy", "eager"]
Names = Literal["off", "snake", "host-safe"]
RemoteWire = Literal["auto", "http", "sse", "ws"]
FrontKind = Literal["sse", "streamable-http"]
Severity = Literal["error", "warning"]


class Command(NamedTuple):
    """A stdio server that we run: by its words, or as one line for the system's shell."""

    words: tuple[str, ...] = ()
    shell: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    """Its own variables, expanded: those of its `.env` files, then those of its `env`. Their values are secrets."""
    cwd: str | None = None
    pass_environment: bool | None = None
    """None: as the server was told (`--pass-environment`)."""

    def __repr__(self) -> str:
        return f"Command({self.words[0] if self.words else 'a shell line'!r}, {len(self.env)} variables)"


class Remote(NamedTuple):
    """A server that somebody else runs. Header values are secrets."""

    url: str
    wire: RemoteWire = "auto"
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Remote({self.url!r}, {self.wire})"


class Care(NamedTuple):
    """How a member is looked after. Seconds, bytes, counts; None switches a rule off."""

    initialize: float = 30.0
    """How long its answer to `initialize` may take."""
    ping_every: float | None = 30.0
    ping_failures: int = 3
    """So many pings in a row without an answer, and no call in progress: it is restarted."""
    restarts: int = 3
    """At most so many (failed) starts in `window`; then it is FAILED."""
    window: float = 300.0
    idle: float | None = 600.0
    """A lazily started shared child stops when nobody has asked anything for so long."""
    memory: int | None = None
    """Resident bytes of a child with all that it started; above, it is ended."""


class Manners(NamedTuple):
    """How a member is offered to clients, after the options of the file's head were inherited."""

    log: bool = True
    panic_if_invalid: bool = False
    tokens: tuple[str, ...] | None = None
    """Who has one of these gets in, and nobody else. None: the server's own authentication holds."""
    allow: tuple[str, ...] | None = None
    """Tools that may be seen and called, `*` as wildcard. None: all."""
    block: tuple[str, ...] = ()
    names: Names | None = None
    """None: as the server was told (`--normalize-names`)."""
    cors_origins: tuple[str, ...] | None = None
    """None: those of the server."""
    share: Share = "session"
    start: Start = "lazy"
    care: Care = Care()

    def __repr__(self) -> str:
        return f"Manners({self.share}, {self.start}, {'own' if self.tokens is not None else 'inherited'} tokens)"


class Member(NamedTuple):
    """One server of the file. Two are equal when nothing about them changed."""

    name: str
    what: Command | Remote
    manners: Manners = Manners()
    enabled: bool = True
    invalid: str | None = None
    """Why it cannot be started, for people; None where it can."""


class Front(NamedTuple):
    """The file's head: `mcpProxy`. Everything is optional; flags and variables win over it."""

    base_url: str | None = None
    host: str | None = None
    port: int | None = None
    name: str | None = None
    version: str | None = None
    kind: FrontKind | None = None
    """What `/{name}/` is meant to speak. It speaks both here."""
    tokens: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """What the `.env` beside the file says about the server itself: `OF_THE_SERVER`."""


OF_THE_SERVER = (
    "MCP_DOMAIN",
    "DOMAIN",
    "LOG_LEVEL_SYSTEM",
    "LOG_LEVEL_MCP",
    "LOG_RETENTION_SYSTEM",
    "LOG_RETENTION_MCP",
)
"""Variables of the shared `.env` that the server takes for its own. Nothing among them lets anybody in."""


class Finding(NamedTuple):
    """Something that is wrong with the file, or worth a word."""

    severity: Severity
    file: str
    line: int | None
    """Counted from one."""
    key: str
    """Where in the document: `mcpServers.github.command`; empty for the document itself."""
    text: str
    """What is wrong and what to do, with "did you mean" where that helps."""
    member: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        # As `Authorization: ...` it would be masked in logs.
        above, is_header, header = self.key.rpartition(".headers.")
        key = f"{above}.headers[{header}]" if is_header else self.key
        return f"{place}: {key + ': ' if key else ''}{self.text}"


class Roster(NamedTuple):
    """One configuration: its head, its members in the order of the file, and what is wrong with it."""

    file: str
    front: Front = Front()
    members: tuple[Member, ...] = ()
    findings: tuple[Finding, ...] = ()
    digest: str = ""
    """A hash of everything that was read, `.env` files included: the same for the same configuration."""
    sources: tuple[str, ...] = ()
    """Every file that was read, or looked for: a change of one of them is a change of the configuration."""
    secrets: tuple[str, ...] = ()
    """Values that may never appear in a log or an error."""
    token_variables: tuple[str, ...] = ()
    """The variables whose values are tokens of ours: no child inherits them."""

    def find(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")
