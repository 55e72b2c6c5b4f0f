"""Message: one JSON-RPC object together with the bytes it came in. The only place messages are decoded.

The envelope (`jsonrpc`, `id`, `method`, and whether there is a `result` or an `error`) is read once; `raw` is what
travels on. Nothing here rebuilds params or results: unknown fields, key order, escapes and number spellings survive.

Sources: JSON-RPC 2.0 sections 4 to 6; MCP base protocol (ids are strings or integers, never null).
"""

from __future__ import annotations

import json
import math
import re
from enum import Enum
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in practice since 2.6, absent from typeshed
from typing import Any, NamedTuple, NoReturn

JsonId = str | int | float
"""A request id as JSON gives it. MCP says string or integer; a fraction is carried all the same."""


class Kind(Enum):
    """What a message is, by its envelope."""

    REQUEST = "request"
    NOTIFICATION = "notification"
    RESULT = "result"
    ERROR = "error"


class Key(NamedTuple):
    """An id as a dictionary key: `1` and `"1"` differ, `1` and `1.0` do not (JavaScript peers echo `1`)."""

    sort: str
    value: str | int | float

    def __str__(self) -> str:
        return json.dumps(self.value)


def key_of(identifier: JsonId) -> Key:
    """Return the `Key` of a request id.

    Made of the tuple, as `Key(...)` is another function in Python, and this is asked six times for every call.
    """
    if isinstance(identifier, str):
        return _made_tuple(Key, ("s", identifier))
    if type(identifier) is float and identifier.is_integer():
        return _made_tuple(Key, ("n", int(identifier)))
    return _made_tuple(Key, ("n", identifier))


_made_tuple = tuple.__new__


