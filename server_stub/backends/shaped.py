"""A member's tool filter and names, around any backend: the shapers of the bridge, on the server's side.

    client ⇄ names ⇄ filter ⇄ the member's own link

Clients see what the file lets them see, under the names that it asks for. Patterns are about the member's own names.
What is hidden and called all the same is refused here; the member does not hear of it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Note, ToClient
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.filters import Filter, Rule, Wording
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Batch, Key, Kind, Message
from mcp_remote_py.core.names import Names
from mcp_remote_py.core.shaping import Chain, Onward, Shaper
from server_stub.backends import Connect, Peer
from server_stub.core.merging import PAGES
from server_stub.core.roster import Manners

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that fetching a list of our own may take; a call then goes on under the name that it has."""

WORDING = Wording(
    "is blocked by this server's toolFilter",
    "is not among those that this server's toolFilter allows",
    "The toolFilter in the configuration of mcp-remote-server says which tools may be used.",
    "mcp-remote-server",
)
_NOTHING = ("\0",)
"""A list that allows nothing: no tool is called so."""
_LISTS = {
    "notifications/tools/list_changed": "tools/list",
    "notifications/prompts/list_changed": "prompts/list",
}


class _Shaped:
    """One link with its shapers."""

    def __init__(self, link: Link, manners: Manners) -> None:
        self._link = link
        self._deliver: Deliver | None = None
        self._own: dict[str, asyncio.Future[Message]] = {}
        self._known: set[str] = set()
        self._learning = asyncio.Lock()
        self._names = None if manners.names is None or manners.names == "off" else Names(manners.names)
        shapers: list[Shaper] = [] if self._names is None else [self._names]
        if manners.block or manners.allow is not None:
            only = () if manners.allow is None else manners.allow or _NOTHING
            shapers.append(Filter(Rule("tool", manners.block, only, WORDING), Rule("prompt"), Rule("resource")))
        self._chain = Chain(shapers)

    @property
    def traits(self) -> Traits:
        return self._link.traits

    async def open(self, deliver: Deliver) -> None:
        """Open the link behind. Raises a `Fault`."""
        self._deliver = deliver
        await self._link.open(self._hear)

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Carry a message as the member knows it; one that is refused is answered here. Raises a `Fault`."""
        if self._names is not None and message.kind is Kind.REQUEST:
            method = self._names.asks_first(message)
            if method is not None:
                await self._learn(method)
        for step in self._chain.from_host(message):
            if isinstance(step, Onward):
                await self._link.send(step.message, written)
            else:
                if written is not None:
                    written()
                await self._said(step, message, message.key if message.kind is Kind.REQUEST else None)

    async def listen(self) -> None:
        """Listen to the link behind. Raises a `Fault`."""
        await self._link.listen()

    async def close(self) -> None:
        """Close the link behind."""
        for future in self._own.values():
            future.cancel()
        await self._link.close()

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        future = self._own.get(message.id) if message.is_answer and isinstance(message.id, str) else None
        if future is not None:
            if not future.done():
                future.set_result(message)
            return
        if exchange is not None and exchange.value in self._own:
            exchange = None  # said in the course of a list of our own
        if message.method in _LISTS:
            self._known.discard(_LISTS[message.method])
        for step in self._chain.to_host(message):
            await self._said(step, message, exchange)

    async def _said(self, step: object, message: Message, exchange: Key | None) -> None:
        """Deliver what is for the client: the very same message where nothing was changed."""
        if isinstance(step, ToClient) and self._deliver is not None:
            same = step.raw is message.raw
            await self._deliver(message if same else msg.parse_one(step.raw), exchange)
        elif isinstance(step, Note):
            logger.debug("%s", step)
        elif isinstance(step, Batch):
            logger.debug("a batch is no single message; it was dropped")  # the front takes batches apart

    async def _learn(self, method: str) -> None:
        """Fetch a list once, so that a name can be translated in a session that never asked for it."""
        async with self._learning:
            if method in self._known:
                return
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._all_pages(method)
            except (Fault, TimeoutError) as trouble:
                logger.info("%s could not be fetched to translate a name: %s", method, trouble)
                return
            self._known.add(method)

    async def _all_pages(self, method: str) -> None:
        cursor: object = None
        for _ in range(PAGES):
            identifier = f"names-{secrets.token_hex(16)}"
            request = msg.request(identifier, method, {"cursor": cursor} if isinstance(cursor, str) else None)
            answer = await self._ask(identifier, request)
            if answer is None or answer.kind is Kind.ERROR:
                return
            if self._names is not None:
                self._names.to_host(answer, request)  # which learns the names
            cursor = answer.result.get("nextCursor")
            if not isinstance(cursor, str):
                return

    async def _ask(self, identifier: str, request: Message) -> Message | None:
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._own[identifier] = future
        try:
            await self._link.send(request)
            if self.traits.streams_per_exchange and not future.done():
                return None  # its stream has ended without an answer
            return await future
        finally:
            del self._own[identifier]


def shaped(connect: Connect, manners: Manners) -> Connect:
    """Return a `Connect` whose links keep to these manners; the same one where they ask for nothing."""
    if manners.names in (None, "off") and manners.allow is None and not manners.block:
        return connect

    def connect_shaped(peer: Peer) -> Link:
        return _Shaped(connect(peer), manners)

    return connect_shaped
