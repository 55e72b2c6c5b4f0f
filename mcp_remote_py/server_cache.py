"""Server cache: what a server said last time, for hosts that start while it is away. One file per URL and principal.

The name of the file is a digest of the URL and of what the server is shown: another account never sees what this one
was told. It is looked for only when there is trouble, and written after news. Kept is what the server said; what the
host is shown of it is decided anew each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable

from mcp_remote_py.core import memory
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.credentials import account_of
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.memory import Document
from mcp_remote_py.credentials import Credentials
from mcp_remote_py.settings import Settings
from mcp_remote_py.state import StateFile, private_folder

_LOG = logging.getLogger("mcp_remote_py.server_cache")
FOLDER = "servers"
_SECONDS = 3.0
"""A disk may hang (a home folder over a network); nobody waits longer for it."""


class ServerCache:
    """See the module's text."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._is_on = settings.cache and bool(settings.home)

    async def recall(self) -> Document | None:
        """Return what is known of the server for who we are now; None where nothing is."""
        if not self._is_on:
            return None
        try:
            async with asyncio.timeout(_SECONDS):
                path = await self._path()
                return None if path is None else await asyncio.to_thread(StateFile(path).read)
        except TimeoutError:
            _LOG.warning("the folder %s does not answer: nothing is remembered", self._settings.home)
            return None

    async def keep(self, document: Callable[[], Document | None]) -> None:
        """Write down what is known now; lists that only the file has stay there."""
        if not self._is_on:
            return
        path, newer = await self._path(), document()
        if path is None or newer is None:
            return
        await asyncio.to_thread(self._write, path, newer)

    def _write(self, path: str, newer: Document) -> None:
        try:
            os.makedirs(self._settings.home, mode=0o700, exist_ok=True)  # one that is there may serve others, too
            private_folder(os.path.dirname(path))
        except OSError as error:
            _LOG.warning("%s cannot be used: %s; nothing is remembered", self._settings.home, error.strerror)
            return
        StateFile(path).update(lambda older: newer if older is None else memory.merged(newer, older))

    async def _path(self) -> str | None:
        try:
            shown = await self._credentials.headers()
        except Fault:
            return None  # who we are cannot be said now; the wire reports it
        name = await asyncio.to_thread(_digest, self._settings, shown)
        return os.path.join(self._settings.home, FOLDER, f"{name}.json")


def _digest(settings: Settings, shown: Headers) -> str:
    """Return a name for this server as this principal sees it. Nothing can be read from it."""
    account = sorted((name.lower(), account_of(content)) for name, content in shown)
    whole = msg.encode([settings.target.url, account, _certificate(settings.tls.client_cert)])
    return hashlib.sha256(whole).hexdigest()[:40]


def _certificate(path: str | None) -> str:
    if path is None:
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return f"not readable: {path}"
