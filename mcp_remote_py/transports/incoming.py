"""What comes in outside of any exchange, on a shared pipe or a standing stream: one text in, its messages out.

A malformed answer whose id can be read becomes an error under that id, for somebody waits for it. What else is no
message belongs to nobody who could be told, so it becomes a note, and the stream goes on.
"""

from __future__ import annotations

import logging

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import PeerBroke, as_error
from mcp_remote_py.core.message import Batch, Invalid, Message

_LOG = logging.getLogger("mcp_remote_py.transports")


def messages_in(raw: bytes, host: str, depth: int = msg.DEPTH) -> list[Message]:
    """Return the messages of a text, an array (2025-03-26) item by item."""
    try:
        parsed = msg.parse(raw, depth)
    except Invalid as invalid:
        return _made_of(invalid, host)
    if not isinstance(parsed, Batch):
        return [parsed]
    found: list[Message] = []
    for item in parsed.items:
        found += _made_of(item, host) if isinstance(item, Invalid) else [item]
    return found


def _made_of(invalid: Invalid, host: str) -> list[Message]:
    _LOG.warning("%s sent something that is no JSON-RPC message: %s", host, invalid.reason)
    if invalid.identifier is None or invalid.answerable:
        return []
    fault = PeerBroke(f"{host} sent an answer that is no JSON-RPC message: {invalid.reason}")
    return [as_error(fault, invalid.identifier)]
