"""The measurements: each starts one bridge, does one thing with it, and returns named figures."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.bench.bridges import Bridge
from tests.bench.floor import Lanes

Figures = dict[str, float]
CALLS = 300
CROWD = 2000
IN_FLIGHT = 64
PATIENCE = 120.0


class Running(ABC):
    """Something that takes messages and gives answers, spoken to as a host does, without asyncio in the way."""

    def __init__(self) -> None:
        self._count = 0

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Give it a message."""

    @abstractmethod
    def read(self) -> bytes:
        """Take the next message from it; empty at the end."""

    @abstractmethod
    def cpu(self) -> float:
        """Seconds of CPU so far."""

    @abstractmethod
    def memory(self) -> float:
        """Resident MiB."""

    @abstractmethod
    def peak(self) -> float:
        """The most resident MiB there ever were; 0 where nobody counts."""

    def send(self, method: str, params: object | None = None, *, wants_answer: bool = True) -> int:
        self._count += 1
        message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        if wants_answer:
            message["id"] = self._count
        self.write(json.dumps(message).encode() + b"\n")
        return self._count

    def hear(self) -> dict[str, object]:
        """Return the next answer; what the bridge says besides is passed over."""
        while line := self.read():
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


class Started(Running):
    """A bridge in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self.process = process
        self.watched = psutil.Process(process.pid)

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def read(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def cpu(self) -> float:
        """As `Running`, its children with it."""
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(times.user + times.system for times in (member.cpu_times() for member in family))

    def memory(self) -> float:
        """As `Running`, its children with it."""
        family = [self.watched, *self.watched.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / 2**20

    def peak(self) -> float:
        """As `Running`; Linux alone counts it, and children are left out."""
        status = Path(f"/proc/{self.process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return int(found.group(1)) / 1024 if found else 0.0


class Direct(Running):
    """No bridge at all: a client that posts over bare sockets."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lanes = Lanes(url, self._answers.put)

    def write(self, line: bytes) -> None:
        self._lanes.post(line)

    def read(self) -> bytes:
        return self._answers.get(timeout=PATIENCE)

    def cpu(self) -> float:
        return 0.0

    def memory(self) -> float:
        return 0.0

    def peak(self) -> float:
        return 0.0


@contextlib.contextmanager
def opened(bridge: Bridge, url: str) -> Iterator[Running]:
    """Start a bridge, or be ready without one; it is gone when the block is left."""
    if not bridge.command:
        yield Direct(url)
        return
    with started(bridge, url) as running:
        yield running


@contextlib.contextmanager
def started(bridge: Bridge, url: str) -> Iterator[Started]:
    """Start a bridge; it is gone when the block is left."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            bridge.on(url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "MCP_REMOTE_CONFIG_DIR": folder, "MCP_REMOTE_PY_HOME": folder, "NO_COLOR": "1"},
        ) as process,
    ):
        try:
            yield Started(process)
        finally:
            process.kill()


def start(bridge: Bridge, origin: str) -> Figures:
    """From spawn to the answered initialize and to the first tools/list; requests until then; the end."""
    if not bridge.command:
        return {}
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


def distant(bridge: Bridge, origin: str) -> Figures:
    """From spawn to the answered initialize and tools/list, of a server each of whose answers takes 100 ms."""
    if not bridge.command:
        return {}
    begin = time.perf_counter()
    with started(bridge, f"{origin}/late/mcp") as running:
        running.greet()
        greeted = time.perf_counter()
        running.ask("tools/list")
        listed = time.perf_counter()
    return {"100 ms away: initialize ms": (greeted - begin) * 1e3, "100 ms away: list ms": (listed - begin) * 1e3}


def calls(bridge: Bridge, origin: str, path: str = "mcp") -> Figures:
    """One call after the other: how long each takes, and CPU for each."""
    with opened(bridge, f"{origin}/{path}") as running:
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
    """Two thousand calls, always so many of them in flight, and the memory afterwards."""
    with opened(bridge, f"{origin}/mcp") as running:
        running.greet()
        running.call(text="warm")
        cpu, begin, total = running.cpu(), time.perf_counter(), CROWD
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
            f"RSS MiB after {CROWD} calls": running.memory(),
        }


def payload(bridge: Bridge, origin: str) -> Figures:
    """One result of ten million characters, as JSON and as an event."""
    found: Figures = {}
    for path, name in (("mcp", "10 MB"), ("events", "10 MB by SSE")):
        with opened(bridge, f"{origin}/{path}") as running:
            running.greet()
            running.call(text="warm")
            begin = time.perf_counter()
            running.call(size=10_000_000)
            found[f"{name} ms"] = (time.perf_counter() - begin) * 1e3
            found[f"{name} peak RSS MiB"] = running.peak()
    return found


def idle(bridge: Bridge, origin: str, seconds: float = 5.0) -> Figures:
    """CPU of a bridge that has nothing to do."""
    if not bridge.command:
        return {}
    with started(bridge, f"{origin}/mcp") as running:
        running.greet()
        running.ask("tools/list")
        time.sleep(1.0)
        before = running.cpu()
        time.sleep(seconds)
        return {f"CPU ms in {seconds:g} s idle": (running.cpu() - before) * 1e3}


def twenty(bridge: Bridge, origin: str) -> Figures:
    """Twenty started at once, as hosts with many servers do."""
    if not bridge.command:
        return {}
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
    "distant": distant,
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
