"""SigningIn: a person signs in while calls wait. One sign-in at a time, for however many calls.

A 401 stops everything: no token, no call (`core.absence` keeps the gate shut). A 403 that asks for more scope stops the
calls that it answered, which wait *apart*; the others go on with the token that they have. A call waits once for each
of the two: a server that refuses the token which it has just given is not asked for ever.
Sources: 2025-11-25, "Authorization", "Step-Up Authorization Flow"; "Elicitation" (URL mode). Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import greeting
from mcp_remote_py.core.calls import Calls, Pending
from mcp_remote_py.core.commands import Command, Note, SignIn
from mcp_remote_py.core.errors import Asked, Fault, SignInNeeded
from mcp_remote_py.core.message import Message
from mcp_remote_py.core.session import Session
from mcp_remote_py.core.stand_in import StandIn

NO_TOKEN = 401


class SigningIn:
    """See the module's text."""

    def __init__(self, calls: Calls, session: Session, stand_in: StandIn) -> None:
        self._calls = calls
        self._session = session
        self._stand_in = stand_in
        self._is_running = False
        self._is_fresh = False
        """Somebody has just signed in, and no answer of the server has shown yet that it takes the token."""
        self._apart: list[Pending] = []
        self._elicited: str | None = None

    def wanted(self, fault: Fault, pending: Pending | None = None) -> Asked | None:
        """Return how the server asked for a sign-in; None where this trouble is another one, or signing in was no help.

        `pending`: the call that was refused; None for what we sent on our own.
        """
        asked = fault.asked if isinstance(fault, SignInNeeded) else None
        if asked is None or (pending is not None and pending.cancelled):
            return None
        if pending is None:
            return None if self._is_fresh else asked
        return None if asked.status in pending.asked_for else asked

    def begin(self, asked: Asked, pending: Pending | None = None) -> list[Command]:
        """Have a person sign in, unless that is being done already. `pending`: the call that waits for it."""
        if pending is not None:
            pending.asked_for.add(asked.status)
        if self._is_running:
            return []
        self._is_running = True
        return [Note("info", "the server asks for a sign-in"), SignIn(asked)]

    def wait_apart(self, pending: Pending) -> None:
        """This call alone waits."""
        self._apart.append(pending)

    def show(self, url: str, text: str, *, opened: bool) -> list[Command]:
        """Tell the host what a person is asked to do. `opened`: a browser shows it already."""
        commands = self._stand_in.tell(greeting.log_line("warning", f"{text} {url}"))
        if opened:
            return commands
        identifier = self._session.next_private_id()
        request = greeting.url_elicitation(self._session.initialize, self._session.revision, identifier, url, text)
        if request is None:
            return commands
        self._elicited = identifier
        return commands + self._stand_in.tell(request)

    def over(self) -> tuple[list[Command], list[Message]]:
        """Somebody has signed in. Returns what the host is told, and the calls that waited apart."""
        self._is_fresh = True
        commands, apart = self._end()
        return commands + self._stand_in.tell(greeting.log_line("info", "Signed in.")), apart

    def failed(self, fault: Fault) -> list[Command]:
        """Nobody has signed in: the calls that waited apart are answered with the cause."""
        commands, apart = self._end()
        for message in apart:
            commands += self._calls.fail(message.key, fault)
        return commands

    def accepted(self) -> None:
        """The server has answered something: it takes the token, or wants none."""
        self._is_fresh = False

    def _end(self) -> tuple[list[Command], list[Message]]:
        self._is_running = False
        told = [] if self._elicited is None else self._stand_in.tell(greeting.elicited(self._elicited))
        self._elicited = None
        apart, self._apart = self._apart, []
        return told, [one.message for one in apart if self._calls.get(one.message.key) is one and not one.sent]
