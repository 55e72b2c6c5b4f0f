"""All bridges beside each other in one interleaved run.

    python -m tests.bench [--rounds 5] [--only start,calls,...] [--json FILE]

Ours, the peers that are installed (see `bridges.installed`), a bare-socket bridge as the floor and a client without any
bridge, all against the same server on this machine. On a shared machine only the ratios of one run mean anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bridges import Bridge, installed
from tests.bench.measure import MEASUREMENTS, Figures, spread

Found = dict[str, dict[str, list[float]]]
"""Bridge, figure, one value a round."""


@contextlib.contextmanager
def far_end() -> Iterator[str]:
    """Run the server; yields its origin."""
    command = [sys.executable, "-m", "tests.bench.far"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def run(bridges: list[Bridge], names: list[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the figures: bridge, figure, one value a round."""
    found: dict[str, dict[str, list[float]]] = {bridge.name: {} for bridge in bridges}
    with far_end() as origin:
        for number in range(rounds):
            for name in names:
                for bridge in bridges:
                    figures = _measured(name, bridge, origin)
                    for figure, value in figures.items():
                        if bridge.command or not ("RSS" in figure or "CPU" in figure):
                            found[bridge.name].setdefault(figure, []).append(value)
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    return found


def _measured(name: str, bridge: Bridge, origin: str) -> Figures:
    try:
        return MEASUREMENTS[name](bridge, origin)
    except (AssertionError, OSError, ValueError) as error:
        print(f"{bridge.name} failed in {name}: {error}", file=sys.stderr)
        return {}


def with_added(found: Found) -> Found:
    """Return the figures with what each bridge adds to a call: its latency without that of the direct client."""
    whole = {name: dict(values) for name, values in found.items()}
    for figure, direct in found.get("direct", {}).items():
        if figure.endswith((" p50 us", " p99 us")):
            for name, values in found.items():
                if name != "direct" and figure in values:
                    whole[name][f"added {figure}"] = [
                        mine - base for mine, base in zip(values[figure], direct, strict=False)
                    ]
    return whole


def spreads(found: Found) -> str:
    """Return the smallest and the largest value of every figure: the noise of the machine."""
    lines = []
    for figure in dict.fromkeys(figure for values in found.values() for figure in values):
        cells = (
            f"{name} {low:.1f} / {middle:.1f} / {high:.1f}"
            for name, values in found.items()
            if figure in values
            for low, middle, high in [spread(values[figure])]
        )
        lines.append(f"{figure}: {'; '.join(cells)}")
    return "\n".join(["min / median / max:", *lines])


def table(found: Found) -> str:
    """Return the medians as a table, each with its ratio to the first bridge."""
    names = list(found)
    figures = list(dict.fromkeys(figure for values in found.values() for figure in values))
    width = max(map(len, figures))
    lines = [" " * width + "".join(f"{name:>20}" for name in names)]
    for figure in figures:
        base = found[names[0]].get(figure)
        cells = []
        for name in names:
            values = found[name].get(figure)
            cells.append("-" if not values else f"{spread(values)[1]:.1f} {_ratio(values, base):>8}")
        lines.append(f"{figure:<{width}}" + "".join(f"{cell:>20}" for cell in cells))
    lines.append(f"In brackets: the ratio to {names[0]} in this run.")
    return "\n".join(lines)


def _ratio(values: list[float], base: list[float] | None) -> str:
    reference = spread(base)[1] if base else 0.0
    return f"({spread(values)[1] / reference:.2f})" if reference else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help=f"some of: {','.join(MEASUREMENTS)}")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(MEASUREMENTS)
    found = with_added(run(installed(), names, options.rounds))
    print(table(found), spreads(found), sep="\n\n")
    if options.json:
        machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        document = {"machine": machine, "rounds": options.rounds, "figures": found}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
