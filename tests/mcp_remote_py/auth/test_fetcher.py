"""The fetcher: what it sends, what it takes, and where it does not go."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme

from mcp_remote_py.auth.fetcher import LARGEST_BODY, Fetcher, Reach, _literal
from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, SignInNeeded, TimedOut, TlsRefused, Unreachable
from mcp_remote_py.core.oauth.steps import Fetch, Fetched
from mcp_remote_py.settings import Network, SignIn, Timeouts, Tls, TrustFile
from tests.support.connect_proxy import HOST, ConnectProxy, SocksProxy

PUBLIC = "https://mcp.example.com/mcp"
LOCAL = "http://127.0.0.1:9/mcp"
USUAL, USUAL_TLS, STRAIGHT = SignIn(), Tls(), Network(proxy="none")
Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Far:
    """An authorization server of bytes: it answers what it is told to, and remembers every request."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.connections = 0
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/token", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (line[16:] for line in head.splitlines() if line.lower().startswith("content-length:")), "0"
                )
                body = await reader.readexactly(int(length))
                self.requests.append(head + body.decode())
                self.asked.set()
                if self.gate is not None:
                    await self.gate.wait()
                writer.write(self.answer)
                await writer.drain()


def ok(body: bytes = b"{}", *lines: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
    return head.encode() + body


@contextlib.asynccontextmanager
async def far(answer: bytes = ok(), context: ssl.SSLContext | None = None) -> AsyncIterator[Far]:
    there = Far(answer)
    server = await asyncio.start_server(there.accept, "127.0.0.1", 0, ssl=context)
    there.port = server.sockets[0].getsockname()[1]
    try:
        yield there
    finally:
        server.close()
        for _turn in range(3):
            await asyncio.sleep(0)  # a connection that was accepted just now is served, so that it can be ended
        for task in there.tasks:
            task.cancel()
        await asyncio.gather(*there.tasks, return_exceptions=True)


def fetcher(
    server: str = LOCAL,
    sign_in: SignIn = USUAL,
    *,
    tls: Tls = USUAL_TLS,
    network: Network = STRAIGHT,
    seconds: float = 10.0,
) -> Fetcher:
    return Fetcher(sign_in, server, tls, network, Timeouts(), lambda _: None, seconds=seconds)


async def get(one: Fetcher, url: str, *, checked: bool = False, **more: Any) -> Fetched:
    try:
        return await one.fetch(
            Fetch("the test document", more.pop("method", "GET"), url, origin_checked=checked, **more)
        )
    finally:
        await one.aclose()


# --- One request -----------------------------------------------------------------------------------------------------


async def test_a_request_goes_out_as_it_is_and_the_answer_comes_back_whole() -> None:
    async with far(ok(b'{"a":1}', "WWW-Authenticate: DPoP a", "www-authenticate: Basic b", "DPoP-Nonce: n")) as there:
        headers = (("Content-Type", "application/x-www-form-urlencoded"),)
        found = await get(fetcher(), there.url("/t?x=1"), method="POST", headers=headers, body=b"grant=a&b=c")
    assert (found.status, found.body) == (200, b'{"a":1}')
    assert found.headers["www-authenticate"] == "DPoP a, Basic b"
    assert found.headers["dpop-nonce"] == "n"
    assert there.requests[0].startswith("POST /t?x=1 HTTP/1.1\r\n")
    assert there.requests[0].endswith("\r\n\r\ngrant=a&b=c")
    names = {line.partition(":")[0].lower() for line in there.requests[0].split("\r\n\r\n")[0].split("\r\n")[1:]}
    assert names == {"host", "accept-encoding", "content-length", "content-type", "user-agent"}


async def test_an_error_is_an_answer_too() -> None:
    async with far(ok(b'{"error":"invalid_grant"}', status="400 Bad Request")) as there:
        assert (await get(fetcher(), there.url(), method="POST")).status == 400


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_no_redirect_is_followed(status: str) -> None:
    async with far() as elsewhere, far(ok(b"", f"Location: {elsewhere.url('/')}", status=status)) as there:
        found = await get(fetcher(), there.url())
    assert found.status == int(status[:3])
    assert len(there.requests) == 1
    assert elsewhere.requests == []


async def test_no_cookie_is_kept() -> None:
    async with far(ok(b"{}", "Set-Cookie: a=secret-cookie; Path=/")) as there:
        one = fetcher()
        await one.fetch(Fetch("a", "GET", there.url()))
        await get(one, there.url())
    assert len(there.requests) == 2
    assert "cookie" not in there.requests[1].lower()


async def test_a_compressed_answer_is_read() -> None:
    async with far(ok(gzip.compress(b'{"a":1}'), "Content-Encoding: gzip")) as there:
        assert (await get(fetcher(), there.url())).body == b'{"a":1}'


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_body_is_bounded_packed_or_not(is_packed: bool) -> None:
    body = b" " * (LARGEST_BODY + 1)
    answer = ok(gzip.compress(body), "Content-Encoding: gzip") if is_packed else ok(body)
    async with far(answer) as there:
        with pytest.raises(
            PeerBroke, match="the test document cannot be had: the answer has more than 1024 KiB"
        ) as caught:
            await get(fetcher(), there.url())
    assert not caught.value.may_have_run


async def test_a_server_that_never_answers_is_given_up() -> None:
    async with far() as there:
        there.gate = asyncio.Event()
        with pytest.raises(TimedOut, match=r"the test document did not come within 0\.2 s") as caught:
            await get(fetcher(seconds=0.2), there.url())
    assert not caught.value.may_have_run


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(b"hello there, no HTTP\r\n\r\n", PeerBroke), (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 99999, PeerBroke)],
)
async def test_what_is_no_answer_is_a_fault(answer: bytes, kind: type[Fault]) -> None:
    async with far(answer) as there:
        with pytest.raises(kind, match="the test document cannot be had"):
            await get(fetcher(), there.url())


