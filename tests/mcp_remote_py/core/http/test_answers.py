"""The table of PROTOCOL 2.2 to 2.5: what a status and a content type mean."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Interrupted, PeerBroke, Refused, SessionLost, SignInNeeded
from mcp_remote_py.core.http.answers import Asked, Body, is_passing, judge_listen, judge_post, judge_resumption
from mcp_remote_py.core.http.statuses import Reply

REQUEST = Asked(is_request=True, in_session=False, with_token=False)
IN_SESSION = Asked(is_request=True, in_session=True, with_token=False)
NOTIFICATION = Asked(is_request=False, in_session=True, with_token=False)


def _reply(status: int, content_type: str = "", challenge: str = "") -> Reply:
    return Reply("h", status, content_type, challenge)


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "application/json", Body.JSON),
        (200, "APPLICATION/json;charset=UTF-8", Body.JSON),
        (201, "application/json", Body.JSON),
        (200, "text/event-stream", Body.EVENTS),
        (200, "Text/Event-Stream; charset=utf-8", Body.EVENTS),
    ],
)
def test_a_request_is_answered_in_json_or_a_stream(status: int, content_type: str, body: Body) -> None:
    assert judge_post(_reply(status, content_type), REQUEST) == (body, None)


@pytest.mark.parametrize("status", [202, 204])
def test_a_request_that_is_only_accepted_will_have_no_answer(status: int) -> None:
    body, fault = judge_post(_reply(status), REQUEST)
    assert (body, type(fault)) == (Body.IGNORED, PeerBroke)


@pytest.mark.parametrize(
    ("content_type", "words"),
    [("text/html; charset=utf-8", "a web page"), ("image/png", "image/png"), ("", "of no stated type")],
)
def test_another_content_type_breaks_the_protocol(content_type: str, words: str) -> None:
    body, fault = judge_post(_reply(200, content_type), REQUEST)
    assert (body, type(fault)) == (Body.IGNORED, PeerBroke)
    assert fault is not None
    assert words in str(fault)
    assert (fault.http_status, fault.may_have_run) == (200, True)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_success_is_good_for_a_notification(status: int) -> None:
    assert judge_post(_reply(status, "text/html"), NOTIFICATION) == (Body.IGNORED, None)


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 500, 502])
@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain", "application/problem+json"])
def test_an_error_body_is_asked_for_a_json_rpc_error(status: int, content_type: str) -> None:
    body, fault = judge_post(_reply(status, content_type), REQUEST)
    assert (body, type(fault)) == (Body.ERROR, Refused)


@pytest.mark.parametrize("content_type", ["text/html", "text/event-stream", "application/octet-stream"])
def test_an_error_body_of_another_type_is_not_even_read(content_type: str) -> None:
    assert judge_post(_reply(502, content_type), REQUEST).body is Body.IGNORED


@pytest.mark.parametrize("asked", [REQUEST, NOTIFICATION])
def test_a_401_is_a_sign_in_whatever_its_body(asked: Asked) -> None:
    body, fault = judge_post(_reply(401, "application/json"), asked)
    assert (body, type(fault)) == (Body.IGNORED, SignInNeeded)


def test_a_403_for_scope_is_a_sign_in_and_another_may_explain_itself() -> None:
    scope = judge_post(_reply(403, "application/json", 'Bearer error="insufficient_scope"'), REQUEST)
    other = judge_post(_reply(403, "application/json", "Bearer"), REQUEST)
    assert type(scope.fault) is SignInNeeded
    assert (other.body, type(other.fault)) == (Body.ERROR, Refused)


def test_a_404_in_a_session_means_that_it_is_lost_even_with_a_json_rpc_body() -> None:
    body, fault = judge_post(_reply(404, "application/json"), IN_SESSION)
    assert (body, type(fault)) == (Body.IGNORED, SessionLost)
    assert fault is not None
    assert not fault.may_have_run
    assert type(judge_post(_reply(404), NOTIFICATION).fault) is SessionLost


def test_a_404_without_a_session_is_a_wrong_address() -> None:
    assert type(judge_post(_reply(404, "text/html"), REQUEST).fault) is Refused


def test_a_failed_notification_never_brings_a_message() -> None:
    body, fault = judge_post(_reply(400, "application/json"), NOTIFICATION)
    assert (body, type(fault)) == (Body.IGNORED, Refused)


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/html", "application/json", ""])
@pytest.mark.parametrize("status", [200, 202, 204, 400, 403, 404, 405, 406, 409, 429, 500, 501, 503])
def test_the_standing_stream_is_there_or_it_is_not(status: int, content_type: str) -> None:
    verdict = judge_listen(_reply(status, content_type), with_token=False)
    if status == 200 and content_type == "text/event-stream":
        assert verdict == (Body.EVENTS, None)
    else:
        assert verdict is None


def test_only_a_401_is_a_fault_of_the_standing_stream() -> None:
    verdict = judge_listen(_reply(401), with_token=True)
    assert verdict is not None
    assert type(verdict.fault) is SignInNeeded


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 405])
def test_a_stream_that_cannot_be_resumed_leaves_open_whether_the_call_ran(status: int) -> None:
    fault = judge_resumption(_reply(status, "text/html"))
    assert type(fault) is Interrupted
    assert (fault.may_have_run, fault.http_status) == (True, status)
    assert judge_resumption(_reply(200, "text/event-stream")) is None


@pytest.mark.parametrize(("status", "passing"), [(409, True), (429, True), (500, True), (503, True), (404, False)])
def test_a_busy_server_may_be_asked_again(status: int, passing: bool) -> None:
    assert is_passing(status) is passing
