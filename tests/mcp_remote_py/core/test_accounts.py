"""What names the account behind a header: the same for a renewed token, another one for another person."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mcp_remote_py.core.credentials import account_of


def token(**claims: Any) -> str:
    parts = ({"alg": "none"}, claims)
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".c2ln"
    )


def test_a_renewed_token_is_the_same_account() -> None:
    first, second = token(sub="me", iss="i", exp=1, jti="a"), token(sub="me", iss="i", exp=2, jti="b")
    assert account_of(f"Bearer {first}") == account_of(f"Bearer {second}")
    assert account_of(first) == account_of(second)


@pytest.mark.parametrize("other", [{"sub": "you", "iss": "i"}, {"sub": "me", "iss": "j"}, {"sub": "me"}, {"iss": "i"}])
def test_another_subject_or_issuer_is_another_account(other: dict[str, Any]) -> None:
    assert account_of(f"Bearer {token(sub='me', iss='i')}") != account_of(f"Bearer {token(**other)}")


@pytest.mark.parametrize("value", ["Bearer abc", "Basic dTpw", "a.b.c", "", f"Bearer {token(exp=5)}", "Bearer a.e30.c"])
def test_anything_else_stands_for_itself(value: str) -> None:
    assert account_of(value) == value
