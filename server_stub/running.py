"""Running: an application, its sockets and the signals, until there is a reason to stop. Decides nothing else.

SIGTERM and SIGINT stop in order, in nine seconds at most; a second signal cuts everything short. SIGHUP reloads where
there is something to reload, and stops elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from mcp_remote_py.core.errors import ConfigError
from server_stub.connections import Connections
from server_stub.settings import ServeSettings

logger = logging.getLogger(__name__)

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
_LAST_SECONDS = 1.0
"""What is left after a second signal."""


class Conduct(NamedTuple):
    """What is done when."""

    stop: Callable[[], Awaitable[None]]
    hurry: Callable[[], None]
    reload: Callable[[], None] | None = None
    begin: Callable[[Sockets], Coroutine[None, None, None]] | None = None
    """Called once the server listens, before it is announced; may open more sockets."""
    failed: asyncio.Event | None = None
    """Set when there is no sense in going on; then `stop` raises what is wrong."""


class Sockets:
    """The ports on which an application listens."""

    def __init__(self, runner: web.AppRunner, host: str) -> None:
        self._runner = runner
        self._host = host
        self._extra: dict[int, web.TCPSite] = {}

    async def first(self, port: int) -> str:
        """Bind the main port, and return the URL. Raises `ConfigError`."""
        host = self._host
        if host == "localhost" and port == 0:
            host = "127.0.0.1"  # each address of a name would get another free port
        site = web.TCPSite(self._runner, host or None, port)
        try:
            await site.start()
        except OSError as error:
            where = f"--host {self._host} --port {port}"
            raise ConfigError(f"{where}: {_reason(error)}. Choose another port, or 0 for a free one.") from None
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{self._runner.addresses[0][1]}"

    async def keep(self, ports: Mapping[int, str]) -> list[str]:
        """Listen on these further ports and on no others. Returns what went wrong, a sentence for each port."""
        for port in [port for port in self._extra if port not in ports]:
            await self._extra.pop(port).stop()
        wrong: list[str] = []
        for port, name in ports.items():
            if port in self._extra:
                continue
            site = web.TCPSite(self._runner, self._host or None, port)
            try:
                await site.start()
            except OSError as error:
                own = any(address[1] == port for address in self._runner.addresses)
                reason = "it is the server's own (--port)" if own else _reason(error)
                wrong.append(f"port {port}, for {name}: {reason}")
            else:
                self._extra[port] = site
        return wrong


def _reason(error: OSError) -> str:
    """Return why a port cannot be had: what the system says, without asyncio's words in front of it."""
    text = (error.strerror or "it cannot be bound").lower()
    return re.sub(r"^error while attempting to bind on address \(.*?\): (\[errno \d+\] )?", "", text)


async def run_application(
    app: web.Application, settings: ServeSettings, conduct: Conduct, ready: Callable[[str], None] | None
) -> None:
    """Serve until a signal, or until cancelled. `ready` is called with the URL once requests are taken.

    Raises `ConfigError` for settings that cannot work, a port that is taken among them.
    """
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # it warns of every unknown sub-protocol
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    # what is packed is refused (`guards/limits`); aiohttp would unpack it all the same, and everybody would wait
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5, auto_decompress=False)
    connections = Connections()
    app.middlewares.insert(0, connections.guard())
    with _signals(conduct) as asked, connections.watched(runner):
        try:
            await runner.setup()
            sockets = Sockets(runner, settings.host)
            url = await sockets.first(settings.port)
            if conduct.begin is not None:
                await _unless(asked, conduct.begin(sockets))
            if ready is not None and not asked.is_set():
                ready(url)
                _warn_of_closed_doors(settings)
            await asked.wait()
            logger.info("stopping")
            await conduct.stop()
        finally:
            await runner.cleanup()


async def _unless(asked: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do this until it is done, or until the server is asked to stop. Raises the `ConfigError` of the work."""

    async def done() -> ConfigError | None:
        try:
            await work
        except ConfigError as error:
            return error
        return None

    async with asyncio.TaskGroup() as group:
        working, stopping = group.create_task(done()), group.create_task(asked.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        stopping.cancel()
    error = None if working.cancelled() else working.result()
    if error is not None:
        raise error


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep what strangers send out of the log: a malformed request is not our trouble, and may hold a secret."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


def _warn_of_closed_doors(settings: ServeSettings) -> None:
    """Whoever binds to every address and names no host will wonder why other machines are refused."""
    doors = settings.doors
    is_named = doors.hosts or doors.public_url or (settings.hosting is not None and settings.hosting.domain)
    if settings.host in ("0.0.0.0", "::", "") and not is_named:
        logger.warning("requests from other machines are refused (421) until --allowed-host NAME says how they call us")


@contextmanager
def _signals(conduct: Conduct) -> Iterator[asyncio.Event]:
    """Yield the event of a first signal, while the block runs. Elsewhere than in the main thread no signal is heard."""
    asked = conduct.failed or asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    loop = asyncio.get_running_loop()
    count = 0

    def first_or_second(number: int) -> None:
        if asked.is_set():
            logger.warning("a second signal: leaving at once")
            conduct.hurry()
            loop.call_later(_LAST_SECONDS, os._exit, 128 + number)
        asked.set()

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal count
        if conduct.reload is not None and number == getattr(signal, "SIGHUP", None):
            loop.call_soon_threadsafe(conduct.reload)
            return
        count += 1
        if count > 2:
            os._exit(128 + number)
        loop.call_soon_threadsafe(first_or_second, number)

    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
