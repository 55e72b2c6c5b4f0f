"""One child for many clients: the driver of `core.sharing`, with real children and with links in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault, ShuttingDown
from mcp_remote_py.core.link import Deliver, Link, Traits
from mcp_remote_py.core.message import Key, Kind, Message, notification, request
from server_stub.backends import Peer
from server_stub.backends.process import ProcessLink
from server_stub.backends.shared import shared_connect
from server_stub.backends.supervised import Supervised
from server_stub.children import ServerSpec
from server_stub.core.roster import Care, Manners
from tests.server_stub.links import SECONDS, eventually, within
from tests.support.children import child
from tests.support.link_contract import Delivered, Outcome


class Pipe:
    """A child in the test's hands: it is greeted by itself; everything else it hears is in `heard`."""

    def __init__(self, *, dies: bool = False) -> None:
        self.heard: list[Message] = []
        self.closed = asyncio.Event()
        self.open_fault: Fault | None = None
        self._dies = dies
        self._deliver: Deliver | None = None
        self._end: asyncio.Future[Fault] | None = None
        self._news = asyncio.Condition()

    @property
    def traits(self) -> Traits:
        return Traits(streams_per_exchange=False)

    async def open(self, deliver: Deliver) -> None:
        if self.open_fault is not None:
            raise self.open_fault
        self._deliver = deliver
        self._end = asyncio.get_running_loop().create_future()

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        if message.method == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}}
            await self.say(msg.result(message.key.value, result))
        elif message.method != "notifications/initialized":
            if written is not None:
                written()
            async with self._news:
                self.heard.append(message)
                self._news.notify_all()
            if self._dies:
                self.die()

    async def listen(self) -> None:
        assert self._end is not None
        raise await self._end

    async def close(self) -> None:
        self.closed.set()
        if self._end is not None and not self._end.done():
            self._end.set_result(BackendDown("it was stopped"))

    async def say(self, message: Message) -> None:
        assert self._deliver is not None
        await self._deliver(message, None)

    def die(self) -> None:
        assert self._end is not None
        self._end.set_result(BackendDown("it died", hint="of boredom"))

    async def until(self, count: int) -> list[Message]:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.heard) >= count)
        return self.heard


class Client:
    """A face that is open, and what it was given."""

    def __init__(self, link: Link, group: asyncio.TaskGroup) -> None:
        self.link = link
        self.delivered = Delivered()
        self._group = group

    def send(self, message: Message) -> Outcome:
        outcome = Outcome()
        self._group.create_task(outcome.watch(self.link.send(message)))
        return outcome

    async def ask(self, message: Message) -> Message:
        """Send a request and return what came last for it."""
        assert await self.send(message).settle() is None
        return self.delivered.items[-1][0]


class Scene:
    """A `Supervised` that was entered, and the pipes it has made."""

    def __init__(self, group: asyncio.TaskGroup, supervised: Supervised, pipes: list[Pipe]) -> None:
        self.connect = supervised.connect
        self.pipes = pipes
        self.group = group

    async def client(self, principal: str | None = None) -> Client:
        client = Client(self.connect(Peer(None, principal)), self.group)
        await client.link.open(client.delivered)
        await within(client.link.listen())  # a shared server says nothing on its own
        return client

    async def pipe(self, number: int = 0) -> Pipe:
        await eventually(lambda: len(self.pipes) > number, "the start of a child")
        return self.pipes[number]


@asynccontextmanager
async def scene(make: Callable[[], Any] = Pipe, **options: Any) -> AsyncIterator[Scene]:
    pipes: list[Pipe] = []

    def make_link() -> Any:
        pipes.append(make())
        return pipes[-1]

    manners = Manners(care=Care(**options))
    async with (
        asyncio.TaskGroup() as group,
        Supervised("the server", make_link, manners, passes=True) as supervised,
    ):
        yield Scene(group, supervised, pipes)


def answer_to(message: Message, **result: Any) -> Message:
    return msg.result(message.key.value, result)


