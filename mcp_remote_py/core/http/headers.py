"""The header names that MCP uses over HTTP, and which of them a user may not set. Pure.

Sources: Streamable HTTP (2025-03-26 to 2025-11-25), "Sending Messages", "Session Management", "Protocol Version
Header"; RFC 9110 for the media type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = tuple[tuple[str, str], ...]

SESSION_ID = "Mcp-Session-Id"
PROTOCOL_VERSION = "MCP-Protocol-Version"
LAST_EVENT_ID = "Last-Event-ID"

JSON = "application/json"
EVENTS = "text/event-stream"

TO_POST: Headers = (("Content-Type", JSON), ("Accept", f"{JSON}, {EVENTS}"))
"""What every POST of a message carries."""

TO_LISTEN: Headers = (("Accept", EVENTS), ("Cache-Control", "no-store"))
"""What every GET of a stream carries."""

RESERVED = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Headers (lower case) that the protocol or the connection needs as they are: a user's value for them is not sent."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")


def of_user(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the user's headers that may be sent."""
    return tuple((name, value) for name, value in headers if name.lower() not in RESERVED)


def has(headers: Iterable[tuple[str, str]], name: str) -> bool:
    """Whether a header of this name (compared without case) is among them."""
    return any(known.lower() == name.lower() for known, _ in headers)


def media_type(content_type: str) -> str:
    """Return `type/subtype` in lower case, without parameters; empty where none was given."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a body of this type is JSON text."""
    media = media_type(content_type)
    return media == JSON or (media.startswith("application/") and media.endswith("+json"))


def is_events(content_type: str) -> bool:
    """Whether a body of this type is an event stream."""
    return media_type(content_type) == EVENTS


def is_visible_ascii(text: str, longest: int = 4096) -> bool:
    """Whether the text is made of 0x21 to 0x7E alone, as a session id must be."""
    return len(text) <= longest and _VISIBLE.fullmatch(text) is not None


def may_travel(text: str) -> bool:
    """Whether a header can carry this text unchanged: no control characters, no blanks at its ends."""
    return text == text.strip(" \t") and not any(ord(character) < 0x20 or character == "\x7f" for character in text)
