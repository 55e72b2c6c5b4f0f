"""One child for all clients of a principal that have no session. Drives `server_stub.core.sharing`; decides nothing.

A client gets a *face*: a link of its own that passes its messages to the shared child. The shared child belongs to no
request, so it lives in a task of the `SharedConnect`, which therefore is a context manager around the server's run:

    async with shared_connect(lambda: ProcessLink(spec)) as connect:
        await app.run(settings, connect)

A child starts with the first request and stops when nobody has asked anything for ten minutes. When it dies, the open
requests get the fault and the next request starts another one: three times in five minutes at most.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from mcp_remote_py import __version__
from mcp_remote_py.core.errors import BackendDown, Fault, ShuttingDown
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.backends import Peer
from server_stub.core.sharing import Command, Ended, Failed, Note, Sharing, Stage, Starts, ToChild, ToClient

IDLE = 600.0
"""Seconds without a request after which a shared child is stopped."""

_BACKLOG = 1000  # progress notifications that may wait for a slow client; more of them are dropped
_OURSELVES = {"name": "mcp-remote-server", "version": __version__}

logger = logging.getLogger(__name__)

MakeLink = Callable[[], Link]
"""Makes a fresh, unopened link with one pipe for all messages (`streams_per_exchange` is False)."""


class _Exchange(NamedTuple):
    """Where the outcome of one request waits for its client."""

    private: str
    outcomes: asyncio.Queue[ToClient | Failed | Ended]


class _Shared:
    """The child of one principal, its life, and who waits for it."""

    def __init__(self, make_link: MakeLink, idle: float, starts: Starts) -> None:
        self._make_link = make_link
        self._idle = idle
        self._starts = starts
        self._sharing = Sharing(_OURSELVES)
        self._exchanges: dict[str, _Exchange] = {}
        self._outbox: asyncio.Queue[ToChild] = asyncio.Queue()
        self._wanted = asyncio.Event()
        self._last_use = 0.0

    # --- What the faces call -----------------------------------------------------------------------------------

    def begin(self, client: int, message: Message) -> _Exchange:
        """Take in a request. The exchange's outcomes end with the answer, a fault or the word that there is none."""
        exchange = _Exchange(secrets.token_hex(16), asyncio.Queue())
        self._exchanges[exchange.private] = exchange
        self._last_use = asyncio.get_running_loop().time()
        self._perform(self._sharing.request(client, message, exchange.private))
        if self._sharing.stage is Stage.DOWN:
            self._wanted.set()
        return exchange

    def leave(self, exchange: _Exchange) -> None:
        """Nobody waits for this exchange any more."""
        self._exchanges.pop(exchange.private, None)
        self._perform(self._sharing.leave(exchange.private))

    def notice(self, client: int, message: Message) -> None:
        """Take in a notification or an answer."""
        self._perform(self._sharing.notice(client, message))

    # --- The life of the child ---------------------------------------------------------------------------------

    async def live(self) -> None:
        """Start a child whenever one is wanted. Returns when none was wanted for the idle time."""
        try:
            while await self._is_wanted():
                self._wanted.clear()
                wait = self._starts.wait(asyncio.get_running_loop().time())
                if wait > 0:
                    self._perform(self._sharing.child_gone(_too_often(wait)))
                else:
                    await self._one_child()
        finally:
            self._perform(self._sharing.child_gone(ShuttingDown("the server is shutting down")))

    async def _is_wanted(self) -> bool:
        try:
            async with asyncio.timeout(self._idle):
                await self._wanted.wait()
        except TimeoutError:
            return self._wanted.is_set()
        return True

    async def _one_child(self) -> None:
        link = self._make_link()
        self._outbox = asyncio.Queue()
        fault: Fault = ShuttingDown("the server is shutting down")
        try:
            await link.open(self._hear)
            self._perform(self._sharing.child_up())
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._write(link)), group.create_task(self._watch_idleness(link))]
                fault = await _until_it_ends(link)
                for task in tasks:
                    task.cancel()
        except Fault as unopened:
            self._perform(self._sharing.child_gone(unopened))
        finally:
            if self._sharing.stage is not Stage.DOWN:  # a retired child is gone already, and others wait for the next
                self._perform(self._sharing.child_gone(fault))
            await link.close()

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        del exchange  # on one pipe, the id alone says to whom a message belongs
        self._perform(self._sharing.from_child(message))

    async def _write(self, link: Link) -> None:
        """Write what is for the child, apart from the reading: a child that is busy writing may not be reading."""
        while True:
            item = await self._outbox.get()
            try:
                await link.send(item.message)
            except Fault as fault:
                if item.private is not None:
                    self._perform(self._sharing.not_sent(item.private, fault))

    async def _watch_idleness(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._last_use + self._idle - loop.time(), self._idle / 10))
            if self._sharing.open_requests == 0 and loop.time() >= self._last_use + self._idle:
                logger.info("the shared server has had nothing to do for %g s: stopping it", self._idle)
                self._perform(self._sharing.child_gone(BackendDown("the idle server was stopped", may_have_run=False)))
                await link.close()
                return

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case ToChild():
                    self._outbox.put_nowait(command)
                case Note(text):
                    logger.info("shared server: %s", text)
                case ToClient(private, _, last):
                    self._hand_out(private, command, last=last)
                case Failed(private) | Ended(private):
                    self._hand_out(private, command, last=True)

    def _hand_out(self, private: str, outcome: ToClient | Failed | Ended, *, last: bool) -> None:
        exchange = self._exchanges.get(private)
        if exchange is None:
            return  # its client has gone
        if not last and exchange.outcomes.qsize() >= _BACKLOG:
            logger.info("shared server: a client does not keep up with its progress notifications; one was dropped")
            return
        exchange.outcomes.put_nowait(outcome)