async def test_clients_of_one_principal_share_a_child_and_others_do_not() -> None:
    async with scene(lambda: ProcessLink(ServerSpec(command=child("echo")))) as s:
        clients = [await s.client(principal) for principal in ("ann", "ann", "bob", None)]
        pids = [(await client.ask(request(1, "pid"))).result["pid"] for client in clients]
        assert pids[0] == pids[1]
        assert len(set(pids)) == 3
    assert psutil.Process().children(recursive=True) == []


async def test_a_peer_with_a_session_gets_a_link_of_its_own() -> None:
    async with scene() as s:
        client = Client(s.connect(Peer("session", "ann")), s.group)
        await client.link.open(client.delivered)
        sent = client.send(request(1, "x"))
        pipe = await s.pipe()
        assert [message.id for message in await pipe.until(1)] == [1]
        assert await sent.settle() is None
        await client.link.close()
        assert pipe.closed.is_set()


async def test_many_clients_with_equal_ids_get_their_own_answers_and_progress() -> None:
    async with scene(lambda: ProcessLink(ServerSpec(command=child("slow")))) as s:

        async def one(number: int) -> None:
            client = await s.client()
            params = {"name": f"n{number}", "wait": (number * 7 % 5) / 50, "_meta": {"progressToken": 1}}
            answer = await client.ask(request(1, "tools/call", params))
            assert answer.result == {"name": f"n{number}"}
            (progress, exchange), _ = client.delivered.items
            assert (progress.params["progressToken"], exchange) == (1, answer.key)

        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(one(number))


async def test_every_client_may_initialize_and_the_child_is_asked_once() -> None:
    async with scene(lambda: ProcessLink(ServerSpec(command=child("echo")))) as s:
        params = {"protocolVersion": "2025-06-18", "clientInfo": {"name": "first"}}
        answers = []
        for number in range(3):
            client = await s.client()
            answers.append(await client.ask(request(number, "initialize", params)))
            await client.link.send(notification("notifications/initialized"))
    assert [answer.id for answer in answers] == [0, 1, 2]
    assert answers[0].result == answers[1].result == answers[2].result
    assert answers[0].result["protocolVersion"] == "2025-06-18"
    assert answers[0].result["serverInfo"]["client"] == {"name": "first"}


async def test_a_slow_client_does_not_hold_up_the_others() -> None:
    async with scene() as s:
        stuck, quick = await s.client(), await s.client()
        blocked, may_go_on = asyncio.Event(), asyncio.Event()
        taken: list[Message] = []

        async def deliver(message: Message, exchange: Key | None) -> None:
            taken.append(message)
            blocked.set()
            await may_go_on.wait()

        await stuck.link.open(deliver)
        first = stuck.send(request(1, "tools/call", {"_meta": {"progressToken": 1}}))
        pipe = await s.pipe()
        private = (await pipe.until(1))[0].id
        for _ in range(2000):
            await pipe.say(notification("notifications/progress", {"progressToken": private, "progress": 1}))
        await pipe.say(msg.result(str(private), {}))
        await within(blocked.wait())
        second = quick.send(request(1, "tools/call"))
        await pipe.say(answer_to((await pipe.until(2))[1], fine=True))
        assert await second.settle() is None
        assert quick.delivered.items[-1][0].result == {"fine": True}
        may_go_on.set()
        assert await first.settle() is None
        assert taken[-1].is_answer
        assert 1000 <= len(taken) < 1100  # progress that nobody reads is not kept without end


async def test_a_cancelled_request_ends_without_an_answer() -> None:
    async with scene() as s:
        client = await s.client()
        sent = client.send(request(1, "tools/call"))
        pipe = await s.pipe()
        call = (await pipe.until(1))[0]
        await client.link.send(notification("notifications/cancelled", {"requestId": 1}))
        assert (await pipe.until(2))[1].params["requestId"] == call.id
        assert await sent.settle() is None
        await pipe.say(answer_to(call))
        assert client.delivered.items == []


async def test_a_client_that_stops_waiting_is_forgotten_and_the_child_is_told() -> None:
    async with scene() as s:
        client = await s.client()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.link.send(request(1, "tools/call"))
        pipe = await s.pipe()
        call, told = await pipe.until(2)
        assert (told.method, told.params["requestId"]) == ("notifications/cancelled", call.id)


