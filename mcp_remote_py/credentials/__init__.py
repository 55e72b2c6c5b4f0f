"""What the server is shown, at the moment it is shown: headers that may change while the bridge runs.

The contract, and its simplest keeper. The others (files that change, a command, a JWT signed here) are imported only
where the settings name them. One object serves all links of a bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mcp_remote_py import settings
from mcp_remote_py.core.http.headers import Headers, has

Learn = Callable[[str], None]
"""Told every secret that was received or made, before it is used: the redactor's `add`."""


class Credentials(Protocol):
    """See the module's text."""

    @property
    def with_authorization(self) -> bool:
        """Whether an `Authorization` header is configured, so that a 401 is an error and no sign-in starts."""

    async def headers(self) -> Headers:
        """Return the headers to send now. Raises `SignInNeeded` where they cannot be had; nothing else."""

    async def refused(self, shown: Headers) -> bool:
        """The server answered 401 to these headers. Returns whether `headers()` now gives other ones.

        Many requests may ask at once about the same headers: the work is done once.
        """


class Fixed:
    """Headers that never change."""

    def __init__(self, headers: Headers = ()) -> None:
        self._headers = headers

    @property
    def with_authorization(self) -> bool:
        return has(self._headers, "authorization")

    async def headers(self) -> Headers:
        return self._headers

    async def refused(self, shown: Headers) -> bool:
        del shown  # there are no others
        return False


def open_credentials(given: settings.Credentials, learn: Learn) -> Credentials:
    """Return what keeps the contract for these settings."""
    del learn  # these were known from the start
    return Fixed(given.headers)