async def _until_it_ends(link: Link) -> Fault:
    try:
        await link.listen()
    except Fault as fault:
        return fault
    return BackendDown("the server ended")


def _too_often(wait: float) -> BackendDown:
    return BackendDown(
        "the server process keeps ending: it was started as often as is allowed in five minutes",
        hint=f"The server's log says why it ended. The next start is possible in {math.ceil(wait)} s.",
        may_have_run=False,
    )


class _Face:
    """The link of one client to the shared child of its principal."""

    def __init__(self, shared: Callable[[], _Shared], number: int) -> None:
        self._shared = shared
        self._number = number
        self._deliver: Deliver | None = None
        self._running: dict[str, _Exchange] = {}

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=True)

    async def open(self, deliver: Deliver) -> None:
        """Nothing is started here: the first request does that."""
        self._deliver = deliver

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Pass one message on. For a request it returns when the request has ended. Raises a `Fault`."""
        shared = self._shared()
        if message.kind is not Kind.REQUEST:
            shared.notice(self._number, message)
            if written is not None:
                written()
            return
        exchange = shared.begin(self._number, message)
        self._running[exchange.private] = exchange
        if written is not None:
            written()  # what follows from this client follows it to the child, too
        try:
            await self._follow(exchange, message.key)
        finally:
            self._running.pop(exchange.private, None)
            shared.leave(exchange)

    async def _follow(self, exchange: _Exchange, key: Key) -> None:
        if self._deliver is None:
            raise BackendDown("the link has not been opened", may_have_run=False)
        while True:
            match await exchange.outcomes.get():
                case ToClient(_, message, last):
                    await self._deliver(message, key)
                    if last:
                        return
                case Failed(_, fault):
                    raise fault
                case Ended():
                    return

    async def listen(self) -> None:
        """Return at once: a shared server says nothing on its own to any one client."""

    async def close(self) -> None:
        """Give up what is still running; the shared child goes on for the others."""
        for exchange in list(self._running.values()):
            exchange.outcomes.put_nowait(Failed(exchange.private, ShuttingDown("the connection was closed")))


class SharedConnect:
    """A `Connect`, to be entered before it is used: shared for peers without a session, a fresh link for others."""

    def __init__(self, make_link: MakeLink, *, idle: float = IDLE, starts: Callable[[], Starts] = Starts) -> None:
        self._make_link = make_link
        self._idle = idle
        self._starts = starts
        self._group: asyncio.TaskGroup | None = None
        self._shared: dict[str | None, _Shared] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._faces = 0

    def __call__(self, peer: Peer) -> Link:
        if peer.session_id is not None:
            return self._make_link()
        self._faces += 1
        return _Face(lambda: self._shared_of(peer.principal), self._faces)

    def _shared_of(self, principal: str | None) -> _Shared:
        if self._group is None:
            raise RuntimeError("a SharedConnect works inside its `async with` block only")
        if principal not in self._shared:
            shared = _Shared(self._make_link, self._idle, self._starts())
            self._shared[principal] = shared
            life = self._group.create_task(self._live(principal, shared))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        return self._shared[principal]

    async def _live(self, principal: str | None, shared: _Shared) -> None:
        await shared.live()
        del self._shared[principal]  # in the same step in which nobody wanted it: no request can fall in between

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the children, side by side."""
        group, self._group = self._group, None
        for life in self._lives:
            life.cancel()
        if group is not None:
            await group.__aexit__(kind, error, trace)


def shared_connect(make_link: MakeLink) -> SharedConnect:
    """Return a `Connect` that gives peers without a session a face of their principal's shared link.

    Peers with a session get a fresh link each. The result is an asynchronous context manager: enter it around the
    server's run; leaving it stops the shared children.
    """
    return SharedConnect(make_link)
