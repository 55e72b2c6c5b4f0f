"""The protocol revisions, and what each of them changed for a carrier. No string comparison elsewhere.

Source: the specification's changelogs, 2024-11-05 to 2026-07-28.
"""

from __future__ import annotations

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions with an `initialize` handshake, oldest first."""

LATEST_LEGACY = LEGACY[-1]
ASSUMED = "2025-03-26"
"""What a server assumes of a client that sends no version header (2025-06-18, transports)."""


def is_known_legacy(revision: str) -> bool:
    """Whether the revision is one we know and has a handshake."""
    return revision in LEGACY


def allows_batches(revision: str | None) -> bool:
    """Whether arrays of messages may be sent: in 2025-03-26 only."""
    return revision == "2025-03-26"


def wants_priming_event(revision: str | None) -> bool:
    """Whether a stream may open with an event that has an id and no data: from 2025-11-25 on, as older clients fail."""
    return revision is not None and _at_least(revision, "2025-11-25")


def wants_version_header(revision: str | None) -> bool:
    """Whether each HTTP request after `initialize` names the revision: from 2025-06-18 on."""
    return revision is not None and _at_least(revision, "2025-06-18")


def has_url_elicitation(revision: str | None) -> bool:
    """Whether a server may ask the host to show a URL: from 2025-11-25 on."""
    return revision is not None and _at_least(revision, "2025-11-25")


def _at_least(revision: str, floor: str) -> bool:
    """Revisions are ISO dates, so text order is time order; this function is the only place that knows."""
    return revision >= floor
