"""Merging: several members' answers as one, and messages as they read on the other side of a merged server. Pure.

The greeting of all, the pages of one list, URIs inside of answers, names inside of requests. What is not named here
travels on byte for byte. (MCP 2025-11-25: lifecycle, pagination, logging, tools, prompts, resources, completion.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice, versions
from mcp_remote_py.core.message import JsonId, Message
from server_stub.core.catalog import TOOLS, Catalog, Listing, join_uri

PAGES = 200
"""So many pages of one list are fetched of a member; one with more is listed as far as that."""
ITEMS = 10_000
BYTES = 16 * 1024 * 1024
LEFT_OUT = "mcp-remote-server/leftOut"
"""Where, in the `_meta` of a merged list, the members are named that are missing from it."""


# --- The greeting ---------------------------------------------------------------------------------------------------


class Ourselves(NamedTuple):
    """As whom the merged server presents itself."""

    name: str
    version: str


def negotiated(asked: object) -> str:
    """Return the revision that is spoken with a client that asked for this one."""
    return asked if isinstance(asked, str) and versions.is_known_legacy(asked) else versions.LATEST_LEGACY


def greeting_for_members(request: Message | None, ourselves: Ourselves) -> Message:
    """Return the `initialize` that members get: the client's own, or ours where the client sent none."""
    if request is None:
        params = {
            "protocolVersion": versions.LATEST_LEGACY,
            "capabilities": {},  # nobody is there to be asked
            "clientInfo": {"name": ourselves.name, "version": ourselves.version},
        }
        return msg.request(0, "initialize", params)
    revision = msg.encode(negotiated(request.params.get("protocolVersion"))).decode("utf-8")
    return splice.with_at(request, ("params", "protocolVersion"), lambda _: revision)


def merged_greeting(
    request: Message, greeted: Mapping[str, Mapping[str, Any]], missing: Sequence[str], ourselves: Ourselves
) -> Message:
    """Return the answer to `initialize`, of those of the members. `missing`: those that have not answered.

    Members come and go, so whatever a member may bring that is not there yet is declared: clients look only once.
    """
    result: dict[str, Any] = {
        "protocolVersion": negotiated(request.params.get("protocolVersion")),
        "capabilities": _capabilities([_object(one.get("capabilities")) for one in greeted.values()], missing),
        "serverInfo": {"name": ourselves.name, "version": ourselves.version},
    }
    instructions = _instructions(greeted, missing)
    if instructions:
        result["instructions"] = instructions
    return msg.result(request.id if request.id is not None else 0, result)


def _capabilities(each: Sequence[Mapping[str, Any]], missing: Sequence[str]) -> dict[str, Any]:
    subscribes = any(_object(one.get("resources")).get("subscribe") is True for one in each)
    merged: dict[str, Any] = {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"subscribe": subscribes or bool(missing), "listChanged": True},
        "logging": {},
    }
    if missing or any("completions" in one for one in each):
        merged["completions"] = {}
    for name in ("tasks", "experimental"):
        members = [_object(one.get(name)) for one in each if name in one]
        if members:
            merged[name] = _union(members)
    return merged


