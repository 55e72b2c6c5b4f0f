"""Token answers: what a token endpoint said, good or bad, in JSON or as a form. Bytes in, an answer or a refusal out.

Sources: RFC 6749 sections 5.1 and 5.2, RFC 8628 section 3.5, RFC 9449 section 5; GitHub, which answers an error with
status 200, and as a form where JSON is not asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http import retry_after
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import jwt_claims
from mcp_remote_py.core.oauth.steps import Fetched
from mcp_remote_py.core.redact import printable

BEARER, DPOP, NOT_APPLICABLE = "Bearer", "DPoP", "N_A"

_SCHEMES = {
    "": BEARER,  # many servers leave it out
    "bearer": BEARER,
    "dpop": DPOP,
    "n_a": NOT_APPLICABLE,  # RFC 8693: not an access token; an ID-JAG is none
    # Slack (https://docs.slack.dev/authentication/installing-with-oauth): whom the bearer token speaks for
    "bot": BEARER,
    "user": BEARER,
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_LONGEST = 100 * 365 * 86400.0
"""A life of more seconds is no statement about when to renew."""
_SHOWN = 300
_PASSING = frozenset(["server_error", "temporarily_unavailable", "slow_down", "authorization_pending"])
"""Errors that say nothing against the token or the client."""


class Answer(NamedTuple):
    """Tokens. `life`: seconds that the access token is good, None where nothing usable is said."""

    access_token: str
    scheme: str = BEARER
    life: float | None = None
    refresh_token: str | None = None
    scope: str | None = None
    """As it was written; None where the server does not say: then all that was asked for was granted."""
    id_token: str | None = None
    issued_token_type: str | None = None


class Refusal(NamedTuple):
    """The server said no. `error` is empty where it did not say it in OAuth's words."""

    error: str
    description: str
    status: int

    @property
    def passes(self) -> bool:
        """Whether it says nothing against what was shown, so that trying again later may help."""
        return self.error in _PASSING

    def words(self) -> str:
        """Return the server's words as they may stand in a sentence, or the status where it had none."""
        said = printable(self.error, 100) or f"HTTP status {self.status}"
        return f"{said} ({printable(self.description, _SHOWN)})" if self.description else said


def read(fetched: Fetched, place: str, learn: Callable[[str], None]) -> Answer | Refusal:
    """Read the answer of a token endpoint. `place` names it in sentences; `learn` is told each secret.

    Raises `SignInNeeded` where the answer says nothing about what was asked: redirects, 5xx, 429, unusable tokens.
    """
    fields = fields_of(fetched)
    for name in ("access_token", "refresh_token", "id_token"):
        if isinstance(secret := fields.get(name), str) and secret:
            learn(secret)
    refusal = refusal_of(fields, fetched, place)
    if refusal is not None:
        return refusal
    token = _token(fields, "access_token", place)
    if token is None:
        raise broken(place, "has no access_token in it")
    return Answer(
        access_token=token,
        scheme=_scheme(fields.get("token_type"), place),
        life=seconds(fields.get("expires_in")),
        refresh_token=_token(fields, "refresh_token", place),
        scope=_scope(fields.get("scope")),
        id_token=_token(fields, "id_token", place),
        issued_token_type=_text(fields.get("issued_token_type")),
    )


def refusal_of(fields: Mapping[str, Any], fetched: Fetched, place: str) -> Refusal | None:
    """Return the server's no, None where it said yes. `fields`: of this answer. Raises `SignInNeeded` as `read`."""
    _check_status(fetched, place)
    error = fields.get("error")
    if not error and 200 <= fetched.status < 300:
        return None
    description = _text(fields.get("error_description")) or ""
    if isinstance(error, dict):  # some gateways: {"error": {"code": ..., "message": ...}}
        description = description or _text(error.get("message")) or ""
        error = error.get("code") or error.get("type")
    return Refusal(_text(error) or "", description, fetched.status)


def broken(place: str, what: str) -> SignInNeeded:
    """Return the trouble that an answer of an authorization server cannot be used."""
    return SignInNeeded(
        f"The answer of the authorization server {place} {what}.",
        hint="The authorization server does not follow OAuth 2; whoever runs it can mend that. --debug shows more.",
    )


