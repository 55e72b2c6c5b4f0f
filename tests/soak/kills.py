"""Hosts that call through real bridges while the real server is killed and started again, and bridges are put to sleep.

What is asked of it: every id is answered exactly once; no call that may do harm runs twice; "it has not run" is true;
in the end everything works, everybody leaves in order, and no process is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.soak.ledger import LEDGER
from tests.support.host import Host, clean_environment, launch, script
from tests.support.scripted_server import closed_port

ROOT = Path(__file__).resolve().parent.parent.parent
WIRES = ("http", "sse", "ws")
PATHS = {"http": "http://127.0.0.1:{}/mcp", "sse": "http://127.0.0.1:{}/sse", "ws": "ws://127.0.0.1:{}/ws"}
AT_ONCE = 3
"""Calls that one host has open at a time."""
ANSWER_SECONDS = 60.0
"""An answer that takes longer is none."""


class Server:
    """The real server as a child process, at one port for all its lives."""

    def __init__(self, ledger: Path) -> None:
        self.port = closed_port()
        self._env = clean_environment(PYTHONPATH=str(ROOT), **{LEDGER: str(ledger)})
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it listens a moment later."""
        command = [script("mcp-remote-server"), "--handler", "tests.soak.ledger:handle", "--port", str(self.port)]
        self._process = await asyncio.create_subprocess_exec(
            *command, env=self._env, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        """End it with SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def listens(self) -> None:
        """Wait until it takes connections."""
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return


class Report(NamedTuple):
    """What happened."""

    calls: int
    results: int
    errors: Counter[str]
    kills: int
    naps: int
    slowest: float

    def __str__(self) -> str:
        errors = ", ".join(f"{count} {name}" for name, count in self.errors.most_common()) or "none"
        return (
            f"{self.calls} calls: {self.results} results, errors: {errors}; {self.kills} kills, {self.naps} naps; "
            f"the slowest answer took {self.slowest:.1f} s"
        )


class Caller:
    """One host: its wire, what it asked, and what became of it."""

    def __init__(self, number: int, host: Host, chance: random.Random) -> None:
        self.host = host
        self.wire = WIRES[number % len(WIRES)]
        self.answers: dict[str, dict[str, Any]] = {}
        self.slowest = 0.0
        self._number = number
        self._chance = chance
        self._count = 0

    async def call(self, name: str) -> dict[str, Any]:
        """Call a tool; the answer is noted."""
        self._count += 1
        key = f"{name}-{self._number}-{self._count}"
        began = time.monotonic()
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await self.host.ask("tools/call", {"name": name, "arguments": {"key": key}}, key)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[key] = answer
        return answer

    async def call_until(self, end: float) -> None:
        while time.monotonic() < end:
            await self.call(self._chance.choice(["pay", "look"]))
            await asyncio.sleep(self._chance.random() * 0.1)

    def check(self, ran: Counter[str]) -> None:
        """Hold what was answered against what was done."""
        log = self.host.log.decode()[-4000:]
        for key, answer in self.answers.items():
            assert self.host.answers[json.dumps(key)] == 1, (
                f"{key} was answered {self.host.answers[json.dumps(key)]} times"
            )
            if key.startswith("pay"):
                assert ran[key] <= 1, f"{key} ran {ran[key]} times\n{log}"
            if "result" in answer:
                assert ran[key] >= 1, key
                continue
            data = answer["error"]["data"]
            assert data["source"] == "mcp-remote-py", answer
            assert data["hint"], answer
            assert data["may_have_run"] or ran[key] == 0, f"{key} ran: {answer}\n{log}"
        strange = [identifier for identifier, count in self.host.answers.items() if count != 1]
        assert not strange, f"not answered once: {strange}"
        assert b"defect" not in self.host.log, log


async def storm(seconds: float, folder: Path, hosts: int = 8, seed: int | None = None) -> Report:
    """Do it for so long. `folder` is for the ledger. Raises `AssertionError` where a promise is broken."""
    chance = random.Random(seed)  # noqa: S311  not a secret
    ledger = folder / "ledger"
    ledger.touch()
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    server = Server(ledger)
    try:
        await server.start()
        await server.listens()
        async with contextlib.AsyncExitStack() as stack:
            callers = [await stack.enter_async_context(_caller(number, server, chance)) for number in range(hosts)]
            end = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                for caller in callers:
                    for _ in range(AT_ONCE):
                        group.create_task(caller.call_until(end))
                killing = group.create_task(_kills(server, chance, end))
                napping = group.create_task(_naps(callers, chance, end))
            await server.listens()
            last = await asyncio.gather(*(caller.call("pay") for caller in callers))
            assert all("result" in answer for answer in last), f"in the end all works: {last}"
            codes = await asyncio.gather(*(caller.host.end() for caller in callers))
            assert codes == [0] * hosts
    finally:
        await server.kill()
    ran = Counter(ledger.read_text().split())
    for caller in callers:
        caller.check(ran)
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not left, f"processes are left: {left}"
    answers = [answer for caller in callers for answer in caller.answers.values()]
    errors = Counter(answer["error"]["data"]["name"] for answer in answers if "error" in answer)
    results = sum("result" in answer for answer in answers)
    slowest = max(caller.slowest for caller in callers)
    return Report(len(answers), results, errors, killing.result(), napping.result(), slowest)


@contextlib.asynccontextmanager
async def _caller(number: int, server: Server, chance: random.Random) -> AsyncIterator[Caller]:
    wire = WIRES[number % len(WIRES)]
    async with launch(PATHS[wire].format(server.port), f"--{wire}-only") as host:
        assert "result" in await host.greet()
        assert "result" in await host.request("tools/list")
        yield Caller(number, host, chance)


async def _kills(server: Server, chance: random.Random, end: float) -> int:
    """Kill and start the server again until the end. Returns how often."""
    count = 0
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(0.1, 4.0))
        await server.kill()
        await asyncio.sleep(chance.choice([0.0, 0.2, chance.uniform(0.5, 3.0)]))
        await server.start()
        if chance.random() < 0.8:
            await server.listens()
        count += 1
    return count


async def _naps(callers: list[Caller], chance: random.Random, end: float) -> int:
    """Stop one bridge after the other for a while, as a machine does that sleeps. Returns how often."""
    count = 0
    while time.monotonic() < end and hasattr(signal, "SIGSTOP"):
        await asyncio.sleep(chance.uniform(0.5, 3.0))
        pid = chance.choice(callers).host.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(chance.choice([0.2, 1.0, chance.uniform(2.0, 6.0)]))
        finally:
            os.kill(pid, signal.SIGCONT)
        count += 1
    return count