async def test_closing_a_face_ends_its_requests_and_nobody_elses() -> None:
    async with scene() as s:
        leaving, staying = await s.client(), await s.client()
        first, second = leaving.send(request(1, "tools/call")), staying.send(request(1, "tools/call"))
        pipe = await s.pipe()
        await pipe.until(2)
        await leaving.link.close()
        assert isinstance(await first.settle(), ShuttingDown)
        await pipe.say(answer_to(pipe.heard[1]))
        assert await second.settle() is None


async def test_all_open_requests_of_a_child_that_dies_get_the_fault_and_the_next_starts_another() -> None:
    async with scene() as s:
        client, other = await s.client(), await s.client()
        outcomes = [client.send(request(1, "x")), client.send(request(2, "x")), other.send(request(1, "x"))]
        pipe = await s.pipe()
        await pipe.until(3)
        pipe.die()
        for outcome in outcomes:
            fault = await outcome.settle()
            assert fault is not None
            assert (str(fault), fault.hint, fault.may_have_run) == ("it died", "of boredom", True)
        again = client.send(request(1, "x"))
        second = await s.pipe(1)
        await second.say(answer_to((await second.until(1))[0]))
        assert await again.settle() is None
        assert pipe.closed.is_set()


async def test_a_child_that_keeps_dying_is_restarted_so_often_and_then_refused_for_a_while() -> None:
    async with scene(lambda: Pipe(dies=True), restarts=1) as s:
        client = await s.client()
        faults = [await client.send(request(number, "x")).settle() for number in range(4)]
        assert [str(fault) for fault in faults[:2]] == ["it died"] * 2
        for fault in faults[2:]:
            assert isinstance(fault, BackendDown)
            assert "as often as is allowed" in str(fault)
            assert "The next start is possible in" in fault.hint
            assert not fault.may_have_run
        assert len(s.pipes) == 2


async def test_a_child_that_cannot_be_started_is_a_fault_for_who_asked() -> None:
    async with scene(lambda: ProcessLink(ServerSpec(command=("no-such-command-here",)))) as s:
        fault = await (await s.client()).send(request(1, "x")).settle()
    assert fault is not None
    assert str(fault) == "command not found: no-such-command-here"
    assert not fault.may_have_run


async def test_an_idle_child_is_stopped_and_a_new_one_serves_the_next_request() -> None:
    async with scene(idle=0.05) as s:
        for number in range(2):
            client = await s.client()
            sent = client.send(request(1, "x"))
            pipe = await s.pipe(number)
            await pipe.say(answer_to((await pipe.until(1))[0]))
            assert await sent.settle() is None
            await within(pipe.closed.wait())


async def test_a_request_that_takes_longer_than_the_idle_time_is_not_interrupted() -> None:
    async with scene(idle=0.05) as s:
        sent = (await s.client()).send(request(1, "x"))
        pipe = await s.pipe()
        call = (await pipe.until(1))[0]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pipe.closed.wait()
        await pipe.say(answer_to(call))
        assert await sent.settle() is None


async def test_leaving_answers_what_is_open_and_stops_the_children() -> None:
    group = asyncio.TaskGroup()
    async with group:
        pipe = Pipe()
        async with shared_connect(lambda: pipe) as connect:
            client = Client(connect(Peer(None, None)), group)
            await client.link.open(client.delivered)
            sent = client.send(request(1, "x"))
            await pipe.until(1)
        assert isinstance(await sent.settle(), ShuttingDown)
        assert pipe.closed.is_set()


async def test_outside_its_block_it_serves_nobody() -> None:
    face = Supervised("the server", Pipe, Manners()).connect(Peer(None, None))
    await face.open(Delivered())
    with pytest.raises(RuntimeError):
        await face.send(request(1, "x"))


async def test_an_answer_of_a_client_goes_nowhere() -> None:
    async with scene() as s:
        client = await s.client()
        await client.link.send(msg.result(1, {}))
        assert client.send(request(1, "x")).fault is None
        pipe = await s.pipe()
        assert [message.kind for message in await pipe.until(1)] == [Kind.REQUEST]
