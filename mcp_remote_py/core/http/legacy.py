"""Session: the machine of one Streamable HTTP session of the revisions with a handshake. Decides what id and version
each request carries, whether a 404 means that the session is gone, and whether there is a session to end.

    NEW ──initialize──▶ OPENING ──result──▶ OPEN ──404──▶ LOST
     ▲                     │ error            │             │       any ──leave──▶ CLOSED
     └─────────────────────┘      initialize (again) ──▶ OPENING

Source: 2025-11-25, "Session Management" and "Protocol Version Header". Pure.
"""

from __future__ import annotations

from enum import Enum

from mcp_remote_py.core.errors import PeerBroke
from mcp_remote_py.core.http.headers import PROTOCOL_VERSION, SESSION_ID, Headers, is_visible_ascii
from mcp_remote_py.core.http.origins import Origin
from mcp_remote_py.core.message import Kind, Message


class State(Enum):
    """Where the session stands."""

    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    LOST = "lost"
    CLOSED = "closed"


_MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.OPENING, State.CLOSED}),
    State.OPENING: frozenset({State.OPENING, State.OPEN, State.NEW, State.CLOSED}),
    State.OPEN: frozenset({State.OPENING, State.LOST, State.CLOSED}),
    State.LOST: frozenset({State.OPENING, State.CLOSED}),
    State.CLOSED: frozenset(),
}


class Ticket(int):
    """Names one opening of the session: what was sent under an older one says nothing about the present one."""


class Session:
    """The session of one link. `state` and `ticket` may be read by anyone; the id never leaves but in headers."""

    def __init__(self) -> None:
        self.state = State.NEW
        self.ticket = Ticket()
        self.origin: Origin | None = None
        """Who gave the id: a redirect that was allowed may have led elsewhere than the user named."""
        self._id: str | None = None
        self._version: str | None = None

    def __repr__(self) -> str:
        return f"<Session {self.state.value}, {'with' if self.is_bound else 'without'} an id>"

    @property
    def is_bound(self) -> bool:
        """Whether there is a session id to send."""
        return self._id is not None

    def headers(self) -> Headers:
        """Return the session and version headers for everything but `initialize`, which carries neither."""
        return self.id_header() + self.version_header()

    def id_header(self) -> Headers:
        """Return the header with the session's id. It is for `origin` alone: whoever knows the id has the session."""
        return () if self._id is None else ((SESSION_ID, self._id),)

    def version_header(self) -> Headers:
        """Return the header with the protocol's version, which is no secret."""
        return () if self._version is None else ((PROTOCOL_VERSION, self._version),)

    def begin(self) -> Ticket:
        """An `initialize` goes out: forget the session and the version before it."""
        if self._move(State.OPENING):
            self._id = self._version = None
            self.ticket = Ticket(self.ticket + 1)
        return self.ticket

    def answered(
        self, ticket: Ticket, answer: Message, offered: str | None, host: str, origin: Origin | None = None
    ) -> None:
        """The answer to that `initialize` was read. `offered` is the session id that came with it, from `origin`.

        Raises `PeerBroke` for an id that no header may carry.
        """
        if ticket != self.ticket or self.state is not State.OPENING:
            return  # the answer to an older `initialize` changes nothing
        if answer.kind is not Kind.RESULT:
            self._move(State.NEW)
            return
        if offered is not None and not is_visible_ascii(offered):
            self._move(State.NEW)
            raise PeerBroke(f"{host} gave a session id that is not made of visible ASCII characters")
        self._move(State.OPEN)
        self._id, self.origin = offered, origin
        version = answer.result.get("protocolVersion")
        self._version = version if isinstance(version, str) and is_visible_ascii(version, 64) else None

    def failed(self, ticket: Ticket) -> None:
        """No answer came to that `initialize`."""
        if ticket == self.ticket and self.state is State.OPENING:
            self._move(State.NEW)

    def lost(self, ticket: Ticket) -> None:
        """A message sent under that ticket drew a 404."""
        if ticket == self.ticket:
            self._move(State.LOST)

    def leave(self) -> Headers | None:
        """Close the machine. Returns the headers of the DELETE, or None where there is no session to end."""
        headers = self.headers() if self.state is State.OPEN and self.is_bound else None
        self._move(State.CLOSED)
        return headers

    def _move(self, to: State) -> bool:
        if to not in _MOVES[self.state]:
            return False
        self.state = to
        return True
