"""Audience: the clients with a session that share a child, and which of them hears what it says on its own. Pure.

A change of a list is news for all; an updated resource for those who subscribed to it; a log line for those whose level
it reaches. To the child they are one client: it gets the lowest level of all, and an unsubscription only when the last
one leaves. (MCP 2025-11-25: "Logging", "Resources: Subscriptions".)
"""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core.message import Message

MOST_SUBSCRIPTIONS = 10_000
"""Of one session."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_UNASKED = LEVELS.index("info")
"""What a client that has set no level gets while others have set one."""


class _Listener:
    """One session."""

    def __init__(self) -> None:
        self.capabilities: dict[str, Any] | None = None
        self.is_ready = False
        self.level: int | None = None
        self.subscriptions: set[str] = set()


class Audience:
    """See the module's text."""

    def __init__(self) -> None:
        self._listeners: dict[int, _Listener] = {}

    def __contains__(self, client: int) -> bool:
        return client in self._listeners

    def join(self, client: int) -> None:
        self._listeners[client] = _Listener()

    def part(self, client: int) -> list[str]:
        """The session is over. Returns the resources to which nobody is subscribed any more."""
        gone = self._listeners.pop(client, None)
        return [] if gone is None else [uri for uri in sorted(gone.subscriptions) if not self.is_subscribed(uri)]

    def introduced(self, client: int, initialize: Message) -> None:
        """Its `initialize` is answered: what it can do is known."""
        if client in self._listeners:
            offered = initialize.params.get("capabilities")
            self._listeners[client].capabilities = offered if isinstance(offered, dict) else {}

    def ready(self, client: int) -> None:
        """It has read that answer: now it can be told things."""
        if client in self._listeners:
            self._listeners[client].is_ready = True

    def offers(self, client: int, capability: str) -> bool:
        """Whether this client can do that."""
        listener = self._listeners.get(client)
        return listener is not None and capability in (listener.capabilities or {})

    def is_introduced(self, client: int) -> bool:
        listener = self._listeners.get(client)
        return listener is not None and listener.capabilities is not None

    @property
    def all(self) -> list[int]:
        """Those that can be told things."""
        return [client for client, listener in self._listeners.items() if listener.is_ready]

    # --- Subscriptions -----------------------------------------------------------------------------------------

    def subscribe(self, client: int, uri: str) -> bool:
        """Note a subscription. False: it has too many."""
        listener = self._listeners.get(client)
        if listener is None:
            return True
        if len(listener.subscriptions) >= MOST_SUBSCRIPTIONS and uri not in listener.subscriptions:
            return False
        listener.subscriptions.add(uri)
        return True

    def unsubscribe(self, client: int, uri: str) -> None:
        if client in self._listeners:
            self._listeners[client].subscriptions.discard(uri)

    def is_subscribed(self, uri: str) -> bool:
        """Whether anybody is."""
        return any(uri in listener.subscriptions for listener in self._listeners.values())

    @property
    def subscriptions(self) -> list[str]:
        """Those of all, each once."""
        return sorted({uri for listener in self._listeners.values() for uri in listener.subscriptions})

    def subscribers(self, uri: object) -> list[int]:
        """Return who hears that this resource, which may be part of the one they meant, was updated."""
        if not isinstance(uri, str):
            return []
        return [client for client in self.all if _covers(self._listeners[client].subscriptions, uri)]

    # --- Levels ------------------------------------------------------------------------------------------------

    def set_level(self, client: int, level: str) -> None:
        if client in self._listeners and level in LEVELS:
            self._listeners[client].level = LEVELS.index(level)

    @property
    def level(self) -> str | None:
        """The lowest of all; None where nobody has set one."""
        levels = [listener.level for listener in self._listeners.values() if listener.level is not None]
        return LEVELS[min(levels)] if levels else None

    def readers(self, level: object) -> list[int]:
        """Return who hears a log line of this level."""
        if level not in LEVELS or self.level is None:
            return self.all
        at = LEVELS.index(str(level))
        return [client for client in self.all if at >= self._least(client)]

    def _least(self, client: int) -> int:
        level = self._listeners[client].level
        return _UNASKED if level is None else level


def _covers(subscriptions: set[str], uri: str) -> bool:
    if uri in subscriptions:
        return True
    return any(uri.startswith(f"{one.rstrip('/')}/") for one in subscriptions)
