"""How servers say that a session is gone, and what only sounds like it."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http.dialects import error_says_lost, refusal_says_lost, status_says_lost

LOST = [
    "Session not found",
    "session expired",
    "Session terminated",
    "SESSION GONE",
    "No valid session ID provided",
    "Bad Request: No valid session ID provided",
    "Invalid or expired session",
    "Invalid session",
    "Expired session",
    "unknown session",
    "Unknown session id: 4",
    "Session has expired",
    "Session ID not found",
    '{"error": {"code": -32000, "message": "Bad Request: Session not found"}}',
    "mcp-session-id is invalid: session does not exist",
    "no active session",
    "session_not_found",
]
OTHER = [
    "cannot open database session",
    "the session is busy",
    "your sessions are listed below",
    "obsession not found",
    "Session limit reached",
    "Missing session ID",
    "session started",
    "file not found",
    "",
]


@pytest.mark.parametrize("text", LOST)
def test_the_words_of_known_servers_are_understood(text: str) -> None:
    assert refusal_says_lost(400, text)
    assert refusal_says_lost(503, text.upper())
    assert error_says_lost(-32603, text)


@pytest.mark.parametrize("text", OTHER)
def test_what_only_sounds_like_it_is_an_ordinary_error(text: str) -> None:
    assert not refusal_says_lost(400, text)
    assert not error_says_lost(-32603, text)


def test_status_and_code_must_fit_the_words() -> None:
    assert not refusal_says_lost(502, "session not found")
    assert not refusal_says_lost(200, "session not found")
    assert not error_says_lost(-32042, "session not found")
    assert not error_says_lost(7, "session not found")
    assert not error_says_lost("-32603", "session not found")
    assert not error_says_lost(-32603, None)


def test_two_statuses_need_no_words() -> None:
    assert [status for status in range(200, 600) if status_says_lost(status)] == [404, 410]
    assert refusal_says_lost(410, "")


def test_words_far_down_a_page_mean_nothing() -> None:
    assert not refusal_says_lost(400, "x " * 4096 + "session not found")
