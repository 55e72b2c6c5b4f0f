"""Playback: a trace answers as the far end did, with the ids and tokens of now."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Message
from mcp_remote_py.core.playback import NOT_RECORDED, Playback
from mcp_remote_py.core.trace_record import Entry


def asks(identifier: Any, method: str, params: dict[str, Any] | None = None) -> Entry:
    return Entry("t", "s", "host to server", (msg.request(identifier, method, params),))


def tells(method: str, params: dict[str, Any] | None = None) -> Entry:
    return Entry("t", "s", "host to server", (msg.notification(method, params),))


def hears(*messages: Message, direction: str = "server to host") -> Entry:
    return Entry("t", "s", direction, messages)


def call(identifier: Any, name: str, token: Any = None) -> Message:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return msg.request(identifier, "tools/call", {"name": name, **meta})


def progress(token: Any) -> Message:
    return msg.notification("notifications/progress", {"progressToken": token, "progress": 1})


def test_a_request_is_found_by_method_and_params_and_answered_under_its_own_id() -> None:
    play = Playback([asks(1, "a", {"x": 1}), asks(2, "a"), hears(msg.result(2, "two")), hears(msg.result(1, "one"))])
    assert play.requests == 2
    assert play.from_host(msg.request("n", "a", {})) == [msg.result("n", "two")]
    assert play.from_host(msg.request("m", "a", {"x": 1.0, "_meta": {"y": 1}})) != []
    assert play.from_host(msg.request("m", "a", {"x": 1})) == [msg.result("m", "one")]


def test_what_the_server_never_said_to_the_host_is_not_played() -> None:
    kept = hears(msg.result(1, "late"), direction="server to bridge")
    made = hears(msg.error(1, -31002, "too long"), direction="bridge to host")
    play = Playback([asks(1, "a"), made, kept])
    (answer,) = play.from_host(msg.request(5, "a"))
    assert answer.doc["error"]["code"] == -31002


def test_asked_again_it_gives_the_next_answer_and_then_the_last_one() -> None:
    play = Playback([asks(1, "a"), hears(msg.result(1, 1)), asks(2, "a"), hears(msg.result(2, 2))])
    assert [play.from_host(msg.request(7, "a"))[0].doc["result"] for _ in range(4)] == [1, 2, 2, 2]


def test_any_initialize_gets_the_one_answer() -> None:
    play = Playback([asks(0, "initialize", {"clientInfo": 1}), hears(msg.result(0, "hello"))])
    assert play.requests == 1
    for params in ({"clientInfo": 2}, {"clientInfo": 1}):
        assert play.from_host(msg.request(0, "initialize", params)) == [msg.result(0, "hello")]


def test_progress_belongs_to_its_call_and_has_the_token_of_now() -> None:
    entries = [
        Entry("t", "s", "host to server", (call(1, "slow", "old-1"),)),
        Entry("t", "s", "host to server", (call(2, "fast", "old-2"),)),
        hears(progress("old-1")),
        hears(msg.result(2, "fast")),
        hears(msg.result(1, "slow")),
        hears(msg.notification("notifications/tools/list_changed")),
    ]
    play = Playback(entries)
    fast = play.from_host(call(8, "fast"))
    assert [message.method or message.doc["result"] for message in fast] == ["fast", "notifications/tools/list_changed"]
    assert play.from_host(call(9, "slow", 5)) == [progress(5), msg.result(9, "slow")]
    assert Playback(entries).from_host(call(9, "slow")) == [msg.result(9, "slow")]


def test_an_answer_waits_for_the_answer_to_a_question_as_it_did_then() -> None:
    question = msg.request("q", "sampling/createMessage", {})
    entries = [
        asks(1, "a"),
        hears(question),
        Entry("t", "s", "host to server", (msg.result("q", "then"),)),
        hears(msg.result(1, "done")),
    ]
    play = Playback(entries)
    for _ in range(2):
        assert play.from_host(msg.request(4, "a")) == [question]
        assert play.from_host(msg.request(5, "ping")) == [msg.result(5, {})]
        assert play.from_host(msg.result("q", "now")) == [msg.result(4, "done")]
    play.from_host(msg.request(4, "a"))
    play.from_host(msg.notification("notifications/cancelled", {"requestId": 4}))
    assert play.from_host(msg.result("q", "now")) == []


def test_what_was_said_before_and_after_notifications_follows_them() -> None:
    log = [msg.notification("notifications/message", {"n": number}) for number in range(3)]
    play = Playback([hears(log[0]), tells("notifications/initialized"), hears(log[1]), hears(log[2])])
    assert play.from_host(msg.notification("notifications/initialized")) == log
    assert play.from_host(msg.notification("notifications/initialized")) == []


def test_what_is_not_there_is_said_with_what_is() -> None:
    cut = Entry("t", "s", "server to host", cut=msg.key_of(3))
    entries = [
        Entry("t", "s", "host to server", (call(1, "echo"),)),
        hears(msg.result(1, {})),
        asks(2, "open"),
        asks(3, "large"),
        cut,
        asks(4, "given-up"),
        tells("notifications/cancelled", {"requestId": 4}),
    ]
    for method, params, says in (
        ("tools/call", {"name": "other"}, '"echo"'),
        ("prompts/get", {}, "given-up, large, open, tools/call"),
        ("open", None, "ends before the answer"),
        ("large", None, "too large"),
    ):
        (answer,) = Playback(entries).from_host(msg.request("i", method, params))
        assert answer.id == "i"
        assert answer.doc["error"]["code"] == NOT_RECORDED
        assert says in answer.doc["error"]["message"]
    assert Playback(entries).from_host(msg.request("i", "given-up")) == []
    assert Playback([]).from_host(msg.request(1, "x"))[0].doc["error"]["message"].endswith("It has: nothing")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=12),
    st.permutations(range(12)),
    st.data(),
)
def test_the_same_questions_in_their_order_get_the_same_answers(
    questions: list[tuple[str, int]], order: list[int], data: st.DataObject
) -> None:
    entries = [asks(at, method, {"x": x}) for at, (method, x) in enumerate(questions)]
    entries += [hears(msg.result(at, {"answer": at})) for at in order if at < len(questions)]
    play = Playback(entries)
    for at, (method, x) in enumerate(questions):
        live = data.draw(st.integers() | st.text())
        (answer,) = play.from_host(msg.request(live, method, {"x": x}))
        assert answer.doc == {"jsonrpc": "2.0", "id": live, "result": {"answer": at}}
