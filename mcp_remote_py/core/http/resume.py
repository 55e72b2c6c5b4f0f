"""Cursor: where one SSE stream stands, how long to wait before it is reopened, and when to give up.

One cursor per stream: the ids of one stream mean nothing on another. The server's `retry` is a least waiting time
(2025-11-25, "Sending Messages to the Server", SEP-1699); without it the pause grows from 1 s to 30 s while attempts
are fruitless. Pure: seconds in, seconds out.
"""

from __future__ import annotations

from mcp_remote_py.core.http.headers import may_travel

FIRST_PAUSE = 1.0
GROWTH = 1.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 5.0
"""A connection that stood for so long counts as progress even if the server had nothing to say on it."""
SHORTEST_PAUSE = 0.01
"""A server that says `retry: 0` gets its wish, but not a busy loop."""


class Cursor:
    """The last event id of one stream, the server's `retry`, and the fruitless attempts since the last progress."""

    def __init__(self) -> None:
        self._last_id = ""
        self._retry: float | None = None
        self._heard = False
        self.fruitless = 0
        """Connections in a row that failed or brought nothing."""

    @property
    def last_id(self) -> str | None:
        """What to send as `Last-Event-ID`; None where there is nothing to resume at."""
        return self._last_id if self._last_id and may_travel(self._last_id) else None

    def saw(self, identifier: str | None, retry: int | None) -> None:
        """Note an event that has been handed on. `identifier` None: it had no id field; empty: it cleared the id.

        `retry` is in milliseconds.
        """
        self._heard = True
        if identifier is not None:
            self._last_id = identifier
        if retry is not None:
            self._retry = retry / 1000

    def ended(self, seconds: float) -> None:
        """Note that a connection ended, or could not be made. `seconds` is how long it stood."""
        progress = self._heard or seconds >= STEADY_SECONDS
        self.fruitless = 0 if progress else self.fruitless + 1
        self._heard = False

    def spoiled(self) -> None:
        """Note that the stream brought something unreadable: it must not be asked to repeat that."""
        self._last_id = ""
        self._heard = False

    def pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        growing = min(FIRST_PAUSE * GROWTH ** min(self.fruitless, 20), LONGEST_PAUSE)
        if self._retry is None:
            return growing
        return max(self._retry, growing if self.fruitless else SHORTEST_PAUSE)
