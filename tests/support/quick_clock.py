"""A clock for transports on which pauses take no time, and are remembered."""

from __future__ import annotations

import asyncio

from mcp_remote_py.core.http.resume import Pause
from mcp_remote_py.transports.clock import Bell, Clock


class QuickClock(Clock):
    """`pauses` are the seconds that were waited, in their order. `luck` is what is drawn for jitter, from 0 to 1."""

    def __init__(self, most: int = 1000, luck: float = 1.0) -> None:
        self.pauses: list[float] = []
        self.luck = luck
        self._time = 0.0
        self._most = most

    def now(self) -> float:
        return self._time

    def chance(self) -> float:
        return self.luck

    async def pause(self, pause: Pause, bell: Bell, heard: int | None = None) -> None:
        self.pauses.append(pause.seconds)
        assert len(self.pauses) <= self._most, "a loop that does not end"
        self._time += pause.seconds
        await asyncio.sleep(0)
        del bell, heard
