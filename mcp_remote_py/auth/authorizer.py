"""Authorizer: has the tokens for one server: remembers, renews, and has a person sign in, once for all processes.

Whoever wants other tokens than those that are kept takes the lease first, and reads what is kept again: another
process may have been faster. Decides nothing about the protocol: that is `core.oauth`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from mcp_remote_py.auth import takeover
from mcp_remote_py.auth.lease import Lease
from mcp_remote_py.auth.performer import Invitation, Performer, Tools
from mcp_remote_py.auth.store import open_store
from mcp_remote_py.auth.takeover import TakenOver
from mcp_remote_py.core.errors import Asked, Fault, SignInNeeded
from mcp_remote_py.core.oauth import adoption, brakes, challenge, names, redirect, renewal, revocation, signin, tokens
from mcp_remote_py.core.oauth.preferences import CODE, DEVICE, Preferences
from mcp_remote_py.core.oauth.steps import Document, Flow, Senses
from mcp_remote_py.core.oauth.tokens import Grant, Party
from mcp_remote_py.settings import Settings

if TYPE_CHECKING:
    from mcp_remote_py.auth.signing import Signer

_LOG = logging.getLogger("mcp_remote_py.auth")
_Result = TypeVar("_Result")
_FORM = 1
_RENEW_SECONDS = 60.0
"""What renewing may take, waiting for other processes included."""
_HANDED_ON_SECONDS = 90.0
"""So long a sign-in that a process left behind is taken up by the next one."""
_BY_PERSON = frozenset([CODE, DEVICE])
_LARGEST_ASSERTION = 1024 * 1024
Learn = Callable[[str], None]
Show = Callable[[Invitation], None]


def _to_nobody(_: Invitation) -> None:
    """There is nobody to show it to but the log."""


class Authorizer:
    """See the module's text. One for each bridge; `learn` is told every secret before it is used."""

    def __init__(
        self,
        settings: Settings,
        learn: Learn,
        *,
        show: Show = _to_nobody,
        paste: Callable[[str], Awaitable[str]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._sign_in = settings.sign_in
        self._url = settings.target.url
        self._learn = learn
        self._now = now
        self._show = show
        self._paste = paste
        self._name = names.server(self._url, names.account(settings.sign_in.preferences))
        self._store = open_store(settings.sign_in.token_store, settings.home, learn)
        is_shared = settings.sign_in.token_store != "memory"  # noqa: S105  (a place, no secret)
        self._lease = Lease(settings.home if is_shared else "")
        self._grant: Grant | None = None
        self._spent: str | None = None
        """The access token that can be renewed no longer."""
        self._has_read = False
        self._signing: Signer | None = None

    # --- What is there -----------------------------------------------------------------------------------------

    async def current(self) -> Grant | None:
        """Return the tokens as far as they are known, None where a sign-in is needed."""
        if not self._has_read:
            self._grant = await self._read()
            self._has_read = True
        return self._grant

    async def reread(self) -> Grant | None:
        """Return what is kept now: another process may have renewed it."""
        known = await self._read()
        if known is not None:
            self._adopt(known)
        return self._grant

    def _adopt(self, grant: Grant) -> None:
        """These are the tokens from now on. Where another process got them, they may be bound to another key."""
        if self._signing is not None and (self._grant is None or self._grant.access_token != grant.access_token):
            self._signing.forget()
        self._grant, self._has_read = grant, True

    async def _read(self) -> Grant | None:
        return await asyncio.to_thread(self._read_now)

    def _read_now(self) -> Grant | None:
        name = (self._store.read(self._name) or {}).get("tokens")
        document = self._store.read(name) if isinstance(name, str) else None
        return None if document is None else tokens.from_document(document)

    def _keep(self, grant: Grant) -> None:
        for secret in grant.secrets():
            self._learn(secret)
        name = names.tokens(grant.issuer, grant.resource, grant.party.client_id)
        about = self._store.read(self._name) or {}
        self._store.write(name, tokens.to_document(grant))
        self._store.write(
            self._name, {**about, "form": _FORM, "url": self._url, "issuer": grant.issuer, "tokens": name}
        )
        older = about.get("tokens")
        if isinstance(older, str) and older != name:
            self._store.write(older, None)

    async def forget(self) -> None:
        """Forget the tokens, and how often somebody was asked."""
        await asyncio.to_thread(self._forget_now)
        self._grant = None

    def _forget_now(self) -> None:
        name = (self._store.read(self._name) or {}).get("tokens")
        if isinstance(name, str):
            self._store.write(name, None)
        self._store.write(self._name, None)

    # --- Without a person --------------------------------------------------------------------------------------

    async def renew(self, grant: Grant) -> Grant | None:
        """Return newer tokens than these, None where only a sign-in brings them. Raises a `Fault`."""
        async with self._lease.held(self._name, _RENEW_SECONDS):
            known = await self._read()
            if known is not None and known.access_token != grant.access_token:
                self._adopt(known)
                return known
            if not renewal.is_possible(grant):
                return None
            _LOG.debug("the token of %s is renewed", self._url)
            flow = renewal.renew(grant, self._preferences(), self._senses())
            newer = await self._run(flow, _RENEW_SECONDS)
            if newer is None:
                _LOG.info("%s takes the refresh token no longer: a sign-in is needed", grant.issuer)
                self._grant, self._spent = None, grant.access_token
                return None
            await asyncio.to_thread(self._keep, newer)
            self._grant = newer
            return newer

    async def revoke(self) -> bool:
        """Revoke the tokens (RFC 7009) and forget them. Returns whether the server was told."""
        grant = await self.current()
        told = grant is not None and await self.end(grant)
        await self.forget()
        return told

    async def end(self, grant: Grant) -> bool:
        """Revoke tokens of this server, whoever's they are. Returns whether the server was told."""
        try:
            return await self._run(revocation.revoke(grant, self._senses()), _RENEW_SECONDS)
        except Fault as fault:
            _LOG.warning("the tokens could not be revoked: %s", fault)
            return False

    # --- With a person -----------------------------------------------------------------------------------------

    async def sign_in(self, asked: Asked | None, refused: str | None = None) -> Grant:
        """Return tokens that a sign-in brought, here or in another process. Raises a `Fault` that says why not.

        `asked`: what the server said; None: nobody asked. `refused`: the access token that it did not take.
        """
        limit = self._sign_in.timeout
        refused = refused or self._spent
        async with self._lease.held(self._name, limit):
            known = await self._read()
            if known is not None and asked is not None and known.access_token != refused and known.is_good(self._now()):
                self._adopt(known)
                return known
            grant = await self._taken_over(asked) if known is None and refused is None else None
            if grant is None:
                grant = await self._signed_in(asked, known or self._grant, limit)
            await asyncio.to_thread(self._keep, grant)
            self._grant, self._has_read = grant, True
            _LOG.info("signed in to %s", grant.issuer)
            return grant

    async def _signed_in(self, asked: Asked | None, older: Grant | None, limit: float) -> Grant:
        about = await asyncio.to_thread(self._store.read, self._name) or {}
        times = [time for time in about.get("attempts", []) if isinstance(time, int | float)]
        now = self._now()
        if asked is not None and self._sign_in.preferences.grant in _BY_PERSON:
            problem = brakes.problem(times, now, self._url)
            if problem is not None:
                raise SignInNeeded(problem, hint="")
        begun = _Begun(about.get("begun"), now)
        times = [*brakes.counted(times, now), *([] if begun.is_open else [now])]
        about = {**about, "form": _FORM, "url": self._url, "attempts": times}
        asking = None if asked is None else challenge.wanted(asked.challenge)
        status = 401 if asked is None else asked.status
        flow = signin.sign_in(self._url, asking, status, self._preferences(), self._senses(begun.token), older)

        async def opening(url: str) -> None:
            await asyncio.to_thread(self._store.write, self._name, {**about, "begun": begun.to_document(now, url)})

        left = {name: content for name, content in about.items() if name != "begun"}
        await asyncio.to_thread(self._store.write, self._name, about)
        try:
            grant = await self._run(flow, limit, was_opened=begun.url, opening=opening)
        except Fault:
            await asyncio.to_thread(self._store.write, self._name, left)
            raise
        # whoever is told to leave meanwhile leaves it behind: the next process goes on with the tab that is open
        await asyncio.to_thread(self._store.write, self._name, left)
        return grant

    async def _taken_over(self, asked: Asked | None) -> Grant | None:
        """Return what mcp-remote has for this server, made ours; None where it has nothing that is good."""
        wishes = self._sign_in.preferences
        if wishes.grant != CODE or not self._sign_in.mcp_remote_home:
            return None
        taken = await asyncio.to_thread(self._find)
        if taken is None:
            return None
        asking = None if asked is None else challenge.wanted(asked.challenge)
        grant = await self._run(adoption.adopt(_draft(taken), self._url, asking, wishes), _RENEW_SECONDS)
        if grant is not None and not grant.is_good(self._now()):
            flow = renewal.renew(grant, self._preferences(), self._senses())
            grant = None if grant.refresh_token is None else await self._run(flow, _RENEW_SECONDS)
        # looked at once: what was taken over, and is refused later, must not come back
        await asyncio.to_thread(takeover.conclude, self._store, self._url)
        if grant is not None:
            _LOG.info("the sign-in of mcp-remote to %s is taken over", grant.issuer)
        return grant

    def _find(self) -> TakenOver | None:
        if not takeover.is_due(self._store, self._url):
            return None
        return takeover.find(self._sign_in.mcp_remote_home, self._entry(), self._now())

    def _entry(self) -> takeover.Entry:
        """Return what mcp-remote would know of this server: its files and its callback port are named by that."""
        wishes = self._sign_in.preferences
        return takeover.Entry(
            self._url,
            wishes.resource if wishes.with_resource else None,
            self._settings.credentials.headers,
            wishes.authorize_params,
            wishes.client_metadata_url,
            wishes.token_endpoint,
            wishes.client,
        )

    # --- How it is done ----------------------------------------------------------------------------------------

    async def _run(
        self,
        flow: Flow[_Result],
        limit: float,
        *,
        was_opened: str | None = None,
        opening: Callable[[str], Awaitable[None]] | None = None,
    ) -> _Result:
        from mcp_remote_py.auth.callback import Callback
        from mcp_remote_py.auth.fetcher import Fetcher

        settings = self._settings
        fetcher = Fetcher(
            self._sign_in, self._url, settings.tls, settings.network, settings.timeouts, learn=self._learn
        )
        callback = Callback(self._sign_in, self._url, redirect.default_port(*self._entry()[:-1]))
        performer = Performer(
            self._sign_in,
            Tools(fetcher, callback, self._store, self.signer, self._show, self._paste, settings.secrets),
            was_opened,
            opening,
        )
        problem: str | None = "the sign-in was not finished"
        try:
            async with asyncio.timeout(limit):
                result = await performer.run(flow)
            problem = None
        except TimeoutError:
            raise SignInNeeded(
                f"nobody finished the sign-in to {self._url} within {limit:g} s (--auth-timeout)",
                hint=self._hint_of_silence(),
            ) from None
        except Fault as fault:
            problem = str(fault)
            raise
        finally:
            await callback.conclude(problem)
            callback.close()
            await fetcher.aclose()
        return result

    def _hint_of_silence(self) -> str:
        wishes, again = self._sign_in.preferences, "Try again: the next call opens the sign-in anew."
        if wishes.grant != CODE:
            return again
        again += f" The log has the address to open; `mcp-remote-py login {self._url}` does it in a terminal."
        if wishes.client is None:
            return again
        return (
            f"{again} If the browser showed an error instead of a sign-in, compare the client id and the redirect URI "
            "in that address with what is registered there (--client-id, --callback-port)."
        )

    def signer(self) -> Signer:
        """Return what signs for this server. The library for it is imported here."""
        if self._signing is None:
            from mcp_remote_py.auth import signing

            name = signing.dpop_name(self._url, names.account(self._sign_in.preferences))
            self._signing = signing.Signer(
                self._sign_in.private_key, self._sign_in.preferences.signing_alg, self._store, name
            )
        return self._signing

    def _preferences(self) -> Preferences:
        """Return the preferences with what is read anew for each use. Raises `SignInNeeded`."""
        path, wishes = self._sign_in.assertion_file, self._sign_in.preferences
        if wishes.with_dpop and importlib.util.find_spec("cryptography") is None:
            wishes = wishes._replace(with_dpop=False)  # the extra [crypto] is not there: nothing can be bound to a key
        if path is None:
            return wishes
        try:
            with open(path, encoding="utf-8-sig") as file:
                assertion = file.read(_LARGEST_ASSERTION).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SignInNeeded(
                f"--assertion-file {path} cannot be read ({reason})", hint="The platform should have put a JWT there."
            ) from None
        self._learn(assertion)
        return wishes._replace(assertion=assertion)

    def _senses(self, token: Callable[[], str] = secrets.token_urlsafe) -> Senses:
        return Senses(self._now, token, self._learn)


def _draft(taken: TakenOver) -> Grant:
    return Grant(
        issuer=taken.issuer or "",
        resource="",
        party=taken.client or Party(""),
        token_endpoint="",
        access_token=taken.access_token,
        expires=taken.expires,
        obtained=taken.obtained,
        refresh_token=taken.refresh_token,
        scope=taken.scope,
        id_token=taken.id_token,
    )


class _Begun:
    """A sign-in under way, as the next process can take it up when this one dies: the same chance, so the same URL."""

    def __init__(self, document: object, now: float) -> None:
        found = document if isinstance(document, dict) else {}
        since, url, drawn = found.get("since"), found.get("url"), found.get("drawn")
        self.is_open = isinstance(since, int | float) and 0 <= now - since < _HANDED_ON_SECONDS and isinstance(url, str)
        self.url: str | None = str(url) if self.is_open else None
        self._since = float(since) if self.is_open and isinstance(since, int | float) else None
        self._ready = (
            [text for text in drawn if isinstance(text, str)] if self.is_open and isinstance(drawn, list) else []
        )
        self._drawn: list[str] = []

    def token(self) -> str:
        """Return what was drawn at this place the first time, else something new."""
        at = len(self._drawn)
        self._drawn.append(self._ready[at] if at < len(self._ready) else secrets.token_urlsafe(32))
        return self._drawn[-1]

    def to_document(self, now: float, url: str) -> Document:
        """Return what the next process needs. It holds the verifier: it is kept where the tokens are."""
        return {"since": self._since or now, "url": url, "drawn": self._drawn}
