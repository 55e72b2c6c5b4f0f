"""Pauses, budgets and the words about them. Which fault allows what is in test_away, as conversations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.errors import Interrupted, Refused, Unreachable
from mcp_remote_py.core.retries import Budget, counted, held_too_long, pause


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_pause_is_bounded_and_never_shorter_than_what_was_asked(
    attempts: int, chance: float, asked: float | None
) -> None:
    seconds = pause(attempts, chance, asked)
    assert seconds >= (asked or 0.0)
    assert 0.1 <= seconds <= max(5.0, (asked or 0.0) + 1.0)


def test_pauses_double_up_to_their_limit() -> None:
    assert [pause(n, 1.0) for n in (1, 2, 3, 5, 6, 40)] == [0.25, 0.5, 1.0, 4.0, 5.0, 5.0]
    assert pause(40, 1.0, most=60.0) == 60.0


def test_a_budget_is_earned_by_what_succeeds() -> None:
    budget = Budget()
    assert sum(budget.spend() for _ in range(200)) == 50
    for _ in range(5):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


@pytest.mark.parametrize(("attempts", "words"), [(1, "tried once"), (2, "tried twice"), (7, "tried 7 times")])
def test_the_sentence_counts(attempts: int, words: str) -> None:
    fault = counted(Interrupted("reset", http_status=502), attempts)
    assert words in str(fault)
    assert (fault.attempts, fault.http_status, fault.may_have_run) == (attempts, 502, True)


def test_what_could_not_be_tried_again_is_not_counted() -> None:
    fault = Refused("no", http_status=403)
    assert counted(fault, 1) is fault
    assert "tried" in str(counted(fault, 2))


def test_a_call_that_was_held_names_the_cause_and_keeps_its_code() -> None:
    fault = held_too_long(Unreachable("x refused"), "20 s", 9, may_have_run=False)
    assert type(fault) is Unreachable
    assert "x refused" in str(fault)
    assert "20 s" in str(fault)
    assert fault.attempts == 9
