"""The contract of `HttpPort`: every tenant passes these tests against real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    TimedOut,
    TlsRefused,
    TooLarge,
    Unreachable,
)
from mcp_remote_py.core.http.origins import origin_of
from mcp_remote_py.net.carrier import Moment, Terms
from mcp_remote_py.net.http import HttpPort, Request, follow, let_end, open_port
from mcp_remote_py.net.tls import Trust
from mcp_remote_py.settings import Network, Tls
from tests.support.certificates import authority, server_context, trusting
from tests.support.scripted_server import Peer, ScriptedServer, Seen, closed_port, head_of

MIB = 1024 * 1024
Tenant = Callable[..., HttpPort]
TENANTS: dict[str, Tenant] = {"h11": open_port, "httpx": partial(open_port, terms=Terms("httpx"))}
TERMS_OF: dict[Tenant, Terms] = {TENANTS["h11"]: Terms(), TENANTS["httpx"]: Terms("httpx")}


@pytest.fixture(params=list(TENANTS))
def tenant(request: pytest.FixtureRequest) -> Tenant:
    return TENANTS[request.param]


@pytest.fixture
async def port(tenant: Tenant) -> AsyncIterator[HttpPort]:
    opened = tenant(connect_timeout=5.0)
    yield opened
    await opened.aclose()


async def fetch(port: HttpPort, request: Request, limit: int = 100 * MIB) -> bytes:
    async with port.stream(request) as response:
        return await response.read(limit)


async def fault_of(port: HttpPort, request: Request, limit: int = 100 * MIB) -> Fault:
    with pytest.raises(Fault) as caught:
        await fetch(port, request, limit)
    return caught.value


def get(server: ScriptedServer, *headers: tuple[str, str]) -> Request:
    return Request("GET", server.url, headers)


def post(server: ScriptedServer, body: bytes = b"{}") -> Request:
    return Request("POST", server.url, (("Content-Type", "application/json"),), body)


# --- What goes out ---------------------------------------------------------------------------------------------------


async def test_a_request_goes_out_as_it_was_given(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"ok", headers={"X-Some": "one", "x-some": "two"})

    async with ScriptedServer(script) as server:
        request = Request("POST", f"{server.url}?a=b%20c", (("X-Token", "täglich"), ("User-Agent", "me")), b"{ }")
        async with port.stream(request) as response:
            assert response.status == 200
            assert response.header("X-SOME") in ("two", "one, two")
            assert response.header("absent") == ""
            assert await response.read(10) == b"ok"
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/mcp?a=b%20c", b"{ }")
    assert seen.header("host") == f"127.0.0.1:{server.port}"
    assert seen.header("content-length") == "3"
    assert seen.header("accept-encoding") == "gzip, deflate"
    assert (seen.header("x-token") or "").encode("latin-1").decode() == "täglich"
    assert {name.lower() for name, _ in seen.headers} == {
        "host",
        "content-length",
        "accept-encoding",
        "x-token",
        "user-agent",
    }


async def test_an_empty_post_says_that_it_is_empty(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200)

    async with ScriptedServer(script) as server:
        await fetch(port, post(server, b""))
        await fetch(port, get(server))
    assert [seen.header("content-length") for seen in server.seen] == ["0", None]


async def test_written_is_called_when_the_body_is_out_and_before_the_answer(port: HttpPort) -> None:
    written, may_answer = asyncio.Event(), asyncio.Event()

    async def script(_: Seen, peer: Peer) -> None:
        await may_answer.wait()
        await peer.answer(200)

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        body = b"x" * MIB
        task = group.create_task(fetch(port, post(server, body)._replace(written=written.set)))
        await written.wait()
        assert not task.done()
        (seen,) = await server.until(1)
        assert len(seen.body) == MIB
        may_answer.set()


async def test_what_http_cannot_carry_is_never_sent_and_never_told(port: HttpPort) -> None:
    async with ScriptedServer() as server:
        fault = await fault_of(port, get(server, ("X-Secret", "abc\r\nX-Injected: 1")))
    assert type(fault) is Unreachable
    assert "abc" not in f"{fault} {fault.hint}"
    assert server.connections == 0 or server.seen == []


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/", "ftp://127.0.0.1/"])
async def test_a_url_that_cannot_be_used_is_a_fault(port: HttpPort, url: str) -> None:
    assert type(await fault_of(port, Request("GET", url))) is Unreachable


async def test_the_environment_has_no_say(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")

    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"direct")

    port = tenant(connect_timeout=5.0)
    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server)) == b"direct"
    await port.aclose()


# --- What comes in ---------------------------------------------------------------------------------------------------


async def test_chunks_come_as_they_are_sent(port: HttpPort) -> None:
    go_on = asyncio.Queue[bytes | None]()

    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        while (piece := await go_on.get()) is not None:
            await peer.chunk(piece)

    async with ScriptedServer(script) as server, port.stream(get(server)) as response:
        chunks = response.chunks()
        for piece in (b"one", b"two", b"three"):
            go_on.put_nowait(piece)
            assert await anext(chunks) == piece
        go_on.put_nowait(None)
        assert [chunk async for chunk in chunks] == []


async def test_a_body_may_come_byte_by_byte(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        head = head_of(200, {"Transfer-Encoding": "chunked", "X-Odd": " spaced\t"})
        await peer.drip(head + b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n")

    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server)) == b"hello!"


async def test_a_body_may_end_with_the_connection(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(head_of(200, {}) + b"all of it")
        await peer.hang_up()

    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server)) == b"all of it"


async def test_an_interim_answer_is_passed_over(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(head_of(103, {"Link": "</x>"}))
        await peer.answer(200, b"final")

    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server)) == b"final"


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
async def test_a_body_up_to_the_limit_is_read(port: HttpPort, size: int) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"x" * size)

    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server), MIB) == b"x" * size


async def test_a_declared_body_over_the_limit_is_not_even_begun(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"x", length=1 << 30)
        await peer.gone()

    async with ScriptedServer(script) as server:
        fault = await fault_of(port, get(server), MIB)
    assert type(fault) is TooLarge
    assert "--max-message-size" in fault.hint
    assert fault.may_have_run


async def test_an_undeclared_body_over_the_limit_is_broken_off(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        while True:
            await peer.chunk(b"x" * 65536)

    async with ScriptedServer(script) as server:
        assert type(await fault_of(port, get(server), MIB)) is TooLarge


def _head_in_one_piece() -> bytes:
    return b"".join(b"X-%d: %b\r\n" % (at, b"x" * 1000) for at in range(20))


@pytest.mark.parametrize(
    "head", [b"X-One: " + b"x" * 20_000 + b"\r\n", _head_in_one_piece()], ids=["one header", "many headers"]
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "and no end"])
async def test_a_head_over_the_limit_names_the_limit_and_its_flag(
    tenant: Tenant, head: bytes, *, at_once: bool
) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + head + (b"\r\n" if at_once else b""))
        await peer.gone()

    terms = TERMS_OF[tenant]._replace(largest_head=10_000)
    port = open_port(connect_timeout=5.0, terms=terms)
    async with ScriptedServer(script) as server:
        fault = await fault_of(port, post(server))
    await port.aclose()
    assert type(fault) is TooLarge
    assert str(fault) == f"the head of the answer of 127.0.0.1:{server.port} is larger than the limit of 10000 bytes"
    assert "--max-header-size" in fault.hint
    assert fault.may_have_run


async def test_a_head_within_the_limit_is_read(tenant: Tenant) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + _head_in_one_piece() + b"\r\nok")

    port = open_port(connect_timeout=5.0, terms=TERMS_OF[tenant]._replace(largest_head=30_000))
    async with ScriptedServer(script) as server:
        assert await fetch(port, post(server)) == b"ok"
    await port.aclose()


async def test_an_endless_line_in_a_chunked_body_names_the_limit_and_its_flag(tenant: Tenant) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(b"data: x\n\n")
        await peer.raw(b"0;" + b"x" * 40_000)
        await peer.gone()

    port = open_port(connect_timeout=5.0, terms=TERMS_OF[tenant]._replace(largest_head=10_000))
    async with ScriptedServer(script) as server:
        fault = await fault_of(port, post(server))
    await port.aclose()
    assert type(fault) is TooLarge
    assert "10000 bytes" in str(fault)
    assert "--max-header-size" in fault.hint


# --- Content codings -------------------------------------------------------------------------------------------------


def _raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


PLAIN = b"\x00plain \xf0\x9f\x8c\x8d" * 1000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PLAIN)),
        ("GZip", gzip.compress(PLAIN[:7000]) + gzip.compress(PLAIN[7000:])),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", _raw_deflate(PLAIN)),
        ("identity", PLAIN),
    ],
    ids=["gzip", "two gzip members", "deflate", "deflate without its header", "identity"],
)
async def test_a_coded_body_comes_plain(port: HttpPort, coding: str, body: bytes) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, body, headers={"Content-Encoding": coding})

    async with ScriptedServer(script) as server:
        assert await fetch(port, get(server)) == PLAIN


async def test_a_coded_stream_comes_piece_by_piece(port: HttpPort) -> None:
    squeeze, go_on = zlib.compressobj(wbits=zlib.MAX_WBITS | 16), asyncio.Event()

    async def script(_: Seen, peer: Peer) -> None:
        await peer.events(headers={"Content-Encoding": "gzip"})
        await peer.chunk(squeeze.compress(b"first") + squeeze.flush(zlib.Z_SYNC_FLUSH))
        await go_on.wait()
        await peer.chunk(squeeze.compress(b"second") + squeeze.flush())

    async with ScriptedServer(script) as server, port.stream(get(server)) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"first"
        go_on.set()
        assert b"".join([chunk async for chunk in chunks]) == b"second"


async def test_a_bomb_is_met_by_the_limit(port: HttpPort) -> None:
    squeeze = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    bomb = squeeze.compress(bytes(64 * MIB)) + squeeze.flush()
    assert len(bomb) < MIB

    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, bomb, headers={"Content-Encoding": "gzip"})

    async with ScriptedServer(script) as server:
        assert type(await fault_of(port, get(server), MIB)) is TooLarge


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(PLAIN)[:-9]), ("gzip", b"not gzip"), ("br", PLAIN), ("deflate", b"\x78\x9cnot zlib")],
    ids=["cut", "no gzip", "not accepted", "no deflate"],
)
async def test_a_body_that_is_not_what_its_coding_says_is_interrupted(port: HttpPort, coding: str, body: bytes) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200, body, headers={"Content-Encoding": coding})

    async with ScriptedServer(script) as server:
        assert type(await fault_of(port, get(server))) is Interrupted


# --- Connections that fail -------------------------------------------------------------------------------------------


async def test_a_refused_connection_names_the_host_and_never_ran(port: HttpPort) -> None:
    number = closed_port()
    fault = await fault_of(port, Request("POST", f"http://127.0.0.1:{number}/secret?key=1", (), b"{}"))
    assert type(fault) is Unreachable
    assert str(fault) == f"127.0.0.1:{number} refused the connection: no server is listening there"
    assert not fault.may_have_run


async def test_a_refusal_by_every_address_of_a_name_is_a_refusal(port: HttpPort) -> None:
    fault = await fault_of(port, Request("GET", f"http://localhost:{closed_port()}/"))
    assert type(fault) is Unreachable
    assert "refused the connection" in str(fault)


@pytest.mark.parametrize(
    ("number", "words"), [(socket.EAI_NONAME, "is not known (DNS)"), (socket.EAI_AGAIN, "does not answer")]
)
async def test_a_name_that_cannot_be_looked_up_says_so(
    port: HttpPort, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(number, "made up")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    fault = await fault_of(port, Request("GET", "http://mcp.example.invalid/"))
    assert type(fault) is Unreachable
    assert "mcp.example.invalid" in str(fault)
    assert words in str(fault)
    assert "made up" not in str(fault)


async def test_a_server_that_accepts_and_says_nothing_in_tls_is_given_up(tenant: Tenant) -> None:
    async def mute(peer: Peer) -> None:
        await peer.silence()

    port = tenant(connect_timeout=0.2, trust=Trust(Tls()))
    async with ScriptedServer(raw=mute) as server:
        fault = await fault_of(port, Request("GET", f"https://127.0.0.1:{server.port}/"))
    await port.aclose()
    assert type(fault) is TimedOut
    assert "0.2 s" in str(fault)
    assert "--connect-timeout" in fault.hint
    assert not fault.may_have_run


async def test_the_connect_time_does_not_bound_the_answer(tenant: Tenant) -> None:
    async def slow(_: Seen, peer: Peer) -> None:
        await asyncio.sleep(0.3)
        await peer.answer(200, b"late")

    port = tenant(connect_timeout=0.1)
    async with ScriptedServer(slow) as server:
        assert await fetch(port, get(server)) == b"late"
    await port.aclose()


async def _close(peer: Peer) -> None:
    await peer.hang_up()


async def _reset(peer: Peer) -> None:
    await peer.reset()


async def _half_close(peer: Peer) -> None:
    await peer.half_close()
    await peer.gone()


ENDINGS = [_close, _reset, _half_close]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_connection_that_ends_instead_of_an_answer_is_interrupted(port: HttpPort, ending: Any) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await ending(peer)

    async with ScriptedServer(script) as server:
        fault = await fault_of(port, post(server))
    assert type(fault) is Interrupted
    assert f"127.0.0.1:{server.port} closed the connection without an answer" == str(fault)
    assert fault.may_have_run


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_connection_that_ends_at_once_is_a_fault(port: HttpPort, ending: Any) -> None:
    async with ScriptedServer(raw=ending) as server:
        assert isinstance(await fault_of(port, post(server)), Unreachable | Interrupted)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "begun",
    [
        head_of(200, {"Content-Length": "100"}) + b"ten bytes.",
        head_of(200, {"Transfer-Encoding": "chunked"}) + b"64\r\nten bytes.",
        head_of(200, {"Transfer-Encoding": "chunked"}) + b"5\r\nwhole\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTT",
    ],
)
async def test_an_answer_that_breaks_off_is_interrupted(port: HttpPort, begun: bytes, ending: Any) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(begun)
        await ending(peer)

    async with ScriptedServer(script) as server:
        fault = await fault_of(port, post(server))
    assert type(fault) is Interrupted
    assert fault.may_have_run


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"{}\n\n"])
async def test_what_is_not_http_is_said_to_be_so(port: HttpPort, garbage: bytes) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.raw(garbage)
        await peer.hang_up()

    async with ScriptedServer(script) as server:
        fault = await fault_of(port, post(server))
    assert type(fault) is PeerBroke
    assert "does not answer in HTTP" in str(fault)


async def test_a_refusal_sent_before_the_body_was_read_still_arrives(port: HttpPort) -> None:
    async def raw(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.answer(413, b"too much")
        await peer.half_close()
        await peer.gone()

    async with ScriptedServer(raw=raw) as server, port.stream(post(server, b"x" * MIB)) as response:
        assert response.status == 413


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a directory with spaces") / "ca.pem"
    authority().cert_pem.write_to_path(str(path))
    return path


@asynccontextmanager
async def secured(tenant: Tenant, *bundles: Path) -> AsyncIterator[HttpPort]:
    port = tenant(connect_timeout=5.0, trust=Trust(trusting(*bundles)))
    yield port
    await port.aclose()


async def _secret(_: Seen, peer: Peer) -> None:
    await peer.answer(200, b"over tls")


async def test_a_server_of_a_known_authority_is_trusted(tenant: Tenant, bundle: Path) -> None:
    async with secured(tenant, bundle) as port, ScriptedServer(_secret, context=server_context()) as server:
        assert await fetch(port, get(server)) == b"over tls"


EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("context", "known", "words"),
    [
        (server_context, False, "tests"),
        (lambda: server_context(issuer=authority("another")), True, "another"),
        (lambda: server_context("mcp.example.com"), True, "mcp.example.com"),
        (lambda: server_context(not_after=EXPIRED), True, "expired"),
    ],
)
async def test_a_certificate_that_proves_nothing_is_refused_with_the_reason(
    tenant: Tenant, bundle: Path, context: Callable[[], ssl.SSLContext], known: bool, words: str
) -> None:
    bundles = (bundle,) if known else ()
    async with secured(tenant, *bundles) as port, ScriptedServer(_secret, context=context()) as server:
        fault = await fault_of(port, post(server))
    assert type(fault) is TlsRefused
    assert f"the certificate of 127.0.0.1:{server.port} was refused" in str(fault)
    assert words in str(fault)
    assert not fault.may_have_run
    assert server.seen == []


async def test_plain_http_behind_https_is_recognised(tenant: Tenant) -> None:
    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.answer(400, b"this is no TLS")
        await peer.gone()

    async with secured(tenant) as port, ScriptedServer(raw=plain) as server:
        fault = await fault_of(port, Request("GET", server.url.replace("http:", "https:")))
    assert type(fault) is TlsRefused
    assert "does not speak TLS" in str(fault)
    assert "http://" in fault.hint


async def test_a_reset_during_the_handshake_is_no_question_of_trust(tenant: Tenant) -> None:
    async def rude(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.reset()

    async with secured(tenant) as port, ScriptedServer(raw=rude) as server:
        fault = await fault_of(port, Request("GET", server.url.replace("http:", "https:")))
    assert type(fault) is Unreachable
    assert "broke off the connection while it was being made" in str(fault)


async def test_a_server_that_wants_a_client_certificate_is_recognised(tenant: Tenant, bundle: Path) -> None:
    async with (
        secured(tenant, bundle) as port,
        ScriptedServer(_secret, context=server_context(ask_client=True)) as server,
    ):
        fault = await fault_of(port, post(server))
    # the alert may be overtaken by the reset of the connection
    assert isinstance(fault, TlsRefused | Interrupted)
    assert "client certificate" in str(fault) or "without an answer" in str(fault)
    assert server.seen == []


async def test_plain_http_builds_no_tls_context(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a TLS context was made")

    monkeypatch.setattr(ssl, "SSLContext", never)
    monkeypatch.setattr(ssl, "create_default_context", never)
    port = tenant(connect_timeout=5.0)
    async with ScriptedServer(_secret) as server:
        assert await fetch(port, get(server)) == b"over tls"
    await port.aclose()


# --- Cookies ---------------------------------------------------------------------------------------------------------


async def test_cookies_go_back_to_their_exact_origin_alone(port: HttpPort) -> None:
    async def set_cookie(_: Seen, peer: Peer) -> None:
        await peer.answer(200, headers={"Set-Cookie": "AWSALB=node-1; Path=/; HttpOnly"})

    async with ScriptedServer(set_cookie) as one, ScriptedServer(set_cookie) as other:
        await fetch(port, get(one))
        await fetch(port, get(one))
        await fetch(port, get(other))
        await fetch(port, get(one, ("Cookie", "mine=1")))
    assert [seen.header("cookie") for seen in one.seen] == [None, "AWSALB=node-1", "mine=1"]
    assert [seen.header("cookie") for seen in other.seen] == [None]


async def test_a_cookie_keeps_to_its_path_and_ends_when_it_should(port: HttpPort) -> None:
    answers = iter(["a=1; Path=/other", "b=2; Path=/", "b=; Path=/; Max-Age=0", "c=3; Secure"])

    async def set_cookie(_: Seen, peer: Peer) -> None:
        await peer.answer(200, headers={"Set-Cookie": next(answers)})

    async with ScriptedServer(set_cookie) as server:
        for _ in range(4):
            await fetch(port, get(server))
    assert [seen.header("cookie") for seen in server.seen] == [None, None, "b=2", None]


async def test_every_cookie_is_told_to_the_redactor_and_none_is_sent_where_they_are_off(tenant: Tenant) -> None:
    async def set_cookie(_: Seen, peer: Peer) -> None:
        await peer.answer(200, headers={"Set-Cookie": 'a="balanced-node-1"; Path=/', "set-cookie": "b=1"})

    learnt: list[str] = []
    port = tenant(connect_timeout=5.0, network=Network(proxy="none", cookies=False), learn=learnt.append)
    async with ScriptedServer(set_cookie) as server:
        await fetch(port, get(server))
        await fetch(port, get(server))
    await port.aclose()
    assert [seen.header("cookie") for seen in server.seen] == [None, None]
    assert set(learnt) == {"balanced-node-1"}


# --- Redirects -------------------------------------------------------------------------------------------------------


def _redirecting(status: int, location: str) -> Callable[[Seen, Peer], Any]:
    async def script(seen: Seen, peer: Peer) -> None:
        if seen.target == "/mcp":
            await peer.answer(status, b"moved", headers={"Location": location})
        else:
            await peer.answer(200, b"arrived")

    return script


async def test_the_port_itself_follows_nothing(port: HttpPort) -> None:
    async with ScriptedServer(_redirecting(307, "/mcp/")) as server, port.stream(get(server)) as response:
        assert response.status == 307
        assert response.header("location") == "/mcp/"


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 307), ("POST", 308), ("GET", 301), ("GET", 302), ("GET", 303), ("GET", 308)]
)
async def test_a_redirect_on_the_same_origin_keeps_method_body_and_headers(
    port: HttpPort, method: str, status: int
) -> None:
    async with ScriptedServer(_redirecting(status, "/mcp/?a=1#f")) as server:
        request = Request(method, server.url, (("Authorization", "Bearer t"),), b"{}" if method == "POST" else b"")
        async with follow(port, request) as response:
            assert await response.read(100) == b"arrived"
    assert [(seen.method, seen.target) for seen in server.seen] == [(method, "/mcp"), (method, "/mcp/?a=1")]
    assert server.seen[0].body == server.seen[1].body == request.body
    assert server.seen[1].header("authorization") == "Bearer t"
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_would_drop_the_message_is_refused(port: HttpPort, status: int) -> None:
    async with ScriptedServer(_redirecting(status, "/mcp/?key=secret")) as server:
        with pytest.raises(Refused) as caught:
            async with follow(port, post(server)):
                pass
    assert caught.value.http_status == status
    assert f"http://127.0.0.1:{server.port}/mcp/" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not caught.value.may_have_run


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_origin_is_refused_and_nothing_is_sent_there(
    port: HttpPort, method: str, status: int
) -> None:
    async with (
        ScriptedServer(_redirecting(200, "")) as other,
        ScriptedServer(_redirecting(status, f"{other.url}?token=t")) as server,
    ):
        with pytest.raises(Refused) as caught:
            async with follow(port, Request(method, server.url, (("Authorization", "Bearer t"),))):
                pass
    assert str(other.port) in str(caught.value)
    assert "token" not in str(caught.value)
    assert other.connections == 0


async def test_an_allowed_origin_gets_the_message_and_no_header_that_is_bound_elsewhere(port: HttpPort) -> None:
    async with (
        ScriptedServer(_redirecting(200, "")) as other,
        ScriptedServer(_redirecting(307, other.url + "/")) as server,
    ):
        home, there = origin_of(server.url), origin_of(other.url)
        bound = ((home, (("Authorization", "Bearer t"),)), (there, (("Mcp-Session-Id", "s"),)))
        request = Request("POST", server.url, (("X-Own", "1"),), b"{}", bound=bound)
        async with follow(port, request, frozenset({there})) as response:
            assert response.url == other.url + "/"
            assert await response.read(100) == b"arrived"
    (first,), (second,) = server.seen, other.seen
    assert (first.header("authorization"), first.header("mcp-session-id")) == ("Bearer t", None)
    assert (second.header("authorization"), second.header("mcp-session-id")) == (None, "s")
    assert (second.header("x-own"), second.body) == ("1", b"{}")


async def test_a_circle_of_redirects_ends(port: HttpPort) -> None:
    async with ScriptedServer(_redirecting(307, "/mcp")) as server:
        with pytest.raises(Refused, match="circle"):
            async with follow(port, post(server)):
                pass
    assert len(server.seen) == 6


# --- Connections -----------------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_once_its_answer_was_read(port: HttpPort) -> None:
    async with ScriptedServer(_secret) as server:
        for _ in range(3):
            await fetch(port, post(server))
        async with port.stream(post(server)) as response:
            await let_end(response.chunks())
        await fetch(port, post(server))
        assert server.connections == 1


async def test_an_idle_connection_that_the_server_closed_is_not_used(port: HttpPort) -> None:
    closed = asyncio.Event()

    async def once(_: Seen, peer: Peer) -> None:
        await peer.answer(200, b"x")
        await peer.hang_up()
        await peer.writer.wait_closed()
        closed.set()

    async with ScriptedServer(once) as server:
        for _ in range(3):
            assert await fetch(port, post(server)) == b"x"
            await closed.wait()  # a request that met the close on its way would be lost
            closed.clear()
        assert server.connections == 3


class Hands:
    """The hands of two clocks, to be moved by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = Moment(1000.0, 2000.0)
        monkeypatch.setattr(Moment, "now", classmethod(lambda _: self.at))

    def move(self, steady: float, wall: float | None = None) -> None:
        self.at = Moment(self.at.steady + steady, self.at.wall + (steady if wall is None else wall))


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}'


