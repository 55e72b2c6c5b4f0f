"""Assembly of a server with many backends: a configuration in, one aiohttp application out; and running it.

What is watched here is the file: it is read again when it changes and on SIGHUP, and `hosting` performs the difference.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from mcp_remote_py.core.errors import ConfigError, Fault
from mcp_remote_py.core.redact import Redactor
from server_stub.app import guarded
from server_stub.core.roster import Roster
from server_stub.endpoints.operators import Operators
from server_stub.endpoints.ops import Ops
from server_stub.front import Front
from server_stub.hosting import Hosted, HostedMember, check_roster
from server_stub.resources import resources_of
from server_stub.running import Conduct, Sockets, run_application
from server_stub.settings import Hosting, ServeSettings
from server_stub.watching import changes

logger = logging.getLogger(__name__)

ReadRoster = Callable[[], Roster]
PATHS = ("/{name}/mcp", "/{name}/sse", "/{name}/ws", "/health", "/readyz")


class HostedServer:
    """One running server with many members. `read` reads the configuration anew; it blocks, and runs in a thread."""

    def __init__(
        self, settings: ServeSettings, hosting: Hosting, roster: Roster, read: ReadRoster, redactor: Redactor
    ) -> None:
        check_roster(settings, hosting, roster)
        self._settings = settings
        self._hosting = hosting
        self._read = read
        self._redactor = redactor
        self._hosted = Hosted(settings, hosting, roster, redactor.learn)
        self._sockets: Sockets | None = None
        self._reloading = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._failed = asyncio.Event()
        self._trouble: ConfigError | None = None
        self._resources = resources_of(self._hosted)
        operators = Operators(self._hosted, hosting.admin_tokens, self._resources, redactor.scrub, settings.doors)
        ops = Ops(settings.service_name, lambda: self._hosted.stopping, self._state)
        self._front = Front(self._hosted, ops, operators.handle)
        self.app = guarded(settings, self._front.find, PATHS)
        self.app.router.add_route("*", "/{path:.*}", self._front.handle)
        self.app.cleanup_ctx.append(self._alive)

    def introduced(self) -> list[str]:
        """Return the name of each server, with the port of its own, and what keeps it from being reached."""
        ports = {name: port for port, name in self._hosted.ports.items()}
        told: list[str] = []
        for member in self._hosted.roster.members:
            broken = "cannot be started" if member.invalid is not None else ""
            notes = [
                *([f"port {ports[member.name]}"] if member.name in ports else []),
                *([broken if member.enabled else "disabled"] if broken or not member.enabled else []),
            ]
            told.append(f"{member.name} ({', '.join(notes)})" if notes else member.name)
        return told

    async def run(self, ready: Callable[[str], None] | None) -> None:
        """Serve until a signal. Raises `ConfigError`."""
        conduct = Conduct(self._stop, self._hosted.hurry, self._wanted.set, self._begin, self._failed)
        await run_application(self.app, self._settings, conduct, ready)
        if self._trouble is not None:
            raise self._trouble

    async def _alive(self, _app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            background = await stack.enter_async_context(asyncio.TaskGroup())
            await stack.enter_async_context(self._hosted.alive(self._front.messages))
            tasks = [
                background.create_task(self._watch()),
                background.create_task(self._reload_when_wanted()),
                background.create_task(self._resources.run()),
            ]
            yield
            for task in tasks:
                task.cancel()

    async def _begin(self, sockets: Sockets) -> None:
        """Open the ports of members, and try those that may not fail. Raises `ConfigError`."""
        self._sockets = sockets
        wrong = await sockets.keep(self._hosted.ports)
        if wrong:
            raise ConfigError("--port-per-server: " + "; ".join(wrong) + ". Choose another first port.")
        async with asyncio.TaskGroup() as group:
            tries = [group.create_task(_try(hosted)) for hosted in self._hosted.members()]
        wrong = [text for text in (one.result() for one in tries) if text is not None]
        if wrong:
            raise ConfigError("\n".join(wrong))

    async def _stop(self) -> None:
        await self._hosted.stop()

    # --- what operators see ------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        texts = (*self._hosted.warnings, *self._hosted.waiting, *map(str, self._hosted.roster.findings))
        folder = os.path.dirname(os.path.abspath(self._hosting.file)) + os.sep  # is nobody's business
        warnings = [self._redactor.scrub(text.replace(folder, "")) for text in texts]
        return {"config": self._hosted.roster.digest, "warnings": warnings}

    # --- reading the file again --------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async for _ in changes(lambda: self._hosted.roster.sources):
            await self._reload(is_order=False)

    async def _reload_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._reload(is_order=True)

    async def _reload(self, *, is_order: bool) -> None:
        """Read the file and perform what changed. One that cannot be used changes nothing."""
        async with self._reloading:
            try:
                roster = await asyncio.to_thread(self._read)
                if roster.digest == self._hosted.roster.digest and not is_order:
                    if self._hosted.warnings:
                        logger.info("the configuration can be used again: it is as it was")
                    self._hosted.warnings = ()
                    return
                for secret in roster.secrets:
                    self._redactor.add(secret)
                self._hosted.apply(roster)
            except ConfigError as error:
                self._hosted.warnings = (str(error),)
                logger.error("the configuration as it is now cannot be used, the one before stays: %s", error)
                return
            except Exception:  # a defect of ours at reading must not end what runs
                self._hosted.warnings = ("The configuration could not be read again; the log says more.",)
                logger.exception("the configuration as it is now cannot be used, the one before stays")
                return
            for text in self._hosted.waiting:
                logger.warning("%s", text)
            for finding in roster.findings:
                logger.log(logging.ERROR if finding.severity == "error" else logging.WARNING, "%s", finding)
            if self._sockets is not None:
                for text in await self._sockets.keep(self._hosted.ports):
                    logger.error("--port-per-server: %s", text)


async def _try(hosted: HostedMember) -> str | None:
    """Return why a member that may not fail does; None where all is well."""
    if hosted.may_run and hosted.member.manners.panic_if_invalid:
        try:
            await hosted.tools()
        except Fault as fault:
            return f"{hosted.member.name}: {fault} (panicIfInvalid is set)"
    return None
