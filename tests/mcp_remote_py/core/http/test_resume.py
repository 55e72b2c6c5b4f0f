"""Where a stream stands and how long to wait."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.http.resume import LONGEST_PAUSE, Cursor


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


def test_without_retry_the_pause_grows_while_attempts_are_fruitless() -> None:
    cursor, pauses = Cursor(), []
    for _ in range(12):
        pauses.append(cursor.pause())
        cursor.ended(0.0)
    assert pauses[:4] == [1.0, 1.5, 2.25, 3.375]
    assert pauses[-1] == LONGEST_PAUSE
    assert pauses == sorted(pauses)


def test_progress_starts_the_count_and_the_pause_anew() -> None:
    cursor = Cursor()
    for _ in range(4):
        cursor.ended(0.0)
    assert cursor.fruitless == 4
    cursor.saw(None, None)
    cursor.ended(0.0)
    assert (cursor.fruitless, cursor.pause()) == (0, 1.0)


def test_a_connection_that_stood_for_long_is_progress_even_in_silence() -> None:
    cursor = Cursor()
    cursor.ended(0.1)
    cursor.ended(60.0)
    assert cursor.fruitless == 0


def test_the_pause_is_what_the_server_says_and_never_less() -> None:
    cursor = Cursor()
    cursor.saw("1", 500)
    assert cursor.pause() == 0.5
    cursor.ended(0.0)
    assert cursor.pause() == 0.5
    for _ in range(3):
        cursor.ended(0.0)
    assert cursor.pause() == pytest.approx(3.375)
    cursor.saw("2", 60_000)
    cursor.ended(0.0)
    cursor.ended(0.0)
    assert cursor.pause() == 60.0


def test_a_retry_of_nothing_is_no_busy_loop() -> None:
    cursor = Cursor()
    cursor.saw("1", 0)
    assert 0 < cursor.pause() < 0.1
    cursor.ended(0.0)
    cursor.ended(0.0)
    assert cursor.pause() >= 1.0


def test_what_cannot_be_read_is_not_asked_for_again() -> None:
    cursor = Cursor()
    cursor.saw("1", None)
    cursor.spoiled()
    assert cursor.last_id is None
    cursor.ended(0.0)
    assert cursor.fruitless == 1
