"""What `WWW-Authenticate` is read as: as RFC 9110 writes it, and as servers send it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.oauth.challenge import Challenge, parse, wanted

METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            f'Bearer resource_metadata="{METADATA}", scope="a b", error="invalid_token"',
            [("Bearer", {"resource_metadata": METADATA, "scope": "a b", "error": "invalid_token"})],
        ),
        (
            'Basic realm="a, \\"b\\" = c", Bearer error="x"',
            [("Basic", {"realm": 'a, "b" = c'}), ("Bearer", {"error": "x"})],
        ),
        (
            "bearer SCOPE=files:read,error=invalid_token",
            [("bearer", {"scope": "files:read", "error": "invalid_token"})],
        ),
        ("Negotiate YWJj==, Bearer scope=a", [("Negotiate", {}), ("Bearer", {"scope": "a"})]),
        ("NTLM, Negotiate, Bearer", [("NTLM", {}), ("Negotiate", {}), ("Bearer", {})]),
        ('Bearer  realm = "a" ,\tscope = x', [("Bearer", {"realm": "a", "scope": "x"})]),
        ('Bearer error="a", Bearer error="b"', [("Bearer", {"error": "a"}), ("Bearer", {"error": "b"})]),
        ('Bearer error="a", error="b"', [("Bearer", {"error": "a"})]),
        (
            'DPoP algs="ES256 PS256", error="use_dpop_nonce"',
            [("DPoP", {"algs": "ES256 PS256", "error": "use_dpop_nonce"})],
        ),
        (", ,Bearer , , realm=x,", [("Bearer", {"realm": "x"})]),
        ("", []),
        # what is no header, and stands in headers all the same
        (f"Bearer resource_metadata={METADATA}", [("Bearer", {"resource_metadata": METADATA})]),
        (
            f'Bearer realm="x" resource_metadata="{METADATA}"',
            [("Bearer", {"realm": "x", "resource_metadata": METADATA})],
        ),
        ('Bearer error="never closed, scope=a', [("Bearer", {"error": "never closed, scope=a"})]),
        ('Bearer scope=""', [("Bearer", {"scope": ""})]),
        ('Bearer realm="x", ?, scope=a', [("Bearer", {"realm": "x", "scope": "a"})]),
        ('error="without a scheme"', []),
        ("Bearer scope=a b, error=c", [("Bearer", {"scope": "a", "error": "c"})]),
    ],
)
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse(header) == tuple(Challenge(scheme, params) for scheme, params in expected)


@pytest.mark.parametrize(
    ("header", "scheme", "metadata"),
    [
        (f'Basic realm="x", Bearer resource_metadata="{METADATA}"', "Bearer", METADATA),
        ('dpop algs="ES256"', "dpop", None),
        (f'Bearer realm="gateway", BEARER resource_metadata="{METADATA}"', "BEARER", METADATA),
        (f'DPoP algs="ES256", Bearer resource_metadata="{METADATA}"', "Bearer", METADATA),
        ('Bearer realm="1", DPoP algs="ES256"', "Bearer", None),
    ],
)
def test_of_several_challenges_the_one_that_can_be_answered_and_says_most_is_wanted(
    header: str, scheme: str, metadata: str | None
) -> None:
    found = wanted(header)
    assert found is not None
    assert (found.scheme, found.resource_metadata) == (scheme, metadata)


@pytest.mark.parametrize("header", ["", "Basic realm=x", "Negotiate", "Digest qop=auth, algorithm=bearer"])
def test_a_header_without_bearer_wants_nothing_of_us(header: str) -> None:
    assert wanted(header) is None


def test_the_scope_of_a_challenge_is_cleaned() -> None:
    assert Challenge("Bearer", {"scope": '  a  b a "c\x00 '}).scope == "a b"
    assert Challenge("Bearer", {"scope": " "}).scope is None
    assert Challenge("Bearer", {"error": "e"}).error == "e"
    assert Challenge("Bearer", {"error_description": ""}).error_description is None


TOKEN = st.text("abcXYZ019-_.~+!#$%&'*^`|", min_size=1, max_size=8)
NAME = st.text("abcXYZ_", min_size=1, max_size=8)
PARAMS = st.dictionaries(
    NAME.map(str.lower), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12), max_size=4
)


@given(st.lists(st.tuples(TOKEN, PARAMS), max_size=4))
def test_what_is_written_by_the_rules_is_read_as_it_was_meant(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in params.items())
        for scheme, params in challenges
    )
    assert parse(header) == tuple(Challenge(scheme, params) for scheme, params in challenges)


@given(st.text() | st.text('Bearer=", \\\t\r\n', max_size=400))
def test_no_header_does_harm(header: str) -> None:
    for found in parse(header):
        assert found.scheme
        assert all(name == name.lower() for name in found.params)
        assert found.scope is None or found.scope.strip() == found.scope
    wanted(header)


@pytest.mark.parametrize("unit", ['"', "\\", "a ", 'a="\\', ",", "a, ", "a=b ", ',a"', 'a=",', "a=", " "])
def test_an_endless_header_ends(unit: str) -> None:
    assert wanted("Bearer error=x, " + unit * 40_000) is not None
