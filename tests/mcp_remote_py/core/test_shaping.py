"""The chain: order of the shapers, which request an answer belongs to, and that nothing is remembered for ever."""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Timer, ToClient
from mcp_remote_py.core.message import Batch, Invalid, Message, key_of
from mcp_remote_py.core.shaping import Chain, Onward, Reply, Shaper, Step, refuse


class Tag(Shaper):
    """Adds its letter to the method on the way in, and notes which request each answer comes with."""

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.pairs: list[tuple[str, str | None]] = []
        self.purposes = frozenset({f"{letter}-clock"})

    def from_host(self, message: Message) -> list[Step]:
        if message.method == f"stop-{self.letter}":
            return [refuse(message, "no", "")]
        if message.id is None or message.is_answer:
            return [Onward(message)]
        return [Onward(msg.request(message.id, f"{message.method}{self.letter}"))]

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        self.pairs.append((message.method or "answer", request and request.method))
        return [Onward(message)]

    def timer(self, name: Timer) -> list[Step]:
        return [Reply(msg.result(name.purpose, {}))]


def passed(steps: list[Any]) -> list[str | None]:
    return [step.message.method for step in steps if isinstance(step, Onward)]


def test_a_request_passes_all_layers_and_each_gets_its_own_view_back() -> None:
    first, second = Tag("a"), Tag("b")
    chain = Chain([first, second])
    assert passed(chain.from_host(msg.request(1, "m"))) == ["mab"]
    answer = msg.result(1, {})
    assert chain.to_host(answer) == [ToClient(answer.raw)]
    assert first.pairs == [("answer", "m")]
    assert second.pairs == [("answer", "ma")]
    chain.to_host(msg.result(1, {}))
    assert first.pairs[-1] == ("answer", None)


def test_what_a_layer_replies_passes_the_outer_layers_alone() -> None:
    first, second, third = Tag("a"), Tag("stop"), Tag("c")
    second.letter = "b"
    chain = Chain([first, second, third])
    (reply,) = chain.from_host(msg.request(1, "stop-"))  # `a` makes it stop-a, which nobody minds
    assert isinstance(reply, Onward)
    chain = Chain([Tag("x"), Tag("y")])
    (reply,) = Chain([first, third]).from_host(msg.request(2, "stop-a"))
    assert isinstance(reply, ToClient)
    assert b'"code":-32602' in reply.raw


def test_a_server_request_with_the_id_of_an_open_request_answers_nothing() -> None:
    layer = Tag("a")
    chain = Chain([layer])
    chain.from_host(msg.request(1, "m"))
    chain.to_host(msg.request(1, "roots/list"))
    chain.to_host(msg.result(1, {}))
    assert layer.pairs == [("roots/list", None), ("answer", "m")]


def test_a_late_answer_to_a_cancelled_request_still_comes_with_its_method() -> None:
    layer = Tag("a")
    chain = Chain([layer])
    chain.from_host(msg.request(1, "tools/list"))
    chain.from_host(msg.notification("notifications/cancelled", {"requestId": 1}))
    chain.to_host(msg.result(1, {}))
    assert layer.pairs == [("answer", "tools/list")]
    odd: tuple[Any, ...] = (None, True, [1], {})
    for identifier in odd:
        chain.from_host(msg.notification("notifications/cancelled", {"requestId": identifier}))


def test_cancelled_requests_are_not_remembered_for_ever() -> None:
    layer = Tag("a")
    chain = Chain([layer])
    for number in range(2000):
        chain.from_host(msg.request(number, "m"))
        chain.from_host(msg.notification("notifications/cancelled", {"requestId": number}))
    chain.to_host(msg.result(0, {}))
    chain.to_host(msg.result(1999, {}))
    assert layer.pairs == [("answer", None), ("answer", "m")]


def test_a_batch_keeps_its_order_and_its_refusals() -> None:
    chain = Chain([Tag("a")])
    items = (msg.request(1, "m"), Invalid(-32600, "odd"), msg.request(2, "stop-a"), msg.notification("n"))
    (batch,) = chain.from_host(Batch(items))
    assert isinstance(batch, Batch)
    first, odd, refused, last = batch.items
    assert isinstance(first, Message)
    assert first.method == "ma"
    assert odd is items[1]
    assert isinstance(refused, Invalid)
    assert (refused.code, refused.identifier) == (-32602, 2)
    assert last is items[3]
    answers = Batch((msg.result(1, {}), msg.error(2, -32602, "no")))
    assert chain.to_host(answers) == [ToClient(msg.join([item for item in answers.items if isinstance(item, Message)]))]


def test_a_timer_finds_its_layer() -> None:
    chain = Chain([Tag("a"), Tag("b")])
    (step,) = chain.timer(Timer("b-clock", key_of(1))) or []
    assert isinstance(step, ToClient)
    assert chain.timer(Timer("linger", key_of(1))) is None
