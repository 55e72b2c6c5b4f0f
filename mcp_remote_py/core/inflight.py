"""InFlight: who waits for what. Only here is it decided that an answer may go out, so each id is answered once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from mcp_remote_py.core.message import Key

Entry = TypeVar("Entry")


class InFlight(Generic[Entry]):
    """Open requests of one direction, by key, in the order in which they came."""

    def __init__(self) -> None:
        self._open: dict[Key, Entry] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._open))

    def begin(self, key: Key, entry: Entry) -> Entry | None:
        """Note a request. Returns the entry that the same id had, which is thereby abandoned."""
        older = self._open.pop(key, None)
        self._open[key] = entry
        return older

    def get(self, key: Key) -> Entry | None:
        return self._open.get(key)

    def finish(self, key: Key) -> Entry | None:
        """Take a request out because its answer goes out now. None: nobody waits, so nothing may go out."""
        return self._open.pop(key, None)

    def drain(self) -> list[tuple[Key, Entry]]:
        """Take all of them out, oldest first."""
        items = list(self._open.items())
        self._open.clear()
        return items
