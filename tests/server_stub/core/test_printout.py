"""server_stub.core.printout: foreign text made fit for people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server_stub.core.printout import LastLines, LogBudget, knows, shown

NOTHING = knows([])


def test_colours_and_controls_do_not_reach_the_terminal() -> None:
    raw = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x08\x9b"
    assert shown(raw, NOTHING) == "red plain\\x08\N{REPLACEMENT CHARACTER}"


@given(st.binary(max_size=300))
def test_whatever_a_child_writes_is_one_printable_line(raw: bytes) -> None:
    text = shown(raw, NOTHING)
    assert not any(ord(letter) < 32 and letter != "\t" for letter in text)
    assert "\x7f" not in text


def test_every_value_given_to_the_child_is_masked_line_by_line() -> None:
    redactor = knows(["hunter2hunter2", "-----BEGIN-----\nabcdefgh\n"])
    assert shown(b"key hunter2hunter2, pem abcdefgh", redactor) == "key [secret], pem [secret]"


def test_a_secret_is_masked_before_the_line_is_cut() -> None:
    redactor = knows(["topsecretvalue"])
    assert "topsec" not in shown(b"x" * 995 + b"topsecretvalue", redactor)


def test_a_secret_with_colours_in_it_is_masked_too() -> None:
    assert shown(b"top\x1b[1msecretvalue", knows(["topsecretvalue"])) == "[secret]"


def test_the_last_twenty_lines_are_kept_in_their_order() -> None:
    last = LastLines()
    for number in range(50):
        last.add(f"line {number}")
        last.add("   ")
    assert last.text().split("\n") == [f"line {number}" for number in range(30, 50)]


def test_long_lines_leave_room_for_the_newest() -> None:
    last = LastLines()
    for number in range(20):
        last.add(f"{number:02}" * 1000)
    kept = last.text().split("\n")
    assert kept[-1].startswith("19")
    assert len(last.text()) <= 2000


def test_a_flood_is_cut_to_so_many_lines_a_second() -> None:
    budget = LogBudget(lines_per_second=3)
    assert [budget.spend(10.0 + at / 100) for at in range(5)] == [True, True, True, False, False]
    assert budget.left_out() == 2
    assert budget.left_out() == 0
    assert budget.spend(11.0)
