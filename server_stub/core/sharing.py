"""Sharing: many clients, one child. Ids and progress tokens are rewritten, the greeting is done once. Pure.

Every request goes to the child under a private id that nobody can guess, so that no client can claim, cancel or
disturb what belongs to another; the private id is its progress token too. The child is greeted once, by us, and
`initialize` is answered from what it said.

What the child says on its own goes to the clients that have a session (`core/audience` says to which). What it asks
goes to the session whose request is in progress, where there is exactly one, else to the only session; where neither
is there, or the client does not offer what is asked, the child hears so (`core/questions`). It is greeted with all that
a client might offer, as it serves more than the one that came first. Clients without a session can be told and asked
nothing.

    DOWN ── child_up ──▶ GREETING ── answered ──▶ READY
      ▲                    │  ▲
      │                    ▼  └── the next request
      │                    UP     an error: the waiting requests get it
      └──── child_gone ────┴── the open requests get the fault

After the greeting a child gets what those before it had (log level, subscriptions), and its lists are read: where they
differ from those of the child before, the sessions hear that they have changed (`core/contents`). They hear so, too,
when a child that was to follow another does not come, and when one comes after all.
(JSON-RPC 2.0 section 4; MCP base protocol, "Requests", "Progress", "Cancellation".)
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import Fault, ShuttingDown
from mcp_remote_py.core.greeting import KINDS, LISTS
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.memory import capabilities_of
from mcp_remote_py.core.message import JsonId, Key, Kind, Message, key_of
from server_stub.core.audience import LEVELS, Audience
from server_stub.core.contents import Contents, Page
from server_stub.core.questions import CAPABILITIES, NEEDED, Questions
from server_stub.core.rewriting import id_in, spliced, token_of, under_id

_INITIALIZE = "initialize"
_INITIALIZED = "notifications/initialized"
_CANCELLED = "notifications/cancelled"
_PROGRESS = "notifications/progress"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"
_SET_LEVEL = "logging/setLevel"
_SWALLOWED = ("notifications/roots/list_changed",)  # the roots of one client are not those of the others
_CHANGES = {f"notifications/{kind}/list_changed": kind for kind in KINDS}


class ToChild(NamedTuple):
    """Carry this to the child. `private` names the request it is, or is None. `is_ours`: no client waits for it."""

    message: Message
    private: str | None = None
    is_ours: bool = False


class ToClient(NamedTuple):
    """Give this to whoever waits for the request `private`. `last`: it is the answer, and nothing follows."""

    private: str
    message: Message
    last: bool


class ToSession(NamedTuple):
    """Give this to the session of a client; it belongs to none of its requests."""

    client: int
    message: Message


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


Command = ToChild | ToClient | ToSession | Failed | Ended | Note


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
    """See the module's text. `ourselves` is the `clientInfo` we greet with where the first client gives none.

    `may_ask`: its clients may have sessions, so that the child can ask them things.
    """

    def __init__(self, ourselves: dict[str, Any], *, may_ask: bool = False) -> None:
        self._ourselves = ourselves
        self._may_ask = may_ask
        self._stage = Stage.DOWN
        self._open: InFlight[_Open] = InFlight()
        self._private_of: dict[tuple[int, Key], str] = {}
        self._unsent: dict[str, None] = {}  # in the order in which they came
        self._greeting: str | None = None
        self._greeted: Message | None = None
        self._audience = Audience()
        self._questions = Questions()
        self._contents = Contents()
        self._seed = ""  # what the ids of our own requests to this child begin with
        self._errands: dict[str, Page | None] = {}  # our own requests that are open
        self._count = 0

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def open_requests(self) -> int:
        return len(self._open)

    # --- Events from clients -----------------------------------------------------------------------------------

    def request(self, client: int, message: Message, private: str) -> list[Command]:
        """A client asks something; `private` is a fresh text that nobody can guess."""
        self._open.begin(key_of(private), _Open(client, message, token_of(message)))
        self._private_of[client, message.key] = private
        self._unsent[private] = None
        return self._go_on()

    def notice(self, client: int, message: Message) -> list[Command]:
        """A client sent a notification or an answer."""
        if message.is_answer:
            answer = self._questions.answered(client, message)
            return [Note("a client answered what it was not asked") if answer is None else ToChild(answer)]
        if message.method == _CANCELLED:
            return self._cancel(client, message)
        if message.method == _INITIALIZED:
            self._audience.ready(client)
            return []
        if message.method in _SWALLOWED:
            return []
        if message.method == _PROGRESS:
            progress = self._questions.progress(client, message)
            return [] if progress is None else [ToChild(progress)]
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

    def join(self, client: int) -> None:
        """A client has a session, in which it can be told and asked things."""
        self._audience.join(client)

    def part(self, client: int) -> list[Command]:
        """The session of a client is over."""
        level = self._audience.level
        uris = self._audience.part(client)
        text = "the client that was asked has gone"
        commands: list[Command] = [
            ToChild(msg.error(identifier, -32603, text)) for identifier in self._questions.part(client)
        ]
        if self._stage is Stage.READY:
            commands += [self._errand(_UNSUBSCRIBE, {"uri": uri}) for uri in uris]
            if self._audience.level not in (None, level):
                commands.append(self._errand(_SET_LEVEL, {"level": self._audience.level}))
        return commands

    # --- Events from the child ---------------------------------------------------------------------------------

    def child_up(self, private: str) -> list[Command]:
        """A fresh child is there: it is greeted. `private`: a fresh text that nobody can guess."""
        self._stage, self._greeted, self._greeting, self._seed = Stage.UP, None, None, private
        self._errands.clear()
        return [self._greet()]

    def child_gone(self, fault: Fault) -> list[Command]:
        """The child ended, or could not be started: every open request ends with the fault."""
        if self._stage is not Stage.READY and not isinstance(fault, ShuttingDown):
            self._contents.lost()  # of one that ended, the next may offer the same, and soon
        self._stage, self._greeted, self._greeting = Stage.DOWN, None, None
        self._errands.clear()
        commands: list[Command] = []
        for key in self._open:
            private = str(key.value)
            sent = self._was_sent(private)
            self._finish(private)
            commands.append(Failed(private, fault if sent else fault.restated(may_have_run=False)))
        self._unsent.clear()
        withdrawn = [ToSession(client, message) for client, message in self._questions.clear()]
        return [*commands, *withdrawn, *self._say_what_changed()]

    def not_sent(self, private: str, fault: Fault) -> list[Command]:
        """A request, of a client or of our own, could not be written to the child."""
        if private == self._greeting:
            return []  # the child is going; `child_gone` follows
        if private in self._errands:
            return self._answered_errand(private, msg.error(private, -32603, str(fault)))
        entry = self._finish(private)
        if entry is None:
            return []
        self._took_back(entry)
        return [Failed(private, fault)]

    def from_child(self, message: Message, fresh: str) -> list[Command]:
        """The child said something. `fresh`: a text that nobody can guess, where it is a request."""
        if message.kind is Kind.REQUEST and message.id is not None:
            return self._asked(message, message.id, fresh)
        if message.kind is Kind.NOTIFICATION:
            return self._told(message)
        if message.id is None:
            return [Note("the server sent an error that belongs to no request")]
        if message.id == self._greeting:
            return self._answered_greeting(message)
        private = str(message.id)
        if isinstance(message.id, str) and private in self._errands:
            return self._answered_errand(private, message)
        entry = self._finish(private) if isinstance(message.id, str) else None
        if entry is None or entry.message.id is None:
            return [Note("the server answered a request that nobody waits for: late, doubled or invented")]
        if message.kind is Kind.ERROR:
            self._took_back(entry)
        answered = ToClient(private, under_id(message, private, entry.message.id), last=True)
        if entry.message.method in LISTS and self._contents.is_outdated:
            return [answered, *self._read(news=False)]  # a client looks at what has changed: so do we
        return [answered]

    # --- The greeting ------------------------------------------------------------------------------------------

    def _go_on(self) -> list[Command]:
        """Let the waiting requests go, or greet the child again for the first of them."""
        self._unsent = {private: None for private in self._unsent if key_of(private) in self._open}
        if not self._unsent:
            return []
        if self._stage is Stage.UP:
            return [self._greet()]
        if self._stage is not Stage.READY:
            return []
        commands: list[Command] = []
        for private in list(self._unsent):
            del self._unsent[private]
            commands += self._send(private)
        return commands

    def _greet(self) -> Command:
        first = next((self._open.get(key_of(private)) for private in self._unsent), None)
        info = first.message.params.get("clientInfo") if first and first.message.method == _INITIALIZE else None
        params = {
            "protocolVersion": versions.LATEST_LEGACY,
            "capabilities": CAPABILITIES if self._may_ask else {},
            "clientInfo": info if isinstance(info, dict) else self._ourselves,
        }
        self._stage = Stage.GREETING
        self._greeting = self._own_id("greeting")
        return ToChild(msg.request(self._greeting, _INITIALIZE, params), self._greeting)

    def _answered_greeting(self, message: Message) -> list[Command]:
        self._greeting = None
        if message.kind is Kind.RESULT:
            self._stage, self._greeted = Stage.READY, message
            return [ToChild(msg.notification(_INITIALIZED)), *self._restore(), *self._go_on(), *self._read(news=True)]
        self._stage = Stage.UP
        commands: list[Command] = [Note("the server refused to be initialized")]
        for private in list(self._unsent):
            entry = self._finish(private)
            if entry is not None and entry.message.id is not None:
                commands.append(ToClient(private, msg.with_id(message, entry.message.id), last=True))
        self._unsent.clear()
        return commands

    def _restore(self) -> list[Command]:
        level = self._audience.level
        commands = [] if level is None else [self._errand(_SET_LEVEL, {"level": level})]
        return commands + [self._errand(_SUBSCRIBE, {"uri": uri}) for uri in self._audience.subscriptions]

    # --- Our own requests --------------------------------------------------------------------------------------

    def _own_id(self, what: str) -> str:
        self._count += 1
        return f"{self._seed}-{what}-{self._count}"

    def _errand(self, method: str, params: dict[str, Any], page: Page | None = None) -> Command:
        identifier = self._own_id("errand")
        self._errands[identifier] = page
        return ToChild(msg.request(identifier, method, params), is_ours=True)

    def _read(self, *, news: bool) -> list[Command]:
        """Read the lists. `news`: the clients have not been told yet that something may have changed."""
        if not self._may_ask or self._greeted is None:
            return []  # there is nobody who could be told
        pages = self._contents.read(capabilities_of(self._greeted), compares=news)
        return [self._errand(page.method, page.params, page) for page in pages] + self._say_what_changed()

    def _answered_errand(self, private: str, message: Message) -> list[Command]:
        page = self._errands.pop(private)
        if page is None:
            return []
        more = self._contents.answered(page, message)
        return self._say_what_changed() if more is None else [self._errand(more.method, more.params, more)]

    def _say_what_changed(self) -> list[Command]:
        changes = [msg.notification(f"notifications/{kind}/list_changed") for kind in self._contents.changed()]
        return [ToSession(client, change) for change in changes for client in self._audience.all]

    # --- From a client to the child ----------------------------------------------------------------------------

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

    def _send(self, private: str) -> list[Command]:
        entry = self._open.get(key_of(private))
        if entry is None or entry.message.id is None:
            return []
        answer = self._answer_here(entry, entry.message.id)
        if answer is not None:
            self._finish(private)
            return [ToClient(private, answer, last=True)]
        message = msg.with_id(entry.message, private)
        if entry.token is not None:
            message = spliced(message, ("params", "_meta", "progressToken"), private)
        if _level_of(entry.message) is not None and self._audience.level is not None:
            message = spliced(message, ("params", "level"), self._audience.level)
        return [ToChild(message, private)]

    def _answer_here(self, entry: _Open, identifier: JsonId) -> Message | None:
        """Return the answer to what the child must not, or need not, be asked."""
        method, client = entry.message.method, entry.client
        if method == _INITIALIZE and self._greeted is not None:
            self._audience.introduced(client, entry.message)
            return _greeting_for(entry.message, self._greeted)
        if method == _SET_LEVEL:
            return self._set_level(entry, identifier)
        uri = entry.message.params.get("uri")
        if method == _SUBSCRIBE and isinstance(uri, str) and not self._audience.subscribe(client, uri):
            return msg.error(identifier, -32603, "this session has too many subscriptions")
        if method == _UNSUBSCRIBE and isinstance(uri, str):
            self._audience.unsubscribe(client, uri)
            if self._audience.is_subscribed(uri):
                return msg.result(identifier, {})  # others go on listening
        return None

    def _set_level(self, entry: _Open, identifier: JsonId) -> Message | None:
        before, level = self._audience.level, _level_of(entry.message)
        if level is None:
            return None  # the child is to say what is wrong with it
        self._audience.set_level(entry.client, level)
        if before is None or (entry.client in self._audience and self._audience.level != before):
            return None
        return msg.result(identifier, {})  # the child says enough already; each client hears what it wants

    def _took_back(self, entry: _Open) -> None:
        """A request was not granted."""
        uri = entry.message.params.get("uri")
        if entry.message.method == _SUBSCRIBE and isinstance(uri, str):
            self._audience.unsubscribe(entry.client, uri)

    def _cancel(self, client: int, message: Message) -> list[Command]:
        target = id_in(message.params, "requestId")
        private = None if target is None else self._private_of.get((client, key_of(target)))
        entry = None if private is None else self._open.get(key_of(private))
        if private is None or entry is None or entry.message.method == _INITIALIZE:
            return []  # finished already, or not its own: a cancellation is then ignored
        self._finish(private)
        ended = Ended(private)
        return [ToChild(msg.with_param(message, "requestId", private)), ended] if self._was_sent(private) else [ended]

    # --- From the child to clients -----------------------------------------------------------------------------

    def _asked(self, message: Message, identifier: JsonId, fresh: str) -> list[Command]:
        if message.method == "ping":
            return [ToChild(msg.result(identifier, {}))]
        client, private = self._in_progress()
        if client is None:
            text = f"{message.method}: this server is shared by several clients, and none of them can be meant"
            return [Note(text), ToChild(msg.error(identifier, -32601, text))]
        needed = NEEDED.get(message.method or "")
        if needed is not None and not self._audience.offers(client, needed):
            text = f"{message.method}: the client that this belongs to does not offer {needed}"
            return [Note(text), ToChild(msg.error(identifier, -32601, text))]
        question = self._questions.ask(client, message, fresh)
        return [ToSession(client, question) if private is None else ToClient(private, question, last=False)]

    def _in_progress(self) -> tuple[int | None, str | None]:
        """Return the session that the child can mean, and the request in whose course it asks."""
        asking = {
            str(key.value): entry.client
            for key in self._open
            if (entry := self._open.get(key)) is not None and self._was_sent(str(key.value))
        }
        clients = set(asking.values())
        if not clients:
            everyone = self._audience.all
            return (everyone[0], None) if len(everyone) == 1 else (None, None)
        client = clients.pop()
        if clients or not self._audience.is_introduced(client):
            return None, None
        return client, list(asking)[-1]

    def _told(self, message: Message) -> list[Command]:
        if message.method == _PROGRESS:
            return self._told_progress(message)
        if message.method == _CANCELLED:
            withdrawn = self._questions.withdrawn(message)
            return [] if withdrawn is None else [ToSession(*withdrawn)]
        if message.method in _CHANGES:
            self._contents.outdated(_CHANGES[message.method])
        return [ToSession(client, message) for client in self._meant(message)]

    def _meant(self, message: Message) -> list[int]:
        """Return the sessions for which a notification is."""
        if message.method in _CHANGES:
            return self._audience.all
        if message.method == "notifications/message":
            return self._audience.readers(message.params.get("level"))
        if message.method == "notifications/resources/updated":
            return self._audience.subscribers(message.params.get("uri"))
        client, _ = self._in_progress()
        return [] if client is None else [client]

    def _told_progress(self, message: Message) -> list[Command]:
        token = message.params.get("progressToken")
        entry = self._open.get(key_of(token)) if isinstance(token, str) else None
        if isinstance(token, str) and entry is not None and entry.token is not None:
            return [ToClient(token, msg.with_param(message, "progressToken", entry.token), last=False)]
        return [Note(f"{message.method} of the shared server was dropped: it belongs to no client")]


def _level_of(request: Message) -> str | None:
    """Return the log level that a request sets; None for another request, and for a level that is none."""
    level = request.params.get("level") if request.method == _SET_LEVEL else None
    return level if isinstance(level, str) and level in LEVELS else None


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
    return spliced(answer, ("result", "protocolVersion"), asked)
