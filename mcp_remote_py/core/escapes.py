"""A text as its readers would decode it: percent, JSON, Python and HTML escapes undone, with the way back.

For the redactor: a secret may have been escaped by anybody, in part or in full, once or several times. Whatever is
found in a decoded view is cut out of the text as it stands, so each view knows where its characters came from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import NamedTuple

_MOST_VIEWS = 12
"""A text that nests all kinds of escapes has more; nobody writes such a text by accident."""
_MOST_LAYERS = 3
_MOST_READINGS = 4096

Piece = tuple[str, int]
"""What an escape stands for (one character, or none), and how many characters of the text it takes."""


class _Notation(NamedTuple):
    """One way to escape: a sign that every escape has, what one looks like, and what it means."""

    sign: str
    pattern: str
    meaning: Callable[[str], list[Piece]]


class View:
    """A text, and where each of its characters stands in the text that it was made from."""

    def __init__(self, text: str, source: View | None = None, notation: _Notation | None = None) -> None:
        self.text = text
        self.layers: int = 0 if source is None else source.layers + 1
        self._source = source
        self._notation = notation

    def original(self, begin: int, end: int) -> tuple[int, int]:
        """Return the span of the first text that the characters `begin:end` were made from."""
        if self._source is None:
            return begin, end
        return self._source.original(self._place(begin)[0], self._place(end - 1)[1])

    def _place(self, at: int) -> tuple[int, int]:
        """Return the span of the source that the character at this place was made from."""
        places, pieces = self._marks
        index = bisect_right(places, at) - 1
        if index < 0:
            return at, at + 1
        width, begin, end = pieces[index]
        beyond = at - places[index] - width
        return (begin, end) if beyond < 0 else (end + beyond, end + beyond + 1)

    @cached_property
    def _marks(self) -> tuple[list[int], list[tuple[int, int, int]]]:
        """The places of all unescaped characters, and for each its width (0 or 1) and its span in the source.

        Made only where something was found: most texts hold no secret.
        """
        places, pieces, done, length = list[int](), list[tuple[int, int, int]](), 0, 0
        assert self._source is not None and self._notation is not None  # noqa: S101, PT018  `original` has seen to it
        for found in _compiled(self._notation.pattern).finditer(self._source.text):
            begin = found.start()
            length += begin - done
            for character, taken in self._notation.meaning(found.group()):
                places.append(length)
                pieces.append((len(character), begin, begin + taken))
                length += len(character)
                begin += taken
            done = found.end()
        return places, pieces


def views(text: str) -> Iterator[View]:
    """Yield the text as it is, and then each different reading of it."""
    waiting, seen = [View(text)], {text}
    while waiting:
        view = waiting.pop(0)
        yield view
        for notation in _NOTATIONS:
            if notation.sign in view.text and view.layers < _MOST_LAYERS and len(seen) < _MOST_VIEWS:
                read = _compiled(notation.pattern).sub(_readings(notation.meaning).of, view.text)
                if read not in seen:
                    seen.add(read)
                    waiting.append(View(read, view, notation))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class _Readings(dict[str, str]):
    """What escapes stand for; a text has few different ones, each many times."""

    def __init__(self, meaning: Callable[[str], list[Piece]]) -> None:
        super().__init__()
        self._meaning = meaning

    def __missing__(self, escape: str) -> str:
        read = "".join(character for character, _ in self._meaning(escape))
        if len(self) < _MOST_READINGS:
            self[escape] = read
        return read

    def of(self, found: re.Match[str]) -> str:
        return self[found[0]]


@cache
def _readings(meaning: Callable[[str], list[Piece]]) -> _Readings:
    return _Readings(meaning)


# --- The notations ---------------------------------------------------------------------------------------------------


def _of_bytes(data: bytes, taken: int) -> list[Piece]:
    """Read bytes as UTF-8, and as Latin-1 where they are none. `taken`: characters for each byte."""
    try:
        return [(character, taken * len(character.encode("utf-8"))) for character in data.decode("utf-8")]
    except UnicodeDecodeError:
        return [(chr(byte), taken) for byte in data]


def _percent(text: str) -> list[Piece]:
    return _of_bytes(bytes.fromhex(text.replace("%", "")), 3)


_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _backslash(text: str) -> list[Piece]:
    """JSON's escapes, those of `repr`, and those of the bytes that `repr` shows."""
    if text[1] == "x":
        return _of_bytes(bytes.fromhex(text.replace("\\x", "")), 4)
    return [(_escaped(text), len(text))]


def _escaped(text: str) -> str:
    if text[1] == "u" and len(text) == 12:
        return (bytes.fromhex(text[2:6]) + bytes.fromhex(text[8:])).decode("utf-16-be", "replace")
    if text[1] in "uU":
        number = _number(text[2:])
        return chr(number) if number < 0x110000 else "\ufffd"
    return _LETTERS.get(text[1], text[1])


def _number(digits: str) -> int:
    return int.from_bytes(bytes.fromhex(digits.zfill(8)), "big")


def _code_points(text: str) -> list[Piece]:
    """As `repr` shows characters, where the same escapes could also be bytes of UTF-8."""
    return [(chr(_number(text[2:])), 4)]


_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def _entity(text: str) -> list[Piece]:
    name = text[1:-1]
    if name in _ENTITIES:
        return [(_ENTITIES[name], len(text))]
    number = _number(name[2:]) if name[1] in "xX" else int(name[1:])
    return [(chr(number) if number < 0x110000 else "\ufffd", len(text))]


def _nothing(text: str) -> list[Piece]:
    return [("", len(text))]


_NOTATIONS = (
    _Notation("%", r"(?:%[0-9A-Fa-f]{2})+", _percent),
    _Notation(
        "\\",
        r"""\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}"""
        r"""|(?:\\x[0-9a-fA-F]{2})+|\\["'\\/bfnrt]""",
        _backslash,
    ),
    _Notation("\\x", r"\\x[0-9a-fA-F]{2}", _code_points),
    _Notation("&", r"&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});", _entity),
    # base64 and the like, broken into lines
    _Notation("\n", r"(?<=[A-Za-z0-9+/]{40})[\r\n \t]+(?=[A-Za-z0-9+/=])", _nothing),
)
