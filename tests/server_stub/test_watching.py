"""`watching`: what the system tells of is noticed, without waiting for the next look."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from server_stub.watching import changes
from tests.server_stub.links import SECONDS

Noticed = Callable[[Callable[[], object]], Awaitable[None]]
NEVER = 1000.0
"""Seconds until it looks by itself."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")


@contextlib.asynccontextmanager
async def watched(files: list[str]) -> AsyncIterator[Noticed]:
    """Yield what does something again and again, as nobody says when the system is watching, until it is noticed."""
    stream = cast("AsyncGenerator[None]", changes(lambda: files, NEVER))

    async def noticed(act: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            waiting = group.create_task(stream.asend(None))
            while not waiting.done():
                act()
                await asyncio.wait({waiting}, timeout=0.1)

    async with contextlib.aclosing(stream):
        yield noticed


async def test_a_link_is_followed_to_where_it_leads_now(tmp_path: Path) -> None:
    link = tmp_path / "config.json"
    files = [tmp_path / name / "config.json" for name in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text("{}")
    link.symlink_to(files[0])

    def lead_elsewhere() -> None:
        link.unlink()
        link.symlink_to(files[1])

    def write_within_a_tick_of_the_clock() -> None:
        files[1].write_text("[]")
        os.utime(files[1], (0, 0))

    async with watched([str(link)]) as noticed:
        await noticed(lead_elsewhere)
        await noticed(write_within_a_tick_of_the_clock)
        await noticed(write_within_a_tick_of_the_clock)


async def test_a_file_that_joins_the_others_is_watched_from_then_on(tmp_path: Path) -> None:
    first, second = tmp_path / "config.json", tmp_path / "beside" / "a.env"
    second.parent.mkdir()
    files = [str(first)]
    async with watched(files) as noticed:
        await noticed(lambda: first.write_text("{}"))
        files.append(str(second))
        await noticed(lambda: second.write_text("A=1"))
        await noticed(second.touch)
