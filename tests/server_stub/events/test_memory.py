"""The event store in memory: what is found again, and what is dropped first."""

from __future__ import annotations

from mcp_remote_py.core import message
from server_stub.core.outbox import Event, EventId
from server_stub.events import EventStore
from server_stub.events.memory import Bounds, MemoryEvents


def event(stream: int, place: int, size: int = 0) -> Event:
    return Event(EventId(stream, place), message.notification("n", {"x": "y" * size} if size else None))


async def found(store: EventStore, session: str, stream: int, place: int) -> list[int] | None:
    events = await store.after(session, EventId(stream, place))
    return None if events is None else [one.id.place for one in events]


async def test_only_the_later_events_of_the_same_stream_and_session_are_found() -> None:
    store = MemoryEvents()
    for session, stream, place in (("a", 1, 1), ("a", 2, 1), ("b", 1, 1), ("a", 1, 2), ("a", 1, 3)):
        await store.append(session, event(stream, place))
    assert await found(store, "a", 1, 0) == [1, 2, 3]
    assert await found(store, "a", 1, 2) == [3]
    assert await found(store, "a", 1, 3) == []
    assert await found(store, "a", 1, 4) is None
    assert await found(store, "a", 3, 0) is None
    assert await found(store, "c", 1, 0) is None
    assert await found(store, "b", 1, 0) == [1]


async def test_an_event_that_was_dropped_makes_the_cursors_before_it_unknown() -> None:
    store = MemoryEvents(Bounds(session_events=3))
    for place in range(1, 6):
        await store.append("a", event(1, place))
    assert await found(store, "a", 1, 1) is None
    assert await found(store, "a", 1, 2) == [3, 4, 5]


async def test_bytes_bound_a_session_but_its_newest_event_stays() -> None:
    store = MemoryEvents(Bounds(session_bytes=1000))
    await store.append("a", event(1, 1, 600))
    await store.append("a", event(2, 1, 600))
    assert await found(store, "a", 1, 0) is None
    await store.append("a", event(3, 1, 5000))
    assert await found(store, "a", 2, 0) is None
    assert await found(store, "a", 3, 0) == [1]


async def test_bytes_bound_all_sessions_together() -> None:
    store = MemoryEvents(Bounds(total_bytes=1500))
    for session in "abc":
        await store.append(session, event(1, 1, 600))
    assert await found(store, "a", 1, 0) is None
    assert await found(store, "b", 1, 0) == [1]
    assert await found(store, "c", 1, 0) == [1]


async def test_old_events_are_dropped() -> None:
    now = [0.0]
    store = MemoryEvents(Bounds(age=10), lambda: now[0])
    await store.append("a", event(1, 1))
    now[0] = 8
    await store.append("a", event(1, 2))
    now[0] = 11
    assert await found(store, "a", 1, 0) is None
    assert await found(store, "a", 1, 1) == [2]
    now[0] = 30
    assert await found(store, "a", 1, 1) is None


async def test_forgetting_a_stream_or_a_session_leaves_nothing_of_it() -> None:
    store = MemoryEvents()
    for session in "ab":
        for stream in (1, 2):
            for place in (1, 2):
                await store.append(session, event(stream, place))
    await store.forget("a", 1)
    assert await found(store, "a", 1, 0) is None
    assert await found(store, "a", 2, 0) == [1, 2]
    await store.forget("a")
    await store.forget("nobody")
    assert await found(store, "a", 2, 0) is None
    assert await found(store, "b", 1, 0) == [1, 2]
    await store.forget("b")
    assert (store._sessions, list(store._order), store._bytes) == ({}, [], 0)
