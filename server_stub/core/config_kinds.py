"""Kinds: what the keys of a configuration file may hold. A kind reads a node, and says what it takes as JSON Schema.

Pure: nothing is read from a file, and nothing is expanded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from server_stub.core.relaxed_json import Entry, Node, Object

Schema = dict[str, Any]


class Unfit(Exception):
    """A value that does not fit; `str` says what would. `node` is what is wrong where that is a part of the value.

    `others`: what else is wrong with other parts of it.
    """

    def __init__(self, reason: str, node: Node | None = None) -> None:
        super().__init__(reason)
        self.node = node
        self.others: tuple[Unfit, ...] = ()


class Kind(NamedTuple):
    """What a key may hold."""

    words: str
    """For people: "text", "an array of text"."""
    schema: Schema
    read: Callable[[Node], Any]
    """Return the value as Python has it. Raises `Unfit`."""


def shape(node: Node) -> str:
    """Return what a node is, for people."""
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    for kind, words in ((Object, "an object"), (list, "an array"), (str, "text")):
        if isinstance(node.value, kind):
            return words
    return "a number"


def _unlike(node: Node, wanted: str) -> Unfit:
    more = ""
    if wanted == "text" and isinstance(node.value, (int, float)):
        more = ", in quotes"
    return Unfit(f"this is {shape(node)}. It takes {wanted}{more}.", node)


CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Characters that no command, argument, variable or header holds. Tab and line ends may stand in a variable."""


def _clean(node: Node, text: str, *, one_line: bool = False) -> str:
    found = CONTROL.search(text) or (re.search(r"[\r\n]", text) if one_line else None)
    if found is not None:
        raise Unfit(f"the control character {_named(found.group(0))} may not stand here.", node)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Unfit("half of a character (a lone surrogate) may not stand here.", node)
    return text


def _named(character: str) -> str:
    return {"\0": "NUL", "\n": "line feed", "\r": "carriage return"}.get(character, f"U+{ord(character):04X}")


def _text(node: Node) -> str:
    if not isinstance(node.value, str):
        raise _unlike(node, "text")
    return _clean(node, node.value)


def _filled(node: Node) -> str:
    text = _text(node)
    if not text.strip():
        raise Unfit("this is empty.", node)
    return text


def _line(node: Node) -> str:
    return _clean(node, _filled(node), one_line=True)


def _words(node: Node) -> tuple[str, ...]:
    if not isinstance(node.value, list):
        raise _unlike(node, 'an array of text: ["one", "two"]')
    return tuple(_text(item) for item in node.value)


def _line_or_words(node: Node) -> tuple[str, ...]:
    if isinstance(node.value, list):
        if not node.value:
            raise Unfit("this is empty.", node)
        return (_line(node.value[0]), *(_text(item) for item in node.value[1:]))
    if not isinstance(node.value, str):
        raise _unlike(node, "text")
    return (_line(node),)


def _tokens(node: Node) -> tuple[str, ...]:
    words = _words(node)
    if not words:
        raise Unfit("an empty list lets nobody in. Leave the key out to inherit, or give a token.", node)
    for item in node.value:
        _line(item)
    return words


def _flag(node: Node) -> bool:
    if not isinstance(node.value, bool):
        raise _unlike(node, "true or false")
    return node.value


def _entries(node: Node, wanted: str) -> Object:
    if not isinstance(node.value, Object):
        raise _unlike(node, wanted)
    return node.value


_VARIABLE = re.compile(r"[^=\s\x00-\x20\x7f]+")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def unfit_variable(name: str, value: str) -> str:
    """Return why a process can have no such variable; empty where it can."""
    if _VARIABLE.fullmatch(name) is None:
        return f"{name[:40]!r} is no name of a variable."
    found = CONTROL.search(value)
    return "" if found is None else f"{name}: {_named(found.group(0))} may not stand in a variable."


