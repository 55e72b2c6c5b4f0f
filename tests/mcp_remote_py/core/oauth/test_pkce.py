"""PKCE: the published example, and what no verifier is."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.oauth import pkce


def test_the_example_of_rfc_7636_comes_out() -> None:
    proof = pkce.proof("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert proof.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 129, "x" * 42 + "+", "x" * 42 + "é", "x" * 43 + "\n"])
def test_what_no_verifier_is_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="verifier"):
        pkce.proof(text)


@pytest.mark.parametrize("length", [43, 128])
def test_the_shortest_and_the_longest_verifier_are_taken(length: int) -> None:
    assert len(pkce.proof("a" * length).challenge) == 43
