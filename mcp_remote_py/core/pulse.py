"""Pulse: pings to the server while nothing else is said, so that the links in between do not fall asleep.

A ping goes out when the session has been silent for so long, both ways; never while another one waits for its answer.
An unanswered ping ends nothing: it is a line in the log. Without an interval nothing is ever armed.
Source: 2025-11-25, "Ping"; the flag is mcp-remote's. Pure: the relay gives each ping its private id.
"""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Command, Disarm, Drop, Note, Timer, ToServer
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import Key, key_of
from mcp_remote_py.core.patience import spelled

PING = "ping"
_TIMER = Timer(PING, key_of(""))


class Pulse:
    """See the module's text. `interval` in seconds, None for never."""

    def __init__(self, interval: float | None) -> None:
        self._interval = interval
        self._beats = False
        self._complained = False
        self.open: Key | None = None
        """The ping that waits for its answer."""

    def start(self) -> list[Command]:
        """There is an initialised session."""
        if self._interval is None:
            return []
        commands = self.stop()
        self._beats = True
        return commands + self._again()

    def stop(self) -> list[Command]:
        """There is none any more."""
        if not self._beats:
            return []
        self._beats = self._complained = False
        commands: list[Command] = [Disarm(_TIMER)]
        if self.open is not None:
            commands.append(Drop(self.open))
            self.open = None
        return commands

    def said(self) -> list[Command]:
        """Something was said, by either side."""
        if not self._beats or self.open is not None:
            return []
        return self._again()

    def due(self, identifier: str) -> list[Command]:
        """The timer rang. `identifier` is the id for a ping."""
        if not self._beats or self._interval is None:
            return []
        if self.open is not None:
            return [self._complaint(f"the server has not answered a ping for {spelled(self._interval)}")]
        ping = msg.request(identifier, PING)
        self.open = ping.key
        return [ToServer(ping, ping.key), *self._again()]

    def answered(self) -> list[Command]:
        """The server answered the ping, be it with an error: it is there."""
        self.open, self._complained = None, False
        return self._again()

    def failed(self, fault: Fault | None) -> list[Command]:
        """No answer will come to the ping any more."""
        self.open = None
        return [self._complaint(f"a ping was not answered: {fault or 'the stream ended'}"), *self._again()]

    def _again(self) -> list[Command]:
        return [] if self._interval is None else [Arm(_TIMER, self._interval)]

    def _complaint(self, text: str) -> Note:
        """The first one is worth a warning; a server that never answers need not fill the log."""
        level, self._complained = "debug" if self._complained else "warning", True
        return Note(level, text)