@pytest.mark.parametrize(("idle", "connections"), [(1.9, 1), (2.0, 2), (3.0, 2)])
async def test_what_must_not_be_sent_twice_goes_on_a_fresh_connection_only(
    port: HttpPort, hands: Hands, idle: float, connections: int
) -> None:
    async with ScriptedServer(_secret) as server:
        await fetch(port, post(server, CALL))
        hands.move(idle)
        await fetch(port, post(server, CALL))
        assert server.connections == connections


async def test_the_time_that_makes_a_connection_stale_can_be_set(tenant: Tenant, hands: Hands) -> None:
    for reuse_idle, connections in ((10.0, 1), (0.0, 2)):
        port = open_port(connect_timeout=5.0, terms=TERMS_OF[tenant]._replace(reuse_idle=reuse_idle))
        async with ScriptedServer(_secret) as server:
            await fetch(port, post(server, CALL))
            hands.move(9.0 if reuse_idle else 0.0)
            await fetch(port, post(server, CALL))
            assert server.connections == connections
        await port.aclose()


async def test_what_may_be_sent_twice_can_take_a_connection_that_was_idle_for_longer(hands: Hands) -> None:
    port = open_port(connect_timeout=5.0)  # the other library's pool has one rule for all
    async with ScriptedServer(_secret) as server:
        await fetch(port, post(server))
        hands.move(3.0)
        await fetch(port, post(server)._replace(may_repeat=True))
        hands.move(3.0)
        await fetch(port, get(server))
        assert server.connections == 1
        hands.move(3.0)
        await fetch(port, post(server, CALL))  # on a new one, and the old one stays
        assert server.connections == 2
        hands.move(3.0)
        await fetch(port, get(server))
        assert server.connections == 2
        hands.move(4.0)
        await fetch(port, get(server))
        assert server.connections == 3
    await port.aclose()


