"""The relay as conversations: what a host and a server say, and what the relay makes of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, Listen, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TimedOut,
    Unreachable,
)
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.message import Batch, Invalid, parse
from mcp_remote_py.core.patience import Patience
from mcp_remote_py.core.relay import LINGER_SECONDS, Relay
from tests.support.examples import examples
from tests.support.playbook import (
    GREETED,
    HTTP,
    INITIALIZE,
    INITIALIZED,
    PIPE,
    a_relay,
    answer,
    call,
    greeted,
    m,
    note,
    play,
)

K0, K5, K6, K7 = INITIALIZE.key, call(5).key, call(6).key, call(7).key


def test_the_first_message_is_the_probe_and_nothing_else_goes_out_before_its_answer() -> None:
    play(a_relay("http-first")).client(INITIALIZE).expect(Dial("http")).client(INITIALIZED).client(
        call(5)
    ).nothing().up().expect(ToServer(INITIALIZE, K0)).server(GREETED, K0).expect(
        ToClient(GREETED.raw), ToServer(INITIALIZED), Listen(), ToServer(call(5), K5)
    )


def test_a_session_goes_through_untouched_both_ways() -> None:
    text = (
        '{"jsonrpc":"2.0","id":"a\\u00e9","method":"x","params":{"n":1.0,"e":1e5,"b":12345678901234567890},"zz":null}'
    )
    odd = m(text)
    reply = m('{"id":"a\\u00e9","result":{"n":1.0,"k":[1e5]},"jsonrpc":"2.0","more":true}')
    script = greeted()
    script.client(odd).expect(ToServer(odd, odd.key)).server(reply, odd.key).expect(ToClient(reply.raw))
    assert odd.raw == text.encode()


def test_requests_run_side_by_side_and_answers_come_in_any_order() -> None:
    greeted().client(call(5)).client(call(6)).skip().server(answer(6), K6).server(answer(5), K5).answers(
        (6, "result"), (5, "result")
    )


@pytest.mark.parametrize("status", [400, 404, 405])
def test_http_first_falls_back_to_sse_when_the_first_post_says_so(status: int) -> None:
    fault = Refused("no", http_status=status)
    play(a_relay("http-first")).client(INITIALIZE).up().skip().client(INITIALIZED).over(K0, fault).expect(
        Dial("sse")
    ).up(PIPE).expect(ToServer(INITIALIZE, K0)).server(GREETED).expect(
        ToClient(GREETED.raw), ToServer(INITIALIZED), Listen()
    )


@pytest.mark.parametrize(
    "fault",
    [
        SignInNeeded("401", http_status=401),
        Refused("403", http_status=403),
        Refused("500", http_status=500),
        Refused("503", http_status=503),
        Unreachable("refused"),
        TimedOut("slow"),
        Interrupted("reset"),
        PeerBroke("html", http_status=200),
    ],
)
def test_nothing_else_falls_back_and_the_next_attempt_probes_again(fault: Fault) -> None:
    script = play(a_relay("http-first")).client(INITIALIZE).up().skip().over(K0, fault).answers((0, fault.code))
    script.client(call(9, "initialize")).expect(ToServer(call(9, "initialize"), call(9).key))


def test_when_both_wires_fail_the_first_fault_is_the_one_reported() -> None:
    script = play(a_relay("http-first")).client(INITIALIZE).up().skip().over(K0, Refused("first", http_status=404))
    script.expect(Dial("sse")).failed(Refused("second", http_status=404))
    (command,) = script.pending
    assert isinstance(command, ToClient)
    assert json.loads(command.raw)["error"]["message"] == "first"
    script.skip().client(INITIALIZE).expect(Dial("http"))


def test_sse_first_asks_by_get_and_then_posts() -> None:
    script = play(a_relay("sse-first")).client(INITIALIZE).expect(Dial("sse")).failed(Refused("no", http_status=405))
    script.expect(Dial("http")).up().expect(ToServer(INITIALIZE, K0)).server(GREETED, K0).expect(ToClient(GREETED.raw))


def test_a_json_rpc_error_settles_the_wire_and_is_passed_byte_for_byte() -> None:
    raw = '{"error":{"message":"no","code":-32600,"data":{"x":1.0}},"id":0,"jsonrpc":"2.0"}'
    script = (
        play(a_relay("http-first")).client(INITIALIZE).up().skip().server(m(raw), K0).expect(ToClient(raw.encode()))
    )
    script.over(K0).nothing()
    assert script.relay.settled


def test_an_only_strategy_never_tries_another_wire() -> None:
    script = play(a_relay("http-only")).client(INITIALIZE).up().skip().over(K0, Refused("no", http_status=404))
    script.answers((0, Refused.code))


def test_a_stream_that_ends_without_answer_is_an_error_that_says_it_may_have_run() -> None:
    script = greeted().client(call(5)).skip().over(K5)
    (command,) = script.pending
    assert isinstance(command, ToClient)
    error = json.loads(command.raw)["error"]
    assert error["code"] == Interrupted.code
    assert error["data"]["may_have_run"] is True
    assert error["data"]["source"] == "mcp-remote-py"


def test_an_unreachable_server_answers_initialize_and_all_that_waits_behind_it() -> None:
    script = play(a_relay("sse-only")).client(INITIALIZE).client(INITIALIZED).client(call(5)).expect(Dial("sse"))
    script.failed(Unreachable("refused")).answers((0, -31001), (5, -31001))
    script.client(INITIALIZE).expect(Dial("sse")).up(PIPE).expect(ToServer(INITIALIZE, K0))


def test_when_initialize_fails_on_the_way_what_was_held_is_answered_too() -> None:
    script = play(a_relay()).client(INITIALIZE).client(INITIALIZED).client(call(5)).up().skip()
    script.over(K0, Unreachable("refused")).answers((0, -31001), (5, -31001))


def test_when_the_server_refuses_initialize_it_decides_about_the_rest_itself() -> None:
    refusal = m({"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": "no"}})
    script = play(a_relay()).client(INITIALIZE).client(call(5)).up().skip()
    script.server(refusal, K0).expect(ToClient(refusal.raw), ToServer(call(5), K5))


def test_a_doubled_answer_is_dropped() -> None:
    script = greeted().client(call(5)).skip().server(answer(5), K5).answers((5, "result"))
    script.server(answer(5), K5).nothing().over(K5).nothing()
    assert "doubled" in script.notes[-1]


def test_an_answer_to_nobody_is_dropped() -> None:
    greeted().server(answer(99)).nothing()


def test_ids_one_and_the_string_one_are_two_requests() -> None:
    script = greeted().client(call(1)).client(call("1")).skip()
    script.server(answer("1"), call("1").key).answers(("1", "result")).server(answer(1), call(1).key).answers(
        (1, "result")
    )


def test_the_server_asks_and_the_answer_overtakes_everything() -> None:
    question = call("q", "sampling/createMessage")
    reply = answer("q", {"role": "assistant"})
    script = greeted().client(call(5)).skip().server(question, K5).expect(ToClient(question.raw))
    script.client(reply).expect(ToServer(reply, urgent=True)).client(reply).nothing()


def test_the_same_id_may_be_live_in_both_directions() -> None:
    script = greeted().client(call(5)).skip().server(call(5, "roots/list"), K5).skip()
    script.client(answer(5, {"roots": []})).expect(ToServer(answer(5, {"roots": []}), urgent=True))
    script.server(answer(5), K5).answers((5, "result"))


def test_a_cancelled_request_gets_no_answer_and_its_stream_is_closed_after_a_while() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = greeted().client(call(5)).skip().client(cancel)
    script.expect(ToServer(cancel, urgent=True), Arm(Timer("linger", K5), LINGER_SECONDS))
    script.rings("linger", K5).expect(Drop(K5)).over(K5).nothing()


def test_a_cancelled_request_that_ends_by_itself_gets_no_answer_either() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = greeted().client(call(5)).client(cancel).skip()
    script.over(K5, Interrupted("closed")).expect(Disarm(Timer("linger", K5)))


def test_a_late_answer_to_a_cancelled_request_is_passed_on_once() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = greeted().client(call(5)).client(cancel).skip().server(answer(5), K5)
    script.expect(Disarm(Timer("linger", K5)), ToClient(answer(5).raw)).server(answer(5), K5).nothing()


def test_cancelling_what_was_never_sent_needs_no_server() -> None:
    script = (
        play(a_relay()).client(INITIALIZE).client(call(5)).client(note("notifications/cancelled", requestId=5)).skip()
    )
    script.up().expect(ToServer(INITIALIZE, K0)).server(GREETED, K0).expect(ToClient(GREETED.raw))


def test_cancelling_something_unknown_is_the_servers_business() -> None:
    cancel = note("notifications/cancelled", requestId="nobody")
    greeted().client(cancel).expect(ToServer(cancel))


def test_initialize_cannot_be_cancelled() -> None:
    script = (
        play(a_relay()).client(INITIALIZE).up().skip().client(note("notifications/cancelled", requestId=0)).nothing()
    )
    script.server(GREETED, K0).answers((0, "result"))


def test_a_timeout_answers_once_cancels_upstream_and_closes_the_stream() -> None:
    script = greeted(patience=Patience(request=30.0)).client(call(5))
    script.expect(Arm(Timer("timeout", K5), 30.0), ToServer(call(5), K5)).written(K5).rings("timeout", K5)
    disarm, told, cancel, drop = script.pending
    assert disarm == Disarm(Timer("timeout", K5))
    assert isinstance(told, ToClient)
    error = json.loads(told.raw)["error"]
    assert (error["code"], error["data"]["may_have_run"]) == (-31002, True)
    assert "--timeout" in error["data"]["hint"]
    assert isinstance(cancel, ToServer)
    assert cancel.message.params["requestId"] == 5
    assert drop == Drop(K5)
    script.skip().server(answer(5), K5).nothing()


def test_progress_and_unknown_notifications_pass_from_the_server() -> None:
    for method in ("notifications/progress", "notifications/from/the/future", "notifications/resources/updated"):
        greeted().server(note(method, a=1)).expect(ToClient(note(method, a=1).raw))


def test_an_id_used_twice_is_answered_once_by_the_later_request() -> None:
    second = call(5, "tools/list")
    script = greeted().client(call(5)).skip().client(second).expect(Drop(K5), ToServer(second, K5))
    script.server(answer(5), K5).answers((5, "result")).server(answer(5), K5).nothing()


def test_an_id_used_twice_at_the_limit_is_answered_once() -> None:
    script = greeted(in_flight_limit=1).client(call(5)).skip().client(call(5))
    script.expect(Drop(K5), ToServer(call(5), K5))
    script.server(answer(5), K5).answers((5, "result"))


def test_beyond_the_limit_a_request_is_an_error_and_a_cancel_still_gets_through() -> None:
    script = greeted(in_flight_limit=2).client(call(5)).client(call(6)).skip().client(call(7)).answers((7, -31007))
    cancel = note("notifications/cancelled", requestId=5)
    script.client(cancel).expect(ToServer(cancel, urgent=True), Arm(Timer("linger", K5), LINGER_SECONDS))


def test_a_host_that_never_initializes_is_carried_all_the_same() -> None:
    script = play(a_relay("http-first")).client(call(5, "tools/list")).expect(Dial("http"))
    script.up().expect(ToServer(call(5, "tools/list"), K5)).server(answer(5), K5).answers((5, "result"))


def test_messages_before_initialize_do_not_block_it() -> None:
    script = play(a_relay("ws-only")).client(call(5, "ping")).client(INITIALIZE).expect(Dial("ws"))
    script.up(PIPE).expect(ToServer(call(5, "ping"), K5), ToServer(INITIALIZE, K0))


def test_a_host_that_initializes_again_is_not_kept_waiting_by_its_first_attempt() -> None:
    again = call("again", "initialize", protocolVersion="2025-06-18")
    play(a_relay()).client(INITIALIZE).up().skip().client(again).expect(ToServer(again, again.key))


# --- Shared pipes -----------------------------------------------------------------------------------------------


def test_a_lost_pipe_answers_everything_and_the_next_message_dials_and_greets_again() -> None:
    script = greeted("ws-only", PIPE).client(call(5)).client(call(6)).written(K5).written(K6).skip()
    script.down(Interrupted("gone")).answers((5, -31003), (6, -31003))
    script.client(call(7)).expect(Dial("ws")).up(PIPE)
    (again,) = script.sent()
    assert again.message.method == "initialize"
    assert again.message.id == "private-1"
    assert again.message.params == INITIALIZE.params
    hello = answer("private-1", {"protocolVersion": "2025-06-18"})
    script.server(hello).expect(ToServer(INITIALIZED), Listen(), ToServer(call(7), K7))


def test_a_pipe_that_breaks_during_the_reopening_answers_who_waits_and_does_not_storm() -> None:
    script = greeted("ws-only", PIPE).down(Interrupted("gone")).client(call(7)).up(PIPE).skip()
    script.down(Interrupted("gone again")).answers((7, -31003))


def test_the_end_of_an_old_stream_means_nothing_while_the_new_one_is_being_opened() -> None:
    script = greeted("sse-only", PIPE).client(call(5)).skip().over(K5, SessionLost("404")).expect(Dial("sse"))
    script.down(Interrupted("the old stream ended, too")).nothing().client(call(6)).nothing()
    script.up(PIPE)
    (again,) = script.sent()
    script.server(answer("private-1", {"protocolVersion": "2025-06-18"}))
    assert [command.message for command in script.sent()] == [INITIALIZED, call(5), call(6)]
    assert again.message.method == "initialize"


def test_a_null_id_error_on_a_pipe_belongs_to_the_only_request_that_waits() -> None:
    error = m({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse"}})
    greeted("sse-only", PIPE).client(call(5)).skip().server(error).answers((5, -32700))
    greeted("sse-only", PIPE).client(call(5)).client(call(6)).skip().server(error).nothing()
    greeted("http-only").client(call(5)).skip().server(error).nothing().server(answer(5), K5).answers((5, "result"))


def test_a_post_that_fails_on_a_pipe_is_the_answer() -> None:
    greeted("sse-only", PIPE).client(call(5)).skip().over(K5, Refused("500", http_status=500)).answers((5, -31006))


# --- A lost session ---------------------------------------------------------------------------------------------


def test_a_lost_session_is_reopened_once_and_the_calls_are_sent_again() -> None:
    script = greeted().client(call(5)).client(call(6)).skip().over(K5, SessionLost("404", http_status=404))
    (again,) = script.sent()
    assert again == ToServer(again.message, again.message.key)
    assert again.message.method == "initialize"
    script.over(K6, SessionLost("404", http_status=404)).nothing()
    hello = answer("private-1", {"protocolVersion": "2025-06-18"})
    script.server(hello, again.message.key)
    script.expect(ToServer(INITIALIZED), Listen(), ToServer(call(5), K5), ToServer(call(6), K6))
    script.over(again.message.key).nothing().server(answer(5), K5).answers((5, "result"))


def test_a_session_lost_twice_for_the_same_call_is_an_answer() -> None:
    script = greeted().client(call(5)).skip().over(K5, SessionLost("404"))
    (again,) = script.sent()
    script.server(answer("private-1", {"protocolVersion": "2025-06-18"}), again.message.key).skip()
    script.over(K5, SessionLost("404")).answers((5, -31004))


def test_another_version_after_the_loss_is_an_error_not_a_silent_mismatch() -> None:
    script = greeted().client(call(5)).skip().over(K5, SessionLost("404"))
    (again,) = script.sent()
    script.server(answer("private-1", {"protocolVersion": "2024-11-05"}), again.message.key).answers((5, -31004))


def test_a_reopening_that_fails_answers_who_waits() -> None:
    script = greeted().client(call(5)).skip().over(K5, SessionLost("404"))
    (again,) = script.sent()
    script.over(again.message.key, Unreachable("down")).answers((5, -31001))


def test_on_the_old_wire_a_lost_session_needs_a_new_stream() -> None:
    script = greeted("sse-only", PIPE).client(call(5)).client(call(6)).written(K6).skip().over(K5, SessionLost("404"))
    told, dial = script.pending
    assert isinstance(told, ToClient)
    assert json.loads(told.raw)["id"] == 6
    assert dial == Dial("sse")
    script.skip().up(PIPE)
    (again,) = script.sent()
    script.server(answer("private-1", {"protocolVersion": "2025-06-18"}))
    assert [command.message for command in script.sent()] == [INITIALIZED, call(5)]
    assert again.message.id == "private-1"


# --- Lines that are no messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "identifier", "code"),
    [
        (b"garbage", None, -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"x"}', None, -32700),
        (b"\xff\xfe", None, -32700),
        (b"5", None, -32600),
        (b"[]", None, -32600),
        (b'{"id":7}', 7, -32600),
        (b'{"jsonrpc":"1.0","id":"a","method":"x"}', "a", -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":3,"method":4}', 3, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"x"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":1e999,"method":"x"}', None, -32600),
    ],
)
def test_a_line_that_is_no_message_is_answered_and_the_bridge_goes_on(line: bytes, identifier: Any, code: int) -> None:
    relay = a_relay()
    with pytest.raises(Invalid) as caught:
        parse(line)
    script = play(relay)._take(relay.invalid(caught.value)).answers((identifier, code))
    script.client(INITIALIZE).expect(Dial("http"))


def test_a_malformed_answer_of_the_host_is_told_to_the_server_that_waits() -> None:
    script = greeted().server(call("q", "roots/list")).skip()
    with pytest.raises(Invalid) as caught:
        parse(b'{"jsonrpc":"2.0","id":"q","result":1,"error":{"code":1,"message":""}}')
    script._take(script.relay.invalid(caught.value))
    (told,) = script.sent()
    assert (told.message.id, told.message.kind) == ("q", msg.Kind.ERROR)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (b'{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"a":"xxxx', b'xxxx"}}'),
        (b'{"method":"tools/call","params":{"a":"xxxx', b'xx"},"jsonrpc":"2.0","id":8}'),
        (b'{"method":"tools/call","params":{"a":"xxxx', b'xx"},"id":8,"jsonrpc":"2.0"}'),
    ],
)
def test_a_line_over_the_limit_is_answered_under_its_id(head: bytes, tail: bytes) -> None:
    relay = a_relay()
    play(relay)._take(relay.oversize(Oversize(head, tail, 10**9))).answers((8, -31007))


@pytest.mark.parametrize("tail", [b'xx","id":8}}', b'\\"id\\":8}"}', b'"xid":8}', b'"a":{"id":8}}'])
def test_an_id_deeper_inside_is_not_taken_for_the_id_of_the_line(tail: bytes) -> None:
    relay = a_relay()
    play(relay)._take(relay.oversize(Oversize(b'{"method":"x","params":{"a":"xxxx', tail, 10**9))).answers(
        (None, -31007)
    )


def test_an_answer_over_the_limit_does_not_leave_the_server_waiting() -> None:
    script = greeted().server(call("q", "sampling/createMessage")).skip()
    line = Oversize(b'{"jsonrpc":"2.0","id":"q","result":{"text":"xxx', b'xxx"}}', 10**9)
    script._take(script.relay.oversize(line))
    (told,) = script.sent()
    assert (told.message.id, told.message.kind) == ("q", msg.Kind.ERROR)


# --- Batches ----------------------------------------------------------------------------------------------------


def batch(*docs: dict[str, Any] | int) -> Batch:
    parsed = parse(json.dumps(docs, separators=(",", ":")).encode())
    assert isinstance(parsed, Batch)
    return parsed


def speaking(revision: str) -> Any:
    script = play(a_relay()).client(call(0, "initialize", protocolVersion=revision)).up()
    return script.server(answer(0, {"protocolVersion": revision}), K0).over(K0).client(INITIALIZED).skip()


CALLS = ({"jsonrpc": "2.0", "id": 5, "method": "a"}, {"jsonrpc": "2.0", "id": 6, "method": "b"})


def test_a_batch_is_split_and_its_answers_come_back_as_one_array_in_2025_03_26() -> None:
    script = speaking("2025-03-26").client(batch(*CALLS, {"jsonrpc": "2.0", "method": "n"}))
    assert [command.message.method for command in script.sent()] == ["a", "b", "n"]
    script.server(answer(6), K6).nothing().server(answer(5), K5)
    script.expect(ToClient(b"[" + answer(6).raw + b"," + answer(5).raw + b"]"))


def test_in_other_revisions_each_answer_comes_alone() -> None:
    script = speaking("2025-06-18").client(batch(*CALLS)).skip().server(answer(6), K6).answers((6, "result"))
    script.over(K5, Interrupted("gone")).answers((5, -31003))


def test_what_is_no_message_in_a_batch_is_answered_in_its_array() -> None:
    script = speaking("2025-03-26").client(batch(1, *CALLS[:1])).skip().server(answer(5), K5)
    (array,) = script.pending
    assert isinstance(array, ToClient)
    assert [item.get("id") for item in json.loads(array.raw)] == [None, 5]


def test_a_batch_without_requests_is_not_answered() -> None:
    speaking("2025-03-26").client(batch({"jsonrpc": "2.0", "method": "n"})).expect(
        ToServer(m({"jsonrpc": "2.0", "method": "n"}))
    )


def test_initialize_in_a_batch_is_refused() -> None:
    speaking("2025-06-18").client(batch({"jsonrpc": "2.0", "id": 9, "method": "initialize"})).answers((9, -32600))


def test_a_cancelled_member_does_not_hold_the_array_back() -> None:
    script = speaking("2025-03-26").client(batch(*CALLS)).skip()
    script.server(answer(5), K5).nothing().client(note("notifications/cancelled", requestId=6))
    assert script.pending[0] == ToClient(b"[" + answer(5).raw + b"]")


def test_leaving_answers_a_batch_in_one_array() -> None:
    script = speaking("2025-03-26").client(batch(*CALLS)).skip().stops()
    (array,) = script.pending
    assert isinstance(array, ToClient)
    assert [item["error"]["code"] for item in json.loads(array.raw)] == [-31010, -31010]


# --- Leaving ----------------------------------------------------------------------------------------------------


def test_leaving_answers_what_is_held_and_what_is_open_and_says_what_may_have_run() -> None:
    script = play(a_relay()).client(INITIALIZE).client(call(5)).up().skip()
    assert not script.relay.is_quiet
    script.stops()
    data = [json.loads(command.raw)["error"]["data"] for command in script.pending if isinstance(command, ToClient)]
    assert [item["may_have_run"] for item in data] == [True, False]
    script.answers((0, -31010), (5, -31010)).stops().nothing()
    assert script.relay.is_quiet


def test_leaving_says_nothing_about_what_the_host_cancelled() -> None:
    greeted().client(call(5)).client(note("notifications/cancelled", requestId=5)).skip().stops().nothing()


def test_an_id_used_again_after_its_cancellation_is_a_new_request() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = greeted().client(call(5)).client(cancel).skip()
    script.client(call(5, "tools/list")).expect(
        Drop(K5), Disarm(Timer("linger", K5)), ToServer(call(5, "tools/list"), K5)
    )
    script.rings("linger", K5).nothing().server(answer(5), K5).answers((5, "result"))


def test_a_cancelled_probe_holds_nobody_back() -> None:
    script = play(a_relay("http-first")).client(call(5, "tools/list")).up().client(call(6)).skip()
    cancel = note("notifications/cancelled", requestId=5)
    script.client(cancel).expect(
        ToServer(cancel, urgent=True), Arm(Timer("linger", K5), LINGER_SECONDS), ToServer(call(6), K6)
    )


def test_cancelling_a_member_of_a_batch_twice_counts_once() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = speaking("2025-03-26").client(batch(*CALLS)).client(cancel).client(cancel).skip()
    script.server(answer(6), K6).expect(ToClient(b"[" + answer(6).raw + b"]"))


def test_a_late_word_about_the_old_session_does_not_end_the_new_one() -> None:
    script = greeted().client(call(5)).client(call(6)).skip().over(K5, SessionLost("404"))
    (again,) = script.sent()
    script.server(answer("private-1", {"protocolVersion": "2025-06-18"}), again.message.key).skip()
    script.over(K6, SessionLost("404")).expect(ToServer(call(6), K6))


# --- The promise, under any interleaving ------------------------------------------------------------------------

STRATEGIES = ("http-first", "sse-first", "http-only", "sse-only", "ws-only")
FAULTS: tuple[Fault | None, ...] = (
    None,
    Unreachable("a"),
    Refused("b", http_status=404),
    Refused("c", http_status=500),
    SessionLost("d"),
    SignInNeeded("e", http_status=401),
    PeerBroke("f"),
)
DEEDS: tuple[str, ...] = ("request", "initialize", "note", "cancel", "answer", "double", "over", "link", "time")
DEEDS += ("written", "heard", "progress", "question", "reply", "withdraw", "time")
STEP = st.tuples(st.sampled_from(DEEDS), st.integers(0, 5), st.sampled_from(FAULTS))


class World:
    """A host and a server that do anything in any order; counts what the host hears."""

    def __init__(self, strategy: str) -> None:
        patience = Patience(request=9.0, first_byte=3.0, idle=2.0, ping=1.0)
        self.relay = Relay(strategy, private_id="private", patience=patience, in_flight_limit=4)
        self.heard: Counter[str] = Counter()
        self.asked: list[str] = []
        self.cancelled: set[str] = set()
        self.at_server: list[tuple[Any, Any]] = []
        self.dialling: str | None = None
        self.traits = HTTP
        self.timers: dict[Timer, float] = {}

    def perform(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, ToClient):
                for doc in json.loads(b"[" + command.raw + b"]"):
                    if "method" not in doc:
                        self.heard[doc["id"]] += 1
            elif isinstance(command, ToServer) and command.exchange is not None:
                self.at_server.append((command.message, command.exchange))
            elif isinstance(command, Arm):
                self.timers[command.name] = command.seconds
            elif isinstance(command, Disarm):
                self.timers.pop(command.name, None)
            elif isinstance(command, Dial):
                assert self.dialling is None, "one dial at a time"
                self.dialling, self.at_server = command.wire, []
            elif isinstance(command, Drop):
                self.at_server = [item for item in self.at_server if item[1] != command.exchange]

    def step(self, what: str, pick: int, fault: Fault | None) -> None:
        relay = self.relay
        if what in ("request", "initialize"):
            identifier = f"{what}-{len(self.asked)}"
            self.asked.append(identifier)
            method = "initialize" if what == "initialize" else "tools/call"
            self.perform(relay.from_client(call(identifier, method, _meta={"progressToken": f"of {identifier}"})))
        elif what == "note":
            self.perform(relay.from_client(INITIALIZED))
        elif what == "cancel" and self.asked:
            identifier = self.asked[pick % len(self.asked)]
            self.cancelled.add(identifier)
            self.perform(relay.from_client(note("notifications/cancelled", requestId=identifier)))
        elif what == "time" and self.timers:
            name = sorted(self.timers)[pick % len(self.timers)]
            if fault is None:
                del self.timers[name]  # else it rings although nobody thinks so, and must do no harm
            self.perform(relay.timer(name))
        elif what == "reply":
            self.perform(relay.from_client(answer(f"question-{pick % 2}")))
        elif what == "link":
            self.link(fault)
        elif self.at_server and self.dialling is None:
            self.serve(what, pick, fault)

    def link(self, fault: Fault | None) -> None:
        if self.dialling is not None:
            wire, self.dialling = self.dialling, None
            if fault is None:
                self.traits = HTTP if wire == "http" else PIPE
                self.perform(self.relay.link_up(self.traits))
            else:
                self.perform(self.relay.link_failed(fault))
        elif self.traits is PIPE and self.relay.snapshot().way == "up":
            self.at_server = []
            self.perform(self.relay.link_down(fault or Interrupted("gone")))

    def serve(self, what: str, pick: int, fault: Fault | None) -> None:
        message, exchange = self.at_server[pick % len(self.at_server)]
        reply = answer(message.id, {"protocolVersion": "2025-06-18"})
        stream = exchange if self.traits is HTTP else None
        if what in ("written", "heard"):
            self.perform(getattr(self.relay, what)(exchange))
        elif what == "progress":
            token = message.params.get("_meta", {}).get("progressToken", "nobody's")
            self.perform(self.relay.from_server(note("notifications/progress", progressToken=token), stream))
        elif what == "question":
            self.perform(self.relay.from_server(call(f"question-{pick % 2}", "elicitation/create"), stream))
        elif what == "withdraw":
            cancel = note("notifications/cancelled", requestId=f"question-{pick % 2}")
            self.perform(self.relay.from_server(cancel, stream))
        elif what in ("answer", "double"):
            for _ in range(2 if what == "double" else 1):
                self.perform(self.relay.from_server(reply, stream))
        elif what == "over" and (fault is not None or self.traits is HTTP):
            self.at_server.remove((message, exchange))
            self.perform(self.relay.exchange_over(exchange, fault))


@given(st.sampled_from(STRATEGIES), st.lists(STEP, max_size=40))
@settings(max_examples=examples(400), deadline=None)
def test_every_request_ends_in_exactly_one_answer_whatever_happens(
    strategy: str, steps: list[tuple[str, int, Fault | None]]
) -> None:
    world = World(strategy)
    for what, pick, fault in steps:
        world.step(what, pick, fault)
        assert all(count == 1 for count in world.heard.values()), world.heard
    world.perform(world.relay.stop("end"))
    for identifier in world.asked:
        expected = (0, 1) if identifier in world.cancelled else (1,)
        assert world.heard[identifier] in expected, identifier
    assert set(world.heard) <= set(world.asked), "no private id reaches the host"


@given(st.sampled_from(STRATEGIES), st.lists(STEP, max_size=40))
@settings(max_examples=examples(200), deadline=None)
def test_whatever_happened_a_working_server_is_reached_again(
    strategy: str, steps: list[tuple[str, int, Fault | None]]
) -> None:
    world = World(strategy)
    for what, pick, fault in steps:
        world.step(what, pick, fault)
    world.step("request", 0, None)
    last = world.asked[-1]
    for _ in range(60):  # a server that answers everything: nobody may be left waiting
        if world.dialling is not None:
            world.link(None)
        for message, exchange in list(world.at_server):
            stream = exchange if world.traits is HTTP else None
            world.perform(world.relay.from_server(answer(message.id, {"protocolVersion": "2025-06-18"}), stream))
            if (message, exchange) in world.at_server:
                world.at_server.remove((message, exchange))
                if world.traits is HTTP:
                    world.perform(world.relay.exchange_over(exchange, None))
    assert world.heard[last] == 1
    assert world.relay.is_quiet
    assert {name.purpose for name in world.timers} <= {"linger", "ping"}, "nobody waits, so nothing ticks"
