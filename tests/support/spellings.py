"""Every way in which a secret may be written down, for tests that search for it. Owes nothing to `core.redact`."""

from __future__ import annotations

import base64
import html
import json
import string
import urllib.parse
from collections.abc import Callable

_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-_.~")


def _lower_percent(text: str) -> str:
    """As `quote` does it, with lower-case hexadecimal digits."""
    return "".join(
        character if character in _UNRESERVED else "".join(f"%{byte:02x}" for byte in character.encode())
        for character in text
    )


def _all_percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _all_unicode(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quote": lambda text: urllib.parse.quote(text, safe=""),
    "quote, slashes kept": urllib.parse.quote,
    "quote_plus": urllib.parse.quote_plus,
    "quote, lower case": _lower_percent,
    "quote, every byte": _all_percent,
    "quote, twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "as encodeURIComponent": lambda text: urllib.parse.quote(text, safe="!'()*~"),
    "JSON, ASCII": lambda text: json.dumps(text)[1:-1],
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, slashes escaped": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, every character": _all_unicode,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "repr": lambda text: repr(text)[1:-1],
    "ascii": lambda text: ascii(text)[1:-1],
    "repr of bytes": lambda text: repr(text.encode())[2:-1],
    "HTML": html.escape,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, quoted": lambda text: urllib.parse.quote(base64.b64encode(text.encode()).decode(), safe=""),
    "base64, slashes escaped": lambda text: base64.b64encode(text.encode()).decode().replace("/", "\\/"),
}
"""Spellings of the whole secret."""


def written(secret: str) -> set[str]:
    """Return all spellings of a secret, those inside longer base64 texts among them: for searching."""
    found = {spell(secret) for spell in SPELLINGS.values()} - {""}
    stripped = {text.rstrip("=") for text in found if len(text.rstrip("=")) >= 6}
    return found | stripped | inner_base64(secret)


def inner_base64(secret: str) -> set[str]:
    """Return what a base64 text contains for sure if the secret stands somewhere in what was encoded."""
    raw = secret.encode()
    found: set[str] = set()
    for before in range(3):
        usable = raw[(3 - before) % 3 :]
        whole = usable[: len(usable) // 3 * 3]
        if len(whole) >= 6:
            found |= {base64.b64encode(whole).decode(), base64.urlsafe_b64encode(whole).decode()}
    return found
