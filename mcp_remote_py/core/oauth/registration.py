"""Registration: who we are at an authorization server. Given, published, or registered there and then.

The order is that of 2025-11-25 and later: a client that the user configured, a client ID metadata document, dynamic
registration, and where none of them can be, an error that says what to configure. A registration is kept under its
issuer and redirect URI, and never used with others.

Sources: RFC 7591 sections 2 and 3, RFC 8252 section 7.3, the draft of client ID metadata documents, the authorization
chapters of 2025-11-25 and 2026-07-28.
"""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import urlsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import addresses, discovery, metadata, names, preferences, tokens
from mcp_remote_py.core.oauth.metadata import ServerMetadata
from mcp_remote_py.core.oauth.preferences import Client, Preferences
from mcp_remote_py.core.oauth.steps import Document, Fetch, Fetched, Flow, Keep, Recall, Say, Senses
from mcp_remote_py.core.oauth.tokens import Party
from mcp_remote_py.core.redact import printable

CLIENT_NAME = "mcp-remote-py"
HEADERS = (("Content-Type", "application/json"), ("Accept", "application/json"))
NONE, BASIC, POST, SIGNED = "none", "client_secret_basic", "client_secret_post", "private_key_jwt"

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SELF_REGISTERING = frozenset([preferences.CODE, preferences.DEVICE])
"""Grants for which a client may register by itself; the others need a client that somebody trusts."""
_PRINTED = re.compile(r"[\x20-\x7e]{1,2048}")
_SHOWN = 300
_OPTIONS = (
    "--client-id ID (and --client-secret-env NAME or --client-secret-file FILE, where it has a secret), "
    "or --static-oauth-client-info JSON"
)
_ASK = "Register a client at the authorization server (or ask whoever runs it for one), then pass"


def identify(
    server: ServerMetadata,
    preferences: Preferences,
    redirect_uri: str,
    scope: str | None,
    recalled: Party | None,
    senses: Senses,
) -> Flow[Party]:
    """Say who we are, registering where that is needed. Raises `SignInNeeded` that says what to configure.

    `redirect_uri`: empty for grants without one. `scope`: what will be asked for. `recalled`: what `recall` found; it
    is used if it fits the redirect URI and its secret has not expired. A new registration is kept. The party of
    `jwt-bearer` has an empty `client_id` where none is configured: the assertion alone says who asks.
    """
    if preferences.client is not None:
        return _configured(preferences.client, server, preferences, redirect_uri, senses)
    if preferences.grant not in _SELF_REGISTERING:
        return _without_client(preferences)
    if preferences.client_metadata_url is not None:
        published = _published(preferences.client_metadata_url, server, preferences, redirect_uri)
        if published is not None:
            return published
    if recalled is not None and fits(recalled, redirect_uri, senses.now()):
        if recalled.client_secret is not None:
            senses.learn(recalled.client_secret)
        return recalled
    if server.registration_endpoint is None:
        raise _cannot_register(server, preferences)
    return (yield from _register(server, preferences, redirect_uri, scope, senses))


def fits(party: Party, redirect_uri: str, now: float) -> bool:
    """Whether a registration can be used for this redirect URI, and its secret has not expired."""
    if redirect_uri and redirect_uri not in party.redirect_uris:
        return False
    return party.secret_expires is None or now < party.secret_expires


def recall(issuer: str, redirect_uri: str, scope: str | None = None) -> Flow[Party | None]:
    """Return the registration that was kept for this issuer and redirect URI, if it is good for this `scope`.

    A client may be held to the scopes it was registered with: for others it is registered anew.
    """
    document = yield Recall(names.registration(issuer, redirect_uri))
    if not isinstance(document, dict):
        return None
    registered = document.get("scope")
    if isinstance(registered, str) and not set((scope or "").split()) <= set(registered.split()):
        return None
    return from_document(document, issuer)


def forget(issuer: str, redirect_uri: str) -> Flow[None]:
    """Keep nothing of the registration any more: the server no longer knows it."""
    yield Keep(names.registration(issuer, redirect_uri), None)


def to_document(party: Party, issuer: str, scope: str | None = None) -> Document:
    """Return a registration as plain JSON, with the issuer that it belongs to, and the scopes where they are known."""
    fields = party._asdict() | {"redirect_uris": list(party.redirect_uris)}
    return {"form": tokens.FORM, "issuer": issuer, **fields, **({} if scope is None else {"scope": scope})}


