"""A bridge ends with what it began with, whatever passed through it."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.soak.growth import MOST_THREADS, Amount, grown, growth, objects_of_ours, work
from tests.support.fault_server import WIRES, FaultServer, Wire
from tests.support.near_bridge import near_bridge
from tests.support.survival import hurry

MOST_GROWTH = 2_000_000
PLENTY: dict[Wire, Amount] = {
    "http": Amount(20_000, 2_000, 200),
    "sse": Amount(5_000, 150, 50),
    "ws": Amount(5_000, 150, 50),
}
"""A pipe is opened again after a pause, so that two thousand times take seven minutes: that is the soak's business."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.slow
@pytest.mark.timeout(400)
@linux_only
@pytest.mark.parametrize("wire", WIRES)
async def test_twenty_thousand_calls_leave_the_memory_as_it_was(wire: Wire) -> None:
    before, after = await growth(wire, Amount(4_000, 40, 20), PLENTY[wire])
    assert after.memory - before.memory <= MOST_GROWTH, (before, after)
    assert after.descriptors <= before.descriptors, (before, after)
    assert after.threads <= MOST_THREADS, (before, after)


async def leaves_nothing(wire: Wire, warm: Amount, amount: Amount) -> None:
    """Compare tasks, timers, objects and descriptors before and after."""
    async with FaultServer(wire) as server, near_bridge(server.url, f"--{wire}-only") as host:
        await host.greet()
        await host.request("tools/list")
        await work(server, host, warm)
        await asyncio.sleep(0.1)
        tasks, objects = len(asyncio.all_tasks()), objects_of_ours()
        descriptors = len(os.listdir("/proc/self/fd"))
        await work(server, host, amount)
        await asyncio.sleep(0.1)
        assert grown(objects, objects_of_ours()) == {}
        assert len(asyncio.all_tasks()) <= tasks
        assert len(os.listdir("/proc/self/fd")) <= descriptors


@linux_only
@pytest.mark.parametrize("wire", WIRES)
async def test_no_task_timer_object_or_descriptor_is_left(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    await leaves_nothing(wire, Amount(300, 20, 10), Amount(300, 40, 20))


@pytest.mark.slow
@pytest.mark.timeout(300)
@linux_only
@pytest.mark.parametrize("wire", WIRES)
async def test_two_thousand_reconnects_leave_no_task_timer_object_or_descriptor(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    await leaves_nothing(wire, Amount(500, 50, 20), Amount(20_000, 2_000, 200))
