"""Header names, media types and what a user may not set."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http import headers


def test_a_user_cannot_override_what_the_protocol_needs() -> None:
    given = [(name.title(), "x") for name in headers.RESERVED] + [("Authorization", "Bearer t"), ("X-Key", "k")]
    assert headers.of_user(given) == (("Authorization", "Bearer t"), ("X-Key", "k"))
    for needed in (
        "Accept",
        "Content-Type",
        headers.SESSION_ID,
        headers.PROTOCOL_VERSION,
        "Content-Length",
        "Host",
        headers.LAST_EVENT_ID,
    ):
        assert needed.lower() in headers.RESERVED


@pytest.mark.parametrize(
    ("content_type", "json", "events"),
    [
        ("application/json", True, False),
        ("Application/JSON; charset=utf-8", True, False),
        ("application/problem+json", True, False),
        (" text/Event-Stream ;charset=utf-8", False, True),
        ("text/event-stream", False, True),
        ("text/html", False, False),
        ("text/event-streams", False, False),
        ("", False, False),
    ],
)
def test_media_types_are_compared_without_case_or_parameters(content_type: str, json: bool, events: bool) -> None:
    assert headers.is_json(content_type) is json
    assert headers.is_events(content_type) is events


@pytest.mark.parametrize(
    ("text", "good"),
    [("abc-1!~", True), ("", False), ("a b", False), ("a\n", False), ("é", False), ("x" * 5000, False)],
)
def test_a_session_id_is_visible_ascii(text: str, good: bool) -> None:
    assert headers.is_visible_ascii(text) is good


@pytest.mark.parametrize(
    ("text", "good"), [("a b", True), ("é/1", True), (" a", False), ("a\t", False), ("a\x01", False), ("a\r\nb", False)]
)
def test_an_event_id_travels_where_a_header_can_carry_it(text: str, good: bool) -> None:
    assert headers.may_travel(text) is good


def test_names_are_found_without_case() -> None:
    assert headers.has((("AUTHORIZATION", "x"),), "authorization")
    assert not headers.has((), "authorization")
