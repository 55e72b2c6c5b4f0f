"""What is shown for a device sign-in: words anywhere, a QR code in a terminal."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import segno

from mcp_remote_py.auth import device_prompt
from mcp_remote_py.core.oauth.steps import ShowCode
from tests.support.host import clean_environment, python_command

STEP = ShowCode(
    "https://auth.example.com/device",
    "WDJB-MJHT",
    "https://auth.example.com/device?user_code=WDJB-MJHT",
    900.0,
    "https://auth.example.com",
    "https://mcp.example.com/mcp",
)


def test_the_words_have_all_that_a_person_needs() -> None:
    text = device_prompt.text(STEP)
    for part in (*STEP[:3], STEP.issuer, STEP.resource, "15 min"):
        assert part is not None
        assert part in text


@pytest.mark.parametrize(("seconds", "words"), [(61.0, "2 min"), (59.0, "1 min"), (0.0, ""), (math.inf, "")])
def test_the_time_is_told_where_it_makes_sense(seconds: float, words: str) -> None:
    text = device_prompt.text(STEP._replace(expires_in=seconds, complete_uri=None))
    assert words in text
    assert ("within" in text) == bool(words)


def test_nothing_that_a_server_says_drives_a_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r\u202e"
    text = device_prompt.text(
        ShowCode(f"https://a.example/{evil}", f"A{evil}{'B' * 500}", f"https://b.example/{evil}", 60, evil, evil)
    )
    assert not set(text) & set("\x1b\x07\r\u202e")
    assert len(text) < 2000


def test_a_picture_holds_the_very_modules_of_the_code() -> None:
    url = "https://auth.example.com/device?user_code=WDJB-MJHT"
    lines = device_prompt.picture(url)
    shown = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    rows: list[list[int]] = []
    for line in lines:
        rows += [[shown[character][half] for character in line] for half in range(2)]
    matrix = [list(row) for row in segno.make_qr(url, error="l").matrix]
    size = len(matrix)
    assert [row[2 : 2 + size] for row in rows[2 : 2 + size]] == matrix
    margin = [*rows[:2], *rows[2 + size :], *[row[:2] + row[2 + size :] for row in rows]]
    assert not any(any(row) for row in margin)
    assert len(rows) >= size + 4


def test_an_address_that_is_too_long_is_not_drawn() -> None:
    assert device_prompt.picture("https://a.example/" + "a" * 300) == []


def test_without_the_library_there_is_no_picture_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert device_prompt.picture("https://a.example/") == []


def test_nothing_is_drawn_where_there_is_no_terminal(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        assert not device_prompt.draw(STEP, file.fileno())
    assert (tmp_path / "log").read_bytes() == b""
    source, sink = os.pipe()
    assert not device_prompt.draw(STEP, sink)
    os.close(sink)
    assert os.read(source, 10) == b""
    os.close(source)


def test_the_library_is_loaded_for_a_picture_alone() -> None:
    source = (
        "import sys\nfrom mcp_remote_py.auth import device_prompt as d\n"
        "from mcp_remote_py.core.oauth.steps import ShowCode\n"
        f"step = ShowCode(*{tuple(STEP)!r})\nd.text(step)\nd.draw(step, 1)\nprint('segno' in sys.modules)"
    )
    done = subprocess.run(python_command(source), capture_output=True, text=True, check=True, env=clean_environment())
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
@pytest.mark.parametrize(
    ("step", "size", "is_drawn"),
    [
        (STEP, (40, 100), True),
        (STEP._replace(complete_uri=None), (40, 100), True),
        (STEP, (40, 20), False),
        (STEP, (10, 100), False),
        (STEP._replace(complete_uri="javascript:alert(1)"), (40, 100), False),
        (STEP._replace(complete_uri="https://u@a.example/"), (40, 100), False),
    ],
)
def test_a_terminal_shows_a_code_where_it_fits_and_leads_to_a_web_page(
    step: ShowCode, size: tuple[int, int], is_drawn: bool
) -> None:
    import termios

    ours, theirs = os.openpty()
    try:
        termios.tcsetwinsize(ours, size)
        assert device_prompt.draw(step, theirs) == is_drawn
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 65536).decode()
        except BlockingIOError:
            shown = ""
    finally:
        os.close(ours)
        os.close(theirs)
    assert ("█" in shown) == is_drawn
    assert shown.count("\x1b[30;107m") == shown.count("\x1b[0m") == shown.count("\n")
