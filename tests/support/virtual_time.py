"""A relay whose clock a test turns: minutes pass in no time, and every timer rings when it is due.

    world = Timed(patience=Patience(idle=60), traits=PIPE)
    world.host(call(5)); world.passes(240); assert world.answers == {...}

The driver's part is played as the bridge plays it: a request that goes out is written at once (unless `writes` is
false), and a dial succeeds at once.
"""

from __future__ import annotations

import json
from typing import Any

from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, Note, Timer, ToClient, ToServer
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Batch, Key, Message, parse
from mcp_remote_py.core.patience import Patience
from mcp_remote_py.core.relay import Relay
from tests.support.playbook import GREETED, HTTP, INITIALIZE, INITIALIZED, answer


class Timed:
    """See the module's text."""

    def __init__(self, patience: Patience, traits: Traits = HTTP, strategy: str | None = None) -> None:
        self.relay = Relay(
            strategy or ("http-only" if traits is HTTP else "ws-only"), private_id="private", patience=patience
        )
        self.traits = traits
        self.now = 0.0
        self.writes = True
        self.dials = True
        self.timers: dict[Timer, float] = {}
        self.armed = 0
        """How many times a timer was armed."""
        self.told: list[dict[str, Any]] = []
        """What the host was told, batches item by item."""
        self.lines: list[bytes] = []
        self.at_server: list[Message] = []
        self.dropped: list[Key] = []
        self.notes: list[tuple[str, str]] = []

    def greet(self) -> None:
        """The whole handshake."""
        self.host(INITIALIZE)
        self.server(GREETED, INITIALIZE.key if self.traits is HTTP else None)
        self.host(INITIALIZED)
        self.told.clear()
        self.at_server.clear()

    def perform(self, commands: list[Command]) -> None:
        """Do what the relay wants."""
        for command in commands:
            match command:
                case ToClient(raw):
                    self.lines.append(raw)
                    docs = json.loads(raw)
                    self.told += docs if isinstance(docs, list) else [docs]
                case ToServer(message, exchange):
                    self.at_server.append(message)
                    if exchange is not None and self.writes:
                        self.perform(self.relay.written(exchange))
                case Arm(name, seconds):
                    self.timers[name] = self.now + seconds
                    self.armed += 1
                case Disarm(name):
                    self.timers.pop(name, None)
                case Drop(exchange):
                    self.dropped.append(exchange)
                case Note(level, text):
                    self.notes.append((level, text))
                case Dial() if self.dials:
                    self.perform(self.relay.link_up(self.traits))

    def host(self, message: Message | Batch | bytes) -> None:
        self.perform(self.relay.from_client(parse(message) if isinstance(message, bytes) else message))

    def server(self, message: Message, exchange: Key | None = None) -> None:
        self.perform(self.relay.from_server(message, exchange))

    def answers(self, identifier: object) -> None:
        """The server answers this request."""
        reply = answer(identifier)
        self.server(reply, reply.key if self.traits is HTTP else None)

    def heard(self, message: Message) -> None:
        self.perform(self.relay.heard(message.key))

    def passes(self, seconds: float) -> None:
        """Let time go by; whatever is due rings on the way, in its order."""
        end = self.now + seconds
        while self.timers:
            name = min(self.timers, key=lambda timer: self.timers[timer])
            if self.timers[name] > end:
                break
            self.now = self.timers.pop(name)
            self.perform(self.relay.timer(name))
        self.now = end

    def errors(self) -> list[tuple[Any, str]]:
        """The ids that were answered with an error so far, and its text."""
        return [(doc["id"], doc["error"]["message"]) for doc in self.told if "error" in doc]

    def cancels(self) -> list[Any]:
        """The ids that the server was told to cancel."""
        return [
            message.params["requestId"] for message in self.at_server if message.method == "notifications/cancelled"
        ]
