"""Changes inside a message that leave every other byte as it was: members by their path, items of an array.

Where a member stands twice in one object, both are found: parsers do not agree on which of them counts. Texts are valid
JSON; one that is nested too deeply to be looked through is `Invalid`, for nobody may hide something that way. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Invalid, Member, Message

Path = tuple[str, ...]


def at(text: str, path: Path, edit: Callable[[str], str]) -> str:
    """Return the text with each value at this path replaced by what `edit` makes of it."""
    if not path:
        return edit(text)
    for member in reversed(_members(text)):
        if member.name == path[0]:
            old = text[member.start : member.end]
            new = at(old, path[1:], edit)
            if new != old:
                text = text[: member.start] + new + text[member.end :]
    return text


def values(text: str, path: Path) -> list[Any]:
    """Return every value at this path, in the order of the text. Empty where the path leads nowhere."""
    if not path:
        return [msg.value_of(text)]
    found: list[Any] = []
    for member in _members(text):
        if member.name == path[0]:
            found += values(text[member.start : member.end], path[1:])
    return found


def items(text: str, edit: Callable[[str], str | None]) -> str:
    """Return a JSON array with each item replaced by what `edit` makes of it, or without it where that is None.

    A text that is no array comes back as it is.
    """
    if not text.startswith("["):
        return text
    try:
        old = msg.array_items(text)
    except RecursionError:
        raise _too_deep() from None
    new = [edit(item) for item in old]
    return text if new == old else "[" + ",".join(item for item in new if item is not None) + "]"


def _members(text: str) -> list[Member]:
    """Return all members of an object; none of a text that is no object."""
    found = msg.members(text)
    if text[:1] == "{" and text[found[-1].end if found else 1 :].strip() != "}":
        raise _too_deep()
    return found


def _too_deep() -> Invalid:
    return Invalid(-32600, "nested too deeply to be looked through")


def with_at(message: Message, path: Path, edit: Callable[[str], str]) -> Message:
    """Return the message with the values at this path replaced; the very same one where nothing changes."""
    old = message.raw.decode("utf-8")
    new = at(old, path, edit)
    return message if new == old else msg.parse_one(new.encode("utf-8"))


def with_items(message: Message, path: Path, edit: Callable[[str], str | None]) -> Message:
    """Return the message with the items of the array at this path edited as in `items`."""
    return with_at(message, path, lambda text: items(text, edit))
