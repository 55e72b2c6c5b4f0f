"""The calendar of the pure ring, compared with Python's own."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.days import date_of, since_1970

FIRST = dt.date(1970, 1, 1)


@given(st.dates())
def test_days_and_dates_are_what_the_calendar_says_both_ways(date: dt.date) -> None:
    days = (date - FIRST).days
    assert since_1970(date.year, date.month, date.day) == days
    assert date_of(days) == (date.year, date.month, date.day)
