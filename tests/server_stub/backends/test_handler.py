"""HandlerLink: a Python function behind the contract of links. Whatever it does, each request has one answer."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Interrupted, ShuttingDown, TimedOut
from mcp_remote_py.core.message import Message, notification, request
from server_stub.backends import Peer
from server_stub.backends.handler import Handler, RpcError, Session, connect_handler, is_async
from tests.server_stub.links import eventually, within
from tests.support.link_contract import Delivered, Outcome

ANN = Peer("session", "ann")


class Scene:
    """An open link to a handler, listened to, and what it delivers."""

    def __init__(self, link: Any, group: asyncio.TaskGroup) -> None:
        self.link = link
        self.delivered = Delivered()
        self.listening = Outcome()
        self._group = group

    def send(self, message: Message) -> Outcome:
        outcome = Outcome()
        self._group.create_task(outcome.watch(self.link.send(message)))
        return outcome

    async def ask(self, message: Message) -> Message:
        """Send a request, and return the one answer it got, which came for its own exchange."""
        assert await self.send(message).settle() is None
        answers = [(one, key) for one, key in self.delivered.items if one.is_answer and one.key == message.key]
        assert len(answers) == 1
        assert answers[0][1] == message.key
        return answers[0][0]


@asynccontextmanager
async def scene(handler: Any, peer: Peer = ANN) -> AsyncIterator[Scene]:
    async with asyncio.TaskGroup() as group:
        s = Scene(connect_handler(handler)(peer), group)
        await s.link.open(s.delivered)
        group.create_task(s.listening.watch(s.link.listen()))
        await asyncio.sleep(0)
        try:
            yield s
        finally:
            await s.link.close()
            await s.listening.settle()


def result(message: dict[str, Any], value: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": value}


def error_of(answer: Message) -> tuple[int, str]:
    return answer.doc["error"]["code"], answer.doc["error"]["message"]


# --- What a handler may be -------------------------------------------------------------------------------------------


async def _coroutine(message: dict[str, Any], session: Session) -> dict[str, Any]:
    return result(message, message["params"])


def _plain(message: dict[str, Any], session: Session) -> dict[str, Any]:
    return result(message, message["params"])


def _returns_coroutine(message: dict[str, Any], session: Session) -> Any:
    return _coroutine(message, session)


class _Callable:
    async def __call__(self, message: dict[str, Any], session: Session) -> dict[str, Any]:
        return await _coroutine(message, session)

    async def method(self, message: dict[str, Any], session: Session) -> dict[str, Any]:
        return await _coroutine(message, session)


async def _with_more(more: int, message: dict[str, Any], session: Session) -> dict[str, Any]:
    return result(message, message["params"])


HANDLERS: list[tuple[Any, bool]] = [
    (_coroutine, True),
    (_plain, False),
    (_returns_coroutine, False),
    (_Callable(), True),
    (_Callable().method, True),
    (functools.partial(_with_more, 1), True),
    (functools.partial(functools.partial(_with_more), 1), True),
    (lambda message, session: _plain(message, session), False),  # noqa: PLW0108  (a lambda is what is tried)
]


@pytest.mark.parametrize(("handler", "is_coroutine"), HANDLERS)
async def test_every_kind_of_callable_answers(handler: Handler, *, is_coroutine: bool) -> None:
    assert is_async(handler) is is_coroutine
    async with scene(handler) as s:
        answer = await s.ask(request("a", "x", {"n": 1}))
        assert (answer.id, answer.result) == ("a", {"n": 1})


def test_what_cannot_be_called_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="a handler is a function"):
        connect_handler("module:function")  # type: ignore[arg-type]


# --- What it may return ----------------------------------------------------------------------------------------------


async def test_the_answer_carries_the_id_of_its_request_whatever_the_handler_wrote() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": "invented", "result": {}}

    async with scene(handle) as s:
        assert (await s.ask(request(7, "x"))).id == 7


async def test_an_error_that_is_returned_passes() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "error": {"code": -5, "message": "mine", "data": [1]}}

    async with scene(handle) as s:
        assert (await s.ask(request(1, "x"))).doc["error"] == {"code": -5, "message": "mine", "data": [1]}


BAD_RETURNS: list[Any] = [
    None,
    {},
    {"result": {}},
    [],
    "text",
    {"jsonrpc": "1.0", "result": {}},
    {"jsonrpc": "2.0"},
    {"jsonrpc": "2.0", "method": "x"},
    {"jsonrpc": "2.0", "result": object()},
    {"jsonrpc": "2.0", "result": float("nan")},
]


@pytest.mark.parametrize("returned", BAD_RETURNS)
async def test_what_is_no_response_becomes_an_internal_error(returned: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(message: dict[str, Any], session: Session) -> Any:
        return returned

    async with scene(handle) as s:
        assert error_of(await s.ask(request(1, "x"))) == (-32603, "internal error")
    assert "the handler" in caplog.text


# --- What it may raise -----------------------------------------------------------------------------------------------


async def test_a_thread_that_raises_keyboard_interrupt_takes_nobody_with_it() -> None:
    def fail(message: dict[str, Any], session: Session) -> dict[str, Any]:
        raise KeyboardInterrupt

    async with scene(fail) as s:
        assert error_of(await s.ask(request(1, "x"))) == (-32603, "internal error")
        assert error_of(await s.ask(request(2, "x"))) == (-32603, "internal error")


@pytest.mark.parametrize(
    "raised", [ValueError("secret path"), SystemExit(1), StopIteration(), asyncio.CancelledError()]
)
@pytest.mark.parametrize("is_sync", [True, False])
async def test_whatever_it_raises_the_client_hears_no_more_than_internal_error(
    raised: BaseException, *, is_sync: bool
) -> None:
    def fail(message: dict[str, Any], session: Session) -> dict[str, Any]:
        raise raised

    async def fail_later(message: dict[str, Any], session: Session) -> dict[str, Any]:
        if isinstance(raised, StopIteration):
            raise RuntimeError("a coroutine cannot raise it")
        raise raised

    async with scene(fail if is_sync else fail_later) as s:
        answer = await s.ask(request(1, "x"))
        assert error_of(answer) == (-32603, "internal error")
        assert b"secret" not in answer.raw
        assert error_of(await s.ask(request(2, "x"))) == (-32603, "internal error")


async def test_the_log_has_the_traceback_of_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(message: dict[str, Any], session: Session) -> None:
        raise ValueError("for the log")

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        await s.link.send(notification("n"))
        await eventually(lambda: caplog.text.count("ValueError: for the log") == 2, "the second log line")


async def test_an_rpc_error_is_the_answer_it_names() -> None:
    def handle(message: dict[str, Any], session: Session) -> None:
        raise RpcError(-32042, "not today", {"when": "tomorrow"})

    async with scene(handle) as s:
        error = (await s.ask(request(1, "x"))).doc["error"]
        assert error == {"code": -32042, "message": "not today", "data": {"when": "tomorrow"}}


async def test_an_rpc_error_whose_data_is_no_json_loses_it() -> None:
    async def handle(message: dict[str, Any], session: Session) -> None:
        raise RpcError(-1, "no", object())

    async with scene(handle) as s:
        assert (await s.ask(request(1, "x"))).doc["error"] == {"code": -1, "message": "no"}


# --- Side by side ----------------------------------------------------------------------------------------------------


async def test_a_synchronous_handler_blocks_neither_the_loop_nor_others() -> None:
    may_go_on = threading.Event()

    def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        assert threading.current_thread() is not threading.main_thread()
        if message["method"] == "wait":
            assert may_go_on.wait(10)
        return result(message, {})

    async with scene(handle) as s:
        waiting = [s.send(request(number, "wait")) for number in range(10)]
        await s.ask(request("quick", "x"))
        assert not any(outcome.done.is_set() for outcome in waiting)
        may_go_on.set()
        assert [await outcome.settle() for outcome in waiting] == [None] * 10


async def test_the_handler_may_do_what_it_likes_with_the_document() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        message.clear()
        return {"jsonrpc": "2.0", "result": {}}

    message = request(1, "x", {"a": 1})
    async with scene(handle) as s:
        await s.ask(message)
    assert message.doc == {"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"a": 1}}


async def test_a_cancelled_request_has_no_answer_and_its_handler_stops() -> None:
    stopped, started = asyncio.Event(), asyncio.Event()

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return result(message, {})

    async with scene(handle) as s:
        sent = s.send(request(1, "x"))
        await within(started.wait())
        await s.link.send(notification("notifications/cancelled", {"requestId": "1"}))
        assert not stopped.is_set()
        await s.link.send(notification("notifications/cancelled", {"requestId": 1}))
        assert await sent.settle() is None
        assert stopped.is_set()
        assert s.delivered.items == []


async def test_a_handler_that_ignores_its_cancellation_is_not_heard() -> None:
    started = asyncio.Event()

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass  # the habit under test
        return result(message, {})

    async with scene(handle) as s:
        sent = s.send(request(1, "x"))
        await within(started.wait())
        await s.link.send(notification("notifications/cancelled", {"requestId": 1}))
        assert await sent.settle() is None
        assert s.delivered.items == []


async def test_initialize_cannot_be_cancelled() -> None:
    may_go_on, started = asyncio.Event(), asyncio.Event()

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        started.set()
        await may_go_on.wait()
        return result(message, {})

    async with scene(handle) as s:
        sent = s.send(request(1, "initialize"))
        await within(started.wait())
        await s.link.send(notification("notifications/cancelled", {"requestId": 1}))
        may_go_on.set()
        assert await sent.settle() is None
        assert [message.id for message, _ in s.delivered.items] == [1]


async def test_who_stops_waiting_stops_the_handler() -> None:
    stopped = asyncio.Event()

    async def handle(message: dict[str, Any], session: Session) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with scene(handle) as s:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await s.link.send(request(1, "x"))
        assert stopped.is_set()


async def test_closing_ends_what_runs() -> None:
    started = asyncio.Event()

    async def handle(message: dict[str, Any], session: Session) -> None:
        started.set()
        await asyncio.sleep(60)

    async with scene(handle) as s:
        sent = s.send(request(1, "x"))
        await within(started.wait())
        await s.link.close()
        assert isinstance(await sent.settle(), ShuttingDown)
        with pytest.raises(ShuttingDown):
            await s.link.send(request(2, "x"))
        assert s.delivered.items == []


# --- What it says while it runs --------------------------------------------------------------------------------------


async def test_what_is_said_during_a_request_belongs_to_it_also_from_tasks_and_threads() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        await session.notify("n/coroutine")
        async with asyncio.TaskGroup() as group:
            group.create_task(session.notify("n/task"))
        await asyncio.to_thread(session.notify_sync, "n/thread")
        return result(message, {})

    async with scene(handle) as s:
        answer = await s.ask(request(1, "x"))
        assert [(message.method, key) for message, key in s.delivered.items] == [
            ("n/coroutine", answer.key),
            ("n/task", answer.key),
            ("n/thread", answer.key),
            (None, answer.key),
        ]


async def test_what_is_said_outside_a_request_belongs_to_none() -> None:
    sessions: list[Session] = []

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any] | None:
        sessions.append(session)
        if "id" not in message:
            await session.notify("n/in a notification")
            return None
        return result(message, {})

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        await sessions[0].notify("n/later")
        await s.link.send(notification("n"))
        items = await s.delivered.until(3)
        assert [(message.method, key) for message, key in items[1:]] == [
            ("n/later", None),
            ("n/in a notification", None),
        ]


async def test_what_one_session_says_in_the_course_of_another_belongs_to_no_request() -> None:
    sessions: list[Session] = []

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        sessions.append(session)
        if message["method"] == "tell the other":
            await sessions[0].notify("n/told")
        return result(message, {})

    async with scene(handle) as first, scene(handle) as second:
        waiting = request(1, "x")
        await first.ask(waiting)
        await second.ask(request(1, "tell the other"))
        assert [(message.method, key) for message, key in first.delivered.items[1:]] == [("n/told", None)]


async def test_progress_and_log_messages_have_their_shape() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        await session.progress("t", 1, 2, "half")
        await session.progress("t", 2)
        await session.progress(None, 3)
        await session.log("info", {"a": 1}, "me")
        session.log_level = "warning"
        await session.log("notice", "not sent")
        await session.log("error", "sent")
        with pytest.raises(ValueError, match="the levels are"):
            await session.log("loud", "")
        return result(message, {})

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        assert [(message.method, message.params) for message, _ in s.delivered.items[:-1]] == [
            ("notifications/progress", {"progressToken": "t", "progress": 1, "total": 2, "message": "half"}),
            ("notifications/progress", {"progressToken": "t", "progress": 2}),
            ("notifications/message", {"level": "info", "logger": "me", "data": {"a": 1}}),
            ("notifications/message", {"level": "error", "data": "sent"}),
        ]


async def test_the_session_knows_its_peer_and_remembers() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        count = session.state["count"] = session.state.get("count", 0) + 1
        return result(message, {"id": session.id, "principal": session.principal, "count": count})

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        assert (await s.ask(request(2, "x"))).result == {"id": "session", "principal": "ann", "count": 2}


# --- What it asks ----------------------------------------------------------------------------------------------------


async def _asks(message: dict[str, Any], session: Session) -> dict[str, Any] | None:
    if "id" not in message:
        await session.request("roots/list")
        await session.notify("n/answered")
        return None
    return result(message, {"answer": await session.request("sampling/createMessage", {"q": 1})})


def _asks_synchronously(message: dict[str, Any], session: Session) -> dict[str, Any]:
    return result(message, {"answer": session.request_sync("sampling/createMessage", {"q": 1})})


@pytest.mark.parametrize("handler", [_asks, _asks_synchronously])
async def test_a_question_reaches_the_client_and_its_answer_the_handler(handler: Handler) -> None:
    async with scene(handler) as s:
        sent = s.send(request(1, "x"))
        ((question, key),) = await s.delivered.until(1)
        assert (question.method, question.params, key) == ("sampling/createMessage", {"q": 1}, msg.key_of(1))
        await s.link.send(msg.result(question.key.value, {"text": "yes"}))
        assert await sent.settle() is None
        assert s.delivered.items[-1][0].result == {"answer": {"text": "yes"}}


async def test_a_notification_may_ask_though_the_answer_comes_behind_it() -> None:
    async with scene(_asks) as s:
        await within(s.link.send(notification("notifications/initialized")))
        ((question, _),) = await s.delivered.until(1)
        await s.link.send(msg.result(question.key.value, {}))
        assert (await s.delivered.until(2))[1][0].method == "n/answered"


async def test_an_error_of_the_client_is_raised_where_it_was_asked() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        with pytest.raises(RpcError) as caught:
            await session.request("x")
        return result(message, [caught.value.code, caught.value.message, caught.value.data])

    async with scene(handle) as s:
        sent = s.send(request(1, "x"))
        ((question, _),) = await s.delivered.until(1)
        await s.link.send(msg.error(question.key.value, -1, "I would rather not", {"a": 1}))
        assert await sent.settle() is None
        assert s.delivered.items[-1][0].doc["result"] == [-1, "I would rather not", {"a": 1}]


async def test_answers_find_their_questions_in_any_order_and_only_once() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        return result(message, await session.request("q", {"of": message["id"]}))

    async with scene(handle) as s:
        outcomes = [s.send(request(number, "x")) for number in range(5)]
        questions = [message for message, _ in await s.delivered.until(5)]
        for question in reversed(questions):
            for _ in range(2):
                await s.link.send(msg.result(question.key.value, question.params))
        await s.link.send(msg.result("never asked", {}))
        assert [await outcome.settle() for outcome in outcomes] == [None] * 5
        answers = [message for message, _ in s.delivered.items[5:]]
        assert sorted((answer.id, answer.result["of"]) for answer in answers) == [(n, n) for n in range(5)]


async def test_a_question_times_out_and_is_withdrawn() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        with pytest.raises(TimedOut):
            await session.request("q", timeout=0.01)
        return result(message, {})

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        question, withdrawal = (message for message, _ in s.delivered.items[:2])
        assert withdrawal.method == "notifications/cancelled"
        assert withdrawal.params["requestId"] == question.id


async def test_a_question_of_a_cancelled_request_is_withdrawn() -> None:
    async with scene(_asks) as s:
        sent = s.send(request(1, "x"))
        ((question, _),) = await s.delivered.until(1)
        await s.link.send(notification("notifications/cancelled", {"requestId": 1}))
        assert await sent.settle() is None
        (_, (withdrawal, _)) = s.delivered.items
        assert withdrawal.params["requestId"] == question.id


async def test_a_client_that_goes_leaves_no_question_waiting_not_even_in_a_thread() -> None:
    ended: list[BaseException] = []
    done = threading.Event()

    def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        try:
            session.request_sync("q")
        except Interrupted as fault:
            ended.append(fault)
            raise
        finally:
            done.set()
        return result(message, {})

    async with scene(handle) as s:
        s.send(request(1, "x"))
        await s.delivered.until(1)
        await s.link.close()
        await eventually(done.is_set, "the end of the thread")
    assert len(ended) == 1


async def test_a_client_without_a_session_cannot_be_asked() -> None:
    async with scene(_asks, Peer(None, None)) as s:
        code, text = error_of(await s.ask(request(1, "x")))
        assert code == -32601
        assert "no session" in text


async def test_the_synchronous_methods_refuse_to_stop_the_loop() -> None:
    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="without _sync"):
            session.notify_sync("n")
        return result(message, {})

    async with scene(handle) as s:
        assert (await s.ask(request(1, "x"))).result == {}


@pytest.mark.skipif(sys.platform == "win32", reason="starts a program that POSIX ends with a signal")
async def test_a_handler_that_never_returns_does_not_keep_the_process() -> None:
    program = """
