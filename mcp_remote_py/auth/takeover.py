"""Takeover: what mcp-remote knows of a server, so that changing over asks nobody to sign in. Reads, never writes there.

Its folder (`MCP_REMOTE_CONFIG_DIR`, else `~/.mcp-auth`) has one folder for each form of its store: `mcp-remote-0.1.37`
and the like up to 0.2, `mcp-remote-v1` since. In them are `<hash>_tokens.json` and `<hash>_client_info.json`; the hash
is made of the URL, since 0.1.30 also of the resource and the headers, later of more. Sources: mcp-remote 0.15.1,
`src/lib/mcp-auth-config.ts`, `node-oauth-client-provider.ts`, `utils.ts`; the history of its repository for the rest.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mcp_remote_py.auth.store import Store
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.oauth import names, redirect
from mcp_remote_py.core.oauth.preferences import AUTH_METHODS, Client
from mcp_remote_py.core.oauth.steps import Document
from mcp_remote_py.core.oauth.tokens import Party

_FOLDER = re.compile(r"mcp-remote-(?:v(\d{1,6})|(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-[\w.-]{1,40})?)", re.ASCII)
_FIRST_WITH_HEADERS = (0, 0, 1, 30)
"""Before this version, the hash was made of the URL alone."""
_TOGETHER_SECONDS = 60.0
"""Files whose times lie so close together were copied, so that their times say nothing."""
_MOST_BYTES = 1024 * 1024
_MOST_FOLDERS = 1000
_SOON_SECONDS = 30.0
_MILLISECONDS_FROM = 1e11
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Entry(NamedTuple):
    """The entry of the host's configuration, as mcp-remote would have read it."""

    url: str
    resource: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    authorize_params: tuple[tuple[str, str], ...] = ()
    client_metadata_url: str | None = None
    token_endpoint: str | None = None
    client: Client | None = None


class TakenOver(NamedTuple):
    """What was found. `issuer`: where it is known, the tokens are worth nothing at another one.

    `refresh_token` is None where nobody knows which client it belongs to; then `client` is None, too.
    """

    access_token: str
    refresh_token: str | None
    expires: float | None
    obtained: float
    scope: str | None
    id_token: str | None
    issuer: str | None
    client: Party | None


def find(folder: str, entry: Entry, now: float) -> TakenOver | None:
    """Return the newest tokens for this entry that are good for something; None where there are none.

    `folder`: mcp-remote's; empty: none. `now`: the wall clock. Blocks. Nothing in those files can make it fail.
    """
    found = [
        (stamp, version, taken)
        for version, path in _folders(folder)
        for digest in _digests(entry, version)
        if (read := _tokens(os.path.join(path, digest), entry, now)) is not None
        for stamp, taken in [read]
    ]
    if not found:
        return None
    newest = max(stamp for stamp, _, _ in found)
    recent = [(version, stamp, taken) for stamp, version, taken in found if newest - stamp <= _TOGETHER_SECONDS]
    return max(recent, key=lambda each: each[:2])[2]


def is_due(store: Store, url: str) -> bool:
    """Whether nothing was taken over for this server yet, and nobody has signed out of it."""
    return store.read(_mark(url)) is None


def conclude(store: Store, url: str) -> None:
    """Take nothing over for this server any more: it was done, or somebody has signed out."""
    store.write(_mark(url), {"form": 1, "url": url})


def is_mark(name: str) -> bool:
    """Whether a name of the store is one of `conclude`."""
    return name.startswith("taken-")


def _mark(url: str) -> str:
    return f"taken-{names.server(url).removeprefix('server-')}"


