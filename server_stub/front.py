"""The front of many members: finds out whom a request is for, and hands it to that member's endpoints.

aiohttp's router may not change once it runs, and members come and go; so there is one route for everything, and
`core/addressing` says what a request means. What is asked of whom is decided there and in the guards, not here.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.message import encode
from server_stub.core.access import Doors, credential_of, host_allowed, origin_allowed
from server_stub.core.addressing import Address, Naming, Place, address, is_of_domain
from server_stub.core.admission import reject_fault
from server_stub.core.vitals import State, Vitals
from server_stub.doorkeeper import Doorkeeper
from server_stub.endpoints.ops import Ops
from server_stub.endpoints.replies import json_reply, rejected
from server_stub.endpoints.wires import Table
from server_stub.guards import host_of, local_address, request_key
from server_stub.guards.site import Site

_ADDRESS = request_key("address")
_TABLE_OF = {"": "sse"}
"""`/{name}/` speaks what /sse speaks: Streamable HTTP, and HTTP+SSE to a GET without a session."""

_TOLD_BY_MESSAGE = frozenset((("GET", "sse"), ("GET", ""), ("GET", "ws"), ("POST", "messages")))
"""Where clients show nobody what stands in a refusal: why a member does not run is the answer to `initialize`."""


class Desk(Protocol):
    """What the front must know of a member, or of the merged server."""

    @property
    def doors(self) -> Doors: ...

    @property
    def doorkeeper(self) -> Doorkeeper: ...

    @property
    def table(self) -> Table:
        """Its endpoints by tail and method."""
        ...

    @property
    def may_run(self) -> bool:
        """Whether it is on, and nothing in the configuration keeps it from running."""
        ...

    def vitals(self) -> Vitals: ...


class Directory(Protocol):
    """Who is there, at this moment."""

    @property
    def naming(self) -> Naming: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def merged(self) -> Desk | None: ...

    def desk(self, name: str) -> Desk: ...

    doors: Doors
    doorkeeper: Doorkeeper


class Front:
    """See the module's text. `operators` answers what operators ask, or returns None where it is no such question."""

    def __init__(
        self,
        directory: Directory,
        ops: Ops,
        operators: Callable[[web.Request, str], Awaitable[web.StreamResponse | None]],
    ) -> None:
        self._directory = directory
        self._probes: dict[str, Handler] = {"": ops.health, "health": ops.health, "readyz": ops.ready}
        self._operators = operators

    # --- for the guards ----------------------------------------------------------------------------------------------

    def find(self, request: web.Request) -> Site:
        """Return the site of a request, and note its address."""
        directory = self._directory
        sockname = request.transport.get_extra_info("sockname") if request.transport is not None else None
        port = sockname[1] if isinstance(sockname, tuple) else None
        found = self._address(host_of(request), request.rel_url.raw_path, port)
        request[_ADDRESS] = found
        if found.place in (Place.PROBE, Place.OPERATOR):
            return Site(directory.doors, directory.doorkeeper, any_host=True, asks=False)
        desk = self._desk(found)
        if desk is None:
            return Site(directory.doors, directory.doorkeeper, failure=404)
        if found.tail == "health":
            return Site(desk.doors, desk.doorkeeper, any_host=True, asks=False)
        failure = None if request.method in self._methods(desk, found) else 405
        return Site(desk.doors, desk.doorkeeper, late=found.tail == "ws", failure=failure)

    def _address(self, host: str | None, path: str, port: int | None) -> Address:
        """Return whom a request is for. A reverse proxy may take the path of the public URL away, or leave it."""
        directory = self._directory
        found = address(host, path, port, directory.naming, directory.names)
        if found.place not in (Place.UNKNOWN, Place.NOWHERE):
            return found
        public = self._public_path
        if public and path.startswith(f"{public}/"):
            return address(host, path.removeprefix(public), port, directory.naming, directory.names)
        return found

    @property
    def _public_path(self) -> str:
        return urllib.parse.urlsplit(self._directory.doors.public_url or "").path.rstrip("/")

    def _desk(self, found: Address) -> Desk | None:
        if found.place is Place.MERGED:
            return self._directory.merged
        return self._directory.desk(found.member) if found.place is Place.MEMBER and found.member is not None else None

    @staticmethod
    def _methods(desk: Desk, found: Address) -> Mapping[str, Handler]:
        return desk.table.get(_TABLE_OF.get(found.tail, found.tail), {})

    # --- the one route -----------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that has passed the guards."""
        found: Address = request[_ADDRESS]
        if found.place is Place.PROBE and (found.tail or request.method in ("GET", "HEAD")):
            return await self._probe(request, self._probes[found.tail])
        if found.place is Place.OPERATOR:
            return await self._operators(request, request.path) or self._nothing(request)
        desk = self._desk(found)
        if desk is None:
            return self._nothing(request)
        if found.tail == "health":
            return await self._probe(request, lambda _: _health(found.member, desk))
        if not desk.may_run and (request.method, found.tail) not in _TOLD_BY_MESSAGE:
            return _down(found.member, desk)
        methods = self._methods(desk, found)
        handler = methods.get(request.method)
        if handler is None:
            return json_reply(405, encode({"error": "Method Not Allowed"}), {"Allow": ",".join(sorted(methods))})
        return await handler(request)

    @staticmethod
    async def _probe(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return json_reply(405, encode({"error": "Method Not Allowed"}), {"Allow": "GET,HEAD"})
        return await handler(request)

    def _nothing(self, request: web.Request) -> web.StreamResponse:
        """Return the 404. Which servers there are is told to those who may use them, and not to foreign pages."""
        directory = self._directory
        local, host = local_address(request), host_of(request)
        is_named = host_allowed(host, local, directory.doors) or is_of_domain(host, directory.naming)
        is_ours = is_named and origin_allowed(request.headers.get("Origin"), local, directory.doors)
        credential = credential_of(request.headers.get("Authorization"), request.headers.get("X-API-Key"))
        lets_in: dict[Doorkeeper, bool] = {}
        for keeper in {directory.doorkeeper, *(directory.desk(name).doorkeeper for name in directory.names)}:
            is_known = credential is not None and keeper.principal(credential) is not None
            lets_in[keeper] = is_known if keeper.is_on else is_ours
        seen = [name for name in directory.names if lets_in[directory.desk(name).doorkeeper]]
        hint = "Each server is at /NAME/mcp, /NAME/sse and /NAME/ws. /mcp is all of them, with --aggregate."
        servers = {"servers": seen, "hint": hint} if seen or lets_in[directory.doorkeeper] else {}
        return json_reply(404, encode({"error": "Not found", **servers}))

    def messages(self, request: web.Request) -> str:
        """Return the path to which the SSE client of this request is to post."""
        found: Address = request[_ADDRESS]
        is_by_path = bool(found.prefix) or found.place is Place.MERGED
        return f"{self._public_path if is_by_path else ''}{found.prefix}/messages"


async def _health(name: str | None, desk: Desk) -> web.StreamResponse:
    state = desk.vitals().state
    status = "unhealthy" if not desk.may_run or state in (State.FAILED, State.COOLING) else "healthy"
    return json_reply(200 if status == "healthy" else 503, encode({"status": status, "server": name}))


def _down(name: str | None, desk: Desk) -> web.StreamResponse:
    why = desk.vitals().why or "it is not running"
    hint = "That is for whoever runs mcp-remote-server: `mcp-remote-server check FILE` says where it stands."
    fault = BackendDown(f"The server {name} does not run: {why}", hint=hint, may_have_run=False)
    return rejected(reject_fault(503, fault, retry_after=30))
