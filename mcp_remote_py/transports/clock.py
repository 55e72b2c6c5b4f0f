"""Clock and Bell: the passing of time, as far as transports wait for it, and what cuts a wait short. A test brings its
own clock."""

from __future__ import annotations

import asyncio
import os
import time

from mcp_remote_py.core.http.resume import Pause


class Bell:
    """Rings for whoever waits at that moment: it is worth a try now. Once it is `over`, nobody waits any more."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.count = 0
        """How often it has rung."""
        self.over = False

    def ring(self) -> None:
        """Wake those who wait now, and nobody who comes later."""
        self.count += 1
        self._event.set()
        if not self.over:
            self._event.clear()

    def end(self) -> None:
        """Wake everybody, also in the future."""
        self.over = True
        self._event.set()

    async def wait(self) -> None:
        """Wait until it rings next."""
        await self._event.wait()


class Clock:
    """The real one."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def chance(self) -> float:
        """Return a number drawn evenly from 0 to 1, for jitter."""
        return int.from_bytes(os.urandom(4), "big") / 0xFFFFFFFF

    async def pause(self, pause: Pause, bell: Bell, heard: int | None = None) -> None:
        """Wait so long, or until the bell is over, or until it rings after the least time.

        `heard` is how often it had rung when that was last heeded; None: a moment ago.
        """
        started, heard = self.now(), bell.count if heard is None else heard
        while not bell.over:
            left = started + (pause.seconds if bell.count == heard else pause.least) - self.now()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await bell.wait()
            except TimeoutError:
                pass  # the time is over
