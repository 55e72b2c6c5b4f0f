"""Heartbeat: only with a token, always growing, put off by the server's own progress, over with the answer."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Disarm, Timer
from mcp_remote_py.core.heartbeat import Heartbeat
from mcp_remote_py.core.message import Message, key_of
from mcp_remote_py.core.shaping import Onward, Reply, Step

CLOCK = Timer("heartbeat", key_of(1))


TOKEN = "t"


def call(identifier: Any = 1, token: Any = TOKEN) -> Message:
    return msg.request(identifier, "tools/call", {"name": "x", "_meta": {"progressToken": token}})


def progress(value: Any, token: Any = TOKEN, **more: Any) -> Message:
    return msg.notification("notifications/progress", {"progressToken": token, "progress": value, **more})


def beat(heart: Heartbeat) -> dict[str, Any]:
    reply, arm = heart.timer(CLOCK)
    assert arm == Arm(CLOCK, 10.0)
    assert isinstance(reply, Reply)
    return reply.message.params


def test_a_call_with_a_token_gets_growing_progress_until_it_is_answered() -> None:
    heart = Heartbeat(10.0)
    assert heart.from_host(call()) == [Arm(CLOCK, 10.0), Onward(call())]
    values = [beat(heart)["progress"] for _ in range(50)]
    assert values == sorted(set(values))
    answer = msg.result(1, {})
    assert heart.to_host(answer, call()) == [Disarm(CLOCK), Onward(answer)]
    assert heart.timer(CLOCK) == []


def test_progress_of_the_server_passes_and_puts_the_next_beat_off() -> None:
    heart = Heartbeat(10.0)
    heart.from_host(call())
    said = progress(7, total=10)
    assert heart.to_host(said, None) == [Arm(CLOCK, 10.0), Onward(said)]
    assert beat(heart) == {
        "progressToken": "t",
        "progress": 7.001,
        "total": 10,
        "message": "The call is still running.",
    }
    other = progress(1, "other")
    assert heart.to_host(other, None) == [Onward(other)]


@pytest.mark.parametrize("token", [None, True, [], {}])
def test_without_a_usable_token_nothing_happens(token: Any) -> None:
    heart = Heartbeat(10.0)
    assert heart.from_host(call(1, token)) == [Onward(call(1, token))]
    assert heart.to_host(progress(1, token), None) == [Onward(progress(1, token))]


def test_a_cancelled_call_has_no_heart() -> None:
    heart = Heartbeat(10.0)
    heart.from_host(call())
    cancel = msg.notification("notifications/cancelled", {"requestId": 1})
    steps: list[Step] = heart.from_host(cancel)
    assert steps == [Disarm(CLOCK), Onward(cancel)]
    odd: tuple[Any, ...] = (None, [], True)
    for identifier in odd:
        cancel = msg.notification("notifications/cancelled", {"requestId": identifier})
        assert heart.from_host(cancel) == [Onward(cancel)]


def test_an_id_that_is_used_again_has_one_heart() -> None:
    heart = Heartbeat(10.0)
    heart.from_host(call())
    assert heart.from_host(call(1, "u")) == [Disarm(CLOCK), Arm(CLOCK, 10.0), Onward(call(1, "u"))]
    assert beat(heart)["progressToken"] == "u"
