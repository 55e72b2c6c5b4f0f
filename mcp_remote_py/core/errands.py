"""Errands: requests of our own that give a new session what the old one had, and look whether its lists are the same.

They carry private ids, and no answer to them reaches the host. They end with the session they were sent in.
Sources: 2025-11-25, "Logging", "Resources: Subscriptions" and the list_changed notifications. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from mcp_remote_py.core import greeting
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Command, Drop, Note, ToServer
from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.memory import Memory
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.redact import printable


class Errands:
    """Those that wait for their answers. `next_id` gives a private id for each."""

    def __init__(self, memory: Memory, next_id: Callable[[], str]) -> None:
        self._memory = memory
        self._next_id = next_id
        self._open: dict[Key, Message] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def restore(self) -> list[Command]:
        """Give the new session the log level and the subscriptions of the old one."""
        return [self._send(method, params) for method, params in self._memory.to_restore()]

    def compare(self) -> list[Command]:
        """Ask for the lists that the host has seen, as they may be others in the new session."""
        offered = self._memory.capabilities()
        wanted = [method for method in self._memory.to_compare() if greeting.kind_of(method) in offered]
        return [self._send(method, {}) for method in wanted]

    def done(self, answer: Message) -> tuple[list[Command], str | None]:
        """One was answered. Returns what is to be logged, and the kind of list that is another one now, if one is."""
        request = self._open.pop(answer.key)
        method = request.method or ""
        if answer.kind is Kind.ERROR:
            return [Note("warning", f"the new session did not take over {method}: {words_of(answer)}")], None
        if method not in greeting.LISTS or self._memory.is_as_known(method, answer):
            return [], None
        self._memory.saw(request, answer)
        return [], greeting.kind_of(method)

    def failed(self, key: Key, fault: Fault | None) -> list[Command]:
        """One will not be answered any more."""
        request = self._open.pop(key)
        return [Note("warning", f"the new session did not take over {request.method}: {fault or 'no answer came'}")]

    def drop(self) -> list[Command]:
        """The session is gone."""
        commands: list[Command] = [Drop(key) for key in self._open]
        self._open.clear()
        return commands

    def _send(self, method: str, params: dict[str, object]) -> Command:
        request = msg.request(self._next_id(), method, params)
        self._open[request.key] = request
        return ToServer(request, request.key)


def words_of(error: Message) -> str:
    """Return the message of a JSON-RPC error, for a sentence."""
    found = error.doc.get("error")
    return printable(str(found.get("message", "")), 200) if isinstance(found, dict) else ""