def _variables(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(_named_texts(node, 'an object of text: {"NAME": "value"}', _variable).items())


def _variable(entry: Entry, found: dict[str, str]) -> str:
    if _VARIABLE.fullmatch(entry.name) is None:
        raise Unfit(f"{entry.name[:40]!r} is no name of a variable.", entry.node)
    if entry.name in found:
        raise Unfit(f"the variable {entry.name} stands here twice.", entry.node)
    try:
        return _text(entry.node)
    except Unfit as error:
        raise Unfit(f"{entry.name}: {error}", entry.node) from None


def _headers(node: Node) -> tuple[tuple[str, str], ...]:
    return tuple(_named_texts(node, 'an object of text: {"Authorization": "Bearer ..."}', _header).items())


def _header(entry: Entry, found: dict[str, str]) -> str:
    if _HEADER.fullmatch(entry.name) is None:
        raise Unfit(f"{entry.name[:40]!r} is no name of a header.", entry.node)
    try:
        value = _clean(entry.node, _text(entry.node), one_line=True).strip()
    except Unfit as error:
        raise Unfit(f"{entry.name}: {error}", entry.node) from None
    if any(entry.name.lower() == other.lower() for other in found):
        raise Unfit(f"the header {entry.name} stands here twice.", entry.node)
    if any(ord(character) > 255 for character in value):
        raise Unfit(f"{entry.name}: a header holds no such characters (Latin-1 at most).", entry.node)
    return value


def _named_texts(node: Node, wanted: str, read: Callable[[Entry, dict[str, str]], str]) -> dict[str, str]:
    """Return the texts of an object by name. What is null is as if it were not there."""
    found: dict[str, str] = {}
    wrong: list[Unfit] = []
    for entry in _entries(node, wanted):
        if entry.node.value is None:
            continue
        try:
            found[entry.name] = read(entry, found)
        except Unfit as error:
            wrong.append(error)
    if wrong:
        wrong[0].others = tuple(wrong[1:])
        raise wrong[0]
    return found


def _by(parse: Callable[[str, str], Any], wanted: str) -> Callable[[Node], Any]:
    """Return a reader that hands numbers and text to a parser of options, which says what is wrong itself."""

    def read(node: Node) -> Any:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise _unlike(node, wanted)
        spelled = value if isinstance(value, str) else _spelled(value)
        try:
            return parse(spelled, "")
        except ConfigError as error:
            raise Unfit(str(error).removeprefix(": "), node) from None

    return read


def _spelled(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def _size_or_off(text: str, where: str) -> int | None:
    return None if text.strip().lower() in ("off", "0") else options.size(text, where)


def _whole(text: str, where: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text.strip()) is None:
        raise ConfigError(f"{where}: {text!r} is no whole number of at least 0.")
    return int(text)


def choice(*words: str, spellings: dict[str, str] | None = None) -> Kind:
    """Return the kind of one word out of these. `spellings`: other words -> the word that they mean."""
    others = spellings or {}

    def read(node: Node) -> str:
        text = _text(node)
        known = {word.lower(): word for word in words} | {other.lower(): word for other, word in others.items()}
        if text.strip().lower() in known:
            return known[text.strip().lower()]
        raise Unfit(
            f"{text[:40]!r} is none of {', '.join(words)}.{options.did_you_mean(text, [*words, *others])}", node
        )

    listed: Schema = {"anyOf": [{"enum": [*words, *others]}, {"type": "string", "pattern": _VAR}]}
    return Kind(f"one of {', '.join(words)}", listed, read)


_S: Schema = {"type": "string"}
_FILLED: Schema = {"type": "string", "pattern": r"\S"}
_VAR = r".*\$\{.*"
"""A text with a variable in it: what it will be, no schema knows."""


def _number_or_text(number: Schema, pattern: str) -> Schema:
    return {"oneOf": [number, {"type": "string", "pattern": rf"^\s*({pattern}|{_VAR})\s*$"}]}


_OFF = r"[oO][fF][fF]"
_TIME = r"\s*([mM]?[sS]|[mMhHdD])?"
_ABOVE_0 = r"(?=[0-9.]*[1-9])[0-9]+(\.[0-9]+)?"
_DURATION = _number_or_text({"type": "number", "minimum": 0}, rf"[0-9]+(\.[0-9]+)?{_TIME}|{_OFF}")
_TIME_ABOVE_0 = _number_or_text({"type": "number", "exclusiveMinimum": 0}, _ABOVE_0 + _TIME)
_SIZE = _number_or_text({"type": "integer", "minimum": 0}, rf"[0-9]+\s*([kKmMgG]?([iI]?[bB])?)|{_OFF}")


def _counted(least: int) -> Schema:
    digits = r"[0-9]*[1-9][0-9]*" if least else r"[0-9]+"
    return _number_or_text({"type": "integer", "minimum": least}, digits)


TEXT = Kind("text", _FILLED, _line)


def text_like(pattern: str) -> Kind:
    """Return the kind of text that editors may check by this pattern; what reads it says what is wrong with it."""
    return Kind("text", {"type": "string", "pattern": rf"^\s*({pattern}|{_VAR})\s*$"}, _line)


WORDS = Kind("an array of text", {"type": "array", "items": _S}, _words)
TOKENS = Kind("an array of text", {"type": "array", "items": _FILLED, "minItems": 1}, _tokens)
TEXT_OR_WORDS = Kind(
    "text, or an array of text",
    {"oneOf": [_FILLED, {"type": "array", "items": [_FILLED], "additionalItems": _S, "minItems": 1}]},
    _line_or_words,
)
FLAG = Kind("true or false", {"type": "boolean"}, _flag)
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
VARIABLES = Kind("an object of text", _TEXTS, _variables)
HEADERS = Kind("an object of text", _TEXTS, _headers)
SECONDS = Kind(
    'seconds, or text like "30s", "5m"',
    _TIME_ABOVE_0,
    _by(options.positive_seconds, 'a number of seconds or text like "30s"'),
)
SECONDS_OR_OFF = Kind(
    'seconds, or text like "30s", "5m"; 0 or "off" switches it off',
    _DURATION,
    _by(options.seconds, 'a number of seconds or text like "30s"'),
)
BYTES_OR_OFF = Kind(
    'bytes, or text like "500MB"; 0 or "off" switches it off', _SIZE, _by(_size_or_off, 'bytes or text like "500MB"')
)
COUNT = Kind("a whole number of at least 1", _counted(1), _by(options.count, "a whole number"))
WHOLE = Kind("a whole number of at least 0", _counted(0), _by(_whole, "a whole number"))


def _shell(node: Node) -> str | bool:
    if isinstance(node.value, bool):
        return node.value
    if not isinstance(node.value, str):
        raise Unfit(f"this is {shape(node)}. It takes the command line as text, or true.", node)
    return _filled(node)


SHELL = Kind("a command line, or true", {"oneOf": [_FILLED, {"type": "boolean"}]}, _shell)


def _objects(node: Node) -> list[Node]:
    if not isinstance(node.value, list):
        raise _unlike(node, "an array of objects")
    return node.value


OBJECTS = Kind("an array of objects", {"type": "array", "items": {"type": "object"}}, _objects)


def _as_it_is(node: Node) -> Node:
    if not isinstance(node.value, Object):
        raise _unlike(node, "an object")
    return node


OBJECT = Kind("an object", {"type": "object"}, _as_it_is)
"""Read on by whoever knows the keys inside."""
