"""Brakes: three sign-ins in five minutes, by the wall clock."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.oauth import brakes

URL = "https://mcp.example.com/mcp?a=1&b=2"
NOW = 10_000.0


@pytest.mark.parametrize(
    "times",
    [
        [],
        [NOW],
        [NOW - 1, NOW - 2],
        [NOW - 300, NOW - 1, NOW - 2],  # the first one is five minutes old
        [NOW + 1, NOW + 2, NOW + 3, NOW + 4],  # the clock was set back
    ],
)
def test_up_to_two_recent_sign_ins_let_a_third_begin(times: list[float]) -> None:
    assert brakes.problem(times, NOW, URL) is None


def test_three_recent_sign_ins_stop_the_fourth_and_say_how_to_begin_anew() -> None:
    text = brakes.problem([NOW - 1, NOW - 299, NOW - 200], NOW, URL)
    assert text is not None
    assert "3 times within 5 minutes" in text
    assert "for 1 s" in text
    assert text.endswith(f"mcp-remote-py logout '{URL}'")


def test_it_waits_until_only_two_of_many_are_recent() -> None:
    times = [NOW - 200, NOW - 150, NOW - 100, NOW - 50]
    text = brakes.problem(times, NOW, URL) or ""
    assert "for 150 s" in text
    assert brakes.problem(times, NOW + 149, URL) is not None
    assert brakes.problem(times, NOW + 150, URL) is None


def test_old_times_are_dropped_from_what_is_kept() -> None:
    assert brakes.counted([NOW - 1, NOW - 301, NOW - 2, NOW + 5], NOW) == (NOW - 2, NOW - 1)


def test_the_command_can_be_pasted_into_a_shell() -> None:
    assert brakes.reset_command("https://x.example/$(id)\x1b") == "mcp-remote-py logout 'https://x.example/$(id)\\x1b'"
