"""Connecting, over HTTP and over a WebSocket: silent addresses, IPv4 alone, dead peers, and the time of it all."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, Literal

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve

from mcp_remote_py.core.errors import Fault, Interrupted, TimedOut, Unreachable
from mcp_remote_py.net.carrier import Terms
from mcp_remote_py.net.http import Request, open_port, translate
from mcp_remote_py.net.sockets import dead_peer_options, is_dead_peer, probe
from mcp_remote_py.net.tls import Trust
from mcp_remote_py.settings import Network, Target, Timeouts, Tls
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.upgrade import Upgrade
from tests.support.connect_proxy import HOST, ConnectProxy, silent
from tests.support.scripted_server import Peer, ScriptedServer, Seen

STRAIGHT = Network(proxy="none")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops a SYN for a full queue")


async def _ok(_: Seen, peer: Peer) -> None:
    await peer.answer(200, b"ok")


async def _stay(socket: ServerConnection) -> None:
    await socket.wait_closed()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[socket.AddressFamily, str, int]) -> list[int]:
    """Make the loop find these addresses for every name; returns the families that were asked for."""
    asked: list[int] = []
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, *, family: int = 0, **more: Any) -> Any:
        if host != HOST and host != HOST.encode():
            return await real(host, port, family=family, **more)
        asked.append(family)
        found = [
            (
                of,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (at, number, 0, 0) if of == socket.AF_INET6 else (at, number),
            )
            for of, at, number in addresses
            if family in (0, of)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "made up")
        return found

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked


@contextlib.contextmanager
def black_hole(number: int = 0) -> Iterator[int]:
    """A port on ::1 that answers no SYN: its queue is full, and nobody empties it."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_INET6))
        listening.bind(("::1", number))
        listening.listen(0)
        number = listening.getsockname()[1]
        for _ in range(4):
            filling = stack.enter_context(socket.socket(socket.AF_INET6))
            filling.settimeout(0)
            filling.connect_ex(("::1", number))
        yield number


async def fetch(url: str, network: Network = STRAIGHT, connect_timeout: float = 10.0, **more: Any) -> bytes:
    port = open_port(connect_timeout=connect_timeout, network=network, **more)
    try:
        async with port.stream(Request("GET", url)) as response:
            return await response.read(100)
    finally:
        await port.aclose()


@contextlib.asynccontextmanager
async def opened(url: str, network: Network = STRAIGHT, **timeouts: Any) -> AsyncIterator[ClientConnection]:
    upgrade = Upgrade(Reach(Target(url), timeouts=Timeouts(**timeouts), network=network))
    connection = (await upgrade.open(())).socket
    yield connection
    await connection.close()


async def duration(work: Any) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await work
    return loop.time() - begun


# --- Addresses that are silent ---------------------------------------------------------------------------------------


@on_linux
async def test_a_silent_ipv6_address_costs_http_a_moment_and_no_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedServer(_ok) as server:
        with black_hole(server.port):
            resolving(monkeypatch, (socket.AF_INET6, "::1", server.port), (socket.AF_INET, "127.0.0.1", server.port))
            assert 0.2 < await duration(fetch(f"http://{HOST}:{server.port}/")) < 2
        assert server.connections == 1


