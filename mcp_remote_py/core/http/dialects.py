"""The ways in which servers say that they do not know a session, besides the 404 that the specification asks for.

A closed table: status and code and words. Nothing else counts, for the message is sent again in a new session, and a
tool's own error ("cannot open database session") must not run a tool twice. Only asked where we sent a session id.
Source: 2025-11-25, "Session Management"; what deployed servers answer (FastMCP: 400; others: 410, 503, or a JSON-RPC
error under HTTP 200). Pure.
"""

from __future__ import annotations

import re

_GONE = frozenset([404, 410])
"""Statuses that say it by themselves."""
_STATUSES = frozenset([400, 422, 500, 503])
"""Statuses that say it where the body has the words."""
_CODES = frozenset([-32000, -32001, -32600, -32603])
"""JSON-RPC codes that say it under HTTP 200 where the message has the words."""
_WORDS = re.compile(
    r"""\b(?:
        (?:mcp[ -])?session(?:[ -]?id)?\ (?:(?:was|is|has|does|has\ been|could)\ )?
            (?:not\ (?:be\ )?(?:found|exist|known|valid|recogni[sz]ed)|expired|terminated|gone|closed|invalid|unknown)
      | (?:invalid|expired|unknown|stale|terminated)\ (?:or\ (?:invalid|expired|unknown|missing|terminated)\ )?
            (?:mcp[ -])?session
      | (?:no|not\ a)\ (?:valid|such|active)\ (?:mcp[ -])?session
      | no\ session\ (?:found|with|for)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_LONGEST = 4096
"""So much of a text is looked at: whoever means it says it early."""


def status_says_lost(status: int) -> bool:
    """Whether a status alone says that the session is gone."""
    return status in _GONE


def refusal_says_lost(status: int, body: str) -> bool:
    """Whether a refusal with this body says that the session is gone."""
    return status in _GONE or (status in _STATUSES and _has_words(body))


def error_says_lost(code: object, text: object) -> bool:
    """Whether a JSON-RPC error of this code and message says that the session is gone."""
    return isinstance(code, int) and code in _CODES and isinstance(text, str) and _has_words(text)


def _has_words(text: str) -> bool:
    return _WORDS.search(text[:_LONGEST].replace("_", " ").replace("\n", " ")) is not None
