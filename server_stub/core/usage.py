"""Usage: what processes use, from two looks at the system; and when an alert is due. Pure: the looks are `resources`'.

A child counts with all that it started: `npx` is small, the `node` behind it is not. Memory that several processes
share (the interpreter's code) is counted once for each of them, as operating systems do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MEGABYTE = 1024 * 1024


class Process(NamedTuple):
    """One process at one moment. A process id comes again, together with the time of its start it does not."""

    pid: int
    parent: int
    group: int
    """The process group; 0 where the system has none."""
    started: float
    """Unix time."""
    cpu: float = 0.0
    """Seconds of processor time that it has used."""
    resident: int = 0
    """Bytes."""
    virtual: int = 0


class Look(NamedTuple):
    """All processes of all children at one moment."""

    at: float
    """Seconds of a monotonic clock."""
    trees: Mapping[int, tuple[Process, ...]]
    """A child's process id: its process and all that it started."""


class Usage(NamedTuple):
    """What one child uses, with all that it started."""

    name: str
    pid: int
    resident: int
    """Bytes."""
    virtual: int
    cpu: float | None
    """Percent of one processor, so that it may be above 100; None before there were two looks."""
    processes: int


class Thresholds(NamedTuple):
    """Above these an operator is warned."""

    resident: int = 500 * MEGABYTE
    cpu: float = 80.0


def tree_of(root: int, processes: Iterable[Process]) -> tuple[Process, ...]:
    """Return a process and all that it started: its descendants, and what is in its process group.

    A child leads a group of its own; what lost its parent on the way is still in it.
    """
    everything = list(processes)
    of_parent: dict[int, list[Process]] = {}
    for process in everything:
        of_parent.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    waiting = [process for process in everything if process.pid == root or process.group == root]
    while waiting:
        process = waiting.pop()
        if process.pid not in found:
            found[process.pid] = process
            waiting += of_parent.get(process.pid, ())
    return tuple(found.values())


def usages(children: Mapping[str, Sequence[int]], now: Look, before: Look | None) -> tuple[Usage, ...]:
    """Return what each child uses, in the order of `children`. One that is gone is left out."""
    found = []
    for name, pids in children.items():
        for pid in pids:
            tree = now.trees.get(pid, ())
            if any(process.pid == pid for process in tree):
                resident, virtual = (sum(sizes) for sizes in zip(*((p.resident, p.virtual) for p in tree), strict=True))
                found.append(Usage(name, pid, resident, virtual, _percent(pid, now, before), len(tree)))
    return tuple(found)


def _percent(pid: int, now: Look, before: Look | None) -> float | None:
    """None for a child that was not there at the first look, or was another one."""
    if before is None or now.at <= before.at:
        return None
    tree = now.trees[pid]
    known = {(process.pid, process.started): process.cpu for process in before.trees.get(pid, ())}
    if not any((process.pid, process.started) in known for process in tree if process.pid == pid):
        return None
    # what was started in between has used all its time in between
    used = sum(max(0.0, process.cpu - known.get((process.pid, process.started), 0.0)) for process in tree)
    return 100.0 * used / (now.at - before.at)


class Alerts:
    """Says which children have crossed a threshold, once for each crossing."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._above: set[tuple[int, str]] = set()

    def crossed(self, found: Sequence[Usage]) -> list[str]:
        """Return a sentence for each child that is above a threshold and was not at the last call."""
        above: dict[tuple[int, str], str] = {}
        for usage in found:
            if usage.resident > self._thresholds.resident:
                above[usage.pid, "memory"] = (
                    f"{usage.name} (pid {usage.pid}) uses {megabytes(usage.resident):g} MB of memory, "
                    f"more than {megabytes(self._thresholds.resident):g} MB"
                )
            if usage.cpu is not None and usage.cpu > self._thresholds.cpu:
                above[usage.pid, "cpu"] = (
                    f"{usage.name} (pid {usage.pid}) uses {usage.cpu:.0f} % of a processor, "
                    f"more than {self._thresholds.cpu:g} %"
                )
        fresh = [text for key, text in above.items() if key not in self._above]
        self._above = set(above)
        return fresh


def megabytes(size: int) -> float:
    """Return bytes as MB (of 1024 * 1024), with one decimal."""
    return round(size / MEGABYTE, 1)


def summary_line(found: Sequence[Usage]) -> str:
    """Return what is logged each minute."""
    resident = megabytes(sum(usage.resident for usage in found))
    cpu = sum(usage.cpu or 0.0 for usage in found)
    each = ", ".join(f"{usage.name} {megabytes(usage.resident):g} MB {usage.cpu or 0.0:.0f} %" for usage in found[:20])
    more = f" and {len(found) - 20} more" if len(found) > 20 else ""
    return f"resources: {len(found)} children, {resident:g} MB, {cpu:.0f} % CPU" + (f": {each}{more}" if found else "")
