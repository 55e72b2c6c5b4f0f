"""The real bridge behind a real proxy: all wires, all variables, and not one byte of a credential for the proxy.

The server has a name that only the proxy knows, so whatever reaches it has come through the proxy.
"""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import authority, server_context
from tests.support.connect_proxy import HOST, ConnectProxy, Deed, SocksProxy, refusing, saying, silent
from tests.support.every_wire import EveryWire, every_wire
from tests.support.host import Host, clean_environment, launch, python_command
from tests.support.scripted_server import closed_port

TOKEN = "the-servers-own-token-4711"
API_KEY = "the-servers-own-key-0815"
WIRES = {
    "http": ("http", "/mcp", ()),
    "https": ("https", "/mcp", ()),
    "sse": ("https", "/sse", ("--sse-only",)),
    "plain sse": ("http", "/sse", ("--sse-only",)),
    "ws": ("ws", "/ws", ()),
    "wss": ("wss", "/ws", ()),
}


@pytest.fixture
async def server() -> AsyncIterator[EveryWire]:
    async with every_wire(server_context(HOST, "127.0.0.1")) as running:
        yield running


@contextlib.asynccontextmanager
async def bridge(
    server: EveryWire, wire: str, bundle: Path, *flags: str, host: str = HOST, **variables: str
) -> AsyncIterator[Host]:
    scheme, path, more = WIRES[wire]
    given = ("--allow-http", "--ca-bundle", str(bundle), "--header", f"X-Api-Key: {API_KEY}", "--log-level", "debug")
    url = server.url(scheme, path, host)
    # what might pass is told at once, too: here it is told, not waited for
    environment = clean_environment(MCP_AUTH_TOKEN=TOKEN, MCP_REMOTE_PY_GREET_AFTER="off", **variables)
    async with launch(url, *given, *more, *flags, env=environment) as running:
        yield running


async def works(host: Host) -> None:
    assert "result" in await host.greet(), host.log.decode()
    assert "result" in await host.request("tools/list")


async def fault(host: Host) -> tuple[int, str, str]:
    """The code of the error, its sentence, and its hint."""
    answer = await host.greet()
    assert "error" in answer
    error: dict[str, Any] = answer["error"]
    return error["code"], error["message"], error["data"]["hint"]


def assert_nothing_of_ours(proxy: ConnectProxy | SocksProxy, *, tunnels_alone: bool) -> None:
    """No credential stood in what the proxy itself was told; in a tunnel with TLS it is not to be seen either."""
    for tunnel in proxy.tunnels:
        shown = bytes(tunnel.head) + (bytes(tunnel.sent) if tunnels_alone else b"")
        for secret in (TOKEN, API_KEY, base64.b64encode(TOKEN.encode()).decode(), "session-of-every-wire"):
            assert secret.encode() not in shown


# --- Which requests go through it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", list(WIRES))
async def test_every_wire_goes_through_the_proxy_of_its_variable(server: EveryWire, bundle: Path, wire: str) -> None:
    secure = WIRES[wire][0] in ("https", "wss")
    async with ConnectProxy() as proxy, ConnectProxy() as other:
        variables = {"HTTPS_PROXY": proxy.url(), "http_proxy": other.url()}
        async with bridge(server, wire, bundle, **variables) as host:
            await works(host)
            assert await host.end() == 0
        used, unused = (proxy, other) if secure else (other, proxy)
        assert unused.count == 0
        assert used.count > 0
        if secure or wire == "ws":
            assert used.forwarded == []
            assert {tunnel.headers["host"] for tunnel in used.connects} == {
                f"{HOST}:{server.ports['https' if secure else 'http']}"
            }
            allowed = {"host", "user-agent"}
            assert all(set(tunnel.headers) <= allowed for tunnel in used.connects)
        else:
            assert used.connects == []  # plain HTTP is handed to the proxy itself
        if secure:
            assert_nothing_of_ours(used, tunnels_alone=True)
        assert all("proxy-authorization" not in (name.lower() for name in given) for _, _, given in server.seen)
    assert TOKEN in server.everything()


