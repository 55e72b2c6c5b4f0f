"""What a child printed, made fit for a log or an error: no control characters, no secrets, bounded. Pure.

A child's stderr, and what it writes to stdout that is no JSON-RPC, is foreign text: it may hold terminal escapes, the
secrets that were given to it, and any amount of anything. (MCP Transports, "stdio".)
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from mcp_remote_py.core.redact import Redactor, printable

LINE_WIDTH = 1000
"""Characters of one line that reach the log."""

KEPT_LINES = 20
"""Lines of a child's stderr that are kept for the text that says how it ended."""
_KEPT_WIDTH = 300
_KEPT_CHARACTERS = 2000
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def knows(values: Iterable[str]) -> Redactor:
    """Return a redactor that knows every value that was given to a child, whole and line by line.

    Which of them are harmless is not for us to guess.
    """
    redactor = Redactor()
    for value in values:
        for secret in {value, *value.splitlines()}:
            redactor.add(secret)
    return redactor


def shown(raw: bytes, redactor: Redactor, width: int = LINE_WIDTH) -> str:
    """Return bytes of a child as one line for people: colours go, and secrets go before anything is cut."""
    text = redactor.scrub(_ESCAPES.sub("", raw.decode("utf-8", "replace")))
    return printable(text.replace("\n", " "), width)


class LastLines:
    """The end of a child's stderr: at most twenty lines, each cut, some 2 000 characters in all."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    def add(self, line: str) -> None:
        """Keep a line that `shown` has made."""
        if line.strip():
            self._lines.append(line[:_KEPT_WIDTH])

    def text(self) -> str:
        """Return the lines, oldest first; where they are too many characters the oldest are left out."""
        kept: list[str] = []
        room = _KEPT_CHARACTERS
        for line in reversed(self._lines):
            room -= len(line) + 1
            if room < 0:
                break
            kept.append(line)
        return "\n".join(reversed(kept))


class LogBudget:
    """How many lines of a child may be logged in one second, so that a flood costs reading and nothing else."""

    def __init__(self, lines_per_second: int = 200) -> None:
        self._limit = lines_per_second
        self._second = -1
        self._used = 0
        self._left_out = 0

    def spend(self, now: float) -> bool:
        """Whether one more line may be logged at `now` (seconds of any steady clock)."""
        if int(now) != self._second:
            self._second, self._used = int(now), 0
        if self._used < self._limit:
            self._used += 1
            return True
        self._left_out += 1
        return False

    def left_out(self) -> int:
        """Return, once, how many lines were not logged since the last call."""
        count, self._left_out = self._left_out, 0
        return count
