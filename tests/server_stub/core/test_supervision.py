"""server_stub.core.supervision: every state with every event, and what may be started when."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_stub.core.supervision import (
    FIRST_DELAY,
    MOST_DELAY,
    TABLE,
    Budget,
    Event,
    Guard,
    Supervision,
    together,
)
from server_stub.core.vitals import State
from tests.support.examples import examples

NEXT = {(row.state, row.event, row.guard): row.to for row in TABLE}
LATER = 10_000.0


def shared(most: int = 3, *, passes: bool = False) -> tuple[Supervision, Budget]:
    budget = Budget(most, 300.0, passes=passes)
    return Supervision(budget, restarts=True), budget


def in_state(state: State) -> tuple[Supervision, Budget]:
    """A shared place that has come to this state the usual way, at second 0."""
    machine, budget = shared(2)
    if state is State.STOPPED:
        return machine, budget
    machine.wanted(0.0)
    if state in (State.READY, State.DEGRADED):
        machine.answered(0.0)
    if state is State.DEGRADED:
        machine.missed()
    if state in (State.COOLING, State.FAILED):
        machine.ended(0.0, 0.5, wanted=True)
    if state is State.FAILED:
        machine.due(1.0)
        machine.ended(1.0, 0.5, wanted=True)
    assert machine.state is state
    return machine, budget


EVENTS = {
    Event.WANTED: lambda machine: machine.wanted(LATER),
    Event.ANSWERED: lambda machine: machine.answered(LATER),
    Event.NOT_STARTED: lambda machine: machine.ended(LATER, 0.5, wanted=True),
    Event.ENDED: lambda machine: machine.ended(LATER, 0.5, wanted=True),
    Event.MISSED: lambda machine: machine.missed(),
    Event.HEARD: lambda machine: machine.heard(),
    Event.DUE: lambda machine: machine.due(LATER),
    Event.UNWANTED: lambda machine: machine.unwanted(),
    Event.REVIVED: lambda machine: machine.revived(),
}
EXPECTED = {
    (State.STOPPED, Event.WANTED): State.STARTING,
    (State.STARTING, Event.ANSWERED): State.READY,
    (State.STARTING, Event.NOT_STARTED): State.COOLING,
    (State.STARTING, Event.ENDED): State.COOLING,  # before it answered, that is a start that failed
    (State.STARTING, Event.UNWANTED): State.STOPPED,
    (State.READY, Event.MISSED): State.DEGRADED,
    (State.READY, Event.ENDED): State.COOLING,
    (State.READY, Event.NOT_STARTED): State.COOLING,
    (State.READY, Event.UNWANTED): State.STOPPED,
    (State.DEGRADED, Event.HEARD): State.READY,
    (State.DEGRADED, Event.ENDED): State.COOLING,
    (State.DEGRADED, Event.NOT_STARTED): State.COOLING,
    (State.DEGRADED, Event.UNWANTED): State.STOPPED,
    (State.COOLING, Event.DUE): State.STARTING,
    (State.COOLING, Event.UNWANTED): State.STOPPED,
    (State.COOLING, Event.REVIVED): State.STOPPED,
    (State.FAILED, Event.REVIVED): State.STOPPED,
}
"""What becomes of a shared child that is wanted, when its failures lie long ago. What is not here changes nothing."""


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)), ids=lambda one: one.name)
def test_every_event_in_every_state(state: State, event: Event) -> None:
    machine, _ = in_state(state)
    EVENTS[event](machine)
    assert machine.state is EXPECTED.get((state, event), state)


def test_the_table_names_each_case_once_and_reaches_every_state() -> None:
    assert len(NEXT) == len(TABLE)
    assert {row.to for row in TABLE} == set(State)
    assert {row.state for row in TABLE} == set(State)
    assert all(row.deed for row in TABLE)


def test_an_end_that_nobody_regrets_stops_and_still_counts() -> None:
    machine, budget = in_state(State.READY)
    assert machine.ended(1.0, 0.5, wanted=False) is State.STOPPED
    assert machine.wanted(1.01) is State.COOLING
    assert budget.in_a_row == 1


def test_a_child_that_was_restarted_as_often_as_allowed_is_failed_until_somebody_says_otherwise() -> None:
    machine, budget = shared(most=4)
    now = 0.0
    for _ in range(3):
        machine.wanted(now)
        machine.answered(now)
        assert machine.ended(now, 0.5, wanted=True) is State.COOLING
        now += budget.rest(now)
        assert machine.due(now) is State.STARTING
        machine.answered(now)
    assert machine.ended(now, 0.5, wanted=True) is State.FAILED
    for event in (Event.WANTED, Event.DUE, Event.UNWANTED, Event.ENDED):
        EVENTS[event](machine)
        assert machine.state is State.FAILED
    assert machine.revived() is State.STOPPED
    assert machine.wanted(now) is State.STARTING


def test_where_nobody_can_say_so_it_passes_when_the_window_has_moved_on() -> None:
    machine, _ = shared(most=2, passes=True)
    machine.wanted(0.0)
    machine.ended(10.0, 0.5, wanted=True)
    machine.due(20.0)
    assert machine.ended(20.0, 0.5, wanted=True) is State.FAILED
    assert machine.due(309.9) is State.FAILED
    assert machine.due(310.0) is State.STOPPED
    assert machine.wanted(310.0) is State.STARTING


def test_failures_that_lie_a_window_apart_are_no_row() -> None:
    machine, _ = shared(most=2)
    for now in (0.0, 301.0, 602.0):
        machine.wanted(now)
        assert machine.ended(now, 0.5, wanted=True) is State.COOLING
        machine.due(now + 300)
        machine.unwanted()


# --- A session's own child -------------------------------------------------------------------------------------------


def own(budget: Budget) -> Supervision:
    return Supervision(budget, restarts=False)


def test_the_end_of_a_sessions_own_child_is_no_failure() -> None:
    budget = Budget(1, 300.0)
    child = own(budget)
    child.wanted(0.0)
    child.answered(1.0)
    assert child.ended(2.0, 0.5, wanted=False) is State.STOPPED
    assert budget.guard(2.0) is Guard.FREE


def test_starts_that_fail_count_for_all_sessions_together() -> None:
    budget = Budget(3, 300.0)
    now = 0.0
    for expected in (Guard.RESTS, Guard.RESTS, Guard.SPENT):
        child = own(budget)
        assert child.wanted(now) is State.STARTING
        assert child.ended(now + 0.1, 0.5, wanted=False) is State.STOPPED
        assert budget.guard(now + 0.1) is expected
        now += 0.1 + budget.rest(now + 0.1)
    assert own(budget).wanted(now) is State.FAILED


def test_an_answered_initialize_clears_what_was_counted() -> None:
    budget = Budget(2, 300.0)
    first = own(budget)
    first.wanted(0.0)
    first.ended(0.1, 0.5, wanted=False)
    second = own(budget)
    assert second.wanted(0.11) is State.COOLING
    assert second.due(1.0) is State.STARTING
    second.answered(1.1)
    assert budget.is_clean(1.1)
    assert budget.in_a_row == 0


def test_of_starts_that_fail_side_by_side_one_counts() -> None:
    budget = Budget(3, 300.0)
    children = [own(budget) for _ in range(50)]
    for child in children:
        child.wanted(0.0)
    for child in children:
        child.ended(0.5, 0.5, wanted=False)
    assert budget.guard(0.5) is Guard.RESTS
    assert budget.in_a_row == 1


# --- Delays ----------------------------------------------------------------------------------------------------------


def test_each_delay_is_longer_until_the_longest() -> None:
    budget = Budget(100, 1e9)
    rests = []
    for now in range(0, 1000, 100):
        budget.count(now, 0.999999)
        rests.append(round(budget.rest(now), 3))
    assert rests[:4] == [FIRST_DELAY, FIRST_DELAY * 4, FIRST_DELAY * 16, FIRST_DELAY * 64]
    assert rests[4:] == [MOST_DELAY] * 6


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 0.999)), max_size=30), st.integers(1, 6))
def test_a_budget_is_spent_when_so_many_fall_into_its_window_and_not_before(
    steps: list[tuple[float, float]], most: int
) -> None:
    budget, now, spent = Budget(most, 300.0), 0.0, False
    times: list[float] = []
    for pause, roll in steps:
        now += pause
        budget.count(now, roll)
        times = [time for time in times if time > now - 300.0] + [now]
        spent = spent or len(times) >= most
        assert (budget.guard(now) is Guard.SPENT) == spent
        assert 0 < budget.rest(now) <= MOST_DELAY
    budget.forgive()
    assert budget.guard(now) is Guard.FREE
    assert budget.is_clean(now)


# --- A member ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ([], State.STOPPED),
        ([State.STOPPED], State.STOPPED),
        ([State.READY, State.STOPPED], State.READY),
        ([State.READY, State.STARTING], State.STARTING),
        ([State.READY, State.DEGRADED], State.DEGRADED),
        ([State.READY, State.FAILED], State.DEGRADED),
        ([State.READY, State.COOLING], State.DEGRADED),
        ([State.FAILED, State.STOPPED], State.FAILED),
        ([State.COOLING, State.STARTING], State.COOLING),
    ],
)
def test_a_member_is_what_its_places_are_together(states: list[State], whole: State) -> None:
    assert together(states) is whole
