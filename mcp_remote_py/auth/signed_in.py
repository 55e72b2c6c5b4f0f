"""Signed in: the credentials of a bridge that was given no `Authorization`. Keeps the contract of `Credentials`.

As long as no server has ever asked for a sign-in, it shows what was configured and imports nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mcp_remote_py.core.credentials import Source
from mcp_remote_py.core.errors import UNTOLD, Asked, Fault, SignInNeeded
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.oauth import names
from mcp_remote_py.credentials import Credentials
from mcp_remote_py.settings import Settings

if TYPE_CHECKING:
    from mcp_remote_py.auth.authorizer import Authorizer
    from mcp_remote_py.auth.performer import Invitation
    from mcp_remote_py.core.oauth.tokens import Grant

_LOG = logging.getLogger("mcp_remote_py.auth")
DPOP = "DPoP"
_OURS = ("Authorization", DPOP)


class SignedIn:
    """See the module's text. `others` gives all other headers; `show` tells the host what a person is asked to do."""

    def __init__(
        self,
        settings: Settings,
        others: Credentials,
        learn: Callable[[str], None],
        show: Callable[[Invitation], None],
        paste: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._settings = settings
        self._others = others
        self._learn = learn
        self._show = show
        self._paste = paste
        self._authorizer: Authorizer | None = None
        self._is_known: bool | None = None
        self._shown: Headers | None = None
        self._made_of: tuple[Headers, str] | None = None
        self._nonce: str | None = None
        self._turn = asyncio.Lock()

    # --- The contract of Credentials ---------------------------------------------------------------------------

    @property
    def with_authorization(self) -> bool:
        return False

    @property
    def source(self) -> Source | None:
        return None

    async def headers(self, method: str = "", url: str = "") -> Headers:
        others = await self._others.headers(method, url)
        if self._authorizer is None:
            if self._is_known is None:
                self._is_known = self._may_know_tokens()  # asked once: a 401 tells if another process has signed in
            if not self._is_known:
                return others
        grant = await self._fresh()
        if grant is None:
            return others
        if grant.scheme == DPOP and method:
            return (*others, *await self._proved(grant, method, url))
        if self._shown is None or self._made_of != (others, grant.access_token):
            self._shown = (*others, ("Authorization", f"{grant.scheme} {grant.access_token}"))
            self._made_of = (others, grant.access_token)
        return self._shown

    def distrust(self, shown: Headers) -> None:
        self._others.distrust(shown)

    async def refused(self, shown: Headers, asked: Asked = UNTOLD) -> bool:
        if await self._others.refused(tuple(pair for pair in shown if pair[0] not in _OURS), asked):
            return True
        token = _token_of(shown)
        async with self._turn:  # of many that were refused with one token, the first renews it for all
            authorizer = await self._have_authorizer()
            if asked.status == 401 and self._wants_nonce(shown, asked):
                return True
            known = await authorizer.reread()
            if known is not None and known.access_token != token:
                return True
            if known is None or asked.status != 401:
                return False
            try:
                return await authorizer.renew(known) is not None
            except Fault as fault:
                raise _not_renewed(fault) from None

    def nonce(self, value: str) -> None:
        self._nonce = value

    def close(self) -> None:
        self._others.close()

    # --- Signing in --------------------------------------------------------------------------------------------

    async def sign_in(self, asked: Asked) -> None:
        """Have a person sign in. Raises a `Fault` that says why that did not work."""
        authorizer = await self._have_authorizer()
        grant = await authorizer.current()
        await authorizer.sign_in(asked, None if grant is None else grant.access_token)

    async def _fresh(self) -> Grant | None:
        """Return the tokens, renewed where they are about to expire."""
        authorizer = await self._have_authorizer()
        grant = await authorizer.current()
        if grant is None or not grant.is_stale(time.time()) or not _is_renewable(grant):
            return grant
        async with self._turn:
            grant = await authorizer.current()
            if grant is None or not grant.is_stale(time.time()) or not _is_renewable(grant):
                return grant
            try:
                return await authorizer.renew(grant)
            except Fault as fault:
                if grant.is_good(time.time()):
                    _LOG.warning("the token could not be renewed yet: %s", fault)
                    return grant
                raise _not_renewed(fault) from None

    def _may_know_tokens(self) -> bool:
        """Whether there is anything from an earlier sign-in. Cheap, as it is asked at every start."""
        settings = self._settings
        if settings.sign_in.token_store == "keyring":  # noqa: S105  (a place, no secret)
            return True
        if settings.sign_in.token_store == "memory" or not settings.home:  # noqa: S105  (likewise)
            return False
        name = names.server(settings.target.url, names.account(settings.sign_in.preferences))
        return os.path.exists(os.path.join(settings.home, names.FOLDER, names.file_of(name)))

    async def _have_authorizer(self) -> Authorizer:
        if self._authorizer is None:
            made = await asyncio.to_thread(_open, self._settings, self._learn, self._show, self._paste)
            self._authorizer = self._authorizer or made
        return self._authorizer

    # --- Proofs of possession (RFC 9449) -----------------------------------------------------------------------

    async def _proved(self, grant: Grant, method: str, url: str) -> Headers:
        import secrets

        from mcp_remote_py.core.oauth import dpop

        authorizer = await self._have_authorizer()
        claims = dpop.proof_claims(
            method,
            url,
            now=time.time(),
            jti=secrets.token_urlsafe(16),
            nonce=self._nonce,
            access_token=grant.access_token,
        )
        proof = await asyncio.to_thread(authorizer.signer().sign, dpop.sign(claims))
        return (("Authorization", f"{DPOP} {grant.access_token}"), (DPOP, proof))

    def _wants_nonce(self, shown: Headers, asked: Asked) -> bool:
        """Whether the proof lacked the server's nonce, which is known by now."""
        if self._nonce is None or not asked.wants_nonce:
            return False
        from mcp_remote_py.core.oauth import jwt_claims

        proof = next((content for name, content in shown if name == DPOP), "")
        return (jwt_claims.read(proof) or {}).get("nonce") != self._nonce


def _open(
    settings: Settings,
    learn: Callable[[str], None],
    show: Callable[[Invitation], None],
    paste: Callable[[str], Awaitable[str]] | None,
) -> Authorizer:
    from mcp_remote_py.auth.authorizer import Authorizer

    return Authorizer(settings, learn, show=show, paste=paste)


def _is_renewable(grant: Grant) -> bool:
    from mcp_remote_py.core.oauth import renewal

    return renewal.is_possible(grant)


def _token_of(shown: Headers) -> str:
    given = next((content for name, content in shown if name.lower() == "authorization"), "")
    return given.partition(" ")[2]


def _not_renewed(fault: Fault) -> SignInNeeded:
    return SignInNeeded(f"the token could not be renewed: {fault}", hint=fault.hint)
