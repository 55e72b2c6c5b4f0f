"""The merged server: the members of a configuration as one MCP server, a link like any other.

`Group` makes the links; a `_Merged` link is one session of it. Here is what happens when: members live in `listen`,
the client's messages come through `send`, the members' through `heard`. What is answered stands in `merged_answers`,
which lists are known in `merged_lists`, how one member fares in `membership`; names, URIs and ids are pure (`core/`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault, OwnMistake, ShuttingDown, as_error
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Invalid, Key, Kind, Message, key_of
from server_stub.backends import Connect, Peer
from server_stub.backends.handler import LEVELS
from server_stub.backends.membership import Membership
from server_stub.backends.merged_answers import Answers, Around
from server_stub.backends.merged_lists import Lists, Surroundings
from server_stub.core.admission import SOURCE
from server_stub.core.catalog import PROMPTS, RESOURCES, TASKS, TEMPLATES, TOOLS, Catalog, Listing, Place
from server_stub.core.inquiries import Inquiries, ToMember, scalar
from server_stub.core.merging import Ourselves, declares, greeting_for_members, with_logger, with_text

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds until a member that was lost is tried again; each time four times as many, as failed starts are counted."""

_LISTS: dict[str, tuple[Listing, ...]] = {
    "notifications/tools/list_changed": (TOOLS,),
    "notifications/prompts/list_changed": (PROMPTS,),
    "notifications/resources/list_changed": (RESOURCES, TEMPLATES),
}
_SILENT = frozenset({"initialize", "ping"})
"""Requests that a client may send before its handshake has ended."""


class _Run:
    """A request of the client that is being answered."""

    def __init__(self, task: asyncio.Task[Message], method: str | None) -> None:
        self.task = task
        self.method = method
        self.is_dropped = False

    def drop(self, reason: str) -> None:
        """There will be no answer; the member hears the reason."""
        self.is_dropped = True
        self.task.cancel(reason)


class _Over(Exception):
    """Leaves the TaskGroup of a link that was closed."""


