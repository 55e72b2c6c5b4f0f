"""Pins: a hash of each tool's definition, kept from one run to the next, so that a changed one is noticed.

The reason: a server may show a harmless description first, and another one later (a "rug pull"). The first definition
that is seen counts as the one that was agreed to. `warn` says once what changed and remembers the new definition;
`refuse` hides the tool and refuses its calls until it is what it was, or until the bridge runs once with `warn`. A tool
that is new since the last run is told of, and remembered. The hash covers the whole definition but `_meta`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Literal

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.commands import Note
from mcp_remote_py.core.message import Kind, Message
from mcp_remote_py.core.shaping import Onward, Shaper, Step, refuse

Mode = Literal["warn", "refuse"]
_ACCEPT = "Look at what the server says about it now; run once with --pin-tools warn to accept it."


def fingerprint(definition: Mapping[str, object]) -> str:
    """Return the hash of a tool's definition; the order of its members does not matter."""
    told = {name: value for name, value in definition.items() if name != "_meta"}
    return hashlib.sha256(msg.canonical(told).encode("ascii")).hexdigest()


class Pins(Shaper):
    """`known` maps names to hashes; `remember` is handed the whole map when there is more to keep."""

    def __init__(self, mode: Mode, known: Mapping[str, str], remember: Callable[[dict[str, str]], None]) -> None:
        self._mode = mode
        self._known = dict(known)
        self._is_first = not known
        self._remember = remember
        self._changed: set[str] = set()

    def from_host(self, message: Message) -> list[Step]:
        if self._changed and message.kind is Kind.REQUEST and message.method == "tools/call":
            for name in splice.values(message.raw.decode("utf-8"), ("params", "name")):
                if isinstance(name, str) and name in self._changed:
                    text = f"the tool {msg.canonical(name)} has changed since it was pinned (--pin-tools refuse)"
                    return [refuse(message, text, _ACCEPT)]
        return [Onward(message)]

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        if request is None or request.method != "tools/list" or message.kind is not Kind.RESULT:
            return [Onward(message)]
        before = dict(self._known)
        notes: list[Step] = []
        message = splice.with_items(message, ("result", "tools"), lambda item: self._checked(item, notes))
        if self._known != before:
            self._remember(dict(self._known))
        self._is_first = self._is_first and not (self._known and "nextCursor" not in message.result)
        return [*notes, Onward(message)]

    def _checked(self, item: str, notes: list[Step]) -> str | None:
        tool = msg.value_of(item)
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(name, str):
            return item
        found, pinned = fingerprint(tool), self._known.get(name)
        if pinned is None or pinned == found:
            if pinned is None and not self._is_first:
                notes.append(Note("info", f"the tool {msg.canonical(name)} is new since the tools were pinned"))
            self._known.setdefault(name, found)
            self._changed.discard(name)
            return item
        if self._mode == "warn":
            self._known[name] = found
            notes.append(Note("warning", f"the definition of the tool {msg.canonical(name)} has changed"))
            return item
        if name not in self._changed:
            self._changed.add(name)
            text = f"the definition of the tool {msg.canonical(name)} has changed: it is hidden. {_ACCEPT}"
            notes.append(Note("warning", text))
        return None
