"""A token in, the principal it stands for out, or None. One way to verify per file. Types only.

A principal is a text that is the same for every request of the same client, and different for any other; sessions are
bound to it. It is no secret, but it is for comparing, not for showing.
"""

from __future__ import annotations

from typing import Protocol


class Verifier(Protocol):
    """One way to tell who a token belongs to."""

    @property
    def takes_api_keys(self) -> bool:
        """Whether the token may also come in `X-API-Key`."""
        ...

    def verify(self, token: str) -> str | None:
        """Return the principal, or None where the token is not valid here."""
        ...

    def knows(self, principal: str) -> bool:
        """Whether this principal is one that `verify` may return; False where that cannot be known."""
        ...
