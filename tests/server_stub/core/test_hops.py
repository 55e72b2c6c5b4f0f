"""`hops`: a handshake bears the marks of the servers through which it has come, and nothing else of it changes."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core.message import Message, parse_one
from server_stub.core.hops import HOPS, MOST, marked


def initialize(params: str) -> Message:
    return parse_one(f'{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}'.encode())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("{}", '{"_meta":{"mcp-remote-server/hops":["m"]}}'),
        ('{ "n":1.0}', '{"_meta":{"mcp-remote-server/hops":["m"]},"n":1.0}'),
        ('{"_meta":{"a":1e3},"n":1.0}', '{"_meta":{"mcp-remote-server/hops":["m"],"a":1e3},"n":1.0}'),
        ('{"_meta":{},"n":1}', '{"_meta":{"mcp-remote-server/hops":["m"]},"n":1}'),
        (
            '{"_meta":{"mcp-remote-server/hops":["k"],"a":1.0}}',
            '{"_meta":{"mcp-remote-server/hops":["k","m"],"a":1.0}}',
        ),
        ('{"_meta":{"mcp-remote-server/hops":7}}', '{"_meta":{"mcp-remote-server/hops":["m"]}}'),
        ('{"_meta":7}', '{"_meta":7}'),
        ("7", "7"),
    ],
)
def test_a_handshake_gets_our_mark_and_keeps_its_bytes(params: str, expected: str) -> None:
    assert marked(initialize(params), "m") == initialize(expected)


@pytest.mark.parametrize("hops", [["m"], ["k", "m"], ["k"] * MOST])
def test_one_that_bears_our_mark_or_too_many_goes_no_further(hops: list[Any]) -> None:
    (text,) = [f'{{"_meta":{{"{HOPS}":{hops}}}}}'.replace("'", '"')]
    assert marked(initialize(text), "m") is None
