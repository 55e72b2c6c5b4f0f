"""server_stub.content: Python values in MCP's words."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from server_stub.content import prompt_result, resource_contents, tool_result

PNG = b"\x89PNG\r\n\x1a\nrest"
TEXT = {"type": "text", "text": "t"}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("returned", "result"),
    [
        (None, {"content": []}),
        ("é", {"content": [{"type": "text", "text": "é"}]}),
        (3, {"content": [{"type": "text", "text": "3"}]}),
        (True, {"content": [{"type": "text", "text": "true"}]}),
        ([1, "a"], {"content": [{"type": "text", "text": '[1,"a"]'}]}),
        ([], {"content": [{"type": "text", "text": "[]"}]}),
        ({"a": 1}, {"content": [{"type": "text", "text": '{"a":1}'}], "structuredContent": {"a": 1}}),
        ({}, {"content": [{"type": "text", "text": "{}"}], "structuredContent": {}}),
        (PNG, {"content": [{"type": "image", "data": b64(PNG), "mimeType": "image/png"}]}),
        (TEXT, {"content": [TEXT]}),
        ([TEXT, "more", PNG], {"content": [TEXT, {"type": "text", "text": "more"}, tool_result(PNG)["content"][0]]}),
        ({"content": [TEXT], "isError": True}, {"content": [TEXT], "isError": True}),
    ],
)
def test_a_returned_value_becomes_a_tool_result(returned: Any, result: dict[str, Any]) -> None:
    assert tool_result(returned) == result


@pytest.mark.parametrize(
    "returned",
    [{"content": "a text"}, {"content": [1]}, {"content": [], "more": 1}, {"type": "text"}, {"type": "image"}],
)
def test_a_dict_that_only_resembles_content_is_data(returned: dict[str, Any]) -> None:
    assert tool_result(returned)["structuredContent"] == returned


@pytest.mark.parametrize(
    ("data", "kind", "mime_type"),
    [
        (b"\xff\xd8\xff", "image", "image/jpeg"),
        (b"GIF89a", "image", "image/gif"),
        (b"RIFF....WEBP", "image", "image/webp"),
        (b"RIFF....WAVE", "audio", "audio/wav"),
        (b"ID3", "audio", "audio/mpeg"),
    ],
)
def test_bytes_are_told_by_how_they_begin(data: bytes, kind: str, mime_type: str) -> None:
    (block,) = tool_result(data)["content"]
    assert (block["type"], block["mimeType"]) == (kind, mime_type)


def test_other_bytes_are_a_blob() -> None:
    (block,) = tool_result(b"\x00\x01")["content"]
    assert (block["type"], block["resource"]["blob"]) == ("resource", b64(b"\x00\x01"))


def test_what_is_no_json_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        tool_result({"a": object()})
    for number in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="no JSON"):
            tool_result({"a": [{"b": number}]})
    assert tool_result({"a": "NaN and Infinity"})["structuredContent"] == {"a": "NaN and Infinity"}


@pytest.mark.parametrize(
    ("returned", "mime_type", "contents"),
    [
        ("text", None, {"mimeType": "text/plain", "text": "text"}),
        ("# text", "text/markdown", {"mimeType": "text/markdown", "text": "# text"}),
        ({"a": 1}, None, {"mimeType": "application/json", "text": '{"a":1}'}),
        (PNG, None, {"mimeType": "image/png", "blob": b64(PNG)}),
    ],
)
def test_a_resource_is_text_or_a_blob(returned: Any, mime_type: str | None, contents: dict[str, Any]) -> None:
    assert resource_contents("x://y", mime_type, returned) == {"uri": "x://y", **contents}


def test_a_prompt_is_a_text_or_messages() -> None:
    message = {"role": "user", "content": TEXT}
    assert prompt_result("t", None) == {"messages": [message]}
    assert prompt_result("t", "why") == {"messages": [message], "description": "why"}
    assert prompt_result(["t", {"role": "assistant", "content": "t"}, message], None) == {
        "messages": [message, {"role": "assistant", "content": TEXT}, message]
    }
    whole = {"messages": [], "description": "d"}
    assert prompt_result(whole, None) is whole
