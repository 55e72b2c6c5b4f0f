"""The browser's way there and back, and the port of mcp-remote."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth import redirect
from mcp_remote_py.core.oauth.redirect import Code, Denied

ISSUER, STATE = "https://as.example.com", "state-of-43-characters-or-more-that-nobody-guesses"
OWN = {"response_type": "code", "client_id": "mine", "state": STATE, "resource": "https://mcp.example.com/mcp"}


def query(**fields: str) -> str:
    return urlencode(fields)


def returned(text: str, *, supported: bool = False) -> Code | Denied:
    return redirect.returned(text, STATE, ISSUER, supported)


def parameters(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


# --- There -----------------------------------------------------------------------------------------------------------


def test_the_endpoints_own_query_stays_as_it_is_written() -> None:
    url = redirect.authorization_url("https://as.example.com/a?p=B2C_1&x=%7e+%20&empty=", OWN)
    assert url.startswith("https://as.example.com/a?p=B2C_1&x=%7e+%20&empty=&response_type=code&")


def test_each_parameter_is_sent_once_and_the_flow_has_the_last_word() -> None:
    extra = [("audience", "one"), ("audience", "two"), ("client_id", "evil"), ("code_challenge_method", "plain")]
    endpoint = "https://as.example.com/a?client%5Fid=evil&response_type=token&request=jwt&state=evil&audience=zero"
    found = parameters(redirect.authorization_url(endpoint, OWN, extra))
    assert sorted(found) == sorted([*OWN.items(), ("audience", "two")])


def test_a_fragment_of_the_endpoint_is_dropped() -> None:
    assert "#" not in redirect.authorization_url("https://as.example.com/a#x", OWN)


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_whatever_is_added_the_flows_own_parameters_arrive(extra: dict[str, str]) -> None:
    url = redirect.authorization_url("https://as.example.com/a?x=1", OWN, extra.items())
    found = parameters(url)
    names = [name for name, _ in found]
    assert len(names) == len(set(names))
    assert dict(found).items() >= OWN.items()
    assert url.isascii()
    assert not set(url) & set(" \"'`<>|\\")


# --- Back ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", ["", "?"])
def test_a_code_comes_back(lead: str) -> None:
    text = lead + query(code="a+b/c", state=STATE, iss=ISSUER, session_state="x")
    assert returned(text, supported=True) == Code("a+b/c")


def test_a_pasted_fragment_is_not_read() -> None:
    assert returned(query(code="c", state=STATE) + "#_=_") == Code("c")


def test_an_error_comes_back() -> None:
    text = query(error="access_denied", error_description="no", state=STATE)
    assert returned(text) == Denied("access_denied", "no")
    with pytest.raises(SignInNeeded, match="turned down"):
        redirect.read(text, STATE, ISSUER, iss_supported=False)


def test_an_error_counts_more_than_a_code_beside_it() -> None:
    assert isinstance(returned(query(code="c", error="x", state=STATE)), Denied)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "state=" + STATE,
        query(code="", state=STATE),
        query(code="c"),
        query(code="c", state=STATE[:-1]),
        query(code="c", state=STATE + "x"),
        query(code="c", state=STATE.upper()),
        query(code="c", state="\u00e9"),
        query(code="c", state=STATE) + "&code=d",
        query(code="c", state=STATE) + "&state=" + STATE,
        query(code="c", state=STATE) + "&iss=a&iss=" + ISSUER,
        query(code="c", state=STATE) + "&x=%ff",
        query(code="c", state=STATE) + "&x=1" * 200,
    ],
)
def test_what_is_not_the_answer_to_our_request_is_refused(text: str) -> None:
    with pytest.raises(SignInNeeded):
        returned(text)


@pytest.mark.parametrize(
    "named",
    [
        "https://as.example.com/",
        "https://AS.example.com",
        "https://as.example.com:443",
        "https://as.example.com%2F",
        "https://as.example.com/../",
        "https://evil.example",
        "",
    ],
)
@pytest.mark.parametrize("supported", [True, False])
def test_issuers_are_compared_letter_by_letter(named: str, supported: bool) -> None:
    for fields in ({"code": "c"}, {"error": "told-by-evil", "error_description": "told-by-evil"}):
        with pytest.raises(SignInNeeded) as caught:
            returned(query(**fields, state=STATE, iss=named), supported=supported)
        assert "told-by-evil" not in f"{caught.value} {caught.value.hint}"
        assert named == "" or named not in f"{caught.value} {caught.value.hint}"


def test_an_issuer_that_is_always_named_may_not_be_missing() -> None:
    for fields in ({"code": "c"}, {"error": "told-by-evil"}):
        with pytest.raises(SignInNeeded) as caught:
            returned(query(**fields, state=STATE), supported=True)
        assert "told-by-evil" not in str(caught.value)


def test_what_a_server_says_is_made_safe_to_show() -> None:
    text = str(redirect.denial(Denied("x\x1b[31m" + "y" * 500, "z\n\u202e" * 500), ISSUER))
    assert len(text) < 1500
    assert "\x1b" not in text
    assert "\u202e" not in text


@given(st.text())
def test_no_query_crashes_it_and_no_foreign_one_is_taken(text: str) -> None:
    with pytest.raises(SignInNeeded) as caught:
        returned(text)
    assert str(caught.value).isascii()


PIECES = st.sampled_from(
    ["code", "state", "iss", "error", "=", "&", "?", "#", "%", "%00", "%ff", ";", "+", STATE, ISSUER, "c"]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.booleans())
def test_what_is_taken_has_our_state_and_no_other_issuer(text: str, supported: bool) -> None:
    try:
        returned(text, supported=supported)
    except SignInNeeded:
        return
    found = dict(parse_qsl(text.removeprefix("?").partition("#")[0], keep_blank_values=True))
    assert found["state"] == STATE
    assert found.get("iss", ISSUER) == ISSUER
    assert "iss" in found or not supported


# --- The port of mcp-remote ------------------------------------------------------------------------------------------

PORTS: list[tuple[tuple[Any, ...], str, int]] = [
    (("https://mcp.example.com/mcp", None, (), (), None, None), "94baabe3c3fadb285b26c035e4e86046", 41409),
    (("https://mcp.example.com/mcp/", None, (), (), None, None), "009f3d837fca855373ee6bc0a55639f0", 3494),
    (("https://MCP.example.com/sse?x=1&y=%20", None, (), (), None, None), "2cb101f1033f057d054b3a27d860af15", 14776),
    (("http://localhost:8080/mcp", None, (), (), None, None), "7dc87bc5f05a30cbeb7d9f8d1848b87e", 35535),
    (("https://mcp.linear.app/sse", None, (), (), None, None), "2d1a8aae3765090858d82f5630192064", 14881),
    (
        ("https://mcp.example.com/mcp", "https://api.example.com", (), (), None, None),
        "98b2b934b7eecc29a0b870bada303f15",
        42425,
    ),
    (
        (
            "https://mcp.example.com/mcp",
            None,
            (("9", "b"), ("10", "a"), ("X-B", "2"), ("Authorization", "Bearer ${T}")),
            (),
            None,
            None,
        ),
        "fdd40ce6e1fe9c700d73ba9144a88ba2",
        22499,
    ),
    (
        (
            "https://mcp.example.com/mcp",
            None,
            (),
            (("audience", 'https://api.example.com/é"\\/\n\u2028'), ("access_type", "offline")),
            None,
            None,
        ),
        "9000406e5fd6bada3b0292538cb5426b",
        40199,
    ),
    (
        (
            "https://mcp.example.com/mcp",
            None,
            (("Z", "😀"), ("￮", "x"), ("😀", "y")),
            (),
            "https://c.example/client.json",
            None,
        ),
        "55694d5de5dd75e49041e24f73f1150c",
        25200,
    ),
    (
        (
            "https://münchen.example/mcp",
            "https://r",
            (("a", ""),),
            (("b", ""),),
            "https://c.example/x",
            "https://as.example/token",
        ),
        "21e796053ce45b7ffbf6b59b616c73b2",
        12014,
    ),
    (("https://mcp.example.com/mcp", "", (), (), "", ""), "94baabe3c3fadb285b26c035e4e86046", 41409),
    (
        ("https://mcp.example.com/mcp", None, (), (), None, "https://as.example/token"),
        "67024c2a678389d0d7bf762d7696e6a0",
        29705,
    ),
]
"""What `getServerUrlHash` and `calculateDefaultPort` of mcp-remote 0.15.1 return, run under Node."""


@pytest.mark.parametrize(("given_", "named", "port"), PORTS)
def test_port_and_file_name_are_those_of_mcp_remote(given_: tuple[Any, ...], named: str, port: int) -> None:
    assert redirect.server_hash(*given_) == named
    assert redirect.default_port(*given_) == port
