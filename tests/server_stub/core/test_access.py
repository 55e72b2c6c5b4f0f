"""Hosts, origins, credentials: the decisions behind the guards."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http.origins import is_loopback
from server_stub.core.access import (
    Credential,
    Doors,
    cors_headers,
    cors_origin,
    credential_of,
    host_allowed,
    label_of,
    origin_allowed,
    origin_of,
    split_host,
    token_in,
)

LOCAL = "127.0.0.1"
LAN = "192.168.1.5"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("1270.0.0.1", False),
        ("", False),
        ("::", False),
    ],
)
def test_loopback_is_recognised_by_name_and_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("example.com", ("example.com", "")),
        ("Example.COM:80", ("example.com", "80")),
        ("[::1]:80", ("::1", "80")),
        ("[fe80::1%eth0]", None),
        ("::1", None),
        ("a:b", None),
        ("user@host", None),
        ("host/path", None),
        ("two words", None),
        ("", None),
        ("host:123456", None),
    ],
)
def test_a_host_header_is_taken_apart_or_refused(header: str, parts: tuple[str, str] | None) -> None:
    assert split_host(header) == parts


def test_a_server_bound_to_every_address_accepts_the_address_of_the_connection_and_listed_names() -> None:
    doors = Doors(bound_host="0.0.0.0", hosts=("mcp.example",), public_url="https://public.example/x")
    for host in ("192.168.1.5", "192.168.1.5:8080", "mcp.example:8080", "public.example"):
        assert host_allowed(host, LAN, doors), host
    for host in ("localhost", "127.0.0.1:8080", "192.168.1.6", "0.0.0.0", "evil.example", "", "::"):
        assert not host_allowed(host, LAN, doors), host
    assert not host_allowed(None, LAN, doors)
    assert host_allowed("localhost:8080", LOCAL, doors)  # a connection that did not leave the machine


def test_a_server_bound_to_a_name_accepts_that_name() -> None:
    doors = Doors(bound_host="box.lan")
    assert host_allowed("box.lan:8080", LAN, doors)
    assert not host_allowed("other.lan", LAN, doors)


def test_listed_hosts_may_be_ipv6_addresses_with_or_without_brackets() -> None:
    for entry in ("2001:db8::1", "[2001:db8::1]"):
        assert host_allowed("[2001:db8::1]:80", LAN, Doors(hosts=(entry,)))
    assert host_allowed("[2001:db8::1]:80", "2001:db8::1", Doors())


def test_a_loopback_page_may_ask_over_loopback_alone() -> None:
    assert origin_allowed("http://localhost:3000", LOCAL, Doors())
    assert not origin_allowed("http://localhost:3000", LAN, Doors(bound_host="0.0.0.0"))
    assert not origin_allowed("http://127.0.0.1.evil.example", LOCAL, Doors())
    assert not origin_allowed("http://evil.example#localhost", LOCAL, Doors())
    assert not origin_allowed("http://localhost@evil.example", LOCAL, Doors())
    assert not origin_allowed("", LOCAL, Doors())
    assert origin_allowed(None, LAN, Doors())


def test_origins_are_compared_with_their_default_port() -> None:
    assert origin_of("https://A.example:443/x") == "https://a.example"
    assert origin_of("http://a.example:443") == "http://a.example:443"
    assert origin_of("http://[::1]:80") == "http://[::1]"
    assert origin_of("ftp://a.example") is None
    assert origin_of("https://a.example:x") is None
    assert origin_of("null") is None
    doors = Doors(cors_origins=("https://a.example:443",))
    assert cors_origin("https://a.example", doors) == "https://a.example"
    assert cors_origin("https://b.example", doors) is None
    assert cors_origin(None, doors) is None


def test_any_origin_does_not_mean_null() -> None:
    doors = Doors(cors_origins=("*",))
    assert cors_origin("https://a.example", doors) == "*"
    assert cors_origin("null", doors) is None
    assert cors_origin("null", Doors(cors_origins=("*", "null"))) == "null"
    assert not origin_allowed("null", LOCAL, doors)


def test_a_preflight_may_send_the_listed_headers_and_parameters() -> None:
    allowed = cors_headers("x-evil, Mcp-Param-Region, mcp-param-\r\nx: y").split(", ")
    assert allowed[-1] == "Mcp-Param-Region"
    assert "x-evil" not in allowed
    assert "Authorization" in allowed


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        ("Bearer abc", None, Credential("abc", is_api_key=False)),
        ("bearer   abc ", "key", Credential("abc", is_api_key=False)),
        ("Basic abc", None, None),
        ("Bearer", None, None),
        ("Bearer ", "key", Credential("key", is_api_key=True)),
        (None, " key ", Credential("key", is_api_key=True)),
        (None, " ", None),
        (None, None, None),
    ],
)
def test_a_credential_is_a_bearer_token_or_an_api_key(
    authorization: str | None, api_key: str | None, expected: Credential | None
) -> None:
    assert credential_of(authorization, api_key) == expected


@pytest.mark.parametrize(
    ("raw", "token"),
    [
        (b'{"token": "a\\u0062"}', "ab"),
        (b'{"token": "a", "id": 1}', None),
        (b'{"token": 1}', None),
        (b'["token"]', None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 60_000, None),
        (b'{"token": "%s"}' % (b"x" * 70_000), None),
    ],
)
def test_a_first_message_has_a_token_only_in_exactly_that_shape(raw: bytes, token: str | None) -> None:
    assert token_in(raw) == token


def test_a_label_tells_tokens_apart_without_giving_them_away() -> None:
    assert label_of("a") != label_of("b")
    assert label_of("a") == label_of("a")
    assert len(label_of("\udcff")) == 16