async def test_connections_that_nobody_will_use_again_are_closed(hands: Hands) -> None:
    gone: asyncio.Queue[None] = asyncio.Queue()

    async def script(_: Seen, peer: Peer) -> None:
        await peer.answer(200)
        await peer.gone()
        gone.put_nowait(None)

    port = open_port(connect_timeout=5.0)
    async with ScriptedServer(script) as server, asyncio.timeout(5):
        for _ in range(5):
            await fetch(port, post(server, CALL))
            hands.move(3.0)
        for _ in range(3):
            await gone.get()
    await port.aclose()


@pytest.mark.parametrize(("steady", "wall"), [(0.5, 3600.0), (0.5, -3600.0), (3600.0, 3600.0)])
async def test_a_connection_from_before_the_machine_slept_is_not_used(
    port: HttpPort, hands: Hands, steady: float, wall: float
) -> None:
    async with ScriptedServer(_secret) as server:
        await fetch(port, post(server, CALL))
        hands.move(steady, wall)
        await fetch(port, post(server)._replace(may_repeat=True))
        assert server.connections == 2


async def test_idle_connections_can_be_forgotten_while_others_go_on(port: HttpPort) -> None:
    go_on = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.body == b"slow":
            await go_on.wait()
        await peer.answer(200, seen.body)

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        slow = group.create_task(fetch(port, post(server, b"slow")))
        await server.until(1)
        await fetch(port, post(server, b"1"))
        port.doubt()
        await fetch(port, post(server, b"2"))
        assert server.connections == 3
        go_on.set()
        assert await slow == b"slow"