class _Merged:
    """One session of the merged server. Each request has its own stream; members live in `listen`."""

    def __init__(self, group: Group, peer: Peer) -> None:
        self.is_introduced = False
        """Whether the client has ended its handshake."""
        self._group = group
        self._peer = peer
        self._deliver: Deliver | None = None
        self._greeting: Message | None = None
        self._is_greeted = False
        self._members: dict[str, Membership] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[Membership] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._listening = asyncio.Event()
        self._closed = asyncio.Event()
        self._running: dict[Key, _Run] = {}
        self._held: dict[str, None] = {}
        self._why_gone: dict[str, str] = {}
        self._questions = Inquiries()
        self._catalog = Catalog()
        lists = Surroundings(self._all, self._start, self._list_changed, self._left_out, group.patience)
        self._lists = Lists(self._catalog, lists)
        around = Around(self._all, group.ourselves, group.patience, peer.session_id is not None)
        self._answers = Answers(self._catalog, self._lists, around)

    # --- Link --------------------------------------------------------------------------------------------------------

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=True)

    async def open(self, deliver: Deliver) -> None:
        """Nothing is started here: the first request that needs a member does that."""
        self._deliver = deliver

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        """Take one message of the client; for a request this returns when it is answered. Raises `ShuttingDown`."""
        if self._closed.is_set():
            raise ShuttingDown("the session is closed", may_have_run=False)
        if message.kind is Kind.REQUEST:
            await self._request(message, written)
            return
        if message.is_answer:
            self._pass_on(self._questions.answer(message))
        else:
            await self._notice(message)
        if written is not None:
            written()

    async def listen(self) -> None:
        """Stay until the link is closed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._group.opened(self)
                self.update()
                self._listening.set()
                await self._closed.wait()
                raise _Over
        except* _Over:
            pass
        finally:
            self._tasks = None
            self._group.closed(self)

    async def close(self) -> None:
        """Cancel what runs, and close the members' links side by side."""
        self._closed.set()
        for run in list(self._running.values()):
            run.drop("the client has gone")
        for life in self._lives.values():
            life.cancel()
        async with asyncio.TaskGroup() as group:
            for member in [*self._members.values(), *self._leaving]:
                member.end(ShuttingDown("the session was closed"))
                group.create_task(member.close())

    # --- From the client ---------------------------------------------------------------------------------------------

    async def _request(self, message: Message, written: Callable[[], None] | None) -> None:
        key = message.key
        async with asyncio.TaskGroup() as group:
            run = _Run(group.create_task(self._answer(message)), message.method)
            if key in self._running:
                self._running[key].drop("the client used an id twice")
            self._running[key] = run
            if written is not None:
                written()  # a cancellation finds it from now on
        if self._running.get(key) is run:
            del self._running[key]
        if run.is_dropped:
            if self._closed.is_set():
                raise ShuttingDown("the session was closed")
            return  # a cancelled request has no answer
        if self._deliver is not None:
            await self._deliver(run.task.result(), key)

    async def _answer(self, message: Message) -> Message:
        await self._listening.wait()
        if message.method == "initialize":
            self._greeting = message
        elif message.method not in _SILENT:
            await self._introduce()  # some clients never say that their handshake has ended
        try:
            answer = await self._answers.to(message)
        except Fault as fault:
            return as_error(fault, message.id, SOURCE)
        except Invalid as invalid:
            return msg.error(message.id, invalid.code, invalid.reason)
        except Exception:
            # A defect of ours: it costs this request, and no other.
            logger.exception("%s failed in the merged server", message.method)
            return as_error(OwnMistake("the merged server failed at this request"), message.id, SOURCE)
        self._is_greeted = self._is_greeted or message.method == "initialize"
        return answer

    async def _notice(self, message: Message) -> None:
        if message.method == "notifications/cancelled":
            self._cancel(message)
        elif message.method == "notifications/progress":
            self._pass_on(self._questions.progress(message))
        elif message.method == "notifications/initialized":
            await self._introduce()
        else:
            for member in self._all():
                member.tell(message)

    def _cancel(self, message: Message) -> None:
        target = scalar(message.params.get("requestId"))
        run = None if target is None else self._running.get(key_of(target))
        if run is not None and run.method != "initialize":  # which may not be cancelled
            reason = message.params.get("reason")
            run.drop(reason if isinstance(reason, str) else "the client needs no answer")

    def _pass_on(self, item: ToMember | None) -> None:
        known = {member.badge: member for member in (*self._members.values(), *self._leaving)}
        member = None if item is None else known.get(item.member)
        if item is None or member is None:
            logger.debug("a message of the client belongs to no question of a member and was dropped")
        else:
            member.tell(item.message)

    async def _introduce(self) -> None:
        if self.is_introduced:
            return
        self.is_introduced = True
        for member in self._all():
            member.introduce()
        held, self._held = self._held, {}
        for method in held:
            await self._tell(msg.notification(method))

    # --- From the members (Host) -------------------------------------------------------------------------------------

    def greeting(self) -> Message:
        """Return the `initialize` for members: the client's, as far as there is one."""
        return greeting_for_members(self._greeting, self._group.ourselves)

    async def heard(self, member: Membership, message: Message, exchange: Key | None) -> None:
        """Pass on what a member asks or tells, so that what the client says to it leads back."""
        if message.kind is Kind.REQUEST:
            await self._asked(member, message, exchange)
            return
        method = message.method
        if method == "notifications/cancelled":
            cancellation = self._questions.cancel(member.badge, message)
            if cancellation is None:
                return
            message = cancellation
        elif method == "notifications/message":
            message = with_logger(message, member.name)
        elif method == "notifications/resources/updated":
            message = self._updated(member, message)
        elif method is not None and method in _LISTS:
            self._lists.forget(member.name, *_LISTS[method])
            await self._changed(method)
            return
        elif method == "notifications/tasks/status" and isinstance(message.params.get("taskId"), str):
            self._catalog.mention(TASKS, member.name, message.params["taskId"])
        await self._tell(message, exchange)

    async def _asked(self, member: Membership, message: Message, exchange: Key | None) -> None:
        if self._peer.session_id is None:
            text = f"{message.method}: this client has no session, so it cannot be asked"
            member.tell(msg.error(message.id, -32601, text))
            return
        question = self._questions.ask(member.badge, message, secrets.token_urlsafe(16))
        if question is None:
            member.tell(msg.error(message.id, -32603, "too many questions wait for the client already"))
        else:
            await self._tell(question, exchange)

    def _updated(self, member: Membership, message: Message) -> Message:
        uri = message.params.get("uri")
        if not isinstance(uri, str):
            return message
        place = Place(member.name, uri)
        known = next((public for public, one in self._answers.subscriptions.items() if one == place), None)
        return with_text(message, ("params", "uri"), known or self._catalog.reachable(member.name, uri))

    async def came(self, member: Membership) -> None:
        """A member has answered `initialize`."""
        self._why_gone.pop(member.name, None)
        logger.debug("%s is part of a session", member.name)
        if self._is_greeted:
            await self._membership_changed(member)
        await self._answers.renew(member)

    async def went(self, member: Membership, fault: Fault, *, was_in: bool) -> None:
        """A member was lost, or did not come."""
        is_news = self._why_gone.get(member.name) != str(fault)
        self._why_gone[member.name] = str(fault)
        logger.log(logging.WARNING if is_news else logging.DEBUG, "%s is left out of a session: %s", member.name, fault)
        await self._withdraw_questions(member)
        await self._parted(member, fault, was_in=was_in)

    async def _withdraw_questions(self, member: Membership) -> None:
        for cancellation in self._questions.gone(member.badge):
            await self._tell(cancellation)

    async def _parted(self, member: Membership, fault: Fault, *, was_in: bool) -> None:
        if was_in:
            await self._note(f"server {member.name} is gone: {fault}")
            await self._membership_changed(member)

    # --- To the client -----------------------------------------------------------------------------------------------

    async def _tell(self, message: Message, exchange: Key | None = None) -> None:
        if self._deliver is not None and not self._closed.is_set():
            await self._deliver(message, exchange)

    async def _membership_changed(self, member: Membership) -> None:
        """What a member lists has come or gone with it."""
        self._lists.forget(member.name, TOOLS, PROMPTS, RESOURCES, TEMPLATES, TASKS)
        for method, listings in _LISTS.items():
            if listings[0] is TOOLS or declares(member.greeted, listings[0].capability):
                await self._changed(method)

    async def _list_changed(self, listing: Listing) -> None:
        if listing.changed is not None:
            await self._changed(listing.changed)

    async def _changed(self, method: str) -> None:
        """Say that a list has changed, not before the client has ended its handshake."""
        if self._peer.session_id is None:
            return  # whoever has no session asks each time
        if self.is_introduced:
            await self._tell(msg.notification(method))
        else:
            self._held[method] = None

    async def _left_out(self, member: Membership, why: str) -> None:
        logger.warning("%s is left out of a merged list: %s", member.name, why)
        await self._note(f"left out of the list: {why}")

    async def _note(self, text: str) -> None:
        """Tell the client's log, where it has asked for one."""
        level = self._answers.level
        if level is not None and LEVELS.index(level) <= LEVELS.index("warning"):
            params = {"level": "warning", "logger": self._group.ourselves.name, "data": text}
            await self._tell(msg.notification("notifications/message", params))

    # --- The members -------------------------------------------------------------------------------------------------

    def _all(self) -> list[Membership]:
        return list(self._members.values())

    def _start(self, work: Coroutine[Any, Any, list[str] | None]) -> asyncio.Task[list[str] | None] | None:
        if self._tasks is None or self._closed.is_set():
            work.close()
            return None
        return self._tasks.create_task(work)

    def update(self) -> None:
        """Take in members that have come into the configuration, let go of those that have left it, try lost ones."""
        tasks = self._tasks
        if tasks is None:
            return  # `listen` will do this
        found = self._group.members(self._peer.principal)
        before, self._members = self._members, {}
        for name, connect in found.items():
            member = before.get(name)
            if member is not None and member.connect == connect:
                self._members[name] = before.pop(name)
                continue
            self._members[name] = Membership(name, connect, self._peer, self, self._group.pause)
        for name, member in before.items():
            tasks.create_task(self._let_go(member, is_replaced=name in found))
        self._catalog.order(self._members)
        for name, member in self._members.items():
            if name not in self._lives:
                self._lives[name] = tasks.create_task(member.live())
                if self._is_greeted:
                    member.want()
            member.again()

    def _let_go(self, member: Membership, *, is_replaced: bool) -> Coroutine[Any, Any, None]:
        """A member has left the configuration: its open calls get their time, its link is closed after that."""
        life, was_in = self._lives.pop(member.name), member.is_in
        text = "its configuration was changed" if is_replaced else "it was taken out of the configuration"
        fault = BackendDown(text, hint="The list of tools may have changed.")
        self._catalog.forget(member.name)
        if not is_replaced:
            self._answers.unsubscribe(member.name)
        self._leaving.add(member)
        return self._farewell(member, life, fault, was_in=was_in)

    async def _farewell(self, member: Membership, life: asyncio.Task[None], fault: Fault, *, was_in: bool) -> None:
        logger.info("%s leaves a session: %s", member.name, fault)
        try:
            await self._parted(member, fault, was_in=was_in)
            await member.until_done(self._group.grace)
            member.end(fault)
            life.cancel()
            await self._withdraw_questions(member)
            await member.close()
        finally:
            self._leaving.discard(member)
            self._group.let_go()

    def is_leaving(self, connect: Connect) -> bool:
        """Whether calls are open at a member of this connect, which has left the configuration."""
        return any(member.connect == connect for member in self._leaving)


