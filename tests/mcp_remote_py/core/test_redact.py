"""Secrets are found in every spelling, and peers cannot drive a terminal."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.cli import read_settings
from mcp_remote_py.core.redact import MASK, Redactor, printable

SECRET = 's3cr"t/ä+token=='


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_found_in_every_spelling(spelled: str) -> None:
    redactor = Redactor()
    redactor.add(SECRET)
    scrubbed = redactor.scrub(f"before {spelled} after")
    assert MASK in scrubbed
    assert spelled not in scrubbed


def test_a_header_gives_away_neither_its_value_nor_the_token_in_it() -> None:
    redactor = Redactor()
    settings = read_settings(["https://example.com", "--header", "Authorization: Bearer abcdefgh"], {})
    assert settings is not None
    for secret in settings.secrets:
        redactor.add(secret)
    assert "abcdefgh" not in redactor.scrub("sent abcdefgh")


def test_short_secrets_do_not_eat_innocent_text() -> None:
    redactor = Redactor()
    redactor.add("data")
    assert redactor.scrub("database data") == f"database {MASK}"
    redactor.add("a")
    assert redactor.scrub("a b") == "a b"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=9, max_size=40), st.binary(max_size=5))
def test_base64_at_any_alignment_hides_the_core_of_the_secret(secret: str, before: bytes) -> None:
    redactor = Redactor()
    redactor.add(secret)
    text = base64.b64encode(before + secret.encode()).decode()
    core = text[len(text) // 2 - 2 : len(text) // 2 + 2]
    scrubbed = redactor.scrub(text)
    assert MASK in scrubbed, core


def test_a_log_line_cannot_drive_the_terminal() -> None:
    assert printable("\x1b]0;owned\x07 ok\u202e") == "\\x1b]0;owned\\x07 ok\\u202e"
    assert len(printable("x" * 10_000)) < 2100