@pytest.mark.parametrize("wire", ["https", "wss"])
@pytest.mark.parametrize(
    "way", [("--proxy",), ("HTTPS_PROXY",), ("https_proxy",), ("ALL_PROXY",), ("all_proxy",), ("MCP_REMOTE_PY_PROXY",)]
)
async def test_every_place_that_names_a_proxy_counts_and_none_switches_it_off(
    server: EveryWire, bundle: Path, wire: str, way: tuple[str]
) -> None:
    async with ConnectProxy() as proxy:
        flags = ("--proxy", proxy.url()) if way[0] == "--proxy" else ()
        variables = {} if flags else {way[0]: proxy.url()}
        async with bridge(server, wire, bundle, *flags, **variables) as host:
            await works(host)
        assert proxy.connects
        before = proxy.count
        if not flags:
            async with bridge(server, wire, bundle, "--proxy", "none", **variables) as host:
                _, text, _ = await fault(host)
            assert f"the name {HOST}" in text
        assert proxy.count == before


@pytest.mark.parametrize("wire", ["http", "https", "sse", "ws", "wss"])
@pytest.mark.parametrize("entry", [HOST, ".example.test", "*"])
async def test_what_no_proxy_names_goes_straight(server: EveryWire, bundle: Path, wire: str, entry: str) -> None:
    async with ConnectProxy() as proxy:
        async with bridge(server, wire, bundle, ALL_PROXY=proxy.url(), NO_PROXY=f"other.example, {entry}") as host:
            _, text, _ = await fault(host)
        assert proxy.count == 0
    assert HOST in text
    assert "DNS" in text or "name" in text


@pytest.mark.parametrize("wire", ["https", "ws"])
async def test_this_machine_is_reached_without_the_proxy_that_a_flag_names(
    server: EveryWire, bundle: Path, wire: str
) -> None:
    async with ConnectProxy() as proxy:
        async with bridge(server, wire, bundle, "--proxy", proxy.url(), host="127.0.0.1") as host:
            await works(host)
        assert proxy.count == 0


async def test_enable_proxy_of_mcp_remote_is_accepted(server: EveryWire, bundle: Path) -> None:
    async with (
        ConnectProxy() as proxy,
        bridge(server, "https", bundle, "--enable-proxy", HTTPS_PROXY=proxy.url()) as host,
    ):
        await works(host)
        assert proxy.connects


# --- Credentials -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", list(WIRES))
async def test_the_proxy_gets_its_own_credentials_and_nobody_else_does(
    server: EveryWire, bundle: Path, wire: str
) -> None:
    async with ConnectProxy(users={"jo": "p@ss:wörd-99"}) as proxy:
        named = proxy.url("jo:p%40ss%3Aw%C3%B6rd-99")
        async with bridge(server, wire, bundle, ALL_PROXY=named) as host:
            await works(host)
            assert await host.end() == 0
        assert all("proxy-authorization" in tunnel.headers for tunnel in proxy.tunnels)
        if WIRES[wire][0] in ("https", "wss"):
            assert_nothing_of_ours(proxy, tunnels_alone=True)
    pair = base64.b64encode("jo:p@ss:wörd-99".encode()).decode()
    assert pair not in server.everything()
    assert not any(server.headers("proxy-authorization"))
    for form in (pair, "p@ss:w", "p%40ss"):
        assert form not in host.log.decode()


@pytest.mark.parametrize("wire", list(WIRES))
@pytest.mark.parametrize("given", ["", "jo:wrong-password@"])
async def test_a_407_names_the_proxy_the_setting_and_the_line_that_mends_it(
    server: EveryWire, bundle: Path, wire: str, given: str
) -> None:
    async with ConnectProxy(users={"jo": "right"}) as proxy:
        named = proxy.url(given.rstrip("@"))
        async with bridge(server, wire, bundle, ALL_PROXY=named) as host:
            code, text, hint = await fault(host)
            assert code == -31001
            assert f"the proxy {proxy.place} (from ALL_PROXY)" in text
            assert "HTTP 407" in text
            assert "ALL_PROXY" in hint
            assert ("refused the user name" in text) == bool(given)
            assert "wrong-password" not in f"{text}{hint}{host.log.decode()}"
        if wire not in ("http", "plain sse"):  # there the proxy is handed the request itself
            assert_nothing_of_ours(proxy, tunnels_alone=True)
    assert server.seen == []


# --- A proxy that fails ----------------------------------------------------------------------------------------------

