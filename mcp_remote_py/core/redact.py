"""Redactor: known secrets in, scrubbed text out. Every sink for people goes through one of these.

A secret of six characters or more is found wherever it stands: plain, JSON-escaped, URL-encoded, in base64 and
base64url (at any alignment) and in hexadecimal. Shorter ones would also be found in innocent text, so they are only
replaced as whole words, from four characters on. Control characters of a peer become visible escapes, so that nothing
a server says can drive a terminal.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

MASK = "[secret]"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Redactor:
    """Knows the secret values that this process was given or has received."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Learn a secret value."""
        secret = secret.strip()
        if len(secret) < 4:
            return  # such a text cannot be told from innocent ones; nothing that short is ever written by us
        if len(secret) < 6:
            self._forms.add(rf"(?<![\w]){re.escape(secret)}(?![\w])")
        else:
            self._forms.update(re.escape(form) for form in _spellings(secret))
        # the longest first, so that no tail of a longer secret is left over
        self._pattern = re.compile("|".join(sorted(self._forms, key=len, reverse=True)), re.IGNORECASE)

    def scrub(self, text: str) -> str:
        """Return the text without any known secret."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def _spellings(secret: str) -> set[str]:
    raw = secret.encode("utf-8")
    forms = {secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    forms.add(raw.hex())
    for shift in range(3):
        # what a base64 text contains when the secret begins at this alignment, without the characters at both
        # ends that also depend on the neighbours
        encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii").rstrip("=")
        begin = (0, 2, 3)[shift]
        end = len(encoded) - (1 if (shift + len(raw)) % 3 else 0)
        core = encoded[begin:end]
        if len(core) >= 6:
            forms.update((core, core.replace("+", "-").replace("/", "_")))
    return forms


def printable(text: str, limit: int = 2000) -> str:
    """Return text of a peer made safe for a terminal: control characters escaped, length bounded."""
    if len(text) > limit:
        text = text[:limit] + f"… ({len(text)} characters)"
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)