class Invalid(Exception):
    """The text is not a JSON-RPC message.

    `code` is -32700 (not JSON) or -32600 (JSON, but no valid envelope). `identifier` is the id found in it, or None.
    `answerable` is False where the text was recognisably an answer: answering an answer would be nonsense.
    """

    def __init__(self, code: int, reason: str, identifier: JsonId | None = None, *, answerable: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.identifier = identifier
        self.answerable = answerable


class Message(NamedTuple):
    """One JSON-RPC object. `raw` is UTF-8 without a line end; `doc` is the same object, parsed once, never written."""

    raw: bytes
    kind: Kind
    id: JsonId | None
    method: str | None
    doc: dict[str, Any]

    @property
    def key(self) -> Key:
        """The id as a key. Only requests, results and errors with an id have one."""
        if self.id is None:
            raise LookupError("this message has no id")
        return key_of(self.id)

    @property
    def is_answer(self) -> bool:
        return self.kind is Kind.RESULT or self.kind is Kind.ERROR

    @property
    def params(self) -> dict[str, Any]:
        """The params where they are an object, else an empty one."""
        params = self.doc.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def result(self) -> dict[str, Any]:
        """The result where it is an object, else an empty one."""
        result = self.doc.get("result")
        return result if isinstance(result, dict) else {}


class Batch(NamedTuple):
    """A JSON array of messages (2025-03-26 only). `items` keeps order; what is no message stands as `Invalid`."""

    items: tuple[Message | Invalid, ...]


DEPTH = 512
"""How deeply a message may be nested, unless somebody says otherwise. Python's own limit lies above 800."""


def parse(raw: bytes, depth: int = DEPTH) -> Message | Batch:
    """Parse one JSON text into a message or a batch.

    Raises `Invalid` with -32700 for what is not strict JSON in UTF-8, with -32600 for a wrong envelope and for more
    than `depth` levels. Line feeds between tokens become blanks, so that `raw` always fits on one line.
    """
    try:
        text, doc = _load(raw)
    except RecursionError:
        raise _too_deep(raw, depth) from None
    if _is_deeper(doc, len(raw), depth):
        raise _too_deep(raw, depth)
    if isinstance(doc, list):
        if not doc:
            raise Invalid(-32600, "an empty batch asks for nothing")
        return Batch(tuple(_item(piece) for piece in array_items(text)))
    return _envelope(_one_line(text, raw), doc)


def parse_one(raw: bytes, depth: int = DEPTH) -> Message:
    """Parse a text that must be one message: a batch is `Invalid` here."""
    parsed = parse(raw, depth)
    if isinstance(parsed, Batch):
        raise Invalid(-32600, "a batch is not allowed here")
    return parsed


def _item(piece: str) -> Message | Invalid:
    raw = _one_line(piece)
    try:
        return _envelope(raw, _load(raw)[1])
    except Invalid as invalid:
        return invalid


def _envelope(raw: bytes, doc: object) -> Message:
    if not isinstance(doc, dict):
        raise Invalid(-32600, "a message is a JSON object")
    identifier, id_is_good = _identifier(doc)
    answer = ("result" in doc) or ("error" in doc)
    method = doc.get("method")
    if doc.get("jsonrpc") != "2.0":
        raise Invalid(-32600, 'the member "jsonrpc" must be "2.0"', identifier, answerable=not answer)
    if "method" in doc:
        if answer:
            raise Invalid(-32600, "a message is a request or an answer, not both", identifier)
        if not isinstance(method, str):
            raise Invalid(-32600, 'the member "method" must be a string', identifier)
        if not id_is_good:
            raise Invalid(-32600, "a request id is a string or a number, never null", None)
        return Message(raw, Kind.NOTIFICATION if identifier is None else Kind.REQUEST, identifier, method, doc)
    if not answer:
        raise Invalid(-32600, 'neither "method" nor "result" nor "error" is there', identifier)
    if "result" in doc and "error" in doc:
        raise Invalid(-32600, "an answer has a result or an error, not both", identifier, answerable=False)
    if "error" in doc:
        if not isinstance(doc["error"], dict):
            raise Invalid(-32600, 'the member "error" must be an object', identifier, answerable=False)
        return Message(raw, Kind.ERROR, identifier, None, doc)
    if identifier is None:
        raise Invalid(-32600, "a result needs the id of its request", None, answerable=False)
    return Message(raw, Kind.RESULT, identifier, None, doc)


def _identifier(doc: dict[str, Any]) -> tuple[JsonId | None, bool]:
    """Return the id and whether the member is well-formed (absent counts as well-formed)."""
    if "id" not in doc:
        return None, True
    value = doc["id"]
    if type(value) is int or type(value) is str:
        return value, True
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None, False
    if isinstance(value, float) and not math.isfinite(value):
        return None, False  # a number like 1e999, which Python cannot write again
    return value, True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _LongInt(int):
    """Stands for an integer of more digits than Python converts; its value is never used, only that it is one."""


def _long_int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        return _LongInt()


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_PATIENT = json.JSONDecoder(parse_constant=_no_constant, parse_int=_long_int)
_SPACE = re.compile(r"[ \t\n\r]*")


def _load(raw: bytes) -> tuple[str, object]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(-32700, f"not UTF-8 at byte {error.start}") from None
    try:
        return text, _decoded(text)
    except json.JSONDecodeError as error:
        raise Invalid(-32700, f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        return _load_patiently(text)


def _decoded(text: str) -> object:
    """Do what `JSONDecoder.decode` does, without its two searches for blanks where there are none."""
    if text[:1] != "{":
        return _DECODER.decode(text)
    doc, end = _DECODER.raw_decode(text)
    if end < len(text) and (end := _skip(text, end)) < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return doc


def _load_patiently(text: str) -> tuple[str, object]:
    """Decode once more, for numbers of thousands of digits (legal JSON that `int` refuses) and for NaN."""
    try:
        return text, _PATIENT.decode(text)
    except ValueError as error:
        raise Invalid(-32700, f"not JSON: {error}") from None


def _one_line(text: str, known: bytes | None = None) -> bytes:
    """Raw line ends in valid JSON are white space between tokens: make them blanks, and take outer space away.

    `known` are the bytes of the text where somebody has them: most need no change, and a large one no copy.
    """
    within = text.strip(" \t\n\r")
    raw = known if type(known) is bytes and len(within) == len(text) else within.encode("utf-8")
    if b"\n" in raw or b"\r" in raw:
        raw = raw.replace(b"\n", b" ").replace(b"\r", b" ")
    return raw


# --- Depth ----------------------------------------------------------------------------------------------------------

_NESTS = frozenset([dict, list])
"""What JSON's arrays and objects are in Python, exactly: this is asked for every value of a large message."""


def _is_deeper(doc: object, size: int, most: int) -> bool:
    """Whether a document is nested more deeply, layer by layer and without recursion. `size`: the bytes of its text."""
    if size <= 2 * most:
        return False  # each level takes two
    layer = [doc] if type(doc) in _NESTS else []
    for _ in range(most):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if type(outer) is dict else outer)  # type: ignore[attr-defined]  # a list
            if type(inner) in _NESTS
        ]
        if not layer:
            return False
    return True


