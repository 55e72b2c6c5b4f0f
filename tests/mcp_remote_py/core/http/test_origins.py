"""Which addresses are the same server, and how they are shown."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http.origins import (
    is_same_origin,
    named_host,
    origin_of,
    place_of,
    resolve,
    split_place,
    without_query,
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/x", "http://a:80/y?z", True),
        ("https://A.example/", "https://a.example:443", True),
        ("wss://a/", "wss://a:443/", True),
        ("http://a/", "https://a/", False),
        ("http://a/", "http://a:81/", False),
        ("http://a/", "http://b/", False),
        ("http://a/", "http://a.b/", False),
        ("http://[::1]/", "http://[::1]:80/", True),
        ("http://127.0.0.1/", "http://localhost/", False),
        ("http://a/", "/relative", False),
        ("http://a:99999/", "http://a:99999/", False),
        ("file:///a", "file:///a", False),
    ],
)
def test_scheme_host_and_port_make_an_origin(one: str, other: str, same: bool) -> None:
    assert is_same_origin(one, other) is same


def test_what_has_no_origin_says_so() -> None:
    with pytest.raises(ValueError, match="absolute"):
        origin_of("/mcp")


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/messages?s=1", "https://h/messages?s=1"),
        ("messages?s=1", "https://h/api/messages?s=1"),
        ("?s=1", "https://h/api/sse?s=1"),
        ("https://h/x", "https://h/x"),
        ("https://other/x#frag", "https://other/x"),
        ("/m%20x/ä", "https://h/m%20x/ä"),
    ],
)
def test_a_reference_is_read_against_the_address_it_came_from(reference: str, url: str) -> None:
    assert resolve("https://h/api/sse?a=b", reference) == url


@pytest.mark.parametrize("reference", ["/a b", "/a\nb", "\\\\evil", "https://u@h/", "//[::1", "mailto:a@b", "/a\x00"])
def test_what_readers_disagree_about_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=r"address|URL|netloc"):
        resolve("https://h/api/sse", reference)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://user:secret@h.example/p?q=1", "h.example"),
        ("http://127.0.0.1:8080/mcp", "127.0.0.1:8080"),
        ("http://[::1]:81/", "[::1]:81"),
        ("http://[::1", "the server"),
        ("nothing", "the server"),
    ],
)
def test_a_sentence_names_host_and_port_alone(url: str, place: str) -> None:
    assert place_of(url) == place


def test_a_shown_address_holds_no_secret_and_nothing_that_drives_a_terminal() -> None:
    shown = without_query("https://user:secret@h/p\x1b[31mä?token=t#f")
    assert shown == "https://h/p?[31m?"
    assert len(without_query("https://h/" + "x" * 5000)) < 300
    assert without_query("http://[::1") == "an address that cannot be read"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" MCP.Example.com. ", "mcp.example.com"),
        ("mcp.example.com:8443", "mcp.example.com:8443"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "[::1]"),
        ("[::1]:8443", "[::1]:8443"),
        ("bücher.example", "bücher.example"),
    ],
)
def test_a_host_that_a_user_named_is_read(text: str, found: str) -> None:
    assert named_host(text) == found
    assert split_place(found, 0) == split_place(text, 0)


NO_HOSTS = """* *.example.com https://mcp.example.com mcp.example.com/mcp name@host one,other host: host:99999 host:x
:8443 a..b .example.com"""


@pytest.mark.parametrize("text", ["", "one other", *NO_HOSTS.split()])
def test_what_is_not_one_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the name of a host"):
        named_host(text)