async def test_a_refused_connection_says_what_could_not_be_had() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}/x?secret=1"
        with pytest.raises(Unreachable, match=r"the test document cannot be had: .* refused the connection") as caught:
            await get(fetcher(), url)
    assert "secret" not in str(caught.value) + caught.value.hint


async def test_private_authorities_and_unverified_hosts_are_as_configured(tmp_path: Any) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    async with far(context=context) as there:
        url = there.url(scheme="https")
        with pytest.raises(TlsRefused):
            await get(fetcher(), url)
        tls = Tls(trusted=(TrustFile(str(root), "--ca-bundle"),))
        assert (await get(fetcher(tls=tls), url)).status == 200
        assert (await get(fetcher(tls=Tls(insecure=("127.0.0.1",))), url)).status == 200


@pytest.mark.parametrize("url", ["nonsense", "ftp://a.example/", "http://", "https://[::1", "https://a.example:99999/"])
async def test_what_is_no_address_is_a_fault(url: str) -> None:
    for server, checked in ((LOCAL, False), ("https://192.0.2.1/", False), (LOCAL, True)):
        with pytest.raises(Fault, match="the test document cannot be had"):
            await get(fetcher(server), url, checked=checked)


async def test_closing_ends_what_is_under_way() -> None:
    async with far() as there, asyncio.TaskGroup() as group:
        there.gate = asyncio.Event()
        one = fetcher()
        running = group.create_task(_outcome(one, there.url()))
        async with asyncio.timeout(10):
            await there.asked.wait()
        await one.aclose()
        assert isinstance(await running, Interrupted)


async def _outcome(one: Fetcher, url: str) -> Fetched | Fault:
    try:
        return await one.fetch(Fetch("a", "GET", url))
    except Fault as fault:
        return fault


# --- Where it does not go --------------------------------------------------------------------------------------------


class Names:
    """What the name server says, in turn; the last answer stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> None:
        self.asked: list[str] = []
        self._answers = {name.replace("_", "."): list(turns) for name, turns in answers.items()}
        real = asyncio.BaseEventLoop.getaddrinfo

        async def look_up(loop: Any, host: Any, port: Any, **more: Any) -> Any:
            turns = self._answers.get(host)
            if turns is None:
                return await real(loop, host, port, **{**more, "flags": socket.AI_NUMERICHOST})
            self.asked.append(host)
            addresses = turns.pop(0) if len(turns) > 1 else turns[0]
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "no such name")
            return [info for address in addresses for info in await real(loop, address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.9.9",
    "169.254.169.254",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a00:1]",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "foo.localhost",
    "metadata.google.internal",
    "printer.local",
    "intranet",
]


@pytest.mark.parametrize("host", PRIVATE)
@pytest.mark.parametrize("with_proxy", [False, True])
async def test_nothing_leads_from_a_public_server_into_a_private_network(
    host: str, with_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]])
    async with far() as there, ConnectProxy() as proxy:
        network = Network(proxy=proxy.url() if with_proxy else "none")
        url = f"http://{host}:{there.port}/token"
        with pytest.raises(SignInNeeded, match=r"lies in a private network .* mcp\.example\.com is a public") as caught:
            await get(fetcher(PUBLIC, network=network), url, method="POST")
        assert "--allow-private-auth" in caught.value.hint
        assert there.connections == 0
        assert proxy.count == 0


async def test_a_name_that_leads_to_a_private_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["127.0.0.1"]])
    async with far() as there:
        with pytest.raises(SignInNeeded, match=f"auth.example.com:{there.port} lies in a private network"):
            await get(fetcher(PUBLIC), there.url(host="auth.example.com"))
    assert there.connections == 0


async def test_the_addresses_that_were_looked_at_are_the_ones_that_are_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that has a public address when it is looked at and a private one a moment later gains nothing."""
    names = Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["192.0.2.8"], ["127.0.0.1"]])
    attempts: list[str] = []

    async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
        attempts.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    with pytest.raises(Unreachable):
        await get(fetcher(PUBLIC), "http://auth.example.com:8080/token")
    assert attempts == ["192.0.2.8"]
    assert names.asked.count("auth.example.com") == 1