import asyncio, threading
from server_stub.backends import Peer
from server_stub.backends.handler import connect_handler
from mcp_remote_py.core.message import request
async def deliver(message, exchange): pass
async def main():
    link = connect_handler(lambda message, session: threading.Event().wait())(Peer("s", None))
    await link.open(deliver)
    try:
        async with asyncio.timeout(0.1):
            await link.send(request(1, "x"))
    except TimeoutError:
        pass
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await within(process.wait()) == 0


async def test_nothing_is_said_to_a_client_that_has_gone() -> None:
    sessions: list[Session] = []

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        sessions.append(session)
        return result(message, {})

    async with scene(handle) as s:
        await s.ask(request(1, "x"))
        await s.link.close()
        await sessions[0].notify("n")
        with pytest.raises(Interrupted):
            await sessions[0].request("q")
        assert len(s.delivered.items) == 1


async def test_an_id_that_is_used_twice_has_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    may_go_on = asyncio.Event()
    count = 0

    async def handle(message: dict[str, Any], session: Session) -> dict[str, Any]:
        nonlocal count
        count += 1
        number = count
        await may_go_on.wait()
        return result(message, {"number": number})

    async with scene(handle) as s:
        first, second = s.send(request(1, "x")), s.send(request(1, "x"))
        await eventually(lambda: count > 0, "a call")
        may_go_on.set()
        assert [await first.settle(), await second.settle()] == [None, None]
        assert [message.result for message, _ in s.delivered.items] == [{"number": count}]
