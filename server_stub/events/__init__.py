"""The contract of an event store: what was sent on the streams of a session, kept so that it can be sent again.

    append(session, event)    Keep an event. When it returns, a replay will find it.
    after(session, cursor)    The events of the cursor's stream that came after it, in order. None where that is not
                              known any more, or never was: then nothing may be replayed, as there would be a gap.
    forget(session, stream)   Drop one stream, or (None) all of a session.

Only sessions on Streamable HTTP need one. Types only; `memory.py` is the first home. (MCP
2025-11-25, Transports: "Resumability and Redelivery".)
"""

from __future__ import annotations

from typing import Protocol

from server_stub.core.outbox import Event, EventId


class EventStore(Protocol):
    """See the module's text."""

    async def append(self, session: str, event: Event) -> None: ...

    async def after(self, session: str, cursor: EventId) -> list[Event] | None: ...

    async def forget(self, session: str, stream: int | None = None) -> None: ...
