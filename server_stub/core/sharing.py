"""Sharing: many clients, one child. Ids and progress tokens are rewritten, the greeting is done once. Pure.

For clients without a session. Every request goes to the child under a private id that nobody can guess, so that no
client can claim, cancel or disturb what belongs to another; the private id is its progress token too. The child is
greeted once, by us, and `initialize` is answered from what it said. What a shared child asks of its client cannot be
answered by anyone: it hears that (and `ping` is answered). What it says on its own has no addressee.

    DOWN ── child_up ──▶ UP ── first request ──▶ GREETING ── answered ──▶ READY
      ▲                  ▲                           └── an error: the waiting requests get it ──▶ UP
      └──── child_gone ──┴─────────────── the open requests get the fault

(JSON-RPC 2.0 section 4; MCP base protocol, "Requests", "Progress", "Cancellation".)
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.message import JsonId, Key, Kind, Message, key_of

_INITIALIZE = "initialize"
_CANCELLED = "notifications/cancelled"
_PROGRESS = "notifications/progress"
_SWALLOWED = ("notifications/initialized", "notifications/roots/list_changed", _PROGRESS)


class ToChild(NamedTuple):
    """Carry this to the child. `private` names the request it is, or is None."""

    message: Message
    private: str | None = None


class ToClient(NamedTuple):
    """Give this to whoever waits for the request `private`. `last`: it is the answer, and nothing follows."""

    private: str
    message: Message
    last: bool


class Failed(NamedTuple):
    """The request `private` ends with a fault."""

    private: str
    fault: Fault


class Ended(NamedTuple):
    """The request `private` ends without an answer: its client has cancelled it."""

    private: str


class Note(NamedTuple):
    """A line for the log."""

    text: str


Command = ToChild | ToClient | Failed | Ended | Note


class Stage(Enum):
    """How far the child is."""

    DOWN = "down"
    UP = "up"
    GREETING = "greeting"
    READY = "ready"


class _Open(NamedTuple):
    """A request of a client: whose, as it came, and the progress token it asked for."""

    client: int
    message: Message
    token: JsonId | None


class Sharing:
    """See the module's text. `ourselves` is the `clientInfo` we greet with where the first client gives none."""

    def __init__(self, ourselves: dict[str, Any]) -> None:
        self._ourselves = ourselves
        self._stage = Stage.DOWN
        self._open: InFlight[_Open] = InFlight()
        self._private_of: dict[tuple[int, Key], str] = {}
        self._unsent: dict[str, None] = {}  # in the order in which they came
        self._greeting: str | None = None
        self._greeted: Message | None = None

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def open_requests(self) -> int:
        return len(self._open)

    # --- Events from clients -----------------------------------------------------------------------------------

    def request(self, client: int, message: Message, private: str) -> list[Command]:
        """A client asks something; `private` is a fresh text that nobody can guess."""
        self._open.begin(key_of(private), _Open(client, message, _token_of(message)))
        self._private_of[client, message.key] = private
        self._unsent[private] = None
        return self._go_on()

    def notice(self, client: int, message: Message) -> list[Command]:
        """A client sent a notification or an answer."""
        if message.kind is not Kind.NOTIFICATION:
            return [Note("a client answered a question that a shared server cannot have asked")]
        if message.method == _CANCELLED:
            return self._cancel(client, message)
        if message.method in _SWALLOWED:
            return []
        if self._stage is not Stage.READY:
            return [Note(f"{message.method} was dropped: the server is not ready")]
        return [ToChild(message)]

    def leave(self, private: str) -> list[Command]:
        """Nobody waits for this request any more. The child hears so; a late answer will be dropped."""
        entry = self._finish(private)
        if entry is None:
            return []
        if not self._was_sent(private) or entry.message.method == _INITIALIZE:
            return []
        params = {"requestId": private, "reason": "the client has gone"}
        return [ToChild(msg.notification(_CANCELLED, params))]

    # --- Events from the child ---------------------------------------------------------------------------------

    def child_up(self) -> list[Command]:
        """A fresh child is there, not greeted yet."""
        self._stage, self._greeted, self._greeting = Stage.UP, None, None
        return self._go_on()

    def child_gone(self, fault: Fault) -> list[Command]:
        """The child ended, or could not be started: every open request ends with the fault."""
        self._stage, self._greeted, self._greeting = Stage.DOWN, None, None
        commands: list[Command] = []
        for key in self._open:
            private = str(key.value)
            sent = self._was_sent(private)
            self._finish(private)
            commands.append(Failed(private, fault if sent else _never_ran(fault)))
        return commands

    def not_sent(self, private: str, fault: Fault) -> list[Command]:
        """A request could not be written to the child."""
        if private == self._greeting:
            return []  # the child is going; `child_gone` follows
        return [] if self._finish(private) is None else [Failed(private, fault)]

    def from_child(self, message: Message) -> list[Command]:
        """The child said something."""
        if message.kind is Kind.REQUEST and message.id is not None:
            return self._asked(message, message.id)
        if message.kind is Kind.NOTIFICATION:
            return self._told(message)
        if message.id is None:
            return [Note("the server sent an error that belongs to no request")]
        if message.id == self._greeting:
            return self._answered_greeting(message)
        private = str(message.id)
        entry = self._finish(private) if isinstance(message.id, str) else None
        if entry is None or entry.message.id is None:
            return [Note("the server answered a request that nobody waits for: late, doubled or invented")]
        return [ToClient(private, _under_id(message, private, entry.message.id), last=True)]

    # --- Inside ------------------------------------------------------------------------------------------------

    def _was_sent(self, private: str) -> bool:
        return private not in self._unsent

    def _finish(self, private: str) -> _Open | None:
        entry = self._open.finish(key_of(private))
        if entry is None:
            return None
        place = (entry.client, entry.message.key)
        if self._private_of.get(place) == private:
            del self._private_of[place]
        return entry

    def _go_on(self) -> list[Command]:
        """Let the waiting requests go, or greet the child for the first of them."""
        self._unsent = {private: None for private in self._unsent if key_of(private) in self._open}
        if not self._unsent:
            return []
        if self._stage is Stage.UP:
            return [self._greet(next(iter(self._unsent)))]
        if self._stage is not Stage.READY:
            return []
        commands: list[Command] = []
        for private in list(self._unsent):
            del self._unsent[private]
            commands += self._send(private)
        return commands

    def _greet(self, private: str) -> Command:
        entry = self._open.get(key_of(private))
        info = entry.message.params.get("clientInfo") if entry and entry.message.method == _INITIALIZE else None
        params = {
            "protocolVersion": versions.LATEST_LEGACY,
            "capabilities": {},  # what a client can do for a server needs a way back, which a shared one lacks
            "clientInfo": info if isinstance(info, dict) else self._ourselves,
        }
        self._stage = Stage.GREETING
        self._greeting = f"{private}-greeting"
        return ToChild(msg.request(self._greeting, _INITIALIZE, params), self._greeting)

    def _answered_greeting(self, message: Message) -> list[Command]:
        self._greeting = None
        if message.kind is Kind.RESULT:
            self._stage, self._greeted = Stage.READY, message
            return [ToChild(msg.notification("notifications/initialized")), *self._go_on()]
        self._stage = Stage.UP
        commands: list[Command] = [Note("the server refused to be initialized")]
        for private in list(self._unsent):
            entry = self._finish(private)
            if entry is not None and entry.message.id is not None:
                commands.append(ToClient(private, msg.with_id(message, entry.message.id), last=True))
        self._unsent.clear()
        return commands

    def _send(self, private: str) -> list[Command]:
        entry = self._open.get(key_of(private))
        if entry is None:
            return []
        if entry.message.method == _INITIALIZE and self._greeted is not None:
            self._finish(private)
            return [ToClient(private, _greeting_for(entry.message, self._greeted), last=True)]
        message = msg.with_id(entry.message, private)
        if entry.token is not None:
            message = _spliced(message, ("params", "_meta", "progressToken"), private)
        return [ToChild(message, private)]

    def _cancel(self, client: int, message: Message) -> list[Command]:
        target = _id_in(message.params, "requestId")
        private = None if target is None else self._private_of.get((client, key_of(target)))
        entry = None if private is None else self._open.get(key_of(private))
        if private is None or entry is None or entry.message.method == _INITIALIZE:
            return []  # finished already, or not its own: a cancellation is then ignored
        self._finish(private)
        ended = Ended(private)
        return [ToChild(msg.with_param(message, "requestId", private)), ended] if self._was_sent(private) else [ended]

    def _asked(self, message: Message, identifier: JsonId) -> list[Command]:
        if message.method == "ping":
            return [ToChild(msg.result(identifier, {}))]
        text = f"{message.method}: this server is shared by clients without a session, and none of them can be asked"
        return [Note(text), ToChild(msg.error(identifier, -32601, text))]

    def _told(self, message: Message) -> list[Command]:
        if message.method == _CANCELLED:
            return []  # of a question that was answered at once
        token = message.params.get("progressToken") if message.method == _PROGRESS else None
        entry = self._open.get(key_of(token)) if isinstance(token, str) else None
        if isinstance(token, str) and entry is not None and entry.token is not None:
            return [ToClient(token, msg.with_param(message, "progressToken", entry.token), last=False)]
        return [Note(f"{message.method} of the shared server was dropped: it belongs to no client")]