class Group:
    """The merged server.

    `members(principal)`: the connects of the members that this principal may use, in the order of the file, at this
    moment. A member whose connect equals the one it had before is the same member: `changed` leaves it alone.
    `patience`: how many seconds lists and the greeting wait for a member. `grace`: how many seconds open calls get at
    one that leaves; whoever ends it waits for `until_let_go`.
    """

    def __init__(
        self,
        members: Callable[[str | None], Mapping[str, Connect]],
        name: str,
        version: str,
        *,
        patience: float = 5.0,
        pause: float = PAUSE,
        grace: float = 0.0,
    ) -> None:
        self.members = members
        self.ourselves = Ourselves(name, version)
        self.patience = patience
        self.pause = pause
        self.grace = grace
        self._links: dict[_Merged, None] = {}
        self._news = asyncio.Event()

    def connect(self, peer: Peer) -> Link:
        """Return a fresh session of the merged server."""
        return _Merged(self, peer)

    def changed(self) -> None:
        """Members came or went, or may have been mended: every open session takes them in or leaves them out.

        Its client hears of it.
        """
        for link in tuple(self._links):
            link.update()

    async def until_let_go(self, connect: Connect) -> None:
        """Wait until no session has a call open at the member of this connect, which is no member any more."""
        while any(link.is_leaving(connect) for link in self._links):
            self._news.clear()
            await self._news.wait()

    # --- For the links -----------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        self._news.set()

    def opened(self, link: _Merged) -> None:
        self._links[link] = None

    def closed(self, link: _Merged) -> None:
        self._links.pop(link, None)
        self._news.set()
