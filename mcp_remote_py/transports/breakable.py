"""Breakable: the chunks of a body whose reading can be ended from elsewhere: its connection is no longer trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

from mcp_remote_py.core.errors import Interrupted


def _always() -> bool:
    return True


class Breakable:
    """Asynchronous iterator over chunks. A chunk that has been given out is dealt with: only the waiting is ended.

    `may_break` is asked before each wait: a stream that is not to be broken off pays nothing for the possibility.
    """

    def __init__(self, chunks: AsyncIterator[bytes], host: str, may_break: Callable[[], bool] = _always) -> None:
        self._chunks = chunks
        self._may_break = may_break
        self._host = host
        self.is_broken = False
        """Whether the reading was ended from elsewhere."""
        self._waiting: asyncio.Timeout | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk. Raises `Interrupted` once it was broken off, or what the chunks raise."""
        try:
            if not self.is_broken:
                if not self._may_break():
                    return await anext(self._chunks)
                async with asyncio.timeout(None) as self._waiting:
                    return await anext(self._chunks)
        except TimeoutError:
            pass  # broken off while it waited
        finally:
            self._waiting = None
        raise Interrupted(f"the stream of {self._host} was left: this machine slept, or its network changed")

    def break_off(self) -> None:
        """End the reading: now, or as soon as the chunk at hand has been dealt with."""
        self.is_broken = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
