"""A supervised member with real children, and clients that have sessions with it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Key, Kind, Message, notification, request
from server_stub.backends import Peer
from server_stub.backends.process import ProcessLink
from server_stub.backends.supervised import Supervised
from server_stub.children import ServerSpec
from server_stub.core.roster import Care, Manners, Share, Start
from tests.server_stub.links import SECONDS
from tests.support.children import child
from tests.support.link_contract import Outcome

QUICK = Care(initialize=5.0, ping_every=None, restarts=3, window=60.0)


class Session:
    """A client with a session: a link that is open and listened to, and what came by it."""

    def __init__(self, link: Any, group: asyncio.TaskGroup) -> None:
        self.link = link
        self.group = group
        self.ended = Outcome()
        """How `listen` ended."""
        self.told: list[Message] = []
        """Notifications and questions."""
        self._answers: dict[Key, Message] = {}
        self._news = asyncio.Condition()
        self._ids = itertools.count(1)

    async def open(self) -> None:
        await self.link.open(self._hear)
        self.group.create_task(self.ended.watch(self.link.listen()))

    async def _hear(self, message: Message, exchange: Key | None) -> None:
        del exchange
        async with self._news:
            if message.is_answer:
                self._answers[message.key] = message
            else:
                self.told.append(message)
            self._news.notify_all()

    def start(self, message: Message) -> Outcome:
        """Send it, and return how sending ends."""
        outcome = Outcome()
        self.group.create_task(outcome.watch(self.link.send(message)))
        return outcome

    async def answer_to(self, message: Message) -> Message:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: message.key in self._answers)
        return self._answers.pop(message.key)

    async def ask(self, method: str, params: dict[str, Any] | None = None) -> Message:
        """Ask, and return the answer. Raises the fault that ended the request."""
        message = request(next(self._ids), method, params)
        outcome = self.start(message)
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(self.answer_to(message))
            failing = group.create_task(outcome.settle())
            ending = group.create_task(self.ended.done.wait())
            await asyncio.wait({failing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if outcome.fault is None and not ending.done():  # it was sent: on a pipe the answer is still to come
                await asyncio.wait({answer, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (answer, failing, ending):
                task.cancel()
        fault = outcome.fault or (None if answer.done() and not answer.cancelled() else self.ended.fault)
        if fault is not None:
            raise fault
        return answer.result()

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and return its result."""
        return (await self.ask("tools/call", {"name": name, "arguments": arguments})).result

    async def initialize(self, **capabilities: Any) -> Message:
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": info}
        answer = await self.ask("initialize", params)
        if answer.kind is Kind.RESULT:
            await self.link.send(notification("notifications/initialized"))
        return answer

    async def until_told(self, method: str, count: int = 1) -> list[Message]:
        def found() -> list[Message]:
            return [one for one in self.told if one.method == method]

        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(found()) >= count)
        return found()

    async def reply(self, question: Message, result: dict[str, Any]) -> None:
        await self.link.send(msg.result(question.key.value, result))


class Hosted:
    """A supervised member, and the sessions with it."""

    def __init__(self, supervised: Supervised, group: asyncio.TaskGroup) -> None:
        self.supervised = supervised
        self._group = group
        self._numbers = itertools.count(1)
        self.sessions: list[Session] = []

    def link(self, principal: str | None = None, *, has_session: bool = True) -> Any:
        number = f"session {next(self._numbers)}" if has_session else None
        return self.supervised.connect(Peer(number, principal))

    async def session(self, principal: str | None = None, **capabilities: Any) -> Session:
        """Open a session that is initialized. Raises the fault that prevents that."""
        session = Session(self.link(principal), self._group)
        self.sessions.append(session)
        await session.open()
        await session.initialize(**capabilities)
        return session

    async def client(self, principal: str | None = None) -> Session:
        """A client without a session."""
        client = Session(self.link(principal, has_session=False), self._group)
        self.sessions.append(client)
        await client.link.open(client._hear)
        return client


def spec(*habits: str, member: str = "github") -> ServerSpec:
    return ServerSpec(command=child("hosted", *habits), member=member)


@asynccontextmanager
async def hosted(
    *habits: str,
    share: Share = "session",
    start: Start = "lazy",
    care: Care = QUICK,
    command: tuple[str, ...] | None = None,
    **options: Any,
) -> AsyncIterator[Hosted]:
    """A member with children of these habits; everything is closed at the end."""
    what = spec(*habits) if command is None else ServerSpec(command=command, member="github")
    manners = Manners(share=share, start=start, care=care)
    async with (
        asyncio.TaskGroup() as group,
        Supervised("github", lambda: ProcessLink(what), manners, **options) as supervised,
    ):
        member = Hosted(supervised, group)
        try:
            yield member
        finally:
            async with asyncio.TaskGroup() as closing:
                for session in member.sessions:
                    closing.create_task(session.link.close())