def _union(objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what any of them has; of scalars the first counts."""
    merged: dict[str, Any] = {}
    for one in objects:
        for name, value in one.items():
            if name not in merged:
                merged[name] = value
            elif isinstance(value, dict) and isinstance(merged[name], dict):
                merged[name] = _union([merged[name], value])
    return merged


def _instructions(greeted: Mapping[str, Mapping[str, Any]], missing: Sequence[str]) -> str:
    parts = []
    for name, one in greeted.items():
        text = one.get("instructions")
        if isinstance(text, str) and text.strip():
            parts.append(f"## {name}\n\n{text.strip()}")
    if missing and greeted:
        parts.append(f"Not available at the moment: {', '.join(missing)}.")
    elif missing:
        parts.append(f"None of the servers behind this one is available at the moment: {', '.join(missing)}.")
    return "\n\n".join(parts)


def offers(greeted: Mapping[str, Any], listing: Listing) -> bool:
    """Whether a member that was greeted so may be asked for this list. All are asked for tools: some forget to say."""
    return listing is TOOLS or listing.capability in _object(greeted.get("capabilities"))


def declares(greeted: Mapping[str, Any], capability: str) -> bool:
    return capability in _object(greeted.get("capabilities"))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# --- Pages ----------------------------------------------------------------------------------------------------------


class Pages:
    """The pages of one member's list, as they come."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._cursors: set[str] = set()
        self._bytes = 0
        self._pages = 0
        self.items: list[str] = []
        self.cut: str | None = None
        """Why the list was not fetched to its end, for people."""

    def request(self, identifier: int, cursor: str | None) -> Message:
        """Return the request for the page at this cursor."""
        return msg.request(identifier, self._listing.method, None if cursor is None else {"cursor": cursor})

    def add(self, answer: Message) -> str | None:
        """Take a page. Returns the cursor of the next one, None where this was the last to be fetched."""
        text = answer.raw.decode("utf-8")
        splice.at(text, ("result", self._listing.member), self._take)
        self._pages += 1
        cursor = answer.result.get("nextCursor")
        if not isinstance(cursor, str):
            return None
        self.cut = self._why_cut(cursor)
        self._cursors.add(cursor)
        return None if self.cut else cursor

    def _take(self, array: str) -> str:
        if array.startswith("["):
            for item in msg.array_items(array):
                self._bytes += len(item)
                if len(self.items) < ITEMS and self._bytes <= BYTES:
                    self.items.append(item)
        return array

    def _why_cut(self, cursor: str) -> str | None:
        if cursor in self._cursors:
            return "its pages go round in a circle"
        if self._pages >= PAGES:
            return f"it has more than {PAGES} pages"
        if len(self.items) >= ITEMS or self._bytes > BYTES:
            return f"it has more than {ITEMS} items, or more than {BYTES // 1024 // 1024} MB"
        return None


# --- URIs inside of answers -----------------------------------------------------------------------------------------


def with_public_uris(catalog: Catalog, member: str, method: str | None, answer: Message, *, named: bool) -> Message:
    """Return a member's answer with URIs that lead back to it. `named`: they must name the member themselves.

    Of a `resources/read` these are the `contents`, of calls and prompts what is embedded or linked; such URIs are
    remembered as this member's.
    """

    def public(text: str) -> str:
        uri = msg.value_of(text)
        if not isinstance(uri, str):
            return text
        reachable = catalog.reachable(member, uri)
        new = join_uri(member, uri) if named else reachable
        return text if new == uri else msg.encode(new).decode("utf-8")

    def content(item: str) -> str:
        return splice.at(splice.at(item, ("resource", "uri"), public), ("uri",), public)

    if method == "resources/read":
        return splice.with_items(answer, ("result", "contents"), lambda item: splice.at(item, ("uri",), public))
    if method == "tools/call" and _mentions_uris(answer.result.get("content")):
        return splice.with_items(answer, ("result", "content"), content)
    if method == "prompts/get" and _mentions_uris([_content_of(one) for one in _list(answer.result.get("messages"))]):
        return splice.with_items(answer, ("result", "messages"), lambda one: splice.at(one, ("content",), content))
    return answer


def _mentions_uris(content: object) -> bool:
    return any(isinstance(item, dict) and ("uri" in item or "resource" in item) for item in _list(content))


def _content_of(message: object) -> object:
    return message.get("content") if isinstance(message, dict) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# --- Names and words ------------------------------------------------------------------------------------------------


def with_text(message: Message, path: splice.Path, text: str) -> Message:
    """Return the message with this text at this path; every other byte stays."""
    spelled = msg.encode(text).decode("utf-8")
    return splice.with_at(message, path, lambda _: spelled)


def with_logger(message: Message, member: str) -> Message:
    """Return a member's `notifications/message` with the member's name before that of its logger."""
    own = message.params.get("logger")
    if isinstance(own, str):
        return with_text(message, ("params", "logger"), f"{member}.{own}")
    if own is not None or not message.params:
        return message
    spelled = msg.encode(member).decode("utf-8")
    return splice.with_at(message, ("params",), lambda text: f'{{"logger":{spelled},' + text[1:])


def merged_list(
    listing: Listing, identifier: JsonId, items: Iterable[str], left_out: Mapping[str, str] | None = None
) -> Message:
    """Return the answer to a list request: all items on one page. `left_out`: which members are missing, and why."""
    head = msg.encode(identifier).decode("utf-8")
    name = msg.encode(listing.member).decode("utf-8")
    note = "" if not left_out else ',"_meta":' + msg.encode({LEFT_OUT: dict(left_out)}).decode("utf-8")
    text = f'{{"jsonrpc":"2.0","id":{head},"result":{{{name}:[{",".join(items)}]{note}}}}}'
    return msg.parse_one(text.encode("utf-8"))
