"""Assembly: settings and a backend in, an aiohttp application out; and running it until there is a reason to stop.

The paths and the order of the guards are here, and nothing is decided. A new wire is a file in `endpoints/` and a line
in `_routes`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from mcp_remote_py.core.errors import ConfigError
from server_stub.backends import Connect
from server_stub.endpoints.ops import Ops
from server_stub.endpoints.sse import Sse
from server_stub.endpoints.streamable_http import StreamableHttp
from server_stub.endpoints.websocket import WebSocket
from server_stub.events.memory import MemoryEvents
from server_stub.guards.auth import Doorkeeper, auth
from server_stub.guards.cors import add_headers, cors
from server_stub.guards.limits import limits
from server_stub.guards.observe import observe
from server_stub.guards.origin import origin
from server_stub.sessions import Gateway
from server_stub.settings import Auth, ServeSettings, check
from server_stub.verifiers import Verifier
from server_stub.verifiers.static import StaticTokens

logger = logging.getLogger(__name__)

MCP, SSE, MESSAGES, WS, HEALTH, READY = "/mcp", "/sse", "/messages", "/ws", "/health", "/readyz"
PATHS = (MCP, SSE, MESSAGES, WS, HEALTH, READY)

GATEWAY = web.AppKey("gateway", Gateway)
"""The sessions of an application."""

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")
_LAST_SECONDS = 1.0
"""What is left after a second signal."""


def build_app(settings: ServeSettings, connect: Connect) -> web.Application:
    """Return the application. It lives while it is set up (`AppRunner.setup` to `cleanup`, in one task).

    Raises `ConfigError` for settings that would be unsafe, or a key that cannot be used.
    """
    settings = check(settings)
    if "*" in settings.doors.cors_origins and not settings.auth.is_on:
        logger.warning("any web page may use this server (--cors-origin *), as no authentication is configured")
    doorkeeper = Doorkeeper(_verifiers(settings.auth))
    gateway = Gateway(connect, MemoryEvents(), settings.limits, settings.timing, stateless=settings.stateless)
    app = web.Application(
        client_max_size=settings.limits.body,
        middlewares=[
            observe(PATHS),
            limits(settings.limits.body),
            origin(settings.doors),
            cors(settings.doors),
            auth(doorkeeper, late=frozenset({WS})),
        ],
    )
    app[GATEWAY] = gateway
    app.on_response_prepare.append(add_headers)
    app.add_routes(_routes(settings, gateway, doorkeeper))

    async def alive(_app: web.Application) -> AsyncIterator[None]:
        async with gateway:
            yield

    app.cleanup_ctx.append(alive)
    return app


def _routes(settings: ServeSettings, gateway: Gateway, doorkeeper: Doorkeeper) -> list[web.RouteDef]:
    streamable = StreamableHttp(gateway, settings)
    sse = Sse(gateway, settings, streamable, MESSAGES)
    ops = Ops(gateway, settings.service_name)
    routes = [
        web.post(MCP, streamable.post),
        web.post(SSE, streamable.post),
        web.get(SSE, sse.get, allow_head=False),
        web.post(MESSAGES, sse.post),
        web.get(WS, WebSocket(gateway, settings, doorkeeper).get, allow_head=False),
        web.get(HEALTH, ops.health),
        web.get(READY, ops.ready),
    ]
    if not settings.stateless:
        routes += [
            web.get(MCP, streamable.get, allow_head=False),
            web.delete(MCP, streamable.delete),
            web.delete(SSE, streamable.delete),
        ]
    return routes


def _verifiers(settings: Auth) -> list[Verifier]:
    found: list[Verifier] = []
    if settings.tokens:
        found.append(StaticTokens(settings.tokens))
    if settings.jwt is not None:
        from server_stub.verifiers.jwt import JsonWebTokens

        found.append(JsonWebTokens(settings.jwt))
    return found


# --- Running ---------------------------------------------------------------------------------------------------------


async def run(settings: ServeSettings, connect: Connect, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, or until cancelled; then stop in order, in nine seconds at most.

    `ready` is called with the bound URL (`http://127.0.0.1:8080`) once requests are taken. A second signal cuts
    everything short. Raises `ConfigError` for settings that cannot work, a port that is taken among them.
    """
    app = build_app(settings, connect)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # it warns of every unknown sub-protocol
    logging.getLogger("aiohttp.server").addFilter(_is_ours)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    gateway = app[GATEWAY]
    with _signals(gateway) as asked:
        try:
            url = await _listen(runner, settings)
            if ready is not None:
                ready(url)
            _warn_of_closed_doors(settings)
            await asked.wait()
            logger.info("stopping")
            await gateway.stop(settings.timing.grace)
        finally:
            await runner.cleanup()


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep what strangers send out of the log: a malformed request is not our trouble, and may hold a secret."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _warn_of_closed_doors(settings: ServeSettings) -> None:
    """Whoever binds to every address and names no host will wonder why other machines are refused."""
    if settings.host in ("0.0.0.0", "::", "") and not settings.doors.hosts and not settings.doors.public_url:
        logger.warning("requests from other machines are refused (421) until --allowed-host NAME says how they call us")


async def _listen(runner: web.AppRunner, settings: ServeSettings) -> str:
    """Bind, and return the URL."""
    host = settings.host
    if host == "localhost" and settings.port == 0:
        host = "127.0.0.1"  # each address of a name would get another free port
    site = web.TCPSite(runner, host or None, settings.port)
    try:
        await site.start()
    except OSError as error:
        reason = error.strerror or "it cannot be bound"
        where = f"--host {settings.host} --port {settings.port}"
        raise ConfigError(f"{where}: {reason.lower()}. Choose another port, or 0 for a free one.") from None
    port = runner.addresses[0][1]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{shown}:{port}"


@contextmanager
def _signals(gateway: Gateway) -> Iterator[asyncio.Event]:
    """Yield the event of a first signal, while the block runs. Elsewhere than in the main thread no signal is heard."""
    asked = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    loop = asyncio.get_running_loop()
    count = 0

    def first_or_second(number: int) -> None:
        if asked.is_set():
            logger.warning("a second signal: leaving at once")
            gateway.hurry()
            loop.call_later(_LAST_SECONDS, os._exit, 128 + number)
        asked.set()

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal count
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