def fields_of(fetched: Fetched) -> Mapping[str, Any]:
    """Return the members of an answer: of a JSON object, or of a form (GitHub). None of either: empty."""
    try:
        text = fetched.body.decode("utf-8").removeprefix("\ufeff").strip()
    except UnicodeDecodeError:
        return {}
    if text.startswith("{"):
        try:
            document = msg.value_of(text)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}
    media_type = fetched.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("application/x-www-form-urlencoded", "text/plain", ""):
        return {}
    try:
        return dict(parse_qsl(text, max_num_fields=100))
    except ValueError:
        return {}


def seconds(value: object) -> float | None:
    """Return `expires_in`: a number, or a number as text. None for nothing, for no life at all, and for ever."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > 30 or not value.isascii()):
        return None
    try:
        life = float(value)
    except (ValueError, OverflowError):
        return None
    return life if math.isfinite(life) and 0 < life <= _LONGEST else None


def foreign_audience(token: str, allowed: tuple[str, ...], issuer: str) -> str | None:
    """Return for whom else this token was made, where that can be seen; None: nothing speaks against it.

    A token for another resource must not be sent to this server, which could use it there (PROTOCOL.md 6.1: "the
    client only tokens from this server's own AS"; RFC 8707 section 3). But a client may not rely on the inside of an
    access token (RFC 9068 section 6), and real servers write into `aud` what they like: the client, a GUID or an
    `api://` name (Entra), a product. All of that says nothing about where it may be sent. An http(s) URL does: it names
    a resource, so where URLs are named, one of them has to be ours: the resource (or a part of it, or what it
    is a part of), what the user asked for, or the issuer itself with what it adds by habit (Auth0's `/userinfo`,
    IdentityServer's `/resources`).
    """
    claims = jwt_claims.read(token)
    if claims is None:
        return None
    named = [name for name in jwt_claims.texts(claims.get("aud")) if name.lower().startswith(("http://", "https://"))]
    root = issuer.rstrip("/")
    own = {root, f"{root}/userinfo", f"{root}/resources"}
    for name in named:
        if name.rstrip("/") in own or any(_overlaps(name, resource) for resource in allowed):
            return None
    return place_of(named[0]) if named else None


def _overlaps(one: str, other: str) -> bool:
    """Whether two URLs lie on one origin, and one path leads on from the other, segment by segment."""
    if one == other:
        return True
    try:
        a, b = urlsplit(one), urlsplit(other)
        if (a.scheme.lower(), a.hostname, a.port) != (b.scheme.lower(), b.hostname, b.port):
            return False
    except ValueError:
        return False
    shorter, longer = sorted((a.path.rstrip("/") + "/", b.path.rstrip("/") + "/"), key=len)
    return longer.startswith(shorter)


def _check_status(fetched: Fetched, place: str) -> None:
    status = fetched.status
    if 300 <= status < 400:
        raise SignInNeeded(
            f"The authorization server {place} answered a token request with a redirect (HTTP {status}), "
            "which is not followed: it would carry secrets elsewhere.",
            hint="The token endpoint in its metadata is not the right one; whoever runs it can mend that.",
        )
    if status >= 500 or status in (408, 425, 429):
        fault = SignInNeeded(
            f"The authorization server {place} could not answer a token request (HTTP {status}).",
            hint="Try again later. What is kept of earlier sign-ins stays.",
            mends=True,
        )
        wait = retry_after.seconds(fetched.headers.get("retry-after", ""), fetched.headers.get("date", ""))
        fault.retry_after = wait
        raise fault


def _scheme(value: object, place: str) -> str:
    found = _SCHEMES.get(value.strip().lower()) if isinstance(value, str) else BEARER if value is None else None
    if found is None:
        shown = printable(str(value), 40)
        raise broken(place, f"brings a token of the type {shown}, which nobody here can use (RFC 6749 section 7.1)")
    return found


def _scope(value: object) -> str | None:
    if isinstance(value, list):
        value = " ".join(item for item in value if isinstance(item, str))
    if not isinstance(value, str):
        return None
    return " ".join(value.split()) or None


def _token(fields: Mapping[str, Any], name: str, place: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
        raise broken(place, f"has something as {name} that is no token")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
