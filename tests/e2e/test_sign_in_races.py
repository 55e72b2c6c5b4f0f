"""Several bridges of one host at once, started at random and killed at random: one tab, one registration, all work.

Each round is a test of its own with a number, which is its seed. There are few by default;

    SIGN_IN_ROUNDS=200 pytest -m slow tests/e2e/test_sign_in_races.py

runs as many.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_sign_in import CALL
from tests.support.host import Host, launch
from tests.support.zoo import Browser, Zoo, open_zoo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROUNDS = int(os.environ.get("SIGN_IN_ROUNDS", "4"))
BRIDGES = 5
SECONDS = 75.0


@contextlib.asynccontextmanager
async def started(zoo: Zoo, folder: Path, browser: Browser) -> AsyncIterator[Host]:
    async with launch(zoo.url(), "--debug", env=browser.environment(folder / "home")) as host:
        yield host


async def lives(zoo: Zoo, folder: Path, browser: Browser, chance: random.Random, *, killed: bool) -> dict[str, Any]:
    """One place of the host: a bridge that may be killed, whereupon the host starts it again. Returns its answer."""
    await asyncio.sleep(chance.uniform(0, 1.5))
    if killed:
        async with started(zoo, folder, browser) as host:
            host.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": _HELLO})
            host.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            host.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL})
            await asyncio.sleep(chance.uniform(0.2, 3.5))
            host.process.kill()  # as a host does that stops what it started twice
            await host.process.wait()
        await asyncio.sleep(chance.uniform(0, 0.5))
    async with started(zoo, folder, browser) as host, asyncio.timeout(SECONDS):
        await host.greet()
        answer = await host.ask("tools/call", CALL)
        assert "result" in answer, (answer, host.log.decode())
        return answer


_HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_five_bridges_that_start_and_die_at_random_share_one_sign_in(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311  (a seed, so that a round can be repeated)
    browser = Browser(tmp_path, f"slow={chance.uniform(0.2, 2.5)}", "reload")
    doomed = set(chance.sample(range(BRIDGES), chance.randint(0, 3)))
    async with open_zoo() as zoo:
        parts = (lives(zoo, tmp_path, browser, chance, killed=number in doomed) for number in range(BRIDGES))
        answers = await asyncio.gather(*parts)
        assert all("result" in answer for answer in answers)
        counts = zoo.counts()
        assert (browser.tabs(), counts["register"]) == (1, 1), [(asked.what, asked.query) for asked in zoo.asked]
        assert zoo.troubles == []


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_the_chain_of_rotating_refresh_tokens_never_breaks(seed: int, tmp_path: Path) -> None:
    """Tokens that live for seconds, and five bridges that want them all the time; some leave and come back."""
    chance = random.Random(seed)  # noqa: S311
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.lifetime = 2.0
        end = asyncio.get_running_loop().time() + 10

        async def busy() -> int:
            calls = 0
            while asyncio.get_running_loop().time() < end:
                async with started(zoo, tmp_path, browser) as host, asyncio.timeout(SECONDS):
                    assert "result" in await host.greet(), host.log.decode()
                    for _ in range(chance.randint(3, 30)):
                        answer = await host.ask("tools/call", CALL)
                        assert "result" in answer, (answer, zoo.troubles, host.log.decode()[-3000:])
                        calls += 1
                        await asyncio.sleep(chance.uniform(0, 0.3))
                    await host.end()
            return calls

        calls = await asyncio.gather(*(busy() for _ in range(BRIDGES)))
        assert sum(calls) > BRIDGES * 3
        renewals = [asked.form["refresh_token"] for asked in zoo.grants("refresh_token")]
        assert len(renewals) > 2
        assert len(renewals) == len(set(renewals))
        assert zoo.troubles == []
        assert (browser.tabs(), zoo.counts()["register"]) == (1, 1)
