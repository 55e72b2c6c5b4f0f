"""Bearer file: a file that holds a token and nothing else, read again when it changes and after a 401."""

from __future__ import annotations

import asyncio

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import Token, bearer_token
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.credentials.watched_file import Unreadable, WatchedFile

_LOOKS = 5
_PAUSE_SECONDS = 0.05
"""A file that was good before is looked at so often: whoever renews it may just be writing."""


class BearerFile:
    """A `TokenSource`."""

    def __init__(self, given: settings.BearerFile) -> None:
        self._given = given
        self._file = WatchedFile(given.path)
        self._text = given.text
        self._token: Token | None = None

    async def token(self) -> Token:
        looks = 1 if self._token is None else _LOOKS
        while True:
            try:
                return self._look()
            except (Unreadable, ValueError) as trouble:
                looks -= 1
                if not looks:
                    raise self._needed(trouble) from None
            await asyncio.sleep(_PAUSE_SECONDS)

    def _look(self) -> Token:
        text = self._file.changed()
        if text is not None:
            self._text = text
        elif self._token is not None:
            return self._token
        try:
            value = bearer_token(self._text)
        except ValueError:
            self._file.look_again()
            raise
        if self._token is None or value != self._token.value:
            self._token = Token(value)
        return self._token

    def _needed(self, trouble: Exception) -> SignInNeeded:
        why = f"cannot be read ({trouble})" if isinstance(trouble, Unreadable) else f"holds no token: {trouble}"
        return SignInNeeded(
            f"{self._given.where} {why}",
            hint=f"Write the token into {self._given.path}, in one line and nothing else; it is read again then.",
        )

    def renew(self, refused: Token) -> None:
        del refused  # whatever it is, the file says what counts
        self._file.look_again()

    def close(self) -> None:
        """Nothing was started."""
