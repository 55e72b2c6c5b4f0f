"""The snapshot: counts, ages, and no more than twenty requests."""

from __future__ import annotations

from mcp_remote_py.core.message import key_of
from mcp_remote_py.snapshot import Counters, Request


def test_the_oldest_requests_come_first_and_no_more_than_twenty() -> None:
    counters = Counters(100.0)
    requests = [Request(key_of(number), "tools/call", sent=number % 2 == 0) for number in range(25)]
    for number in reversed(range(25)):
        counters.asked(key_of(number), 200.0 - number)
    counters.from_host = counters.from_host.more(10).more(5)
    lines = counters.report("s", "t", requests, 3, 210.0).splitlines()
    assert lines[0] == "snapshot"
    assert "requests in flight: 25, messages held back: 3" in lines
    listed = [line for line in lines if line.startswith("  ") and "tools/call" in line]
    assert listed[0] == "  24 tools/call, 34.0 s, sent"
    assert listed[1] == "  23 tools/call, 33.0 s, held"
    assert len(listed) == 20
    assert "  and 5 more" in lines
    assert "messages from the host: 2 (15 bytes), to the host: 0 (0 bytes)" in lines
    assert lines[-1].endswith("running for 110 s")


def test_times_of_requests_that_are_over_are_forgotten() -> None:
    counters = Counters(0.0)
    for number in range(1000):
        counters.asked(key_of(number), float(number))
        if counters.is_crowded(1):
            counters.forget({key_of(0)})
    assert not counters.is_crowded(1)
    assert "0 x, 1000.0 s" in counters.report("s", "t", [Request(key_of(0), "x", sent=True)], 0, 1000.0)


def test_a_long_id_and_method_are_shortened() -> None:
    text = Counters(0.0).report("s", "t", [Request(key_of("i" * 999), "m" * 999, sent=True)], 0, 0.0)
    assert max(map(len, text.splitlines())) < 160
