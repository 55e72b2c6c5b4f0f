"""Editing `.env` files: what was set is read back, and other lines stay."""

from __future__ import annotations

from io import StringIO

from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from server_stub.core.env_text import assign


def test_other_lines_and_comments_stay() -> None:
    text = "# keys\nexport A=1 # old\nB=2\n\nA_LONG=3"
    assert assign(text, {"A": "x y", "C": "4"}) == "# keys\nexport A='x y'\nB=2\n\nA_LONG=3\nC=4\n"


def test_line_ends_of_windows_stay() -> None:
    assert assign("A=1\r\n", {"A": "2", "B": "3"}) == "A=2\r\nB=3\r\n"


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1))
def test_every_value_is_read_back_as_it_was(value: str) -> None:
    text = assign("A=old\n", {"A": value, "B": value})
    assert dotenv_values(stream=StringIO(text), interpolate=False) == {"A": value, "B": value}
