"""From spawn to the answered `initialize`, and resident memory, beside npm's mcp-remote where it is installed.

    python -m tests.bench.cold_start [--rounds 10] [--mcp-remote PATH/TO/mcp-remote/dist/proxy.js]

Starts `mcp-remote-server --demo`, then every bridge in interleaved rounds; prints medians and ratios of one run. Only
the ratios mean anything on a shared machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import psutil

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}


@contextlib.contextmanager
def demo_server() -> Iterator[str]:
    """Run the demo server; yields its origin."""
    command = [sys.executable, "-m", "server_stub", "--demo", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                yield found.group(1)
                break
        server.terminate()


def once(command: list[str]) -> tuple[float, float, float]:
    """Start a bridge; return seconds to the answer, CPU seconds until then, and resident MiB."""
    begin = time.perf_counter()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log) as bridge,
    ):
        assert bridge.stdin is not None
        assert bridge.stdout is not None
        bridge.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        bridge.stdin.flush()
        answer = json.loads(bridge.stdout.readline())
        elapsed = time.perf_counter() - begin
        assert "result" in answer, answer
        process = psutil.Process(bridge.pid)
        times, memory = process.cpu_times(), process.memory_info().rss / 2**20
        bridge.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            bridge.wait(3)
        bridge.kill()
        return elapsed, times.user + times.system, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mcp-remote", help="the file dist/proxy.js of an installed mcp-remote")
    options = parser.parse_args()
    with demo_server() as origin:
        url = f"{origin}/mcp"
        commands = {"mcp-remote-py": [sys.executable, "-m", "mcp_remote_py", url]}
        if options.mcp_remote:
            commands["mcp-remote"] = ["node", options.mcp_remote, url]
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                found[name].append(once(command))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    base = medians[list(medians)[-1]]
    print(f"{'':<16}{'initialize ms':>16}{'CPU ms':>10}{'RSS MiB':>10}   ratio to {list(medians)[-1]}")
    for name, (wall, cpu, memory) in medians.items():
        ratios = "  ".join(f"{mine / theirs:.2f}" for mine, theirs in zip((wall, cpu, memory), base, strict=True))
        print(f"{name:<16}{wall * 1000:>16.0f}{cpu * 1000:>10.0f}{memory:>10.1f}   {ratios}")


if __name__ == "__main__":
    main()
