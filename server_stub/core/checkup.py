"""Checkup: what is known of the health of one child from what goes to it and what it says. Pure.

A child is asked with `ping` when a look finds no call in progress: a slow child is not a dead child, and whatever it
says is a sign of life. A ping is missed when nothing was heard from the child until the next look. Our pings have
private ids, and their answers, good or bad, reach nobody. (MCP 2025-11-25, "Ping"; Lifecycle, "Initialization".)
"""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.message import Key, Kind, Message, key_of


class Checkup:
    """One child. `private` is an unguessable text that begins the ids of our pings; `now` is any steady clock."""

    def __init__(self, private: str) -> None:
        self.missed = 0
        """Pings in a row that were not answered."""
        self.is_greeted = False
        """It has answered `initialize` with a result."""
        self.response: float | None = None
        """Seconds that the last answer to a check (a ping, or `initialize`) took."""
        self._private = f"{private}-ping-"
        self._count = 0
        self._calls: InFlight[None] = InFlight()
        self._greeting: Key | None = None
        self._since = 0.0  # when the check that is open was sent
        self._open: str | None = None
        self._was_heard = False  # since that check was sent

    @property
    def calls(self) -> int:
        """How many calls are in progress."""
        return len(self._calls)

    @property
    def is_being_greeted(self) -> bool:
        """Whether an `initialize` waits for its answer."""
        return self._greeting is not None

    def sent(self, message: Message, now: float) -> None:
        """A message goes to the child."""
        if message.kind is Kind.REQUEST:
            self._calls.begin(message.key, None)
            if message.method == "initialize":
                self._greeting, self._since = message.key, now
        elif message.method == "notifications/cancelled":
            target = message.params.get("requestId")
            if isinstance(target, str | int | float) and key_of(target) != self._greeting:
                self._calls.finish(key_of(target))  # which a server need not answer any more

    def unsent(self, key: Key) -> None:
        """A request did not reach the child, or nothing more will come for it."""
        self._calls.finish(key)

    def heard(self, message: Message, now: float) -> bool:
        """The child said something. Returns whether it is for others: False for the answer to one of our pings."""
        self.missed, self._was_heard = 0, True
        if not message.is_answer or message.id is None:
            return True
        if isinstance(message.id, str) and message.id.startswith(self._private):
            if message.id == self._open:
                self.response, self._open = now - self._since, None
            return False
        self._calls.finish(message.key)
        if message.key == self._greeting:
            self._greeting = None
            self.is_greeted = self.is_greeted or message.kind is Kind.RESULT
            self.response = now - self._since
        return True

    def answered_badly(self, now: float) -> None:
        """A ping ended with a fault that shows that somebody is there."""
        self.missed, self._open, self.response = 0, None, now - self._since

    def look(self, now: float) -> Message | None:
        """Return the ping to send, after noting the one that was missed; None while a call is in progress."""
        if self.calls:
            self.missed, self._open = 0, None
            return None
        if self._open is not None and not self._was_heard:
            self.missed += 1
        self._count += 1
        self._open, self._since, self._was_heard = f"{self._private}{self._count}", now, False
        return msg.request(self._open, "ping")
