"""The driver that looks around: when it looks, what it sees, and that it costs nothing while nobody watches."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mcp_remote_py.core.wakeups import Look, Wake
from mcp_remote_py.net import wakefulness
from mcp_remote_py.net.wakefulness import Wakefulness, addresses


class Told:
    def __init__(self) -> None:
        self.wakes: list[Wake | None] = []
        self.some = asyncio.Event()

    def __call__(self, wake: Wake | None) -> None:
        self.wakes.append(wake)
        self.some.set()


def test_the_addresses_are_found_without_a_packet() -> None:
    found = addresses()
    assert found == addresses()
    assert not any(name == "lo" or name.startswith("veth") for name in found)


def test_a_machine_without_any_network_has_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(socket, "if_nameindex", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert addresses() == frozenset()


async def test_who_watches_is_told_at_every_look_and_of_what_changed() -> None:
    seen = iter([frozenset({"a"}), frozenset({"b"})])
    loop = asyncio.get_running_loop()
    told, wakeful = Told(), Wakefulness(0.01, lambda: Look(loop.time(), loop.time(), next(seen, frozenset({"b"}))))
    with wakeful.watching(told):
        async with asyncio.timeout(5):
            while len(told.wakes) < 3:
                told.some.clear()
                await told.some.wait()
    assert any(wake is not None and "addresses" in wake.reason for wake in told.wakes)
    assert told.wakes[-1] is None


async def test_the_timer_runs_only_while_somebody_watches() -> None:
    told, wakeful = Told(), Wakefulness(0.01)
    with wakeful.watching(told):
        with wakeful.watching(told):
            pass
        told.wakes.clear()
        async with asyncio.timeout(5):
            told.some.clear()
            await told.some.wait()
    count = len(told.wakes)
    await asyncio.sleep(0.05)
    assert len(told.wakes) == count
    assert wakeful._timer is None


async def test_a_glance_looks_at_once_where_the_clocks_jumped(monkeypatch: pytest.MonkeyPatch) -> None:
    told, wakeful = Told(), Wakefulness()
    now = [0.0]

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        time = monotonic

    monkeypatch.setattr(wakefulness, "time", Time)
    wakeful.glance()  # nobody watches
    with wakeful.watching(told):
        wakeful.glance()
        assert told.wakes == []
        now[0] += 3600
        wakeful.glance()
        wakeful.glance()
        assert [wake is not None and wake.is_doubtful for wake in told.wakes] == [True]
    now[0] += 3600  # what happened while nobody watched is no news to who begins to watch
    with wakeful.watching(told):
        wakeful.glance()
        assert len(told.wakes) == 1
