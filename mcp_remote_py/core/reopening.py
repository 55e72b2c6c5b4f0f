"""Reopening: another session in the place of one that the server lost, or that it was not there for.

The host's own `initialize` is repeated under a private id, once for all calls that lost the session together. What it
leads to is said in commands, and a fault where it led to nothing; the held calls are the relay's.

A server may take it and never answer: the call got lost behind a gateway, or a worker hangs. So each attempt is given
up after a while and made anew, later and later, for a server that starts slowly must get to its answer. Pure.
"""

from __future__ import annotations

from mcp_remote_py.core.calls import Calls
from mcp_remote_py.core.commands import Arm, Command, Disarm, Drop, Note, Timer, ToServer
from mcp_remote_py.core.errands import words_of
from mcp_remote_py.core.errors import Fault, SessionLost, TimedOut
from mcp_remote_py.core.gate import Gate
from mcp_remote_py.core.memory import capabilities_of
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.patience import spelled
from mcp_remote_py.core.redact import printable
from mcp_remote_py.core.session import Session
from mcp_remote_py.core.stand_in import StandIn

SILENT = "silent"
"""The purpose of a timer: the server has not answered the reopening."""
SILENT_SECONDS = 60.0
"""How long the first attempt may take; each that follows it, twice as long."""
MOST_SILENT_SECONDS = 3600.0


class Reopening:
    """See the module's text. Its key is the gate's `reopening`. `tries_anew`: silence is not waited for for ever."""

    def __init__(self, gate: Gate, session: Session, calls: Calls, stand_in: StandIn, *, tries_anew: bool) -> None:
        self._gate = gate
        self._session = session
        self._calls = calls
        self._stand_in = stand_in
        self._tries_anew = tries_anew
        self._most_silent = SILENT_SECONDS

    def begin(self) -> list[Command]:
        """Ask for another session, unless that is asked already; everything is held until it is answered."""
        if self._gate.reopening is not None or self._session.initialize is None:
            return []
        request = self._session.asks_again(self._session.initialize)
        self._gate.reopening = request.key
        self._gate.begin_probe(request.key)
        is_first = self._stand_in.is_made_up
        what = "trying whether the server is there" if is_first else "the session is lost: opening a new one"
        commands = [Note("info", what), *self.leave_session(), *self._calls.clocks.arrived(request)]
        return [*commands, ToServer(request, request.key), *self._watch(request.key)]

    def takes_over(self, key: Key) -> list[Command]:
        """The host's own `initialize` is on its way still, and was answered by us: it goes on as ours."""
        before = self._gate.reopening
        commands = [] if before is None else [*self.end(), Drop(before)]
        self._gate.reopening, self._session.is_stale = key, False
        self._gate.begin_probe(key)
        return commands + self._watch(key)

    def silence(self) -> Fault:
        """It was not answered in time: return the trouble that this is. The next one is given more time."""
        within, self._most_silent = spelled(self._most_silent), min(2 * self._most_silent, MOST_SILENT_SECONDS)
        text = f"the server has taken initialize, and not answered it within {within}"
        return TimedOut(text, hint="It may hang; it is asked again.", may_have_run=False)

    def leave_session(self) -> list[Command]:
        """The one before is gone."""
        return [*self._session.leave(), *self._calls.clocks.nothing_asked()]

    def end(self) -> list[Command]:
        """It is answered, or given up."""
        key, self._gate.reopening = self._gate.reopening, None
        if key is None:
            return []
        if key == self._gate.probe:
            self._gate.probe = None
        ended = self._calls.clocks.ended(key)
        return [*ended, Disarm(Timer(SILENT, key))] if self._tries_anew else ended

    def _watch(self, key: Key) -> list[Command]:
        return [Arm(Timer(SILENT, key), self._most_silent)] if self._tries_anew else []

    def failed(self) -> list[Command]:
        """It led to nothing: the session is as stale as it was."""
        self._session.is_stale = True
        return self.end()

    def refusal(self, answer: Message) -> Fault | None:
        """Return why this answer opens no session that serves the host; None where it does."""
        is_first = self._stand_in.is_made_up
        if answer.kind is Kind.ERROR:
            if is_first:
                return SessionLost(f"the server refused to open a session: {words_of(answer)}")
            return SessionLost("the server lost the session and refused to open a new one")
        revision = answer.result.get("protocolVersion")
        if self._session.may_speak(revision, made_up=is_first):
            return None
        text = "the server lost the session, and the new one speaks another protocol version"
        if is_first:
            text = f"the server speaks a protocol version that is not known here: {printable(str(revision), 40)}"
        return SessionLost(text, hint="Restart this MCP server in the host.")

    def begin_session(self, answer: Message) -> list[Command]:
        """The session is open: the server hears what the host said in the one before, the host what is different."""
        is_first, session = self._stand_in.is_made_up, self._session
        self._most_silent = SILENT_SECONDS
        renewed = session.renewed(answer)
        commands: list[Command] = []
        if is_first and session.agreed != session.revision:
            commands.append(Note("info", f"the server speaks {session.agreed}, the host was told {session.revision}"))
        return commands + renewed + self._stand_in.relieved(capabilities_of(answer))

    def look_at_lists(self) -> list[Command]:
        """The session is open, and the held calls are on their way: see whether its lists are the ones known."""
        if self._session.is_stale or self._stand_in.has_stood_in or self._gate.reopening is not None:
            return []
        return self._session.errands.compare()
