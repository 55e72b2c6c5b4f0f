"""Supervised: the children of one member: who gets which, what operators are told of them, and the end of all of them.

`core/roster` has the manners: a child for every session (`backends/own`), or one for several clients
(`backends/place`). For clients without a session a child is shared per principal, whatever the manners say. Where no
child runs that operators could ask, a *probe* is started: a place that no client has.

An eagerly started member has a child from the beginning, which is kept: that of all clients where all share one; where
each principal has its own, that of clients without one; where each session has its own, a probe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault, PeerBroke, ShuttingDown, TimedOut
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message
from server_stub.backends import Peer
from server_stub.backends.own import Own
from server_stub.backends.place import Face, MakeLink, Place, Ward
from server_stub.backends.watched import Health
from server_stub.core.roster import Manners
from server_stub.core.supervision import Guard, together
from server_stub.core.vitals import State, Vitals

PROBE_IDLE = 30.0
"""Seconds without a question after which a probe is stopped."""
_MOST_PAGES = 100
_ITS_LOG = "Its log may say more."

logger = logging.getLogger(__name__)


class _Spot(NamedTuple):
    """Which place: of all, of one principal, or nobody's."""

    kind: str
    principal: str | None = None


_ALL, _PROBE, _NOBODY = _Spot("all"), _Spot("probe"), _Spot("principal")


