"""Which wire to try, and what a first answer proves. The host's own first message is the probe; there is no other.

Source: Streamable HTTP, "Backwards Compatibility" (2025-11-25): POST first; 400, 404 or 405 without a JSON-RPC error
body mean "perhaps HTTP+SSE". 401, 403, 5xx, a JSON-RPC error and network trouble prove nothing about the wire.
"""

from __future__ import annotations

from mcp_remote_py.core.errors import Fault, PeerBroke, Refused

WIRES_OF: dict[str, tuple[str, ...]] = {
    "http-first": ("http", "sse"),
    "auto": ("http", "sse"),
    "sse-first": ("sse", "http"),
    "http-only": ("http",),
    "sse-only": ("sse",),
    "ws-only": ("ws",),
}
"""The wires of each `--transport` value, in the order in which they are tried."""

_NOT_THIS_WIRE = {"http": frozenset({400, 404, 405}), "sse": frozenset({400, 404, 405, 406})}


def is_other_wire(wire: str, fault: Fault | None) -> bool:
    """Whether this failure of a first message says that the server speaks the other wire.

    A JSON-RPC error never gets here: it was delivered as an answer. A GET answered with something that is no event
    stream (status 200, `PeerBroke` with that status) also says so for `sse`.
    """
    if isinstance(fault, Refused):
        return fault.http_status in _NOT_THIS_WIRE.get(wire, ())
    return wire == "sse" and isinstance(fault, PeerBroke) and fault.http_status == 200


class Wires:
    """The wires of one `--transport` value: the one in use, or to be tried next, until it is settled which it is."""

    def __init__(self, strategy: str) -> None:
        self._names = WIRES_OF[strategy]
        self._at = 0
        self.is_settled = len(self._names) == 1
        self._first_fault: Fault | None = None

    @property
    def name(self) -> str:
        return self._names[self._at]

    def settle(self) -> None:
        """This one it is."""
        self.is_settled = True
        self._first_fault = None

    def are_wrong(self, fault: Fault | None) -> bool:
        """Whether this failure of a first message says that the server speaks another wire than this one."""
        return not self.is_settled and is_other_wire(self.name, fault)

    def turn(self, fault: Fault) -> bool:
        """Turn to the next wire. Returns whether there is one; the first fault is the one that will be reported."""
        self._first_fault = self._first_fault or fault
        if self._at + 1 < len(self._names):
            self._at += 1
            return True
        return False

    def to_report(self, fault: Fault) -> Fault:
        """Return the fault to report where no wire was the right one."""
        return self._first_fault or fault

    def begin_again(self) -> None:
        """Unless it is settled, the next attempt begins with the first one."""
        if not self.is_settled:
            self._at, self._first_fault = 0, None
