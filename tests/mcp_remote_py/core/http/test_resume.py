"""Where a stream stands, how long to wait, and what was seen before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.http.resume import (
    HOPELESS_SECONDS,
    LONGEST_PAUSE,
    MOST_REMEMBERED,
    STIRRED_PAUSE,
    Cursor,
    Pause,
    backoff,
)


def longest(cursor: Cursor) -> float:
    """The pause with the worst luck."""
    return cursor.pause(1.0).seconds


def test_without_an_id_there_is_nothing_to_resume_at() -> None:
    cursor = Cursor()
    assert cursor.last_id is None
    cursor.saw(None, None)
    assert cursor.last_id is None


def test_an_id_holds_until_it_is_replaced_or_cleared() -> None:
    cursor = Cursor()
    cursor.saw("a", None)
    cursor.saw(None, None)
    assert cursor.last_id == "a"
    cursor.saw("b", None)
    assert cursor.last_id == "b"
    cursor.saw("", None)
    assert cursor.last_id is None


@pytest.mark.parametrize("identifier", ["a\x01", " a", "a\t"])
def test_an_id_that_no_header_can_carry_is_no_place_to_resume_at(identifier: str) -> None:
    cursor = Cursor()
    cursor.saw(identifier, None)
    assert cursor.last_id is None


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_a_backoff_is_drawn_from_the_whole_range_and_never_longer_than_a_minute(fruitless: int, chance: float) -> None:
    assert 0.1 <= backoff(fruitless, chance) <= LONGEST_PAUSE
    assert backoff(fruitless, chance / 2) <= backoff(fruitless, chance)


def test_without_retry_the_pause_doubles_while_attempts_are_fruitless() -> None:
    cursor, pauses = Cursor(), []
    for _ in range(12):
        pauses.append(longest(cursor))
        cursor.ended(None)
    assert pauses[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert pauses[-1] == LONGEST_PAUSE


def test_news_may_end_a_pause_of_our_own_but_not_at_once() -> None:
    cursor = Cursor()
    for _ in range(6):
        cursor.ended(None)
    assert cursor.pause(1.0) == Pause(STIRRED_PAUSE, 60.0)


def test_progress_starts_the_count_and_the_pause_anew() -> None:
    cursor = Cursor()
    for _ in range(4):
        cursor.ended(0.0)
    assert cursor.fruitless == 4
    cursor.saw(None, None)
    cursor.ended(0.0)
    assert (cursor.fruitless, longest(cursor)) == (0, 1.0)


def test_a_connection_that_stood_for_long_is_progress_even_in_silence() -> None:
    cursor = Cursor()
    cursor.ended(0.1)
    cursor.ended(60.0)
    assert cursor.fruitless == 0


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("milliseconds", [500, 3000, 120_000])
def test_the_servers_retry_is_kept_to_the_letter(milliseconds: int, chance: float) -> None:
    cursor = Cursor()
    cursor.saw("1", milliseconds)
    for _ in range(4):
        cursor.ended(0.0)
        assert cursor.pause(chance) == Pause(milliseconds / 1000, milliseconds / 1000)


def test_where_the_server_cannot_be_reached_retry_is_the_least() -> None:
    cursor = Cursor()
    cursor.saw("1", 5000)
    for _ in range(8):
        cursor.ended(None)
    assert cursor.pause(0.0) == Pause(5.0, 5.0)
    assert cursor.pause(1.0) == Pause(5.0, 60.0)


def test_a_retry_of_nothing_is_no_busy_loop() -> None:
    cursor = Cursor()
    cursor.saw("1", 0)
    assert 0 < longest(cursor) < 0.1
    for _ in range(10):
        cursor.ended(0.0)
    assert longest(cursor) >= 1.0


def test_polls_that_the_server_asked_for_are_never_hopeless_but_failures_are() -> None:
    cursor = Cursor()
    cursor.saw("1", 1000)
    for at in range(1000):
        cursor.ended(0.0, float(at))
        assert not cursor.is_hopeless(float(at))
    now = 2000.0
    cursor.ended(None, now)
    while not cursor.is_hopeless(now):
        now += 1
        cursor.ended(None, now)
    assert now == 2000 + HOPELESS_SECONDS


def test_a_few_failures_in_a_short_time_are_not_hopeless() -> None:
    cursor = Cursor()
    for at in range(100):
        cursor.ended(None, at / 100)
    assert not cursor.is_hopeless(1.0)
    cursor.ended(None, 100.0)
    assert cursor.is_hopeless(100.0)


def test_what_a_busy_server_asks_for_holds_once() -> None:
    cursor = Cursor()
    cursor.ended(None)
    cursor.put_off(7.0)
    assert cursor.pause(0.0) == Pause(7.0, 7.0)
    assert longest(cursor) == 2.0


def test_a_stream_that_we_left_is_taken_up_again_at_once_unless_the_server_said_when() -> None:
    cursor = Cursor()
    cursor.hurry()
    assert longest(cursor) < 0.1
    assert longest(cursor) == 1.0
    cursor.saw("1", 800)
    cursor.hurry()
    assert longest(cursor) == 0.8


def test_what_cannot_be_read_is_not_asked_for_again() -> None:
    cursor = Cursor()
    cursor.saw("1", None)
    cursor.spoiled()
    assert cursor.last_id is None
    cursor.ended(0.0)
    assert cursor.fruitless == 1


# --- What was seen before ---------------------------------------------------------------------------------------------


def test_an_event_is_known_again_by_its_id_and_its_content() -> None:
    cursor = Cursor()
    cursor.saw("1", None, "a")
    assert cursor.is_repeat("1", "a")
    assert not cursor.is_repeat("1", "b")
    assert not cursor.is_repeat("2", "a")
    assert not cursor.is_repeat(None, "a")


def test_events_without_an_id_or_without_content_are_never_repeats() -> None:
    cursor = Cursor()
    cursor.saw(None, None, "a")
    cursor.saw("", None, "a")
    cursor.saw("1", None, "")
    assert not any(cursor.is_repeat(identifier, data) for identifier, data in [(None, "a"), ("", "a"), ("1", "")])


def test_only_so_many_events_are_remembered() -> None:
    cursor = Cursor()
    for at in range(MOST_REMEMBERED + 10):
        cursor.saw(str(at), None, "x")
    assert not cursor.is_repeat("9", "x")
    assert cursor.is_repeat("10", "x")
    assert len(cursor._known) == len(cursor._order) == MOST_REMEMBERED


def test_a_repeat_moves_nothing_but_what_it_says_about_waiting() -> None:
    cursor = Cursor()
    cursor.saw("5", None, "x")
    cursor.ended(0.0)
    cursor.passed_over(250)
    cursor.ended(0.0)
    assert cursor.last_id == "5"
    assert cursor.fruitless == 1
    assert longest(cursor) == 0.25


def test_an_id_of_any_length_is_no_header_of_any_length() -> None:
    cursor = Cursor()
    cursor.saw("x" * 5000, None, "a")
    assert cursor.last_id is None
    assert cursor.is_repeat("x" * 5000, "a")
