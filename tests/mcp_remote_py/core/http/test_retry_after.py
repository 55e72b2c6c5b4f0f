"""`Retry-After` in all its spellings."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http.retry_after import moment, seconds

BIRTH = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110."""


@pytest.mark.parametrize(("text", "expected"), [("0", 0.0), (" 120 ", 120.0), ("1.5", 1.5), ("0007", 7.0)])
def test_seconds(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_spellings_of_a_date(text: str) -> None:
    assert moment(text) == BIRTH
    assert seconds(text, now=BIRTH - 30) == 30.0
    assert seconds(text, now=BIRTH + 30) == 0.0, "a date that has passed"


def test_a_date_is_meant_by_the_servers_clock_where_that_is_known() -> None:
    assert seconds("Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", now=0.0) == 60.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "²",
        "1e3",
        "9" * 10,
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 CET",
    ],
)
def test_what_says_neither_is_as_if_it_were_not_there(text: str) -> None:
    assert seconds(text, now=0.0) is None


def test_a_date_needs_a_clock() -> None:
    assert seconds("Sun, 06 Nov 1994 08:49:37 GMT") is None
