"""The reading of a stream can be ended from elsewhere, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mcp_remote_py.core.errors import Interrupted
from mcp_remote_py.transports.breakable import Breakable


async def then_silence(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    await asyncio.Event().wait()


async def whole(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_stream_that_nobody_breaks_off_is_as_it_was() -> None:
    assert [chunk async for chunk in Breakable(whole(b"a", b"b"), "h")] == [b"a", b"b"]


async def test_a_wait_is_ended() -> None:
    breakable = Breakable(then_silence(b"a"), "h")
    assert await anext(breakable) == b"a"
    asyncio.get_running_loop().call_soon(breakable.break_off)
    with pytest.raises(Interrupted, match="slept, or its network changed"):
        await anext(breakable)


async def test_what_was_broken_off_between_two_waits_is_not_read_on() -> None:
    breakable = Breakable(whole(b"a", b"b"), "h")
    assert await anext(breakable) == b"a"
    breakable.break_off()
    with pytest.raises(Interrupted):
        await anext(breakable)


async def test_a_cancellation_stays_one() -> None:
    async def read() -> None:
        await anext(Breakable(then_silence(), "h"))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(read())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
