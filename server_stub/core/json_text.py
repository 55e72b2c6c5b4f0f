"""JSON with comments as text: put a member into an object of it, replace one, take one out. Pure.

Everything else stays byte for byte: `relaxed_json` says where each thing stands, and the text is cut there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from server_stub.core import relaxed_json
from server_stub.core.relaxed_json import Node, NotJson, Object

_LINE = 100
"""A list that fits in a line of so many characters is written in one."""
_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n\r]*|/\*.*?\*/)*", re.DOTALL)


class Unfit(Exception):
    """The text has not the shape that was expected. `str` says what is the matter, for people."""


class Item(NamedTuple):
    """One member of an object. Positions in the text; `end` is behind its value."""

    name: str
    start: int
    node: Node
    comma: int | None
    """Where the comma behind it stands, if there is one."""

    @property
    def end(self) -> int:
        return self.node.end


class Braces(NamedTuple):
    """An object: the position behind its `{`, that of its `}`, and its members."""

    start: int
    end: int
    items: tuple[Item, ...]

    def find(self, name: str) -> Item | None:
        """Return the member of this name. Raises `Unfit` where there are several."""
        found = [item for item in self.items if item.name == name]
        if len(found) > 1:
            raise Unfit(f"{name!r} is there {len(found)} times. Take out what is not meant.")
        return found[0] if found else None


def members(text: str, path: Sequence[str]) -> Braces | None:
    """Return the object at this path, None where there is none. Raises `Unfit`."""
    try:
        node = relaxed_json.parse(text)
    except NotJson as error:
        raise Unfit(f"line {error.line}: this is no JSON: {error}.") from None
    braces = _braces(text, node, "the document")
    for name in path:
        item = braces.find(name)
        if item is None:
            return None
        braces = _braces(text, item.node, repr(name))
    return braces


def put(text: str, path: Sequence[str], name: str, value: Any) -> str:
    """Return the text with this member in the object at `path`: in place of what had its name, else as the last one.

    Missing objects of the path are made. Raises `Unfit`.
    """
    if path and members(text, path) is None:
        *above, last = path
        text = put(text, above, last, {})
    braces = members(text, path)
    if braces is None:  # it was made above
        raise Unfit(f"{'.'.join(path)} is no object")
    item = braces.find(name)
    if item is not None:
        around = _indent_at(text, item.start) if "\n" in text else None
        return text[: item.node.start] + _written(text, value, around) + text[item.end :]
    return _append(text, braces, name, value)


def take_out(text: str, path: Sequence[str], name: str) -> str:
    """Return the text without this member, and without what stands behind it on its line. Raises `Unfit`.

    Comments on lines of their own stay: nobody but their author knows what they belong to.
    """
    braces = members(text, path)
    item = braces.find(name) if braces else None
    if braces is None or item is None:
        raise Unfit(f"there is no {name!r}")
    at = braces.items.index(item)
    before = braces.items[at - 1] if at else None
    following = braces.items[at + 1] if at + 1 < len(braces.items) else None
    start, end = _line_start(text, item.start), (item.end if item.comma is None else item.comma + 1)
    end = _behind(text, end, following.start if following else braces.end)
    if start > braces.start and text[end : end + 1] in ("\r", "\n"):
        end += 2 if text.startswith("\r\n", end) else 1
    else:
        is_last = following is None and item.comma is None and before is not None
        start, end = item.start, end if is_last else _skip_blanks(text, end)  # `{ "a": 1 }` keeps its blanks
    if item.comma is None and before is not None and before.comma is not None:
        gap = text[before.comma + 1 : start]
        kept = gap.rstrip(" \t") if start == item.start and not text[end : braces.end].strip() else gap
        return text[: before.comma] + kept + text[end:]
    emptied = not (text[braces.start : start] + text[end : braces.end]).strip()
    if emptied and len(braces.items) == 1:
        return text[: braces.start] + text[braces.end :]
    return text[:start] + text[end:]


# --- Reading ---------------------------------------------------------------------------------------------------------


def _braces(text: str, node: Node, what: str) -> Braces:
    if not isinstance(node.value, Object):
        raise Unfit(f"{what} is no object.")
    items: list[Item] = []
    for entry in node.value:
        found = _SPACE.match(text, entry.node.end)
        comma = found.end() if found else entry.node.end
        items.append(Item(entry.name, entry.start, entry.node, comma if text[comma] == "," else None))
    return Braces(node.start + 1, node.end - 1, tuple(items))


# --- Writing ---------------------------------------------------------------------------------------------------------


def _append(text: str, braces: Braces, name: str, value: Any) -> str:
    key = json.dumps(name, ensure_ascii=False)
    line = "\r\n" if "\r\n" in text else "\n"
    inside = text[braces.start : braces.end]
    if not braces.items:
        outer = _indent_at(text, braces.end if "\n" in inside else braces.start - 1)
        indent = outer + _unit(text)
        written = f"{indent}{key}: {_written(text, value, indent)}{line}{outer}"
        kept = inside.rstrip()
        return text[: braces.start] + kept + line + written + text[braces.end :]
    last = braces.items[-1]
    if "\n" not in inside:
        at = last.end if last.comma is None else last.comma + 1
        comma = ", " if last.comma is None else " "
        return (
            f"{text[:at]}{comma}{key}: {_written(text, value, None)}{',' if last.comma is not None else ''}{text[at:]}"
        )
    indent = _indent_at(text, last.start)
    member = f"{line}{indent}{key}: {_written(text, value, indent)}"
    if last.comma is not None:
        at = _behind(text, last.comma + 1, braces.end)
        return f"{text[:at]}{member},{text[at:]}"
    at = _behind(text, last.end, braces.end)
    rest = text[at:]
    if at == braces.end and "\n" not in text[last.end : braces.end]:  # `}` stands on the line of the last member
        rest = rest if text[last.end : at].strip() else text[last.end : at] + rest
        at = at if text[last.end : at].strip() else last.end
    return f"{text[: last.end]},{text[last.end : at]}{member}{rest}"


def _written(text: str, value: Any, indent: str | None) -> str:
    """Return a value as this text would have it. `indent` is that of its line; None: all in one line."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    line = "\r\n" if "\r\n" in text else "\n"
    return _pretty(value, indent, _unit(text)).replace("\n", line)


