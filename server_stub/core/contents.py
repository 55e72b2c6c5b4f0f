"""Contents: what a child offers (tools, prompts, resources), to find out whether the next one offers anything else.

Every page of every list is asked for; what is kept is a hash of each list. (MCP 2025-11-25, "Pagination".) Pure.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.greeting import KINDS, LISTS, kind_of
from mcp_remote_py.core.message import Kind, Message

MOST_PAGES = 100
_NOTHING, _ANOTHER = "", "?"


class Page(NamedTuple):
    """A page that is to be asked for."""

    method: str
    cursor: str | None = None

    @property
    def params(self) -> dict[str, Any]:
        return {} if self.cursor is None else {"cursor": self.cursor}


class Contents:
    """See the module's text."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._pages: dict[str, list[str]] = {}  # of the lists that are being read
        self._compares = False
        self._changed: set[str] = set()
        self._outdated: set[str] = set()

    @property
    def is_outdated(self) -> bool:
        """Whether the child has said that something changed since it was read."""
        return bool(self._outdated) and not self._pages

    def outdated(self, kind: str) -> None:
        """The child says that its lists of this kind have changed, and the clients have been told."""
        self._outdated.add(kind)

    def read(self, capabilities: dict[str, Any], *, compares: bool) -> list[Page]:
        """Begin to read all lists. `compares`: that something differs from the last time is news for the clients."""
        self._compares = compares
        if compares:  # what the clients know of these kinds was never read
            self._known |= {method: _ANOTHER for method in self._known if kind_of(method) in self._outdated}
        self._outdated.clear()
        self._pages = {method: [] for method in LISTS if kind_of(method) in capabilities}
        for method in LISTS:
            if method not in self._pages:
                self._is_read(method, _NOTHING)
        return [Page(method) for method in self._pages]

    def answered(self, page: Page, answer: Message) -> Page | None:
        """A page came. Returns the next one of that list; None at its end."""
        pages = self._pages.get(page.method)
        if pages is None:
            return None
        if answer.kind is not Kind.RESULT:
            self._is_read(page.method, _NOTHING)
            return None
        cursor = answer.result.get("nextCursor")
        pages.append(msg.canonical({name: value for name, value in answer.result.items() if name != "nextCursor"}))
        if isinstance(cursor, str) and len(pages) < MOST_PAGES:
            return Page(page.method, cursor)
        self._is_read(page.method, hashlib.sha256("\n".join(pages).encode("utf-8", "replace")).hexdigest())
        return None

    def lost(self) -> None:
        """Nothing of what is known is there, for now: that is news for the clients, once, and so is what comes next."""
        self._pages.clear()
        for method, digest in self._known.items():
            if digest not in (_NOTHING, _ANOTHER):
                self._changed.add(kind_of(method))
                self._known[method] = _ANOTHER

    def changed(self) -> list[str]:
        """Return the kinds of which another list was found, once all lists are read; nothing before, and once."""
        if self._pages or not self._changed:
            return []
        kinds, self._changed = [kind for kind in KINDS if kind in self._changed], set()
        return kinds

    def _is_read(self, method: str, digest: str) -> None:
        self._pages.pop(method, None)
        if self._compares and self._known.get(method, digest) != digest:
            self._changed.add(kind_of(method))
        self._known[method] = digest
