"""Which addresses may be opened, asked or believed."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.oauth import addresses
from mcp_remote_py.core.oauth.addresses import (
    authorization_url_problem,
    document_problem,
    endpoint_problem,
    is_at,
    is_loopback_host,
    is_private_address,
    issuer_problem,
    place,
)

GOOD = [
    "https://as.example.com/authorize",
    "https://as.example.com:8443/authorize?tenant=1&x=%20a",
    "HTTPS://AS.EXAMPLE.COM/Authorize",
    "https://xn--bcher-kva.example/",
    "https://my_host/authorize",
    "https://192.0.2.1/authorize",
    "https://[2001:db8::1]:8443/authorize",
    "http://localhost:8080/authorize",
    "http://127.0.0.1/authorize",
    "http://127.8.9.10:1/authorize",
    "http://[::1]:8080/authorize",
    "https://as.example.com/a;b=c/d~e!f*(g)@h:i,j$k+l",
]
BAD = [
    "",
    "javascript:alert(1)",
    "JavaScript:alert(1)//https://as.example.com",
    "file:///etc/passwd",
    "data:text/html,x",
    "vbscript:x",
    "ms-settings:x",
    "ftp://as.example.com/",
    "//as.example.com/authorize",
    "/authorize",
    "https:as.example.com",
    "https:///authorize",
    "https://",
    "http://as.example.com/authorize",
    "http://10.0.0.1/authorize",
    "http://localhost.example.com/",
    "http://127.0.0.1.example.com/",
    "http://127.1/",
    "http://2130706433/",
    "http://0.0.0.0/",
    "https://user@as.example.com/",
    "https://user:word@as.example.com/",
    "https://@as.example.com/",
    "http://localhost@as.example.com/",
    "https://as.example.com/a b",
    "https://as.example.com/\tb",
    "https://as.example.com/\n",
    "\nhttps://as.example.com/",
    " https://as.example.com/",
    "https://as.example.com/\x00",
    "https://as.example.com/\x7f",
    "https://as.example.com/\x85",
    "https://as.example.com/\u00a0",
    "https://as.example.com/\u202e",
    "https://as.example.com/\u2028",
    "https://as.example.com/?a='b",
    'https://as.example.com/?a="b',
    "https://as.example.com/`id`",
    "https://as.example.com/<b>",
    "https://as.example.com/a|b",
    "https://as.example.com/a\\b",
    "https://as.example.com\\@evil.example/",
    "https://as.example.com/$(id)",
    "https://as.example.com/?x=$(id)",
    "https://as.example.com:0/",
    "https://as.example.com:65536/",
    "https://as.example.com:99999999999999999999/",
    "https://as.example.com:\uff18\uff10/",
    "https://as.example.com:-1/",
    "https://as.example.com:x/",
    "https://as..example.com/",
    "https://.example.com/",
    "https://-as.example.com/",
    "https://as%2eexample.com/",
    "https://bücher.example/",
    "https://[::1/",
    "https://[v1.x]/",
    "https://[]/",
    "https://[::1]x/",
    "https://as.example.com/" + "a" * 40_000,
]


@pytest.mark.parametrize("url", GOOD)
def test_an_address_of_an_authorization_server_may_be_opened_and_asked(url: str) -> None:
    assert authorization_url_problem(url) is None
    assert endpoint_problem(url) is None


@pytest.mark.parametrize("url", BAD)
def test_a_hostile_address_is_neither_opened_nor_asked(url: str) -> None:
    problem = authorization_url_problem(url)
    assert problem
    assert endpoint_problem(url)
    assert issuer_problem(url)
    assert problem.isascii()  # nothing of the address is in it


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["https://as.example.com"], b"https://as.example.com"])
def test_an_endpoint_is_a_text(value: object) -> None:
    assert endpoint_problem(value) == "it is no text"


def test_an_endpoint_has_no_fragment_and_an_issuer_no_query_either() -> None:
    assert endpoint_problem("https://as.example.com/token#x") == "it has a fragment"
    assert endpoint_problem("https://as.example.com/token?x") is None
    assert issuer_problem("https://as.example.com/?x") == "it has a query"
    assert issuer_problem("https://as.example.com/tenant") is None


def test_without_metadata_an_endpoint_lies_at_the_issuers_own_origin() -> None:
    assert endpoint_problem("https://as.example.com/token", "https://as.example.com") is None
    assert endpoint_problem("https://as.example.com:443/token", "https://AS.example.com/") is None
    assert endpoint_problem("https://other.example.com/token", "https://as.example.com")
    assert endpoint_problem("https://as.example.com:8443/token", "https://as.example.com")
    assert endpoint_problem("https://as.example.com/token", "nonsense")


@pytest.mark.parametrize(
    ("url", "server", "may"),
    [
        ("https://other.example.com/x", "https://mcp.example.com/mcp", True),
        ("http://mcp.example.com/x", "http://mcp.example.com/mcp", True),
        ("http://mcp.example.com/x", "https://mcp.example.com/mcp", False),
        ("http://other.example.com/x", "http://mcp.example.com/mcp", False),
        ("http://localhost:1/x", "https://mcp.example.com/mcp", False),
        ("https://127.0.0.1/x", "https://mcp.example.com/mcp", False),
        ("http://localhost:1/x", "http://127.0.0.1:2/mcp", True),
        ("http://u@mcp.example.com/x", "http://mcp.example.com/mcp", False),
        ("http://mcp.example.com/ x", "http://mcp.example.com/mcp", False),
        ("http://mcp.example.com/x", "ws://mcp.example.com/mcp", True),
    ],
)
def test_where_a_server_may_say_that_its_metadata_is(url: str, server: str, *, may: bool) -> None:
    assert (document_problem(url, server) is None) is may


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example.com", False),
        ("foo.localhost", False),
        ("127.0.0.999", False),
        ("127.\u0660.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(host: str, *, expected: bool) -> None:
    assert is_loopback_host(host) is expected


@pytest.mark.parametrize(
    "text",
    [
        *("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "0.0.0.0", "0.1.2.3"),
        *("169.254.169.254", "192.0.0.192", "224.0.0.1", "255.255.255.255"),
        *("::1", "::", "[::1]", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:0a00:0001::1", "2002:7f00:1::"),
        *("", "localhost", "10.0.0", "0x7f.1", "010.0.0.1", "1.2.3.4.5", "text"),
    ],
)
def test_private_addresses(text: str) -> None:
    assert is_private_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("8.8.8.8", "100.64.0.1", "100.127.255.254", "172.15.0.1", "172.32.0.1", "192.167.1.1", "198.18.0.5"),
        *("2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:0808:0808::1", "[2606:4700::1111]"),
        "::ffff:100.64.0.1",
    ],
)
def test_public_addresses(text: str) -> None:
    assert not is_private_address(text)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_private_in_ipv6_as_it_is_in_ipv4(address: ipaddress.IPv4Address) -> None:
    mapped = str(ipaddress.IPv6Address((0xFFFF << 32) | int(address)))
    assert is_private_address(mapped) == is_private_address(str(address))


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://MCP.Example.com/mcp?x#y", "https://mcp.example.com"),
        ("https://mcp.example.com:443", "https://mcp.example.com"),
        ("http://mcp.example.com:80/", "http://mcp.example.com"),
        ("http://mcp.example.com:443/", "http://mcp.example.com:443"),
        ("wss://mcp.example.com/ws", "https://mcp.example.com"),
        ("ws://mcp.example.com:8080/ws", "http://mcp.example.com:8080"),
        ("https://u:p@mcp.example.com/", "https://mcp.example.com"),
        ("https://[2001:DB8:0::1]:8443/", "https://[2001:db8::1]:8443"),
        ("https://bücher.example:8443/", "https://xn--bcher-kva.example:8443"),
        ("https://mcp.example.com./", "https://mcp.example.com"),
    ],
)
def test_an_origin_is_written_in_one_way(url: str, origin: str) -> None:
    assert str(place(url)) == origin
    assert is_at(url, None, "nonsense", origin)


ANY_URL = st.text() | st.builds(
    "{}://{}:{}/{}".format,
    st.sampled_from(["http", "https", "wss", "javascript", ""]),
    st.text(st.characters() | st.sampled_from("@[]:.%\\"), max_size=20) | st.just("localhost"),
    st.integers().map(str) | st.text(max_size=4),
    st.text(max_size=10),
)


@given(ANY_URL, ANY_URL)
def test_no_text_does_harm_and_what_passes_is_https_or_at_home(url: str, other: str) -> None:
    for problem in (authorization_url_problem(url), endpoint_problem(url, other), issuer_problem(url)):
        if problem is None:
            parts = urlsplit(url)
            assert url.isascii()
            assert url.isprintable()
            assert " " not in url
            assert parts.scheme == "https" or is_loopback_host(parts.hostname or "")
            assert parts.username is None
    addresses.client_id_url_problem(url)
    is_at(url, other)
    is_loopback_host(url)
    is_private_address(url)
    try:
        server = place(other)
    except ValueError:
        return
    document_problem(url, str(server))


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://client.example.com/mcp.json", True),
        ("https://client.example.com/a/", True),
        ("https://client.example.com", False),
        ("https://client.example.com/", False),
        ("http://localhost/mcp.json", False),
        ("https://client.example.com/a/../b", False),
        ("https://client.example.com/%2e/b", False),
        ("https://client.example.com/a#b", False),
        ("https://u@client.example.com/a", False),
    ],
)
def test_which_url_can_be_a_client_id(url: str, *, may: bool) -> None:
    assert (addresses.client_id_url_problem(url) is None) is may
