"""Tokens as text: their life, and what commands print."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.credentials import Token, bearer_token, claim_value, expiry_of, read_printed, renewal


def jwt(claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt({"exp": 1_700_000_000}), 1_700_000_000.0),
        (jwt({"exp": 1.5}), 1.5),
        (jwt({"exp": True}), None),
        (jwt({"exp": None}), None),
        (jwt({}), None),
        (jwt([1]), None),
        ("a.b.c", None),
        ("opaque", None),
        ("e30.e30.", None),
        (f"e30.{base64.urlsafe_b64encode(b'{' * 99).decode()}.x", None),
    ],
)
def test_the_exp_of_a_token_is_read_and_nothing_is_verified(token: str, expires: float | None) -> None:
    assert expiry_of(token) == expires


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    expiry_of(text)
    for read in (bearer_token, lambda text: read_printed(text, 0.0)):
        try:
            read(text)
        except ValueError:
            pass  # the only kind that its callers expect


@pytest.mark.parametrize(
    ("fields", "expires"),
    [
        ({"expires_in": 60}, 160.0),
        ({"expires_in": "60"}, 160.0),
        ({"expires_in": "soon"}, None),
        ({"expires_on": 500}, 500.0),
        ({"expiry": "1970-01-01T00:08:20Z"}, 500.0),
        ({"expiry": "1970-01-01T01:08:20.75+01:00"}, 500.0),
        ({"expiry": "1969-12-31T22:38:20-0130"}, 500.0),
        ({"expiry": "2024-02-29T12:00:00Z"}, 1_709_208_000.0),
        ({"expires_at": "1970-01-01T00:08:20"}, None),
        ({"expires_on": 500, "expires_in": 60}, 160.0),
        ({}, None),
    ],
)
def test_when_a_token_expires(fields: dict[str, object], expires: float | None) -> None:
    assert read_printed(json.dumps({"access_token": "t", **fields}), 100.0).expires == expires


def test_the_earliest_of_what_is_said_counts() -> None:
    assert read_printed(json.dumps({"token": jwt({"exp": 150}), "expires_in": 1000}), 100.0).expires == 150.0


def test_when_another_token_is_wanted() -> None:
    assert renewal(None, 0.0, short=False) is None
    assert renewal(1000.0, 0.0, short=False) == 970.0
    assert renewal(1000.0, 0.0, short=True) == 970.0
    assert renewal(20.0, 0.0, short=False) == -10.0
    assert renewal(20.0, 0.0, short=True) == 16.0
    assert renewal(20.0, 30.0, short=True) is None
    token = Token("t", expires=20.0, renew_at=16.0)
    assert not token.is_stale(15.9)
    assert token.is_stale(16.0)
    assert token.is_good(19.9)
    assert not token.is_good(20.0)


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("[1]", [1]), ("true", True), ("x", "x"), ("NaN", "NaN"), ("", "")]
)
def test_a_claim_is_json_where_it_can_be(text: str, value: object) -> None:
    assert claim_value(text) == value