@on_linux
async def test_a_silent_ipv6_address_costs_a_websocket_a_moment_and_no_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(_stay, "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        resolving(monkeypatch, (socket.AF_INET6, "::1", number), (socket.AF_INET, "127.0.0.1", number))

        async def connect() -> None:
            async with opened(f"ws://{HOST}:{number}/"):
                pass

        with black_hole(number):
            assert 0.2 < await duration(connect()) < 3


async def reach(wire: str, url: str, network: Network, limit: float) -> None:
    if wire in ("http", "https"):
        await fetch(url, network, connect_timeout=limit, trust=Trust(Tls()) if wire == "https" else None)
    else:
        async with opened(url, network, connect=limit):
            pass


@on_linux
@pytest.mark.parametrize("wire", ["http", "ws"])
async def test_an_address_that_stays_silent_is_given_up_at_the_connect_time(
    monkeypatch: pytest.MonkeyPatch, wire: str
) -> None:
    with black_hole() as number:
        resolving(monkeypatch, (socket.AF_INET6, "::1", number))
        with pytest.raises(TimedOut, match=r"within 0\.3 s"):
            await reach(wire, f"{wire}://{HOST}:{number}/", STRAIGHT, 0.3)


async def test_ipv4_alone_asks_for_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    only = STRAIGHT._replace(ipv4=True)
    async with ScriptedServer(_ok) as server, serve(_stay, "127.0.0.1", 0) as sockets:
        number = sockets.sockets[0].getsockname()[1]
        asked = resolving(
            monkeypatch, (socket.AF_INET6, "::1", server.port), (socket.AF_INET, "127.0.0.1", server.port)
        )
        assert await fetch(f"http://{HOST}:{server.port}/", only) == b"ok"
        assert set(asked) == {socket.AF_INET}
        asked = resolving(monkeypatch, (socket.AF_INET6, "::1", number), (socket.AF_INET, "127.0.0.1", number))
        async with opened(f"ws://{HOST}:{number}/", only):
            assert set(asked) == {socket.AF_INET}


@pytest.mark.parametrize("wire", ["http", "ws"])
async def test_a_name_without_an_ipv4_address_is_told_of_the_flag(monkeypatch: pytest.MonkeyPatch, wire: str) -> None:
    resolving(monkeypatch, (socket.AF_INET6, "::1", 1))
    with pytest.raises(Unreachable) as caught:
        await reach(wire, f"{wire}://{HOST}:1/", STRAIGHT._replace(ipv4=True), 5.0)
    assert "--ipv4 is set" in caught.value.hint


# --- The time of it all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_the_connect_time_bounds_the_talk_with_a_proxy_and_tls_together(wire: str) -> None:
    """Each part alone would be within the limit; together they are not."""

    async def slow(tunnel: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await silent(tunnel, reader, writer)

    async with ConnectProxy(deed=slow) as proxy:
        network = Network(proxy=proxy.url())

        async def connect() -> None:
            with pytest.raises(TimedOut):
                await reach(wire, f"{wire}://{HOST}/", network, 0.5)

        assert await duration(connect()) < 0.75


# --- Dead peers ------------------------------------------------------------------------------------------------------


def read_back(raw: Any, seconds: float) -> None:
    options = dead_peer_options(seconds)
    assert options
    for level, option, value in options:
        assert raw.getsockopt(level, option) == value


async def test_http_asks_the_system_to_notice_a_dead_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[Any] = []
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def sock_connect(raw: Any, address: Any) -> None:
        sockets.append(raw)
        await real(raw, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with ScriptedServer(_ok) as server:
        port = open_port(connect_timeout=5.0, dead_peer=42.0)
        async with port.stream(Request("GET", server.url)) as response:
            (raw,) = sockets
            read_back(raw, 42.0)
            await response.read(10)
        await port.aclose()


async def test_a_websocket_asks_the_system_to_notice_a_dead_peer() -> None:
    async with serve(_stay, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with opened(url, dead_peer=42.0) as connection:
            read_back(connection.transport.get_extra_info("socket"), 42.0)
        async with opened(url, dead_peer=None) as connection:
            raw = connection.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def _names(*given: str) -> ModuleType:
    module = ModuleType("made up")
    for number, name in enumerate(given, 100):
        setattr(module, name, number)
    return module


ALL = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


@pytest.mark.parametrize("seconds", [1, 2, 7, 60, 61.5, 600])
def test_the_probes_together_take_the_time_that_was_given(seconds: float) -> None:
    (_, _, on), *rest = dead_peer_options(seconds, _names(*ALL))
    idle, interval, count, milliseconds = (value for _, _, value in rest)
    assert on == 1
    assert milliseconds == round(seconds * 1000)
    assert abs(idle + interval * count - seconds) <= max(3.0, seconds * 0.1)


@pytest.mark.parametrize(
    ("names", "count"), [(ALL, 5), (ALL[:3], 4), (("TCP_KEEPALIVE", *ALL[1:3]), 4), (("TCP_KEEPALIVE",), 2), ((), 1)]
)
def test_each_platform_gets_what_it_has(names: tuple[str, ...], count: int) -> None:
    assert len(dead_peer_options(60, _names(*names))) == count


def test_no_limit_sets_nothing_and_a_very_long_one_fits() -> None:
    assert dead_peer_options(None) == ()
    assert max(value for _, _, value in dead_peer_options(1e9, _names(*ALL))) < 2**31


def test_a_connection_that_died_says_so() -> None:
    error = OSError(errno.ETIMEDOUT, "made up")
    assert is_dead_peer(error)
    from mcp_remote_py.net.http import _Where

    fault: Fault = translate(error, _Where("mcp.example.com", 10.0, head_was_read=True))
    assert type(fault) is Interrupted
    assert "mcp.example.com acknowledges nothing any more" in str(fault)
    assert "--dead-peer-timeout" in str(fault)
    assert not is_dead_peer(OSError(errno.ECONNRESET, "made up"))


async def test_a_proxy_that_cannot_be_read_is_a_fault_of_the_request() -> None:
    network = Network(variables=(("https", "http://wpad.corp/proxy.pac"),))
    with pytest.raises(Unreachable, match="HTTPS_PROXY names a PAC file"):
        await fetch(f"https://{HOST}/", network)


# --- After waking up -------------------------------------------------------------------------------------------------


class Asked:
    """A socket that only takes options."""

    def __init__(self, **options: int) -> None:
        self.options = options
        self.seen: list[tuple[int, int]] = []

    def getsockopt(self, level: int, name: int, /) -> int:
        return self.options["on"] if (level, name) == (socket.SOL_SOCKET, socket.SO_KEEPALIVE) else self.options["idle"]

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        assert level == socket.IPPROTO_TCP
        self.seen.append((name, value))


def test_a_probe_goes_out_at_once_and_the_usual_interval_is_put_back() -> None:
    raw = Asked(on=1, idle=30)
    put_back = probe(raw, _names("TCP_KEEPIDLE"))
    assert put_back is not None
    put_back()
    assert raw.seen == [(100, 1), (100, 30)]


@pytest.mark.parametrize(("on", "names"), [(0, ("TCP_KEEPIDLE",)), (1, ())])
def test_nothing_is_probed_that_was_not_to_be_watched(on: int, names: tuple[str, ...]) -> None:
    raw = Asked(on=on, idle=30)
    assert probe(raw, _names(*names)) is None
    assert raw.seen == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's TCP_INFO")
@pytest.mark.parametrize("library", ["h11", "httpx"])
async def test_after_waking_up_a_waiting_call_is_probed_and_goes_on(
    library: Literal["h11", "httpx"], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, sockets = asyncio.Event(), list[Any]()
    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def sock_connect(raw: Any, address: Any) -> None:
        sockets.append(raw)
        await real(raw, address)

    async def script(_: Seen, peer: Peer) -> None:
        await go_on.wait()
        await peer.answer(200, b"late")

    def milliseconds_since_an_acknowledgement() -> int:
        info = sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("I", info, 8 + 12 * 4)[0])

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    port = open_port(connect_timeout=5.0, dead_peer=60.0, terms=Terms(library))

    async def call(url: str) -> bytes:
        async with port.stream(Request("POST", url)) as response:
            return await response.read(10)

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        asked = group.create_task(call(server.url))
        await server.until(1)
        await asyncio.sleep(1.2)
        before = milliseconds_since_an_acknowledgement()
        port.doubt()
        for _ in range(200):
            if milliseconds_since_an_acknowledgement() < before:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("nothing was probed")
        go_on.set()
        assert await asked == b"late"
    await port.aclose()