DEEDS: list[tuple[Deed, str]] = [
    (refusing(403), "does not allow a connection"),
    (refusing(502), "got no connection to"),
    (refusing(503), "got no connection to"),
    (saying(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "does not answer in HTTP"),
    (saying(b""), "closed the connection when it was asked"),
    (saying(b"HTTP/1.1 200 OK\r\n\r\nbytes of nobody"), "does not answer in HTTP"),
    (silent, "made no connection to"),
]


@pytest.mark.parametrize("wire", ["https", "sse", "wss"])
@pytest.mark.parametrize(("deed", "words"), DEEDS, ids=[words for _, words in DEEDS])
async def test_a_proxy_that_fails_is_said_to_be_the_proxy(
    server: EveryWire, bundle: Path, wire: str, deed: Deed, words: str
) -> None:
    async with (
        ConnectProxy(deed=deed) as proxy,
        bridge(server, wire, bundle, "--connect-timeout", "1s", HTTPS_PROXY=proxy.url()) as host,
    ):
        _, text, hint = await fault(host)
        assert f"the proxy {proxy.place} (from HTTPS_PROXY)" in text
        assert words in text
        assert "--proxy none" in hint
        assert_nothing_of_ours(proxy, tunnels_alone=True)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"])
async def test_a_proxy_that_fails_with_a_forwarded_request_is_named(said: bytes) -> None:
    async with ConnectProxy(deed=saying(said)) as proxy:
        url = f"http://{HOST}/mcp"
        flags = ("--allow-http", "--http-only", "--greet-after", "off", "--proxy", proxy.url())
        async with launch(url, *flags, env=clean_environment()) as host:
            error = (await host.greet())["error"]
    cause = f"; it was asked through the proxy {proxy.place} (from --proxy), which may be the cause"
    assert cause in error["message"]


@pytest.mark.parametrize("wire", ["http", "https", "sse", "ws", "wss"])
async def test_a_proxy_that_is_not_there_is_named(server: EveryWire, bundle: Path, wire: str) -> None:
    number = closed_port()
    async with bridge(server, wire, bundle, "--proxy", f"127.0.0.1:{number}") as host:
        code, text, hint = await fault(host)
    assert code == -31001
    assert f"the proxy 127.0.0.1:{number} (from --proxy) cannot be used" in text
    assert "refused the connection" in text
    assert "--proxy none" in hint


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_a_proxy_whose_name_is_unknown_is_named(server: EveryWire, bundle: Path, wire: str) -> None:
    async with bridge(server, wire, bundle, HTTPS_PROXY="http://proxy.corp.invalid:8080") as host:
        _, text, _ = await fault(host)
    assert "the proxy proxy.corp.invalid:8080 (from HTTPS_PROXY)" in text
    assert "the name proxy.corp.invalid" in text


# --- A proxy in TLS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", list(WIRES))
async def test_a_proxy_may_be_spoken_to_in_tls(server: EveryWire, bundle: Path, wire: str) -> None:
    async with ConnectProxy(context=server_context(), users={"jo": "secret-of-jo"}) as proxy:
        async with bridge(server, wire, bundle, ALL_PROXY=proxy.url("jo:secret-of-jo")) as host:
            await works(host)
        assert proxy.count


@pytest.mark.parametrize("wire", ["https", "wss", "http"])
async def test_a_proxy_whose_certificate_is_refused_is_named(server: EveryWire, bundle: Path, wire: str) -> None:
    async with ConnectProxy(context=server_context(issuer=authority("a stranger"))) as proxy:
        async with bridge(server, wire, bundle, ALL_PROXY=proxy.url()) as host:
            _, text, hint = await fault(host)
        assert f"the proxy {proxy.place} (from ALL_PROXY) cannot be used" in text
        assert "a stranger" in text
        assert "--ca-bundle" in hint
        assert proxy.count == 0


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_https_for_a_proxy_that_speaks_plain_http_is_explained(
    server: EveryWire, bundle: Path, wire: str
) -> None:
    async with ConnectProxy() as proxy:
        wrong = proxy.url().replace("http:", "https:")
        async with bridge(server, wire, bundle, "--connect-timeout", "2s", HTTPS_PROXY=wrong) as host:
            _, text, hint = await fault(host)
        assert f"the proxy {proxy.place} (from HTTPS_PROXY)" in text
        assert "its URL begins with http://" in hint


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_a_certificate_that_is_refused_through_the_proxy_is_described(
    server: EveryWire, bundle: Path, tmp_path: Path, wire: str
) -> None:
    del bundle
    other = tmp_path / "other.pem"
    authority("another company").cert_pem.write_to_path(str(other))
    async with ConnectProxy() as proxy, bridge(server, wire, other, HTTPS_PROXY=proxy.url()) as host:
        _, text, _ = await fault(host)
        assert f"the certificate of {HOST}" in text
        assert "tests" in text  # its issuer
        assert server.seen == []


# --- SOCKS, PAC, and what cannot be used -----------------------------------------------------------------------------


@pytest.mark.parametrize("wire", list(WIRES))
@pytest.mark.parametrize("user", [None, ("jo", "secret-of-jo")])
async def test_socks_works_where_its_library_is_installed(
    server: EveryWire, bundle: Path, wire: str, user: tuple[str, str] | None
) -> None:
    pytest.importorskip("socksio")
    async with SocksProxy(user=user) as proxy:
        named = proxy.url("" if user is None else ":".join(user))
        async with bridge(server, wire, bundle, ALL_PROXY=named.replace("socks5:", "socks5h:")) as host:
            await works(host)
        assert set(proxy.names) == {f"{HOST}:{server.ports['https' if WIRES[wire][0] in ('https', 'wss') else 'http']}"}


async def test_socks_that_refuses_says_so(server: EveryWire, bundle: Path) -> None:
    pytest.importorskip("socksio")
    async with SocksProxy(reply=2) as proxy, bridge(server, "https", bundle, ALL_PROXY=proxy.url()) as host:
        _, text, _ = await fault(host)
        assert f"the proxy {proxy.place} (from ALL_PROXY) does not allow a connection" in text
    async with SocksProxy(user=("jo", "x")) as proxy, bridge(server, "wss", bundle, ALL_PROXY=proxy.url()) as host:
        _, text, hint = await fault(host)
        assert "wants a user name and a password" in text
        assert f"USER:PASSWORD@ before {proxy.place} in ALL_PROXY" in hint


WITHOUT_SOCKS = """
import sys
sys.modules["socksio"] = None
from mcp_remote_py.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("wire", ["http", "https", "ws", "wss"])
async def test_socks_without_its_library_is_an_error_and_no_crash(server: EveryWire, bundle: Path, wire: str) -> None:
    scheme, path, _ = WIRES[wire]
    async with SocksProxy() as proxy:
        environment = clean_environment(all_proxy=proxy.url())
        flags = (server.url(scheme, path, HOST), "--allow-http", "--ca-bundle", str(bundle))
        async with launch(*flags, env=environment, command=python_command(WITHOUT_SOCKS)) as host:
            code, text, hint = await fault(host)
            assert code == -31001
            assert "ALL_PROXY" in text
            assert "SOCKS" in text
            assert "[socks]" in hint
        assert proxy.count == 0
        straight = server.url(scheme, path)
        async with launch(straight, *flags[1:], env=environment, command=python_command(WITHOUT_SOCKS)) as host:
            await works(host)  # nobody asked for SOCKS here


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_missing_socks_library_is_said_before_the_proxy_is_asked(scheme: str) -> None:
    environment = clean_environment(ALL_PROXY=f"socks5://127.0.0.1:{closed_port()}")
    command = python_command(WITHOUT_SOCKS)
    async with launch(f"{scheme}://{HOST}/", "--allow-http", env=environment, command=command) as host:
        _, text, hint = await fault(host)
        assert "SOCKS" in text
        assert "[socks]" in hint


@pytest.mark.parametrize(
    ("text", "words"), [("http://wpad.corp/proxy.pac", "PAC file"), ("ftp://x", "scheme"), ("http://x:0", "port 0")]
)
async def test_a_flag_that_names_no_proxy_ends_with_2_and_a_variable_with_an_error(
    server: EveryWire, bundle: Path, text: str, words: str
) -> None:
    async with bridge(server, "https", bundle, "--proxy", text) as host:
        assert await host.end() == 2
        assert "--proxy" in host.log.decode()
        assert words in host.log.decode()
    async with bridge(server, "https", bundle, HTTPS_PROXY=text) as host:
        _, said, _ = await fault(host)
        assert "HTTPS_PROXY" in said
        assert words in said
    async with bridge(server, "https", bundle, host="127.0.0.1", HTTPS_PROXY=text) as host:
        await works(host)


async def test_a_pac_file_of_the_environment_is_named_and_the_direct_way_tried(server: EveryWire, bundle: Path) -> None:
    async with bridge(server, "https", bundle, auto_proxy="http://wpad.corp/proxy.pac") as host:
        _, _, hint = await fault(host)
        assert "PAC file" in hint
        assert "--proxy http://host:port" in hint
        assert "auto_proxy" in host.log.decode()


def test_no_process_of_these_tests_depends_on_a_proxy_of_this_machine() -> None:
    assert not {name for name in clean_environment() if name.lower().endswith("_proxy")}
    assert sys.version_info >= (3, 11)
