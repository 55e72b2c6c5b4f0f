"""The commands `login`, `logout` and `auth status`: signing in and out by hand, and who is signed in. For people.

They take the options of the bridge, so that what is kept is what the entry in the host will look for. stdout has the
result, stderr the log. Exit codes: 0 done; 1 the sign-in failed, or there is none; 2 the configuration cannot work.
No token is ever shown.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mcp_remote_py import log
from mcp_remote_py.auth import paste, takeover
from mcp_remote_py.auth.authorizer import Authorizer
from mcp_remote_py.auth.fetcher import Fetcher
from mcp_remote_py.auth.lease import Lease
from mcp_remote_py.auth.performer import Invitation
from mcp_remote_py.auth.store import Store, open_store
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Asked, ConfigError, Fault
from mcp_remote_py.core.http.headers import has
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import jwt_claims, names, tokens
from mcp_remote_py.core.oauth.steps import Document, Fetch
from mcp_remote_py.core.oauth.tokens import Grant
from mcp_remote_py.core.redact import Redactor, printable
from mcp_remote_py.settings import Settings, Target

_LOG = logging.getLogger("mcp_remote_py.auth")
PROGRAM = "mcp-remote-py"
DONE, FAILED, INTERRUPTED = 0, 1, 130
Read = Callable[[list[str]], Settings | None]
"""Reads the options of the bridge; None: a question such as `--help` was answered."""
RedactorFor = Callable[[Settings], Redactor]

_LOG_SECONDS = 0.5
"""What writing the last lines of the log may take."""
_NOWHERE = "https://nowhere.invalid/"
"""Stands in where no server is named, as the options are read for one."""
_NO_URL = "No URL was given"
_SCHEMES = ("https://", "http://", "wss://", "ws://")
_SERVER, _DPOP = "server-", "dpop-"
_WHO = ("email", "preferred_username", "upn", "name", "sub")
_SHOWN = 200
_PROBE_SECONDS = 15.0
_LEASE_SECONDS = 2.0
"""A sign-in that hangs elsewhere does not keep anybody from signing out."""
_PROBE = msg.encode({"jsonrpc": "2.0", "id": 1, "method": "ping"})
"""Asks for nothing and begins no session."""

USAGE = {
    "login": f"usage: {PROGRAM} login URL [options]\n\n"
    "Signs in to the server now, instead of at its first call, and keeps the tokens for the bridge. Takes the options\n"
    f"of the bridge ({PROGRAM} --help): give those that the entry in the host has.\n"
    "Exit codes: 0 signed in; 1 it failed; 2 the configuration cannot work.\n",
    "logout": f"usage: {PROGRAM} logout URL [options]\n       {PROGRAM} logout --all [options]\n\n"
    "Revokes the tokens of a server, or of all servers, as far as their authorization servers can be told (RFC 7009),\n"
    f"and forgets them here. Takes the options of the bridge ({PROGRAM} --help).\n"
    "Exit codes: 0 done; 1 nobody was signed in; 2 the configuration cannot work.\n",
    "auth": f"usage: {PROGRAM} auth status [URL] [--json] [options]\n\n"
    "Shows who is signed in where, until when, and where that is kept; never a token. Takes the options of the bridge\n"
    f"({PROGRAM} --help).\n"
    "Exit codes: 0 somebody is signed in; 1 nobody is; 2 the configuration cannot work.\n",
}


class Known(NamedTuple):
    """What is kept of one server: `name` in the store, its URL, and its tokens if there are any."""

    name: str
    url: str
    tokens: str | None
    grant: Grant | None


def main(command: str, arguments: Sequence[str], read: Read, redactor_for: RedactorFor) -> int:
    """Run one of the commands. Raises `ConfigError`."""
    if {"--help", "-h"} & set(arguments):
        sys.stdout.write(USAGE[command])
        return DONE
    words = list(arguments)
    if command == "auth":
        if words[:1] != ["status"]:
            raise ConfigError(f"auth: write {PROGRAM} auth status [URL] [--json]")
        del words[0]
    is_all = command == "logout" and _taken(words, "--all")
    is_json = command == "auth" and _taken(words, "--json")
    if is_all and _url_in(words):
        raise ConfigError("logout: --all means every server, and a URL one of them. Leave one of the two out.")
    settings, is_one = _settings(words, read, needs_url=not is_all and command != "auth")
    if settings is None:
        return DONE
    redactor = redactor_for(settings)
    _log_to_stderr(settings, redactor)
    say = _Say(redactor)
    url = settings.target.url if is_one and not is_all else None
    try:
        if command == "login":
            return asyncio.run(_login(settings, redactor, say))
        store = open_store(settings.sign_in.token_store, settings.home, redactor.learn)
        if command == "logout":
            return asyncio.run(_logout(settings, store, url, redactor, say))
    except KeyboardInterrupt:
        say.trouble(f"{command}: interrupted")
        return INTERRUPTED
    return _status(store, url, say, is_json=is_json)


class _Say:
    """Speaks to people. No secret passes."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, text: str) -> None:
        sys.stdout.write(self._redactor.scrub(text) + "\n")
        sys.stdout.flush()

    def trouble(self, text: str) -> None:
        sys.stderr.write(f"{PROGRAM} {self._redactor.scrub(text)}\n")