def _folders(folder: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the folders of all versions, each with its version in an order in which `v1` follows all older ones."""
    if not folder:
        return
    try:
        entries = sorted(os.listdir(folder))[:_MOST_FOLDERS]
    except OSError:
        return  # mcp-remote was never used here
    for name in entries:
        match = _FOLDER.fullmatch(name)
        if match is not None:
            layout, *numbers = match.groups()
            version = (int(layout),) if layout else (0, *map(int, numbers))
            yield version, os.path.join(folder, name)


def _digests(entry: Entry, version: tuple[int, ...]) -> tuple[str, ...]:
    """Return the hashes of this entry in a version, the most precise first."""
    if version < _FIRST_WITH_HEADERS:
        return (redirect.server_hash(entry.url),)
    with_headers = redirect.server_hash(entry.url, entry.resource, entry.headers)
    precise = redirect.server_hash(*entry[:-1])
    return tuple(dict.fromkeys((precise, with_headers)))


def _tokens(path: str, entry: Entry, now: float) -> tuple[float, TakenOver] | None:
    """Return when the tokens were written, and what they are; None for none, or none that are of use."""
    read = _read(f"{path}_tokens.json")
    if read is None:
        return None
    stamp, document = read
    access = _text(document, "access_token")
    if access is None or (_text(document, "token_type") or "Bearer").lower() != "bearer":
        return None
    registered = _read(f"{path}_client_info.json")
    about = {} if registered is None else registered[1]
    client = _client(entry, about)
    taken = TakenOver(
        access_token=access,
        refresh_token=None if client is None else _text(document, "refresh_token"),
        expires=_expires(document, stamp),
        obtained=min(stamp, now),
        scope=_words(document.get("scope")) or _words(document.get("requested_scope")),
        id_token=_text(document, "id_token"),
        issuer=_text(document, "issuer") or _text(about, "issuer"),
        client=client,
    )
    is_good = taken.expires is None or taken.expires > now + _SOON_SECONDS
    return (stamp, taken) if is_good or taken.refresh_token is not None else None


def _client(entry: Entry, about: Document) -> Party | None:
    """Return whose tokens they are: mcp-remote, too, takes what is configured before what it registered."""
    if entry.client is not None:
        given = entry.client
        method = given.method or _usual_method(given.client_secret)
        return Party(given.client_id, given.client_secret, method, redirect_uris=given.redirect_uris)
    client_id = _words(about.get("client_id"))
    if client_id is None:
        return None if entry.client_metadata_url is None else Party(entry.client_metadata_url)
    secret, uris = _words(about.get("client_secret")), about.get("redirect_uris")
    named = about.get("token_endpoint_auth_method")
    return Party(
        client_id,
        secret,
        named if named in AUTH_METHODS and (secret or named == "none") else _usual_method(secret),
        secret_expires=_number(about.get("client_secret_expires_at")) or None,  # 0 means never (RFC 7591)
        redirect_uris=tuple(uri for uri in uris if isinstance(uri, str)) if isinstance(uris, list) else (),
    )


def _usual_method(secret: str | None) -> str:
    return "none" if secret is None else "client_secret_basic"


def _expires(document: Document, stamp: float) -> float | None:
    """Return when the access token expires; mcp-remote keeps milliseconds, and before 0.2 only how long it lives."""
    at = _number(document.get("expires_at"))
    if at is not None:
        return at / 1000 if at >= _MILLISECONDS_FROM else at
    lives = _number(document.get("expires_in"))
    return None if lives is None else stamp + lives


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(document: Document, name: str) -> str | None:
    """Return a value that may stand in a header: visible characters of ASCII."""
    value = document.get(name)
    return value if isinstance(value, str) and _VISIBLE.fullmatch(value) else None


def _words(value: object) -> str | None:
    return value if isinstance(value, str) and value and value.isprintable() else None


def _read(path: str) -> tuple[float, dict[str, Any]] | None:
    """Return when a file was written, and its object; None where it is not there, or is of no use."""
    try:
        with open(path, "rb") as file:
            stamp = os.fstat(file.fileno()).st_mtime
            raw = file.read(_MOST_BYTES + 1)
        document = msg.value_of(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return (stamp, document) if isinstance(document, dict) and len(raw) <= _MOST_BYTES else None
