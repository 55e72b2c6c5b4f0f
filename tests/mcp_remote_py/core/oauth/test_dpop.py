"""What a DPoP proof claims (RFC 9449)."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.oauth import dpop


def test_a_proof_for_a_token_request_names_method_and_place() -> None:
    claims = dpop.proof_claims("post", "https://as.example.com/token", now=1_562_262_616.9, jti="j")
    assert claims == {"jti": "j", "htm": "POST", "htu": "https://as.example.com/token", "iat": 1562262616}


def test_a_proof_beside_a_token_names_its_digest_as_the_rfc_computes_it() -> None:
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"  # section 7.1
    claims = dpop.proof_claims("GET", "https://r.example/x", now=0, jti="j", nonce="n", access_token=token)
    assert claims["ath"] == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    assert claims["nonce"] == "n"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://MCP.example.com:8443/a%2Fb?key=secret#part", "https://mcp.example.com:8443/a%2Fb"),
        ("https://user:pass@mcp.example.com/mcp", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com", "https://mcp.example.com/"),
        ("https://mcp.example.com/mcp/", "https://mcp.example.com/mcp/"),
        ("wss://mcp.example.com/ws?x=1", "https://mcp.example.com/ws"),
        ("http://[::1]:80/mcp", "http://[::1]:80/mcp"),
    ],
)
def test_the_place_has_neither_query_nor_fragment_nor_user(url: str, target: str) -> None:
    assert dpop.target_of(url) == target


@pytest.mark.parametrize(
    ("value", "nonce"),
    [("abc.-_~", "abc.-_~"), ("", None), ('a"b', None), ("a b", None), ("a\nb", None), ("x" * 2000, None)],
)
def test_a_nonce_has_the_characters_that_it_may_have(value: str, nonce: str | None) -> None:
    assert dpop.nonce_of({"dpop-nonce": value}) == nonce


def test_a_proof_shows_nothing_of_a_query() -> None:
    assert "key" not in str(dpop.proof_claims("GET", "https://r.example/x?key=1#key", now=0, jti="j"))


def test_an_answer_without_a_nonce_has_none() -> None:
    assert dpop.nonce_of({}) is None


def test_the_step_to_sign_has_the_type_and_leaves_the_key_to_the_driver() -> None:
    step = dpop.sign({"jti": "j"})
    assert (step.key, step.header, step.claims) == ("dpop", {"typ": "dpop+jwt"}, {"jti": "j"})


def test_only_what_our_key_signs_is_usable() -> None:
    assert dpop.usable(("RS256", "ES256")) == ("ES256",)
    assert dpop.usable(("RS256", "none")) == ()
