"""Relaxed JSON: JSON as people write it in configuration files, with the place of everything in the text. Pure.

Beyond JSON (RFC 8259): comments `//` and `/* */`, commas behind the last item, single quotes, names without quotes, and
the numbers of JSON5; a byte order mark at the start. Not taken over from JSON5: a backslash before just any letter,
which would make `"C:\\Users"` silently something else. A name may stand twice in an object here; who reads it decides.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

DEEPEST = 100
"""Objects and arrays within each other."""


class NotJson(Exception):
    """The text cannot be read. `str` says why, for people; `line` and `column` are counted from one."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.line = line
        self.column = column


class Node(NamedTuple):
    """A value and where it stands: text, number, bool, None, a list of nodes, or an `Object`."""

    value: Any
    line: int
    """Counted from one."""
    start: int
    """Offsets into the text, as given to `parse`: `text[start:end]` is the value as it was written."""
    end: int


class Entry(NamedTuple):
    """A name of an object, and its value."""

    name: str
    line: int
    start: int
    """Where the name begins, with its quotes; the value ends at `node.end`."""
    node: Node


class Object(tuple[Entry, ...]):
    """The entries of an object in their order, also those whose name stands there twice."""

    __slots__ = ()

    def last(self, name: str) -> Entry | None:
        """Return the entry of this name: the last one, as all readers of JSON have it."""
        return next((entry for entry in reversed(self) if entry.name == name), None)


def parse(text: str) -> Node:
    """Return the document. Raises `NotJson`."""
    reader = _Reader(text)
    reader.skip()
    document = reader.value(0)
    reader.skip()
    if reader.at < len(text):
        raise reader.wrong(f"the document ends before {reader.shown()}, but the text goes on")
    return document


def plain(node: Node) -> Any:
    """Return the value without places: dict, list, text, number, bool or None."""
    if isinstance(node.value, Object):
        return {entry.name: plain(entry.node) for entry in node.value}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n\r]*|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")
_NUMBER = re.compile(
    r"([+-]?)(0[xX][0-9a-fA-F]+|(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.$])", re.ASCII
)
_PLAIN = {'"': re.compile(r'[^"\\\n\r]*'), "'": re.compile(r"[^'\\\n\r]*")}
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}
_LONGEST_NUMBER = 300
_SHOWN = 16


