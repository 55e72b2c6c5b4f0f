"""Doubt: whether a pipe that stood before this machine slept or moved still leads anywhere. For SSE and WebSocket.

The other side is asked; until it has said anything, nothing new is sent into the pipe. If it stays silent, a pipe on
which nobody waits for an answer is left, and the next message opens another. One on which somebody waits is never left
for that reason: the server may be busy with that very call, and if it is not there any more, TCP finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mcp_remote_py.core.message import Key, Kind, Message, key_of

ANSWER_SECONDS = 5.0
"""How long the other side may be silent after the question."""


class Doubt:
    """One pipe: which requests wait for their answers on it, and whether it is in doubt."""

    def __init__(self) -> None:
        self._waiting: set[Key] = set()
        self._sure = asyncio.Event()
        self._sure.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer on this pipe."""
        return not self._waiting

    def sends(self, message: Message) -> None:
        """A message goes into the pipe."""
        if message.kind is Kind.REQUEST:
            self._waiting.add(message.key)
        elif message.method == "notifications/cancelled":
            target = message.params.get("requestId")
            if isinstance(target, str | int | float):
                self._waiting.discard(key_of(target))

    def not_sent(self, message: Message) -> None:
        """A message did not get into the pipe after all."""
        if message.kind is Kind.REQUEST:
            self._waiting.discard(message.key)

    def received(self, message: Message) -> None:
        """A message came out of the pipe."""
        if message.is_answer and message.id is not None:
            self._waiting.discard(message.key)

    def begin(self, leave: Callable[[], None]) -> None:
        """The other side was asked. `leave` is called if it stays silent."""
        if self._timer is None and self.is_idle:
            self._sure.clear()
            self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._silent, leave)

    def over(self) -> None:
        """The other side said something, or there is no pipe any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._sure.set()

    async def settled(self) -> None:
        """Wait until it is known whether the pipe leads anywhere."""
        await self._sure.wait()

    def _silent(self, leave: Callable[[], None]) -> None:
        leave()
        self.over()
