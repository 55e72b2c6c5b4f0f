"""All wrappers of stdio servers beside each other in one interleaved run.

    python -m tests.peers.install --wrappers        once: npm's mcp-proxy, supergateway, PyPI's mcp-proxy
    python -m tests.bench.wrappers [--rounds 3] [--sessions 1,16,64,200] [--only start,calls,...] [--json FILE]

The same child, the same client, the same machine. Memory and CPU are the wrapper's, with whatever it starts for itself
and without the children. On a shared machine only the ratios of one run mean anything; a missed target ends nothing.
A call that fails is counted, in the row of its errors; so is a measurement that fails as a whole.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import wrapping
from tests.bench.caller import Failed
from tests.bench.measure import spread
from tests.bench.wrapping import Figures, Wrapper

Found = dict[str, dict[str, list[float]]]
"""Wrapper, figure, one value a round."""

TARGETS = {
    "initialize CPU ms": 0.60,
    "added p50 us": 0.30,
    "CPU us a call": 0.30,
    "calls/s, 16 sessions": 3.0,
    "calls/s, 64 sessions": 3.0,
    "RSS MiB, no session": 0.85,
    "RSS MiB, 200 sessions": 0.85,
}
"""What ours is to be to the best peer: at most, where less is better; else at least. In all other rows: not behind."""
MOST = {
    "KB a session": 80.0,
    "10 servers CPU ms": 1000.0,
    "10 servers: SSE up, worst ms": 500.0,
    "10 servers: errors of 10 clients, %": 1.0,
}
"""What ours may be at most, whatever the peers are."""
TEN_TO_ONE = 1.5
"""What the memory of ours with ten servers may be to that with one."""
FAILED = "measurements that failed"


def measurements(sessions: list[int]) -> dict[str, Callable[[Wrapper], Figures]]:
    """Return what can be measured, by name."""
    return {
        "start": wrapping.start,
        "calls": wrapping.calls,
        "held": lambda wrapper: wrapping.sessions_held(wrapper, max(sessions)),
        "crowds": lambda wrapper: wrapping.crowds(wrapper, sessions),
        "payload": wrapping.payload,
        "ten": wrapping.ten,
    }


def run(wrappers: list[Wrapper], names: list[str], rounds: int, sessions: list[int]) -> Found:
    """Return the figures: wrapper, figure, one value a round. Each round begins with another wrapper.

    Ctrl-C ends it; what was found until then is returned.
    """
    found: Found = {wrapper.name: {} for wrapper in wrappers}
    try:
        _measure(found, wrappers, names, rounds, sessions)
    except KeyboardInterrupt:
        print("interrupted: the table is of what was measured until now", file=sys.stderr)
    return found


def _measure(found: Found, wrappers: list[Wrapper], names: list[str], rounds: int, sessions: list[int]) -> None:
    known = measurements(sessions)
    for number in range(rounds):
        first = number % len(wrappers)
        for name in names:
            for wrapper in (*wrappers[first:], *wrappers[:first]):
                try:
                    figures = known[name](wrapper)
                except (Failed, OSError, ValueError) as error:
                    print(f"{wrapper.name} failed in {name}: {error}", file=sys.stderr)
                    found[wrapper.name].setdefault(FAILED, []).append(1.0)
                    continue
                for figure, value in figures.items():
                    found[wrapper.name].setdefault(figure, []).append(value)
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr)


def more_is_better(figure: str) -> bool:
    return "calls/s" in figure


def table(found: Found, ours: set[str]) -> str:
    """Return the medians, each of ours with its ratio to the best peer of that row, and what came of the targets."""
    figures = list(dict.fromkeys(figure for values in found.values() for figure in values if figure != FAILED))
    medians = {name: {each: spread(values[each])[1] for each in values} for name, values in found.items()}
    width = max(map(len, (*figures, FAILED)))
    lines = [" " * width + "".join(f"{name:>22}" for name in found) + "   target"]
    for figure in figures:
        theirs = [medians[name][figure] for name in found if name not in ours and figure in medians[name]]
        best = (max if more_is_better(figure) else min)(theirs) if theirs else None
        cells = []
        for name in found:
            value = medians[name].get(figure)
            ratio = f"({value / best:.2f})" if value is not None and best and name in ours else ""
            cells.append(f"{'-' if value is None else f'{value:.1f}'} {ratio:>8}")
        verdicts = [_verdict(figure, best, medians[name]) for name in found if name in ours]
        lines.append(f"{figure:<{width}}" + "".join(f"{cell:>22}" for cell in cells) + f"   {'; '.join(verdicts)}")
    failures = (f"{len(found[name].get(FAILED, ())):.1f} {'':>8}" for name in found)
    lines.append(f"{FAILED:<{width}}" + "".join(f"{cell:>22}" for cell in failures))
    lines.append("In brackets: the ratio to the best peer of the row. Behind it, for each of ours: the target, and if")
    lines.append("it is met; where there is none, whether ours is ahead of the best peer.")
    return "\n".join(lines)


def _verdict(figure: str, best: float | None, medians: Figures) -> str:
    mine = medians.get(figure)
    if mine is None:
        return "-"
    if figure in MOST:
        return _met(f"<= {MOST[figure]:g}", mine <= MOST[figure])
    alone = medians.get("1 server PSS MiB")
    if figure == "10 servers PSS MiB" and alone:
        return _met(f"<= {TEN_TO_ONE:g} x one", mine <= TEN_TO_ONE * alone)
    if best is None:
        return "-"
    wanted = TARGETS.get(figure)
    if wanted is None:
        is_ahead = mine >= best if more_is_better(figure) else mine <= best
        return "ahead" if is_ahead else "BEHIND"
    if more_is_better(figure):
        return _met(f">= {wanted:g} x", mine >= wanted * best)
    return _met(f"<= {wanted:g} x", mine <= wanted * best)


def _met(target: str, is_met: bool) -> str:
    return f"{target} {'met' if is_met else 'MISSED'}"


def spreads(found: Found) -> str:
    """Return the smallest, middle and largest value of every figure: the noise of the machine."""
    lines = ["min / median / max:"]
    for figure in dict.fromkeys(figure for values in found.values() for figure in values):
        cells = []
        for name, values in found.items():
            if figure in values:
                cells.append("{} {:.1f} / {:.1f} / {:.1f}".format(name, *spread(values[figure])))
        lines.append(f"{figure}: {'; '.join(cells)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", default="1,16,64,200", help="how many sessions call at once, e.g. 1,16,64,200")
    parser.add_argument("--only", help=f"some of: {','.join(measurements([]))}")
    parser.add_argument("--wrappers", help="some of them, by the beginning of their names, e.g. ours,PyPI")
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    options = parser.parse_args()
    sessions = [int(each) for each in options.sessions.split(",")]
    names = options.only.split(",") if options.only else list(measurements([]))
    chosen = tuple(options.wrappers.split(",")) if options.wrappers else ("",)
    wrappers = [wrapper for wrapper in wrapping.installed() if wrapper.name.startswith(chosen)]
    found = run(wrappers, names, options.rounds, sessions)
    ours = {wrapper.name for wrapper in wrappers if wrapper.is_ours}
    print(table(found, ours), spreads(found), sep="\n\n")
    if options.json:
        machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        document = {"machine": machine, "rounds": options.rounds, "figures": found}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