class _Reader:
    """Reads one text from its start to its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._line = 1
        self._counted = 0

    def line(self) -> int:
        """Return the line of the place where we are. Places only grow, so each line is counted once."""
        self._line += _breaks(self.text, self._counted, self.at)
        self._counted = self.at
        return self._line

    def wrong(self, reason: str, at: int | None = None) -> NotJson:
        at = self.at if at is None else at
        before = max(self.text.rfind("\n", 0, at), self.text.rfind("\r", 0, at))
        return NotJson(reason, 1 + _breaks(self.text, 0, at), at - before)

    def shown(self) -> str:
        """Return what stands here, for people. Never much of it: it may be a secret."""
        if self.at >= len(self.text):
            return "the end of the file"
        word = _WORD.match(self.text, self.at)
        if word is None:
            return repr(self.text[self.at])
        return repr(word.group(0)) if word.group(0).isalpha() and len(word.group(0)) <= _SHOWN else "a word"

    def skip(self) -> None:
        """Go on behind white space and comments."""
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.text.startswith("/*", self.at):
            raise self.wrong("this comment has no end: */ is missing")
        if self.text.startswith("#", self.at):
            raise self.wrong("a comment begins with //, not with #")

    def value(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} objects and arrays stand within each other")
        line, start = self.line(), self.at
        first = self.text[start : start + 1]
        value: Any
        if first == "{":
            value = self._object(depth)
        elif first == "[":
            value = self._array(depth)
        elif first in ('"', "'") and first:
            value = self._string(first)
        else:
            value = self._scalar()
        return Node(value, line, start, self.at)

    def _object(self, depth: int) -> Object:
        entries: list[Entry] = []
        self.at += 1
        while not self._closed("}", "an object", needs_comma=bool(entries)):
            line, start = self.line(), self.at
            name = self._name()
            self.skip()
            if not self.text.startswith(":", self.at):
                raise self.wrong(f"a colon is missing behind the name {name[:40]!r}, before {self.shown()}")
            self.at += 1
            self.skip()
            entries.append(Entry(name, line, start, self.value(depth + 1)))
        return Object(entries)

    def _array(self, depth: int) -> list[Node]:
        items: list[Node] = []
        self.at += 1
        while not self._closed("]", "an array", needs_comma=bool(items)):
            items.append(self.value(depth + 1))
        return items

    def _closed(self, bracket: str, what: str, *, needs_comma: bool) -> bool:
        """Go on to the next item. True: there is none, and we stand behind the bracket."""
        self.skip()
        if needs_comma and self.text.startswith(",", self.at):
            self.at += 1
            self.skip()
            needs_comma = False
        if self.text.startswith(bracket, self.at):
            self.at += 1
            return True
        if self.at >= len(self.text):
            raise self.wrong(f"the file ends within {what}: {bracket} is missing")
        if needs_comma:
            raise self.wrong(f"a comma, or {bracket}, is missing before {self.shown()}")
        if self.text[self.at] in ",}]":
            raise self.wrong(f"{self.shown()} stands where {what} goes on with its next item, or ends with {bracket}")
        return False

    def _name(self) -> str:
        first = self.text[self.at]
        if first in "\"'":
            return self._string(first)
        found = _WORD.match(self.text, self.at)
        if found is None:
            raise self.wrong(f"a name in quotes belongs here, not {self.shown()}")
        self.at = found.end()
        return found.group(0)

    def _scalar(self) -> Any:
        found = _NUMBER.match(self.text, self.at)
        if found is not None and found.end() - found.start() <= _LONGEST_NUMBER:
            self.at = found.end()
            return _number(found.group(1), found.group(2))
        word = _WORD.match(self.text, self.at)
        if word is not None and word.group(0) in _LITERALS:
            self.at = word.end()
            return _LITERALS[word.group(0)]
        spelled = word.group(0) if word else ""
        if spelled in ("True", "False", "None"):
            right = {"True": "true", "False": "false", "None": "null"}[spelled]
            raise self.wrong(f"this is written {right}, not {spelled}")
        raise self.wrong(f"{self.shown()} is no value: text stands in quotes" if word else self._no_value())

    def _no_value(self) -> str:
        return f"a value is missing before {self.shown()}"

    def _string(self, quote: str) -> str:
        start = self.at
        self.at += 1
        parts: list[str] = []
        while True:
            found = _PLAIN[quote].match(self.text, self.at)
            if found is not None:
                parts.append(found.group(0))
                self.at = found.end()
            here = self.text[self.at : self.at + 1]
            if here == quote:
                self.at += 1
                return _joined("".join(parts))
            if here != "\\":
                raise self.wrong(f"this text has no end: {quote} is missing in its line", start)
            parts.append(self._escape())

    def _escape(self) -> str:
        letter = self.text[self.at + 1 : self.at + 2]
        if letter == "u" and _HEX.match(self.text, self.at + 2):
            self.at += 6
            return chr(int(self.text[self.at - 4 : self.at], 16))
        if letter in _ESCAPES and letter:
            self.at += 2
            return _ESCAPES[letter]
        for line_end in ("\r\n", "\n", "\r"):  # JSON5: a text that goes on in the next line
            if self.text.startswith(line_end, self.at + 1):
                self.at += 1 + len(line_end)
                return ""
        raise self.wrong(r"a backslash is written twice, as in C:\\folder" + f": \\{letter} means nothing")


def _breaks(text: str, start: int, end: int) -> int:
    """Count the ends of lines: \\n, \\r\\n or \\r."""
    count = text.count("\n", start, end)
    if "\r" in text:
        count += text.count("\r", start, end) - text.count("\r\n", start, end)
        # a pair that is cut in two by `start` or `end` is one end of a line all the same
        count -= text.startswith("\r\n", start - 1) if start > 0 and end > start else 0
    return count


def _joined(text: str) -> str:
    """Return the text with surrogate pairs, which JSON writes as two escapes, as the characters they mean."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _number(sign: str, digits: str) -> int | float:
    value: int | float
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif any(mark in digits for mark in ".eE"):
        value = float(digits)
    else:
        value = int(digits)
    return -value if sign == "-" else value
