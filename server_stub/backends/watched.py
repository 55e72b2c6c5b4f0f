"""Watched: a link whose far end is looked after: it must answer `initialize` in time, and pings. It carries bytes as
they are; what is asked and what counts as missed is `core/checkup`'s. How its end is taken is for who made it.

`listen` ends with the fault that says what was wrong; the child itself ends with `close`, as with every link.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from mcp_remote_py.core.errors import BackendDown, Fault, Interrupted, TimedOut, Unreachable
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.core.checkup import Checkup
from server_stub.core.roster import Care
from server_stub.core.supervision import Supervision
from server_stub.core.vitals import Running, State

_SILENCE = (BackendDown, Interrupted, TimedOut, Unreachable)
"""What a ping over HTTP ends with where nobody answers; with every other fault somebody has."""


class Health(NamedTuple):
    """What operators are told of one child."""

    checked: float | None = None
    """Unix time of the last check that was answered or missed."""
    response: float | None = None
    """Seconds."""
    missed: int = 0


class Watched:
    """See the module's text. `name`: what to call the far end in texts."""

    def __init__(self, inner: Link, name: str, care: Care, machine: Supervision) -> None:
        self._inner = inner
        self._name = name
        self._care = care
        self._machine = machine
        self._checkup = Checkup(secrets.token_hex(16))
        self._checked: float | None = None
        self._since: float | None = None
        self._deliver: Deliver | None = None
        self._greeting = asyncio.Event()
        self._greeted = asyncio.Event()
        self._verdict = asyncio.Event()
        self._fault: Fault | None = None
        self._closed = False

    @property
    def traits(self) -> Traits:
        return self._inner.traits

    @property
    def pid(self) -> int | None:
        """The process id; None for what is no process of ours."""
        pid = getattr(self._inner, "pid", None)
        return pid if isinstance(pid, int) else None

    @property
    def health(self) -> Health:
        return Health(self._checked, self._checkup.response, self._checkup.missed)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress."""
        return self._checkup.calls == 0

    def running(self, sessions: int) -> Running | None:
        """Return what it is to operators; None before it was opened and after it was closed."""
        return None if self._since is None or self._closed else Running(self.pid, self._since, sessions)

    def end(self, fault: Fault) -> None:
        """Let `listen` end with this fault."""
        if self._fault is None:
            self._fault = fault
            self._verdict.set()

    # --- The link ----------------------------------------------------------------------------------------------

    async def open(self, deliver: Deliver) -> None:
        """Open the inner link. Raises its `Fault`."""
        self._deliver = deliver
        await self._inner.open(self._hear)
        self._since = time.time()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Send as it is. Raises the inner link's `Fault`."""
        self._checkup.sent(message, _now())
        if message.kind is not Kind.REQUEST:
            await self._inner.send(message, written)
            return
        if self._checkup.is_being_greeted:
            self._greeted.clear()
            self._greeting.set()
        try:
            await self._inner.send(message, written)
        except Fault:
            self._checkup.unsent(message.key)
            raise
        if self._inner.traits.streams_per_exchange:
            self._checkup.unsent(message.key)

    async def ask(self, message: Message) -> None:
        """Send a request of our own, which is no call in progress. Raises the inner link's `Fault`."""
        await self._inner.send(message)

    async def listen(self) -> None:
        """Listen until the far end is gone, or broke a rule. Raises the `Fault` that says so."""
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(_until_it_ends(self._inner))
            watching = group.create_task(self._watch())
            judging = group.create_task(self._verdict.wait())
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait({hearing, watching, judging}, return_when=first)
            if done == {hearing} and hearing.result() is None and self.traits.streams_per_exchange:
                await asyncio.wait({watching, judging}, return_when=first)  # it offers no stream of its own: no harm
            for task in (hearing, watching, judging):
                task.cancel()
        raise self._fault or (hearing.result() if hearing in done else None) or BackendDown(f"{self._name} ended")

    async def close(self) -> None:
        """Close the inner link."""
        self._closed = True
        await self._inner.close()

    # --- Looking after it --------------------------------------------------------------------------------------

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        was_greeted = self._checkup.is_greeted
        is_check = self._checkup.is_being_greeted
        is_for_others = self._checkup.heard(message, _now())
        if not is_for_others or (is_check and not self._checkup.is_being_greeted):
            self._checked = time.time()
        if not self._checkup.is_being_greeted:
            self._greeting.clear()
            self._greeted.set()
        if self._checkup.is_greeted and not was_greeted:
            self._machine.answered(_now())
        if self._machine.state is State.DEGRADED:
            self._machine.heard()
        if is_for_others and self._deliver is not None:
            await self._deliver(message, exchange)

    async def _watch(self) -> None:
        """Wait for the answer to `initialize`, then ask at every interval. Returns when it broke a rule."""
        while not self._checkup.is_greeted:
            await self._greeting.wait()
            try:
                async with asyncio.timeout(self._care.initialize):
                    await self._greeted.wait()
            except TimeoutError:
                self.end(_too_slow(self._name, self._care.initialize))
                return
        every = self._care.ping_every
        if every is None:
            await self._verdict.wait()
            return
        while self._checkup.missed < max(1, self._care.ping_failures):
            await asyncio.sleep(every)
            await self._look(every)
        self.end(_too_silent(self._name, self._checkup.missed))

    async def _look(self, every: float) -> None:
        missed = self._checkup.missed
        ping = self._checkup.look(_now())
        if self._checkup.missed > missed:
            self._checked = time.time()
            self._machine.missed()
        elif self._checkup.missed == 0:  # a call in progress is life
            self._machine.heard()
        if ping is None or self._checkup.missed >= self._care.ping_failures:
            return
        try:
            async with asyncio.timeout(every):  # a child that does not read does not hold up the next look
                await self._inner.send(ping)
        except (*_SILENCE, TimeoutError):
            return
        except Fault:
            self._checkup.answered_badly(_now())


async def _until_it_ends(link: Link) -> Fault | None:
    try:
        await link.listen()
    except Fault as fault:
        return fault
    return None


def _too_slow(name: str, seconds: float) -> BackendDown:
    return BackendDown(
        f"{name} did not answer initialize within {seconds:g} s and was ended",
        hint="Its log may say what it waits for; initializeTimeout in the configuration gives it more time.",
        may_have_run=False,
    )


def _too_silent(name: str, missed: int) -> BackendDown:
    return BackendDown(
        f"{name} did not answer {missed} pings in a row and was ended",
        hint="Its log may say what kept it; pingInterval and pingFailures in the configuration say how long it may be.",
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
