"""Static tokens."""

from __future__ import annotations

from server_stub.verifiers.static import StaticTokens


def test_each_token_is_a_principal_that_does_not_give_it_away() -> None:
    verifier = StaticTokens(("first token", "zweiter Schlüssel"))
    first, second = verifier.verify("first token"), verifier.verify("zweiter Schlüssel")
    assert first is not None
    assert second is not None
    assert first != second
    assert "first" not in first.removeprefix("token:")
    assert verifier.verify("first token") == first


def test_everything_else_is_nobody() -> None:
    verifier = StaticTokens(("first token",))
    for token in ("", "first", "first token ", "First token", "first token\udcff"):
        assert verifier.verify(token) is None
    assert StaticTokens(()).verify("") is None
