"""Wakefulness: the driver of `core.wakeups`: looks at the clocks and at the network while somebody wants to know.

One timer, and only while something stands that could be dead without anybody noticing. A look costs a few system calls;
no packet leaves the machine.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mcp_remote_py.core.wakeups import PERIOD_SECONDS, Look, Wake, Wakeups

_LOG = logging.getLogger("mcp_remote_py.net.wakefulness")
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that are nobody's (RFC 5737, RFC 3849): asked only which of our own would be used to reach them."""
_NAMELESS = ("lo", "veth", "docker", "br-", "awdl", "llw")
"""Beginnings of the names of interfaces that come and go without any meaning for the way to a server."""

Told = Callable[[Wake | None], None]
"""Called at every look: with what happened since the last one, or None."""


def addresses() -> frozenset[str]:
    """Return what names this machine in its networks: the addresses that lead out of it, and its interfaces."""
    found = {name for _, name in _interfaces() if not name.startswith(_NAMELESS)}
    for family, elsewhere in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # a datagram socket: this only asks the routing table
                found.add(probe.getsockname()[0])
        except OSError:
            continue  # no way out by this family
    return frozenset(found)


def _interfaces() -> list[tuple[int, str]]:
    try:
        return socket.if_nameindex()
    except OSError:
        return []  # a sandbox may forbid it; the addresses are still there


def look() -> Look:
    """Look at the clocks and at the network of this machine."""
    return Look(time.monotonic(), time.time(), addresses())


class Wakefulness:
    """Tells all who watch when this machine slept or moved. `period` in seconds; `see` is how a look is taken."""

    def __init__(self, period: float = PERIOD_SECONDS, see: Callable[[], Look] = look) -> None:
        self._period = period
        self._see = see
        self._watching: dict[object, Told] = {}
        self._wakeups: Wakeups | None = None
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watching(self, told: Told) -> Iterator[None]:
        """Look around every period while the block runs, and tell what was found."""
        me, now, wall = object(), time.monotonic(), time.time()
        if self._wakeups is None or self._timer is None or (not self._watching and self._wakeups.is_jump(now, wall)):
            # only the clocks: most watches are over long before the network is worth a look
            self._wakeups = Wakeups(Look(now, wall), self._period)
        self._watching[me] = told
        if self._timer is None:
            self._arm()
        try:
            yield
        finally:
            del self._watching[me]  # the timer is left to ring once more: most watches are short, and another begins

    def glance(self) -> None:
        """Look at once if the clocks show a jump: what is about to be sent must not go into a dead pipe."""
        if self._timer is None or self._wakeups is None or not self._watching:
            return
        if self._wakeups.is_jump(time.monotonic(), time.time()):
            self._timer.cancel()
            self._tick()

    def end(self) -> None:
        """Nobody will watch any more: leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._period, self._tick)

    def _tick(self) -> None:
        if not self._watching:
            self._timer = None
            return
        self._arm()
        wake = None if self._wakeups is None else self._wakeups.look(self._see())
        if wake is not None:
            _LOG.info("%s: connections are checked", wake.reason)
        for told in list(self._watching.values()):
            told(wake)
