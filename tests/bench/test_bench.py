"""The bench keeps working: one short round of everything, without a word about time."""

from __future__ import annotations

import pytest

from tests.bench import wrapping
from tests.bench.__main__ import run, spreads, table, with_added
from tests.bench.bridges import installed
from tests.bench.measure import MEASUREMENTS
from tests.bench.wrappers import MOST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_one_round_of_every_measurement_gives_every_figure() -> None:
    ours = [bridge for bridge in installed() if bridge.name in ("mcp-remote-py", "floor", "direct")]
    found = with_added(run(ours, list(MEASUREMENTS), 1))
    assert set(found) == {"mcp-remote-py", "floor", "direct"}
    assert set(found["mcp-remote-py"]) == set(found["floor"])
    assert {"JSON p50 us", "SSE p99 us", "10 MB ms", "calls/s, 64 in flight"} <= set(found["direct"])
    assert found["mcp-remote-py"]["requests"][0] <= 4, "initialize, initialized, tools/list, and at most the GET stream"
    text = table(found) + spreads(found)
    assert all(figure in text for figure in found["floor"])


def test_ten_servers_answer_ten_clients_without_errors() -> None:
    ours = next(wrapper for wrapper in wrapping.installed() if wrapper.name == "ours")
    figures = wrapping.ten(ours)
    assert set(MOST) - {"KB a session"} <= set(figures)
    assert figures["10 servers: errors of 10 clients, %"] < MOST["10 servers: errors of 10 clients, %"]
