"""StandIn: what the host hears from us in the server's place, and what it is told when the server has come.

Two facts: the host was greeted in the server's place and the server has not been there since (`is_made_up`), and the
same whether or not it has (`has_stood_in`). What we say to the host on our own waits until it says that it is
initialized. The texts are `core.greeting`'s, the answers those that `core.memory` knows. Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import greeting
from mcp_remote_py.core.commands import Command, Note, ToClient
from mcp_remote_py.core.errors import Fault, SignInNeeded
from mcp_remote_py.core.memory import Memory, capabilities_of
from mcp_remote_py.core.message import Message
from mcp_remote_py.core.retries import Policy


class StandIn:
    """See the module's text."""

    def __init__(self, memory: Memory, policy: Policy) -> None:
        self._memory = memory
        self._policy = policy
        self.is_made_up = False
        self.has_stood_in = False
        self._announced: dict[str, object] = {}
        """The capabilities that the host was told."""
        self._host_is_ready = False
        self._untold: list[Message] = []
        """What the host hears as soon as it has said that it is initialized."""

    def begin(self) -> None:
        """The host begins anew."""
        self.is_made_up = self.has_stood_in = self._host_is_ready = False
        self._untold.clear()

    def greet(self, initialize: Message, fault: Fault) -> tuple[Message, Note]:
        """Return the answer to `initialize` in the server's place, for which the host begins anew, and what to log."""
        known = self._memory.greeting if self._policy.cache else None
        if known is None:
            answer = greeting.made_up(initialize, self._policy.version)
        else:
            answer = greeting.repeated(initialize, known, self._memory.asked)
        self.begin()
        self.is_made_up = self.has_stood_in = True
        self.announced(answer)
        self._untold.append(greeting.log_line("warning", _why_not_yet(fault)))
        source = "with what is known of it" if known is not None else "with all that a server may offer"
        return answer, Note("warning", f"the host was greeted in the server's place, {source}: {fault}")

    def announced(self, answer: Message) -> None:
        """The host gets this answer to `initialize`."""
        self._announced = capabilities_of(answer)

    def answer_to(self, request: Message, *, is_away: bool) -> Message | None:
        """Return the answer that can be given in the server's place: a list that is known, or one that it lacks."""
        if is_away or self.is_made_up:
            return self._memory.cached(request) if self._policy.cache else None
        return greeting.lacking(request, self._memory.capabilities()) if self.has_stood_in else None

    def empty_list(self, request: Message) -> Message | None:
        """Return the answer for a list that has been waited for in vain, as long as the host knows no server."""
        return greeting.empty_list(request) if self.is_made_up else None

    # --- What the host is told ---------------------------------------------------------------------------------

    def tell(self, *messages: Message) -> list[Command]:
        """Say something to the host, as soon as it is initialized."""
        if self._host_is_ready:
            return [ToClient(message.raw) for message in messages]
        if self.has_stood_in:
            self._untold += messages
        return []

    def host_ready(self) -> list[Command]:
        """The host has said that it is initialized."""
        self._host_is_ready = True
        untold, self._untold = self._untold, []
        return [ToClient(message.raw) for message in untold]

    def has_come(self) -> list[Command]:
        """The server is there again, or for the first time."""
        return self.tell(greeting.log_line("info", "The server is there.")) if self.has_stood_in else []

    def cannot_be_used(self, fault: Fault) -> list[Command]:
        """The trouble of a server that has not been there yet does not pass by itself."""
        if not self.is_made_up:
            return []
        return self.tell(greeting.log_line("error", f"The server cannot be used: {fault.in_full}"))

    def relieved(self, offered: dict[str, object]) -> list[Command]:
        """The server opened a session, and offers this. The host hears which lists to ask for again: all that it was
        told of by us, those that are different now."""
        if self.is_made_up:
            kinds = [kind for kind in greeting.KINDS if kind in self._announced or kind in offered]
        else:
            kinds = greeting.changed_kinds(self._memory.capabilities(), offered)
        self.is_made_up = False
        return self.tell(*greeting.list_changed(kinds))

    def list_changed(self, kind: str) -> list[Command]:
        """A list is another one in the new session."""
        return self.tell(*greeting.list_changed([kind]))


def _why_not_yet(fault: Fault) -> str:
    """Return what the host is told who was greeted in the server's place."""
    if isinstance(fault, SignInNeeded) and fault.asked is not None:
        return f"A sign-in is needed: {fault}. It begins by itself, and calls wait for it."
    return f"The server is not there yet: {fault.in_full}"
