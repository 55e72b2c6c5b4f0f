"""Connection: the one link that is in use: dialled, opened, listened to, left, closed. What comes of it is the relay's.

A link that was replaced has nothing more to say: only the one that is in use is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_remote_py.core.commands import Command
from mcp_remote_py.core.errors import Fault, Unreachable
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Key, Message
from mcp_remote_py.credentials import Credentials
from mcp_remote_py.mishaps import Mishaps
from mcp_remote_py.settings import Settings, Timeouts

if TYPE_CHECKING:
    from mcp_remote_py.core.relay import Relay
    from mcp_remote_py.net.cookies import Jars
    from mcp_remote_py.transports.reach import Reach

_LOG = logging.getLogger("mcp_remote_py.bridge")
_ORDER_SECONDS = 10.0
"""How long later messages wait for a notification that does not arrive."""
WIRE_NAMES = {"http": "Streamable HTTP", "sse": "HTTP+SSE", "ws": "WebSocket"}


class Hooks(NamedTuple):
    """What the bridge does for a connection."""

    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    perform: Callable[[list[Command]], None]
    deliver: Callable[[Link, Message, Key | None], Awaitable[None]]
    recall: Callable[[], Awaitable[None]]
    """Look up what is remembered, before trouble is reported."""
    learn: Callable[[str], None]
    """This is a secret."""


class Connection:
    """See the module's text."""

    def __init__(
        self, settings: Settings, credentials: Credentials, relay: Relay, mishaps: Mishaps, hooks: Hooks
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._relay = relay
        self._mishaps = mishaps
        self._hooks = hooks
        self._jars: Jars = {}
        self._listening: asyncio.Task[None] | None = None
        self._wire_to_name: str | None = None  # until the server has said something over it
        self.link: Link | None = None
        """The one in use."""

    @property
    def is_listening(self) -> bool:
        """Whether there is a standing stream, or a pipe that is read."""
        return self._listening is not None and not self._listening.done()

    async def warm(self) -> None:
        """Import what the wire needs while the host is still speaking."""
        with contextlib.suppress(Fault):  # whoever uses the wire will meet the same trouble, and report it
            await asyncio.to_thread(_load, self._relay.wire)

    def dial(self, wire: str) -> None:
        """Open a link, and leave the one before at once: it must not have a word in the opening of the new one."""
        old, self.link = self.link, None
        self.stop_listening()
        if old is not None:
            self._hooks.spawn(self.close(old))
        self._hooks.spawn(self._dial(wire))

    async def _dial(self, wire: str) -> None:
        perform = self._hooks.perform
        try:
            link = await self._open(wire)
        except Fault as trouble:
            await self._hooks.recall()
            perform(self._relay.link_failed(self._mishaps.clean(trouble)))
        except Exception as defect:  # noqa: BLE001  as for an exchange
            perform(self._relay.link_failed(self._mishaps.own(defect)))
        else:
            self._wire_to_name = wire
            if not link.traits.streams_per_exchange:
                self._listening = self._hooks.spawn(self._listen(link, None))
            perform(self._relay.link_up(link.traits))

    async def _open(self, wire: str) -> Link:
        await asyncio.to_thread(_load, wire)
        from mcp_remote_py.transports import open_link

        link = open_link(wire, self._reach())
        self.link = link
        try:
            await link.open(lambda message, exchange: self._hooks.deliver(link, message, exchange))
        except BaseException:  # cancelled while dialling, too: a half-open link must not stay behind
            if self.link is link:
                self.link = None
            with contextlib.suppress(Fault):  # the first trouble is the one to report
                await link.close()
            raise
        return link

    def _reach(self) -> Reach:
        from mcp_remote_py.transports.reach import Reach

        given = self._settings
        return Reach(
            given.target,
            self._credentials,
            given.timeouts,
            given.tls,
            given.network,
            given.limits,
            learn=self._hooks.learn,
            heard=self._heard if _counts_silence(given.timeouts) else None,
            jars=self._jars,
        )

    def _heard(self, key: Key) -> None:
        self._hooks.perform(self._relay.heard(key))

    def listen_again(self, before: asyncio.Event | None) -> None:
        """Keep a stream for what the server says on its own, after what must arrive first."""
        link = self.link
        if link is None or not link.traits.streams_per_exchange:
            return  # a shared pipe is listened to from its opening on
        self.stop_listening()
        self._listening = self._hooks.spawn(self._listen(link, before))

    async def _listen(self, link: Link, before: asyncio.Event | None) -> None:
        fault: Fault | None = None
        try:
            await in_order(before)
            await link.listen()
        except Fault as trouble:
            fault = self._mishaps.clean(trouble)
        except Exception as defect:  # noqa: BLE001  as for an exchange
            fault = self._mishaps.own(defect)
        if link is self.link:
            self._hooks.perform(self._relay.listen_over(fault))

    def stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def leave(self) -> Link | None:
        """We are leaving: return the link, which is to be closed."""
        self.stop_listening()
        link, self.link = self.link, None
        return link

    async def close(self, link: Link) -> None:
        try:
            await link.close()
        except Fault as trouble:
            _LOG.debug("the session could not be ended: %s", self._mishaps.clean(trouble))

    def said(self) -> None:
        """The server said something: the first time over a wire, the log tells which it is."""
        if self._wire_to_name is not None:
            _LOG.info("speaking %s with %s", WIRE_NAMES[self._wire_to_name], self._host())
            self._wire_to_name = None

    def _host(self) -> str:
        from urllib.parse import urlsplit

        return urlsplit(self._settings.target.url).hostname or ""


async def in_order(before: asyncio.Event | None) -> None:
    """Wait for what must arrive first, but not for ever."""
    if before is None or before.is_set():
        return
    with contextlib.suppress(TimeoutError):  # a server that does not accept a notification must not stop the rest
        async with asyncio.timeout(_ORDER_SECONDS):
            await before.wait()


def _load(wire: str) -> None:
    """Import the module of a wire. Raises `Unreachable` where the installation lacks something."""
    from mcp_remote_py.transports import load

    try:
        load(wire)
    except ImportError as error:
        text = f"the installation is incomplete: the module {error.name} is missing"
        raise Unreachable(text, hint="Install mcp-remote-py again.") from None


def _counts_silence(given: Timeouts) -> bool:
    return given.first_byte is not None or given.idle is not None
