"""Lines of a trace: which way a message went, that secrets are masked and JSON stays JSON, and reading it again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import trace_record
from mcp_remote_py.core.message import key_of
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.core.trace_record import Record, Route, line, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def directions(records: list[Record]) -> list[str]:
    return [record.direction for record in records]


def test_what_passes_unchanged_is_one_line_and_what_changes_is_two() -> None:
    route = Route()
    asked, answered, other = b'{"a":1}', b'{"b":1}', b'{"c":1}'
    assert directions(route.from_host(asked, "http")) == ["host to server"]
    assert directions(route.to_server(asked, "http")) == []
    assert directions(route.to_server(asked, "http")) == ["bridge to server"]  # sent again
    route.from_server(answered)
    assert directions(route.to_host(answered, "http")) == ["server to host"]
    assert directions(route.handled("http")) == []
    route.from_server(answered)
    assert directions(route.to_host(other, "http")) == ["server to bridge", "bridge to host"]
    assert directions(route.handled("http")) == []
    route.from_server(answered)
    assert directions(route.handled("http")) == ["server to bridge"]
    assert directions(route.to_host(other, "http")) == ["bridge to host"]


def test_messages_that_were_never_sent_are_not_remembered_for_ever() -> None:
    route = Route()
    raws = [str(number).encode() for number in range(10_000)]
    for raw in raws:
        route.from_host(raw, "http")
    assert directions(route.to_server(raws[0], "http")) == ["bridge to server"]
    assert directions(route.to_server(raws[-1], "http")) == []


def written(raw: bytes, redactor: Redactor | None = None) -> Any:
    text = line("t", "s", Record("server to host", "ws", raw), (redactor or Redactor()).scrub)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return json.loads(text)


def test_the_message_stands_in_the_line_as_it_was() -> None:
    raw = '{"jsonrpc":"2.0","id":1.0,"result":{"n":1e2,"t":"\\u00e9é\u2028"}}'.encode()
    text = line("t", "s", Record("server to host", "ws", raw), lambda text: text)
    assert text.encode().endswith(b'"message":' + raw + b"}\n")
    assert text.startswith('{"time":"t","session":"s","direction":"server to host","wire":"ws",')


@given(JSON, st.text(alphabet='abcXYZ01"\\{é', min_size=6, max_size=10))
def test_a_masked_message_is_still_json_and_can_be_read(params: Any, secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    raw = msg.encode({"jsonrpc": "2.0", "method": "x", "params": {"p": params, "s": f"<{secret}>"}})
    entry = written(raw, redactor)
    assert "message" in entry or "cut" in entry
    assert secret not in json.dumps(entry.get("message", {}).get("params", {}).get("s"), ensure_ascii=False)


@pytest.mark.parametrize("key", ["Authorization", "password", "token"])
def test_short_secrets_in_their_places_leave_valid_json(key: str) -> None:
    redactor = Redactor()
    redactor.know_header("X-Key")
    for text in (f"{key}: abc", f'{key}: "abc"', f"{key}=abc\\", "X-Key: a\nX-Key: b", f"https://u:p@h/?{key}=x"):
        raw = msg.encode({"jsonrpc": "2.0", "method": "x", "params": {"t": text, key: "a", "after": 1}})
        entry = written(raw, redactor)
        assert entry["message"]["params"]["after"] == 1


def test_a_large_message_is_cut_and_its_size_is_said() -> None:
    raw = msg.result("my-id", "x" * trace_record.MOST_BYTES).raw
    entry = written(raw)
    assert entry["size"] == len(raw)
    assert len(entry["cut"]) == 4096
    at_the_end = b'{"result":"' + b"x" * trace_record.MOST_BYTES + b'","jsonrpc":"2.0","id":"my-id"}'
    for text in (raw, at_the_end):
        (only,) = read([line("t", "s", Record("server to host", "ws", text), str).encode()]).sessions["s"]
        assert only.cut == key_of("my-id")


def test_lines_that_are_none_are_counted_and_sessions_stay_apart() -> None:
    lines = [
        trace_record.start_line("t0", "a", {"version": "1"}).encode(),
        b"\n",
        b"nonsense\n",
        b'{"session":"a","direction":"host to server","message":{"no":"message"}}\n',
        b'{"time":"t","session":"a","direction":"host to ser',
        line("t1", "a", Record("host to server", "http", msg.request(1, "x").raw), str).encode(),
        line("t2", "b", Record("bridge to host", "http", b"[" + msg.result(1, {}).raw + b"]"), str).encode(),
        trace_record.lost_line("t3", "b", 4).encode(),
        b"\xff\n",
    ]
    found = read(lines)
    assert found.unreadable == 4
    assert list(found.sessions) == ["a", "b"]
    assert [entry.messages[0].method for entry in found.sessions["a"]] == ["x"]
    assert [message.id for entry in found.sessions["b"] for message in entry.messages] == [1]
