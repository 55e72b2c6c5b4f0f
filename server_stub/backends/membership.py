"""One member of one merged session: connected when it is wanted, greeted, asked, and tried again after it was lost.

Knows links and JSON-RPC; of MCP only the handshake, `ping`, cancellation and progress tokens. What its messages mean
to the client is the business of the `Host`, the merged session.

    OUT ── want ──▶ COMING ── answered initialize ──▶ IN
     ▲  ◀── not started, refused ──┘                  │
     └────── lost; tried again after a pause, or when somebody calls it by name
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault, OwnMistake, PeerBroke, SessionLost
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Invalid, JsonId, Key, Kind, Message, key_of
from server_stub.backends import Connect, Peer
from server_stub.core.inquiries import scalar

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
"""Seconds between two attempts, at most."""
STEADY = 30.0
"""Who was there for so many seconds is tried again at once after it was lost."""

_CLOSING_SECONDS = 7.0
_BACKLOG = 1000
"""So many messages may wait for a member that does not read; more notifications are dropped."""
_SAID = 200
"""So many characters of a member's own words are quoted."""
_LATE = 256
"""So many progress tokens are remembered after their answer: tasks go on reporting under them."""
_CANCELLED = "notifications/cancelled"
_PROGRESS = "notifications/progress"
_UNRELATED = ("list_changed", "resources/updated", "tasks/status")


_BADGES = itertools.count(1)


class Host(Protocol):
    """The merged session, as its members see it."""

    @property
    def is_introduced(self) -> bool:
        """Whether the client has finished its handshake, so that members may be told."""
        ...

    def greeting(self) -> Message:
        """Return the `initialize` for members."""
        ...

    async def heard(self, member: Membership, message: Message, exchange: Key | None) -> None:
        """A member asks or tells something; `exchange` is the client's request that it belongs to, if any."""
        ...

    async def came(self, member: Membership) -> None: ...

    async def went(self, member: Membership, fault: Fault, *, was_in: bool) -> None: ...


class Phase(Enum):
    OUT = "out"
    COMING = "coming"
    IN = "in"


class _Call:
    """A request that the member has not answered yet."""

    def __init__(self, future: asyncio.Future[Message], client: Key | None) -> None:
        self.future = future
        self.client = client
        self.sent = False


class _Item(NamedTuple):
    """What waits to be written."""

    message: Message
    call: _Call | None = None


class _Over(Exception):
    """Leaves the TaskGroup of a connection that is over."""


