"""The programs that wrap stdio servers, as the bench starts them, and what is measured of each.

Each runs in the mode that its documentation offers for Streamable HTTP with sessions, without log lines: npm's
mcp-proxy and PyPI's mcp-proxy have one child for all, supergateway (`--stateful`) and ours one for each session; ours
is measured with a shared child, too. The Node programs run without npx, supergateway's shells are not counted.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.bench.caller import PATIENCE, Caller, Failed, crowd, hears_endpoint, opened
from tests.peers.install import wrappers_installed

CHILD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")))
CALLS = 300
SECONDS = 2.0
"""How long each crowd calls."""
TEN = [f"s{number}" for number in range(10)]
CLIENTS = 10

Figures = dict[str, float]


class Wrapper(NamedTuple):
    """One program; its words may have `{port}`, `{child}` (one word), `{config}` and, alone, `CHILD` (its words)."""

    name: str
    words: tuple[str, ...]
    path: str = "/mcp"
    share: str | None = None
    """How many sessions share a child, where it is written into a file."""
    ten: tuple[str, ...] = ()
    """How one process serves ten; empty: it needs ten processes."""
    ten_path: str = "/mcp"
    """`{name}` stands for the server's name."""
    sse: str | None = "/sse"
    is_ours: bool = False


def installed() -> list[Wrapper]:
    """Return ours, and the peers that `python -m tests.peers.install --wrappers` has installed."""
    script = shutil.which("mcp-remote-server", path=sysconfig.get_path("scripts"))
    ours = (script,) if script else (sys.executable, "-m", "server_stub")
    quiet = ("--port", "{port}", "--log-level", "error")
    hosted = (*ours, "--config", "{config}", *quiet)
    found = [
        Wrapper("ours", (*ours, "--stdio", *quiet, "--", "CHILD"), ten=hosted, ten_path="/{name}/mcp", is_ours=True),
        Wrapper("ours, shared", hosted, "/s0/mcp", "shared", hosted, "/{name}/mcp", is_ours=True),
    ]
    peers = wrappers_installed()
    if peers is None:
        return found
    there = ("--port", "{port}", "--host", "127.0.0.1")
    npm = (peers.node, peers.script("mcp-proxy/dist/bin/mcp-proxy.mjs"))
    gateway = (peers.node, peers.script("supergateway/dist/index.js"), "--stdio", "{child}", "--logLevel", "none")
    pypi = (peers.python("wrapper"), "-m", "mcp_proxy", "--log-level", "ERROR", *there)
    named = tuple(word for name in TEN for word in ("--named-server", name, "{child}"))
    wire = ("--outputTransport", "streamableHttp", "--stateful", "--port", "{port}")
    return [
        *found,
        Wrapper("npm mcp-proxy", (*npm, *there, "--maxBodySize", "0", "--", "CHILD")),
        Wrapper("supergateway", (*gateway, *wire), sse=None),
        Wrapper("PyPI mcp-proxy", (*pypi, "--", "CHILD"), ten=(*pypi, *named), ten_path="/servers/{name}/mcp"),
    ]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """A wrapper that runs, with whatever it started for itself. The children are not counted."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self._watched = psutil.Process(process.pid)

    def _own(self) -> list[psutil.Process]:
        found = [self._watched]
        for one in self._watched.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if CHILD[-1] not in " ".join(one.cmdline()):
                    found.append(one)
        return found

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        total = 0.0
        for one in self._own():
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system
        return total

    def memory(self) -> float:
        """Resident MiB."""
        return sum(one.memory_info().rss for one in self._own()) / 2**20

    def share(self) -> float:
        """Resident MiB, what is shared with others counted in proportion (PSS; Linux)."""
        return sum(getattr(one.memory_full_info(), "pss", one.memory_info().rss) for one in self._own()) / 2**20

    def peak(self) -> float:
        """The most resident MiB there ever were (Linux), of the wrapper's first process."""
        status = Path(f"/proc/{self.process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)

    def wait(self) -> None:
        """Wait until it listens. Raises `Failed`."""
        end = time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            if self.process.poll() is not None:
                raise Failed(f"it has exited with {self.process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise Failed("it does not listen")


@contextlib.contextmanager
def started(words: Sequence[str], share: str | None = None, names: Sequence[str] = ("s0",)) -> Iterator[Running]:
    """Start a wrapper; it is gone when the block is left, and its children with it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        config = Path(folder) / "servers.json"
        one: dict[str, object] = {"command": CHILD[0], "args": list(CHILD[1:]), **({"share": share} if share else {})}
        config.write_text(json.dumps({"mcpServers": dict.fromkeys(names, one)}), encoding="utf-8")
        filled = {"{port}": str(port), "{child}": shlex.join(CHILD), "{config}": str(config)}
        command = [filled.get(word, word) for each in words for word in (CHILD if each == "CHILD" else (each,))]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder) as process:
            try:
                yield Running(process, port)
            except (Failed, OSError) as problem:
                log.seek(0)
                raise Failed(f"{problem}; its log: {log.read()[-500:].decode('utf-8', 'replace')}") from problem
            finally:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()


@contextlib.contextmanager
def listening(wrapper: Wrapper) -> Iterator[Running]:
    """Start a wrapper of one server, and wait until it listens."""
    with started(wrapper.words, wrapper.share) as running:
        running.wait()
        yield running


def start(wrapper: Wrapper) -> Figures:
    """From spawn to the answered initialize, CPU until then, and the memory of a wrapper with one session."""
    begin = time.perf_counter()
    with started(wrapper.words, wrapper.share) as running:
        running.wait()
        caller = Caller(running.port, wrapper.path)
        caller.open()
        figures = {"initialize ms": (time.perf_counter() - begin) * 1e3, "initialize CPU ms": running.cpu() * 1e3}
        figures["1 server PSS MiB"] = running.share()
        caller.close()
        return figures


def _direct() -> list[float]:
    """Return the seconds that calls take over a pipe, with no wrapper."""
    with subprocess.Popen(CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        times = []
        for number in range(CALLS):
            params = {"name": "echo", "arguments": {"text": "hello"}}
            line = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
            begin = time.perf_counter()
            child.stdin.write(line + b"\n")
            child.stdin.flush()
            child.stdout.readline()
            times.append(time.perf_counter() - begin)
        child.stdin.close()
        return times


def calls(wrapper: Wrapper) -> Figures:
    """One call after the other, in one session: what the wrapper adds to a pipe, and its CPU."""
    direct = statistics.quantiles(_direct(), n=100)
    with listening(wrapper) as running:
        caller = Caller(running.port, wrapper.path)
        caller.open()
        for _ in range(30):
            caller.call(text="warm")
        cpu, times = running.cpu(), []
        for _ in range(CALLS):
            begin = time.perf_counter()
            caller.call(text="hello")
            times.append(time.perf_counter() - begin)
        spent = running.cpu() - cpu
        caller.close()
    cuts = statistics.quantiles(times, n=100)
    return {
        "added p50 us": (cuts[49] - direct[49]) * 1e6,
        "added p99 us": (cuts[98] - direct[98]) * 1e6,
        "CPU us a call": spent / CALLS * 1e6,
    }


def sessions_held(wrapper: Wrapper, most: int) -> Figures:
    """Open sessions and do nothing more: memory without any, with one, and with the most; what one more of them takes.

    The first one is no measure: it brings what is needed once, and loaded on use.
    """
    with listening(wrapper) as running:
        figures = {"RSS MiB, no session": running.memory()}
        callers = opened(1, lambda: Caller(running.port, wrapper.path))
        figures["RSS MiB, 1 sessions"] = first = running.memory()
        callers += opened(most - 1, lambda: Caller(running.port, wrapper.path))
        figures[f"RSS MiB, {most} sessions"] = held = running.memory()
        if most > 1:
            figures["KB a session"] = (held - first) * 1024 / (most - 1)
        for caller in callers:
            caller.close()
    return figures


def crowds(wrapper: Wrapper, sessions: Sequence[int]) -> Figures:
    """As many sessions as asked for, all calling at once, each as soon as it has its answer."""
    figures: Figures = {}
    with listening(wrapper) as running:
        callers: list[Caller] = []
        for count in sorted(sessions):
            callers += opened(count - len(callers), lambda: Caller(running.port, wrapper.path))
            cpu = running.cpu()
            seen = crowd(callers, SECONDS)
            spent = running.cpu() - cpu
            done = len(seen.times)
            figures[f"errors, {count} sessions"] = seen.errors
            if done > 1:
                cuts = statistics.quantiles(seen.times, n=100)
                figures[f"calls/s, {count} sessions"] = done / seen.seconds
                figures[f"CPU us a call, {count} sessions"] = spent / done * 1e6
                figures[f"p50 ms, {count} sessions"] = cuts[49] * 1e3
                figures[f"p99 ms, {count} sessions"] = cuts[98] * 1e3
        figures["RSS MiB after all that"] = running.memory()
        for caller in callers:
            caller.close()
    return figures


def payload(wrapper: Wrapper) -> Figures:
    """One result of ten million characters, and the memory that it took."""
    with listening(wrapper) as running:
        caller = Caller(running.port, wrapper.path)
        caller.open()
        caller.call(text="warm")
        begin = time.perf_counter()
        caller.call(size=10_000_000)
        elapsed = time.perf_counter() - begin
        caller.close()
        return {"10 MB result ms": elapsed * 1e3, "10 MB result peak RSS MiB": running.peak()}


def ten(wrapper: Wrapper) -> Figures:
    """Ten servers: all greeted, CPU and memory; then HTTP+SSE opened at each, and ten clients calling."""
    words = wrapper.ten or wrapper.words
    crews = [TEN] if wrapper.ten else [[name] for name in TEN]
    begin = time.perf_counter()
    with contextlib.ExitStack() as stack:
        crew = [(stack.enter_context(started(words, wrapper.share, names)), names) for names in crews]
        places: list[tuple[int, str]] = []
        for running, names in crew:
            running.wait()
            places += [(running.port, wrapper.ten_path.replace("{name}", name)) for name in names]
        callers = [Caller(port, path) for port, path in places]
        for caller in callers:
            caller.open()
        figures = {
            "10 servers greeted ms": (time.perf_counter() - begin) * 1e3,
            "10 servers CPU ms": sum(running.cpu() for running, _ in crew) * 1e3,
            "10 servers PSS MiB": sum(running.share() for running, _ in crew),
        }
        if wrapper.sse is not None:
            sse = wrapper.sse
            up = [hears_endpoint(port, path.replace("/mcp", sse)) for port, path in places]
            figures["10 servers: SSE up, worst ms"] = max(up) * 1e3
        seen = crowd(callers[:CLIENTS], SECONDS)
        figures["10 servers: errors of 10 clients, %"] = 100 * seen.errors / (seen.errors + len(seen.times))
        figures["10 servers: calls/s of 10 clients"] = len(seen.times) / seen.seconds
        for caller in callers:
            caller.close()
    return figures