class Supervised:
    """The children of one member. An async context manager, entered and left in one task; leaving it stops them all.

    `invalid`: why the member cannot be started, for people. `remote`: somebody else runs it, so it is tried again and
    again. `passes`: there is no operator, so that failures are forgotten with time.
    """

    def __init__(
        self,
        name: str,
        make_link: MakeLink,
        manners: Manners,
        *,
        invalid: str | None = None,
        remote: bool = False,
        passes: bool = False,
    ) -> None:
        self._name = name
        self._manners = manners
        self._invalid = invalid
        self._ward = Ward(name, make_link, manners.care, passes=passes, is_remote=remote)
        self._budget = self._ward.budget(manners.care.restarts)
        self._group: asyncio.TaskGroup | None = None
        self._places: dict[_Spot, Place] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._owns: dict[Own, bool] = {}  # whether it still counts as running
        self._clients = 0
        self._starts = 0
        self._restarts = 0
        self._why: str | None = None
        self._checked = Health()  # of children and places that are gone
        self._said = asyncio.Event()

    # --- What clients get --------------------------------------------------------------------------------------

    def connect(self, peer: Peer) -> Link:
        """Return a fresh, unopened link for this peer. Where the member does not run, the link says why."""
        if self._invalid is not None:
            return _Refusing(self._invalidity())
        if peer.session_id is not None and self._manners.share == "session":
            own = Own(self._ward, self._budget, self)
            return own if own.refusal is None else _Refusing(own.refusal)
        spot = _ALL if self._manners.share == "shared" else _Spot("principal", peer.principal)
        place = self._places.get(spot)
        if place is not None and place.machine.state is State.FAILED and not self._ward.passes:
            return _Refusing(place.refusal())
        self._clients += 1
        return Face(lambda: self._place(spot), self._clients, has_session=peer.session_id is not None)

    def _invalidity(self) -> BackendDown:
        hint = "`mcp-remote-server check FILE` says where the mistake is; mend it and reload."
        return BackendDown(f"{self._name} cannot be started: {self._invalid}", hint=hint, may_have_run=False)

    # --- What operators see ------------------------------------------------------------------------------------

    def vitals(self) -> Vitals:
        """Return how the member fares, all its children taken together."""
        if self._invalid is not None:
            return Vitals(State.FAILED, why=self._invalid)
        owns = [own for own, is_over in self._owns.items() if not is_over]
        states = [place.machine.state for place in self._places.values()] + [own.machine.state for own in owns]
        now = asyncio.get_running_loop().time()
        if self._manners.share == "session":
            states += {Guard.SPENT: [State.FAILED], Guard.RESTS: [State.COOLING]}.get(self._budget.guard(now), [])
        running = [place.running for place in self._places.values()] + [own.watched.running(1) for own in self._owns]
        healths = [place.health for place in self._places.values()] + [own.watched.health for own in owns]
        last = max((*healths, self._checked), key=lambda health: health.checked or 0.0)
        reasons = [place.why for place in self._places.values() if place.why is not None]
        return Vitals(
            state=together(states),
            running=tuple(sorted((one for one in running if one is not None), key=lambda one: one.since)),
            last_check=last.checked,
            response=last.response,
            consecutive_fails=max(
                self._budget.in_a_row,
                *(health.missed for health in healths),
                *(place.budget.in_a_row for place in self._places.values()),
                0,
            ),
            restarts=self._restarts + sum(place.restarts for place in self._places.values()),
            why=self._why or next(iter(reasons), None),
        )

    async def tools(self) -> Message:
        """Return the answer to `tools/list`, all pages in one. A probe is started where no shared child runs.

        Raises a `Fault` that says why there is none.
        """
        if self._invalid is not None:
            raise self._invalidity()
        limit = 2 * self._manners.care.initialize
        try:
            async with asyncio.timeout(limit):
                return await self._all_tools()
        except TimeoutError:
            raise TimedOut(f"{self._name} did not answer tools/list within {limit:g} s", hint=_ITS_LOG) from None

    async def _all_tools(self) -> Message:
        asker = _Asker(self._place_to_ask())
        pages: list[Message] = []
        tools: list[object] = []
        cursor: object = None
        while len(pages) < _MOST_PAGES:
            answer = await asker.ask("tools/list", {} if cursor is None else {"cursor": cursor})
            pages.append(answer)
            found = answer.result.get("tools")
            tools += found if isinstance(found, list) else []
            cursor = answer.result.get("nextCursor")
            if not isinstance(cursor, str):
                break
        if len(pages) == 1:
            return pages[0]
        rest = {name: value for name, value in pages[0].result.items() if name not in ("tools", "nextCursor")}
        return msg.result(pages[0].key.value, {"tools": tools, **rest})

    def _place_to_ask(self) -> Place:
        if self._manners.share == "shared":
            return self._place(_ALL)
        ready = [place for place in self._places.values() if place.is_ready]
        return ready[0] if ready else self._place(_PROBE)

    # --- What operators do -------------------------------------------------------------------------------------

    def sweep(self) -> int:
        """End shared children and probes that nobody uses. Returns how many."""
        return sum(place.sweep() for place in self._places.values())

    async def restart(self) -> None:
        """Forget failures and end the children; those that are wanted start again, sessions of own children end."""
        self._forgive()
        fault = BackendDown(f"{self._name} was restarted by an operator", hint="Connect again.")
        for own in self._owns:
            self._owns[own] = True  # nothing was wrong with it
            own.watched.end(fault)
        async with asyncio.TaskGroup() as group:
            for place in self._places.values():
                group.create_task(place.restart(fault))

    def revive(self) -> None:
        """The configuration was loaded again: what has FAILED may start."""
        self._forgive()
        for place in self._places.values():
            place.revive()

    def _forgive(self) -> None:
        self._budget.forgive()
        self._why = None
        self._said.set()
        self._said = asyncio.Event()

    def end_child(self, pid: int, why: str) -> None:
        """End the child of this process id, as it broke a rule (`why`, for people); nothing if it is gone."""
        fault = BackendDown(f"{self._name} was ended: {why}", hint=_ITS_LOG)
        if not any(place.end_child(pid, fault) for place in self._places.values()):
            for own in self._owns:
                if own.watched.pid == pid:
                    own.watched.end(fault)

    # --- What own children tell (own.Register) -----------------------------------------------------------------

    @property
    def why(self) -> str | None:
        return self._why

    def began(self, own: Own) -> None:
        self._owns[own] = False
        self._restarts += self._budget.in_a_row > 0

    def ended(self, own: Own, fault: Fault | None) -> None:
        is_news = self._owns.get(own) is False
        if own in self._owns:
            self._owns[own] = True
        self._remember(own.watched.health)
        if fault is not None and is_news:
            self._why = str(fault)

    def gone(self, own: Own) -> None:
        self._owns.pop(own, None)

    def _remember(self, health: Health) -> None:
        if (health.checked or 0.0) > (self._checked.checked or 0.0):
            self._checked = health

    async def changed(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._said.wait()
        except TimeoutError:
            pass  # the delay is over

    # --- Places ------------------------------------------------------------------------------------------------

    def _place(self, spot: _Spot) -> Place:
        if self._group is None:
            raise RuntimeError("the children of a member live inside its `async with` block only")
        if spot not in self._places:
            kept = self._manners.start == "eager" and spot == self._resident
            idle = PROBE_IDLE if spot == _PROBE else self._manners.care.idle
            place = Place(self._ward, kept=kept, idle=idle, for_sessions=self._manners.share != "session")
            self._places[spot] = place
            life = self._group.create_task(self._live(spot, place))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        return self._places[spot]

    @property
    def _resident(self) -> _Spot:
        """The place whose child is kept where the member starts eagerly."""
        return {"shared": _ALL, "principal": _NOBODY}.get(self._manners.share, _PROBE)

    async def _live(self, spot: _Spot, place: Place) -> None:
        try:
            await place.live()
        except Exception:
            # A link raises nothing but faults, so this is a bug: it ends this place and no other.
            logger.exception("%s: the life of a shared child failed", self._name)
        del self._places[spot]  # in the same step in which nobody wanted it: no request can fall in between
        self._restarts += place.restarts
        self._remember(place.health)

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        if self._manners.start == "eager" and self._invalid is None:
            self._place(self._resident)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the children, side by side."""
        group, self._group = self._group, None
        fault = ShuttingDown(f"{self._name} is being stopped")
        for life in self._lives:
            life.cancel()
        if group is not None:
            for own in list(self._owns):
                own.watched.end(fault)
                group.create_task(_close(own))
            await group.__aexit__(kind, error, trace)


async def _close(link: Link) -> None:
    try:
        await link.close()
    except Fault as fault:
        logger.warning("a child was stopped with %s", fault.name)


class _Asker:
    """Asks one place in the name of nobody."""

    def __init__(self, place: Place) -> None:
        self._face = Face(lambda: place, 0, has_session=False)
        self._answer: Message | None = None

    async def ask(self, method: str, params: dict[str, object]) -> Message:
        """Return the result. Raises a `Fault`."""
        self._answer = None
        await self._face.open(self._hear)
        await self._face.send(msg.request("operator", method, params))
        answer: Message | None = self._answer
        if answer is None or answer.kind is not Kind.RESULT:
            error = answer.doc.get("error") if answer is not None else None
            code = error.get("code") if isinstance(error, dict) else None
            raise PeerBroke(f"{method} was answered with an error (code {code})", hint=_ITS_LOG)
        return answer

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        del exchange
        if message.is_answer:
            self._answer = message


class _Refusing:
    """The link to a member that does not run: everything but closing it raises the fault that says why."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=False)

    async def open(self, deliver: Deliver) -> None:
        del deliver
        raise self._fault.restated()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        del message, written
        raise self._fault.restated()

    async def listen(self) -> None:
        raise self._fault.restated()

    async def close(self) -> None:
        """There is nothing to close."""
