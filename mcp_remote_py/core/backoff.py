"""Backoff: how long to wait before the next attempt, wherever something is tried again: calls, servers, streams.

The wait is drawn from a range that doubles ("full jitter"): a thousand bridges whose server restarts must not come back
in the same second. Nothing is waited for longer than a minute of our own accord; what a server asks for (`retry:`,
`Retry-After`) is for the caller to keep, and is never undercut. Pure: chance comes from outside.
"""

from __future__ import annotations

LONGEST_SECONDS = 60.0
SHORTEST_SECONDS = 0.1
"""The luckiest draw is no busy loop either."""


def drawn(fruitless: int, chance: float, first: float, longest: float = LONGEST_SECONDS) -> float:
    """Return the seconds to wait after so many fruitless attempts in a row, the longest of which is `first` after none.

    `chance` is drawn evenly from 0 to 1.
    """
    most = min(longest, LONGEST_SECONDS, first * 2.0 ** max(0, min(fruitless, 32)))
    return max(min(most, SHORTEST_SECONDS), most * chance)
