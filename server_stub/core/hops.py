"""Hops: through which servers of ours a handshake has come, so that none becomes, by a detour, a member of itself.

Each adds its mark to the `initialize` that it sends to a remote member, and refuses to send one that bears its mark
already: it would open sessions, and start children, until there is no room. Other servers ignore `_meta`; what the
client wrote stays byte for byte. (MCP 2025-11-25, "_meta".) Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.message import Message

HOPS = "mcp-remote-server/hops"
MOST = 8
"""A handshake that has come through so many goes no further, whoever they are."""

_PATH: splice.Path = ("params", "_meta", HOPS)


def marked(initialize: Message, mark: str) -> Message | None:
    """Return the handshake with this server's mark; None where it must go no further."""
    meta = initialize.params.get("_meta")
    hops = meta.get(HOPS) if isinstance(meta, dict) else None
    marks = [one for one in hops if isinstance(one, str)] if isinstance(hops, list) else []
    if mark in marks or len(marks) >= MOST:
        return None
    spelled = msg.encode([*marks, mark]).decode("utf-8")
    if hops is not None:
        return splice.with_at(initialize, _PATH, lambda _: spelled)
    if isinstance(meta, dict):
        return splice.with_at(initialize, _PATH[:2], lambda text: _with_first(text, HOPS, spelled))
    if meta is not None:
        return initialize  # it is the far server's to say what is wrong with this
    return splice.with_at(
        initialize, _PATH[:1], lambda text: _with_first(text, "_meta", f"{{{msg.canonical(HOPS)}:{spelled}}}")
    )


def _with_first(text: str, name: str, value: str) -> str:
    """Return an object, as it is written, with one more member before the others."""
    if not text.startswith("{"):
        return text
    rest = text[1:].lstrip()
    return f"{{{msg.canonical(name)}:{value}{'' if rest.startswith('}') else ','}{rest}"
