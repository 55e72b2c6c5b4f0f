"""Own: the link of a session to a child that serves nobody else. It is not restarted: its end is the session's.

Only starts that fail count, for all sessions of the member together. While the next start waits for its delay, who
opens a link waits with it; when too many have failed, `open` refuses at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Message
from server_stub.backends.place import Ward, too_often
from server_stub.backends.watched import Watched
from server_stub.core.supervision import Budget, Guard, Supervision
from server_stub.core.vitals import State


class Register(Protocol):
    """Where own children are known while they live."""

    def began(self, own: Own) -> None: ...

    def ended(self, own: Own, fault: Fault | None) -> None:
        """`fault`: how it ended where that was not the session's wish."""
        ...

    def gone(self, own: Own) -> None:
        """Nothing of it is left."""
        ...

    @property
    def why(self) -> str | None: ...

    async def changed(self, seconds: float) -> None:
        """Wait until a reload or an operator has spoken, for so many seconds at most."""
        ...


class Own:
    """See the module's text."""

    def __init__(self, ward: Ward, budget: Budget, register: Register) -> None:
        self.machine = Supervision(budget, restarts=False)
        self._ward = ward
        self._budget = budget
        self._register = register
        self.watched = Watched(ward.make_link(), ward.name, ward.care, self.machine)
        self._is_over = False

    @property
    def traits(self) -> Traits:
        return self.watched.traits

    @property
    def refusal(self) -> Fault | None:
        """Why it would be refused now; None where it may start, now or soon."""
        if self._budget.guard(_now()) is not Guard.SPENT:
            return None
        return too_often(self._ward, self._budget, self._register.why)

    async def open(self, deliver: Deliver) -> None:
        """Start the child, when that is allowed. Raises a `Fault` that names the member."""
        while not self._ward.is_remote and self._budget.guard(_now()) is not Guard.FREE:
            refusal = self.refusal
            if refusal is not None:
                raise refusal
            await self._register.changed(self._budget.rest(_now()))
        self.machine.wanted(_now())
        self._register.began(self)
        try:
            await self.watched.open(deliver)
        except Fault as fault:
            self._over(fault)
            raise

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Send it to the child. Raises its `Fault`."""
        try:
            await self.watched.send(message, written)
        except Fault as fault:
            if message.method == "initialize" and self.machine.state is State.STARTING:
                self._over(fault)
            raise

    async def listen(self) -> None:
        """Listen until the child is gone. Raises the `Fault` that says how it ended."""
        try:
            await self.watched.listen()
        except Fault as fault:
            self._over(fault)
            raise

    async def close(self) -> None:
        """End the child."""
        self._over(None)
        try:
            await self.watched.close()
        finally:
            self._register.gone(self)

    def _over(self, fault: Fault | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if fault is None:
            self.machine.unwanted()
        elif self.machine.state is not State.STOPPED:
            self.machine.ended(_now(), random.random(), wanted=False)  # noqa: S311  (only spreads starts)
        self._register.ended(self, fault)


def _now() -> float:
    return asyncio.get_running_loop().time()
