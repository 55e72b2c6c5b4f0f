"""Where a redirect may lead."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Refused
from mcp_remote_py.net.redirects import allowed_origins, next_url

URL = "https://mcp.example.com/mcp?tenant=1"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/mcp/", "https://mcp.example.com/mcp/"),
        ("other", "https://mcp.example.com/other"),
        ("?a=1", "https://mcp.example.com/mcp?a=1"),
        ("//mcp.example.com/x", "https://mcp.example.com/x"),
        ("https://mcp.example.com:443/x", "https://mcp.example.com:443/x"),
        ("HTTPS://MCP.example.com/x", "https://MCP.example.com/x"),
        ("/x#fragment", "https://mcp.example.com/x"),
    ],
)
@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("POST", 308), ("DELETE", 307), ("GET", 302)])
def test_the_same_origin_is_followed(method: str, status: int, location: str, target: str) -> None:
    assert next_url(method, URL, status, location, 0) == target


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/mcp",
        "//evil.example/mcp",
        "http://mcp.example.com/mcp",
        "https://mcp.example.com:8443/mcp",
        "https://sub.mcp.example.com/mcp",
        "https://mcp.example.com.evil.example/mcp",
        "https://mcp.example.com@evil.example/mcp",
        "https://evil.example\\@mcp.example.com/mcp",
        "https:\\\\evil.example/mcp",
        "/\\evil.example/mcp",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://[::1",
        "https://mcp.example.com:99999/",
        "https://user:password@mcp.example.com/mcp",
        "/with blank",
        "/with\ttab",
    ],
)
@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("GET", 302), ("GET", 308)])
def test_everything_else_is_refused(method: str, status: int, location: str) -> None:
    with pytest.raises(Refused) as caught:
        next_url(method, URL, status, location, 0)
    assert caught.value.http_status == status
    assert not caught.value.may_have_run
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_message_is_never_dropped_on_the_way(method: str, status: int) -> None:
    with pytest.raises(Refused, match="would drop the message"):
        next_url(method, URL, status, "/mcp/", 0)


@pytest.mark.parametrize(
    ("status", "location"), [(200, "/x"), (304, "/x"), (300, "/x"), (401, "/x"), (307, ""), (307, None)]
)
def test_what_is_no_redirect_is_left_to_others(status: int, location: str | None) -> None:
    assert next_url("POST", URL, status, location, 0) is None


def test_five_hops_are_enough() -> None:
    assert next_url("GET", URL, 307, "/x", 4) is not None
    with pytest.raises(Refused, match="circle"):
        next_url("GET", URL, 307, "/x", 5)


def test_the_new_address_is_named_without_its_query() -> None:
    with pytest.raises(Refused) as caught:
        next_url("POST", URL, 307, "https://other.example/mcp?code=secret", 0)
    assert "https://other.example/mcp" in str(caught.value)
    assert "secret" not in str(caught.value)


# --- Other origins that the user allowed -----------------------------------------------------------------------------

ALLOWED = allowed_origins(["https://b.example:443", "http://c.example:8080"], "https")


@pytest.mark.parametrize(
    "location", ["https://b.example/mcp", "//b.example/mcp", "https://B.example:443/", "http://c.example:8080/x"]
)
@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("GET", 302)])
def test_an_allowed_origin_is_followed(method: str, status: int, location: str) -> None:
    assert next_url(method, URL, status, location, 0, ALLOWED) is not None


@pytest.mark.parametrize(
    "location",
    [
        "http://b.example/mcp",
        "https://b.example:8443/",
        "https://c.example:8080/",
        "http://c.example/",
        "ws://b.example/",
    ],
)
def test_only_that_very_origin_is_allowed(location: str) -> None:
    with pytest.raises(Refused) as caught:
        next_url("GET", URL, 307, location, 0, ALLOWED)
    assert "--allow-redirect-to" in caught.value.hint


def test_a_message_is_not_dropped_on_the_way_to_an_allowed_origin_either() -> None:
    with pytest.raises(Refused, match="would drop the message"):
        next_url("POST", URL, 302, "https://b.example/mcp", 0, ALLOWED)


def test_an_allowed_origin_counts_for_websockets_too() -> None:
    allowed = allowed_origins(["https://b.example:443", "ws://c.example:80"], "wss")
    assert next_url("GET", "wss://a.example/ws", 307, "wss://b.example/ws", 0, allowed) == "wss://b.example/ws"
    assert next_url("GET", "wss://a.example/ws", 307, "ws://c.example/ws", 0, allowed) == "ws://c.example/ws"
    with pytest.raises(Refused):
        next_url("GET", "wss://a.example/ws", 307, "ws://b.example/ws", 0, allowed)


def test_a_page_to_sign_in_is_no_server_to_trust() -> None:
    with pytest.raises(Refused) as caught:
        next_url("POST", URL, 302, "https://login.corp.example/x", 0)
    assert "sign in with a browser" in caught.value.hint
    assert "--allow-redirect-to" not in caught.value.hint


def test_the_same_host_encrypted_is_the_url_to_give() -> None:
    with pytest.raises(Refused) as caught:
        next_url("POST", "http://a.example/mcp", 301, "https://a.example/mcp", 0)
    assert caught.value.hint == "Give https://a.example/mcp as the URL."


@pytest.mark.parametrize(
    ("target", "flag"),
    [
        ("https://evil.example:443/x?a=b", "--allow-redirect-to https://evil.example:"),
        ("https://evil.example:8443/x", "--allow-redirect-to https://evil.example:8443:"),
        ("http://[2001:db8::1]/x", "--allow-redirect-to http://[2001:db8::1]:"),
    ],
)
def test_the_flag_that_would_allow_it_is_spelt_out(target: str, flag: str) -> None:
    with pytest.raises(Refused) as caught:
        next_url("POST", URL, 307, target, 0)
    assert flag in caught.value.hint
    assert ("not encrypted" in caught.value.hint) == target.startswith("http:")
