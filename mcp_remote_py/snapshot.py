"""What the bridge has done and is doing: counters, and the block of text that SIGUSR1 writes to the log. No params."""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core.message import Key

_SHOWN = 20
"""So many requests are listed, the oldest first."""
_SLACK = 256


class Request(NamedTuple):
    """An open request of the host: `sent` or held back."""

    key: Key
    method: str
    sent: bool


class Flow(NamedTuple):
    """Messages and bytes of one direction."""

    messages: int = 0
    bytes: int = 0

    def more(self, size: int) -> Flow:
        return Flow(self.messages + 1, self.bytes + size)

    def __str__(self) -> str:
        return f"{self.messages} ({self.bytes} bytes)"


class Counters:
    """Counts messages, and remembers when the host's requests came. Times are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._began = now
        self.from_host = Flow()
        self.to_host = Flow()
        self.from_server = Flow()
        self.to_server = Flow()
        self.dials = 0
        self.failures = 0
        self._arrived: dict[Key, float] = {}

    def asked(self, key: Key, now: float) -> bool:
        """The host sent this request. Returns whether it is time to ask `is_crowded`."""
        self._arrived[key] = now
        return len(self._arrived) > _SLACK

    def is_crowded(self, open_requests: int) -> bool:
        """Whether there is much to forget."""
        return len(self._arrived) > 2 * open_requests + _SLACK

    def forget(self, still_open: set[Key]) -> None:
        """Keep only the times of requests that are open."""
        self._arrived = {key: since for key, since in self._arrived.items() if key in still_open}

    def report(self, state: str, streams: str, requests: list[Request], held: int, now: float) -> str:
        """Return the text of a snapshot, several lines."""
        aged = sorted((self._arrived.get(request.key, now), request) for request in requests)
        lines = [
            "snapshot",
            f"session: {state}",
            f"streams: {streams}",
            f"requests in flight: {len(requests)}, messages held back: {held}",
            *(_line(request, now - since) for since, request in aged[:_SHOWN]),
            *([f"  and {len(aged) - _SHOWN} more"] if len(aged) > _SHOWN else []),
            f"messages from the host: {self.from_host}, to the host: {self.to_host}",
            f"messages from the server: {self.from_server}, to the server: {self.to_server}",
            f"connections dialled: {self.dials}, requests that failed: {self.failures}, "
            f"running for {now - self._began:.0f} s",
        ]
        return "\n".join(lines)


def _line(request: Request, age: float) -> str:
    name = str(request.key)
    state = "sent" if request.sent else "held"
    return f"  {name if len(name) <= 40 else name[:39] + '…'} {request.method[:80]}, {age:.1f} s, {state}"
