"""What two looks at the clocks and the network tell."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.wakeups import Look, Wakeups

HOME = frozenset({"eth0", "192.168.1.5"})


def begun(addresses: frozenset[str] | None = HOME) -> Wakeups:
    return Wakeups(Look(1000.0, 5_000_000.0, addresses))


@pytest.mark.parametrize("late", [0.0, 0.5, 4.0])
def test_a_look_when_it_is_due_finds_nothing(late: float) -> None:
    assert begun().look(Look(1010.0 + late, 5_000_010.0 + late, HOME)) is None


@pytest.mark.parametrize(
    ("monotonic", "wall", "words"),
    [
        (10.0, 3610.0, "about 3610 s"),  # asleep, on a clock that stands still meanwhile
        (3600.0, 3600.0, "about 3600 s"),  # asleep on a clock that does not, or stopped
        (10.0, -3600.0, "set back"),
    ],
)
def test_a_jump_is_noticed(monotonic: float, wall: float, words: str) -> None:
    wakeups = begun()
    assert wakeups.is_jump(1000.0 + monotonic, 5_000_000.0 + wall)
    wake = wakeups.look(Look(1000.0 + monotonic, 5_000_000.0 + wall, HOME))
    assert wake is not None
    assert wake.is_doubtful
    assert words in wake.reason


def test_a_jump_is_told_once() -> None:
    wakeups = begun()
    wakeups.look(Look(1010.0, 5_003_610.0, HOME))
    assert not wakeups.is_jump(1020.0, 5_003_620.0)
    assert wakeups.look(Look(1020.0, 5_003_620.0, HOME)) is None


def test_a_small_correction_of_the_clock_is_nothing() -> None:
    assert begun().look(Look(1010.0, 5_000_013.0, HOME)) is None


@pytest.mark.parametrize(
    ("addresses", "is_doubtful"),
    [
        (HOME | {"tun0", "10.8.0.2"}, False),
        (frozenset({"eth0", "10.0.0.7"}), True),
        (frozenset(), True),
    ],
)
def test_another_set_of_addresses_is_noticed_once(addresses: frozenset[str], is_doubtful: bool) -> None:
    wakeups = begun()
    wake = wakeups.look(Look(1010.0, 5_000_010.0, addresses))
    assert wake is not None
    assert wake.is_doubtful is is_doubtful
    assert wakeups.look(Look(1020.0, 5_000_020.0, addresses)) is None


def test_where_nobody_looked_there_is_nothing_to_compare() -> None:
    wakeups = begun(None)
    assert wakeups.look(Look(1010.0, 5_000_010.0, HOME)) is None
    assert wakeups.look(Look(1020.0, 5_000_020.0, None)) is None
    assert wakeups.look(Look(1030.0, 5_000_030.0, HOME)) is None
    assert wakeups.look(Look(1040.0, 5_000_040.0, frozenset())) is not None
