"""Cursor: where one SSE stream stands, how long to wait before it is reopened, and when a call's stream is hopeless.

One cursor per stream: the ids of one stream mean nothing on another. The server's `retry` is waited for to the letter
(2025-11-25, "Sending Messages to the Server", SEP-1699). Without it, and where the server cannot be reached, the wait
is drawn from a range that doubles up to a minute ("full jitter"): a thousand bridges whose server restarts must not
come back in the same second. Pure: seconds and chances in, seconds out.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mcp_remote_py.core.backoff import LONGEST_SECONDS, drawn
from mcp_remote_py.core.http.headers import may_travel

FIRST_PAUSE = 1.0
LONGEST_PAUSE = LONGEST_SECONDS
STEADY_SECONDS = 5.0
"""A connection that stood for so long counts as progress even if the server had nothing to say on it."""
SHORTEST_PAUSE = 0.01
"""A server that says `retry: 0` gets its wish, but not a busy loop."""
STIRRED_PAUSE = 0.25
"""Who is told that it is worth a try now still leaves so much time between two attempts."""
LONGEST_CALL_PAUSE = 5.0
"""The same where a call waits for its answer: somebody is waiting."""
LEAST_MISSES = 3
HOPELESS_SECONDS = 15.0
"""A call is given up when attempts to take its answer up again have failed for so long, and so many times in a row."""
LONGEST_PUT_OFF = 3600.0
MOST_EMPTY_POLLS = 5
"""After so many polls in a row that brought nothing, a very short `retry` is no longer enough of a pause."""
MOST_REMEMBERED = 1000
"""Events of a stream that are known again when the server repeats them."""
LONGEST_ID = 4096
_COMPARED = 1024
"""Characters of an event that are compared, besides its length and its id."""


class Pause(NamedTuple):
    """Seconds to wait. Nothing but the end cuts the first `least` short; news that it is worth a try ends the rest."""

    least: float
    seconds: float


def backoff(fruitless: int, chance: float, longest: float = LONGEST_PAUSE) -> float:
    """Return the seconds to wait after so many fruitless attempts in a row. `chance` is drawn evenly from 0 to 1."""
    return drawn(fruitless, chance, FIRST_PAUSE, longest)


class Cursor:
    """The last event id of one stream, the server's `retry`, and the fruitless attempts since the last progress.

    `longest` is the longest pause, in seconds, that is made of our own accord.
    """

    def __init__(self, longest: float = LONGEST_PAUSE) -> None:
        self._longest = longest
        self._last_id = ""
        self._retry: float | None = None
        self._put_off = 0.0
        self._hurries = False
        self._heard = False
        self._failing_since: float | None = None
        self._made = True
        """Whether the last attempt led to a stream."""
        self._known: set[int] = set()
        self._order: deque[int] = deque()
        self.fruitless = 0
        """Connections in a row that failed or brought nothing."""
        self.misses = 0
        """The same, without the polls that a server asked for with `retry` and accepted."""

    @property
    def last_id(self) -> str | None:
        """What to send as `Last-Event-ID`; None where there is nothing to resume at."""
        return (
            self._last_id if self._last_id and len(self._last_id) <= LONGEST_ID and may_travel(self._last_id) else None
        )

    def is_hopeless(self, now: float) -> bool:
        """Whether a call whose answer is awaited on this stream should be given up. `now` is the time of `ended`."""
        since = self._failing_since
        return since is not None and self.misses >= LEAST_MISSES and now - since >= HOPELESS_SECONDS

    def saw(self, identifier: str | None, retry: int | None, data: str = "") -> None:
        """Note an event that has been handed on. `identifier` None: it had no id field; empty: it cleared the id.

        `retry` is in milliseconds.
        """
        self._heard = True
        if identifier is not None:
            self._last_id = identifier
            self._remember(identifier, data)
        if retry is not None:
            self._retry = retry / 1000

    def is_repeat(self, identifier: str | None, data: str) -> bool:
        """Whether this event was seen before: a server that takes a stream up again may go back too far.

        Both id and content count: a server that was restarted may number what is new from the start.
        """
        return bool(identifier) and bool(data) and _mark(identifier, data) in self._known

    def passed_over(self, retry: int | None) -> None:
        """Note an event that was a repeat: it is no progress, but what it says about waiting holds."""
        if retry is not None:
            self._retry = retry / 1000

    def ended(self, seconds: float | None, now: float = 0.0) -> None:
        """Note that a connection ended. `seconds` is how long its stream stood; None where there was no stream."""
        self._made = seconds is not None
        if self._heard or (seconds is not None and seconds >= STEADY_SECONDS):
            self.fruitless = self.misses = 0
        else:
            self.fruitless += 1
            self.misses = 0 if self._made and self._retry is not None else self.misses + 1
        if not self.misses:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        self._heard = False

    def put_off(self, seconds: float | None) -> None:
        """Note what `Retry-After` said instead of a stream; it holds for the next pause alone."""
        self._put_off = 0.0 if seconds is None else min(seconds, LONGEST_PUT_OFF)

    def hurry(self) -> None:
        """Note that we left the stream ourselves, to take it up again on another connection: only `retry` holds."""
        self._hurries = True

    def spoiled(self) -> None:
        """Note that the stream brought something unreadable: it must not be asked to repeat that."""
        self._last_id = ""
        self._heard = False

    def pause(self, chance: float) -> Pause:
        """Return how long to wait before the next attempt. `chance` is drawn evenly from 0 to 1."""
        drawn = SHORTEST_PAUSE if self._hurries else backoff(self.fruitless, chance, self._longest)
        least = max(self._retry or 0.0, self._put_off, min(STIRRED_PAUSE, drawn))
        is_told = self._retry is not None and (self._made and self.fruitless <= MOST_EMPTY_POLLS)
        self._put_off, self._hurries = 0.0, False
        if is_told:
            retry = max(self._retry or 0.0, SHORTEST_PAUSE)
            return Pause(retry, retry)
        return Pause(least, max(least, drawn))

    def _remember(self, identifier: str, data: str) -> None:
        if not identifier or not data:
            return
        mark = _mark(identifier, data)
        if mark in self._known:
            return
        self._known.add(mark)
        self._order.append(mark)
        if len(self._order) > MOST_REMEMBERED:
            self._known.discard(self._order.popleft())


def _mark(identifier: str | None, data: str) -> int:
    """A number instead of the texts: an id may be as long as the server likes."""
    return hash((identifier, len(data), data[:_COMPARED]))
