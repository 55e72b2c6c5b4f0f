"""Carrier: what takes one request to a server and brings its answer back, connections included. Types only.

Policy (which way, which headers, what a failure is called) is the port's, in `http.py`; a carrier knows bytes. There
are two: `by_h11`, our own, which carries the messages, and `by_httpcore`, the library's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from mcp_remote_py.net.dial import Way

if TYPE_CHECKING:
    import ssl

Fields = list[tuple[bytes, bytes]]
KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is used again for so long only: common servers close theirs after five seconds, and a request
that meets the close is lost."""
REUSE_IDLE_SECONDS = 2.0
LARGEST_HEAD = 256 * 1024
KEPT_CONNECTIONS = 64
"""More than so many idle ones are closed after their answer."""


class Unsendable(Exception):
    """This cannot be written as HTTP. Nothing was sent."""


class NotHttp(Exception):
    """What came back is not HTTP."""


class HeadTooLarge(Exception):
    """The head of the answer, or a line of a chunked body, is over the limit."""


class Lost(Exception):
    """The connection ended before the answer did; `__cause__` says how."""


class Terms(NamedTuple):
    """What a carrier keeps to."""

    library: Literal["h11", "httpx"] = "h11"
    reuse_idle: float = REUSE_IDLE_SECONDS
    """Seconds: what must not be sent twice goes only on a connection that was idle for less, else on a new one."""
    largest_head: int = LARGEST_HEAD
    """Bytes that the head of an answer may have, and each line of a chunked body."""

    @property
    def most_idle(self) -> float:
        """How long a connection may be idle before what may be sent twice goes on a new one, in seconds."""
        return max(self.reuse_idle, KEEP_ALIVE_SECONDS)

    def check(self, fields: Fields) -> None:
        """Raises `HeadTooLarge` for a head that came in one piece, which no parser counts."""
        if sum(len(name) + len(value) + 4 for name, value in fields) > self.largest_head:
            raise HeadTooLarge


USUAL = Terms()


class Moment(NamedTuple):
    """A moment on two clocks. Idle time is counted by the one on which more has passed: the first stands still while
    the machine sleeps (Linux, macOS), the second is corrected now and then."""

    steady: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic(), time.time())

    def seconds_to(self, later: Moment) -> float:
        return max(later.steady - self.steady, abs(later.wall - self.wall))


class Hop(NamedTuple):
    """One request on its way to one server. `target` stands in the request line; with a `context` TLS is spoken."""

    way: Way
    host: str
    port: int
    context: ssl.SSLContext | None
    forwards: bool
    """The proxy of the way is given the request itself."""
    method: str
    target: bytes
    fields: Fields
    body: bytes = b""
    written: Callable[[], None] | None = None
    may_repeat: bool = False
    """Sending it twice does no harm, so that it may go on a connection that has been idle for longer."""


class Answer(Protocol):
    """The head of an answer, and its body as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Fields: ...

    def body(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it was sent, once. Raises `Lost`, `NotHttp` or `HeadTooLarge`."""

    async def aclose(self) -> None:
        """Give the connection back where the body was read to its end, else close it at once."""


class Carrier(Protocol):
    """See the module's text."""

    async def carry(self, hop: Hop) -> Answer:
        """Send, and read the head.

        Raises a `Fault` of a proxy, `NotConnected`, `Unsendable`, `NotHttp`, `HeadTooLarge` or `Lost`.
        """

    def doubt(self) -> None:
        """Use no connection again that is idle now: it may lead nowhere any more. Have the others probed at once."""

    async def aclose(self) -> None:
        """Close all connections; whoever still reads gets `Lost`."""
