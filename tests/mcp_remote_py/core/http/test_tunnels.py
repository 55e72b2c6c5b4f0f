"""What is said to a proxy, and what its answers mean."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Fault, TlsRefused, Unreachable
from mcp_remote_py.core.http import tunnels
from mcp_remote_py.core.http.proxies import FLAG, SYSTEM, Route, parse
from mcp_remote_py.core.http.tunnels import Head

PLAIN = parse("http://proxy.corp:8080", "HTTPS_PROXY")
KNOWN = parse("http://user:p%40ss-word@proxy.corp:8080", "HTTPS_PROXY")
TARGET = "mcp.example.com:443"


def test_the_request_names_the_server_and_has_the_proxys_credentials_alone() -> None:
    assert tunnels.connect_head(PLAIN, "mcp.example.com", 443, "us/1") == (
        b"CONNECT mcp.example.com:443 HTTP/1.1\r\nHost: mcp.example.com:443\r\nUser-Agent: us/1\r\n\r\n"
    )
    head = tunnels.connect_head(KNOWN, "2001:db8::1", 443, "us/1").decode()
    assert head.startswith("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n")
    assert f"\r\nProxy-Authorization: {KNOWN.authorization}\r\n" in head


@pytest.mark.parametrize(
    ("raw", "head"),
    [
        (b"HTTP/1.1 200 Connection established", Head(200, "")),
        (b"HTTP/1.0 407", Head(407, "")),
        (
            b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=x\r\nProxy-Authenticate: NTLM",
            Head(407, "Basic realm=x, NTLM"),
        ),
        (b"HTTP/2 200", None),
        (b"SSH-2.0", None),
        (b"", None),
    ],
)
def test_the_head_of_its_answer_is_read(raw: bytes, head: Head | None) -> None:
    assert tunnels.read_head(raw) == head


def _words(fault: Fault) -> str:
    assert not fault.may_have_run
    text = f"{fault} {fault.hint}"
    assert "p@ss" not in text
    assert "p%40ss" not in text
    return text


def test_a_proxy_that_wants_credentials_is_named_with_the_line_that_gives_them() -> None:
    text = _words(tunnels.refusal(PLAIN, Head(407, 'Basic realm="corp"'), TARGET))
    assert "the proxy proxy.corp:8080 (from HTTPS_PROXY) wants a user name and a password (HTTP 407)" in text
    assert "Write USER:PASSWORD@ before proxy.corp:8080 in HTTPS_PROXY. " in text
    flag = _words(tunnels.refusal(PLAIN._replace(where=FLAG), Head(407, ""), TARGET))
    assert "before proxy.corp:8080 in --proxy. " in flag
    system = _words(tunnels.refusal(PLAIN._replace(where=SYSTEM), Head(407, ""), TARGET))
    assert "in HTTPS_PROXY or --proxy" in system


def test_credentials_that_were_refused_are_to_be_checked() -> None:
    text = _words(tunnels.refusal(KNOWN, Head(407, "Basic"), TARGET))
    assert "refused the user name and password" in text
    assert "%40" in text


@pytest.mark.parametrize("challenge", ["NTLM", "Negotiate, NTLM", 'Digest realm="x", nonce="basic, y"'])
def test_a_sign_in_that_is_not_spoken_here_is_named(challenge: str) -> None:
    text = _words(tunnels.refusal(PLAIN, Head(407, challenge), TARGET))
    assert challenge.split(" ")[0].strip(",") in text
    assert "px or cntlm" in text


def test_basic_beside_other_schemes_is_enough() -> None:
    assert "wants a user name" in _words(tunnels.refusal(PLAIN, Head(407, "Negotiate, NTLM, Basic realm=x"), TARGET))


@pytest.mark.parametrize(
    ("status", "words"), [(403, "does not allow"), (502, "got no connection"), (503, "got no"), (418, "opened no")]
)
def test_another_refusal_says_that_it_was_the_proxy(status: int, words: str) -> None:
    text = _words(tunnels.refusal(PLAIN, Head(status, ""), TARGET))
    assert text.startswith("the proxy proxy.corp:8080 (from HTTPS_PROXY) ")
    assert words in text
    assert f"HTTP {status}" in text
    assert "add it to NO_PROXY or pass --proxy none" in text
    assert "mcp.example.com can be reached" in text


def test_where_the_flag_named_the_proxy_no_variable_is_advised() -> None:
    text = _words(tunnels.hung_up(PLAIN._replace(where=FLAG), TARGET))
    assert "NO_PROXY" not in text
    assert "Check --proxy, and any VPN." in text


def test_https_for_a_proxy_that_speaks_plain_http_is_the_mistake_of_the_scheme() -> None:
    trouble = TlsRefused("no secure connection to p could be made: the server does not speak TLS on this port")
    proxy = parse("https://proxy.corp:8080", "HTTPS_PROXY")
    fault = tunnels.unreachable(proxy, trouble, TARGET)
    assert type(fault) is TlsRefused
    assert "Write http:// instead of https:// in HTTPS_PROXY" in _words(fault)


def test_a_proxy_that_is_not_there_says_why() -> None:
    fault = tunnels.unreachable(PLAIN, Unreachable("the name proxy.corp:8080 is not known (DNS)"), TARGET)
    assert "cannot be used: the name proxy.corp:8080 is not known" in _words(fault)


def test_a_proxy_that_works_is_not_the_first_suspect() -> None:
    fault = tunnels.refusal(PLAIN, Head(503, ""), TARGET)
    assert fault.hint.startswith("If mcp.example.com can be reached without a proxy, add it to NO_PROXY")
    assert "Check HTTPS_PROXY" not in fault.hint


def test_a_password_is_not_blamed_where_no_password_would_do() -> None:
    text = _words(tunnels.refusal(KNOWN, Head(407, "Negotiate, NTLM"), TARGET))
    assert "of a kind that is not spoken here: Negotiate, NTLM" in text


@pytest.mark.parametrize(
    ("route", "host", "words"),
    [
        (Route(None, "no proxy is configured"), "mcp.example.com", '"env": "HTTPS_PROXY": "http://HOST:PORT"'),
        (Route(None, "NO_PROXY has .example.com"), "mcp.example.com:8443", "NO_PROXY has .example.com, so no proxy"),
        (Route(None, "no proxy is configured", "auto_proxy"), "mcp.example.com", "auto_proxy names a PAC file"),
    ],
)
def test_a_straight_way_that_failed_may_want_a_proxy(route: Route, host: str, words: str) -> None:
    assert words in tunnels.without_proxy("Check the URL.", route, host)


@pytest.mark.parametrize(("why", "host"), [("--proxy none", "mcp.example.com"), ("no proxy is configured", "[::1]:80")])
def test_where_a_proxy_makes_no_sense_none_is_advised(why: str, host: str) -> None:
    assert tunnels.without_proxy("Check the URL.", Route(None, why), host) == "Check the URL."


def test_a_socks_proxy_without_its_library_says_what_to_install() -> None:
    text = _words(tunnels.no_socks_library(parse("socks5://proxy.corp", "ALL_PROXY")))
    assert "ALL_PROXY" in text
    assert "SOCKS" in text
    assert "[socks]" in text


@pytest.mark.parametrize(("code", "words"), [(2, "does not allow"), (5, "refused"), (99, "opened no connection")])
def test_a_socks_reply_has_words(code: int, words: str) -> None:
    assert words in _words(tunnels.socks_refusal(parse("socks5://p", "ALL_PROXY"), code, TARGET))
