"""What the server is shown, at the moment it is shown: headers that may change while the bridge runs.

The contract, and its simplest keeper. The others (files that change, a command, a JWT signed here) are imported only
where the settings name them. One object serves all links of a bridge.
"""

from __future__ import annotations

import time
from typing import Protocol

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import NOT_TAKEN, Learn, Now, Source, expiry_of
from mcp_remote_py.core.errors import UNTOLD, Asked
from mcp_remote_py.core.http.headers import Headers, has


class Credentials(Protocol):
    """See the module's text."""

    @property
    def with_authorization(self) -> bool:
        """Whether an `Authorization` header is configured, so that a 401 is an error and no sign-in starts."""

    @property
    def source(self) -> Source | None:
        """What gives that header, in words for the error; None where nothing does, or no words are known."""

    async def headers(self, method: str = "", url: str = "") -> Headers:
        """Return the headers to send now, with a request of this method to this URL.

        Without those two: what says who we are, not for sending. Raises `SignInNeeded` where they cannot be had;
        nothing else.
        """

    def distrust(self, shown: Headers) -> None:
        """The server takes these headers no longer: get others, where there are any, before the next `headers()`."""

    async def refused(self, shown: Headers, asked: Asked = UNTOLD) -> bool:
        """The server answered 401 (or a 403 that `asked` has) to these headers, the very object of `headers()`.

        Returns whether `headers()` now gives other ones. Many requests may ask at once about the same headers: the
        work is done once. Raises `SignInNeeded` as `headers()` does.
        """

    def nonce(self, value: str) -> None:
        """The server gave a `DPoP-Nonce` (RFC 9449 section 8) for the next requests."""

    def close(self) -> None:
        """The bridge is leaving: end whatever was started."""


class Fixed:
    """Headers that never change."""

    def __init__(self, headers: Headers = (), source: Source | None = None) -> None:
        self._headers = headers
        self._source = source

    @property
    def with_authorization(self) -> bool:
        return has(self._headers, "authorization")

    @property
    def source(self) -> Source | None:
        given = next((value for name, value in self._headers if name.lower() == "authorization"), "")
        expires = expiry_of(given.removeprefix("Bearer "))
        if self._source is None or expires is None or not 0 < expires < time.time():
            return self._source
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(expires))
        mend = self._source.mend.replace(NOT_TAKEN, f"It expired on {when}, as it says itself.")
        return self._source._replace(mend=f"{mend} With --bearer-command, a program renews it by itself.")

    async def headers(self, method: str = "", url: str = "") -> Headers:
        del method, url  # they are the same for all
        return self._headers

    def distrust(self, shown: Headers) -> None:
        """There are no others."""

    async def refused(self, shown: Headers, asked: Asked = UNTOLD) -> bool:
        del shown, asked  # there are no others
        return False

    def nonce(self, value: str) -> None:
        """Nothing here is signed."""

    def close(self) -> None:
        """Nothing was started."""


def open_credentials(given: settings.Credentials, learn: Learn, now: Now = time.time) -> Credentials:
    """Return what keeps the contract for these settings. Raises `ConfigError` for a key that cannot sign."""
    if given.authorization is None and given.header_file is None:
        return Fixed(given.headers, given.source)  # known from the start, and so were the secrets in them
    from mcp_remote_py.credentials import changing

    return changing.open_changing(given, learn, now)


def check(given: settings.Credentials) -> tuple[str, ...]:
    """Try at the start what can be tried without the server, and return what the user should hear.

    Raises `ConfigError` for a program that is not there, and a key that cannot sign.
    """
    if isinstance(given.authorization, settings.BearerCommand):
        from mcp_remote_py.credentials import bearer_command

        return bearer_command.check(given.authorization)
    if isinstance(given.authorization, settings.MintedJwt):
        from mcp_remote_py.credentials import minted_jwt

        return minted_jwt.check(given.authorization)
    return ()
