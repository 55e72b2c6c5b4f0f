"""server_stub.core.checkup: when a child is asked, and what counts as life."""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import notification, request
from server_stub.core.checkup import Checkup


def asked(checkup: Checkup, now: float) -> msg.Message:
    ping = checkup.look(now)
    assert ping is not None
    assert ping.method == "ping"
    return ping


def test_the_answer_to_a_ping_good_or_bad_reaches_nobody() -> None:
    checkup = Checkup("secret")
    first = asked(checkup, 1.0)
    assert not checkup.heard(msg.result(first.key.value, {}), 1.5)
    assert checkup.response == 0.5
    second = asked(checkup, 2.0)
    assert second.id != first.id
    assert not checkup.heard(msg.error(second.id, -32601, "method not found"), 2.25)
    assert (checkup.response, checkup.missed) == (0.25, 0)


def test_a_ping_without_an_answer_is_missed_at_the_next_look() -> None:
    checkup = Checkup("secret")
    pings = [asked(checkup, now) for now in (0.0, 1.0, 2.0, 3.0)]
    assert checkup.missed == 3
    assert not checkup.heard(msg.result(pings[0].key.value, {}), 3.5)  # late, but alive
    assert checkup.missed == 0


def test_anything_the_child_says_is_life() -> None:
    checkup = Checkup("secret")
    for now in range(5):
        asked(checkup, now)
        assert checkup.heard(notification("notifications/message"), now + 0.5)
    assert checkup.missed == 0


def test_a_call_in_progress_is_life_and_nothing_is_asked() -> None:
    checkup = Checkup("secret")
    asked(checkup, 0.0)
    asked(checkup, 1.0)
    assert checkup.missed == 1
    checkup.sent(request(7, "tools/call"), 1.5)
    assert checkup.look(2.0) is None
    assert checkup.missed == 0
    assert checkup.heard(msg.result(7, {}), 60.0)
    asked(checkup, 61.0)
    assert checkup.missed == 0


def test_a_cancelled_call_and_one_that_was_not_sent_are_not_in_progress() -> None:
    checkup = Checkup("secret")
    checkup.sent(request(1, "tools/call"), 0.0)
    checkup.sent(request("2", "tools/call"), 0.0)
    checkup.sent(notification("notifications/cancelled", {"requestId": 1}), 0.0)
    assert checkup.calls == 1
    checkup.unsent(request("2", "x").key)
    assert checkup.calls == 0


def test_initialize_is_a_check_that_cannot_be_cancelled() -> None:
    checkup = Checkup("secret")
    checkup.sent(request(0, "initialize"), 1.0)
    checkup.sent(notification("notifications/cancelled", {"requestId": 0}), 1.0)
    assert (checkup.is_being_greeted, checkup.calls) == (True, 1)
    assert checkup.heard(msg.error(0, -1, "no"), 1.5)
    assert (checkup.is_greeted, checkup.is_being_greeted) == (False, False)
    checkup.sent(request(1, "initialize"), 2.0)
    assert checkup.heard(msg.result(1, {}), 2.5)
    assert (checkup.is_greeted, checkup.response) == (True, 0.5)


def test_ids_that_merely_look_private_belong_to_the_clients() -> None:
    checkup = Checkup("secret")
    asked(checkup, 0.0)
    assert checkup.heard(msg.result("ping-1", {}), 0.5)
    assert checkup.heard(msg.result(1, {}), 0.5)
