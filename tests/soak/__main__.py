"""A longer soak than the tests have time for.

    python -m tests.soak --minutes 30 [--hosts 8] [--seed N]

Half of the time is for kills (see `kills`), the other half for memory: a bridge on each wire, and calls, reconnects and
sessions without end; what each bridge holds is printed every minute. Exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.growth import MOST_THREADS, Amount, Held, in_session, settled, work
from tests.soak.kills import storm
from tests.support.fault_server import WIRES, Wire

PORTION = {"http": Amount(1_000, 100, 10), "sse": Amount(300, 20, 5), "ws": Amount(300, 20, 5)}
WARM_SECONDS = 60.0
MOST_GROWTH = 2_000_000


async def watch(wire: Wire, seconds: float) -> list[Held]:
    """Let one bridge work for so long. Returns what it held after its warming up, and every minute since."""
    began = time.monotonic()
    found: list[Held] = []
    async with in_session(wire) as (server, host):
        while time.monotonic() - began < max(seconds, 2 * WARM_SECONDS) or len(found) < 2:
            await work(server, host, PORTION[wire])
            if time.monotonic() - began >= WARM_SECONDS * (len(found) + 1):
                found.append(await settled(host.process.pid))
                memory, descriptors, threads = found[-1]
                print(f"{wire}: {memory / 1e6:.1f} MB, {descriptors} descriptors, {threads} threads", flush=True)
        assert await host.end() == 0
    return found


async def soak(minutes: float, hosts: int, seed: int | None) -> list[str]:
    """Do both. Returns what was wrong."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(await storm(minutes * 30, Path(folder), hosts, seed), flush=True)
        except (AssertionError, ExceptionGroup) as broken:
            wrong.append(f"a promise was broken: {broken!r}")
    if sys.platform != "linux":
        return wrong
    held = await asyncio.gather(*(watch(wire, minutes * 30) for wire in WIRES))
    for wire, (first, *_, last) in zip(WIRES, held, strict=True):
        if last.memory - first.memory > MOST_GROWTH:
            wrong.append(f"{wire}: the memory grew from {first.memory} to {last.memory} bytes")
        if last.descriptors > first.descriptors or last.threads > MOST_THREADS:
            wrong.append(f"{wire}: {first} became {last}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    wrong = asyncio.run(soak(given.minutes, given.hosts, given.seed))
    print("\n".join(wrong) or "all is well")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
