"""Result size: within the limit nothing changes, beyond it texts get shorter and say so, and the rest stays."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Message, parse_one
from mcp_remote_py.core.result_size import ResultSize
from mcp_remote_py.core.shaping import Onward, Reply

CALL = msg.request(1, "tools/call", {"name": "x"})


def shaped(answer: Message, limit: int, request: Message = CALL) -> Message:
    (step,) = ResultSize(limit).to_host(answer, request)
    assert isinstance(step, Onward | Reply)
    return step.message


def texts(*values: str) -> Message:
    return msg.result(1, {"content": [{"type": "text", "text": value} for value in values], "n": 1})


def test_up_to_the_limit_the_very_same_message_passes() -> None:
    answer = texts("x" * 1000)
    assert shaped(answer, len(answer.raw)) is answer
    assert shaped(answer, 10, msg.request(1, "prompts/get")) is answer
    error = msg.error(1, -1, "x" * 1000)
    assert shaped(error, 10) is error


def test_the_longest_texts_are_shortened_and_say_so() -> None:
    short = shaped(texts("small", "y" * 5000, "z" * 5000), 2000)
    first, second, third = (item["text"] for item in short.result["content"])
    assert first == "small"
    assert len(short.raw) <= 2000
    assert len(second) == len(third) > 800
    assert second.startswith("yyy")
    assert "shortened by mcp-remote-py" in second
    assert "of 5000 characters" in second
    assert short.result["n"] == 1


def test_all_else_keeps_its_bytes() -> None:
    raw = '{"jsonrpc":"2.0", "id":1,"result":{"content":[ {"n":1.00,"type":"text","text":"%s"} ],"x":1e2 }}' % (
        "a" * 999
    )
    short = shaped(parse_one(raw.encode()), 500)
    head, tail = raw.split("a" * 999)
    assert short.raw.startswith(head.replace("[ ", "[").encode())
    assert short.raw.endswith(tail.replace(" ]", "]").encode())


def test_texts_of_embedded_resources_and_of_resources_that_are_read_count() -> None:
    embedded = msg.result(1, {"content": [{"type": "resource", "resource": {"uri": "u", "text": "x" * 5000}}]})
    assert "shortened" in shaped(embedded, 1000).result["content"][0]["resource"]["text"]
    read = msg.result(1, {"contents": [{"uri": "u", "text": "x" * 5000}]})
    assert "shortened" in shaped(read, 1000, msg.request(1, "resources/read")).result["contents"][0]["text"]


def test_what_cannot_be_shortened_is_one_clear_answer() -> None:
    image = msg.result(1, {"content": [{"type": "image", "data": "A" * 5000}, {"type": "text", "text": "t"}]})
    short = shaped(image, 1000)
    assert short.result["isError"] is True
    assert "--max-result-size" in short.result["content"][0]["text"]
    blob = msg.result(1, {"contents": [{"uri": "u", "blob": "A" * 5000}]})
    error = shaped(blob, 1000, msg.request(1, "resources/read")).doc["error"]
    assert error["code"] == -31007
    for odd in (None, 3, [None, 3, {"text": 5}], {"text": "x"}):
        answer = msg.result(1, {"content": odd, "pad": "x" * 2000})
        assert shaped(answer, 1000).result["isError"] is True


VALUES = st.lists(st.text(max_size=300), max_size=5)


@given(VALUES, st.integers(900, 2000), st.sampled_from(["", "é" * 700, "\x01" * 400, "😀" * 500, '"\\' * 600]))
def test_the_limit_holds_and_every_text_is_a_beginning(values: list[str], limit: int, long: str) -> None:
    values = [*values, long]
    answer: Any = texts(*values)
    short = shaped(answer, limit)
    assert len(short.raw) <= limit
    assert json.loads(short.raw) == short.doc
    if not short.result.get("isError"):
        for old, item in zip(values, short.result["content"], strict=True):
            assert old.startswith(item["text"].split("\n[... shortened")[0])