class Membership:
    """See the module's text. `live()` is its life; `end()` and `close()` end it."""

    def __init__(self, name: str, connect: Connect, peer: Peer, host: Host, pause: float) -> None:
        self.name = name
        self.badge = f"{name} {next(_BADGES)}"
        """Tells it from the one that follows it under its name."""
        self.connect = connect
        self.greeted: Mapping[str, Any] = {}
        """Its answer to `initialize`."""
        self.fault: Fault | None = None
        """Why it was lost, or did not come."""
        self._peer = peer
        self._host = host
        self._pause = pause
        self._phase = Phase.OUT
        self._since = 0.0
        self._failures = 0
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self._link: Link | None = None
        self._outbox: asyncio.Queue[_Item] | None = None
        self._lost: asyncio.Future[Fault] | None = None
        self._introduced = False
        self._has_ended = False
        self._numbers = itertools.count(1)
        self._open: dict[Key, _Call] = {}
        self._tokens: OrderedDict[Key, Key | None] = OrderedDict()

    @property
    def is_in(self) -> bool:
        return self._phase is Phase.IN

    @property
    def is_missing(self) -> bool:
        """Whether it is wanted, and not there."""
        return self._phase is Phase.COMING or (self._phase is Phase.OUT and self.fault is not None)

    def down(self) -> Fault:
        """Return the fault for a request that cannot reach it."""
        if self._phase is Phase.COMING or self.fault is None:
            text = f"the server {self.name} has not answered initialize yet"
            return BackendDown(text, hint="It may still be starting: try again in a while.", may_have_run=False)
        return self._naming(self.fault, may_have_run=False)

    # --- What the session calls --------------------------------------------------------------------------------------

    def want(self, *, urgent: bool = False) -> None:
        """Have it connected. One that was just lost is left its pause, unless somebody needs just this one."""
        if self._phase is not Phase.OUT or self._has_ended:
            return
        if self.fault is not None and (not urgent or _now() < self._since + self._pause):
            return
        self._begin()

    def again(self) -> None:
        """The configuration was read again, or an operator has spoken: one that was lost need not wait any longer."""
        if self._phase is Phase.OUT and self.fault is not None and not self._has_ended:
            self._failures = 0
            self._begin()

    async def ready(self, patience: float, *, urgent: bool = False) -> bool:
        """Want it, and wait until it is there, or this attempt to reach it has failed or lasted so many seconds."""
        self.want(urgent=urgent)
        if self._phase is Phase.COMING:
            try:
                async with asyncio.timeout(max(0.0, self._since + patience - _now())):
                    await self._settled.wait()
            except TimeoutError:
                pass  # what the caller does then, it does as well where the attempt failed
        return self.is_in

    async def ask(self, message: Message, client: Key | None = None) -> Message:
        """Return the member's answer to a request (under an id of ours). Raises a `Fault` that names the member.

        `client`: the client's request it is for. Cancelling tells the member, with the cancellation's message.
        """
        if self._outbox is None or not (self.is_in or message.method == "initialize"):
            raise self.down()
        if message.method != "initialize":
            self.introduce()
        number = next(self._numbers)
        call = _Call(asyncio.get_running_loop().create_future(), client)
        self._open[key_of(number)] = call
        self._note_token(message, client)
        self._outbox.put_nowait(_Item(msg.with_id(message, number), call))
        try:
            return await call.future
        except asyncio.CancelledError as cancelled:
            if message.method != "initialize":  # which may not be cancelled
                self._withdraw(number, cancelled)
            raise
        finally:
            self._open.pop(key_of(number), None)

    def tell(self, message: Message) -> None:
        """Send it a notification or an answer, if it is there."""
        if self._outbox is None or not self.is_in:
            return
        if message.kind is Kind.NOTIFICATION and self._outbox.qsize() >= _BACKLOG:
            logger.info("%s does not read; %s was dropped", self.name, message.method)
            return
        if message.kind is Kind.NOTIFICATION:
            self.introduce()
        self._outbox.put_nowait(_Item(message))

    def introduce(self) -> None:
        """End its handshake, once, as soon as the client has ended its own."""
        if self.is_in and not self._introduced and self._host.is_introduced and self._outbox is not None:
            self._introduced = True
            self._outbox.put_nowait(_Item(msg.notification("notifications/initialized")))

    # --- Its life ----------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Be connected whenever that is wanted, until this is cancelled, or `end` was called and the link is lost."""
        while True:
            await self._until_wanted()
            fault = await self._one_connection()
            if not self._is_over():
                await self._gone(fault)
            if self._is_over():
                return

    def _is_over(self) -> bool:
        """Whether `live` is to return: a TaskGroup that fails forgets, before Python 3.13, that it was cancelled."""
        life = asyncio.current_task()
        return self._has_ended or (life is not None and life.cancelling() > 0)

    async def _gone(self, fault: Fault) -> None:
        """The connection is over, or did not come about."""
        was_in = self.is_in
        self._failures = 1 if was_in and _now() - self._since >= STEADY else self._failures + 1
        self._leave(fault)
        await self._host.went(self, fault, was_in=was_in)
        await self.close()

    async def until_done(self, seconds: float) -> None:
        """Wait until no call of the client is open here, for so many seconds at most."""
        try:
            async with asyncio.timeout(seconds):
                while calls := [one.future for one in self._open.values() if one.client and not one.future.done()]:
                    await asyncio.wait(calls)
        except TimeoutError:
            pass  # they have had their time

    def end(self, fault: Fault) -> None:
        """It will not come again. `live` is to be cancelled, and `close` to be called."""
        self._has_ended = True
        self._leave(fault)

    def _leave(self, fault: Fault) -> None:
        """It is not there any more: whoever waits for it hears why."""
        self._phase, self._outbox, self.fault, self._since = Phase.OUT, None, fault, _now()
        for call in self._open.values():
            if not call.future.done():
                call.future.set_exception(self._naming(fault, may_have_run=fault.may_have_run and call.sent))
        self._tokens.clear()
        self._settled.set()

    async def close(self) -> None:
        """Close its link, in bounded time."""
        link = self._link
        if link is None:
            return
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await link.close()
        except TimeoutError:
            logger.warning("%s did not close in time", self.name)
        except Fault as fault:
            logger.warning("%s closed with %s", self.name, fault.name)
        self._link = None

    def _begin(self) -> None:
        self._phase = Phase.COMING
        self._since = _now()
        self._settled.clear()
        self._wanted.set()

    async def _until_wanted(self) -> None:
        if self.fault is None:
            await self._wanted.wait()
        else:
            try:
                async with asyncio.timeout(min(LONGEST_PAUSE, self._pause * 4.0 ** min(self._failures - 1, 16))):
                    await self._wanted.wait()
            except TimeoutError:
                self._begin()
        self._wanted.clear()

    async def _one_connection(self) -> Fault:
        self._outbox, self._lost = asyncio.Queue(), asyncio.get_running_loop().create_future()
        self._introduced = False
        fault: Fault = OwnMistake(f"the server {self.name} cannot be reached")
        try:
            link = self._link = self.connect(self._peer)
            await link.open(self._hear)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(link, group))
                group.create_task(self._listen(link, self._lost))
                group.create_task(self._greet())
                fault = await self._lost
                raise _Over
        except* _Over:
            pass
        except* Fault as faults:
            fault = _first(faults)
        except* Exception:
            # A link raises nothing but faults, so this is a bug: it ends this connection and no other.
            logger.exception("the link to %s failed", self.name)
        return fault

    async def _listen(self, link: Link, lost: asyncio.Future[Fault]) -> None:
        fault: Fault = BackendDown("the server ended")
        try:
            await link.listen()
            if link.traits.streams_per_exchange:
                return  # it says nothing on its own, and answers all the same
        except Fault as heard:
            fault = heard
        if not lost.done():
            lost.set_result(fault)

    async def _greet(self) -> None:
        try:
            answer = await self.ask(self._host.greeting())
        except Fault as fault:
            self._lose(fault)
            return
        if answer.kind is Kind.ERROR:
            said = str(answer.doc["error"].get("message", ""))[:_SAID]
            self._lose(BackendDown(f"it refused to be initialized ({said})", may_have_run=False))
            return
        self.greeted, self.fault = answer.result, None
        self._phase, self._since = Phase.IN, _now()
        self.introduce()
        self._settled.set()
        await self._host.came(self)

    def _lose(self, fault: Fault) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(fault)

    # --- To the member -----------------------------------------------------------------------------------------------

    async def _write(self, link: Link, group: asyncio.TaskGroup) -> None:
        """Send what waits, in order: the next message goes when the one before it has gone out as a whole."""
        outbox = self._outbox
        while outbox is not None:
            item = await outbox.get()
            gone = asyncio.Event()
            group.create_task(self._carry(link, item, gone))
            await gone.wait()

    async def _carry(self, link: Link, item: _Item, gone: asyncio.Event) -> None:
        call = item.call

        def written() -> None:
            if call is not None:
                call.sent = True
            gone.set()

        fault: Fault | None = None
        try:
            await link.send(item.message, written)
            if link.traits.streams_per_exchange:
                fault = PeerBroke("the server gave no answer to this request", hint="Its log may say more.")
        except Fault as unsent:
            fault = unsent
        finally:
            gone.set()
        if call is None:
            if fault is not None and not isinstance(fault, PeerBroke):
                logger.info("%s: %s was not carried: %s", self.name, item.message.method or "an answer", fault)
        elif fault is not None and not call.future.done():
            call.future.set_exception(self._naming(fault, may_have_run=fault.may_have_run))
        if isinstance(fault, SessionLost):
            self._lose(fault)

    def _withdraw(self, number: int, cancelled: asyncio.CancelledError) -> None:
        if self._outbox is None:
            return
        reason = cancelled.args[0] if cancelled.args and isinstance(cancelled.args[0], str) else "no longer needed"
        params = {"requestId": number, "reason": reason}
        self._outbox.put_nowait(_Item(msg.notification(_CANCELLED, params)))

    def _note_token(self, message: Message, client: Key | None) -> None:
        meta = message.params.get("_meta")
        token = scalar(meta.get("progressToken")) if isinstance(meta, dict) else None
        if token is None or client is None:
            return
        self._tokens[key_of(token)] = client
        self._tokens.move_to_end(key_of(token))
        if len(self._tokens) > _LATE:
            self._tokens.popitem(last=False)

    # --- From the member ---------------------------------------------------------------------------------------------

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        if message.is_answer:
            key = exchange if message.id is None else message.key
            call = None if key is None else self._open.get(key)
            if call is None or call.future.done():
                logger.debug("%s answered a request that nobody waits for", self.name)
            else:
                call.future.set_result(message)
        elif message.kind is Kind.REQUEST and message.method == "ping":
            self._reply(message.id)
        else:
            await self._heard(message, exchange)

    async def _heard(self, message: Message, exchange: Key | None) -> None:
        client = self._belonging(message, exchange)
        if message.method == _PROGRESS:
            token = scalar(message.params.get("progressToken"))
            if token is None or key_of(token) not in self._tokens:
                logger.debug("%s reported progress on nothing of its own", self.name)
                return
            client = self._still_open(self._tokens[key_of(token)])
        try:
            await self._host.heard(self, message, client)
        except Invalid as invalid:
            logger.info("%s of %s was dropped: %s", message.method, self.name, invalid.reason)

    def _reply(self, identifier: JsonId | None) -> None:
        if self._outbox is not None and identifier is not None:
            self._outbox.put_nowait(_Item(msg.result(identifier, {})))

    def _belonging(self, message: Message, exchange: Key | None) -> Key | None:
        """The client's request that a message belongs to: a pipe names none; with one running, it must be that."""
        if exchange is not None:
            call = self._open.get(exchange)
            return None if call is None else call.client
        if message.method is not None and message.method.endswith(_UNRELATED):
            return None
        if self._link is not None and self._link.traits.streams_per_exchange:
            return None
        calls = list(self._open.values())
        return calls[0].client if len(calls) == 1 else None

    def _still_open(self, client: Key | None) -> Key | None:
        return client if any(call.client == client for call in self._open.values()) else None

    def _naming(self, fault: Fault, *, may_have_run: bool) -> Fault:
        text = str(fault)
        is_named = text.startswith((f"server {self.name}: ", f"{self.name}: ")) or f"({self.name})" in text
        return fault.restated(text if is_named else f"server {self.name}: {text}", may_have_run=may_have_run)


def _first(faults: BaseExceptionGroup[Fault]) -> Fault:
    leaf: BaseException = faults
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf if isinstance(leaf, Fault) else OwnMistake("the link failed")


def _now() -> float:
    return asyncio.get_running_loop().time()