def _taken(words: list[str], flag: str) -> bool:
    """Take a flag of the command out of the arguments. Returns whether it was there."""
    is_there = flag in words
    words[:] = [word for word in words if word != flag]
    return is_there


def _url_in(words: Sequence[str]) -> bool:
    """Whether one of the words is a URL, and not the value of an option."""
    return any(
        word.lower().startswith(_SCHEMES) and (not previous.startswith("-") or "=" in previous)
        for previous, word in itertools.pairwise(("", *words))
    )


def _settings(words: list[str], read: Read, *, needs_url: bool) -> tuple[Settings | None, bool]:
    """Return the settings, and whether a server was named."""
    try:
        return read(words), True
    except ConfigError as error:
        if needs_url or not str(error).startswith(_NO_URL):
            raise
    return read([_NOWHERE, *words]), False


def _log_to_stderr(settings: Settings, redactor: Redactor) -> None:
    given = settings.logging
    handler = log.set_up(PROGRAM, given.level, redactor, file=given.file, style=given.format, bodies=given.bodies)
    log.catch_all(handler)
    for note in settings.notes:
        logging.getLogger("mcp_remote_py").warning("%s", note)
    atexit.register(handler.drain, _LOG_SECONDS)  # or the last line could be missing


# --- login -----------------------------------------------------------------------------------------------------------


async def _login(settings: Settings, redactor: Redactor, say: _Say) -> int:
    if settings.sign_in.token_store == "memory":  # noqa: S105  (a place, no secret)
        raise ConfigError("login: --token-store memory keeps nothing, so the bridge would have to sign in again.")
    credentials = settings.credentials
    if credentials.authorization is not None or has(credentials.headers, "authorization"):
        raise ConfigError(
            "login: an Authorization is configured (--header, MCP_AUTH_TOKEN or the like), so the bridge shows that "
            "and signs in nowhere. Leave it out to sign in."
        )

    def show(invitation: Invitation) -> None:
        if not _LOG.isEnabledFor(logging.WARNING):  # else the log has said it
            say(f"{invitation.text} {invitation.url}")

    authorizer = await asyncio.to_thread(Authorizer, settings, redactor.learn, show=show, paste=paste.from_pipe)
    try:
        asked = await _challenge(settings, redactor)
        await asyncio.to_thread(_release_brakes, settings, redactor)
        known = await authorizer.current()
        grant = await authorizer.sign_in(asked, None if known is None else known.access_token)
    except Fault as fault:
        say.trouble(f"login: {fault.in_full}")
        return FAILED
    who = _who(grant)
    say(f"Signed in to {settings.target.url}{'' if who is None else f' as {who}'}, by {_short(grant.issuer)}.")
    return DONE


async def _challenge(settings: Settings, redactor: Redactor) -> Asked | None:
    """Return how the server asks for a sign-in; None where it does not say: then the usual places are looked at."""
    url = settings.target.url
    if url.startswith("ws"):
        url = "http" + url.removeprefix("ws")
    head = (
        *settings.credentials.headers,
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    )
    fetcher = Fetcher(
        settings.sign_in, settings.target.url, settings.tls, settings.network, settings.timeouts, redactor.learn
    )
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            step = Fetch(f"an answer of {place_of(url)}", "POST", url, head, _PROBE, origin_checked=True)
            fetched = await fetcher.fetch(step)
    except (Fault, TimeoutError) as trouble:
        _LOG.debug("the server was asked for its challenge in vain (%s)", type(trouble).__name__)
        return None
    finally:
        await fetcher.aclose()
    told = fetched.headers.get("www-authenticate", "")
    return Asked(fetched.status, told) if fetched.status == 401 or (fetched.status == 403 and told) else None


def _release_brakes(settings: Settings, redactor: Redactor) -> None:
    """Let a person who asks for it sign in, however often it was tried before."""
    store = open_store(settings.sign_in.token_store, settings.home, redactor.learn)
    for known in _known(store, settings.target.url):
        document = store.read(known.name)
        if document is not None and document.get("attempts"):
            store.write(known.name, {**document, "attempts": []})


# --- logout ----------------------------------------------------------------------------------------------------------


async def _logout(settings: Settings, store: Store, url: str | None, redactor: Redactor, say: _Say) -> int:
    every = await asyncio.to_thread(_known, store, url)
    for known in every:
        if known.grant is not None:
            await _end(settings, known.url, known.grant, redactor, say)
        await _forget(settings, store, known)
        if known.grant is None:
            say(f"{known.url}: forgotten; nobody was signed in.")
    if url is not None:
        await asyncio.to_thread(takeover.conclude, store, url)
        if not every:
            say(f"{url}: nobody is signed in.")
            return FAILED
        return DONE
    left = await asyncio.to_thread(store.names)
    for name in left:
        if not takeover.is_mark(name):
            await asyncio.to_thread(store.write, name, None)
    if not every:
        say("Nobody is signed in anywhere.")
    return DONE


