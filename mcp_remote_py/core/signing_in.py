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
        self._running: Asked | None = None
        self._trouble: Fault | None = None
        """What the server said when it asked for the sign-in that is running."""
        self._asked_since: set[int] = set()
        """For which statuses somebody has signed in since the server answered anything."""
        self._stream_waits = False
        """The standing stream was refused for want of a token."""
        self._apart: list[Pending] = []
        self._elicited: str | None = None

    def wanted(self, fault: Fault, pending: Pending | None = None) -> Asked | None:
        """Return how the server asked for a sign-in; None where this trouble is another one, or signing in was no help.

        `pending`: the call that was refused; None for what we sent on our own.
        """
        asked = fault.asked if isinstance(fault, SignInNeeded) else None
        if asked is None or (pending is not None and pending.cancelled):
            return None
        if self._running is not None:
            return asked  # what comes of that is not known yet
        if pending is not None:
            return None if asked.status in pending.asked_for else asked
        if asked.status not in self._asked_since:
            return asked
        self._asked_since.clear()  # not again for this; but whoever comes next may try
        return None

    def begin(self, asked: Asked, trouble: Fault, pending: Pending | None = None) -> list[Command]:
        """Have a person sign in, unless that is being done already. `pending`: the call that waits for it.

        A call that finds another sign-in running, for other scope, has its own before it yet.
        """
        commands: list[Command] = []
        if self._running is None:
            self._running, self._trouble = asked, trouble
            commands = [Note("info", "the server asks for a sign-in"), SignIn(asked)]
        is_for_this = asked.status == self._running.status and (asked.status == NO_TOKEN or asked == self._running)
        if pending is not None and is_for_this:
            pending.asked_for.add(asked.status)
        return commands

    def wait_apart(self, pending: Pending) -> list[Command]:
        """This call alone waits, for as long as it takes."""
        self._apart.append(pending)
        return self._calls.disarm_hold(pending)

    def stream_refused(self, fault: Fault) -> None:
        """The standing stream ended with this: where it is for want of a token, it is opened again with the next."""
        self._stream_waits = isinstance(fault, SignInNeeded) and fault.asked is not None

    def stream_to_open(self) -> bool:
        """Whether the standing stream waited for the sign-in that is over. Asked once."""
        waited, self._stream_waits = self._stream_waits, False
        return waited

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
        if self._running is not None:
            self._asked_since.add(self._running.status)
        commands, apart = self._end()
        return commands + self._stand_in.tell(greeting.log_line("info", "Signed in.")), apart

    def failed(self, cause: Fault) -> tuple[list[Command], Fault]:
        """Nobody has signed in: the calls that waited apart are answered with the cause, as all others are to be.

        Returns the answer for those, too: what the server wanted, and why it could not be had.
        """
        self._asked_since.clear()
        trouble, fault = self._trouble, cause
        if trouble is not None:
            fault = SignInNeeded(f"{trouble}; {cause}", hint=cause.hint, http_status=trouble.http_status)
            fault.retry_after = cause.retry_after
        commands, apart = self._end()
        for message in apart:
            commands += self._calls.fail(message.key, fault)
        return commands, fault

    def in_vain(self, fault: Fault, pending: Pending) -> Fault:
        """Return the fault for a call that is refused again although somebody has signed in for it."""
        if not isinstance(fault, SignInNeeded) or fault.asked is None or fault.asked.status not in pending.asked_for:
            return fault
        return fault.restated(
            f"{fault}, although somebody has just signed in for this call",
            hint="The server does not take the token that it was to be given. Try again later; if it stays so, tell "
            "whoever runs it, or sign in as somebody else: `mcp-remote-py logout URL` forgets who you are.",
        )

    def accepted(self) -> None:
        """The server has answered something: it takes the token, or wants none."""
        if self._asked_since:
            self._asked_since.clear()

    def _end(self) -> tuple[list[Command], list[Message]]:
        self._running = self._trouble = None
        told = [] if self._elicited is None else self._stand_in.tell(greeting.elicited(self._elicited))
        self._elicited = None
        apart, self._apart = self._apart, []
        return told, [one.message for one in apart if self._calls.get(one.message.key) is one and not one.sent]
