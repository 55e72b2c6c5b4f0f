"""The contract of `core.link`, as tests. Whoever writes a link subclasses `LinkContract` and gives it a bench.

A bench is a link and the far end that it reaches; the far end says what it received and speaks as it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

import pytest

from mcp_remote_py.core.errors import Fault
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Key, Message, parse_one, request

WAIT_SECONDS = 20
ODD = (
    b'{"method":"tools/call","jsonrpc":"2.0", "params":{"b":1.0,"a":1e5,"n":12345678901234567890,'
    b'"\\u00e9":"\xf0\x9f\x8c\x8d \xe2\x80\xa8 \\ud83c\\udf0d","null":null,"empty":{}},"unknown":[],"id":"x-1"}'
)
"""A request whose bytes no re-encoding would reproduce."""


class FarEnd(Protocol):
    """The server's side of a bench."""

    async def received(self, count: int) -> list[bytes]:
        """Wait until so many messages have come, and return all of them."""

    async def answer(self, request: bytes, raw: bytes) -> None:
        """Send a message on the stream of that request, or on the pipe."""

    async def finish(self, request: bytes) -> None:
        """End the stream of that request; nothing on a pipe."""

    async def say(self, raw: bytes) -> None:
        """Send a message that belongs to no request."""

    async def vanish(self) -> None:
        """Break all connections, and make no new ones."""


class Bench(NamedTuple):
    """See the module's text."""

    link: Link
    far: FarEnd


class Delivered:
    """What a link delivered, in its order."""

    def __init__(self) -> None:
        self.items: list[tuple[Message, Key | None]] = []
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message, exchange: Key | None) -> None:
        async with self._changed:
            self.items.append((message, exchange))
            self._changed.notify_all()

    async def until(self, count: int) -> list[tuple[Message, Key | None]]:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.items) >= count)
        return self.items

    @property
    def raws(self) -> list[bytes]:
        return [message.raw for message, _ in self.items]