async def _end(settings: Settings, url: str, grant: Grant, redactor: Redactor, say: _Say) -> None:
    """Tell the authorization server, and say what came of it."""
    authorizer = await asyncio.to_thread(Authorizer, settings._replace(target=Target(url)), redactor.learn)
    if await authorizer.end(grant):
        say(f"{url}: signed out; {_short(grant.issuer)} has revoked the tokens.")
    elif grant.revocation_endpoint is None:
        say(f"{url}: signed out here; {_short(grant.issuer)} offers no way to revoke tokens, so they run out by time.")
    else:
        say(f"{url}: signed out here; {_short(grant.issuer)} did not revoke the tokens (see the log).")


async def _forget(settings: Settings, store: Store, known: Known) -> None:
    def forget() -> None:
        takeover.conclude(store, known.url)
        gone = [known.name, known.name.replace(_SERVER, _DPOP, 1)]
        if known.tokens is not None:
            gone.append(known.tokens)
        if known.grant is not None:
            issuer = known.grant.issuer
            gone += [names.registration(issuer, uri) for uri in known.grant.party.redirect_uris]
        for name in gone:
            store.write(name, None)

    try:
        async with Lease(settings.home).held(known.name, _LEASE_SECONDS):
            await asyncio.to_thread(forget)
    except Fault:
        _LOG.warning("another process is signing in to %s just now, and may keep what it gets", known.url)
        await asyncio.to_thread(forget)


# --- auth status -----------------------------------------------------------------------------------------------------


def _status(store: Store, url: str | None, say: _Say, *, is_json: bool) -> int:
    every = [known for known in _known(store, url) if known.grant is not None]
    now = time.time()
    rows = [
        _row(known.url, known.grant, store.where(known.tokens or known.name), now) for known in every if known.grant
    ]
    if is_json:
        say(msg.encode({"sign_ins": rows}).decode("utf-8"))
    elif rows:
        say("\n\n".join(_as_text(row) for row in rows))
    else:
        say("Nobody is signed in anywhere." if url is None else f"{url}: nobody is signed in.")
    return DONE if rows else FAILED


def _row(url: str, grant: Grant, where: str, now: float) -> Document:
    return {
        "url": url,
        "who": _who(grant),
        "client_id": _short(grant.party.client_id),
        "issuer": _short(grant.issuer),
        "resource": _short(grant.resource),
        "scopes": None if grant.scope is None else [_short(scope) for scope in grant.scope.split()],
        "grant": grant.kind,
        "token_type": grant.scheme,
        "expires": None if grant.expires is None else _time(grant.expires),
        "expired": not grant.is_good(now),
        "renewable": grant.refresh_token is not None,
        "stored": where,
    }


def _as_text(row: Document) -> str:
    scopes = row["scopes"]
    lines = {
        "who": row["who"] or "not told",
        "issuer": row["issuer"],
        "client": row["client_id"],
        "scopes": "not told" if scopes is None else " ".join(scopes) or "none",
        "expires": _until(row),
        "stored": row["stored"],
    }
    return "\n".join([row["url"], *(f"  {name:8} {text}" for name, text in lines.items())])


def _until(row: dict[str, Any]) -> str:
    if row["expires"] is None:
        return "not told" + ("; renewed when it is refused" if row["renewable"] else "")
    if row["expired"]:
        then = "renewed at the next call" if row["renewable"] else "the next call needs a sign-in"
        return f"{row['expires']}, which is over; {then}"
    return f"{row['expires']}; {'renewed by itself' if row['renewable'] else 'then a new sign-in is needed'}"


def _who(grant: Grant) -> str | None:
    """Return who it is, as the tokens say it. Nobody has verified that; it is for people to recognise themselves."""
    for token in (grant.id_token, grant.access_token):
        claims = None if token is None else jwt_claims.read(token)
        for name in _WHO:
            found = (claims or {}).get(name)
            if isinstance(found, str) and found:
                return _short(found)
    return None


def _known(store: Store, url: str | None) -> list[Known]:
    """Return what is kept of one server, by any account, or of all."""
    found = []
    for name in _only(store.names(), _SERVER):
        document = store.read(name) or {}
        address, kept = document.get("url"), document.get("tokens")
        if isinstance(address, str) and (url is None or address == url):
            held = store.read(kept) if isinstance(kept, str) else None
            grant = None if held is None else tokens.from_document(held)
            found.append(Known(name, printable(address, 500), kept if isinstance(kept, str) else None, grant))
    return sorted(found, key=lambda known: (known.url, known.name))


def _only(every: Iterable[str], beginning: str) -> list[str]:
    return [name for name in every if name.startswith(beginning)]


def _short(text: str) -> str:
    return printable(text, _SHOWN)


def _time(moment: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (OverflowError, ValueError, OSError):
        return "never"  # a time that no calendar has
