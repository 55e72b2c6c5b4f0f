"""Texts of a shared pipe or a standing stream: messages, errors in the place of malformed answers, or nothing."""

from __future__ import annotations

import json

import pytest

from mcp_remote_py.core.message import Kind
from mcp_remote_py.transports.incoming import messages_in


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":1,"result":{},"error":null}',
        '{"id":1,"result":{}}',
        '{"jsonrpc":"2.0","id":1,"error":"boom"}',
        '{"jsonrpc":"2.0","id":1,"result":' + "[" * 200_000 + "]" * 200_000 + "}",
    ],
)
def test_a_malformed_answer_becomes_an_error_under_its_id(text: str) -> None:
    (message,) = messages_in(text.encode(), "example.com")
    assert (message.kind, message.id) == (Kind.ERROR, 1)
    assert json.loads(message.raw)["error"]["code"] == -31008


@pytest.mark.parametrize(
    "text", ["", "hello", "[]", "{}", '{"jsonrpc":"2.0","id":1,"method":5}', '{"id":null,"result":1}']
)
def test_what_nobody_waits_for_is_left_out(text: str) -> None:
    assert messages_in(text.encode(), "example.com") == []


def test_an_array_is_taken_apart() -> None:
    text = '[{"jsonrpc":"2.0","method":"a"}, 5, {"jsonrpc":"2.0","id":2,"result":{}}]'
    assert [message.kind for message in messages_in(text.encode(), "example.com")] == [Kind.NOTIFICATION, Kind.RESULT]
