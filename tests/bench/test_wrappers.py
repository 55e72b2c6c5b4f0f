"""The bench of wrappers keeps working: one short round of everything with our own server, without a word about time."""

from __future__ import annotations

import pytest

from tests.bench import wrapping
from tests.bench.wrappers import FAILED, MOST, TARGETS, measurements, run, spreads, table


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_round_of_every_measurement_counts_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "SECONDS", 0.3)
    monkeypatch.setattr(wrapping, "CALLS", 20)
    ours = [wrapper for wrapper in wrapping.installed() if wrapper.is_ours]
    found = run(ours, list(measurements([])), 1, [1, 4])
    assert set(found) == {"ours", "ours, shared"}
    for figures in found.values():
        assert FAILED not in figures
        assert {"calls/s, 4 sessions", "p99 ms, 4 sessions", "10 MB result ms", *MOST} <= set(figures)
        assert all(values == [0.0] for figure, values in figures.items() if "errors" in figure)
    text = table(found, set(found)) + spreads(found)
    assert all(figure in text for figure in found["ours"])


def test_each_row_says_what_came_of_its_target() -> None:
    found = {
        "ours": {"CPU us a call": [20.0, 30.0, 40.0], "calls/s, 1 sessions": [10.0], "KB a session": [81.0]},
        "peer": {"CPU us a call": [100.0], "calls/s, 1 sessions": [11.0], "KB a session": [500.0]},
        "broken": {FAILED: [1.0, 1.0]},
    }
    rows = {line.split("  ")[0]: line for line in table(found, {"ours"}).splitlines()}
    assert TARGETS["CPU us a call"] == 0.3
    assert "(0.30)" in rows["CPU us a call"]
    assert rows["CPU us a call"].endswith("<= 0.3 x met")
    assert rows["calls/s, 1 sessions"].endswith("BEHIND")
    assert rows["KB a session"].endswith("<= 80 MISSED")
    assert rows[FAILED].split()[-1] == "2.0"
