"""Place: where one child serves several clients, one child after the other. Drives `core/sharing` and
`core/supervision`; decides nothing.

A client gets a *face*: a link of its own that passes its messages to the shared child. The child belongs to no request
and no session, so its life is a task of whoever made the place: `live`. What comes while no child is there waits for
the next one; when a child ends, what was open gets the fault at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from typing import NamedTuple

from mcp_remote_py import __version__
from mcp_remote_py.core.errors import BackendDown, Fault, SessionLost, ShuttingDown
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.backends.watched import Health, Watched
from server_stub.core.roster import Care
from server_stub.core.sharing import Command, Ended, Failed, Note, Sharing, ToChild, ToClient, ToSession
from server_stub.core.supervision import Budget, Supervision
from server_stub.core.vitals import Running, State

_NEVER = 10**9
_BACKLOG = 1000
"""Messages that may wait for a slow client; more notifications than that are dropped."""
_OURSELVES = {"name": "mcp-remote-server", "version": __version__}

logger = logging.getLogger(__name__)

MakeLink = Callable[[], Link]
"""Makes a fresh, unopened link."""
Outcome = ToClient | Failed | Ended


class Ward(NamedTuple):
    """What the places of a member have in common."""

    name: str
    make_link: MakeLink
    care: Care = Care()
    passes: bool = False
    """Whether too many failed starts are forgotten with time, as there is no operator who could say so."""
    is_remote: bool = False
    """Whether somebody else runs it. Then it is tried again for as long as somebody wants it."""

    def budget(self, most: int) -> Budget:
        """Return a fresh budget of so many failed starts."""
        return Budget(_NEVER if self.is_remote else most, self.care.window, passes=self.passes)


class Exchange(NamedTuple):
    """Where the outcome of one request waits for its client."""

    private: str
    outcomes: asyncio.Queue[Outcome]


class Place:
    """See the module's text.

    `kept`: a child is wanted at all times. `idle`: seconds without a request after which it is stopped (None: never).
    `for_sessions`: its clients have a way back, so the child may ask them.
    """

    def __init__(self, ward: Ward, *, kept: bool, idle: float | None, for_sessions: bool) -> None:
        self.restarts = 0
        self.why: str | None = None
        self.budget = ward.budget(ward.care.restarts + 1)
        self.machine = Supervision(self.budget, restarts=True)
        self._ward = ward
        self._kept = kept
        self._idle = idle
        self._sharing = Sharing(_OURSELVES, may_ask=for_sessions)
        self._exchanges: dict[str, Exchange] = {}
        self._sessions: dict[int, asyncio.Queue[Message]] = {}
        self._outbox: asyncio.Queue[ToChild] = asyncio.Queue()
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._is_resting = False  # it was stopped for idleness; sessions alone do not start it again
        self._is_retired = False
        self._last_use = 0.0
        self._starts = 0
        self._link: Watched | None = None
        self._health = Health()

    # --- What operators see ------------------------------------------------------------------------------------

    @property
    def running(self) -> Running | None:
        return None if self._link is None else self._link.running(len(self._sessions))

    @property
    def health(self) -> Health:
        """Return how its child fares; until that was checked first, the last check is that of the child before."""
        if self._link is None:
            return self._health
        now = self._link.health
        return now if now.checked is not None else self._health._replace(missed=now.missed)

    @property
    def is_ready(self) -> bool:
        """Whether its child has answered `initialize`."""
        return self.machine.state in (State.READY, State.DEGRADED)

    # --- What faces call ---------------------------------------------------------------------------------------

    def begin(self, client: int, message: Message) -> Exchange:
        """Take in a request. The exchange's outcomes end with the answer, a fault or the word that there is none."""
        exchange = Exchange(secrets.token_hex(16), asyncio.Queue())
        self._exchanges[exchange.private] = exchange
        self._last_use, self._is_resting = _now(), False
        self._perform(self._sharing.request(client, message, exchange.private))
        self._news.set()
        return exchange

    def leave(self, exchange: Exchange) -> None:
        """Nobody waits for this exchange any more."""
        self._exchanges.pop(exchange.private, None)
        self._perform(self._sharing.leave(exchange.private))
        self._last_use = _now()

    def notice(self, client: int, message: Message) -> None:
        """Take in a notification or an answer."""
        self._perform(self._sharing.notice(client, message))

    def join(self, client: int) -> asyncio.Queue[Message]:
        """A client has a session. Returns where what belongs to none of its requests is put."""
        self._sessions[client] = asyncio.Queue()
        self._sharing.join(client)
        return self._sessions[client]

    def part(self, client: int) -> None:
        """The session of a client is over."""
        if self._sessions.pop(client, None) is not None:
            self._perform(self._sharing.part(client))
            self._last_use = _now()
            self._news.set()

    # --- What operators do -------------------------------------------------------------------------------------

    @property
    def is_needed(self) -> bool:
        """Whether somebody uses it, or it is to be there at all times."""
        return self._kept or bool(self._sessions) or self._sharing.open_requests > 0

    def sweep(self) -> bool:
        """Stop a child that nobody uses. Returns whether there was one."""
        if self._link is None or self._is_retired or self.is_needed:
            return False
        self._retire(BackendDown(f"{self._ward.name} was stopped: nobody used it", may_have_run=False))
        return True

    def revive(self) -> None:
        """Forget failures: who waits for a start need not wait any longer."""
        self.machine.revived()
        self.why = None
        self._news.set()

    async def restart(self, fault: Fault) -> None:
        """Forget failures and end the child; returns when it is gone. The next one starts if it is wanted."""
        self.revive()
        self._retire(fault)
        await self._gone.wait()

    def end_child(self, pid: int, fault: Fault) -> bool:
        """End the child if it has this process id. It counts as an end of its own making."""
        if self._link is None or self._link.pid != pid:
            return False
        self._link.end(fault)
        return True

    # --- Its life ----------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Have a child whenever one is wanted. Returns when none was wanted for so long that it may be forgotten."""
        try:
            while await self._step():
                pass
        finally:
            self._perform(self._sharing.child_gone(ShuttingDown("the server is shutting down")))

    async def _step(self) -> bool:
        """Do what the state asks for. Returns whether there is more to do."""
        self._news.clear()
        match self.machine.state:
            case State.STOPPED if self._is_wanted:
                self.machine.wanted(_now())
            case State.STOPPED:
                return await self._news_within(self._idle) or self.is_needed or not self.budget.is_clean(_now())
            case State.COOLING if not self._is_wanted:
                self.machine.unwanted()
            case State.COOLING:
                await self._news_within(self.budget.rest(_now()))
                self.machine.due(_now())
            case State.FAILED:
                self._perform(self._sharing.child_gone(self.refusal()))
                await self._news_within(self.budget.rest(_now()) if self._ward.passes else None)
                self.machine.due(_now())
            case _:
                await self._one_child()
        return True

    @property
    def _is_wanted(self) -> bool:
        return self.is_needed and not (self._is_resting and not self._kept)

    async def _news_within(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def refusal(self) -> BackendDown:
        """Return what a client is told while nothing is started."""
        return too_often(self._ward, self.budget, self.why)

    async def _one_child(self) -> None:
        self.restarts += bool(self._starts)
        self._starts = 1
        link = Watched(self._ward.make_link(), self._ward.name, self._ward.care, self.machine)
        self._link, self._outbox, self._is_retired = link, asyncio.Queue(), False
        self._gone.clear()
        fault: Fault | None = None
        try:
            fault = await self._serve(link)
        except Exception:
            # A link raises nothing but faults, so this is a bug: it ends this child and nothing else.
            logger.exception("%s: a shared child could not be looked after", self._ward.name)
            fault = BackendDown(f"{self._ward.name} failed while it was looked after")
        finally:
            self._ended(fault)
            try:
                await link.close()
            except Fault as unclosed:
                logger.warning("%s: the child was stopped with %s", self._ward.name, unclosed.name)
            finally:
                self._link = None
                self._gone.set()

    async def _serve(self, link: Watched) -> Fault:
        try:
            await link.open(self._hear)
        except Fault as unopened:
            return unopened
        self._perform(self._sharing.child_up(secrets.token_hex(16)))
        fault: Fault | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._write(link, group)), group.create_task(self._watch_idleness())]
            try:
                await link.listen()
            except Fault as ended:
                fault = ended
            for task in tasks:
                task.cancel()
        return fault or BackendDown(f"{self._ward.name} ended")

    def _ended(self, fault: Fault | None) -> None:
        """The child is on its way out: who waits is told at once, and what comes next is decided."""
        self._health = self.health
        self._perform(self._sharing.child_gone(fault or ShuttingDown("the server is shutting down")))
        if fault is None or self._is_retired:
            self.machine.unwanted()
            self._starts = 0 if self._is_resting else self._starts
            return
        self.why = str(fault)
        self.machine.ended(_now(), random.random(), wanted=self._is_wanted)  # noqa: S311  (only spreads restarts)
        if self.machine.state is State.FAILED:
            logger.error("%s: %s", self._ward.name, self.refusal().in_full)

    def _retire(self, fault: Fault) -> None:
        if self._link is not None:
            self._is_retired = True
            self._link.end(fault)

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        del exchange  # the id alone says to whom a message belongs
        fresh = secrets.token_hex(16) if message.kind is Kind.REQUEST else ""
        if self.machine.state is State.READY:
            self.why = None
        self._perform(self._sharing.from_child(message, fresh))

    async def _write(self, link: Watched, group: asyncio.TaskGroup) -> None:
        """Write what is for the child, apart from the reading: a child that is busy writing may not be reading."""
        while True:
            item = await self._outbox.get()
            if link.traits.streams_per_exchange:
                group.create_task(self._carry(link, item))
                await asyncio.sleep(0)  # so that they begin in their order
            else:
                await self._carry(link, item)

    async def _carry(self, link: Watched, item: ToChild) -> None:
        try:
            await (link.ask(item.message) if item.is_ours else link.send(item.message))
        except Fault as fault:
            private = str(item.message.id) if item.is_ours else item.private
            if private is not None:
                self._perform(self._sharing.not_sent(private, fault))
            if isinstance(fault, SessionLost) or item.message.method == "initialize":
                link.end(fault)  # over HTTP, that is how a server ends, or is not there to begin with

    async def _watch_idleness(self) -> None:
        if self._idle is None or self._kept:
            return
        while True:
            await asyncio.sleep(max(self._last_use + self._idle - _now(), self._idle / 10))
            if self._sharing.open_requests == 0 and _now() >= self._last_use + self._idle:
                logger.info("%s has had nothing to do for %g s: stopping it", self._ward.name, self._idle)
                self._is_resting = True
                self._retire(BackendDown(f"{self._ward.name} was stopped: it was idle", may_have_run=False))
                return

    def _perform(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case ToChild():
                    self._outbox.put_nowait(command)
                case Note(text):
                    logger.info("%s: %s", self._ward.name, text)
                case ToClient(private, _, last):
                    self._hand_out(private, command, last=last)
                case Failed(private) | Ended(private):
                    self._hand_out(private, command, last=True)
                case ToSession(client, message):
                    self._tell(client, message)

    def _hand_out(self, private: str, outcome: Outcome, *, last: bool) -> None:
        exchange = self._exchanges.get(private)
        if exchange is None:
            return  # its client has gone
        is_question = isinstance(outcome, ToClient) and outcome.message.kind is Kind.REQUEST
        if not last and not is_question and exchange.outcomes.qsize() >= _BACKLOG:
            logger.info("%s: a client does not keep up with its notifications; one was dropped", self._ward.name)
            return
        exchange.outcomes.put_nowait(outcome)

    def _tell(self, client: int, message: Message) -> None:
        queue = self._sessions.get(client)
        if queue is None:
            return
        if message.kind is not Kind.REQUEST and queue.qsize() >= _BACKLOG:
            logger.info("%s: a client does not keep up with its notifications; one was dropped", self._ward.name)
            return
        queue.put_nowait(message)


class Face:
    """The link of one client to the child that it shares. `place` finds it, or makes it, when it is needed first."""

    def __init__(self, place: Callable[[], Place], number: int, *, has_session: bool) -> None:
        self._find = place
        self._number = number
        self._has_session = has_session
        self._deliver: Deliver | None = None
        self._joined: Place | None = None
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._running: dict[str, Exchange] = {}
        self._closed = asyncio.Event()

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=True)

    async def open(self, deliver: Deliver) -> None:
        """Nothing is started here: the first request does that."""
        self._deliver = deliver
        if self._has_session and self._joined is None:
            self._joined = self._find()
            self._told = self._joined.join(self._number)

    @property
    def _place(self) -> Place:
        return self._joined or self._find()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Pass one message on. For a request it returns when the request has ended. Raises a `Fault`."""
        place = self._place
        if message.kind is not Kind.REQUEST:
            place.notice(self._number, message)
            if written is not None:
                written()
            return
        exchange = place.begin(self._number, message)
        self._running[exchange.private] = exchange
        if written is not None:
            written()  # what follows from this client follows it to the child, too
        try:
            await self._follow(exchange, message.key)
        finally:
            self._running.pop(exchange.private, None)
            place.leave(exchange)

    async def _follow(self, exchange: Exchange, key: Key) -> None:
        if self._deliver is None:
            raise BackendDown("the link has not been opened", may_have_run=False)
        while True:
            match await exchange.outcomes.get():
                case ToClient(_, message, last):
                    await self._deliver(message, key)
                    if last:
                        return
                case Failed(_, fault):
                    raise fault
                case Ended():
                    return

    async def listen(self) -> None:
        """Deliver what the child says to all. Returns when the link is closed; at once where there is no session."""
        if not self._has_session or self._deliver is None:
            return
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell(self._deliver))
            await self._closed.wait()
            telling.cancel()

    async def _tell(self, deliver: Deliver) -> None:
        while True:
            await deliver(await self._told.get(), None)

    async def close(self) -> None:
        """Give up what is still running; the shared child goes on for the others."""
        self._closed.set()
        for exchange in list(self._running.values()):
            exchange.outcomes.put_nowait(Failed(exchange.private, ShuttingDown("the connection was closed")))
        if self._joined is not None:
            self._joined.part(self._number)


def too_often(ward: Ward, budget: Budget, why: str | None) -> BackendDown:
    """Return what clients are told of a member whose starts have gone wrong too often."""
    reason = f" ({why})" if why else ""
    if ward.passes:
        hint = f"The server's log says why it ended. The next start is possible in {budget.rest(_now()):.0f} s."
    else:
        hint = (
            "Mend what its log says, then reload the configuration or ask for a restart "
            f"(POST /restart/{ward.name}); nothing is started before that."
        )
    text = f"{ward.name} keeps ending, as often as is allowed in {ward.care.window:g} s, and is not started{reason}"
    return BackendDown(text, hint=hint, may_have_run=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
