"""Recollection: what the server said last time, looked up where there is trouble, and written down a while after news.

What is worth knowing the relay decides; how it lies on the disk is `server_cache`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mcp_remote_py.credentials import Credentials
from mcp_remote_py.mishaps import Mishaps
from mcp_remote_py.settings import Settings

if TYPE_CHECKING:
    from mcp_remote_py.core.relay import Relay

_LOG = logging.getLogger("mcp_remote_py.bridge")
_KEEP_SECONDS = 1.0
"""News of the server often come together; they are written down together."""


class Recollection:
    """See the module's text. `spawn` begins a task of the bridge."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        relay: Relay,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        mishaps: Mishaps,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._relay = relay
        self._spawn = spawn
        self._mishaps = mishaps
        self._keeping: asyncio.TimerHandle | None = None
        self.is_begun = False
        """Whether it was looked up, or is being looked up; that is done once."""

    async def recall(self) -> None:
        """Look up, once, what the server said last time: there is trouble, and the host may have to be answered."""
        if not self.is_begun:
            await self.look_up()

    async def look_up(self) -> None:
        self.is_begun = True
        if self._settings.timeouts.greet_after is None:
            return
        from mcp_remote_py.server_cache import ServerCache

        try:
            document = await ServerCache(self._settings, self._credentials).recall()
            if document is not None:
                self._relay.recall(document)
        except ValueError as reason:
            _LOG.warning("what was remembered of the server cannot be used: %s", reason)
        except Exception as defect:  # noqa: BLE001  the host is answered all the same
            self._mishaps.own(defect)

    def keep_soon(self) -> None:
        """There is news of the server."""
        if self._keeping is None and self._settings.cache:
            loop = asyncio.get_running_loop()
            self._keeping = loop.call_later(_KEEP_SECONDS, lambda: self._spawn(self._keep()))

    def last_words(self) -> Coroutine[Any, Any, None] | None:
        """We are leaving: return what is still to be written down; None where there is nothing."""
        if self._keeping is None:
            return None
        self._keeping.cancel()
        return self._keep()

    async def _keep(self) -> None:
        self._keeping = None
        from mcp_remote_py.server_cache import ServerCache

        try:
            await ServerCache(self._settings, self._credentials).keep(lambda: self._relay.to_keep)
        except Exception as defect:  # noqa: BLE001  a session must not end because it cannot be remembered
            self._mishaps.own(defect)
