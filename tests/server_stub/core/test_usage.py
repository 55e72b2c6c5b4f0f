"""What children use: whole trees, processor time between two looks, alerts once for each crossing."""

from __future__ import annotations

from collections.abc import Sequence

from server_stub.core.usage import (
    MEGABYTE,
    Alerts,
    Look,
    Process,
    Thresholds,
    Usage,
    megabytes,
    summary_line,
    tree_of,
    usages,
)


def process(
    pid: int, parent: int = 1, group: int = 0, cpu: float = 0.0, size: int = 1, started: float = 0.0
) -> Process:
    return Process(pid, parent, group, started, cpu, size * MEGABYTE, 10 * size * MEGABYTE)


def look(at: float, *processes: Process) -> Look:
    return Look(at, {processes[0].pid: processes} if processes else {})


def used(memory: float = 0, cpu: float | None = 0.0, pid: int = 7, name: str = "m") -> Usage:
    return Usage(name, pid, int(memory * MEGABYTE), 0, cpu, 1)


def test_a_tree_is_a_process_its_descendants_and_its_group() -> None:
    everything = [process(7, group=7), process(8, 7, 7), process(9, 8, 9), process(10, 1, 7), process(11, 10, 3)]
    others = [process(1), process(20, 1, 20), process(21, 20, 20)]
    assert {one.pid for one in tree_of(7, [*others, *everything])} == {7, 8, 9, 10, 11}
    assert tree_of(99, everything) == ()


def test_a_process_that_is_its_own_parent_ends_the_search() -> None:
    assert [one.pid for one in tree_of(7, [process(7, 8), process(8, 7)])] == [7, 8]


def test_sizes_of_a_tree_are_summed() -> None:
    (found,) = usages({"m": (7,)}, look(1.0, process(7, size=2), process(8, 7, size=40)), None)
    assert (found.name, found.pid, found.processes) == ("m", 7, 2)
    assert (found.resident, found.virtual) == (42 * MEGABYTE, 420 * MEGABYTE)
    assert found.cpu is None


def percent(before: Sequence[Process], now: Sequence[Process]) -> float | None:
    (found,) = usages({"m": (7,)}, look(12.0, *now), look(10.0, *before))
    return found.cpu


def test_processor_time_is_what_the_tree_used_between_two_looks() -> None:
    assert percent([process(7, cpu=5.0)], [process(7, cpu=6.0)]) == 50.0
    both = [process(7, cpu=5.0), process(8, 7, cpu=9.0)]
    assert percent(both, [process(7, cpu=6.0), process(8, 7, cpu=12.0)]) == 200.0
    assert percent(both, [process(7, cpu=6.0)]) == 50.0, "what has ended takes nothing away"
    assert percent([process(7)], [process(7), process(8, 7, cpu=1.0)]) == 50.0, "what was started counts"


def test_another_process_of_the_same_number_has_no_past() -> None:
    assert percent([process(7, cpu=5.0, started=1.0)], [process(7, cpu=6.0, started=2.0)]) is None
    assert percent([process(7)], [process(7), process(8, 7, cpu=1.0, started=3.0)]) == 50.0


def test_a_child_that_is_gone_is_left_out() -> None:
    assert usages({"m": (7, 9)}, look(1.0, process(7)), None)[0].pid == 7
    assert len(usages({"m": (7, 9)}, look(1.0, process(7)), None)) == 1
    assert usages({"m": (7,)}, Look(1.0, {7: (process(8, 7),)}), None) == (), "only what it started is left"


def test_an_alert_comes_once_for_each_crossing() -> None:
    alerts = Alerts(Thresholds(resident=500 * MEGABYTE, cpu=80.0))
    assert alerts.crossed([used(500, 80.0)]) == [], "above means above"
    (text,) = alerts.crossed([used(501)])
    assert "m (pid 7) uses 501 MB" in text
    assert "500 MB" in text
    assert alerts.crossed([used(600)]) == []
    (text,) = alerts.crossed([used(600, 81.4)])
    assert "81 % of a processor" in text
    assert alerts.crossed([used(100, 90.0)]) == []
    assert len(alerts.crossed([used(501, 90.0)])) == 1, "it had fallen below"
    assert len(alerts.crossed([used(501, 90.0), used(501, 90.0, pid=8)])) == 2
    assert alerts.crossed([used(100, None)]) == []


def test_the_summary_names_each_child_and_bounds_itself() -> None:
    assert summary_line([]) == "resources: 0 children, 0 MB, 0 % CPU"
    assert summary_line([used(1.5, None), used(2, 3.4, name="n")]) == (
        "resources: 2 children, 3.5 MB, 3 % CPU: m 1.5 MB 0 %, n 2 MB 3 %"
    )
    assert summary_line([used()] * 23).endswith(" and 3 more")


def test_megabytes_have_one_decimal() -> None:
    assert megabytes(int(145.24 * MEGABYTE)) == 145.2
