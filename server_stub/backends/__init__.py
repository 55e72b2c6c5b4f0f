"""What answers: the seam between the front (wires, sessions) and the backends.

The front calls `connect(peer)` for each new session and gets a fresh, unopened `Link`
(`mcp_remote_py.core.link` has its contract). It knows no backend by name; a backend knows no wire. Types only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mcp_remote_py.core.link import Link


class Peer(NamedTuple):
    """Who is at the other end of a link."""

    session_id: str | None
    """The session the link is for; None where there is no session (`--stateless`, or a request without one)."""
    principal: str | None
    """Who was authenticated; None without authentication."""


Connect = Callable[[Peer], Link]
"""Makes a fresh, unopened `Link` for one session, or the face of a shared one for a principal without a session."""