class Outcome:
    """How a coroutine of a link ended: `fault` is None where it returned."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.done = asyncio.Event()

    async def watch(self, work: Any) -> None:
        try:
            await work
        except Fault as fault:
            self.fault = fault
        finally:
            self.done.set()

    async def settle(self) -> Fault | None:
        async with asyncio.timeout(WAIT_SECONDS):
            await self.done.wait()
        return self.fault


class Running:
    """An open link that is listened to, with what it delivers."""

    def __init__(self, bench: Bench, group: asyncio.TaskGroup) -> None:
        self.link, self.far = bench
        self.delivered = Delivered()
        self.listening = Outcome()
        self._group = group

    def send(self, message: Message, written: Callable[[], None] | None = None) -> Outcome:
        """Send in a task of its own, as a driver does with requests."""
        outcome = Outcome()
        self._group.create_task(outcome.watch(self.link.send(message, written)))
        return outcome

    def listen(self) -> None:
        self._group.create_task(self.listening.watch(self.link.listen()))


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Running]:
    async with asyncio.TaskGroup() as group:
        run = Running(bench, group)
        await run.link.open(run.delivered)
        run.listen()
        try:
            yield run
        finally:
            await run.link.close()


def result_for(message: Message, text: str = "done") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":{"text":"%b"}}' % (str(message.key).encode(), text.encode())


class LinkContract:
    """Inherit, and define the fixture `bench`."""

    @pytest.fixture
    def bench(self) -> Any:
        raise NotImplementedError

    async def test_messages_travel_byte_for_byte_both_ways(self, bench: Bench) -> None:
        question = parse_one(ODD)
        answer = b'{"result":{"x":1.0,"u":"\xe2\x80\xa8","e":"\\u0041"},"id":"x-1","jsonrpc":"2.0","_":null}'
        async with running(bench) as run:
            sent = run.send(question)
            assert await run.far.received(1) == [ODD]
            await run.far.answer(ODD, answer)
            await run.far.finish(ODD)
            await run.delivered.until(1)
            assert await sent.settle() is None
            assert run.delivered.raws == [answer]

    async def test_an_exchange_names_its_request_where_streams_are_its_own(self, bench: Bench) -> None:
        question = request(7, "tools/list")
        async with running(bench) as run:
            run.send(question)
            await run.far.received(1)
            await run.far.answer(question.raw, result_for(question))
            await run.far.finish(question.raw)
            ((_, exchange),) = await run.delivered.until(1)
            assert exchange == (question.key if run.link.traits.streams_per_exchange else None)

    async def test_what_is_said_during_a_call_comes_before_its_answer(self, bench: Bench) -> None:
        question = request("p", "tools/call")
        progress = [
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d}}' % at for at in range(20)
        ]
        async with running(bench) as run:
            run.send(question)
            await run.far.received(1)
            for line in progress:
                await run.far.answer(question.raw, line)
            await run.far.answer(question.raw, result_for(question))
            await run.far.finish(question.raw)
            await run.delivered.until(21)
            assert run.delivered.raws == [*progress, result_for(question)]

    async def test_a_question_of_the_server_is_answered_while_the_call_runs(self, bench: Bench) -> None:
        call, question = request(1, "tools/call"), request("s-1", "elicitation/create")
        answer = parse_one(result_for(question, "yes"))
        async with running(bench) as run:
            sent = run.send(call)
            await run.far.received(1)
            await run.far.answer(call.raw, question.raw)
            await run.delivered.until(1)
            await run.link.send(answer)
            assert (await run.far.received(2))[1] == answer.raw
            await run.far.answer(call.raw, result_for(call))
            await run.far.finish(call.raw)
            assert (await run.delivered.until(2))[1][0].raw == result_for(call)
            assert await sent.settle() is None

    async def test_what_the_server_says_on_its_own_is_delivered_without_an_exchange(self, bench: Bench) -> None:
        news = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
        async with running(bench) as run:
            await run.far.say(news)
            ((message, exchange),) = await run.delivered.until(1)
            assert (message.raw, exchange) == (news, None)

    async def test_what_is_no_message_is_passed_over(self, bench: Bench) -> None:
        news = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
        async with running(bench) as run:
            await run.far.say(b"{not json")
            await run.far.say(b'{"neither":"nor"}')
            await run.far.say(b"[" + news + b"," + news + b"]")
            await run.delivered.until(2)
            assert run.delivered.raws == [news, news]

    async def test_written_is_called_before_the_answer_comes(self, bench: Bench) -> None:
        written = asyncio.Event()
        question = request(1, "tools/call")
        async with running(bench) as run:
            run.send(question, written.set)
            await run.far.received(1)
            async with asyncio.timeout(WAIT_SECONDS):
                await written.wait()
            assert run.delivered.items == []

    async def test_calls_run_side_by_side_and_end_in_any_order(self, bench: Bench) -> None:
        calls = [request(at, "tools/call") for at in range(8)]
        async with running(bench) as run:
            outcomes = [run.send(call) for call in calls]
            await run.far.received(8)
            for call in reversed(calls):
                await run.far.answer(call.raw, result_for(call, f"n{call.id}"))
                await run.far.finish(call.raw)
            await run.delivered.until(8)
            assert [await outcome.settle() for outcome in outcomes] == [None] * 8
            assert sorted(run.delivered.raws) == sorted(result_for(call, f"n{call.id}") for call in calls)

    async def test_eight_mebibytes_pass_both_ways(self, bench: Bench) -> None:
        filling = "é" * (4 * 1024 * 1024)
        question = request(1, "tools/call", {"text": filling})
        async with running(bench) as run:
            sent = run.send(question)
            assert await run.far.received(1) == [question.raw]
            await run.far.answer(question.raw, result_for(question, filling))
            await run.far.finish(question.raw)
            await run.delivered.until(1)
            assert await sent.settle() is None
            assert run.delivered.raws == [result_for(question, filling)]

    async def test_a_server_that_vanishes_is_a_fault_and_the_call_may_have_run(self, bench: Bench) -> None:
        async with running(bench) as run:
            sent = run.send(request(1, "tools/call"))
            await run.far.received(1)
            await run.far.vanish()
            own_stream = run.link.traits.streams_per_exchange
            fault = await (sent if own_stream else run.listening).settle()
            assert fault is not None
            assert fault.may_have_run
            assert fault.hint

    async def test_nothing_can_be_sent_after_the_end(self, bench: Bench) -> None:
        async with running(bench) as run:
            await run.link.close()
            with pytest.raises(Fault) as caught:
                await run.link.send(request(1, "tools/call"))
            assert not caught.value.may_have_run

    async def test_the_end_comes_soon_and_ends_what_is_open(self, bench: Bench) -> None:
        async with running(bench) as run:
            sent = run.send(request(1, "tools/call"))
            await run.far.received(1)
            async with asyncio.timeout(2):
                await run.link.close()
                await run.link.close()
                await run.listening.done.wait()
                if run.link.traits.streams_per_exchange:
                    await sent.done.wait()

    async def test_closing_what_was_never_opened_is_no_mistake(self, bench: Bench) -> None:
        await bench.link.close()
