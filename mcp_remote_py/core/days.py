"""Days: the calendar as far as the pure ring needs it. Python's own would bring the clock with it.

Source: the proleptic Gregorian calendar, as RFC 3339 and RFC 9110 use it. Pure.
"""

from __future__ import annotations


def since_1970(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date of the Gregorian calendar."""
    year -= month <= 2  # a year that begins in March has its leap day at its end
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return year * 365 + year // 4 - year // 100 + year // 400 + day_of_year - 719468


def date_of(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a number of days since 1970-01-01: the way back."""
    days += 719468
    era, day_of_era = divmod(days, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    year = era * 400 + year_of_era + (month >= 10)
    return year, (month + 2) % 12 + 1, day_of_year - (153 * month + 2) // 5 + 1