@pytest.mark.parametrize("library", ["h11", "httpx"])
async def test_either_library_connects_only_where_it_may(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["127.0.0.1"]])
    network = STRAIGHT._replace(library=library)
    async with far() as there:
        url = there.url(host="auth.example.com")
        with pytest.raises(SignInNeeded, match="lies in a private network"):
            await get(fetcher(PUBLIC, network=network), url)
        assert there.connections == 0
        assert (await get(fetcher(PUBLIC, network=network), url, checked=True)).status == 200
        allowed = SignIn(private_hosts=("auth.example.com",))
        assert (await get(fetcher(PUBLIC, allowed, network=network), url)).status == 200


async def test_of_several_addresses_the_private_ones_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["127.0.0.1", "192.0.2.8", "::1"]])
    attempts: list[str] = []

    async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
        attempts.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    with pytest.raises(Unreachable):
        await get(fetcher(PUBLIC), "https://auth.example.com/token")
    assert attempts == ["192.0.2.8"]


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:{port}", "auth.example.com", "AUTH.example.com"])
async def test_an_allowed_host_may_be_private(allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["127.0.0.1"]])
    async with far() as there:
        sign_in = SignIn(private_hosts=(allowed.format(port=there.port),))
        host = "127.0.0.1" if "127" in allowed else "auth.example.com"
        assert (await get(fetcher(PUBLIC, sign_in), there.url(host=host))).status == 200
        with pytest.raises(SignInNeeded):
            await get(fetcher(PUBLIC, sign_in), there.url(host="localhost"))


async def test_an_allowed_port_is_allowed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]])
    async with far() as there:
        with pytest.raises(SignInNeeded):
            await get(fetcher(PUBLIC, SignIn(private_hosts=("127.0.0.1:1",))), there.url())


async def test_an_address_that_we_derived_ourselves_is_asked_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]], auth_example_com=[["127.0.0.1"]])
    async with far() as there:
        assert (await get(fetcher(PUBLIC), there.url(host="auth.example.com"), checked=True)).status == 200


@pytest.mark.parametrize(
    "server", [LOCAL, "http://[::1]:1/mcp", "https://10.0.0.9/mcp", "https://mcp.corp.example/mcp"]
)
async def test_a_private_server_may_name_private_hosts(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_corp_example=[["10.0.0.9"]], auth_corp_example=[["127.0.0.1"]])
    async with far() as there:
        assert (await get(fetcher(server), there.url(host="auth.corp.example"))).status == 200


async def test_one_private_address_among_public_ones_makes_no_server_private(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["10.0.0.1", "192.0.2.7"]])
    async with far() as there:
        with pytest.raises(SignInNeeded):
            await get(fetcher(PUBLIC), there.url())


async def test_a_server_that_was_public_once_stays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["10.0.0.1"], ["192.0.2.7"], ["10.0.0.1"]])
    reach = Reach(PUBLIC, ())
    assert not await reach.check("http://127.0.0.1/")
    for _ in range(2):
        with pytest.raises(SignInNeeded):
            await reach.check("http://127.0.0.1/")


@pytest.mark.parametrize(
    ("server", "is_public"), [("https://mcp.example.com/", True), ("https://mcp.internal/", False)]
)
async def test_a_server_whose_name_only_the_proxy_knows_is_judged_by_its_name(
    server: str, is_public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, mcp_example_com=[[]], mcp_internal=[[]])
    assert await Reach(server, ()).check("https://auth.example.com/") is is_public


async def test_overlay_networks_are_no_private_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]])
    assert await Reach(PUBLIC, ()).check("https://100.64.1.2/")


@pytest.mark.parametrize("kind", [ConnectProxy, SocksProxy])
async def test_through_a_proxy_the_proxy_looks_the_name_up(
    kind: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked by name even where that has a private address: the proxy's network is not ours to judge."""
    Names(monkeypatch, mcp_example_com=[["192.0.2.7"]])
    async with far() as there, kind() as proxy:
        found = await get(fetcher(PUBLIC, network=Network(proxy=proxy.url())), there.url(host=HOST))
        assert found.status == 200
        assert proxy.count == 1


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("127.1", "127.0.0.1"),
        ("1", "0.0.0.1"),
        ("0xA9FEA9FE", "169.254.169.254"),
        ("300.1.1.1", None),
        ("a.example", None),
        ("1.2.3.4.5", None),
        ("", None),
    ],
)
def test_addresses_are_read_as_c_libraries_read_them(host: str, address: str | None) -> None:
    assert _literal(host) == address
