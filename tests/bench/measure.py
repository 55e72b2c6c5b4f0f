"""The measurements: each starts one bridge, does one thing with it, and returns named figures."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence

import psutil

from tests.bench.bridges import Bridge

Figures = dict[str, float]
CALLS = 300
IN_FLIGHT = 64
PATIENCE = 120.0


class Running:
    """A started bridge, spoken to as a host does, without asyncio in the way."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.watched = psutil.Process(process.pid)
        self._count = 0

    def send(self, method: str, params: object | None = None, *, wants_answer: bool = True) -> int:
        self._count += 1
        message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        if wants_answer:
            message["id"] = self._count
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        return self._count

    def hear(self) -> dict[str, object]:
        """Return the next answer; what the bridge says besides is passed over."""
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            message: dict[str, object] = json.loads(line)
            if "id" in message and "method" not in message:
                assert "result" in message, message
                return message
        raise AssertionError("the bridge closed its output")

    def ask(self, method: str, params: object | None = None) -> dict[str, object]:
        self.send(method, params)
        return self.hear()

    def greet(self) -> None:
        client = {"name": "bench", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        self.send("notifications/initialized", wants_answer=False)

    def call(self, **arguments: object) -> dict[str, object]:
        return self.ask("tools/call", {"name": "echo", "arguments": arguments})

    def cpu(self) -> float:
        """Seconds of CPU of the process and its children, if it has any."""
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(times.user + times.system for times in (member.cpu_times() for member in family))

    def memory(self) -> float:
        """Resident MiB of the process and its children."""
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / 2**20


@contextlib.contextmanager
def started(bridge: Bridge, url: str) -> Iterator[Running]:
    """Start a bridge; it is gone when the block is left."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            bridge.on(url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "MCP_REMOTE_CONFIG_DIR": folder, "NO_COLOR": "1"},
        ) as process,
    ):
        try:
            yield Running(process)
        finally:
            process.kill()


def start(bridge: Bridge, origin: str) -> Figures:
    """From spawn to the answered initialize and to the first tools/list; requests until then; the end."""
    _count(origin)
    begin = time.perf_counter()
    with started(bridge, f"{origin}/mcp") as running:
        running.greet()
        greeted = time.perf_counter()
        cpu = running.cpu()
        running.ask("tools/list")
        listed = time.perf_counter()
        requests = _count(origin)
        memory = running.memory()
        assert running.process.stdin is not None
        closing = time.perf_counter()
        running.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(10)
        return {
            "initialize ms": (greeted - begin) * 1e3,
            "CPU ms": cpu * 1e3,
            "tools/list ms": (listed - begin) * 1e3,
            "requests": float(requests),
            "RSS MiB": memory,
            "EOF to exit ms": (time.perf_counter() - closing) * 1e3,
        }


def calls(bridge: Bridge, origin: str, path: str = "mcp") -> Figures:
    """One call after the other: how long each takes, CPU for each, memory afterwards."""
    with started(bridge, f"{origin}/{path}") as running:
        running.greet()
        for _ in range(30):
            running.call(text="warm")
        cpu, times = running.cpu(), []
        for _ in range(CALLS):
            begin = time.perf_counter()
            running.call(text="hello")
            times.append(time.perf_counter() - begin)
        spent = running.cpu() - cpu
        cuts = statistics.quantiles(times, n=100)
        kind = "SSE" if path == "events" else "JSON"
        return {
            f"{kind} p50 us": cuts[49] * 1e6,
            f"{kind} p99 us": cuts[98] * 1e6,
            f"{kind} CPU us": spent / CALLS * 1e6,
        }


def streams(bridge: Bridge, origin: str) -> Figures:
    """As `calls`, answered with event streams."""
    return calls(bridge, origin, "events")


def crowd(bridge: Bridge, origin: str) -> Figures:
    """Many calls, always so many of them in flight."""
    with started(bridge, f"{origin}/mcp") as running:
        running.greet()
        running.call(text="warm")
        cpu, begin, total = running.cpu(), time.perf_counter(), CALLS * 4
        sent = heard = 0
        while heard < total:
            while sent < total and sent - heard < IN_FLIGHT:
                running.send("tools/call", {"name": "echo", "arguments": {"text": "hello"}})
                sent += 1
            running.hear()
            heard += 1
        elapsed = time.perf_counter() - begin
        return {
            "calls/s, 64 in flight": total / elapsed,
            "CPU us, 64 in flight": (running.cpu() - cpu) / total * 1e6,
            "RSS MiB after": running.memory(),
        }


def payload(bridge: Bridge, origin: str) -> Figures:
    """One result of ten million characters."""
    with started(bridge, f"{origin}/mcp") as running:
        running.greet()
        running.call(text="warm")
        begin = time.perf_counter()
        running.call(size=10_000_000)
        return {"10 MB ms": (time.perf_counter() - begin) * 1e3}


def idle(bridge: Bridge, origin: str, seconds: float = 5.0) -> Figures:
    """CPU of a bridge that has nothing to do."""
    with started(bridge, f"{origin}/mcp") as running:
        running.greet()
        running.ask("tools/list")
        time.sleep(1.0)
        before = running.cpu()
        time.sleep(seconds)
        return {f"CPU ms in {seconds:g} s idle": (running.cpu() - before) * 1e3}


def twenty(bridge: Bridge, origin: str) -> Figures:
    """Twenty started at once, as hosts with many servers do."""
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        crew = [stack.enter_context(started(bridge, f"{origin}/mcp")) for _ in range(20)]
        for running in crew:
            client = {"name": "bench", "version": "1"}
            params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
            running.send("initialize", params)
        for running in crew:
            running.hear()
        elapsed = time.perf_counter() - begin
        return {"20 at once ms": elapsed * 1e3, "20 at once CPU ms": sum(running.cpu() for running in crew) * 1e3}


MEASUREMENTS = {
    "start": start,
    "calls": calls,
    "streams": streams,
    "crowd": crowd,
    "payload": payload,
    "idle": idle,
    "twenty": twenty,
}


def _count(origin: str) -> int:
    with urllib.request.urlopen(f"{origin}/count", timeout=PATIENCE) as answer:  # noqa: S310  our own server
        return int(answer.read())


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the smallest, the median and the largest."""
    return min(values), statistics.median(values), max(values)
