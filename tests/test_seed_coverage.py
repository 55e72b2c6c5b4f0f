"""The page that says where everything is that the first documents ask for: complete, and nothing on it is made up."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "seed-coverage.md"
LATER = "operations, later"
_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.*) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_FILE = re.compile(r"`((?:server_stub|mcp_remote_py|tests|docs)/[^`]*)`")
_COUNT = re.compile(r"(\d+) are there, (\d+) in part; (\d+) belong to operations")


class Row(NamedTuple):
    number: int
    where: str
    held_by: str


def rows() -> list[Row]:
    return [Row(int(number), where, held) for number, _, where, held in _ROW.findall(PAGE.read_text(encoding="utf-8"))]


@cache
def names_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return frozenset(re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.MULTILINE))


def test_every_row_is_there_once_and_in_order() -> None:
    assert [row.number for row in rows()] == list(range(1, 114))


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.number))
def test_what_a_row_names_exists(row: Row) -> None:
    named = _TEST.findall(row.held_by)
    assert _TEST.sub("", row.held_by).strip(", ") == "", "only tests hold a row"
    assert [(file, test) for file, test in named if test not in names_in(file)] == []
    assert [file for file in _FILE.findall(row.where) if not (ROOT / file).exists()] == []
    assert (row.where == LATER) == (not named), "what is there has a test, and what comes later has none"


def test_the_page_counts_right() -> None:
    later = [row for row in rows() if row.where == LATER]
    partly = [row for row in rows() if LATER in row.where and row not in later]
    match = _COUNT.search(PAGE.read_text(encoding="utf-8").replace("\n", " "))
    assert match is not None
    assert [int(number) for number in match.groups()] == [113 - len(later) - len(partly), len(partly), len(later)]