async def test_a_connection_that_ends_without_an_answer_may_have_carried_the_call(port: HttpPort) -> None:
    async def script(_: Seen, peer: Peer) -> None:
        if len(server.seen) == 2:
            await peer.hang_up()
        else:
            await peer.answer(200)

    async with ScriptedServer(script) as server:
        await fetch(port, post(server, CALL))
        fault = await fault_of(port, post(server, CALL))
        assert type(fault) is Interrupted
        assert fault.may_have_run
        assert len(server.seen) == 2
        assert server.connections == 1


async def test_leaving_early_closes_the_connection_without_waiting(port: HttpPort) -> None:
    gone = asyncio.Event()

    async def endless(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(b"first")
        await peer.gone()
        gone.set()
        await peer.hang_up()

    async with ScriptedServer(endless) as server:
        async with asyncio.timeout(2), port.stream(get(server)) as response:
            assert await anext(response.chunks()) == b"first"
        async with asyncio.timeout(2):
            await gone.wait()


async def test_cancelling_a_request_closes_its_connection_and_no_other(port: HttpPort) -> None:
    gone, go_on = asyncio.Event(), asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if seen.body == b"cancelled":
            await peer.gone()
            gone.set()
            await peer.hang_up()
        else:
            await go_on.wait()
            await peer.answer(200, b"kept")

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        kept = group.create_task(fetch(port, post(server, b"kept")))
        cancelled = group.create_task(fetch(port, post(server, b"cancelled")))
        await server.until(2)
        cancelled.cancel()
        await gone.wait()
        go_on.set()
        assert await kept == b"kept"


async def test_any_number_of_requests_runs_side_by_side(port: HttpPort) -> None:
    everybody = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if len(server.seen) == 101:
            everybody.set()
        await everybody.wait()
        await peer.answer(200, seen.body)

    async with ScriptedServer(script) as server, asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetch(port, post(server, b"%d" % at))) for at in range(101)]
    assert [task.result() for task in tasks] == [b"%d" % at for at in range(101)]


