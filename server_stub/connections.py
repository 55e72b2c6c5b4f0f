"""Connections: who holds one without saying anything loses it, so that no stranger can take the room of all others.

aiohttp waits for the head of a request for ever. Every open connection is a descriptor, and so is every pipe of a
child: once they are used up, nobody is let in and nothing is started. No policy of HTTP or MCP here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

logger = logging.getLogger(__name__)

HEAD_SECONDS = 30.0
"""Until then a new connection must have sent the head of its first request."""
_EVERY = 1.0
_WANTED_DESCRIPTORS = 65536
_WITHOUT_LIMIT = 32768
_QUIET_SECONDS = 10.0


class Connections:
    """Watches the connections of one server.

    `most`: where there are more, those that ask nothing now are closed, the oldest first.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most if most is not None else _most()
        self._busy: set[object] = set()
        self._heard: dict[object, float] = {}
        """When each was last heard of: it connected, or its last request ended."""
        self._asked: set[object] = set()
        """Those that have sent a request."""
        self._timer: asyncio.TimerHandle | None = None

    def guard(self) -> Middleware:
        """Return the outermost middleware, which notes who asks something."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            who = request.protocol
            self._asked.add(who)
            self._busy.add(who)
            try:
                return await handler(request)
            finally:
                self._busy.discard(who)
                self._heard[who] = asyncio.get_running_loop().time()

        return note

    @contextmanager
    def watched(self, runner: web.AppRunner) -> Iterator[None]:
        """Look after the connections of this runner while the block runs."""
        self._look_again(runner)
        asyncio_log = logging.getLogger("asyncio")
        few = _Few()
        asyncio_log.addFilter(few)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            asyncio_log.removeFilter(few)

    def _look_again(self, runner: web.AppRunner) -> None:
        loop = asyncio.get_running_loop()
        self.sweep(runner.server, loop.time())
        self._timer = loop.call_later(_EVERY, self._look_again, runner)

    def sweep(self, server: web.Server | None, now: float) -> int:
        """Close what has been silent for too long, and what is too many. Returns how many. `now`: the loop's time."""
        present = [] if server is None else server.connections
        self._heard = {who: self._heard.get(who, now) for who in present}
        self._asked.intersection_update(present)
        idle = sorted((who for who in present if who not in self._busy), key=self._heard.__getitem__)
        crowd = idle[: max(0, len(present) - self._most)]
        late = [who for who in idle if who not in self._asked and now - self._heard[who] > HEAD_SECONDS]
        closed = dict.fromkeys([*crowd, *late])
        for who in closed:
            if who.transport is not None:
                who.transport.close()
        if crowd:
            logger.warning("%d connections are open: the %d that asked nothing were closed", len(present), len(crowd))
        return len(closed)


class _Few(logging.Filter):
    """asyncio writes a traceback for each connection that it cannot take; one line now and then says as much."""

    def __init__(self) -> None:
        super().__init__()
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if "socket.accept() out of system resource" not in record.getMessage():
            return True
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + _QUIET_SECONDS
        record.msg, record.args, record.exc_info = "no more files can be opened: connections have to wait", (), None
        return True


def _most() -> int:
    """Half of what may be opened: the other half is for children, and for what they talk through."""
    limit = _limits()
    return _WITHOUT_LIMIT if limit is None else max(limit[0] // 2, 1)


def raise_limit() -> None:
    """Let this process open as many files as it may, up to what our systemd unit allows, too."""
    limit = _limits()
    if limit is None:
        return
    import resource

    soft, hard = limit
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _WANTED_DESCRIPTORS)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            logger.debug("the limit of open files stays at %d: %s", soft, error)


def _limits() -> tuple[int, int] | None:
    """Return how many files may be open, and to what that may be raised; None where nothing limits it."""
    try:
        import resource
    except ImportError:
        return None  # Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else (soft, hard)
