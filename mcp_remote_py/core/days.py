"""Days: the calendar as far as the pure ring needs it. Python's own would bring the clock with it.

Source: the proleptic Gregorian calendar, as RFC 3339 and RFC 9110 use it. Pure.
"""

from __future__ import annotations


def since_1970(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date of the Gregorian calendar."""
    year -= month <= 2  # a year that begins in March has its leap day at its end
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719468
