"""Fetcher: performs the `Fetch` steps of a sign-in over the HTTP port: same proxies and certificates, less liberty.

No redirect is followed, no cookie is kept, no header of the user is sent, every answer is bounded in size and time. An
address that somebody else gave us may not lead from a public server into this machine or a private network (`Reach`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mcp_remote_py import __version__
from mcp_remote_py.core.errors import Fault, PeerBroke, SignInNeeded, TimedOut, TooLarge
from mcp_remote_py.core.http.headers import has
from mcp_remote_py.core.http.origins import origin_of, place_of, split_place, without_query
from mcp_remote_py.core.oauth.addresses import is_private_address, place
from mcp_remote_py.core.oauth.steps import Fetch, Fetched
from mcp_remote_py.net.carrier import Terms
from mcp_remote_py.net.http import HttpPort, Request, open_port
from mcp_remote_py.net.wire import Address
from mcp_remote_py.settings import Network, SignIn, Timeouts, Tls

if TYPE_CHECKING:
    from mcp_remote_py.net.tls import Trust

_LOG = logging.getLogger("mcp_remote_py.auth.fetcher")

LARGEST_BODY = 1024 * 1024
LARGEST_HEAD = 64 * 1024
FETCH_SECONDS = 30.0
_LOOK_UP_SECONDS = 10.0
_AGENT = ("User-Agent", f"mcp-remote-py/{__version__}")
_ODD_LITERAL = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.IGNORECASE)
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".intranet", ".home", ".corp", ".home.arpa")
"""Names that no public name server knows: RFC 6761, RFC 6762, RFC 8375, ICANN's reserved ones, and habits."""


