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
