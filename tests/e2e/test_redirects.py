"""Redirects met by the real bridge, with a second origin that remembers every header that it is shown: none of ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import authority, server_context
from tests.support.every_wire import HANG_UP, SESSION, EveryWire, every_wire
from tests.support.host import Host, clean_environment, launch

TOKEN = "the-first-servers-token-4711"
API_KEY = "the-first-servers-key-0815"
COOKIE = "node=cookie-of-the-first-server; Path=/"
STATUSES = (301, 302, 303, 307, 308)
WIRES = {
    "http": ("http", "/mcp", ("--http-only",)),
    "sse": ("http", "/sse", ("--sse-only",)),
    "ws": ("ws", "/ws", ()),
}
INNOCENT = {
    "host",
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "mcp-protocol-version",
    "mcp-session-id",
    "upgrade",
    "user-agent",
}
"""What a server needs to be told; the session id is looked at where it matters."""


@pytest.fixture
async def first() -> AsyncIterator[EveryWire]:
    async with every_wire(server_context()) as running:
        running.cookie = COOKIE
        yield running


@pytest.fixture
async def second() -> AsyncIterator[EveryWire]:
    async with every_wire(server_context()) as running:
        yield running


@contextlib.asynccontextmanager
async def bridge(url: str, *flags: str) -> AsyncIterator[Host]:
    given = ("--header", f"X-Api-Key: {API_KEY}", "--header", "X-Tenant: tenant-of-the-first")
    async with launch(url, *given, *flags, env=clean_environment(MCP_AUTH_TOKEN=TOKEN)) as running:
        yield running


async def works(host: Host) -> None:
    assert "result" in await host.greet(), host.log.decode()
    assert "result" in await host.request("tools/list")


async def refusal(host: Host) -> tuple[str, str]:
    answer = await host.greet()
    error: dict[str, Any] = answer["error"]
    assert error["code"] == -31006
    assert not error["data"]["may_have_run"]
    return error["message"], error["data"]["hint"]


def assert_shown_nothing(second: EveryWire, *, but: frozenset[str] = frozenset()) -> None:
    for secret in (TOKEN, API_KEY, "tenant-of-the-first", "cookie-of-the-first", "x-api-key"):
        assert secret not in second.everything()
    for _, _, given in second.seen:
        names = {name.lower() for name in given}
        assert {name for name in names if not name.startswith("sec-websocket-")} <= INNOCENT | but


def moved(first: EveryWire, wire: str, status: int, location: str) -> str:
    first.redirect = (status, location)
    scheme, path, _ = WIRES[wire]
    return first.url(scheme, "/moved" + path)


@pytest.mark.parametrize("wire", list(WIRES))
@pytest.mark.parametrize("status", STATUSES)
async def test_the_same_origin_is_followed_with_all_that_belongs_to_it(
    first: EveryWire, wire: str, status: int
) -> None:
    _, path, flags = WIRES[wire]
    async with bridge(moved(first, wire, status, path), *flags) as host:
        if wire == "http" and status in (301, 302, 303):
            text, _ = await refusal(host)
            assert first.url("http", path) in text
            assert f"HTTP {status}" in text
            assert [entry[0] for entry in first.seen] == ["POST"]
            return
        await works(host)
    arrived = [given for _, at, given in first.seen if at == path]
    assert first.frames[0]["method"] == "initialize"
    for given in arrived:
        assert given["Authorization"] == f"Bearer {TOKEN}"
        assert given["X-Api-Key"] == API_KEY
        assert "cookie-of-the-first" in given["Cookie"]  # set by the redirect


@pytest.mark.parametrize("wire", list(WIRES))
@pytest.mark.parametrize("status", STATUSES)
async def test_another_origin_is_refused_and_not_even_asked(
    first: EveryWire, second: EveryWire, wire: str, status: int
) -> None:
    scheme, path, flags = WIRES[wire]
    location = second.url(scheme, path + "?code=secret-of-the-location")
    async with bridge(moved(first, wire, status, location), *flags) as host:
        text, hint = await refusal(host)
        assert second.url(scheme, path) in text
        assert "secret-of-the-location" not in text + hint + host.log.decode()
        assert f"--allow-redirect-to {second.url(scheme, '')}" in hint
    assert second.seen == []


@pytest.mark.parametrize("wire", list(WIRES))
@pytest.mark.parametrize("status", STATUSES)
async def test_an_allowed_origin_is_shown_no_credential_at_all(
    first: EveryWire, second: EveryWire, wire: str, status: int
) -> None:
    scheme, path, flags = WIRES[wire]
    url = moved(first, wire, status, second.url(scheme, path))
    allowed = ("--allow-redirect-to", second.url("http", ""))
    async with bridge(url, *flags, *allowed) as host:
        if wire == "http" and status in (301, 302, 303):
            text, _ = await refusal(host)
            assert "drop the message" in text
            assert second.seen == []
            return
        await works(host)
        assert await host.end() == 0
    assert second.seen
    assert_shown_nothing(second)
    if wire != "sse":
        assert all(f"Bearer {TOKEN}" == given["Authorization"] for _, _, given in first.seen)


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_a_redirect_to_what_is_not_encrypted_needs_that_very_origin_allowed(
    first: EveryWire, second: EveryWire, bundle: Path, wire: str
) -> None:
    path, plain = ("/ws", "ws") if wire == "wss" else ("/mcp", "http")
    first.redirect = (307, second.url(plain, path))
    flags = ("--ca-bundle", str(bundle), *(("--http-only",) if wire == "https" else ()))
    url = first.url(wire, "/moved" + path)
    async with bridge(url, *flags, "--allow-redirect-to", second.url("https", "")) as host:
        _, hint = await refusal(host)
        assert "It is not encrypted." in hint
    assert second.seen == []
    async with bridge(url, *flags, "--allow-redirect-to", second.url("http", "")) as host:
        await works(host)
    assert_shown_nothing(second)


@pytest.mark.parametrize("wire", ["https", "wss"])
async def test_a_client_certificate_is_shown_to_its_own_server_alone(
    first: EveryWire, bundle: Path, tmp_path: Path, wire: str
) -> None:
    ours = tmp_path / "ours.pem"
    authority().issue_cert("us@example.test").private_key_and_cert_chain_pem.write_to_path(str(ours))
    asking = server_context(ask_client=True)
    path = "/ws" if wire == "wss" else "/mcp"
    flags = ("--ca-bundle", str(bundle), "--client-cert", str(ours), *(("--http-only",) if wire == "https" else ()))
    async with every_wire(asking) as second:
        first.redirect = (307, second.url(wire, path))
        allowed = ("--allow-redirect-to", second.url("https", ""))
        async with bridge(first.url(wire, "/moved" + path), *flags, *allowed) as host:
            assert "error" in await host.greet()  # it asks for a certificate, and is given none
        assert second.seen == []
        async with bridge(second.url(wire, path), *flags) as host:
            await works(host)


async def test_a_session_id_goes_to_the_origin_that_gave_it_alone(first: EveryWire, second: EveryWire) -> None:
    url = moved(first, "http", 307, second.url("http", "/mcp"))
    async with bridge(url, "--http-only", "--allow-redirect-to", second.url("http", "")) as host:
        await works(host)
        assert await host.end() == 0
    assert SESSION not in first.everything()
    verbs = [verb for verb, _, _ in second.seen]
    assert verbs[0] == "POST"
    assert "DELETE" in verbs
    assert second.headers("mcp-session-id")[0] is None
    assert set(second.headers("mcp-session-id")[1:]) == {SESSION}


async def test_a_session_of_the_first_origin_is_not_shown_to_the_second(first: EveryWire, second: EveryWire) -> None:
    """The server begins to redirect in the middle of a session."""
    url = first.url("http", "/mcp")
    async with bridge(url, "--http-only", "--allow-redirect-to", second.url("http", "")) as host:
        assert "result" in await host.greet()
        first.moves_to = second.url("http", "/mcp")
        assert "result" in await host.request("tools/list")
    assert SESSION in first.everything()
    assert second.seen
    assert SESSION not in second.everything()
    assert_shown_nothing(second)


async def test_an_endpoint_of_a_stream_that_was_redirected_lies_where_the_stream_does(
    first: EveryWire, second: EveryWire
) -> None:
    url = moved(first, "sse", 307, second.url("http", "/sse"))
    async with bridge(url, "--sse-only", "--allow-redirect-to", second.url("http", "")) as host:
        await works(host)
    assert {path for _, path, _ in second.seen} == {"/sse", "/messages"}
    assert {path for _, path, _ in first.seen} == {"/moved/sse"}
    assert_shown_nothing(second)


@pytest.mark.parametrize("wire", list(WIRES))
async def test_a_circle_ends(first: EveryWire, wire: str) -> None:
    _, path, flags = WIRES[wire]
    async with bridge(moved(first, wire, 307, "/moved" + path), *flags) as host:
        text, _ = await refusal(host)
    assert "in a circle" in text
    assert len(first.seen) == 6


@pytest.mark.parametrize("wire", ["ws"])
async def test_a_first_message_with_the_token_is_not_said_to_another_origin(
    first: EveryWire, second: EveryWire, wire: str
) -> None:
    url = moved(first, wire, 307, second.url("ws", "/ws"))
    allowed = ("--allow-redirect-to", second.url("ws", ""))
    async with bridge(url, "--ws-auth", "message", *allowed) as host:
        await works(host)
    assert second.frames
    assert_shown_nothing(second)


# --- Cookies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["", "--no-cookies", "--disable-cookies"])
async def test_a_load_balancers_cookie_comes_back_unless_it_is_switched_off(first: EveryWire, flag: str) -> None:
    flags = (flag,) if flag else ()
    async with bridge(first.url("http", "/mcp"), "--http-only", *flags) as host:
        await works(host)
        assert "cookie-of-the-first" not in host.log.decode()
    given = first.headers("cookie")
    assert given[0] is None
    assert set(given[1:]) == ({None} if flag else {"node=cookie-of-the-first-server"})


@pytest.mark.parametrize(("scheme", "path"), [("http", "/mcp"), ("ws", "/ws")])
async def test_cookies_outlive_a_connection_that_was_lost(first: EveryWire, scheme: str, path: str) -> None:
    async with bridge(first.url(scheme, path)) as host:
        await works(host)
        await host.request(HANG_UP)
        first.cookie, first.seen = None, []
        while sum(frame.get("method") == "initialize" for frame in first.frames) < 2:
            await host.request("tools/list")  # one that meets the close itself is answered with an error
    assert set(first.headers("cookie")) == {"node=cookie-of-the-first-server"}


async def test_no_cookie_of_one_origin_reaches_another(first: EveryWire, second: EveryWire) -> None:
    second.cookie = "other=cookie-of-the-second; Path=/; Domain=127.0.0.1"
    url = moved(first, "http", 307, second.url("http", "/mcp"))
    async with bridge(url, "--http-only", "--allow-redirect-to", second.url("http", "")) as host:
        await works(host)
    assert "cookie-of-the-second" not in first.everything()
    assert_shown_nothing(second, but=frozenset({"cookie"}))
    assert set(second.headers("cookie")[1:]) == {"other=cookie-of-the-second"}
