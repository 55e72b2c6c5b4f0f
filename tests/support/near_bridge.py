"""The bridge inside the process of the test: real pipes and real sockets, but no start to wait for.

    async with near_bridge(server.url, "--http-only") as host:
        await host.greet()

What a process has of its own (signal handlers, the watch over its parent) is left out. Nothing is kept on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from unittest import mock

from mcp_remote_py.bridge import Bridge
from mcp_remote_py.cli import read_settings
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.lifetime import Lifetime
from mcp_remote_py.log import LogHandler
from tests.support.host import SECONDS, Speaker, clean_environment

_ALWAYS = ("--no-cache", "--header", "Authorization: Bearer of-the-tests")
"""With credentials of its own a bridge asks no person to sign in: a 401 is an answer."""


class NearHost(Speaker):
    """The host of a bridge in this process."""

    def __init__(self, stdin: int) -> None:
        super().__init__()
        self._stdin = stdin
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def write(self, raw: bytes) -> None:
        os.write(self._stdin, raw)

    def hang_up(self) -> None:
        """Close its input."""
        stdin, self._stdin = self._stdin, -1
        if stdin >= 0:
            os.close(stdin)

    async def end(self) -> int:
        """Close its input and wait for it to leave; returns the exit code."""
        self.hang_up()
        async with asyncio.timeout(SECONDS):
            return await self.ended


@contextlib.asynccontextmanager
async def near_bridge(*arguments: str) -> AsyncIterator[NearHost]:
    """Run a bridge with these arguments; it has ended, with all its tasks, when the block is left."""
    settings = read_settings([*arguments, *_ALWAYS], clean_environment())
    assert settings is not None
    redactor = Redactor()
    bridge_in, host_out = os.pipe()
    host_in, bridge_out = os.pipe()
    host = NearHost(host_out)
    reader = asyncio.StreamReader(limit=2**26)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(host_in, "rb", buffering=0)
    )
    bridge = Bridge(settings, redactor, LogHandler("mcp-remote-py", redactor))
    try:
        with mock.patch.object(Lifetime, "start"):
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(host._read(reader))
                group.create_task(bridge.run(bridge_in, bridge_out, host.ended.set_result))
                try:
                    yield host
                finally:
                    host.hang_up()
                    await host.ended
                    for timer in bridge._timers.values():
                        timer.cancel()  # a process would be gone
                    hearing.cancel()
    finally:
        transport.close()
        os.close(bridge_in)
        os.close(bridge_out)
