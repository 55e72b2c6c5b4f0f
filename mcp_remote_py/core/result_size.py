"""Result size: shortens the text of a result that is larger than the host takes, and says so in its place.

Counts the bytes of the whole message, as hosts do. The longest texts are shortened first, at the border of a character.
A result that is too large even without its texts (images, structured content) becomes an error result that says so:
half an image is none. Reads `tools/call` and `resources/read` (2025-06-18).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.errors import TooLarge, as_error
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.shaping import Onward, Reply, Shaper, Step

_TEXTS: dict[str, tuple[splice.Path, tuple[splice.Path, ...]]] = {
    "tools/call": (("result", "content"), (("text",), ("resource", "text"))),
    "resources/read": (("result", "contents"), (("text",),)),
}
"""By method: where the list of contents is, and where in one of them a text may be."""
_NOTE = "\n[... shortened by mcp-remote-py: {kept} of {all} characters are shown (--max-result-size)]"
_NOTE_BYTES = 140


class ResultSize(Shaper):
    """See the module's text. `limit` in bytes of the whole message."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        known = _TEXTS.get(request.method or "") if request is not None else None
        if known is None or message.kind is not Kind.RESULT or len(message.raw) <= self._limit:
            return [Onward(message)]
        path, places = known
        sizes = sorted(_encoded(text) for text in _texts(message, path, places))
        room = self._limit - (len(message.raw) - sum(sizes))
        shortened = self._shortened(message, path, places, _level(sizes, room))
        if len(shortened.raw) <= self._limit:
            return [Onward(shortened)]
        return [_too_large(message, request, self._limit)]

    def _shortened(self, message: Message, path: splice.Path, places: tuple[splice.Path, ...], most: int) -> Message:
        def shorten(text: str) -> str:
            value = msg.value_of(text)
            if not isinstance(value, str) or _encoded(value) <= most:
                return text
            return msg.encode(_cut(value, most)).decode("utf-8")

        def each(item: str) -> str:
            for place in places:
                item = splice.at(item, place, shorten)
            return item

        return splice.with_items(message, path, each)


def _texts(message: Message, path: splice.Path, places: tuple[splice.Path, ...]) -> Iterator[str]:
    items: Any = message.result.get(path[-1])
    for item in items if isinstance(items, list) else ():
        for place in places:
            value: Any = item
            for name in place:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str):
                yield value


def _encoded(text: str) -> int:
    return len(msg.encode(text))


def _level(sizes: list[int], room: int) -> int:
    """Return the most bytes that each text may have so that all of them (smallest first) have room together."""
    for at, size in enumerate(sizes):
        share = room // (len(sizes) - at)
        if size > share:
            return max(share, 0)
        room -= size
    return max(sizes, default=0)


def _cut(text: str, most: int) -> str:
    """Return as much of the beginning as fits into so many bytes of JSON, with the note."""
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        if _encoded(text[:middle]) + _NOTE_BYTES <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low] + _NOTE.format(kept=low, all=len(text))


def _too_large(message: Message, request: Message | None, limit: int) -> Step:
    text = (
        f"The result has {len(message.raw)} bytes, and the limit is {limit} (--max-result-size). What makes it so "
        "large is no text that could be shortened. Ask for less at once."
    )
    identifier = 0 if message.id is None else message.id
    if request is not None and request.method == "tools/call":
        return Reply(msg.result(identifier, {"content": [{"type": "text", "text": text}], "isError": True}))
    return Reply(as_error(TooLarge(text, hint="Raise --max-result-size.", may_have_run=True), identifier))
