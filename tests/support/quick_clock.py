"""A clock for transports on which pauses take no time, and are remembered."""

from __future__ import annotations

import asyncio

from mcp_remote_py.transports.clock import Clock


class QuickClock(Clock):
    """`pauses` are the seconds that were waited, in their order."""

    def __init__(self, most: int = 1000) -> None:
        self.pauses: list[float] = []
        self._time = 0.0
        self._most = most

    def now(self) -> float:
        return self._time

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        self.pauses.append(seconds)
        assert len(self.pauses) <= self._most, "a loop that does not end"
        self._time += seconds
        await asyncio.sleep(0)
        del unless
