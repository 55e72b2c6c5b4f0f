"""Tunnel: asks a proxy for a connection to a server, over whatever connection to the proxy there is.

HTTP CONNECT is written here; SOCKS5 needs a library, which is loaded for a SOCKS proxy alone. Shared by all wires.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mcp_remote_py import __version__
from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.proxies import Proxy

Read = Callable[[], Awaitable[bytes]]
"""Returns the next bytes, none at the end."""
Write = Callable[[bytes], Awaitable[object]]

_SIGNED_IN = b"\x01\x00"
"""RFC 1929 section 2."""
_AGENT = f"mcp-remote-py/{__version__}"


class _Ended(Exception):
    """The proxy hung up."""


def require_library(proxy: Proxy) -> None:
    """Raise a `Fault` where the library for this kind of proxy is missing: before anything is connected to."""
    if proxy.scheme == "socks5":
        try:
            import socksio  # noqa: F401
        except ImportError:
            raise tunnels.no_socks_library(proxy) from None


async def open_tunnel(proxy: Proxy, host: str, port: int, read: Read, write: Write) -> None:
    """Make the connection to the proxy one to the server. Raises a `Fault`, or what `read` and `write` raise."""
    target = tunnels.place(host, port)
    incoming = _Incoming(read)
    try:
        if proxy.scheme == "socks5":
            await _by_socks(proxy, host, port, incoming, write)
        else:
            await _by_connect(proxy, host, port, incoming, write)
    except _Ended:
        raise tunnels.hung_up(proxy, target) from None
    if incoming.rest:  # a server never speaks first: these bytes are not from it
        raise tunnels.no_proxy_at_all(proxy, target)


async def _by_connect(proxy: Proxy, host: str, port: int, incoming: _Incoming, write: Write) -> None:
    target = tunnels.place(host, port)
    await write(tunnels.connect_head(proxy, host, port, _AGENT))
    raw = await incoming.head()
    head = None if raw is None else tunnels.read_head(raw)
    if head is None:
        raise tunnels.no_proxy_at_all(proxy, target)
    if not 200 <= head.status < 300:
        raise tunnels.refusal(proxy, head, target)


async def _by_socks(proxy: Proxy, host: str, port: int, incoming: _Incoming, write: Write) -> None:
    import socksio  # `require_library` has looked for it

    target = tunnels.place(host, port)
    talk = socksio.SOCKS5Connection()
    offered = socksio.SOCKS5AuthMethod.NO_AUTH_REQUIRED
    if proxy.username is not None:
        offered = socksio.SOCKS5AuthMethod.USERNAME_PASSWORD
    try:
        talk.send(socksio.SOCKS5AuthMethodsRequest([offered]))
        await write(talk.data_to_send())
        chosen = talk.receive_data(await incoming.exactly(2))
        if not isinstance(chosen, socksio.SOCKS5AuthReply) or chosen.method != offered:
            raise tunnels.socks_sign_in(proxy)
        if proxy.username is not None:
            pair = (proxy.username.encode()[:255], proxy.password.encode()[:255])
            talk.send(socksio.SOCKS5UsernamePasswordRequest(*pair))
            await write(talk.data_to_send())
            if await incoming.exactly(2) != _SIGNED_IN:
                raise tunnels.socks_sign_in(proxy)
            talk.receive_data(_SIGNED_IN)
        talk.send(socksio.SOCKS5CommandRequest.from_address(socksio.SOCKS5Command.CONNECT, (host, port)))
        await write(talk.data_to_send())
        code = (await incoming.socks_reply())[1]
    except socksio.SOCKSError:
        raise tunnels.no_proxy_at_all(proxy, target) from None
    if code != 0:
        raise tunnels.socks_refusal(proxy, code, target)


class _Incoming:
    """What comes from the proxy, cut into the pieces that the protocols speak in."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.rest = b""

    async def exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            await self._more()
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece

    async def head(self) -> bytes | None:
        """Return a head up to its blank line; None for what is too long or does not even begin like HTTP."""
        while b"\r\n\r\n" not in self.rest:
            if len(self.rest) > tunnels.LARGEST_HEAD or b"HTTP/"[: len(self.rest)] != self.rest[:5]:
                return None
            await self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head

    async def socks_reply(self) -> bytes:
        """Return a reply with its address, whose length depends on its kind (RFC 1928 section 6)."""
        begin = await self.exactly(5)
        length = {1: 4, 3: 1 + begin[4], 4: 16}.get(begin[3], 4)
        return begin + await self.exactly(length - 1 + 2)

    async def _more(self) -> None:
        chunk = await self._read()
        if not chunk:
            raise _Ended
        self.rest += chunk