def _too_deep(raw: bytes, most: int) -> Invalid:
    """It may well be JSON, so whoever sent it waits for an answer under its id."""
    identifier, is_answer = id_in_fragment(raw[:_HEAD], raw[-_TAIL:])
    text = f"nested too deeply (the limit is {most} levels, --max-depth)"
    return Invalid(-32600, text, identifier, answerable=not is_answer)


# --- Spans: where the members of a valid object, or the items of a valid array, stand in the text -------------------


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value_end(text: str, at: int) -> int:
    end: int = _PATIENT.raw_decode(text, at)[1]
    return end


def array_items(text: str) -> list[str]:
    """Return the items of a valid JSON array, each as it is written."""
    at = _skip(text, _skip(text, 0) + 1)
    items: list[str] = []
    while text[at] != "]":
        end = _value_end(text, at)
        items.append(text[at:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return items


def value_of(text: str) -> Any:
    """Return the value of a valid JSON text, for instance of a member's or an item's."""
    return _PATIENT.decode(text)


class Member(NamedTuple):
    """A top-level member: its name and where its value begins and ends in the text."""

    name: str
    start: int
    end: int


def members(text: str) -> list[Member]:
    """Return the top-level members of a JSON object in the order they stand, as far as the text is well-formed.

    A text that breaks off (a line over the size limit) yields the members before the break.
    """
    found: list[Member] = []
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return found
    at = _skip(text, at + 1)
    try:
        while text[at : at + 1] == '"':
            name, at = scanstring(text, at + 1, True)  # noqa: FBT003  (the C function takes no keywords)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                break
            start = _skip(text, at + 1)
            end = _value_end(text, start)
            at = _skip(text, end)
            if text[start : start + 1] not in ("{", "[") and text[at : at + 1] not in (",", "}"):
                break  # cut: "12" may have been 123, or 12.5
            found.append(Member(name, start, end))
            if text[at : at + 1] != ",":
                break
            at = _skip(text, at + 1)
    except (ValueError, RecursionError, StopIteration):
        pass  # the text breaks off here; what was found so far is the answer
    return found


def with_id(message: Message, identifier: JsonId) -> Message:
    """Return the same message under another id; every other byte stays as it is.

    For a null or absent id the member is replaced or added.
    """
    spelled = json.dumps(identifier)
    place = _id_that_stands_alone(message)
    if place is not None:
        raw = message.raw[: place.start(1)] + spelled.encode("ascii") + message.raw[place.end(1) :]
        return Message(raw, message.kind, identifier, message.method, {**message.doc, "id": identifier})
    text = message.raw.decode("utf-8")
    spans = [member for member in members(text) if member.name == "id"]
    if spans:
        for span in reversed(spans):
            text = text[: span.start] + spelled + text[span.end :]
    else:
        brace = text.index("{") + 1
        text = text[:brace] + f'"id":{spelled},' + text[brace:]
    doc = dict(message.doc)
    doc["id"] = identifier
    return Message(text.encode("utf-8"), message.kind, identifier, message.method, doc)


_ID = re.compile(rb'"id"[ \t]*:[ \t]*(-?\d[\d.eE+-]*|"[^"\\]*"|null)')


def _id_that_stands_alone(message: Message) -> re.Match[bytes] | None:
    """Find the member `id` without reading the whole text. None where that cannot be done for certain.

    Where the message has one, and the text has `"id"` once and its letters nowhere as escapes, it can only be that.
    """
    raw = message.raw
    if "id" not in message.doc or raw.count(b'"id"') != 1 or b"\\u006" in raw:
        return None
    return _ID.match(raw, raw.index(b'"id"'))


def with_param(message: Message, name: str, value: JsonId) -> Message:
    """Return the same message with one scalar member of `params` replaced (a request id in a cancellation)."""
    text = message.raw.decode("utf-8")
    for outer in members(text):
        if outer.name != "params":
            continue
        inner_text = text[outer.start : outer.end]
        for inner in members(inner_text):
            if inner.name == name:
                inner_text = inner_text[: inner.start] + json.dumps(value) + inner_text[inner.end :]
                break
        text = text[: outer.start] + inner_text + text[outer.end :]
        break
    return parse_one(text.encode("utf-8"))


def request(identifier: JsonId, method: str, params: dict[str, Any] | None = None) -> Message:
    """Make a request of our own."""
    return _made({"jsonrpc": "2.0", "id": identifier, "method": method, **_params(params)})


def notification(method: str, params: dict[str, Any] | None = None) -> Message:
    """Make a notification of our own."""
    return _made({"jsonrpc": "2.0", "method": method, **_params(params)})


def result(identifier: JsonId, value: object) -> Message:
    """Make a result of our own."""
    return _made({"jsonrpc": "2.0", "id": identifier, "result": value})


def error(identifier: JsonId | None, code: int, text: str, data: object = None) -> Message:
    """Make an error of our own. A None id is written as null (JSON-RPC 2.0 section 5)."""
    body: dict[str, Any] = {"code": code, "message": text}
    if data is not None:
        body["data"] = data
    return _made({"jsonrpc": "2.0", "id": identifier, "error": body})


def encode(doc: object) -> bytes:
    """Return compact JSON in UTF-8. Lone surrogates, which UTF-8 cannot carry, stay escaped."""
    text = json.dumps(doc, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(doc, separators=(",", ":")).encode("ascii")


def canonical(value: object) -> str:
    """Return JSON that is the same for equal values, whatever the order of their members: to compare, not to send."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def join(items: list[Message]) -> bytes:
    """Return the array of a batch answer, each item byte for byte."""
    return b"[" + b",".join(item.raw for item in items) + b"]"


def from_document(doc: dict[str, Any]) -> Message:
    """Make a message of a Python dict (what a handler returns). Raises `Invalid` for a wrong envelope."""
    try:
        raw = encode(doc)
    except (TypeError, ValueError, RecursionError) as error_:
        raise Invalid(-32600, f"not JSON: {error_}") from None
    return parse_one(raw)


def _params(params: dict[str, Any] | None) -> dict[str, Any]:
    return {} if params is None else {"params": params}


def _made(doc: dict[str, Any]) -> Message:
    return _envelope(encode(doc), doc)


def id_in_fragment(head: bytes, tail: bytes) -> tuple[JsonId | None, bool]:
    """Find the id of a message of which only the beginning and the end are kept.

    Returns the id, or None where it cannot be found, and whether the message was recognisably an answer. The id is
    looked for among the top-level members that are whole in `head`, then as the last member before the closing
    brace of `tail` (the official TypeScript SDK writes it there), with or without `"jsonrpc"` beside it.
    """
    found: JsonId | None = None
    answer = False
    text = head.decode("utf-8", "ignore")
    for member in members(text):
        if member.name == "id" and found is None:
            found = _identifier({"id": json.loads(text[member.start : member.end])})[0]
    names = re.match(r'\s*\{(?:\s*"(?:jsonrpc|id)"\s*:\s*(?:"[^"\\]*"|-?\d+)\s*,)*\s*"(result|error)"\s*:', text)
    answer = names is not None
    if found is None:
        match = _TAIL_ID.search(tail)
        if match is not None:
            found = _identifier({"id": json.loads(match.group(1).decode("utf-8", "replace"))})[0]
    return found, answer


_HEAD, _TAIL = 64 * 1024, 4 * 1024
_TAIL_ID = re.compile(
    rb'"id"\s*:\s*(-?\d{1,30}|"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}){0,512}")\s*'
    rb'(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z'
)
