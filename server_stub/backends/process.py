"""ProcessLink: one stdio child as a link. Carries messages; how a child is run is in `server_stub.children`."""

from __future__ import annotations

from collections.abc import Callable

from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Message
from server_stub.backends import Connect, Peer
from server_stub.children import Child, ServerSpec


class ProcessLink:
    """One child of its own, started by `open` and ended by `close`. All its messages share one pipe."""

    def __init__(self, spec: ServerSpec) -> None:
        self._spec = spec
        self._child: Child | None = None
        self._deliver: Deliver | None = None
        self._closed = False

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=False)

    @property
    def pid(self) -> int | None:
        """The process id of the child; None before it was started."""
        return None if self._child is None else self._child.pid

    async def open(self, deliver: Deliver) -> None:
        """Start the child. Raises `BackendDown` where it cannot be started."""
        self._deliver = deliver
        self._child = await Child.start(self._spec)
        if self._closed:  # closed while it was starting
            await self._child.stop()
            raise self._child.down(may_have_run=False)

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Write one message; it waits while the child does not read. Raises `BackendDown`."""
        if self._child is None:
            raise BackendDown("the server process has not been started", may_have_run=False)
        await self._child.write(message.raw)
        if written is not None:
            written()

    async def listen(self) -> None:
        """Read the child until it ends, then raise the `BackendDown` that says how."""
        if self._child is None or self._deliver is None:
            raise BackendDown("the server process has not been started", may_have_run=False)
        deliver = self._deliver

        async def heard(message: Message) -> None:
            await deliver(message, None)

        raise await self._child.run(heard)

    async def close(self) -> None:
        """Stop the child and what it started. A child that ignores everything takes a little over four seconds."""
        self._closed = True
        if self._child is not None:
            await self._child.stop()


def connect_process(spec: ServerSpec) -> Connect:
    """Return the `Connect` that gives every peer a child of its own."""

    def connect(peer: Peer) -> ProcessLink:
        del peer  # the child is the same program for everyone; whom it serves is not its business
        return ProcessLink(spec)

    return connect
