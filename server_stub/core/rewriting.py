"""Rewriting: one value of a message replaced, and every other byte kept. Pure."""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import JsonId, Message


def id_in(members: dict[str, Any], name: str) -> JsonId | None:
    """Return a member that can be an id or a token; None where it is missing or something else."""
    value = members.get(name)
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def token_of(message: Message) -> JsonId | None:
    """Return the progress token that a request asks for."""
    meta = message.params.get("_meta")
    return id_in(meta, "progressToken") if isinstance(meta, dict) else None


def under_id(message: Message, private: str, identifier: JsonId) -> Message:
    """Return an answer under another id. Where the private one stands once, its bytes are all that change."""
    mark = msg.encode(private)
    if message.raw.count(mark) != 1:
        return msg.with_id(message, identifier)
    raw = message.raw.replace(mark, msg.encode(identifier), 1)
    return Message(raw, message.kind, identifier, message.method, {**message.doc, "id": identifier})


def spliced(message: Message, path: tuple[str, ...], value: object) -> Message:
    """Return the same message with the one value at this path of objects replaced; every other byte stays.

    Where a name stands twice in an object, the last one counts, as for every JSON reader we know.
    """
    text = message.raw.decode("utf-8")
    start, end = 0, len(text)
    for name in path:
        spans = [member for member in msg.members(text[start:end]) if member.name == name]
        if not spans:
            return message
        start, end = start + spans[-1].start, start + spans[-1].end
    return msg.parse_one((text[:start] + msg.encode(value).decode("utf-8") + text[end:]).encode("utf-8"))
