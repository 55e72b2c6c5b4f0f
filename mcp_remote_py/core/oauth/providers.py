"""Providers: what authorization servers do that their metadata does not say. A closed table; each row names its source.

Nothing here makes us trust anybody: a row is found by the issuer that metadata has proved, and only leaves a question
out (PKCE), adds a parameter, or reads an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit


class Dialect(NamedTuple):
    """What one provider does. `host`: of its issuers, a whole match."""

    host: re.Pattern[str]
    s256: str | None = None
    """Where it is published that S256 is supported, for metadata that lacks `code_challenge_methods_supported`."""
    parameters: tuple[tuple[str, str], ...] = ()
    """What an authorization request needs there besides, to bring a refresh token."""
    comma_scopes: bool = False
    """Whether the scopes of a token answer are separated by commas, against RFC 6749 section 3.3."""


_ENTRA = "https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow (code_challenge_method: S256)"
_GOOGLE = "https://developers.google.com/identity/protocols/oauth2/native-app (step 1: S256)"
_COGNITO = "https://docs.aws.amazon.com/cognito/latest/developerguide/using-pkce-in-authorization-code.html (S256)"
_GITHUB = "https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps (must be S256)"
_OKTA = "https://developer.okta.com/docs/guides/implement-grant-type/authcodepkce/main/ (S256)"

_TABLE = (
    Dialect(
        re.compile(
            r"login\.microsoftonline\.(com|us)|login\.partner\.microsoftonline\.cn|sts\.windows\.net"
            r"|[a-z0-9-]+\.ciamlogin\.com|[a-z0-9-]+\.b2clogin\.com"
        ),
        s256=_ENTRA,
    ),
    Dialect(
        re.compile(r"accounts\.google\.com"),
        s256=_GOOGLE,
        # the same page, "Offline access": without it there is no refresh token, and a second one needs consent again
        parameters=(("access_type", "offline"), ("prompt", "consent")),
    ),
    Dialect(re.compile(r"cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?"), s256=_COGNITO),
    # "Response ... scope=repo%2Cgist": the page's own example
    Dialect(re.compile(r"github\.com"), s256=_GITHUB, comma_scopes=True),
    Dialect(re.compile(r"[a-z0-9-]+\.okta\.com|[a-z0-9-]+\.okta-emea\.com|[a-z0-9-]+\.oktapreview\.com"), s256=_OKTA),
)

_RESOURCE_ERRORS = re.compile(r"AADSTS(9010010|901002)(?!\d)")


def knows_s256(issuer: str) -> bool:
    """Whether this issuer is published to support PKCE with S256, although its metadata may not say so."""
    return any(row.s256 is not None for row in _rows(issuer))


def extra_parameters(issuer: str) -> tuple[tuple[str, str], ...]:
    """Return what an authorization request needs at this issuer besides."""
    return tuple(parameter for row in _rows(issuer) for parameter in row.parameters)


def granted(issuer: str, scope: str) -> str:
    """Return the scopes of a token answer of this issuer, separated by blanks."""
    if any(row.comma_scopes for row in _rows(issuer)):
        scope = scope.replace(",", " ")
    return " ".join(scope.split())


def rejects_resource(description: str) -> bool:
    """Whether an error says that `resource` (RFC 8707) is not taken there.

    Entra: AADSTS901002 "The 'resource' request parameter is not supported", AADSTS9010010 "The resource parameter
    provided in the request doesn't match with the requested scopes"
    (https://learn.microsoft.com/entra/identity-platform/reference-error-codes; PAINS.md section 7). By its code alone,
    as the text is translated, and whoever the issuer is: Entra also stands behind other names.
    """
    return _RESOURCE_ERRORS.search(description) is not None


def _rows(issuer: str) -> tuple[Dialect, ...]:
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return ()
    if parts.scheme != "https" or not parts.hostname or parts.port not in (None, 443):
        return ()
    return tuple(row for row in _TABLE if row.host.fullmatch(parts.hostname))
