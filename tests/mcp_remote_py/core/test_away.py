"""The relay and a server that is away, busy or forgetful: what is held, what is sent again, what the host hears."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core import greeting
from mcp_remote_py.core.commands import Arm, Command, Dial, Disarm, Drop, Listen, Timer, ToClient, ToServer
from mcp_remote_py.core.errors import (
    Fault,
    Interrupted,
    PeerBroke,
    Refused,
    SessionLost,
    SignInNeeded,
    TimedOut,
    TlsRefused,
    Unreachable,
)
from mcp_remote_py.core.message import Key, Message, key_of
from mcp_remote_py.core.relay import Relay
from mcp_remote_py.core.retries import Policy
from tests.support.examples import examples
from tests.support.playbook import (
    HTTP,
    INITIALIZE,
    INITIALIZED,
    PIPE,
    Play,
    a_relay,
    answer,
    call,
    m,
    note,
    play,
)

POLICY = Policy(hold=20.0, greet_after=20.0)
RETURN = Timer("return", key_of(""))
K0, K5, K6 = INITIALIZE.key, call(5).key, call(6).key
P1 = key_of("private-1")
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
TOOLS = {
    "tools": [
        {"name": "look", "annotations": {"readOnlyHint": True}},
        {"name": "set", "annotations": {"idempotentHint": True, "destructiveHint": True}},
        {"name": "pay"},
        {"name": "lie", "annotations": {"readOnlyHint": "yes"}},
    ]
}


def welcome(identifier: object = 0, version: str = "2025-06-18", **capabilities: Any) -> Message:
    offered = capabilities or CAPABILITIES
    return answer(
        identifier, {"protocolVersion": version, "capabilities": offered, "serverInfo": {"name": "s", "version": "1"}}
    )


def beginning(strategy: str = "http-only", policy: Policy = POLICY) -> Play:
    return play(a_relay(strategy, policy=policy)).client(INITIALIZE)


def in_session(policy: Policy = POLICY) -> Play:
    """After the handshake and the first tools/list, over HTTP."""
    script = beginning(policy=policy).up().server(welcome(), K0).over(K0).client(INITIALIZED)
    listing = call(1, "tools/list")
    return script.client(listing).server(answer(1, TOOLS), listing.key).over(listing.key).skip()


def said(script: Play) -> list[dict[str, Any]]:
    """Take what went to the host since the last look."""
    taken, script.pending = script.pending, []
    return [json.loads(command.raw) for command in taken if isinstance(command, ToClient)]


def error(identifier: object) -> Message:
    return m({"jsonrpc": "2.0", "id": identifier, "error": {"code": -32602, "message": "no"}})


def again(fault: Fault, seconds: float) -> Fault:
    fault.retry_after = seconds
    return fault


# --- Which calls are sent again ----------------------------------------------------------------------------------

HARMLESS = [
    call(5, "tools/list"),
    call(5, "prompts/list"),
    call(5, "resources/templates/list"),
    call(5, "prompts/get", name="p"),
    call(5, "resources/read", uri="x:y"),
    call(5, "ping"),
    call(5, "completion/complete"),
    call(5, "tools/call", name="look"),
    call(5, "tools/call", name="set"),
]
HARMFUL = [
    call(5, "tools/call", name="pay"),
    call(5, "tools/call", name="lie"),
    call(5, "tools/call", name="never heard of"),
    call(5, "tools/call"),
    call(5, "resources/subscribe", uri="x:y"),
    call(5, "x/do"),
]


@pytest.mark.parametrize(
    "fault",
    [Interrupted("reset"), Refused("502", http_status=502, mends=True, may_have_run=True)],
    ids=["reset", "502"],
)
@pytest.mark.parametrize("request_", HARMLESS, ids=lambda one: f"{one.method} {one.params.get('name', '')}")
def test_what_does_no_harm_is_sent_again_after_a_pause(request_: Message, fault: Fault) -> None:
    script = in_session().client(request_).skip().over(K5, fault)
    script.expect(Arm(Timer("again", K5), 0.25)).rings("again", K5).expect(ToServer(request_, K5))
    script.over(K5, fault).expect(Arm(Timer("again", K5), 0.5)).rings("again", K5).skip()
    assert said(script.server(answer(5), K5)) == [json.loads(answer(5).raw)]


@pytest.mark.parametrize("request_", HARMFUL, ids=lambda one: f"{one.method} {one.params.get('name', '')}")
def test_what_may_do_harm_is_answered_and_never_sent_again(request_: Message) -> None:
    script = in_session().client(request_).skip().over(K5, Interrupted("reset"))
    (failed,) = said(script)
    assert failed["error"]["data"]["may_have_run"] is True


def test_a_later_list_decides_which_tools_are_harmless() -> None:
    listing = call(2, "tools/list")
    script = (
        in_session().client(listing).server(answer(2, {"tools": [{"name": "look"}]}), listing.key).over(listing.key)
    )
    script.skip().client(call(5, name="look")).skip().over(K5, Interrupted("reset")).answers((5, -31003))


@pytest.mark.parametrize(
    "fault",
    [Unreachable("refused"), TimedOut("slow to connect", may_have_run=False)],
    ids=lambda fault: fault.name,
)
def test_a_call_that_could_not_be_sent_is_held_and_sent_again_whatever_it_does(fault: Fault) -> None:
    pay = call(5, name="pay")
    script = in_session().client(pay).skip().over(K5, fault)
    script.expect(Arm(Timer("hold", K5), 20.0), Arm(RETURN, 0.25))
    script.rings("return", key_of("")).expect(ToServer(pay, K5)).written(K5).nothing()
    script.server(answer(5), K5).expect(Disarm(Timer("hold", K5)), ToClient(answer(5).raw))


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(status: int) -> None:
    fault = again(Refused("busy", http_status=status, mends=True, may_have_run=False), 3.0)
    pay = call(5, name="pay")
    script = in_session().client(pay).skip().over(K5, fault)
    (arm,) = script.pending
    assert isinstance(arm, Arm)
    assert arm.name == Timer("again", K5)
    assert 3.0 <= arm.seconds <= 4.0
    script.skip().rings("again", K5).expect(ToServer(pay, K5))


def test_a_wait_that_does_not_fit_is_an_error_at_once() -> None:
    fault = again(Refused("busy", http_status=429, mends=True), 21.0)
    (failed,) = said(in_session().client(call(5, name="look")).skip().over(K5, fault))
    assert failed["error"]["data"]["retry_after"] == 21.0
    assert "(tried once)" in failed["error"]["message"]


def test_pauses_together_fit_into_the_hold_and_the_error_says_how_often_it_was_tried() -> None:
    fault = again(Refused("busy", http_status=429, mends=True), 9.0)
    script = in_session().client(call(5, name="pay")).skip().over(K5, fault).rings("again", K5).over(K5, fault)
    script.rings("again", K5).skip().over(K5, fault)
    (failed,) = said(script)
    assert "(tried 3 times)" in failed["error"]["message"]
    assert failed["error"]["data"]["attempts"] == 3
    assert failed["error"]["data"]["may_have_run"] is False


@pytest.mark.parametrize(
    "fault",
    [
        Refused("busy", http_status=503, mends=True, may_have_run=True),
        Refused("gateway", http_status=504, mends=True, may_have_run=True),
        Refused("forbidden", http_status=403),
        PeerBroke("html"),
        TlsRefused("certificate"),
        SignInNeeded("401"),
        TimedOut("--timeout"),
    ],
    ids=str,
)
def test_all_else_is_answered_at_once(fault: Fault) -> None:
    in_session().client(call(5, name="pay")).skip().over(K5, fault).answers((5, fault.code))


def test_an_error_after_an_attempt_that_may_have_run_says_so() -> None:
    script = in_session().client(call(5, name="look")).skip().over(K5, Interrupted("reset")).skip()
    script.rings("again", K5).skip().over(K5, Refused("no", http_status=403))
    (failed,) = said(script)
    assert failed["error"]["data"]["may_have_run"] is True


def test_a_server_that_only_fails_uses_up_the_budget() -> None:
    script = in_session()
    tries = 0
    for number in range(100, 160):
        look = call(number, name="look")
        script.client(look).skip().over(look.key, Interrupted("reset"))
        tries += any(isinstance(command, Arm) for command in script.pending)
    assert tries == 50


def test_a_call_that_waits_to_be_sent_again_can_be_cancelled() -> None:
    cancel = note("notifications/cancelled", requestId=5)
    script = in_session().client(call(5, name="look")).skip().over(K5, Interrupted("reset")).skip()
    script.client(cancel).expect(Disarm(Timer("again", K5))).rings("again", K5).nothing()


# --- A server that went away ----------------------------------------------------------------------------------------


def test_one_call_tries_first_and_the_others_follow_when_it_went_out() -> None:
    script = in_session()
    for number in (5, 6, 7):
        script.client(call(number, name="pay"))
    script.skip()
    for number in (5, 6, 7):
        script.over(call(number).key, Unreachable("refused"))
    assert sum(command == Arm(RETURN, 0.25) for command in script.pending) == 1, "one pause for all"
    script.skip().rings("return", key_of(""))
    assert [command.exchange for command in script.sent()] == [K5]
    script.written(K5)
    assert [command.message.id for command in script.sent()] == [6, 7]


def test_attempts_become_rare_and_a_new_call_tries_at_once() -> None:
    script = in_session().client(call(5, name="pay")).skip().over(K5, Unreachable("refused"))
    pauses = []
    for _ in range(12):
        pauses += [command.seconds for command in script.pending if isinstance(command, Arm) and command.name == RETURN]
        script.skip().rings("return", key_of("")).skip().over(K5, Unreachable("refused"))
    assert pauses == sorted(pauses)
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses[-1] == 60.0
    script.skip().client(call(6, name="pay"))
    assert Disarm(RETURN) in script.pending
    assert [command.exchange for command in script.sent()] == [K5]


def test_a_call_is_held_for_so_long_and_its_error_names_the_cause() -> None:
    script = in_session().client(call(5, name="pay")).skip().over(K5, Unreachable("refused by host x")).skip()
    script.rings("hold", K5)
    (failed,) = said(script)
    assert failed["error"]["code"] == -31001
    assert "refused by host x" in failed["error"]["message"]
    assert "--hold" in failed["error"]["message"]
    assert failed["error"]["data"]["may_have_run"] is False
    script.rings("return", key_of("")).nothing()


def test_a_known_list_is_answered_from_memory_while_the_server_is_away() -> None:
    listing = call(6, "tools/list")
    script = in_session().client(call(5, name="pay")).skip().over(K5, Unreachable("refused")).skip()
    script.client(listing).expect(ToClient(answer(6, TOOLS).raw))


def test_without_a_cache_nothing_is_answered_from_memory() -> None:
    script = (
        in_session(POLICY._replace(cache=False)).client(call(5, name="pay")).skip().over(K5, Unreachable("refused"))
    )
    script.skip().client(call(6, "tools/list")).expect(Arm(Timer("hold", K6), 20.0))


def test_a_pipe_that_broke_is_dialled_again_without_being_asked() -> None:
    script = beginning("ws-only").up(PIPE).server(welcome()).client(INITIALIZED).client(call(5, name="pay"))
    script.client(call(6, "ping")).written(K5).written(K6).skip().down(Interrupted("gone"))
    assert [doc["id"] for doc in said(script)] == [5], "the ping does no harm, and is held"
    script.rings("return", key_of("")).expect(Dial("ws")).up(PIPE)
    (reopening,) = script.sent()
    script.server(welcome(reopening.message.id))
    assert [command.message.method for command in script.sent()] == ["notifications/initialized", "ping"]


def test_on_a_pipe_any_word_of_the_server_is_a_sign_that_it_is_there() -> None:
    script = beginning("sse-only").up(PIPE).server(welcome()).client(INITIALIZED).client(call(5)).client(call(6)).skip()
    script.over(K5, Unreachable("refused")).over(K6, Unreachable("refused")).rings("return", key_of("")).skip()
    script.server(note("notifications/progress", progressToken=1))
    assert [command.message.id for command in script.sent()] == [6]


# --- Greeting in the server's place ---------------------------------------------------------------------------------

PASSING = [
    Unreachable("refused"),
    TimedOut("connect", may_have_run=False),
    Interrupted("reset"),
    *(Refused(str(status), http_status=status, mends=True) for status in (429, 502, 503, 504)),
]
LASTING = [
    TlsRefused("certificate"),
    Unreachable("407", mends=False),
    Refused("403", http_status=403),
    Refused("404", http_status=404),
    Refused("500", http_status=500),
    Refused("307", http_status=307),
    PeerBroke("a web page", http_status=200),
    SignInNeeded("401 with a token"),
]


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_trouble_that_passes_is_no_error_to_initialize(fault: Fault) -> None:
    script = beginning("http-first").up().skip().over(K0, fault)
    (greeted,) = said(script)
    result = greeted["result"]
    assert result["protocolVersion"] == "2025-06-18"
    changing = {"listChanged": True}
    assert result["capabilities"] == {"tools": changing, "prompts": changing, "resources": changing, "logging": {}}
    script.client(INITIALIZED)
    (line,) = said(script)
    assert line["method"] == "notifications/message"
    assert str(fault) in line["params"]["data"]


@pytest.mark.parametrize("fault", LASTING, ids=str)
def test_all_other_trouble_is_an_error_to_initialize_at_once(fault: Fault) -> None:
    script = beginning().up().skip().over(K0, fault)
    assert [doc["error"]["code"] for doc in said(script)] == [fault.code]


@pytest.mark.parametrize("wire", ["sse-only", "ws-only"])
def test_a_pipe_that_cannot_be_opened_is_the_same(wire: str) -> None:
    script = beginning(wire).skip().failed(Unreachable("refused"))
    assert "result" in said(script)[0]
    script.rings("return", key_of("")).expect(Dial(wire.removesuffix("-only")))
    script.failed(Unreachable("refused")).skip().rings("return", key_of("")).skip().up(PIPE)
    (reopening,) = script.sent()
    assert (reopening.message.method, reopening.exchange) == ("initialize", P1)


def test_switched_off_every_trouble_is_an_error_at_once() -> None:
    policy = Policy(hold=20.0, greet_after=None)
    script = beginning(policy=policy).up().skip().over(K0, Unreachable("refused")).answers((0, -31001))
    script.client(INITIALIZE).expect(ToServer(INITIALIZE, K0))


def test_when_the_server_has_come_it_is_greeted_and_the_host_asks_again_for_everything() -> None:
    script = beginning("http-first").up().over(K0, Unreachable("refused")).client(INITIALIZED).skip()
    pay = call(5, name="pay")
    script.client(pay).expect(Arm(Timer("hold", K5), 20.0)).rings("return", key_of(""))
    (reopening,) = script.sent()
    assert reopening.message.params == INITIALIZE.params
    assert reopening.exchange == P1
    script.server(welcome("private-1"), P1)
    heard = [json.loads(command.raw)["method"] for command in script.pending if isinstance(command, ToClient)]
    assert heard == ["notifications/message", *(f"notifications/{kind}/list_changed" for kind in greeting.KINDS)]
    assert Listen() in script.pending
    assert [command.message for command in script.sent()] == [INITIALIZED, pay]
    assert script.relay.settled


def test_the_wire_is_still_found_out_after_such_a_greeting() -> None:
    script = beginning("http-first").up().over(K0, Unreachable("refused")).client(INITIALIZED).skip()
    script.rings("return", key_of("")).skip().over(P1, Refused("404", http_status=404))
    script.expect(Disarm(Timer("silent", P1)), Dial("sse")).up(PIPE)
    (reopening,) = script.sent()
    script.server(welcome(reopening.message.id))
    assert [command.message for command in script.sent()] == [INITIALIZED]


def test_nothing_is_told_before_the_host_says_that_it_is_initialized() -> None:
    script = beginning().up().over(K0, Unreachable("refused")).skip().rings("return", key_of("")).skip()
    script.server(welcome("private-1"), P1)
    assert said(script) == []
    script.client(INITIALIZED)
    assert [doc["method"].rpartition("/")[2] for doc in said(script)] == ["message", "message", *["list_changed"] * 3]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-11-25"])
def test_after_such_a_greeting_any_known_version_will_do(version: str) -> None:
    script = beginning().up().over(K0, Unreachable("refused")).client(INITIALIZED).rings("return", key_of("")).skip()
    script.server(welcome("private-1", version), P1).skip().client(call(5)).expect(ToServer(call(5), K5))


def test_an_unknown_version_is_an_error() -> None:
    script = (
        beginning()
        .up()
        .over(K0, Unreachable("refused"))
        .client(INITIALIZED)
        .client(call(5))
        .rings("return", key_of(""))
    )
    script.skip().server(welcome("private-1", "2031-01-01"), P1)
    line, failed = said(script)
    assert "2031-01-01" in line["params"]["data"]
    assert "2031-01-01" in failed["error"]["message"]


def test_trouble_that_lasts_ends_the_waiting() -> None:
    script = beginning().up().over(K0, Unreachable("refused")).client(INITIALIZED).client(call(5)).skip()
    script.rings("return", key_of("")).skip().over(P1, Refused("forbidden", http_status=403))
    line, failed = said(script)
    assert "forbidden" in line["params"]["data"]
    assert failed["error"]["code"] == Refused.code
    (retry,) = script.client(call(6)).sent()
    assert retry.message.method == "initialize", "the next call tries anew"
    assert said(script.over(retry.message.key, Refused("forbidden", http_status=403)))[-1]["id"] == 6


def test_a_list_that_nobody_knows_is_held_and_then_empty_and_a_call_is_an_error() -> None:
    script = beginning().up().over(K0, Unreachable("refused")).client(INITIALIZED).skip()
    listing = call(6, "resources/templates/list")
    script.client(call(5)).client(listing).skip().rings("hold", K6).rings("hold", K5)
    assert [doc.get("result") for doc in said(script)] == [{"resourceTemplates": []}, None]


def test_what_the_server_said_last_time_is_the_greeting_next_time() -> None:
    before = in_session().relay.to_keep
    assert before is not None
    relay = a_relay(policy=POLICY)
    relay.recall(json.loads(json.dumps(before)))
    script = play(relay).client(INITIALIZE).up().skip().over(K0, Unreachable("refused"))
    assert said(script)[0] == json.loads(welcome().raw)
    script.client(call(5, "tools/list")).expect(ToClient(answer(5, TOOLS).raw))


def test_a_host_of_another_version_gets_its_own() -> None:
    relay = a_relay(policy=POLICY)
    relay.recall(in_session().relay.to_keep or {})
    hello = call(0, "initialize", protocolVersion="2025-11-25")
    script = play(relay).client(hello).up().skip().over(K0, Unreachable("refused"))
    assert said(script)[0]["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(
    "document",
    [{}, {"format": 0}, {"format": 1, "lists": []}, {"format": 1, "lists": {}, "greeting": "{}"}, {"format": 1}],
)
def test_a_memory_of_another_shape_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        a_relay(policy=POLICY).recall(document)


def test_a_silent_server_is_stood_in_for_and_its_late_answer_opens_the_session() -> None:
    script = beginning().expect(Arm(Timer("greet", K0), 20.0), Dial("http")).up().expect(ToServer(INITIALIZE, K0))
    script.rings("greet", K0)
    assert "result" in said(script)[0]
    script.client(INITIALIZED).client(call(5)).skip().server(welcome(), K0)
    assert [command.message for command in script.sent()] == [INITIALIZED, call(5)]


def test_a_greeting_that_is_never_answered_is_made_anew_later_and_later() -> None:
    script = beginning().up().rings("greet", K0).client(INITIALIZED).client(call(5, "tools/call"))
    assert Arm(Timer("silent", K0), 60.0) in script.pending
    script.skip().rings("silent", K0)
    assert Drop(K0) in script.pending
    script.skip().rings("return", key_of(""))
    assert Arm(Timer("silent", P1), 120.0) in script.pending
    assert [command.message.method for command in script.sent()] == ["initialize"]
    script.server(welcome("private-1"), P1)
    assert Disarm(Timer("silent", P1)) in script.pending
    assert [command.message for command in script.sent()] == [INITIALIZED, call(5, "tools/call")]


def test_on_a_pipe_a_greeting_that_is_never_answered_is_made_anew_on_another_one() -> None:
    script = beginning("ws-only").up(PIPE).rings("greet", K0).client(INITIALIZED).skip()
    script.rings("silent", K0).skip().rings("return", key_of("")).expect(Dial("ws"))


def test_a_pipe_that_breaks_under_the_trial_holds_nobody_back() -> None:
    script = beginning("sse-only").up(PIPE).server(welcome()).client(INITIALIZED)
    script.client(call(1, "tools/list")).server(answer(1, TOOLS)).client(call(5, name="look"))
    script.over(K5, Unreachable("the POST was refused")).rings("return", key_of("")).skip().down(Interrupted("gone"))
    script.skip().rings("return", key_of("")).expect(Dial("sse")).up(PIPE)
    (reopening,) = script.sent()
    script.server(welcome(reopening.message.id))
    assert call(5, name="look") in [command.message for command in script.sent()]


def test_a_session_that_is_not_opened_again_is_asked_for_anew() -> None:
    script = in_session().client(call(5, name="pay")).skip().over(K5, SessionLost("404"))
    assert Arm(Timer("silent", P1), 60.0) in script.pending
    script.skip().rings("silent", P1).skip().rings("return", key_of(""))
    (reopening,) = script.sent()
    script.server(welcome("private-2"), reopening.message.key)
    assert call(5, name="pay") in [command.message for command in script.sent()]


def test_the_id_of_a_greeting_that_goes_on_may_be_used_again() -> None:
    script = beginning().up().rings("greet", K0).client(INITIALIZED).skip().client(call(0, "tools/call"))
    assert Drop(K0) in script.pending
    (reopening,) = script.sent()
    assert reopening.message.method == "initialize"
    script.server(welcome("private-1"), P1).skip()
    assert said(script.server(answer(0), K0)) == [json.loads(answer(0).raw)]


def test_what_we_announced_and_the_server_lacks_has_nothing_in_it() -> None:
    script = beginning().up().over(K0, Unreachable("refused")).client(INITIALIZED).rings("return", key_of("")).skip()
    script.server(welcome("private-1", tools={}), P1).skip()
    script.client(call(5, "prompts/list")).expect(ToClient(answer(5, {"prompts": []}).raw))
    script.client(call(6, "logging/setLevel", level="info")).expect(ToClient(answer(6, {}).raw))


def test_leaving_while_the_server_is_away_says_why() -> None:
    script = beginning().up().over(K0, Unreachable("refused by x")).client(INITIALIZED).client(call(5)).skip().stops()
    (failed,) = said(script)
    assert "refused by x" in failed["error"]["message"]
    assert failed["error"]["data"]["may_have_run"] is False


# --- A session that was lost ------------------------------------------------------------------------------------------


def reopened(script: Play, **capabilities: Any) -> list[Message]:
    """Lose the session with one call, give another one. Returns what went to the server then."""
    script.client(call(5, name="pay")).skip().over(K5, SessionLost("404"))
    (reopening,) = script.sent()
    key = reopening.message.key
    return [command.message for command in script.server(welcome(key.value, **capabilities), key).sent()]


def test_log_level_and_subscriptions_are_given_to_the_new_session() -> None:
    script = in_session()
    asked = [
        call(10, "logging/setLevel", level="debug"),
        call(11, "resources/subscribe", uri="a:1"),
        call(12, "resources/subscribe", uri="a:2"),
        call(13, "resources/unsubscribe", uri="a:1"),
    ]
    for one in asked:
        script.client(one).server(answer(one.id), one.key).over(one.key)
    refused = call(14, "resources/subscribe", uri="a:3")
    script.client(refused).server(error(14), refused.key).over(refused.key).skip()
    sent = reopened(script)
    assert [(one.method, one.params) for one in sent] == [
        ("notifications/initialized", {}),
        ("logging/setLevel", {"level": "debug"}),
        ("resources/subscribe", {"uri": "a:2"}),
        ("tools/call", {"name": "pay"}),
        ("tools/list", {}),
    ]
    for one in (sent[1], sent[2]):
        script.server(answer(one.id), one.key).nothing()


def test_a_standing_stream_that_lost_the_session_opens_another_one_once_for_each_word_of_the_host() -> None:
    script = in_session()
    script._take(script.relay.listen_over(SessionLost("404")))
    (reopening,) = script.sent()
    assert reopening.message.method == "initialize"
    script.server(welcome("private-1"), P1).skip()._take(script.relay.listen_over(SessionLost("404"))).nothing()
    script.client(call(6))
    (reopening,) = script.sent()
    assert reopening.message.method == "initialize", "the next call finds it out by itself"


def test_a_list_that_is_another_one_in_the_new_session_is_announced() -> None:
    script = in_session()
    listing = reopened(script)[-1]
    script.skip().server(answer(listing.id, {"tools": [{"name": "new"}]}), listing.key)
    assert [doc["method"] for doc in said(script)] == ["notifications/tools/list_changed"]


def test_a_list_that_is_the_same_is_not() -> None:
    script = in_session()
    listing = reopened(script)[-1]
    script.skip().server(answer(listing.id, TOOLS), listing.key).nothing().over(listing.key).nothing()


def test_other_capabilities_are_announced_and_the_same_are_not() -> None:
    script = in_session()
    script.client(call(5, name="pay")).skip().over(K5, SessionLost("404")).skip()
    script.server(welcome("private-1", tools={"listChanged": True}, prompts={}), P1)
    heard = [doc["method"] for doc in said(script)]
    assert heard == ["notifications/prompts/list_changed", "notifications/resources/list_changed"]


def test_a_server_that_does_not_answer_the_reopening_is_not_waited_for_for_ever() -> None:
    script = in_session().client(call(5, name="pay")).skip().over(K5, SessionLost("404"))
    assert Arm(Timer("hold", K5), 20.0) in script.pending
    script.skip().rings("hold", K5)
    assert said(script)[0]["error"]["data"]["may_have_run"] is False
    script.client(call(6, name="pay")).expect(Arm(Timer("hold", K6), 20.0))


def test_ten_calls_that_lose_the_session_together_open_one_new_one() -> None:
    calls = [call(number, name="pay") for number in range(20, 30)]
    script = in_session()
    for one in calls:
        script.client(one)
    script.skip()
    for one in calls:
        script.over(one.key, SessionLost("404"))
    (reopening,) = script.sent()
    sent = script.server(welcome(reopening.message.id), reopening.exchange).sent()
    assert [command.message for command in sent[1:11]] == calls


def test_a_new_session_in_another_version_is_an_error_for_all_and_nothing_is_sent_in_it() -> None:
    calls = [call(number, name="pay") for number in range(20, 30)]
    script = in_session()
    for one in (call(10, "logging/setLevel", level="debug"), call(11, "resources/subscribe", uri="a:1")):
        script.client(one).server(answer(one.id), one.key).over(one.key)
    for one in calls:
        script.client(one)
    script.skip()
    for one in calls:
        script.over(one.key, SessionLost("404"))
    (reopening,) = script.sent()
    script.server(welcome(reopening.message.id, version="2025-03-26"), reopening.exchange)
    assert not [command for command in script.pending if isinstance(command, ToServer)]
    failed = said(script)
    assert [doc["id"] for doc in failed] == list(range(20, 30))
    assert all("another protocol version" in doc["error"]["message"] for doc in failed)
    assert not any(doc["error"]["data"]["may_have_run"] for doc in failed)


def test_a_late_failure_of_an_attempt_that_was_taken_back_sends_nothing_twice() -> None:
    look = call(5, name="look")
    script = beginning("sse-only").up(PIPE).server(welcome()).client(INITIALIZED)
    listing = call(1, "tools/list")
    script.client(listing).server(answer(1, TOOLS)).client(look).skip().down(Interrupted("gone")).skip()
    script.over(K5, Interrupted("the POST broke, too")).nothing()
    script.rings("return", key_of("")).skip().up(PIPE)
    (reopening,) = script.sent()
    sent = script.server(welcome(reopening.message.id)).sent()
    assert [command.message for command in sent].count(look) == 1
    assert [doc["id"] for doc in said(script.server(answer(5)))] == [5]


# --- A pause that the server asked for ------------------------------------------------------------------------------


def asked_to_wait(seconds: float) -> Play:
    busy = again(Refused("the server is busy (503)", http_status=503, mends=True, may_have_run=False), seconds)
    return beginning().up().over(K0, busy).client(INITIALIZED).skip()


def test_a_call_in_a_pause_longer_than_it_may_be_held_is_an_error_at_once_that_says_when_to_try_again() -> None:
    (failed,) = said(asked_to_wait(300.0).client(call(5, name="pay")))
    assert failed["error"]["data"]["retry_after"] == 300.0
    assert failed["error"]["data"]["may_have_run"] is False
    assert "--hold" in failed["error"]["message"]


def test_a_list_in_such_a_pause_is_empty_at_once() -> None:
    (listed,) = said(asked_to_wait(300.0).client(call(5, "tools/list")))
    assert listed["result"] == {"tools": []}


def test_when_the_end_of_the_pause_is_near_a_call_is_held_again() -> None:
    script = asked_to_wait(300.0).rings("near", key_of("")).client(call(5, name="pay"))
    script.expect(Arm(Timer("hold", K5), 20.0))


def test_a_pause_that_fits_is_waited_for() -> None:
    script = asked_to_wait(10.0).client(call(5, name="pay")).expect(Arm(Timer("hold", K5), 20.0))
    (reopening,) = script.rings("return", key_of("")).sent()
    assert reopening.message.method == "initialize"


def test_what_is_held_when_such_a_pause_begins_is_not_held_any_longer() -> None:
    script = in_session().client(call(5, name="pay")).skip().over(K5, SessionLost("404"))
    (reopening,) = script.sent()
    busy = again(Refused("busy", http_status=503, mends=True, may_have_run=False), 300.0)
    script.over(reopening.message.key, busy)
    (failed,) = said(script)
    assert failed["error"]["data"]["retry_after"] == 300.0
    script.client(call(6, name="pay"))
    assert [doc["id"] for doc in said(script)] == [6]


# --- The promise, under any interleaving --------------------------------------------------------------------------

FAULTS: tuple[Fault | None, ...] = (
    None,
    Unreachable("refused"),
    TimedOut("connect", may_have_run=False),
    Interrupted("reset"),
    Interrupted("not open", may_have_run=False),
    again(Refused("429", http_status=429, mends=True), 2.0),
    Refused("503", http_status=503, mends=True, may_have_run=True),
    Refused("404", http_status=404),
    Refused("403", http_status=403),
    SessionLost("404"),
    TlsRefused("certificate"),
    PeerBroke("html"),
)
DEEDS: tuple[str, ...] = ("pay", "pay", "look", "list", "initialize", "ready", "cancel", "answer", "over", "over")
DEEDS += ("over", "link", "time", "time", "time", "written", "lost", "refuse")
STEP = st.tuples(st.sampled_from(DEEDS), st.integers(0, 5), st.sampled_from(FAULTS))
STRATEGIES = ("http-first", "http-only", "sse-only", "ws-only")


class World:
    """A host and a server. A call that may do harm *ran* as soon as it reached the server, unless the fault that
    ended it proves that it did not."""

    def __init__(self, strategy: str) -> None:
        self.relay = Relay(strategy, private_id="private", policy=POLICY, in_flight_limit=50)
        self.heard: Counter[str] = Counter()
        self.asked: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.ran: Counter[str] = Counter()
        self.at_server: list[tuple[Message, Key]] = []
        self.timers: dict[Timer, float] = {}
        self.dialling: str | None = None
        self.traits = HTTP
        self.claims: list[str] = []
        self.handled = False
        self.written: set[Key] = set()

    def begin(self, *, warm: bool) -> None:
        """Say hello; `warm`: and let the server answer that, and a tools/list."""
        self.step("initialize", 0, None)
        if not warm:
            return
        self.link(None)
        self.reply(*self.at_server[0])
        self.step("ready", 0, None)
        self.step("list", 0, None)
        self.reply(*self.at_server[0])

    def perform(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, ToClient):
                self._hear(json.loads(command.raw))
            elif isinstance(command, ToServer) and command.exchange is not None:
                assert self.dialling is None, "nothing is sent while there is no way"
                self.at_server.append((command.message, command.exchange))
                self.written.discard(command.exchange)
                self.ran[str(command.message.id)] += 1
            elif isinstance(command, Arm):
                assert command.seconds >= 0
                self.timers[command.name] = command.seconds
            elif isinstance(command, Disarm):
                self.timers.pop(command.name, None)
            elif isinstance(command, Dial):
                assert self.dialling is None, "one dial at a time"
                self.dialling, self.at_server = command.wire, []
            elif isinstance(command, Drop):
                dropped = [item for item in self.at_server if item[1] == command.exchange]
                self.at_server = [item for item in self.at_server if item[1] != command.exchange]
                if self.relay.wire != "ws" or self.relay.snapshot().way != "up":
                    self.lose_unwritten(dropped)

    def lose_unwritten(self, items: list[tuple[Message, Key]]) -> None:
        """Half a message is none."""
        for message, exchange in items:
            if exchange not in self.written:
                self.ran[str(message.id)] -= 1

    def _hear(self, doc: dict[str, Any]) -> None:
        if "method" in doc:
            return
        self.heard[doc["id"]] += 1
        if "error" in doc and not doc["error"].get("data", {"may_have_run": True})["may_have_run"]:
            self.claims.append(doc["id"])

    def step(self, what: str, pick: int, fault: Fault | None) -> None:
        if what in ("pay", "look", "list", "initialize"):
            self.ask(what)
        elif what == "ready":
            self.perform(self.relay.from_client(INITIALIZED))
        elif what == "cancel" and self.asked:
            identifier = list(self.asked)[pick % len(self.asked)]
            self.cancelled.add(identifier)
            self.perform(self.relay.from_client(note("notifications/cancelled", requestId=identifier)))
        elif what == "time" and self.timers:
            name = sorted(self.timers)[pick % len(self.timers)]
            del self.timers[name]
            self.perform(self.relay.timer(name))
        elif what == "link":
            self.link(fault)
        elif self.at_server and self.dialling is None:
            self.serve(what, pick, fault)

    def ask(self, what: str) -> None:
        identifier = f"{what}-{len(self.asked)}"
        self.asked[identifier] = what
        if what == "initialize":
            message = call(identifier, "initialize", protocolVersion="2025-06-18")
        elif what == "list":
            message = call(identifier, "tools/list")
        else:
            message = call(identifier, "tools/call", name=what)
        self.perform(self.relay.from_client(message))

    def link(self, fault: Fault | None) -> None:
        if self.dialling is not None:
            wire, self.dialling = self.dialling, None
            if fault is None:
                self.traits = HTTP if wire == "http" else PIPE
                self.perform(self.relay.link_up(self.traits))
            else:
                self.perform(self.relay.link_failed(fault))
        elif self.traits is PIPE and self.relay.snapshot().way == "up":
            self.lose_unwritten(self.at_server)
            self.at_server = []
            self.perform(self.relay.link_down(Interrupted("gone")))

    def serve(self, what: str, pick: int, fault: Fault | None) -> None:
        message, exchange = self.at_server[pick % len(self.at_server)]
        stream = exchange if self.traits is HTTP else None
        if what == "written":
            self.written.add(exchange)
            self.perform(self.relay.written(exchange))
        elif what == "refuse":
            self.at_server.remove((message, exchange))
            self.perform(self.relay.from_server(error(message.id), stream))
        elif what == "answer":
            self.reply(message, exchange)
        elif what == "over" and (fault is not None or self.traits is HTTP):
            self.end(message, exchange, fault)
        elif what == "lost":
            self.end(message, exchange, SessionLost("404"))

    def reply(self, message: Message, exchange: Key) -> None:
        self.at_server.remove((message, exchange))
        result = TOOLS if message.method == "tools/list" else json.loads(welcome().raw)["result"]
        stream = exchange if self.traits is HTTP else None
        self.perform(self.relay.from_server(answer(message.id, result), stream))
        if self.traits is HTTP:
            self.perform(self.relay.exchange_over(exchange, None))

    def end(self, message: Message, exchange: Key, fault: Fault | None) -> None:
        self.at_server.remove((message, exchange))
        if fault is not None and not fault.may_have_run:
            self.ran[str(message.id)] -= 1  # this attempt provably did not
        self.perform(self.relay.exchange_over(exchange, None if fault is None else fault.restated()))

    def check(self) -> None:
        assert all(count == 1 for count in self.heard.values()), self.heard
        assert set(self.heard) <= set(self.asked), "no private id reaches the host"
        for identifier, what in self.asked.items():
            if what == "pay":
                assert self.ran[identifier] <= 1, f"{identifier} ran twice"
        for identifier in self.claims:
            assert self.asked[identifier] == "initialize" or self.ran[identifier] <= 0, f"{identifier} may have run"


@given(st.sampled_from(STRATEGIES), st.booleans(), st.lists(STEP, min_size=15, max_size=60))
@settings(max_examples=examples(400), deadline=None)
def test_one_answer_for_each_call_and_none_run_twice(
    strategy: str, warm: bool, steps: list[tuple[str, int, Fault | None]]
) -> None:
    world = World(strategy)
    world.begin(warm=warm)
    for what, pick, fault in steps:
        world.step(what, pick, fault)
        world.check()
    world.perform(world.relay.stop("end"))
    world.check()
    for identifier in world.asked:
        assert world.heard[identifier] in ((0, 1) if identifier in world.cancelled else (1,)), identifier


@given(st.sampled_from(STRATEGIES), st.booleans(), st.lists(STEP, min_size=15, max_size=60))
@settings(max_examples=examples(300), deadline=None)
def test_whatever_happened_a_server_that_is_back_is_reached_and_nobody_is_left_waiting(
    strategy: str, warm: bool, steps: list[tuple[str, int, Fault | None]]
) -> None:
    world = World(strategy)
    world.begin(warm=warm)
    for what, pick, fault in steps:
        world.step(what, pick, fault)
    world.step("pay", 0, None)
    last = list(world.asked)[-1]
    for _ in range(200):
        if world.dialling is not None:
            world.link(None)
        for message, exchange in list(world.at_server):
            if (message, exchange) in world.at_server:
                world.perform(world.relay.written(exchange))
            if (message, exchange) in world.at_server:
                world.reply(message, exchange)
        for name in sorted(world.timers):
            if name.purpose in ("return", "again") and name in world.timers:
                del world.timers[name]
                world.perform(world.relay.timer(name))
    assert world.heard[last] == 1
    assert world.relay.is_quiet
    assert {name.purpose for name in world.timers} <= {"linger"}, "nobody waits, so nothing ticks"


def test_a_pipe_that_breaks_sends_again_what_had_not_gone_out() -> None:
    script = beginning("ws-only").up(PIPE).server(welcome()).client(INITIALIZED).client(call(5, name="pay"))
    script.client(call(6, name="pay")).written(K6).skip().down(Interrupted("gone"))
    assert Drop(K5) in script.pending, "what is left of it must not go out behind the second one"
    (failed,) = said(script)
    assert failed["id"] == 6
    assert failed["error"]["data"]["may_have_run"] is True
    script.rings("return", key_of("")).skip().up(PIPE)
    (reopening,) = script.sent()
    script.server(welcome(reopening.message.id))
    assert call(5, name="pay") in [command.message for command in script.sent()]


def test_a_session_that_is_lost_on_a_pipe_says_of_each_call_what_is_known() -> None:
    script = beginning("sse-only", policy=Policy()).up(PIPE).server(welcome()).client(INITIALIZED)
    for number in (5, 6, 7):
        script.client(call(number, name="pay"))
    script.written(K6).skip().over(K5, SessionLost("404"))
    assert {doc["id"]: doc["error"]["data"]["may_have_run"] for doc in said(script)} == {6: True, 7: False}


def test_a_host_that_begins_anew_does_not_cut_the_rest_short_that_the_server_asked_for() -> None:
    script = beginning().up().over(K0, again(Refused("busy", http_status=503, mends=True), 10.0)).skip()
    script.client(call("anew", "initialize", protocolVersion="2025-06-18", capabilities={}))
    assert not script.sent()
    script = beginning().up().over(K0, again(Refused("busy", http_status=503, mends=True), 10.0)).skip()
    (greeting_,) = said(script.client(call("anew", "initialize", protocolVersion="2025-06-18", capabilities={})))
    assert greeting_["id"] == "anew"


def test_of_two_greetings_on_their_way_the_later_one_goes_on() -> None:
    anew = call("anew", "initialize", protocolVersion="2025-06-18", capabilities={})
    script = beginning().up().client(anew).skip().rings("greet", K0)
    assert Drop(K0) in script.pending
    assert sorted(str(doc["id"]) for doc in said(script)) == ["0", "anew"]
    script.client(INITIALIZED).client(call(5, name="pay")).skip().server(welcome("anew"), anew.key)
    assert [command.message for command in script.sent()] == [INITIALIZED, call(5, name="pay")]


def test_a_pipe_that_fails_for_good_while_it_is_stood_in_for_is_said_to_be_of_no_use() -> None:
    script = beginning("ws-only").failed(Unreachable("refused")).client(INITIALIZED).client(call(5, name="pay"))
    script.rings("return", key_of("")).up(PIPE).skip().down(PeerBroke("no frame"))
    told = said(script)
    assert [doc["id"] for doc in told if "id" in doc] == [5]
    assert any(doc.get("method") == "notifications/message" for doc in told)
