"""The relay and a server that wants a sign-in: what waits for the person, what goes on, what the host hears."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_remote_py.core.commands import (
    Arm,
    Command,
    Dial,
    Disarm,
    Drop,
    Listen,
    Note,
    SignIn,
    Timer,
    ToClient,
    ToServer,
)
from mcp_remote_py.core.errors import Asked, Fault, Interrupted, PeerBroke, SignInNeeded, Unreachable
from mcp_remote_py.core.message import Batch, Message, key_of
from mcp_remote_py.core.retries import Policy
from tests.support.playbook import HTTP, INITIALIZE, INITIALIZED, PIPE, Play, a_relay, answer, call, m, note, play

POLICY = Policy(hold=20.0, greet_after=20.0)
SILENT_HOST = Policy(hold=20.0)
K0, K5, K6, K7 = (key_of(number) for number in (0, 5, 6, 7))
P1 = key_of("private-1")
RETURN = key_of("")
NO_TOKEN = Asked(401, "Bearer")
MORE = Asked(403, 'Bearer error="insufficient_scope", scope="write"')
OTHER = Asked(403, 'Bearer error="insufficient_scope", scope="admin"')
PAY, LOOK = call(5, name="pay"), call(6, name="look")
CAPABILITIES = {"tools": {"listChanged": True}}
DENIED = SignInNeeded("nobody signed in within 300 s", hint="Try again.")


def asks(asked: Asked = NO_TOKEN, *, may_have_run: bool = False) -> Fault:
    fault = SignInNeeded("the server asks for a sign-in", http_status=asked.status, may_have_run=may_have_run)
    fault.asked = asked
    return fault


def welcome(identifier: object = 0) -> Message:
    server = {"protocolVersion": "2025-06-18", "capabilities": CAPABILITIES, "serverInfo": {"name": "s"}}
    return answer(identifier, server)


def beginning(strategy: str = "http-only", policy: Policy = POLICY, first: Message = INITIALIZE) -> Play:
    return play(a_relay(strategy, policy=policy)).client(first)


def in_session(strategy: str = "http-only", policy: Policy = POLICY) -> Play:
    is_http = strategy == "http-only"
    script = beginning(strategy, policy).up(HTTP if is_http else PIPE).server(welcome(), K0 if is_http else None)
    return (script.over(K0) if is_http else script).client(INITIALIZED).skip()


def signs_in(script: Play) -> Play:
    """Somebody signs in. That the host is told so is left out, one test looks at it."""
    script.pending += [one for one in script.relay.signed_in() if not (isinstance(one, Note) or is_told(one))]
    return script


def is_told(command: Command) -> bool:
    return isinstance(command, ToClient) and b'"Signed in."' in command.raw


def fails(script: Play, fault: Fault = DENIED) -> Play:
    script.pending += [one for one in script.relay.sign_in_failed(fault) if not isinstance(one, Note)]
    return script


def shows(script: Play, *, opened: bool = False) -> Play:
    script.pending += script.relay.show_sign_in("https://as.example/authorize", "Sign in:", opened=opened)
    return script


def said(script: Play) -> list[dict[str, Any]]:
    """Take what went to the host since the last look."""
    taken, script.pending = script.pending, []
    return [json.loads(command.raw) for command in taken if isinstance(command, ToClient)]


def asked(script: Play) -> list[Asked]:
    return [command.asked for command in script.pending if isinstance(command, SignIn)]


def methods(script: Play) -> list[str | None]:
    return [command.message.method for command in script.sent()]


# --- Before the session -----------------------------------------------------------------------------------------


def test_a_host_is_greeted_at_once_and_a_person_is_asked_once() -> None:
    script = beginning().up().skip().over(K0, asks())
    assert asked(script) == [NO_TOKEN]
    (greeting,) = said(script)
    assert greeting["id"] == 0
    assert greeting["result"]["capabilities"]["tools"] == {"listChanged": True}
    (told,) = said(script.client(INITIALIZED))
    assert told["method"] == "notifications/message"


def test_calls_wait_for_the_person_and_not_for_the_hold() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).skip()
    script.client(PAY).nothing().rings("hold", K5).nothing()


def test_lists_are_empty_after_the_hold_as_hosts_wait_for_them() -> None:
    listing = call(7, "tools/list")
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).skip()
    script.client(listing).expect(Arm(Timer("hold", K7), 20.0))
    (empty,) = said(script.rings("hold", K7))
    assert empty == {"jsonrpc": "2.0", "id": 7, "result": {"tools": []}}


def test_without_a_hold_lists_are_empty_at_once() -> None:
    script = beginning(policy=Policy(hold=0.0, greet_after=20.0)).up().skip().over(K0, asks()).client(INITIALIZED)
    (empty,) = said(script.skip().client(call(7, "tools/list")))
    assert empty["result"] == {"tools": []}
    script.client(PAY).nothing()


def test_after_the_sign_in_the_session_is_opened_and_what_waited_goes_out() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).client(PAY).client(LOOK).skip()
    script = signs_in(script)
    (opening,) = [one for one in script.pending if isinstance(one, ToServer)]
    assert opening.message.method == "initialize"
    assert Arm(Timer("hold", K5), 20.0) in script.pending, "from now on it is the server that is waited for"
    script.skip().server(welcome("private-1"), P1)
    changed = [json.loads(one.raw)["method"] for one in script.pending if isinstance(one, ToClient)]
    assert "notifications/tools/list_changed" in changed
    assert [one.message for one in script.pending if isinstance(one, ToServer)] == [INITIALIZED, PAY, LOOK]


def test_a_host_that_begins_anew_is_greeted_at_once() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).skip()
    again = call("again", "initialize", protocolVersion="2025-06-18", capabilities={})
    (greeting,) = said(script.client(again))
    assert greeting["id"] == "again"


def test_where_no_greeting_is_wanted_initialize_waits_and_is_sent_again() -> None:
    script = beginning(policy=SILENT_HOST).up().skip().over(K0, asks()).expect(SignIn(NO_TOKEN))
    signs_in(script).expect(ToServer(INITIALIZE, K0))
    (refused,) = said(script.over(K0, asks()))
    assert refused["error"]["code"] == -31005


def test_where_no_greeting_is_wanted_initialize_is_answered_with_the_cause() -> None:
    script = beginning(policy=SILENT_HOST).up().skip().over(K0, asks()).skip()
    (failed,) = said(fails(script))
    assert "nobody signed in" in failed["error"]["message"]


def test_a_silent_server_that_asks_late_needs_one_sign_in() -> None:
    script = beginning().up().skip().rings("greet", K0).client(INITIALIZED).client(PAY).skip().over(K0, asks())
    assert asked(script) == [NO_TOKEN]
    assert Disarm(Timer("hold", K5)) in script.pending, "it is a person now who is waited for"


# --- In a session -----------------------------------------------------------------------------------------------


def test_a_call_that_needs_a_token_is_held_and_sent_again() -> None:
    script = in_session().client(PAY).skip().over(K5, asks()).expect(SignIn(NO_TOKEN)).client(LOOK).nothing()
    signs_in(script).expect(ToServer(PAY, K5), ToServer(LOOK, K6))


def test_ten_calls_at_once_are_one_sign_in() -> None:
    script = in_session()
    for number in range(10, 20):
        script.client(call(number))
    script.skip()
    for number in range(10, 20):
        script.over(key_of(number), asks())
    script.expect(SignIn(NO_TOKEN))
    assert [one.message.id for one in signs_in(script).sent()] == list(range(10, 20))


def test_a_call_that_needs_more_scope_waits_alone() -> None:
    script = in_session().client(PAY).skip().over(K5, asks(MORE)).expect(SignIn(MORE))
    script.client(LOOK).expect(ToServer(LOOK, K6))
    signs_in(script).expect(ToServer(PAY, K5))


def test_what_waits_for_scope_is_not_given_up_by_an_older_timer() -> None:
    script = in_session().client(PAY).skip().over(K5, Unreachable("refused")).skip().rings("return", RETURN).skip()
    script.over(K5, asks(MORE))
    assert Disarm(Timer("hold", K5)) in script.pending
    script.skip().rings("hold", K5).nothing()


def test_a_token_and_then_scope_are_two_sign_ins() -> None:
    script = in_session().client(PAY).skip().over(K5, asks()).expect(SignIn(NO_TOKEN))
    signs_in(script).expect(ToServer(PAY, K5)).over(K5, asks(MORE)).expect(SignIn(MORE))
    signs_in(script).expect(ToServer(PAY, K5))


@pytest.mark.parametrize("wanted", [NO_TOKEN, MORE])
def test_a_server_that_is_never_content_is_not_asked_for_ever(wanted: Asked) -> None:
    script = in_session().client(PAY).skip().over(K5, asks(wanted)).skip()
    (failed,) = said(signs_in(script).skip().over(K5, asks(wanted)))
    assert failed["error"]["code"] == -31005
    assert failed["error"]["data"]["may_have_run"] is False


def test_scopes_of_two_calls_are_asked_for_one_after_the_other() -> None:
    script = in_session().client(PAY).client(LOOK).skip().over(K5, asks(MORE)).over(K6, asks(OTHER))
    script.expect(SignIn(MORE))
    signs_in(script).expect(ToServer(PAY, K5), ToServer(LOOK, K6)).over(K6, asks(OTHER)).expect(SignIn(OTHER))
    signs_in(script).expect(ToServer(LOOK, K6)).over(K6, asks(OTHER)).answers((6, -31005))


def test_who_fails_to_sign_in_is_told_why_and_the_next_call_tries_anew() -> None:
    script = in_session().client(PAY).client(LOOK).skip().over(K5, asks()).over(K6, asks()).client(call(7)).skip()
    failed = said(fails(script))
    assert [doc["id"] for doc in failed] == [5, 6, 7]
    assert all("nobody signed in" in doc["error"]["message"] for doc in failed)
    assert not any(doc["error"]["data"]["may_have_run"] for doc in failed)
    script.client(PAY).expect(ToServer(PAY, K5)).over(K5, asks()).expect(SignIn(NO_TOKEN))


def test_a_session_that_never_began_is_tried_anew_after_a_failed_sign_in() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).skip()
    fails(script).skip().client(PAY)
    (opening,) = script.sent()
    assert asked(script.over(opening.message.key, asks())) == [NO_TOKEN]


def test_a_token_that_opens_no_session_is_an_error_and_the_next_call_tries_anew() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).client(PAY).skip()
    signs_in(script).skip().over(P1, asks())
    assert asked(script) == []
    assert [doc["id"] for doc in said(script) if "id" in doc] == [5]
    (opening,) = script.client(LOOK).sent()
    assert asked(script.over(opening.message.key, asks())) == [NO_TOKEN]


def test_a_session_that_needs_a_token_and_then_scope_is_opened_after_two_sign_ins() -> None:
    script = beginning().up().skip().over(K0, asks()).client(INITIALIZED).client(PAY).skip()
    assert asked(signs_in(script).skip().over(P1, asks(MORE))) == [MORE]


# --- What the host does meanwhile -------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [NO_TOKEN, MORE])
def test_a_call_that_is_cancelled_meanwhile_is_not_sent_again(wanted: Asked) -> None:
    script = in_session().client(PAY).skip().over(K5, asks(wanted)).skip()
    script.client(note("notifications/cancelled", requestId=5)).nothing()
    signs_in(script).nothing()
    assert script.relay.is_quiet


@pytest.mark.parametrize("wanted", [NO_TOKEN, MORE])
def test_an_id_that_is_used_again_meanwhile_gets_one_answer(wanted: Asked) -> None:
    script = in_session().client(PAY).skip().over(K5, asks(wanted)).skip().client(call(5, name="other")).skip()
    signs_in(script).skip().server(answer(5), K5).expect(ToClient(answer(5).raw))


def test_a_batch_is_answered_together_when_its_last_call_is() -> None:
    script = (
        beginning()
        .up()
        .server(m({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-03-26", "capabilities": {}}}), K0)
    )
    script.over(K0).client(INITIALIZED).client(Batch((PAY, LOOK))).skip()
    script.over(K5, asks(MORE)).expect(SignIn(MORE)).server(answer(6), K6).nothing()
    signs_in(script).expect(ToServer(PAY, K5)).server(answer(5), K5)
    (together,) = [json.loads(one.raw) for one in script.pending if isinstance(one, ToClient)]
    assert sorted(doc["id"] for doc in together) == [5, 6]


@pytest.mark.parametrize("wanted", [NO_TOKEN, MORE])
def test_who_waits_is_answered_when_we_leave(wanted: Asked) -> None:
    script = in_session().client(PAY).skip().over(K5, asks(wanted)).skip().stops().answers((5, -31010))
    assert script.relay.is_quiet


# --- The way to the server meanwhile ----------------------------------------------------------------------------


def test_an_upgrade_that_wants_a_token_is_made_again_after_the_sign_in() -> None:
    script = beginning("ws-only")
    script.skip().failed(asks())
    assert asked(script) == [NO_TOKEN]
    assert said(script)[0]["id"] == 0
    script.client(INITIALIZED).client(PAY).skip()
    assert Dial("ws") in signs_in(script).pending
    assert methods(script.skip().up(PIPE)) == ["initialize"]


def test_a_socket_that_is_closed_for_a_token_before_anything_was_heard_is_opened_again() -> None:
    script = beginning("ws-only").up(PIPE).skip().down(asks())
    assert asked(script) == [NO_TOKEN]
    assert [doc["id"] for doc in said(script)] == [0]
    assert Dial("ws") in signs_in(script).pending


def test_a_socket_that_is_closed_before_the_greeting_is_opened_again_and_the_second_time_it_is_an_error() -> None:
    script = beginning("ws-only", SILENT_HOST).up(PIPE).skip().down(asks())
    assert asked(script) == [NO_TOKEN]
    signs_in(script).skip().up(PIPE).expect(ToServer(INITIALIZE, K0)).down(asks())
    assert asked(script) == []
    assert [doc["error"]["code"] for doc in said(script)] == [-31005]


def test_a_socket_that_is_closed_later_ends_its_calls_and_asks_nobody() -> None:
    script = in_session("ws-only").client(PAY).written(K5).skip().down(asks(may_have_run=True))
    assert asked(script) == []
    (failed,) = said(script)
    assert failed["error"]["data"]["may_have_run"] is True
    script.client(LOOK).skip()
    assert asked(script.failed(asks())) == [NO_TOKEN]


def test_no_browser_opens_because_a_socket_dropped() -> None:
    script = in_session("ws-only").down(Interrupted("gone")).skip().rings("return", RETURN).expect(Dial("ws"))
    assert asked(script.failed(asks())) == []
    assert asked(script.skip().client(PAY).skip().failed(asks())) == [NO_TOKEN]


def test_no_browser_opens_because_the_standing_stream_wants_a_token_but_a_sign_in_opens_it() -> None:
    script = in_session()
    assert all(isinstance(one, Note) for one in script.relay.listen_over(asks()))
    script.client(PAY).skip().over(K5, asks()).expect(SignIn(NO_TOKEN))
    signs_in(script).expect(ToServer(PAY, K5), Listen())


@pytest.mark.parametrize("fault", [Interrupted("gone"), PeerBroke("no frame")])
def test_a_pipe_that_breaks_during_the_sign_in_is_opened_after_it(fault: Fault) -> None:
    script = in_session("sse-only").client(PAY).skip().over(K5, asks()).skip().down(fault).nothing()
    script.client(LOOK).nothing()
    assert Dial("sse") in signs_in(script).pending


def test_a_server_that_goes_away_during_the_sign_in_keeps_the_rest_that_it_asked_for() -> None:
    script = in_session().client(PAY).client(LOOK).skip().over(K5, asks(MORE)).skip().over(K6, Unreachable("refused"))
    script.skip()
    signs_in(script).expect(Arm(Timer("hold", K5), 20.0))
    assert [one.message for one in script.rings("return", RETURN).sent()] == [LOOK]


def test_a_greeting_timer_that_rings_during_the_sign_in_says_nothing() -> None:
    beginning().up().skip().over(K0, asks()).skip().rings("greet", K0).nothing()


# --- What the host is shown -------------------------------------------------------------------------------------


def eager(capability: object) -> Play:
    first = call(0, "initialize", protocolVersion="2025-11-25", capabilities={"elicitation": capability})
    return beginning(first=first).up().skip().over(K0, asks()).client(INITIALIZED).skip()


def test_a_host_that_shows_urls_is_asked_to_and_told_when_it_is_done() -> None:
    script = eager({"url": {}})
    line, question = said(shows(script))
    assert line["params"]["data"] == "Sign in: https://as.example/authorize"
    assert question["method"] == "elicitation/create"
    assert question["params"]["url"] == "https://as.example/authorize"
    script.client(answer(question["id"], {"action": "accept"})).nothing()
    done = [doc for doc in said(signs_in(script)) if doc["method"] == "notifications/elicitation/complete"]
    assert [doc["params"]["elicitationId"] for doc in done] == [question["params"]["elicitationId"]]


@pytest.mark.parametrize("capability", [{}, {"form": {}}, {"url": True}, True])
def test_no_other_host_is_asked_to_show_a_url(capability: object) -> None:
    assert [doc["method"] for doc in said(shows(eager(capability)))] == ["notifications/message"]


def test_no_url_is_shown_twice() -> None:
    assert [doc["method"] for doc in said(shows(eager({"url": {}}), opened=True))] == ["notifications/message"]


def test_a_host_that_is_not_ready_yet_is_shown_it_when_it_is() -> None:
    first = call(0, "initialize", protocolVersion="2025-11-25", capabilities={"elicitation": {"url": {}}})
    script = shows(beginning(first=first).up().skip().over(K0, asks()).skip())
    assert said(script) == []
    assert "elicitation/create" in [doc["method"] for doc in said(script.client(INITIALIZED))]


def test_the_host_is_told_when_it_is_done() -> None:
    script = in_session().client(PAY).skip().over(K5, asks()).skip()
    assert any(is_told(one) for one in script.relay.signed_in())


def test_without_a_challenge_of_the_server_nobody_signs_in() -> None:
    in_session().client(PAY).skip().over(K5, SignInNeeded("the token was refused")).answers((5, -31005))


def test_a_pipe_request_that_was_dropped_for_a_token_does_not_go_out_twice() -> None:
    script = in_session("sse-only").client(PAY).skip().down(asks())
    assert Drop(K5) in script.pending
    assert asked(script) == [NO_TOKEN]
