"""Resources: what the children use, looked at every ten seconds, off the event loop; alerts, and limits of memory.
Where a child has a limit, every two seconds: one that takes all memory there is does so in less than ten.

The looks are psutil's, which is loaded here alone and not before the first look. Without it there are no numbers, and
one line in the log that says so. The arithmetic is `core/usage`. No limit of address space is ever set: node reserves
far more than it uses, and dies of such limits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import NamedTuple

from server_stub.core.usage import Alerts, Look, Process, Thresholds, Usage, megabytes, summary_line, tree_of, usages
from server_stub.fleet import Fleet
from server_stub.logbook import MEMBERS

logger = logging.getLogger(__name__)

NOTE = "psutil is not installed, so nothing is known of what the servers use, and limits of memory are not watched"

Children = Mapping[str, tuple[int, ...]]
Over = Callable[[str, int, int], None]


class Rhythm(NamedTuple):
    """Seconds."""

    every: float = 10.0
    limited: float = 2.0
    """The same while there are children that have a limit."""
    summary: float = 60.0
    apart: float = 0.25
    """How far apart two looks are at least: processor time is counted in hundredths of seconds."""
    fresh: float = 1.0
    """Whoever asks sooner than so after the last answer gets the same."""


class Resources:
    """See the module's text.

    `children` says which process ids each member has now; `limits` how many bytes one of its children may have
    resident, with all that it started. `over(name, pid, resident)` is called at each look for each child above that.
    """

    def __init__(
        self,
        children: Callable[[], Children],
        limits: Callable[[], Mapping[str, int]] = dict,
        over: Over | None = None,
        *,
        thresholds: Thresholds | None = None,
        rhythm: Rhythm | None = None,
        look: Callable[[Iterable[int]], Look] | None = None,
    ) -> None:
        self._children = children
        self._limits = limits
        self._over = over
        self._rhythm = rhythm or Rhythm()
        self._look = look or look_at
        self.note = NOTE if look is None and find_spec("psutil") is None else None
        """Why there are no numbers; None where there are."""
        self._alerts = Alerts(thresholds or Thresholds())
        self._lock = asyncio.Lock()
        self._last: Look | None = None
        self._found: tuple[Usage, ...] = ()

    async def run(self) -> None:
        """Look, warn, and end what is above its limit, until cancelled."""
        if self.note is not None:
            logger.warning("%s", self.note)
            return
        loop = asyncio.get_running_loop()
        told = loop.time()
        while True:
            try:
                await self.sample()
            except Exception:
                # a look that failed is not worth a server: the next one may succeed
                logger.exception("what the servers use could not be looked at")
            if loop.time() - told >= self._rhythm.summary - self._rhythm.every / 2:
                told = loop.time()
                logger.info("%s", summary_line(self._found))
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        limits = self._limits()
        is_limited = any(pids for name, pids in self._children().items() if name in limits)
        return min(self._rhythm.every, self._rhythm.limited) if is_limited else self._rhythm.every

    async def sample(self) -> tuple[Usage, ...]:
        """Take a look, act on it, and return what each child uses."""
        async with self._lock:
            return await self._sample()

    async def now(self) -> tuple[Usage, ...]:
        """Return what each child uses now, for an operator: with processor time, so it may take two looks."""
        if self.note is not None:
            return ()
        async with self._lock:
            is_fresh = self._last is not None and time.monotonic() - self._last.at < self._rhythm.fresh
            if is_fresh and self._is_complete():
                return self._found
            found = await self._sample()
            if not any(usage.cpu is None for usage in found):
                return found
            await asyncio.sleep(self._rhythm.apart)
            return await self._sample()

    def _is_complete(self) -> bool:
        """Whether the last look knew the children that there are now."""
        seen = {usage.pid for usage in self._found}
        return {pid for pids in self._children().values() for pid in pids} == seen and all(
            usage.cpu is not None for usage in self._found
        )

    async def _sample(self) -> tuple[Usage, ...]:
        children = self._children()
        before = self._last
        if before is not None and (wait := before.at + self._rhythm.apart - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        roots = [pid for pids in children.values() for pid in pids]
        self._last = now = await asyncio.to_thread(self._look, roots)
        self._found = usages(children, now, before)
        for text in self._alerts.crossed(self._found):
            logger.warning("%s", text)
        self._end_the_greedy()
        return self._found

    def _end_the_greedy(self) -> None:
        limits = self._limits()
        for usage in self._found:
            limit = limits.get(usage.name)
            if limit is not None and usage.resident > limit and self._over is not None:
                uses = f"{megabytes(usage.resident):g} MB of memory, and may use {megabytes(limit):g} MB (memoryLimit)"
                its_log = logging.getLogger(f"{MEMBERS}.{usage.name}")
                its_log.warning("%s: pid %d uses %s: it is ended", usage.name, usage.pid, uses)
                self._over(usage.name, usage.pid, usage.resident)


def resources_of(fleet: Fleet, thresholds: Thresholds | None = None, rhythm: Rhythm | None = None) -> Resources:
    """Return the watch over the children of a fleet, by the limits of its members (`Care.memory`)."""

    def children() -> Children:
        return {
            hosted.member.name: tuple(one.pid for one in hosted.vitals().running if one.pid is not None)
            for hosted in fleet.members()
        }

    def limits() -> Mapping[str, int]:
        cared = {hosted.member.name: hosted.member.manners.care.memory for hosted in fleet.members()}
        return {name: limit for name, limit in cared.items() if limit is not None}

    def over(name: str, pid: int, resident: int) -> None:
        hosted = fleet.find(name)
        limit = limits().get(name)
        if hosted is not None and limit is not None:
            why = f"it uses {megabytes(resident):g} MB of memory, and may use {megabytes(limit):g} MB (memoryLimit)"
            hosted.end_child(pid, why)

    return Resources(children, limits, over, thresholds=thresholds, rhythm=rhythm)


# --- Looking ---------------------------------------------------------------------------------------------------------


def look_at(roots: Iterable[int]) -> Look:
    """Look at these processes and all that they started. Blocks for some milliseconds; needs psutil."""
    at = time.monotonic()
    wanted = list(roots)
    if not wanted:
        return Look(at, {})
    import psutil

    parents: list[Process] = []
    handles: dict[int, psutil.Process] = {}
    for handle in psutil.process_iter():
        try:
            parents.append(Process(handle.pid, handle.ppid(), _group(handle.pid), handle.create_time()))
        except psutil.Error:
            continue  # it ended between the list and the question
        handles[handle.pid] = handle
    trees: dict[int, tuple[Process, ...]] = {}
    for root in wanted:
        found: list[Process] = []
        for process in tree_of(root, parents):
            handle = handles[process.pid]
            try:
                with handle.oneshot():
                    memory, cpu = handle.memory_info(), handle.cpu_times()
            except psutil.Error:
                continue
            found.append(process._replace(cpu=cpu.user + cpu.system, resident=memory.rss, virtual=memory.vms))
        trees[root] = tuple(found)
    return Look(at, trees)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid) if hasattr(os, "getpgid") else 0
    except OSError:
        return 0  # it has ended, or belongs to somebody else