async def test_closing_interrupts_whoever_reads_and_refuses_whoever_comes(port: HttpPort) -> None:
    async def endless(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(b"first")
        await peer.gone()
        await peer.hang_up()

    async with ScriptedServer(endless) as server:
        async with port.stream(get(server)) as response, asyncio.TaskGroup() as group:
            chunks = response.chunks()
            await anext(chunks)

            async def read_on() -> type[BaseException]:
                with pytest.raises(Fault) as caught:
                    await anext(chunks)
                return caught.type

            reading = group.create_task(read_on())
            waiting = group.create_task(fault_of(port, post(server)))
            await server.until(1)
            await port.aclose()
        assert reading.result() is Interrupted
        assert type(waiting.result()) is Interrupted
        late = await fault_of(port, post(server))
        assert type(late) is Interrupted
        assert not late.may_have_run
        await port.aclose()


async def test_a_rest_that_does_not_end_is_left_after_a_moment(port: HttpPort) -> None:
    async def endless(_: Seen, peer: Peer) -> None:
        await peer.events()
        await peer.chunk(b"x")
        await peer.gone()
        await peer.hang_up()

    async with ScriptedServer(endless) as server, asyncio.timeout(2), port.stream(get(server)) as response:
        await let_end(response.chunks())


# --- httpcore alone --------------------------------------------------------------------------------------------------


def test_a_missing_sniffio_is_remembered_as_missing() -> None:
    """Without this, httpcore searches the path for it some twenty times a request (PERFORMANCE: 30 % of a call)."""
    assert "sniffio" in sys.modules