def _id_in(members: dict[str, Any], name: str) -> JsonId | None:
    value = members.get(name)
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _token_of(message: Message) -> JsonId | None:
    meta = message.params.get("_meta")
    return _id_in(meta, "progressToken") if isinstance(meta, dict) else None


def _never_ran(fault: Fault) -> Fault:
    return type(fault)(str(fault), hint=fault.hint, may_have_run=False, http_status=fault.http_status)


def _under_id(message: Message, private: str, identifier: JsonId) -> Message:
    """Return an answer under the client's own id. Where the private id stands once, its bytes are all that change."""
    mark = msg.encode(private)
    if message.raw.count(mark) != 1:
        return msg.with_id(message, identifier)
    raw = message.raw.replace(mark, msg.encode(identifier), 1)
    return Message(raw, message.kind, identifier, message.method, {**message.doc, "id": identifier})


def _greeting_for(request: Message, greeted: Message) -> Message:
    """Return the child's answer to `initialize` as the answer to this client.

    A client that asks for an older revision than the child speaks gets the one it asked for: revisions only add, and
    what differs in carriage is the business of the front. A newer one gets the child's.
    """
    identifier = request.id if request.id is not None else ""
    answer = msg.with_id(greeted, identifier)
    asked, spoken = request.params.get("protocolVersion"), greeted.result.get("protocolVersion")
    if asked == spoken or asked not in versions.LEGACY or spoken not in versions.LEGACY:
        return answer
    if versions.LEGACY.index(asked) > versions.LEGACY.index(spoken):
        return answer
    return _spliced(answer, ("result", "protocolVersion"), asked)


def _spliced(message: Message, path: tuple[str, ...], value: JsonId) -> Message:
    """Return the same message with the one value at this path of objects replaced; every other byte stays.

    Where a name stands twice in an object, the last one counts, as for every JSON reader we know.
    """
    text = message.raw.decode("utf-8")
    start, end = 0, len(text)
    for name in path:
        spans = [member for member in msg.members(text[start:end]) if member.name == name]
        if not spans:
            return message
        start, end = start + spans[-1].start, start + spans[-1].end
    return msg.parse_one((text[:start] + msg.encode(value).decode("utf-8") + text[end:]).encode("utf-8"))


class Starts:
    """How often a child may be started: three times in five minutes (`now` in seconds of any steady clock)."""

    def __init__(self, limit: int = 3, window: float = 300.0) -> None:
        self._limit = limit
        self._window = window
        self._times: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Return the seconds until the next start is allowed; zero means that this one is, and counts it."""
        while self._times and self._times[0] <= now - self._window:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return self._times[0] + self._window - now
        self._times.append(now)
        return 0.0
