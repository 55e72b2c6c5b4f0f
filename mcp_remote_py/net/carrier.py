"""Carrier: what takes one request to a server and brings its answer back, connections included. Types only.

Policy (which way, which headers, what a failure is called) is the port's, in `http.py`; a carrier knows bytes. There
are two: `by_h11`, our own, which carries the messages, and `by_httpcore`, the library's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mcp_remote_py.net.dial import Way

if TYPE_CHECKING:
    import ssl

Fields = list[tuple[bytes, bytes]]
KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is used again for so long only: common servers close theirs after five seconds, and a request
that meets the close is lost."""
KEPT_CONNECTIONS = 64
"""More than so many idle ones are closed after their answer."""


class Unsendable(Exception):
    """This cannot be written as HTTP. Nothing was sent."""


class NotHttp(Exception):
    """What came back is not HTTP."""


class Lost(Exception):
    """The connection ended before the answer did; `__cause__` says how."""


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


class Answer(Protocol):
    """The head of an answer, and its body as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Fields: ...

    def body(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it was sent, once. Raises `Lost` or `NotHttp`."""

    async def aclose(self) -> None:
        """Give the connection back where the body was read to its end, else close it at once."""


class Carrier(Protocol):
    """See the module's text."""

    async def carry(self, hop: Hop) -> Answer:
        """Send, and read the head. Raises a `Fault` of a proxy, `NotConnected`, `Unsendable`, `NotHttp` or `Lost`."""

    async def aclose(self) -> None:
        """Close all connections; whoever still reads gets `Lost`."""
