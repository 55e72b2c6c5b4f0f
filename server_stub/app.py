"""Assembly of a server with one backend: settings and the backend in, an aiohttp application out.

The paths and the order of the guards are here, and nothing is decided. Many backends behind one front: `hosting`.
"""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from server_stub.backends import Connect
from server_stub.doorkeeper import doorkeeper_of
from server_stub.endpoints.ops import Ops
from server_stub.endpoints.wires import MESSAGES, Wires
from server_stub.events.memory import MemoryEvents
from server_stub.guards.auth import auth
from server_stub.guards.cors import add_headers, cors
from server_stub.guards.limits import limits
from server_stub.guards.observe import observe
from server_stub.guards.origin import origin
from server_stub.guards.site import FindSite, located, one_site
from server_stub.running import Conduct, run_application
from server_stub.sessions import Gateway
from server_stub.settings import ServeSettings, check

logger = logging.getLogger(__name__)

PATHS = ("/mcp", "/sse", "/messages", "/ws", "/health", "/readyz")

GATEWAY = web.AppKey("gateway", Gateway)
"""The sessions of an application."""


def guarded(settings: ServeSettings, find: FindSite, paths: tuple[str, ...]) -> web.Application:
    """Return an application without routes, with all guards in their order."""
    app = web.Application(
        client_max_size=settings.limits.body,
        middlewares=[observe(paths), limits(settings.limits.body), located(find), origin(), cors(), auth()],
    )
    app.on_response_prepare.append(add_headers)
    return app


def build_app(settings: ServeSettings, connect: Connect) -> web.Application:
    """Return the application. It lives while it is set up (`AppRunner.setup` to `cleanup`, in one task).

    Raises `ConfigError` for settings that would be unsafe, or a key that cannot be used.
    """
    settings = check(settings)
    if "*" in settings.doors.cors_origins and not settings.auth.is_on:
        logger.warning("any web page may use this server (--cors-origin *), as no authentication is configured")
    doorkeeper = doorkeeper_of(settings.auth)
    gateway = Gateway(connect, MemoryEvents(), settings.limits, settings.timing, stateless=settings.stateless)
    app = guarded(settings, one_site(settings.doors, doorkeeper, frozenset({"/ws"})), PATHS)
    app[GATEWAY] = gateway
    messages = urllib.parse.urlsplit(settings.doors.public_url or "").path.rstrip("/") + f"/{MESSAGES}"
    wires = Wires(gateway, settings, doorkeeper, lambda _: messages)
    for name, methods in wires.table.items():
        for method, handler in methods.items():
            app.router.add_route(method, f"/{name}", handler)
    ops = Ops(settings.service_name, lambda: gateway.stopping)
    app.add_routes([web.get("/health", ops.health), web.get("/readyz", ops.ready)])

    async def alive(_app: web.Application) -> AsyncIterator[None]:
        async with gateway:
            yield

    app.cleanup_ctx.append(alive)
    return app


async def run(settings: ServeSettings, connect: Connect, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, or until cancelled; then stop in order, in nine seconds at most.

    `ready` is called with the bound URL (`http://127.0.0.1:8080`) once requests are taken. A second signal cuts
    everything short. Raises `ConfigError` for settings that cannot work, a port that is taken among them.
    """
    app = build_app(settings, connect)
    gateway = app[GATEWAY]

    async def stop() -> None:
        await gateway.stop(settings.timing.grace)

    await run_application(app, settings, Conduct(stop, gateway.hurry), ready)
