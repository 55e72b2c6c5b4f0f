"""The browser's way there and back: the URL a person signs in at, and the redirect that returns. Pure.

Sources: RFC 6749 sections 3.1, 4.1.1 and 4.1.2, RFC 8707 section 2, RFC 9207 section 2.4, MCP "Authorization"
(2026-07-28) for the four rows of `iss`; mcp-remote 0.15.1 for the port, so that redirect URIs that were registered for
it go on working.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode, urlsplit, urlunsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.redact import printable

_FIRST_PORT, _PORTS = 3335, 45816
_RESERVED = frozenset(
    ["response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "request"]
)
"""What belongs to the flow, so that nobody else may set it."""
_READ = ("code", "state", "iss", "error", "error_description")
_MOST_FIELDS = 100
_SHOWN = 300

AGAIN = "Try again; the sign-in begins anew with the next request."


class Code(NamedTuple):
    """The authorization code that came back."""

    code: str


class Denied(NamedTuple):
    """The authorization server sent the person back with an error."""

    error: str
    description: str


def authorization_url(endpoint: str, own: Mapping[str, str], extra: Iterable[tuple[str, str]] = ()) -> str:
    """Return the URL to open. The query that the endpoint already has is kept, letter by letter.

    `own`: what the flow says; `extra`: what the user adds. Each parameter is sent once (RFC 6749 section 3.1): nothing
    in `extra` or in the endpoint replaces what the flow says, and in neither may stand what the flow alone may say.
    """
    parts = urlsplit(endpoint)
    added = {name: value for name, value in extra if name not in own and name not in _RESERVED}
    ours = own.keys() | added.keys() | _RESERVED
    kept = [piece for piece in parts.query.split("&") if piece and unquote_plus(piece.partition("=")[0]) not in ours]
    query = "&".join([*kept, urlencode([*own.items(), *added.items()], quote_via=quote)])
    return urlunsplit(parts._replace(query=query, fragment=""))


def returned(query: str, state: str, issuer: str, iss_supported: bool) -> Code | Denied:
    """Read the query of the redirect that came back.

    `state` and `issuer`: as they were recorded before the browser opened; `iss_supported`: what the metadata says of
    `authorization_response_iss_parameter_supported`. Raises `SignInNeeded` where the redirect is not the answer to our
    request; nothing of it is shown then, also of its error.
    """
    fields = _fields(query)
    if not hmac.compare_digest(fields.get("state", "").encode(), state.encode()):
        raise SignInNeeded(
            "The redirect that came back belongs to another sign-in: its state is not the one that was sent.",
            hint="Somebody else may have made that link. " + AGAIN,
        )
    _check_issuer(fields.get("iss"), issuer, iss_supported)
    if "error" in fields:
        return Denied(fields["error"], fields.get("error_description", ""))
    if not fields.get("code"):
        raise SignInNeeded("The redirect that came back has neither a code nor an error in it.", hint=AGAIN)
    return Code(fields["code"])


def read(query: str, state: str, issuer: str, iss_supported: bool) -> Code:
    """Return the code of a redirect, see `returned`. Raises `SignInNeeded` for an error as well."""
    found = returned(query, state, issuer, iss_supported)
    if isinstance(found, Denied):
        raise denial(found, issuer)
    return found


_MEANINGS = {
    "access_denied": ("The sign-in was turned down", "Sign in again and agree, or ask whoever runs the account."),
    "login_required": ("The sign-in was turned down: nobody is signed in there", AGAIN),
    "consent_required": ("The sign-in was turned down: nobody agreed to it", AGAIN),
    "unauthorized_client": (
        "The authorization server does not let this client sign people in",
        "The client's registration there has to allow the authorization code grant; --client-id names another client.",
    ),
    "invalid_scope": (
        "The authorization server does not know the scopes that were asked for",
        "Name the right ones: --scope 'one two'.",
    ),
    "invalid_target": (
        "The authorization server does not give tokens for this resource",
        "Name the resource as it is known there: --resource URL; or leave it out: --no-resource.",
    ),
    "server_error": ("The authorization server failed", "Try again later."),
    "temporarily_unavailable": ("The authorization server cannot be used now", "Try again later."),
}


def denial(denied: Denied, issuer: str) -> SignInNeeded:
    """Return the trouble in words: what the authorization server said, made safe to show."""
    text, hint = _MEANINGS.get(denied.error, ("The authorization server did not accept the sign-in", AGAIN))
    said = printable(denied.error, 100) or "an error without a name"
    if denied.description:
        said += f" ({printable(denied.description, _SHOWN)})"
    return SignInNeeded(f"{text}. {place_of(issuer)} said: {said}", hint=hint)


def _fields(query: str) -> dict[str, str]:
    """Return what a query says. Raises `SignInNeeded` where that has two meanings, or none."""
    query = query.strip().removeprefix("?").partition("#")[0]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise SignInNeeded("The redirect that came back cannot be read.", hint=AGAIN) from None
    names = [name for name, _ in pairs]
    if any(names.count(name) > 1 for name in _READ):
        raise SignInNeeded("The redirect that came back says one thing twice, which is not allowed.", hint=AGAIN)
    return dict(pairs)


def _check_issuer(named: str | None, issuer: str, supported: bool) -> None:
    """The four rows of RFC 9207 in MCP: compared as plain text, without any normalisation."""
    if named is None:
        if supported:
            raise SignInNeeded(
                f"The redirect that came back does not say which authorization server it is from, "
                f"which {place_of(issuer)} says it always does.",
                hint="Another authorization server may have tried to take the code (mix-up). " + AGAIN,
            )
        return
    if named != issuer:
        raise SignInNeeded(
            f"The redirect that came back is from another authorization server than {place_of(issuer)}, "
            "which was asked.",
            hint="Its code was sent nowhere (mix-up, RFC 9207). " + AGAIN,
        )


# --- The port of mcp-remote ------------------------------------------------------------------------------------------


def default_port(
    server_url: str,
    resource: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    authorize_params: Iterable[tuple[str, str]] = (),
    client_metadata_url: str | None = None,
    token_endpoint: str | None = None,
) -> int:
    """Return the callback port that mcp-remote 0.15.1 derives (`getServerUrlHash`, `calculateDefaultPort`).

    Everything as it was written by the user: the URL unchanged, header values before variables are put in, of several
    headers or parameters of one name the last. An empty text counts as not given.
    """
    digest = server_hash(server_url, resource, headers, authorize_params, client_metadata_url, token_endpoint)
    return _FIRST_PORT + int(digest[:4], 16) % _PORTS


def server_hash(
    server_url: str,
    resource: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    authorize_params: Iterable[tuple[str, str]] = (),
    client_metadata_url: str | None = None,
    token_endpoint: str | None = None,
) -> str:
    """Return the text by which mcp-remote 0.15.1 names its files for a server. Shapes as for `default_port`."""
    params, fields = _sorted_json(authorize_params), _sorted_json(headers)
    parts = [server_url, *filter(None, (resource, params, fields, client_metadata_url, token_endpoint))]
    return hashlib.md5("|".join(parts).encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _sorted_json(pairs: Iterable[tuple[str, str]]) -> str:
    """Return what `JSON.stringify(object, Object.keys(object).sort())` gives; nothing for no pairs."""
    known = dict(pairs)
    names = sorted(known, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return msg.encode({name: known[name] for name in names}).decode("utf-8") if known else ""
