"""OnePipe: a link over whichever wire a remote server speaks, shown to the front as one shared pipe.

Traits are asked before the wire is known (`auto` tries POST first, with the client's own `initialize`; core/probing
says what an answer proves), so they are the same for all wires. The exchanges of Streamable HTTP run in tasks of their
own, inside `listen`, and `send` returns as soon as a request is written. What goes wrong before that is raised, what
goes wrong after it is delivered as the request's answer. A session that the remote server has lost, or a pipe that
broke, ends the link: the session in front ends, and the client begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mcp_remote_py.core.errors import BackendDown, Fault, Interrupted, OwnMistake, SessionLost, as_error
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message, key_of, with_id
from mcp_remote_py.core.probing import Wires
from server_stub.core.hops import marked
from server_stub.core.remote_words import of_member

_SOURCE = "mcp-remote-server"
_INITIALIZE = "initialize"

logger = logging.getLogger(__name__)

Dial = Callable[[str], Awaitable[Link]]
"""Makes an unopened link over the wire of this name: `http`, `sse` or `ws`. Raises a `Fault`."""


class OnePipe:
    """See the module's text, and `core.link`. `name` names the member in faults, `mark` this server (`core/hops`)."""

    def __init__(self, dial: Dial, wires: Wires, name: str, mark: str) -> None:
        self._make = dial
        self._wires = wires
        self._name = name
        self._mark = mark
        self._deliver: Deliver
        self._link: Link | None = None
        self._group: asyncio.TaskGroup | None = None
        self._listening = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[Key, _Exchange] = {}
        self._probing = asyncio.Lock()
        self._standing: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._fault: Fault | None = None

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=False)

    # --- Beginning ---------------------------------------------------------------------------------------------

    async def open(self, deliver: Deliver) -> None:
        """Make the wire ready; a pipe is opened. Raises a `Fault`."""
        self._deliver = deliver
        while True:
            try:
                await self._dial()
                return
            except Fault as fault:
                if not (self._wires.are_wrong(fault) and self._wires.turn(fault)):
                    raise of_member(self._wires.to_report(fault), self._name) from None

    async def _dial(self) -> Link:
        """Open a link over the wire that is to be tried."""
        link = await self._make(self._wires.name)
        if self._over.is_set():
            raise self._gone(may_have_run=False)
        self._link = link
        try:
            await link.open(self._heard_from(link))
        except BaseException:
            self._link = None
            await _close(link)
            raise
        if not link.traits.streams_per_exchange:
            self._wires.settle()
        return link

    async def _redial(self) -> None:
        """Leave the wire that was the wrong one, and open the next."""
        old, self._link = self._link, None
        if old is not None:
            await _close(old)
        link = await self._dial()
        if not link.traits.streams_per_exchange:
            self._stay(link)

    # --- Out ---------------------------------------------------------------------------------------------------

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Carry one message; returns when it is written, a notification or an answer when it was taken.

        Waits until the link is listened to, as nothing could come back before. Raises a `Fault`.
        """
        if self._link is None and not self._over.is_set():
            raise BackendDown(f"{self._name} has not been connected", may_have_run=False)
        await self._listening.wait()
        if self._group is None or self._over.is_set():
            raise self._gone(may_have_run=False)
        if message.method == _INITIALIZE and message.kind is Kind.REQUEST:
            message = self._marked(message)
        if message.kind is Kind.REQUEST:
            await self._ask(message, written)
        else:
            await self._tell(message, written)

    def _marked(self, initialize: Message) -> Message:
        message = marked(initialize, self._mark)
        if message is None:
            hint = "Its `url` reaches this server, perhaps through another one: take it out of the file of one of them."
            raise BackendDown(f"{self._name} leads back to this server", hint=hint, may_have_run=False)
        return message

    async def _ask(self, request: Message, written: Callable[[], None] | None) -> None:
        exchange = _Exchange(request, written)
        exchange.task = task = self._spawn(self._perform(exchange))
        self._open[request.key] = exchange
        try:
            await exchange.under_way
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _perform(self, exchange: _Exchange) -> None:
        """Carry one request to its end. It may be cancelled where nobody waits for its answer any more."""
        request, fault = exchange.request, None
        try:
            await self._carry(exchange)
        except Fault as trouble:
            fault = of_member(trouble, self._name)
        except asyncio.CancelledError:
            exchange.fails(self._gone(may_have_run=True))
            raise
        except Exception:
            logger.exception("%s: a request failed", self._name)  # a defect: it ends this request and no other
            fault = OwnMistake(f"{self._name}: the server failed while it carried this call")
        finally:
            if self._open.get(request.key) is exchange:
                del self._open[request.key]
        if fault is None:
            exchange.goes_on()
            return
        if not exchange.fails(fault):
            await self._deliver(as_error(fault, request.id, _SOURCE), None)
        if isinstance(fault, SessionLost):
            self._end(fault)

    async def _carry(self, exchange: _Exchange) -> None:
        request = exchange.request
        if self._wires.is_settled:
            await self._in_use().send(request, None if request.method == _INITIALIZE else exchange.goes_on)
            return
        async with self._probing:
            while True:
                try:
                    await self._in_use().send(request)
                except Fault as fault:
                    await self._try_another(fault)
                else:
                    self._wires.settle()
                    return

    async def _try_another(self, fault: Fault) -> None:
        """Turn to another wire, if this fault of a first message says so. Raises what is to be reported otherwise."""
        if not (self._wires.are_wrong(fault) and self._wires.turn(fault)):
            reported = self._wires.to_report(fault)
            self._wires.begin_again()
            raise reported
        logger.debug("%s does not speak this wire; another is tried", self._name)
        try:
            await self._redial()
        except Fault as second:
            raise self._wires.to_report(second) from None

    async def _settled(self) -> None:
        """Wait for the probe, if one is under way, whatever comes of it."""
        for exchange in tuple(self._open.values()):
            if not self._wires.is_settled and exchange.task is not None:
                await asyncio.wait({exchange.task})

    async def _tell(self, message: Message, written: Callable[[], None] | None) -> None:
        if not message.is_answer:
            await self._settled()  # a notification waits until it is known where to
        fault: Fault | None = None
        try:
            await self._in_use().send(message, written)
        except Fault as trouble:
            fault = of_member(trouble, self._name)
        if isinstance(fault, SessionLost):
            self._end(fault)
        elif message.method == "notifications/initialized" and self._standing is None:
            link = self._in_use()
            if link.traits.streams_per_exchange:
                self._stay(link)
        elif message.method == "notifications/cancelled":
            self._forget(message.params.get("requestId"))
        if fault is not None:
            raise fault

    def _forget(self, value: object) -> None:
        """The remote server knows that nobody waits; its answer may never end, so it is not read any more."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return
        exchange = self._open.get(key_of(value))
        if exchange is not None and exchange.task is not None and exchange.request.method != _INITIALIZE:
            exchange.task.cancel()

    # --- In ----------------------------------------------------------------------------------------------------

    def _heard_from(self, link: Link) -> Deliver:
        async def heard(message: Message, key: Key | None) -> None:
            if link is not self._link:
                return  # it was left
            exchange = None if key is None else self._open.get(key)
            if exchange is not None:
                exchange.goes_on()
                if message.is_answer and message.id is None and exchange.request.id is not None:
                    message = with_id(message, exchange.request.id)
            await self._deliver(message, None)

        return heard

    async def listen(self) -> None:
        """Stay until the link is over, then raise the `Fault` that says why. The exchanges live in here."""
        link = self._in_use()
        try:
            async with asyncio.TaskGroup() as self._group:
                if not link.traits.streams_per_exchange:
                    self._stay(link)
                self._listening.set()
                await self._over.wait()
                for task in tuple(self._tasks):
                    task.cancel()
        finally:
            self._group = None
        raise self._gone(may_have_run=True)

    def _stay(self, link: Link) -> None:
        self._standing = self._spawn(self._stand(link))

    async def _stand(self, link: Link) -> None:
        """Read a pipe, or the stream for what the server says on its own. The end of a pipe is the end of the link."""
        fault: Fault | None = None
        try:
            await link.listen()
        except Fault as trouble:
            fault = of_member(trouble, self._name)
        except Exception:
            logger.exception("%s: the reading failed", self._name)  # a defect: it ends this link and no other
            self._end(OwnMistake(f"{self._name}: the server failed while it read"))
        if link is not self._link:
            return
        if not link.traits.streams_per_exchange or isinstance(fault, SessionLost):
            self._end(fault or Interrupted(f"{self._name} ended the connection"))
        elif fault is not None:
            logger.warning("what the server says on its own is not heard: %s", fault)

    # --- The end -----------------------------------------------------------------------------------------------

    def _end(self, fault: Fault) -> None:
        if not self._over.is_set():
            self._fault = fault
            self._over.set()

    async def close(self) -> None:
        """End the session in order, in two seconds at most."""
        link = self._link
        if link is not None:
            await _close(link)
        self._end(Interrupted(f"the connection to {self._name} was closed"))
        self._listening.set()

    def _gone(self, *, may_have_run: bool) -> Fault:
        fault = self._fault or Interrupted(f"the connection to {self._name} is not open")
        if may_have_run or not fault.may_have_run:
            return fault.restated()
        return fault.restated(hint="This call has not run.", may_have_run=False)

    def _in_use(self) -> Link:
        if self._link is None:
            raise self._gone(may_have_run=False)
        return self._link

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise self._gone(may_have_run=False)
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Exchange:
    """One request on its way. `under_way` is done as soon as the sender need not wait: written, answered, or failed."""

    def __init__(self, request: Message, written: Callable[[], None] | None) -> None:
        self.request = request
        self.task: asyncio.Task[None] | None = None
        self.under_way: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._written = written

    def goes_on(self) -> None:
        """It is written, for good. May be called more than once."""
        if not self.under_way.done():
            self.under_way.set_result(None)
            if self._written is not None:
                self._written()

    def fails(self, fault: Fault) -> bool:
        """Have the sender raise this. Returns whether it still waits."""
        if self.under_way.done():
            return False
        self.under_way.set_exception(fault)
        return True


async def _close(link: Link) -> None:
    try:
        await link.close()
    except Fault as fault:
        logger.debug("a session could not be ended: %s", fault.name)
