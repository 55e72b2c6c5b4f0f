"""A conversation as a test: events go in, the commands that come out are compared, one step after the other.

    play(Relay(...)).client(CALL).expect(Dial("http")).up().expect(ToServer(CALL, key)) ...

The type of each command is compared before its value, as two tuples of different type may be equal. `Note` commands are
for people and are left out of the comparison; `notes` keeps their texts.
"""

from __future__ import annotations

import json
from typing import Any, Self

from mcp_remote_py.core.commands import Command, Note, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Batch, Key, Message, parse
from mcp_remote_py.core.relay import Relay

HTTP = Traits(streams_per_exchange=True)
PIPE = Traits(streams_per_exchange=False)


def m(doc: dict[str, Any] | str) -> Message:
    """Make a message of a dict (compact) or of its very text."""
    parsed = parse((doc if isinstance(doc, str) else json.dumps(doc, separators=(",", ":"))).encode())
    assert isinstance(parsed, Message)
    return parsed


def call(identifier: object = 5, method: str = "tools/call", **params: Any) -> Message:
    return m({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params})


def note(method: str, **params: Any) -> Message:
    return m({"jsonrpc": "2.0", "method": method, "params": params})


def answer(identifier: object = 5, result: object = None) -> Message:
    return m({"jsonrpc": "2.0", "id": identifier, "result": {} if result is None else result})


class Play:
    """One conversation with a relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.pending: list[Command] = []
        self.notes: list[str] = []

    def _take(self, commands: list[Command]) -> Self:
        self.notes += [command.text for command in commands if isinstance(command, Note)]
        self.pending += [command for command in commands if not isinstance(command, Note)]
        return self

    def client(self, message: Message | Batch) -> Self:
        return self._take(self.relay.from_client(message))

    def server(self, message: Message, exchange: Key | None = None) -> Self:
        return self._take(self.relay.from_server(message, exchange))

    def written(self, exchange: Key) -> Self:
        return self._take(self.relay.written(exchange))

    def heard(self, exchange: Key) -> Self:
        return self._take(self.relay.heard(exchange))

    def over(self, exchange: Key, fault: Fault | None = None) -> Self:
        return self._take(self.relay.exchange_over(exchange, fault))

    def up(self, traits: Traits = HTTP) -> Self:
        return self._take(self.relay.link_up(traits))

    def failed(self, fault: Fault) -> Self:
        return self._take(self.relay.link_failed(fault))

    def down(self, fault: Fault) -> Self:
        return self._take(self.relay.link_down(fault))

    def rings(self, purpose: str, exchange: Key) -> Self:
        return self._take(self.relay.timer(Timer(purpose, exchange)))

    def stops(self, reason: str = "end of input") -> Self:
        return self._take(self.relay.stop(reason))

    def expect(self, *commands: Command) -> Self:
        """Exactly these commands came out since the last look, in this order."""
        taken, self.pending = self.pending, []
        assert [(type(command), command) for command in taken] == [(type(command), command) for command in commands]
        return self

    def answers(self, *expected: tuple[object, object]) -> Self:
        """Exactly these (id, code or "result") pairs went to the client since the last look, and nothing else."""
        taken, self.pending = self.pending, []
        found = []
        for command in taken:
            assert isinstance(command, ToClient), command
            doc = json.loads(command.raw)
            found.append((doc["id"], doc["error"]["code"] if "error" in doc else "result"))
        assert found == list(expected)
        return self

    def skip(self) -> Self:
        self.pending = []
        return self

    def nothing(self) -> Self:
        return self.expect()

    def sent(self) -> list[ToServer]:
        """Take what went to the server since the last look."""
        taken, self.pending = self.pending, []
        return [command for command in taken if isinstance(command, ToServer)]


def play(relay: Relay) -> Play:
    return Play(relay)


def a_relay(strategy: str = "http-only", **options: Any) -> Relay:
    return Relay(strategy, private_id="private", **options)


INITIALIZE = call(0, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "t"})
GREETED = answer(0, {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s"}})
INITIALIZED = note("notifications/initialized")


def greeted(strategy: str = "http-only", traits: Traits = HTTP, **options: Any) -> Play:
    """A conversation after its handshake."""
    script = play(a_relay(strategy, **options))
    script.client(INITIALIZE).up(traits).server(GREETED, INITIALIZE.key if traits is HTTP else None)
    if traits is HTTP:
        script.over(INITIALIZE.key)
    return script.client(INITIALIZED).skip()
