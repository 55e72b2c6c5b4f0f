"""Session: what was agreed with the server, and all that lasts only as long as that: what it asked the host, the pings,
the errands.

A session is *stale* when the server has lost it, or never had it: the next message opens another one, with the host's
own `initialize` under a private id. Sources: 2025-11-25, "Lifecycle", "Session Management". Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.commands import Command, Listen, ToServer
from mcp_remote_py.core.errands import Errands
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.memory import Memory
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.pulse import Pulse

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"


class Session:
    """See the module's text. `private_id` names our own requests to the server; `ping` is the interval of pings."""

    def __init__(self, private_id: str, memory: Memory, ping: float | None) -> None:
        self._private_id = private_id
        self._private_count = 0
        self._memory = memory
        self.pulse = Pulse(ping)
        self.errands = Errands(memory, self.next_private_id)
        self.asked: InFlight[Message] = InFlight()
        """What the server asked the host."""
        self.number = 0
        """How many sessions there have been, those that we only played to the host included."""
        self.initialize: Message | None = None
        self.initialized: Message | None = None
        self.is_greeted = False
        """The host has its answer to `initialize`."""
        self.is_stale = False
        self.revision: str | None = None
        """The protocol version that the host was told."""
        self.agreed: object = None
        """What was agreed with the server, which is another one where the host was greeted in its place."""

    def next_private_id(self) -> str:
        self._private_count += 1
        return f"{self._private_id}-{self._private_count}"

    def begin(self, initialize: Message) -> None:
        """The host begins anew: nothing of the session before is true any more."""
        self.initialize, self.initialized = initialize, None
        self.is_greeted = self.is_stale = False
        self.revision = self.agreed = None
        self._memory.forget_session()

    def greeted(self, answer: Message) -> None:
        """The host gets this answer to `initialize`."""
        if answer.kind is not Kind.RESULT:
            return
        revision = answer.result.get("protocolVersion")
        self.revision = revision if isinstance(revision, str) else None
        self.agreed = revision
        self.is_greeted = True
        self.number += 1

    def begun(self, initialized: Message) -> list[Command]:
        """The host says that it is initialized: the server is told, and may speak on its own."""
        self.initialized = initialized
        return [ToServer(initialized), Listen(), *(self.pulse.start() if self.is_greeted else ())]

    def asks_again(self, initialize: Message) -> Message:
        """Return the `initialize` that opens another session; this one is not stale any more, but not there yet."""
        self.is_stale = False
        return msg.with_id(initialize, self.next_private_id())

    def may_speak(self, revision: object, *, made_up: bool) -> bool:
        """Whether a new session in this version serves the host, which was told one by us (`made_up`), or by the
        server."""
        if not made_up:
            return revision == self.agreed
        return isinstance(revision, str) and versions.is_known_legacy(revision)

    def renewed(self, answer: Message) -> list[Command]:
        """The server opened another session: it hears what it was told in the one before."""
        self.is_stale = False
        self.number += 1
        self.agreed = answer.result.get("protocolVersion")
        greeting: list[Command] = [ToServer(self.initialized or msg.notification(INITIALIZED)), Listen()]
        return greeting + self.pulse.start() + self.errands.restore()

    def leave(self) -> list[Command]:
        """Nothing that was asked in it will be answered, and there is nothing to keep awake."""
        self.asked.drain()
        return self.errands.drop() + self.pulse.stop()
