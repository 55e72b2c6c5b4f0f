"""Gate: whether messages may go to the server now, and which exchange it is that they wait for if not.

    IDLE ── dial ──▶ DIALING ── is_up ──▶ UP ── fell ──▶ IDLE

While UP, four exchanges hold messages back: the *probe* (its answer decides the wire), the *greeting* (nothing may
follow `initialize` before its answer), the *reopening* of a session that was lost, and the *trial*, the first request
to a server that was away. Pure.
"""

from __future__ import annotations

from enum import Enum

from mcp_remote_py.core.commands import Command, Dial
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Key
from mcp_remote_py.core.probing import Wires


class Way(Enum):
    """The state of the way to the server."""

    IDLE = "idle"
    DIALING = "dialing"
    UP = "up"


class Gate:
    """See the module's text."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.way = Way.IDLE
        self.has_streams = True
        """Each request has its own stream (HTTP); otherwise all messages share one pipe."""
        self.probe: Key | None = None
        self.greeting: Key | None = None
        self.reopening: Key | None = None
        self.trial: Key | None = None

    @property
    def is_shut(self) -> bool:
        """Whether nothing may go out but what opens the gate."""
        busy = self.probe or self.greeting or self.reopening or self.trial
        return self.way is not Way.UP or busy is not None

    def dial(self) -> Command:
        self.way = Way.DIALING
        return Dial(self.wires.name)

    def opened(self, traits: Traits) -> None:
        """The link that was dialled is open."""
        self.way, self.has_streams = Way.UP, traits.streams_per_exchange
        if not self.has_streams:
            self.wires.settle()

    def begin_probe(self, key: Key) -> None:
        """This request goes out; its answer decides the wire, unless that is decided."""
        if not self.wires.is_settled:
            self.probe = key

    def settle(self) -> None:
        """The wire is the right one."""
        self.wires.settle()
        self.probe = None

    def unmark(self, key: Key) -> None:
        """This exchange holds nothing back any more."""
        if key == self.greeting:
            self.greeting = None
        if key == self.probe:
            self.probe = None
        if key == self.trial:
            self.trial = None
