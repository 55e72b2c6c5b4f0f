"""What a status means by itself."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Refused, SignInNeeded
from mcp_remote_py.core.http.statuses import Reply, fault_of, wants_more_scope

HOST = "mcp.example.com"


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 406, 409, 410, 413, 415, 429, 431, 499])
def test_a_4xx_refuses_and_the_call_never_ran(status: int) -> None:
    fault = fault_of(Reply(HOST, status), with_token=False)
    assert type(fault) is Refused
    assert (fault.http_status, fault.may_have_run) == (status, False)
    assert HOST in str(fault)
    assert f"(HTTP {status})" in str(fault)
    assert fault.hint


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_leaves_open_whether_it_ran(status: int) -> None:
    fault = fault_of(Reply(HOST, status), with_token=False)
    assert type(fault) is Refused
    assert fault.may_have_run is True


def test_a_503_that_says_when_to_come_back_never_ran() -> None:
    fault = fault_of(Reply(HOST, 503, retry_after="3"), with_token=False)
    assert (fault.may_have_run, fault.retry_after) == (False, 3.0)


@pytest.mark.parametrize(("status", "mends"), [(400, False), (403, False), (404, False), (407, False), (429, True)])
@pytest.mark.parametrize(
    ("server_status", "passes"), [(500, False), (501, False), (502, True), (503, True), (504, True)]
)
def test_what_passes_by_itself(status: int, mends: bool, server_status: int, passes: bool) -> None:
    assert fault_of(Reply(HOST, status), with_token=False).mends is mends
    assert fault_of(Reply(HOST, server_status), with_token=False).mends is passes


def test_a_401_tells_a_missing_token_from_a_refused_one() -> None:
    missing = fault_of(Reply(HOST, 401), with_token=False)
    refused = fault_of(Reply(HOST, 401), with_token=True)
    assert type(missing) is type(refused) is SignInNeeded
    assert missing.http_status == refused.http_status == 401
    assert "asks for a sign-in" in str(missing)
    assert "MCP_AUTH_TOKEN" in missing.hint
    assert "refused the token" in str(refused)
    assert "expired" in refused.hint


@pytest.mark.parametrize(
    ("challenge", "more"),
    [
        ('Bearer error="insufficient_scope", scope="files:write"', True),
        ("Bearer realm=x, error=insufficient_scope", True),
        ('Basic, Bearer Error = "insufficient_scope"', True),
        ('Bearer error="invalid_token"', False),
        ('Bearer error="insufficient_scopes"', False),
        ("", False),
    ],
)
def test_a_403_that_asks_for_more_scope_is_a_sign_in(challenge: str, more: bool) -> None:
    reply = Reply(HOST, 403, challenge=challenge)
    assert wants_more_scope(reply) is more
    assert type(fault_of(reply, with_token=True)) is (SignInNeeded if more else Refused)


def test_the_wanted_scope_is_named_and_made_harmless() -> None:
    reply = Reply(HOST, 403, challenge='Bearer error="insufficient_scope", scope="a:b \x1b[2J"')
    assert "a:b" in fault_of(reply, with_token=True).hint
    assert "\x1b" not in fault_of(reply, with_token=True).hint


@pytest.mark.parametrize(("retry_after", "words"), [("30", "30 seconds"), ("Wed, 21 Oct", "a while"), ("²", "a while")])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_says_when_to_come_back(status: int, retry_after: str, words: str) -> None:
    assert words in fault_of(Reply(HOST, status, retry_after=retry_after), with_token=False).hint


def test_an_unknown_status_is_named_all_the_same() -> None:
    assert "(HTTP 299)" in str(fault_of(Reply(HOST, 299), with_token=False))


def test_a_gateways_page_with_400_may_be_about_a_client_certificate() -> None:
    page = fault_of(Reply(HOST, 400, "text/html; charset=utf-8"), with_token=False)
    assert "--client-cert" in page.hint
    assert "--client-cert" not in fault_of(Reply(HOST, 400, "text/plain"), with_token=False).hint


def test_a_block_page_is_not_taken_for_the_servers_word() -> None:
    fault = fault_of(Reply(HOST, 403, "text/html"), with_token=False)
    assert "web page" in str(fault)
    assert "filter" in fault.hint


def test_what_the_server_says_about_a_token_is_passed_on_and_made_harmless() -> None:
    challenge = 'Bearer error="invalid_token", error_description="The access token expired\x1b[2J"'
    hint = fault_of(Reply(HOST, 401, challenge=challenge), with_token=True).hint
    assert "The server says: The access token expired" in hint
    assert "\x1b" not in hint
    assert "The server says" not in fault_of(Reply(HOST, 401, challenge="Bearer"), with_token=True).hint
