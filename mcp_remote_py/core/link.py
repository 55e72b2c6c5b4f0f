"""Link: one way to reach an MCP server. The contract that every transport of the bridge and every backend of the
server keeps. Types only.

    open(deliver)        Make it ready. On HTTP nothing is sent: the first real message is the probe.
    send(message)        Carry one message. For a request on a link with `streams_per_exchange` it returns when nothing
                         more will come for that request (what came was delivered on the way); on a shared pipe it
                         returns as soon as the message is written. `written` is called as soon as the whole message
                         has gone out, so that a cancellation can follow and not overtake it. Raises a `Fault`; never
                         anything else but `CancelledError`.
    listen()             Stay with what the server says on its own. On a shared pipe this is the read loop: it ends
                         with a `Fault` that says why the pipe is gone. On HTTP it returns when the server offers no
                         such stream, and raises a `Fault` when it broke.
    close()              End the session in order, in bounded time: two seconds over a network, a little over four for
                         a child that must be killed. May be called at any time, and twice.

`deliver(message, exchange)` is awaited for every message from the server, in the order in which they came on their
stream; `exchange` is the request (its key as the caller knows it) on whose stream it came, or None on a shared pipe
and on a standing stream. Awaiting it is the backpressure: a link reads on only when it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from mcp_remote_py.core.message import Key, Message

Deliver = Callable[[Message, Key | None], Awaitable[None]]


class Traits(NamedTuple):
    """What a link can do."""

    streams_per_exchange: bool
    """Each request has its own stream (HTTP); otherwise all messages share one pipe."""


class Link(Protocol):
    """See the module's text."""

    @property
    def traits(self) -> Traits: ...

    async def open(self, deliver: Deliver) -> None: ...

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None: ...

    async def listen(self) -> None: ...

    async def close(self) -> None: ...