def from_document(document: Document, issuer: str) -> Party | None:
    """Return the registration of a document; None where it is none, or that of another issuer."""
    if document.get("form") != tokens.FORM or document.get("issuer") != issuer:
        return None
    client_id, secret = document.get("client_id"), document.get("client_secret")
    method, uris = document.get("method"), document.get("redirect_uris")
    if not isinstance(client_id, str) or not client_id or not isinstance(secret, str | None):
        return None
    if not isinstance(method, str) or method not in preferences.AUTH_METHODS or not isinstance(uris, list):
        return None
    texts = tuple(uri for uri in uris if isinstance(uri, str))
    return Party(client_id, secret, method, _time(document.get("secret_expires")), texts)


# --- A client that is given ------------------------------------------------------------------------------------------


def _configured(
    client: Client, server: ServerMetadata, wishes: Preferences, redirect_uri: str, senses: Senses
) -> Party:
    if client.client_secret is not None:
        senses.learn(client.client_secret)
    if wishes.grant == preferences.CODE and not _allowed(redirect_uri, client.redirect_uris):
        raise SignInNeeded(
            f"The client that is configured is registered for {printable(client.redirect_uris[0], _SHOWN)}, and the "
            f"browser would come back to {printable(redirect_uri, _SHOWN)}.",
            hint="Free that port, or register this redirect URI too; --callback-host, --callback-port and "
            "--callback-path say where we listen.",
        )
    method = client.method or _method(client.client_secret, server, has_key=wishes.has_private_key)
    return Party(client.client_id, client.client_secret, method, None, client.redirect_uris)


def _allowed(redirect_uri: str, registered: tuple[str, ...]) -> bool:
    """Whether a registered client may use a redirect URI; one that is registered without a port goes with any."""
    if not registered or redirect_uri in registered:
        return True
    try:
        ours = urlsplit(redirect_uri)
        for uri in registered:
            parts = urlsplit(uri)
            if (
                parts.scheme == ours.scheme == "http"
                and parts.port is None
                and parts.hostname == ours.hostname
                and addresses.is_loopback_host(parts.hostname or "")
                and (parts.path.rstrip("/"), parts.query) == (ours.path.rstrip("/"), ours.query)
            ):
                return True
    except ValueError:
        return False  # no URI, so not this one
    return False


def _method(secret: str | None, server: ServerMetadata, *, has_key: bool) -> str:
    """Return how to authenticate, where nobody said: what we have, in the server's words (RFC 8414: basic)."""
    offered = server.auth_methods
    if has_key and (secret is None or (offered is not None and SIGNED in offered)):
        return SIGNED
    if secret is None:
        return NONE
    if offered is None or BASIC in offered:
        return BASIC
    if POST in offered:
        return POST
    return NONE if NONE in offered else BASIC


def _without_client(wishes: Preferences) -> Party:
    if wishes.grant == preferences.ASSERTION:
        return Party("", method=NONE)
    raise SignInNeeded(
        f"--grant {wishes.grant} needs a client that is registered at the authorization server.",
        hint=f"{_ASK} {_OPTIONS}"
        + (", or --client-id ID and --private-key FILE." if wishes.grant == preferences.CLIENT_CREDENTIALS else "."),
    )


def _published(url: str, server: ServerMetadata, wishes: Preferences, redirect_uri: str) -> Party | None:
    """Return us as the document at this URL describes us; None where the server does not read such documents."""
    problem = addresses.client_id_url_problem(url)
    if problem is not None:
        raise SignInNeeded(
            f"--client-metadata-url cannot be used: {problem}.",
            hint="Give an https URL with a path, where the client's metadata document is published.",
        )
    if not server.client_id_metadata_document_supported:
        return None
    method = SIGNED if wishes.has_private_key else NONE
    return Party(url, None, method, None, (redirect_uri,) if redirect_uri else ())


def _cannot_register(server: ServerMetadata, wishes: Preferences) -> SignInNeeded:
    missing = server.problem("registration_endpoint")
    why = "does not let clients register by themselves" if missing == "it is missing" else ""
    why = why or f"has a registration_endpoint that cannot be used: {missing}"
    unread = wishes.client_metadata_url is not None
    also = ", and it does not read client metadata documents (--client-metadata-url)" if unread else ""
    return SignInNeeded(
        f"The authorization server {printable(server.issuer, _SHOWN)} {why}{also}.",
        hint=f"{_ASK} {_OPTIONS}."
        + (
            " It also reads client metadata documents: --client-metadata-url URL."
            if server.client_id_metadata_document_supported
            else ""
        ),
    )


# --- Dynamic registration --------------------------------------------------------------------------------------------