class Reach:
    """Where addresses that somebody else gave us may lead.

    From a server in a private network anywhere. From a public one not into this machine or a private network, but for
    the hosts that the user allowed. Where we look a name up ourselves, it is connected to the very addresses that were
    looked at; where a proxy does, only literal addresses and names that are plainly local can be told.
    """

    def __init__(self, server_url: str, allowed: Iterable[str]) -> None:
        self._server = place_of(server_url)
        self._home = origin_of(server_url)
        self._allowed = frozenset(split_place(host, 0) for host in allowed)
        self._is_public = False

    async def check(self, url: str) -> bool:
        """Return whether names are to be screened on the way. Raises a `Fault` for what can be refused at once."""
        if not await self._server_is_public():
            return False
        try:
            there = place(url)
        except ValueError:
            raise SignInNeeded("its address cannot be read", hint=_TELL_THEM) from None
        if self._is_allowed(there.host, there.port):
            return False
        literal = _literal(there.host)
        if is_private_address(literal) if literal is not None else _is_local_name(there.host):
            raise self._refusal(there.host, there.port)
        return True

    def screen(self, host: str, addresses: list[Address]) -> list[Address]:
        """Return those addresses of a name that may be connected to. Raises a `Fault` where there is none."""
        found = [entry for entry in addresses if not is_private_address(str(entry[1][0]))]
        if not found:
            raise self._refusal(host, addresses[0][1][1] if addresses else 0)
        return found

    async def _server_is_public(self) -> bool:
        """Whether the MCP server has a public address. Once it had one, it keeps it: names can be given others."""
        if not self._is_public:
            self._is_public = await self._looks_public()
        return self._is_public

    async def _looks_public(self) -> bool:
        literal = _literal(self._home.host)
        if literal is not None:
            return not is_private_address(literal)
        try:
            async with asyncio.timeout(_LOOK_UP_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(
                    self._home.host, self._home.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError, TimeoutError):
            return not _is_local_name(self._home.host)  # a proxy may know it
        return not all(is_private_address(str(address[0])) for *_, address in found)

    def _is_allowed(self, host: str, port: int) -> bool:
        host, _ = split_place(host)
        return (host, 0) in self._allowed or (host, port) in self._allowed

    def _refusal(self, host: str, port: int) -> SignInNeeded:
        named = f"[{host}]" if ":" in host else host
        return SignInNeeded(
            f"{named}:{port} lies in a private network or on this machine, and {self._server} is a public server; "
            "it was not asked",
            hint=f"If the sign-in really leads there, allow it with --allow-private-auth {named}.",
        )


_TELL_THEM = "The server's metadata is wrong; tell whoever runs it."


class Fetcher:
    """See the module's text. Raises nothing but `Fault` and cancellation; `aclose` ends what is under way."""

    def __init__(
        self,
        sign_in: SignIn,
        server_url: str,
        tls: Tls,
        network: Network,
        timeouts: Timeouts,
        learn: Callable[[str], None],
        *,
        seconds: float = FETCH_SECONDS,
    ) -> None:
        self._reach = Reach(server_url, sign_in.private_hosts)
        self._home = origin_of(server_url)
        self._tls = tls
        self._network = network._replace(cookies=False)
        self._timeouts = timeouts
        self._learn = learn
        self._seconds = seconds
        self._trust: Trust | None = None
        self._ports: dict[bool, HttpPort] = {}
        """One for addresses that are screened, one for those that need not be."""

    async def fetch(self, step: Fetch) -> Fetched:
        """Send one request and return its answer, whatever its status. Raises a `Fault`, which names `step.what`."""
        try:
            async with asyncio.timeout(self._seconds):
                is_screened = not step.origin_checked and await self._reach.check(step.url)
                return await self._fetch(self._port(is_screened=is_screened), step)
        except TimeoutError:
            raise TimedOut(
                f"{step.what} did not come within {self._seconds:g} s from {place_of(step.url)}",
                hint="Try again; if it stays so, ask whoever runs that server.",
                may_have_run=False,
            ) from None
        except TooLarge as fault:
            raise PeerBroke(f"{step.what} cannot be had: {fault}", hint=_TELL_THEM, may_have_run=False) from None
        except Fault as fault:
            raise fault.restated(f"{step.what} cannot be had: {fault}", may_have_run=False) from None

    async def aclose(self) -> None:
        """Close all connections."""
        for port in self._ports.values():
            await port.aclose()

    async def _fetch(self, port: HttpPort, step: Fetch) -> Fetched:
        headers = step.headers if has(step.headers, "user-agent") else (*step.headers, _AGENT)
        request = Request(step.method, step.url, headers, step.body)
        async with port.stream(request) as response:
            body = bytearray()
            async for chunk in response.chunks():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise PeerBroke(f"the answer has more than {LARGEST_BODY // 1024} KiB", hint=_TELL_THEM)
            _LOG.debug("%s %s: %d", step.method, without_query(step.url), response.status)
            return Fetched(response.status, bytes(body), response.headers())

    def _port(self, *, is_screened: bool) -> HttpPort:
        if is_screened not in self._ports:
            self._ports[is_screened] = open_port(
                connect_timeout=self._timeouts.connect,
                trust=self._trusting(),
                network=self._network,
                dead_peer=self._timeouts.dead_peer,
                learn=self._learn,
                terms=Terms(self._network.library, largest_head=LARGEST_HEAD),
                screen=self._reach.screen if is_screened else None,
            )
        return self._ports[is_screened]

    def _trusting(self) -> Trust:
        if self._trust is None:
            from mcp_remote_py.net.tls import Trust

            self._trust = Trust(self._tls, self._home)
        return self._trust


def _literal(host: str) -> str | None:
    """Return the address that a host is written as, also where C libraries read one (`127.1`); None for a name."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass  # a name, or an address as only `inet_aton` knows them
    if not _ODD_LITERAL.fullmatch(bare):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(bare))
    except OSError:
        return None


def _is_local_name(host: str) -> bool:
    """Whether a name is plainly one of this machine or of a private network."""
    bare = host.lower().rstrip(".")
    return "." not in bare or bare.endswith(_LOCAL_NAMES)
