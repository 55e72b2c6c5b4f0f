"""Socket options: how a peer whose TCP is dead is noticed. Numbers only; whoever owns a socket sets them.

A laptop that slept, a firewall that forgot a connection, a server that lost its power: nothing says so, and without
these options a socket waits for hours.
"""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Protocol

from mcp_remote_py.net.failures import causes

Options = tuple[tuple[int, int, int], ...]
_PROBES = 3
_LONGEST = 32767
"""Seconds; Linux takes no more for the two intervals."""
PROBE_SECONDS = 2.0
IPV4_HINT = " (--ipv4 is set: addresses of IPv6 are not tried.)"
HAPPY_EYEBALLS_SECONDS = 0.25
"""How long one address of a name may be silent before the next is tried beside it (RFC 8305 section 5)."""


class Probed(Protocol):
    """A socket, as far as options go: asyncio shows its sockets through an object of its own."""

    def getsockopt(self, level: int, name: int, /) -> int: ...

    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def dead_peer_options(seconds: float | None, names: ModuleType = socket) -> Options:
    """Return (level, option, value) for a connection that shall end after so many seconds without any acknowledgement.

    Half of the time an idle connection is left alone, then three probes fill the other half; what was sent and is not
    acknowledged ends it by TCP_USER_TIMEOUT (milliseconds) where there is one. None switches nothing on.
    """
    if seconds is None:
        return ()
    idle = min(max(1, math.ceil(seconds / 2)), _LONGEST)
    interval = min(max(1, round((seconds - idle) / _PROBES)), _LONGEST)
    wanted = [
        ("TCP_KEEPIDLE" if hasattr(names, "TCP_KEEPIDLE") else "TCP_KEEPALIVE", idle),  # the latter on macOS
        ("TCP_KEEPINTVL", interval),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", min(max(1, round(seconds * 1000)), 2**31 - 1)),
    ]
    found = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    found += [(socket.IPPROTO_TCP, getattr(names, name), value) for name, value in wanted if hasattr(names, name)]
    return tuple(found)


def probe(connection: Probed, names: ModuleType = socket) -> Callable[[], None] | None:
    """Have the system ask the peer's TCP at once whether it is still there, where it would ask some time anyway.

    A live peer's system acknowledges, whatever its program does; one that forgot the connection resets it. How long
    silence is borne does not change. Returns what puts the usual interval back; to be called after `PROBE_SECONDS`.
    """
    idle = getattr(names, "TCP_KEEPIDLE", None) or getattr(names, "TCP_KEEPALIVE", None)
    try:
        if idle is None or not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            return None
        usual = connection.getsockopt(socket.IPPROTO_TCP, idle)
        connection.setsockopt(socket.IPPROTO_TCP, idle, 1)
    except OSError:
        return None  # closed meanwhile

    def put_back() -> None:
        with suppress(OSError):  # closed meanwhile
            connection.setsockopt(socket.IPPROTO_TCP, idle, usual)

    return put_back


def is_dead_peer(error: BaseException) -> bool:
    """Whether a connection that stood was given up because the peer's TCP acknowledged nothing any more."""
    return any(isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT for cause in causes(error))
