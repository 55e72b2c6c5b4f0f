"""A trace: one JSON object per line, each a message with its time, session, direction and wire.

    {"time": "2026-01-02T03:04:05.678Z", "session": "3f9c0a61", "direction": "host to server", "wire": "http",
     "message": {"jsonrpc": "2.0", ...}}

`host to server` is what the host wrote, `server to host` what reached it as the server sent it. What the bridge made or
changed is `bridge to host` and `bridge to server`; what it kept to itself is `server to bridge`. A message over the
limit has its beginning under `cut`, its `end`, and its `size` in bytes. The first line of a session has `start`.
Text in, text out: writing and reading files is the drivers' part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Batch, Invalid, Key, Message

Direction = Literal["host to server", "server to host", "bridge to host", "bridge to server", "server to bridge"]
FROM_HOST: Direction = "host to server"
HEARD_BY_HOST = frozenset({"server to host", "bridge to host"})
MOST_BYTES = 1024 * 1024
"""The largest message that is written in full: masking secrets takes time."""
_CUT = 4096
_END = 256
_REMEMBERED = 4096

Scrub = Callable[[str], str]


class Record(NamedTuple):
    """One message of a session, before it is written. `wire` is the one that the server is reached over."""

    direction: Direction
    wire: str
    raw: bytes


class Route:
    """Finds out which way each message went, from what the bridge sees of it. Compares objects, not texts."""

    def __init__(self) -> None:
        self._of_host: dict[int, bytes] = {}
        self._passing: bytes | None = None

    def from_host(self, raw: bytes, wire: str) -> list[Record]:
        """The host wrote this."""
        self._of_host[id(raw)] = raw
        if len(self._of_host) > _REMEMBERED:
            self._of_host.pop(next(iter(self._of_host)))
        return [Record(FROM_HOST, wire, raw)]

    def to_server(self, raw: bytes, wire: str) -> list[Record]:
        """This is sent to the server. Nothing new, where it is what the host wrote."""
        if self._of_host.pop(id(raw), None) is not None:
            return []
        return [Record("bridge to server", wire, raw)]

    def from_server(self, raw: bytes) -> None:
        """The server said this; what becomes of it follows."""
        self._passing = raw

    def to_host(self, raw: bytes, wire: str) -> list[Record]:
        """This is written to the host."""
        if raw is self._passing:
            self._passing = None
            return [Record("server to host", wire, raw)]
        return [*self.handled(wire), Record("bridge to host", wire, raw)]

    def handled(self, wire: str) -> list[Record]:
        """Nothing more becomes of what the server said."""
        kept, self._passing = self._passing, None
        return [] if kept is None else [Record("server to bridge", wire, kept)]


# --- Writing ---------------------------------------------------------------------------------------------------------


def start_line(time: str, session: str, about: dict[str, Any]) -> str:
    """Return the first line of a session."""
    return msg.encode({"time": time, "session": session, "start": about}).decode("utf-8") + "\n"


def lost_line(time: str, session: str, count: int) -> str:
    """Return the line that says how many messages could not be written."""
    return msg.encode({"time": time, "session": session, "lost": count}).decode("utf-8") + "\n"


def line(time: str, session: str, record: Record, scrub: Scrub) -> str:
    """Return the line of one message. Secrets are masked; the rest of the message is as it was."""
    about: dict[str, Any] = {
        "time": time,
        "session": session,
        "direction": record.direction,
        "wire": record.wire,
    }
    if len(record.raw) > MOST_BYTES:
        head, tail = (part.decode("utf-8", "replace") for part in (record.raw[:_CUT], record.raw[-_END:]))
        about |= {"cut": scrub(head), "end": scrub(tail), "size": len(record.raw)}
    else:
        text = _scrubbed(record.raw.decode("utf-8", "replace"), scrub)
        if text is not None:
            return f'{msg.encode(about).decode("utf-8")[:-1]},"message":{text}}}\n'
        about["cut"] = scrub(record.raw.decode("utf-8", "replace"))
    return msg.encode(about).decode("utf-8") + "\n"


def _scrubbed(text: str, scrub: Scrub) -> str | None:
    """Return the JSON without secrets; None where a mask would tear it, or where it is none."""
    masked = scrub(text)
    if _is_json(masked):
        return masked
    if not _is_json(text):
        return None
    masked = scrub(msg.encode(_leaves(msg.value_of(text), scrub)).decode("utf-8"))
    return masked if _is_json(masked) else None


def _is_json(text: str) -> bool:
    try:
        msg.value_of(text)
    except (ValueError, RecursionError):
        return False
    return True


def _leaves(value: Any, scrub: Scrub) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [_leaves(item, scrub) for item in value]
    if isinstance(value, dict):
        return {scrub(name): _leaves(item, scrub) for name, item in value.items()}
    return value


# --- Reading ---------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One line that was read. `messages` is empty where it was cut or is none, and has several for a batch."""

    time: str
    session: str
    direction: str
    messages: tuple[Message, ...] = ()
    cut: Key | None = None
    """The request that the message answered which was cut."""


class Trace(NamedTuple):
    """What was read: the messages of each session, in the order in which they began, and how many lines were none."""

    sessions: dict[str, list[Entry]]
    unreadable: int


def read(lines: Iterable[bytes]) -> Trace:
    """Read the lines of a trace. Lines that are none (one that broke off, a stranger's) are counted and left out."""
    found = Trace({}, 0)
    unreadable = 0
    for raw in lines:
        if not raw.strip():
            continue
        try:
            entry = _entry(raw.decode("utf-8"))
        except (ValueError, RecursionError, Invalid):
            unreadable += 1
            continue
        entries = found.sessions.setdefault(entry.session, [])
        if entry.direction:
            entries.append(entry)
    return found._replace(unreadable=unreadable)


def _entry(text: str) -> Entry:
    doc = msg.value_of(text)
    if not isinstance(doc, dict) or not isinstance(doc.get("session"), str):
        raise ValueError("no line of a trace")
    time, session, direction = str(doc.get("time", "")), doc["session"], doc.get("direction")
    if not isinstance(direction, str):
        return Entry(time, session, "")
    for member in msg.members(text):
        if member.name == "message":
            parsed = msg.parse(text[member.start : member.end].encode("utf-8"))
            items = parsed.items if isinstance(parsed, Batch) else (parsed,)
            return Entry(time, session, direction, tuple(item for item in items if isinstance(item, Message)))
    head, tail = (str(doc.get(name, "")).encode("utf-8", "replace") for name in ("cut", "end"))
    identifier, is_answer = msg.id_in_fragment(head, tail)
    cut = msg.key_of(identifier) if is_answer and identifier is not None else None
    return Entry(time, session, direction, cut=cut)
