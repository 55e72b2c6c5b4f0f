"""Remote: a member that is itself a remote MCP server, as a link. The only file here that knows the bridge's wires.

It turns what the configuration file and the environment say into the words of the wires; `one_pipe` carries.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.probing import Wires
from server_stub.backends.one_pipe import OnePipe
from server_stub.core.remote_words import GIVEN
from server_stub.core.roster import Remote

if TYPE_CHECKING:
    from mcp_remote_py.settings import Tls
    from mcp_remote_py.transports.reach import Reach

_SHORTEST_SECRET = 6
"""Shorter values of headers are also words of innocent sentences."""
_MARK = secrets.token_hex(8)
"""How this process is known to itself, should one of its own handshakes come back."""
_TO_WEBSOCKET = {"http": "ws", "https": "wss"}
_FROM_WEBSOCKET = {"ws": "http", "wss": "https"}

logger = logging.getLogger(__name__)

Learn = Callable[[str], None]


def remote_link(
    remote: Remote, *, learn: Learn, name: str | None = None, environ: Mapping[str, str] | None = None
) -> Link:
    """Return a fresh, unopened link to this server. It may be used once, as every link.

    `learn` is told every secret: header values, what the URL has in its query, and the session ids that the server
    gives. `name` is what faults call the member; the host is named anyway. Proxies and certificates to trust
    come from the environment, as for the bridge. Plain HTTP is allowed: whoever wrote the file knows the network.
    """
    surroundings = os.environ if environ is None else environ
    for secret in _secrets_of(remote, surroundings):
        learn(secret)

    async def dial(wire: str) -> Link:
        reach = await asyncio.to_thread(_reach, remote, wire, learn, surroundings)
        from mcp_remote_py.transports import open_link

        return open_link(wire, reach)

    return OnePipe(dial, Wires(_strategy(remote)), name or "the remote server", _MARK)


def _strategy(remote: Remote) -> str:
    parts = urllib.parse.urlsplit(remote.url)
    if remote.wire != "auto":
        return f"{remote.wire}-only"
    if parts.scheme.lower() in ("ws", "wss"):
        return "ws-only"
    return "sse-first" if parts.path.rstrip("/").endswith("/sse") else "http-first"


def _url(url: str, wire: str) -> str:
    """Return the URL with the scheme that the wire has, and without its fragment."""
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.lower()
    scheme = (_TO_WEBSOCKET if wire == "ws" else _FROM_WEBSOCKET).get(scheme, scheme)
    return urllib.parse.urlunsplit((scheme, parts.netloc, parts.path, parts.query, ""))


def _reach(remote: Remote, wire: str, learn: Learn, environ: Mapping[str, str]) -> Reach:
    """Import what the wire needs, and say what it must know. Takes a while. Raises `BackendDown`."""
    _load(wire)
    from mcp_remote_py.credentials import Fixed
    from mcp_remote_py.settings import Network, Target, Tls
    from mcp_remote_py.surroundings import proxy_variables
    from mcp_remote_py.transports.reach import Reach

    url = _url(remote.url, wire)
    return Reach(
        Target(url),
        Fixed(remote.headers, GIVEN),
        tls=_tls(environ) if url.startswith(("https:", "wss:")) else Tls(),
        network=Network(variables=proxy_variables(environ)),
        learn=learn,
    )


def _load(wire: str) -> None:
    """Import what a wire needs. Raises `BackendDown` where the installation lacks something."""
    from mcp_remote_py.transports import load

    try:
        load(wire)
    except ImportError as error:
        text = f"the installation is incomplete: the module {error.name} is missing"
        raise BackendDown(text, hint="Install mcp-remote-py again.", may_have_run=False) from None


_TRUSTED: dict[tuple[object, ...], Tls] = {}
"""What the variables name, as far as it can be used: looked at once, not for each session."""


def _tls(environ: Mapping[str, str]) -> Tls:
    from mcp_remote_py.net import bundles
    from mcp_remote_py.settings import Tls
    from mcp_remote_py.surroundings import trust_files

    named = trust_files(environ, os.pathsep)
    if named not in _TRUSTED:
        _TRUSTED[named], notes = bundles.usable(Tls(trusted=named))
        for note in notes:
            logger.warning("%s", note)
    return _TRUSTED[named]


def _secrets_of(remote: Remote, environ: Mapping[str, str]) -> Iterator[str]:
    from mcp_remote_py.surroundings import proxy_variables, secrets_of_proxies, secrets_of_url

    for _, value in remote.headers:
        if len(value) >= _SHORTEST_SECRET:
            yield value
        token = value.rpartition(" ")[2]
        if token != value and len(token) >= _SHORTEST_SECRET:
            yield token
    yield from secrets_of_url(remote.url)
    yield from secrets_of_proxies(value for _, value in proxy_variables(environ))
