"""Clock: the passing of time, as far as transports wait for it. A test brings its own."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The real one."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        """Wait so many seconds, or until the event is set."""
        try:
            async with asyncio.timeout(seconds):
                await unless.wait()
        except TimeoutError:
            pass  # the pause is over
