"""What comes in outside of any exchange, on a shared pipe or a standing stream: one text in, its messages out.

What is no message there belongs to nobody who could be told, so it becomes a note, and the stream goes on.
"""

from __future__ import annotations

import logging

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Batch, Invalid, Message

_LOG = logging.getLogger("mcp_remote_py.transports")


def messages_in(raw: bytes, host: str) -> list[Message]:
    """Return the messages of a text, an array (2025-03-26) item by item."""
    try:
        parsed = msg.parse(raw)
    except Invalid as invalid:
        _note(host, invalid)
        return []
    if not isinstance(parsed, Batch):
        return [parsed]
    found: list[Message] = []
    for item in parsed.items:
        if isinstance(item, Invalid):
            _note(host, item)
        else:
            found.append(item)
    return found


def _note(host: str, invalid: Invalid) -> None:
    _LOG.warning("%s sent something that is no JSON-RPC message, which is dropped: %s", host, invalid.reason)
