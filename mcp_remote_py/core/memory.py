"""Memory: what is known of a server from what passed through: to restore a session, to answer in the server's place,
and to know which calls do no harm when they run twice.

Requests and their answers in, messages out. What is worth keeping for the next start goes out, and comes in again, as
a document of plain JSON. Sources: 2025-11-25, "Logging", "Resources: Subscriptions", "Tool Annotations". Pure.
"""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import greeting
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Invalid, Kind, Message

FORMAT = 1
MOST_SUBSCRIPTIONS = 10_000
MOST_PAGES = 100
MOST_BYTES = 8 * 1024 * 1024
"""Of lists; larger ones are not kept."""
Document = dict[str, Any]


class Memory:
    """See the module's text."""

    def __init__(self) -> None:
        self.greeting: Message | None = None
        """The server's answer to `initialize`, of this process or of an earlier one."""
        self.asked: object = None
        """The protocol version that it was asked for then."""
        self.harmless: frozenset[str] = frozenset()
        """The tools that the server calls read-only or idempotent."""
        self._lists: dict[str, dict[str, Message]] = {}
        self._listed: set[str] = set()
        """The lists that this process has seen."""
        self._level: dict[str, Any] | None = None
        self._subscriptions: dict[str, None] = {}

    # --- What passed through -----------------------------------------------------------------------------------

    def greeted(self, initialize: Message, answer: Message) -> bool:
        """The server answered `initialize`. Returns whether that is news."""
        news = self.greeting is None or self.greeting.result != answer.result
        asked = initialize.params.get("protocolVersion")
        news = news or asked != self.asked
        self.greeting, self.asked = answer, asked
        return news

    def forget_session(self) -> None:
        """The host begins anew: what it asked for in the session before is not asked for any more."""
        self._level = None
        self._subscriptions.clear()

    def saw(self, request: Message, answer: Message) -> bool:
        """A request was answered by the server. Returns whether there is something new to keep for the next start."""
        if answer.kind is not Kind.RESULT:
            return False
        method, uri = request.method, request.params.get("uri")
        if method == "logging/setLevel":
            self._level = request.params
        elif method == "resources/subscribe" and isinstance(uri, str):
            if len(self._subscriptions) < MOST_SUBSCRIPTIONS:
                self._subscriptions[uri] = None
        elif method == "resources/unsubscribe" and isinstance(uri, str):
            self._subscriptions.pop(uri, None)
        elif method in greeting.LISTS:
            return self._saw_list(method, _cursor(request), answer)
        return False

    def _saw_list(self, method: str, cursor: str, answer: Message) -> bool:
        pages = self._lists.setdefault(method, {})
        before = pages.get(cursor)
        news = before is None or before.result != answer.result
        if not cursor and news:
            pages.clear()  # the pages behind it belong to another list
        if method == "tools/list":
            self._saw_tools(answer, anew=not cursor)
        size = sum(len(page.raw) for page in pages.values())
        if len(pages) < MOST_PAGES and size + len(answer.raw) <= MOST_BYTES:
            pages[cursor] = answer
        self._listed.add(method)
        return news

    def _saw_tools(self, answer: Message, *, anew: bool) -> None:
        tools = answer.result.get("tools")
        named = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
        known = frozenset[str]() if anew else self.harmless
        good = {tool["name"] for tool in named if _is_harmless(tool)}
        bad = {name for tool in named if isinstance(name := tool.get("name"), str) and not _is_harmless(tool)}
        self.harmless = (known | good) - bad

    # --- What it is good for -----------------------------------------------------------------------------------

    def capabilities(self) -> dict[str, Any]:
        """What the server offers, as far as is known."""
        return {} if self.greeting is None else capabilities_of(self.greeting)

    def cached(self, request: Message) -> Message | None:
        """Return the answer that the server gave to such a request for a list last time."""
        page = self._lists.get(request.method or "", {}).get(_cursor(request))
        return None if page is None or request.id is None else msg.with_id(page, request.id)

    def to_restore(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the methods and params of the requests that give a new session what the old one had."""
        level = [] if self._level is None else [("logging/setLevel", {"level": self._level.get("level")})]
        return level + [("resources/subscribe", {"uri": uri}) for uri in self._subscriptions]

    def to_compare(self) -> list[str]:
        """Return the lists that the host has seen, and would want to know the changes of."""
        return [method for method in greeting.LISTS if method in self._listed]

    def is_as_known(self, method: str, answer: Message) -> bool:
        """Whether the first page of a list is what it was the last time."""
        page = self._lists.get(method, {}).get("")
        return page is None or answer.kind is not Kind.RESULT or page.result == answer.result

    # --- For the next start ------------------------------------------------------------------------------------

    def to_document(self) -> Document | None:
        """Return what is worth keeping as plain JSON; None where nothing is known."""
        if self.greeting is None:
            return None
        lists = {
            method: {cursor: page.raw.decode("utf-8") for cursor, page in pages.items()}
            for method, pages in self._lists.items()
        }
        asked = self.asked if isinstance(self.asked, str) else None
        return {"format": FORMAT, "asked": asked, "greeting": self.greeting.raw.decode("utf-8"), "lists": lists}

    def recall(self, document: Document) -> None:
        """Take in what an earlier process kept, as far as this one knows nothing newer.

        Raises `ValueError` for a document of another shape; nothing has been taken in then.
        """
        asked, remembered, lists = _read(document)
        if self.greeting is None:
            self.greeting, self.asked = remembered, asked
        for method, pages in lists.items():
            self._lists.setdefault(method, pages)


def capabilities_of(answer: Message) -> dict[str, Any]:
    """Return the capabilities in an answer to `initialize`."""
    found = answer.result.get("capabilities")
    return found if isinstance(found, dict) else {}


def merged(newer: Document, older: Document) -> Document:
    """Return the newer document with the lists that only the older one has, if it is about the same server."""
    if older.get("format") != FORMAT or not isinstance(older.get("lists"), dict):
        return newer
    return {**newer, "lists": {**older["lists"], **newer["lists"]}}


def _read(document: Document) -> tuple[object, Message, dict[str, dict[str, Message]]]:
    if document.get("format") != FORMAT or not isinstance(document.get("lists"), dict):
        raise ValueError("it was written by another version")
    remembered = _message(document.get("greeting"))
    lists: dict[str, dict[str, Message]] = {}
    for method, pages in document["lists"].items():
        if method in greeting.LISTS and isinstance(pages, dict):
            lists[method] = {cursor: _message(page) for cursor, page in pages.items()}
    return document.get("asked"), remembered, lists


def _message(text: object) -> Message:
    if not isinstance(text, str):
        raise ValueError("a message is missing")
    try:
        message = msg.parse_one(text.encode("utf-8"))
    except Invalid as invalid:
        raise ValueError(f"what should be a message is none: {invalid.reason}") from None
    if message.kind is not Kind.RESULT:
        raise ValueError("what should be an answer is none")
    return message


def _cursor(request: Message) -> str:
    cursor = request.params.get("cursor")
    return cursor if isinstance(cursor, str) else ""


def _is_harmless(tool: dict[str, Any]) -> bool:
    annotations = tool.get("annotations")
    if not isinstance(tool.get("name"), str) or not isinstance(annotations, dict):
        return False
    return annotations.get("readOnlyHint") is True or annotations.get("idempotentHint") is True
