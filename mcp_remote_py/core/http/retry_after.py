"""`Retry-After`: how many seconds a server asks to be left alone. Header fields in, seconds out.

Source: RFC 9110 sections 10.2.3 (seconds or a date) and 5.6.7 (the three spellings of a date). Pure.
"""

from __future__ import annotations

import re

from mcp_remote_py.core import days

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = (
    re.compile(rf"{_DAY}, (?P<day>\d\d) (?P<month>[a-z]{{3}}) (?P<year>\d{{4}}) {_TIME} gmt", re.ASCII | re.IGNORECASE),
    re.compile(
        rf"{_DAY}[a-z]*, (?P<day>\d\d)-(?P<month>[a-z]{{3}})-(?P<year>\d\d) {_TIME} gmt", re.ASCII | re.IGNORECASE
    ),
    re.compile(rf"{_DAY} (?P<month>[a-z]{{3}}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.ASCII | re.IGNORECASE),
)
"""IMF-fixdate, RFC 850, asctime."""
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
"""RFC 9110 knows whole seconds alone; rate limiters write fractions."""
_CENTURY_TURNS = 70
"""Two digits of a year below this mean 20xx: `Retry-After` speaks of the future."""


def seconds(text: str, date: str = "", now: float | None = None) -> float | None:
    """Return the seconds to wait, 0.0 for a date that has passed; None where the text says neither.

    A date is compared with the server's own `Date`, so that no clock needs to be right; where that is missing, with
    our wall clock, `now` (seconds since 1970).
    """
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until, since = moment(text), moment(date.strip())
    if since is None:
        since = now
    return None if until is None or since is None else max(0.0, until - since)


def moment(text: str) -> float | None:
    """Return a date of HTTP in seconds since 1970; None where it is none."""
    found = next((match for match in (pattern.fullmatch(text) for pattern in _DATES) if match), None)
    if found is None or found["month"].lower() not in _MONTHS:
        return None
    year, month, day = int(found["year"]), _MONTHS.index(found["month"].lower()) + 1, int(found["day"])
    if year < 100:
        year += 2000 if year < _CENTURY_TURNS else 1900
    hour, minute, second = (int(found[name]) for name in ("hour", "minute", "second"))
    if not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60:
        return None
    return float(days.since_1970(year, month, day) * 86400 + hour * 3600 + minute * 60 + second)