def pretty(value: Any) -> str:
    """Return a value as JSON that people like to read."""
    return _pretty(value, "", "  ")


def _pretty(value: Any, indent: str, unit: str) -> str:
    inner = indent + unit
    if isinstance(value, Mapping) and value:
        pieces = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_pretty(one, inner, unit)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(pieces) + f"\n{indent}}}"
    flat = json.dumps(value, ensure_ascii=False)
    if isinstance(value, list) and value and (len(indent) + len(flat) > _LINE or isinstance(value[0], Mapping)):
        return "[\n" + ",\n".join(f"{inner}{_pretty(one, inner, unit)}" for one in value) + f"\n{indent}]"
    return flat


def _unit(text: str) -> str:
    """Return what one level of this text is indented by: what its first indented line begins with."""
    for line in text.splitlines():
        blank = line[: len(line) - len(line.lstrip(" \t"))]
        if blank and line.strip() and not line.strip().startswith(("*", "//", "/*")):
            return "\t" if blank.startswith("\t") else blank
    return "  "


def _line_start(text: str, at: int) -> int:
    """Return where the line of `at` begins, if there is nothing but blanks between; else `at`."""
    begin = text.rfind("\n", 0, at) + 1
    return begin if not text[begin:at].strip(" \t\ufeff") else at


def _indent_at(text: str, at: int) -> str:
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].split("\n", 1)[0]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _behind(text: str, at: int, limit: int) -> int:
    """Return the place behind blanks and comments that stand at `at` and end on the same line, before `limit`."""
    while at < limit:
        ahead = _skip_blanks(text, at)
        if text.startswith("//", ahead):
            end = text.find("\n", ahead)
            end = limit if end < 0 else end
            return end - 1 if text[end - 1 : end] == "\r" else end
        if not text.startswith("/*", ahead):
            return min(ahead, limit) if text[ahead : ahead + 1] in ("\r", "\n") else at
        end = text.find("*/", ahead) + 2
        if "\n" in text[ahead:end]:
            return at
        at = end
    return min(at, limit)
