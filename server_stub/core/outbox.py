"""Outbox: which stream a message of the server goes to, the ids of events, and what a connection still has to write.

A session has one *standing* stream (its GET, or the one channel of HTTP+SSE and WebSocket) and one *lane* for each
POST that has requests in it. Every message goes to exactly one of them. A stream outlives its connections: a
`Reader` is one connection attached to one stream. Pure: what is kept for a replay lies in an event store; the driver
stores first and pushes afterwards. Source: MCP 2025-11-25, Transports, "Multiple Connections"
and "Resumability and Redelivery".
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from mcp_remote_py.core.message import Key, Kind, Message, key_of

STANDING = 0
"""The number of the standing stream."""

HELD_COUNT = 1000
HELD_BYTES = 8 * 1024 * 1024


class EventId(NamedTuple):
    """Where an event stands: its stream, and its place in it, from 1. Place 0 is before the first event."""

    stream: int
    place: int

    def __str__(self) -> str:
        return f"{self.stream}-{self.place}"


_EVENT_ID = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


def parse_event_id(text: str) -> EventId | None:
    """Read a `Last-Event-ID`; None for what we never wrote."""
    match = _EVENT_ID.fullmatch(text)
    return EventId(int(match.group(1)), int(match.group(2))) if match else None


class Event(NamedTuple):
    """One message on its stream."""

    id: EventId
    message: Message


class Elsewhere(Enum):
    """Where a message goes that goes to no stream."""

    HOLD = "hold"
    """It waits for the next stream that can carry it."""
    DROP = "drop"
    """It means nothing to anyone any more."""


class Reader:
    """What one connection still has to write of its stream, each event once and in order.

    Attach first, read the store afterwards: what is pushed in between is in the queue, and what is in both is
    recognised by its place.
    """

    def __init__(self, after: int) -> None:
        self._last = after
        self._replayed: deque[Event] = deque()
        self._live: deque[Event] = deque()
        self._bytes = 0
        self.closed = False
        """Nothing will be added; what is queued is still to be written."""

    def replay(self, events: Iterable[Event]) -> None:
        """Put stored events before the live ones. To be called before the first `take`."""
        self._replayed.extend(events)

    def push(self, event: Event) -> None:
        self._live.append(event)
        self._bytes += len(event.message.raw)

    def take(self) -> Event | None:
        """Return the next event, None where there is none at the moment."""
        while self._replayed or self._live:
            if self._replayed:
                event = self._replayed.popleft()
            else:
                event = self._live.popleft()
                self._bytes -= len(event.message.raw)
            if event.id.place > self._last:
                self._last = event.id.place
                return event
        return None

    @property
    def backlog(self) -> tuple[int, int]:
        """How many live events wait here, and their bytes."""
        return len(self._live), self._bytes


class _Stream:
    def __init__(self, number: int, keys: Collection[Key], *, carries: bool) -> None:
        self.number = number
        self.waiting = set(keys)
        self.carries = carries
        self.place = 0
        self.reader: Reader | None = None


class Outbox:
    """The streams of one session.

    `shared`: there is only the standing stream, and everything goes there (HTTP+SSE, WebSocket). `named`: the backend
    says to which request a message belongs, so that one without a request belongs to none.
    """

    def __init__(self, *, shared: bool = False, named: bool = False) -> None:
        self._shared = shared
        self._named = named
        self._streams: dict[int, _Stream] = {STANDING: _Stream(STANDING, (), carries=True)}
        self._next = 1
        self._stream_of: dict[Key, int] = {}
        self._tokens: dict[Key, Key] = {}
        self._held: list[Message] = []
        self._held_bytes = 0
        self._held_notes = 0

    # streams and their readers

    def begin(self, requests: Iterable[Message], *, carries: bool) -> int:
        """Open the stream of a POST with these requests. `carries`: more than the answers can travel on it."""
        requests = tuple(requests)
        number = STANDING if self._shared else self._next
        if not self._shared:
            self._next += 1
            self._streams[number] = _Stream(number, [one.key for one in requests], carries=carries)
        for one in requests:
            self._stream_of[one.key] = number
            token = _token(one.params.get("_meta"))
            if token is not None:
                self._tokens[token] = one.key
        return number

    def attach(self, number: int, after: int | None = None) -> Reader:
        """Attach a connection; one that was attached before is closed. `after`: the place it has already, else all
        that was sent so far. Raises `KeyError` for a stream that is over."""
        stream = self._streams[number]
        if stream.reader is not None:
            stream.reader.closed = True
        stream.reader = Reader(stream.place if after is None else after)
        return stream.reader

    def detach(self, number: int, reader: Reader) -> None:
        """The connection is gone. The stream goes on."""
        reader.closed = True
        stream = self._streams.get(number)
        if stream is not None and stream.reader is reader:
            stream.reader = None

    def is_open(self, number: int) -> bool:
        return number in self._streams

    def is_attached(self, number: int) -> bool:
        stream = self._streams.get(number)
        return stream is not None and stream.reader is not None

    @property
    def any_attached(self) -> bool:
        return any(stream.reader is not None for stream in self._streams.values())

    def place_of(self, number: int) -> EventId:
        """Return the id of the newest event of a stream (place 0 where it has none)."""
        return EventId(number, self._streams[number].place)

    def finish(self, key: Key) -> bool:
        """A request has had its answer, or gets none. Closes its stream where it was the last one; says whether."""
        number = self._stream_of.pop(key, None)
        if self._tokens:
            self._tokens = {token: owner for token, owner in self._tokens.items() if owner != key}
        if number is None or number == STANDING:
            return False
        stream = self._streams[number]
        stream.waiting.discard(key)
        if stream.waiting:
            return False
        del self._streams[number]
        if stream.reader is not None:
            stream.reader.closed = True
        return True

    def close(self) -> None:
        """The session is over: readers write what they have, and end."""
        for stream in self._streams.values():
            if stream.reader is not None:
                stream.reader.closed = True

    # events

    def stamp(self, number: int, message: Message) -> Event:
        """Return the message as the next event of a stream."""
        stream = self._streams[number]
        stream.place += 1
        return Event(EventId(number, stream.place), message)

    def push(self, event: Event) -> Reader | None:
        """Queue a stored event on the attached connection; returns it."""
        stream = self._streams.get(event.id.stream)
        if stream is None or stream.reader is None:
            return None
        stream.reader.push(event)
        return stream.reader

    # which stream

    def stream_of(self, key: Key) -> int | None:
        """Return the stream of a request that waits for its answer."""
        return self._stream_of.get(key)

    def choose(self, message: Message, exchange: Key | None = None, asked_on: int | None = None) -> int | Elsewhere:
        """Return where a request or notification of the server goes.

        `exchange`: the client's request that it belongs to, where the backend knows. `asked_on`: for a cancellation,
        the stream on which the cancelled request of the server went out.
        """
        if self._shared:
            return STANDING
        if message.method == "notifications/progress":
            return self._choose_for_progress(message, exchange)
        related = self._related(message, exchange, asked_on)
        if related is not None:
            return related
        if self.is_attached(STANDING):
            return STANDING
        newest = [one for one in self._streams.values() if one.number != STANDING and self._can_carry(one.number)]
        if newest:
            return newest[-1].number
        return Elsewhere.HOLD

    def _choose_for_progress(self, message: Message, exchange: Key | None) -> int | Elsewhere:
        """Progress goes to its request's stream. After the answer it only makes sense for a task, on a stream that
        stands open."""
        token = _key(message.params.get("progressToken"))
        owner = self._tokens.get(token) if token is not None else None
        belongs_to = exchange or owner
        number = self._stream_of.get(belongs_to) if belongs_to is not None else None
        if number is not None and self._streams[number].carries:
            return number
        return STANDING if self.is_attached(STANDING) else Elsewhere.DROP

    def _related(self, message: Message, exchange: Key | None, asked_on: int | None) -> int | None:
        if message.method == "notifications/cancelled" and asked_on is not None and asked_on in self._streams:
            return asked_on
        if exchange is None and not self._named and message.method not in UNRELATED and len(self._stream_of) == 1:
            exchange = next(iter(self._stream_of))  # a pipe names no request; with one running, it must be that
            if not self.is_attached(self._stream_of[exchange]):
                return None
        number = self._stream_of.get(exchange) if exchange is not None else None
        if number is None or not self._streams[number].carries:
            return None
        if message.kind is Kind.REQUEST and not self.is_attached(number) and self.is_attached(STANDING):
            return None  # somebody must read it: the server waits for the answer
        return number

    def _can_carry(self, number: int) -> bool:
        stream = self._streams[number]
        return stream.carries and stream.reader is not None

    # what waits for a stream

    def hold(self, message: Message) -> bool:
        """Keep a message until a stream comes. Returns False where there is no room for it.

        Of too many messages the oldest notification gives way. A request is never dropped: where only requests wait,
        the new one is not taken, and whoever calls must answer it.
        """
        full = len(self._held) >= HELD_COUNT or self._held_bytes + len(message.raw) > HELD_BYTES
        if full and not self._make_room():
            return False
        self._held.append(message)
        self._held_bytes += len(message.raw)
        self._held_notes += message.kind is not Kind.REQUEST
        return True

    def _make_room(self) -> bool:
        if not self._held_notes:
            return False
        index = next(index for index, one in enumerate(self._held) if one.kind is not Kind.REQUEST)
        self._held_bytes -= len(self._held.pop(index).raw)
        self._held_notes -= 1
        return True

    @property
    def holds(self) -> bool:
        """Whether something waits."""
        return bool(self._held)

    def take_held(self) -> list[Message]:
        """Return what waits, oldest first, and forget it."""
        held, self._held = self._held, []
        self._held_bytes = self._held_notes = 0
        return held

    def withdraw(self, key: Key) -> bool:
        """Take a held request of the server back, as it has cancelled it. Says whether it was there."""
        for index, one in enumerate(self._held):
            if one.kind is Kind.REQUEST and one.key == key:
                self._held_bytes -= len(self._held.pop(index).raw)
                return True
        return False


UNRELATED = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""Notifications that belong to no request, whatever runs."""


def _key(value: object) -> Key | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return key_of(value)


def _token(meta: object) -> Key | None:
    return _key(meta.get("progressToken")) if isinstance(meta, dict) else None
