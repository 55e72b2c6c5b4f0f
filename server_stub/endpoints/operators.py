"""What an operator asks first: how the members fare, what they use, what they offer; and two things to do about it.

    GET  /health/servers  /health/resources  /listmcp  /listtools/{name}
    POST /cleanup[?server=NAME]  /restart/{name}

Who may ask, and what the documents say, is `core/operators`. These paths are dispatched by the front, not by a router.
"""

from __future__ import annotations

import asyncio
import logging
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.message import encode
from mcp_remote_py.core.redact import printable
from server_stub.core import operators
from server_stub.core.access import Doors
from server_stub.core.operators import Asking, Shown
from server_stub.core.vitals import State
from server_stub.endpoints.replies import json_reply
from server_stub.fleet import Fleet, Hosted
from server_stub.guards import host_of, local_address
from server_stub.resources import Resources

logger = logging.getLogger(__name__)

_TOOLS_SECONDS = 60.0
"""What starting a child and listing its tools may take, whatever its own limits are."""
_NOT_NOW = (State.COOLING, State.FAILED)

Answer = Callable[[web.Request, str], Awaitable[web.Response]]


class _Route(NamedTuple):
    methods: tuple[str, ...]
    answer: Answer


class Operators:
    """The endpoints. `doors` say which web pages may ask, beside those of this machine."""

    def __init__(
        self,
        fleet: Fleet,
        admin_tokens: tuple[str, ...],
        resources: Resources,
        redact: Callable[[str], str],
        doors: Doors | None = None,
    ) -> None:
        self._fleet = fleet
        self._tokens = admin_tokens
        self._resources = resources
        self._redact = redact
        self._doors = doors or Doors()
        read, change = ("GET", "HEAD"), ("POST",)
        self._exact = {
            "/health/servers": _Route(read, self._servers),
            "/health/resources": _Route(read, self._used),
            "/listmcp": _Route(read, self._list),
            "/cleanup": _Route(change, self._sweep),
        }
        self._named = {"/listtools": _Route(read, self._tools), "/restart": _Route(change, self._restart)}

    def methods(self, path: str) -> tuple[str, ...] | None:
        """Return the methods of an operator's path; None where it is none."""
        found = self._route(path)
        return None if found is None else found[0].methods

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse | None:
        """Answer, or return None where this is no operator's path. `path`: as it was sent, or decoded."""
        found = self._route(path)
        if found is None:
            return None
        route, name = found
        if request.method not in route.methods:
            return _reply(405, {"error": "Method Not Allowed"}, {"Allow": ", ".join(route.methods)})
        refusal = operators.may_ask(asking_of(request), self._tokens, self._doors)
        if refusal is not None:
            logger.warning("refused: %s %s: %s", request.method, printable(path, 200), refusal.document["error"])
            return _reply(refusal.status, refusal.document, dict(refusal.headers))
        return await route.answer(request, name)

    def _route(self, path: str) -> tuple[_Route, str] | None:
        """Return the route, and the name behind it."""
        path = path.partition("?")[0]
        exact = self._exact.get(path.rstrip("/"))
        if exact is not None:
            return exact, ""
        first, _, rest = path.removeprefix("/").partition("/")
        named = self._named.get(f"/{first}")
        return None if named is None else (named, rest.rstrip("/"))

    def _find(self, name: str) -> Hosted | None:
        """Return the member of this name; whoever wrote a name percent-encoded twice, or not at all, is understood."""
        return self._fleet.find(name) or self._fleet.find(urllib.parse.unquote(name))

    # --- Looking -----------------------------------------------------------------------------------------------------

    async def _servers(self, request: web.Request, name: str) -> web.Response:
        del request, name
        return _reply(200, operators.servers_document(self._shown(), time.time(), self._redact))

    async def _used(self, request: web.Request, name: str) -> web.Response:
        del request, name
        found = await self._resources.now()
        return _reply(200, operators.resources_document(found, time.time(), self._resources.note))

    async def _list(self, request: web.Request, name: str) -> web.Response:
        del request, name
        return _reply(200, operators.list_document(self._shown(), self._redact))

    async def _tools(self, request: web.Request, name: str) -> web.Response:
        del request
        hosted = self._find(name)
        if hosted is None:
            return self._unknown(name)
        try:
            async with asyncio.timeout(_TOOLS_SECONDS):
                answer = await hosted.tools()
        except Fault as fault:
            return self._failed(hosted, fault)
        except TimeoutError:
            return _reply(
                502, {"error": f"It did not answer within {_TOOLS_SECONDS:g} s.", "server": hosted.member.name}
            )
        # the answer goes on byte for byte, as everything that a server says
        return _raw_reply(200, b'{"server":%b,"response":%b}' % (encode(hosted.member.name), answer.raw))

    # --- Changing ----------------------------------------------------------------------------------------------------

    async def _sweep(self, request: web.Request, name: str) -> web.Response:
        del name
        wanted = request.query.get("server")
        only = None if wanted is None else self._find(wanted)
        if wanted is not None and only is None:
            return self._unknown(wanted)
        swept = [hosted.sweep() for hosted in ([only] if only is not None else self._fleet.members())]
        sessions, children = sum(one.sessions for one in swept), sum(one.children for one in swept)
        logger.info("an operator cleaned up: %d sessions, %d children", sessions, children)
        return _reply(200, {"status": "ok", "sessions": sessions, "children": children})

    async def _restart(self, request: web.Request, name: str) -> web.Response:
        del request
        hosted = self._find(name)
        if hosted is None:
            return self._unknown(name)
        shown = _shown(hosted)
        if operators.state_of(shown) in ("disabled", "invalid"):
            return _reply(409, self._why_not(shown))
        logger.info("an operator restarts %s", printable(name, 200))
        try:
            await hosted.restart()
        except Fault as fault:
            return self._failed(hosted, fault)
        return _reply(200, {"status": "ok", "server": hosted.member.name, "state": operators.state_of(_shown(hosted))})

    # --- Answers -----------------------------------------------------------------------------------------------------

    def _shown(self) -> list[Shown]:
        return [_shown(hosted) for hosted in self._fleet.members()]

    def _unknown(self, name: str) -> web.Response:
        names = [hosted.member.name for hosted in self._fleet.members()]
        return _reply(404, operators.unknown_document(name, names))

    def _failed(self, hosted: Hosted, fault: Fault) -> web.Response:
        """503 where nothing is started now, 502 where what was started did not do its part."""
        shown = _shown(hosted)
        is_off = operators.state_of(shown) in ("disabled", "invalid") or shown.vitals.state in _NOT_NOW
        document = {
            "error": self._redact(str(fault)),
            "name": fault.name,
            "hint": self._redact(fault.hint),
            **self._why_not(shown),
        }
        return _reply(503 if is_off else 502, document)

    def _why_not(self, shown: Shown) -> dict[str, Any]:
        state, why = operators.state_of(shown), operators.why_of(shown, self._redact)
        document = {"server": shown.member.name, "state": state, "why": why}
        if state == "disabled":
            hint = f"`mcp-remote-server enable {shown.member.name}` switches it on."
            return {"error": "This server is disabled.", "hint": hint, **document}
        if state == "invalid":
            hint = "`mcp-remote-server check FILE` says where the mistake is; mend it and reload."
            return {"error": "This server cannot be started.", "hint": hint, **document}
        return document


def asking_of(request: web.Request) -> Asking:
    """Return what `core/operators` must know of a request."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    peer = str(name[0]) if isinstance(name, tuple) and name else None
    headers = tuple(request.headers.items())
    host = host_of(request)
    if host != request.headers.get("Host"):
        headers = (("Host", host or ""), *(pair for pair in headers if pair[0].lower() != "host"))
    is_old = request.version < (1, 1)
    return Asking(request.method, peer, local_address(request), headers, is_old)


def _shown(hosted: Hosted) -> Shown:
    return Shown(hosted.member, hosted.vitals(), hosted.sessions)


def _reply(status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return _raw_reply(status, encode(document), headers)


def _raw_reply(status: int, raw: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_reply(
        status, raw, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    )