def _register(
    server: ServerMetadata, wishes: Preferences, redirect_uri: str, scope: str | None, senses: Senses
) -> Flow[Party]:
    endpoint = server.registration_endpoint or ""
    asked = _wanted(server, wishes, redirect_uri, scope)
    what = f"a registration at {place_of(endpoint)}"
    answer = yield Fetch(what, "POST", endpoint, HEADERS, msg.encode(asked), server.is_known(endpoint))
    document = metadata.read(answer.body)
    if answer.status not in (200, 201):
        raise _refusal(what, endpoint, answer, document, server)
    party = None if document is None else _party(document, server, redirect_uri)
    if party is None:
        raise SignInNeeded(
            f"{place_of(endpoint)} answered the registration of a client with something that is none.",
            hint=f"{_ASK} {_OPTIONS}.",
        )
    for name in ("client_secret", "registration_access_token"):
        secret = document.get(name) if document is not None else None
        if isinstance(secret, str) and secret:
            senses.learn(secret)
    granted = asked.get("scope") if document is None else document.get("scope", asked.get("scope"))
    kept = to_document(party, server.issuer, granted if isinstance(granted, str) else None)
    yield Keep(names.registration(server.issuer, redirect_uri), kept)
    yield Say("info", f"Registered as a client at {place_of(server.issuer)}.")
    return party


def _wanted(server: ServerMetadata, wishes: Preferences, redirect_uri: str, scope: str | None) -> Document:
    """Return what we say of ourselves; the user's words count more, and `null` takes one of ours away."""
    device = wishes.grant == preferences.DEVICE
    ours: dict[str, Any] = {
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri] if redirect_uri else None,
        "grant_types": [_DEVICE_GRANT if device else "authorization_code", "refresh_token"],
        "response_types": [] if device else ["code"],
        "token_endpoint_auth_method": _method_to_ask(server),
        "application_type": "native",
        "scope": scope,
    }
    theirs = wishes.client_metadata or {}
    merged = {name: value for name, value in {**ours, **theirs}.items() if value is not None}
    uris = merged.get("redirect_uris")
    if redirect_uri and isinstance(uris, list) and redirect_uri not in uris:
        merged["redirect_uris"] = [*uris, redirect_uri]
    return merged


def _method_to_ask(server: ServerMetadata) -> str:
    """Return `none`, as this program cannot keep a secret from its user, unless the server wants one all the same."""
    offered = server.auth_methods
    if offered is None or NONE in offered:
        return NONE
    return next((method for method in (BASIC, POST) if method in offered), NONE)


def _party(document: Document, server: ServerMetadata, redirect_uri: str) -> Party | None:
    """Return what came back, whatever was asked for; None where no client can be made of it."""
    client_id, secret = document.get("client_id"), document.get("client_secret")
    if not isinstance(client_id, str) or not _PRINTED.fullmatch(client_id):
        return None
    if not isinstance(secret, str) or not secret:
        secret = None
    method = document.get("token_endpoint_auth_method")
    if not isinstance(method, str) or method not in (NONE, BASIC, POST):
        method = _method(secret, server, has_key=False)
    if secret is None and method in (BASIC, POST):
        method = NONE  # it cannot be meant: there is nothing to show
    expires = _time(document.get("client_secret_expires_at")) if secret is not None else None
    named = document.get("redirect_uris")
    uris = tuple(uri for uri in named if isinstance(uri, str)) if isinstance(named, list) else ()
    if redirect_uri and redirect_uri not in uris:
        uris = (*uris, redirect_uri)
    return Party(client_id, secret, method, expires or None, uris)


def _refusal(
    what: str, endpoint: str, answer: Fetched, document: Document | None, server: ServerMetadata
) -> SignInNeeded:
    if answer.status >= 500 or answer.status == 429:
        return discovery.failed(what, endpoint, answer)
    if server.guessed and (document is None or answer.status in (404, 405)):  # many servers say that in JSON, too
        return SignInNeeded(
            f"{place_of(server.issuer)} says nothing about how one signs in",
            hint="It may want a token that you have to give: set MCP_AUTH_TOKEN, or pass --header "
            '"Authorization: Bearer ..." (--header-file keeps it out of the process list). Where a client was '
            f"registered for you, pass {_OPTIONS}.",
            http_status=answer.status,
        )
    said = document or {}
    error, description = said.get("error"), said.get("error_description")
    words = [printable(text, _SHOWN) for text in (error, description) if isinstance(text, str) and text]
    reason = f": {' - '.join(words)}" if words else ""
    if error in ("invalid_redirect_uri", "invalid_client_metadata"):
        hint = (
            "--callback-host, --callback-port and --callback-path change the redirect URI, "
            "--static-oauth-client-metadata JSON what we say of ourselves. "
        )
    else:
        hint = ""
    return SignInNeeded(
        f"{place_of(endpoint)} refused to register a client (HTTP {answer.status}){reason}",
        hint=f"{hint}{_ASK} {_OPTIONS}.",
        http_status=answer.status,
    )


def _time(value: object) -> float | None:
    """Return a point in time; some servers write it as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
