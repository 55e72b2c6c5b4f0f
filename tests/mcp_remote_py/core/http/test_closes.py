"""What the end of a WebSocket means."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, SignInNeeded, TooLarge
from mcp_remote_py.core.http.closes import fault_of_loss, fault_of_ours, fault_of_peer


@pytest.mark.parametrize(
    ("code", "heard", "kind"),
    [
        (4001, False, SignInNeeded),
        (4001, True, SignInNeeded),
        (4002, False, SignInNeeded),
        (1008, False, SignInNeeded),
        (1008, True, Interrupted),
        (1009, True, TooLarge),
        (1000, True, Interrupted),
        (1001, True, Interrupted),
        (1011, False, Interrupted),
        (4999, True, Interrupted),
    ],
)
def test_a_close_of_the_server_says_why(code: int, heard: bool, kind: type[Fault]) -> None:
    fault = fault_of_peer("h", code, "token expired", heard=heard)
    assert type(fault) is kind
    assert f"(close code {code}): token expired" in str(fault)


def test_a_sign_in_before_anything_was_heard_means_that_nothing_ran() -> None:
    assert not fault_of_peer("h", 4001, "", heard=False).may_have_run
    assert fault_of_peer("h", 4001, "", heard=True).may_have_run


def test_the_reason_is_made_harmless() -> None:
    text = str(fault_of_peer("h", 4001, "\x1b[2Jevil\n\tline\u202e" + "x" * 500, heard=False))
    assert not any(ord(character) < 32 or character == "\u202e" for character in text)
    assert len(text) < 330


def test_our_own_close_says_what_the_server_did() -> None:
    too_large = fault_of_ours("h", 1009, 1024)
    assert type(too_large) is TooLarge
    assert "1024" in str(too_large)
    assert "--max-message-size" in too_large.hint
    assert too_large.may_have_run
    assert type(fault_of_ours("h", 1002, 1)) is PeerBroke
    assert type(fault_of_ours("h", 1000, 1)) is Interrupted
    assert type(fault_of_loss("h")) is Interrupted
