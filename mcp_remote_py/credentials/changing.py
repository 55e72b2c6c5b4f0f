"""Changing credentials: the fixed headers, what the header file says now, and the token of now, made into one.

Where the token comes from is a `TokenSource`: a file, a command, or a key that signs.
"""

from __future__ import annotations

from typing import Protocol

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import Learn, Now, Source, Token
from mcp_remote_py.core.errors import UNTOLD, Asked
from mcp_remote_py.core.http.headers import Headers, has
from mcp_remote_py.credentials.header_file import HeaderFile


class TokenSource(Protocol):
    """Gives the token of now. It is told of a refused one, and asked again."""

    async def token(self) -> Token:
        """Return the token of now: the same object until there is another. Raises `SignInNeeded`."""

    def renew(self, refused: Token) -> None:
        """The server refused this token: forget it, if it is still the current one, and there may be another."""

    def close(self) -> None:
        """End whatever was started."""


class Changing:
    """Keeps the contract of `Credentials`. The same object of headers is returned until something changed."""

    def __init__(
        self, given: settings.Credentials, learn: Learn, tokens: TokenSource | None, file: HeaderFile | None
    ) -> None:
        self._given = given
        self._learn = learn
        self._tokens = tokens
        self._file = file
        self._token: Token | None = None
        self._in_file: Headers = ()
        self._shown: Headers | None = None

    @property
    def with_authorization(self) -> bool:
        return (
            self._tokens is not None
            or has(self._given.headers, "authorization")
            or (self._file is not None and has(self._file.headers, "authorization"))
        )

    @property
    def source(self) -> Source | None:
        if self._file is not None and has(self._file.headers, "authorization"):
            return self._file.source
        return self._given.source

    async def headers(self, method: str = "", url: str = "") -> Headers:
        del method, url  # they are the same for all
        token = None if self._tokens is None else await self._tokens.token()
        in_file = () if self._file is None else self._file.read()
        if token is not None:
            self._learn(token.value)  # again each time, as what was learnt long ago may be forgotten
        if self._shown is None or token is not self._token or in_file is not self._in_file:
            for _, content in in_file:
                self._learn(content)
            bearer = () if token is None else (("Authorization", f"Bearer {token.value}"),)
            self._token, self._in_file, self._shown = token, in_file, (*self._given.headers, *bearer, *in_file)
        return self._shown

    def distrust(self, shown: Headers) -> None:
        if shown is self._shown and self._tokens is not None and self._token is not None:
            self._tokens.renew(self._token)  # for older headers that has been done
        if self._file is not None:
            self._file.look_again()

    async def refused(self, shown: Headers, asked: Asked = UNTOLD) -> bool:
        if asked.status != 401:
            return False  # the next token would have no more permissions than this one
        self.distrust(shown)
        return await self.headers() != shown

    def nonce(self, value: str) -> None:
        """Nothing here is signed for one request."""

    def close(self) -> None:
        if self._tokens is not None:
            self._tokens.close()


def open_changing(given: settings.Credentials, learn: Learn, now: Now) -> Changing:
    """Return the keeper of these settings. Raises `ConfigError` for a key that cannot sign."""
    file = None if given.header_file is None else HeaderFile(given.header_file)
    return Changing(given, learn, _tokens(given, learn, now), file)


def _tokens(given: settings.Credentials, learn: Learn, now: Now) -> TokenSource | None:
    match given.authorization:
        case settings.BearerFile():
            from mcp_remote_py.credentials.bearer_file import BearerFile

            return BearerFile(given.authorization)
        case settings.BearerCommand():
            from mcp_remote_py.credentials.bearer_command import BearerCommand

            return BearerCommand(given.authorization, learn, now)
        case settings.MintedJwt():
            from mcp_remote_py.credentials.minted_jwt import MintedJwt

            return MintedJwt(given.authorization, now)
        case None:
            return None
