"""Content: what a tool, a resource or a prompt returned, in MCP's words. (MCP 2025-11-25, server features.)"""

from __future__ import annotations

import base64
import math
from typing import Any

from mcp_remote_py.core.message import encode

_BLOCKS = ("text", "image", "audio", "resource", "resource_link")
_RESULT_MEMBERS = {"content", "structuredContent", "isError", "_meta"}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image", "image/png"),
    (b"\xff\xd8\xff", "image", "image/jpeg"),
    (b"GIF8", "image", "image/gif"),
    (b"ID3", "audio", "audio/mpeg"),
    (b"OggS", "audio", "audio/ogg"),
    (b"fLaC", "audio", "audio/flac"),
)


def text_block(text: str) -> dict[str, Any]:
    """Return a text as a content block."""
    return {"type": "text", "text": text}


def as_text(value: object) -> str:
    """Return a string as it is, anything else as JSON. Raises TypeError, ValueError."""
    if isinstance(value, str):
        return value
    text = encode(value).decode("utf-8")
    if ("NaN" in text or "Infinity" in text) and not _is_finite(value):
        raise ValueError("NaN and infinite numbers are no JSON")
    return text


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def tool_result(returned: object) -> dict[str, Any]:
    """Return a `CallToolResult` of what a tool returned. Raises TypeError, ValueError for what is no JSON.

    None is no content; a string, number or list is a text; bytes are an image or audio where they begin like one, else
    a blob; a dict is structured content, and its JSON as text; content blocks, one or a list, and whole results pass.
    """
    if returned is None:
        return {"content": []}
    if isinstance(returned, dict):
        return _of_dict(returned)
    if isinstance(returned, bytes):
        return {"content": [_blob_block(returned)]}
    if isinstance(returned, list | tuple) and returned and any(_is_block(item) for item in returned):
        return {"content": [_block(item) for item in returned]}
    return {"content": [text_block(as_text(returned))]}


def error_result(text: str) -> dict[str, Any]:
    """Return the `CallToolResult` of a tool that failed: the text is for the model."""
    return {"content": [text_block(text)], "isError": True}


def _of_dict(returned: dict[str, Any]) -> dict[str, Any]:
    blocks = returned.get("content")
    if isinstance(blocks, list) and set(returned) <= _RESULT_MEMBERS and all(_is_block(block) for block in blocks):
        return returned
    if _is_block(returned):
        return {"content": [returned]}
    return {"content": [text_block(as_text(returned))], "structuredContent": returned}


def _is_block(value: object) -> bool:
    """Whether this is a content block: of a type that MCP knows, with the members that the type needs."""
    if isinstance(value, bytes):
        return True
    if not isinstance(value, dict) or value.get("type") not in _BLOCKS:
        return False
    kind = value["type"]
    if kind == "text":
        return isinstance(value.get("text"), str)
    if kind in ("image", "audio"):
        return isinstance(value.get("data"), str) and isinstance(value.get("mimeType"), str)
    if kind == "resource":
        return isinstance(value.get("resource"), dict)
    return isinstance(value.get("uri"), str)


def _block(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return _blob_block(value)
    return dict(value) if _is_block(value) else text_block(as_text(value))


def _blob_block(data: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode("ascii")
    kind, mime_type = _media_type(data)
    if kind:
        return {"type": kind, "data": encoded, "mimeType": mime_type}
    resource = {"uri": "data:application/octet-stream", "mimeType": mime_type, "blob": encoded}
    return {"type": "resource", "resource": resource}


def _media_type(data: bytes) -> tuple[str, str]:
    for magic, kind, mime_type in _MAGIC:
        if data.startswith(magic):
            return kind, mime_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image", "image/webp"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio", "audio/wav"
    return "", "application/octet-stream"


def resource_contents(uri: str, mime_type: str | None, returned: object) -> dict[str, Any]:
    """Return the contents of a resource: bytes as a blob, everything else as text."""
    found: dict[str, Any] = {"uri": uri}
    if isinstance(returned, bytes):
        found["mimeType"] = mime_type or _media_type(returned)[1]
        found["blob"] = base64.b64encode(returned).decode("ascii")
    else:
        found["mimeType"] = mime_type or ("text/plain" if isinstance(returned, str) else "application/json")
        found["text"] = as_text(returned)
    return found


def prompt_result(returned: object, description: str | None) -> dict[str, Any]:
    """Return a `GetPromptResult`: a string is one message of the user, a list holds strings and whole messages."""
    if isinstance(returned, dict) and isinstance(returned.get("messages"), list):
        return returned
    items = returned if isinstance(returned, list | tuple) else [returned]
    result: dict[str, Any] = {"messages": [_prompt_message(item) for item in items]}
    if description:
        result["description"] = description
    return result


def _prompt_message(item: Any) -> dict[str, Any]:
    if isinstance(item, dict) and "role" in item and "content" in item:
        content = item["content"]
        return {**item, "content": text_block(content)} if isinstance(content, str) else item
    return {"role": "user", "content": _block(item)}
