"""Tokens: what a sign-in brought, how long it is good, and how it is kept. Text and times in, documents out.

Sources: RFC 6749 sections 5.1 and 6, RFC 9449 section 5. Times are seconds of the wall clock since 1970.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mcp_remote_py.core.credentials import RENEW_SECONDS, SHARE
from mcp_remote_py.core.oauth.steps import Document

FORM = 1
"""The form of the documents that are written here; those of another form are as good as none."""


class Party(NamedTuple):
    """Who we are at an authorization server: a client that was registered, given or published."""

    client_id: str
    client_secret: str | None = None
    method: str = "none"
    """One of `preferences.AUTH_METHODS`."""
    secret_expires: float | None = None
    redirect_uris: tuple[str, ...] = ()


class Grant(NamedTuple):
    """One set of tokens, and all that is needed to renew or revoke it without looking anything up again."""

    issuer: str
    resource: str
    """The resource the tokens were asked for: the `resource` of RFC 8707, or the server's URL where none was sent."""
    party: Party
    token_endpoint: str
    access_token: str
    scheme: str = "Bearer"
    """`Bearer` or `DPoP`."""
    expires: float | None = None
    obtained: float = 0.0
    refresh_token: str | None = None
    scope: str | None = None
    """What was granted, or asked for where the server does not say; None: nothing was ever named."""
    id_token: str | None = None
    revocation_endpoint: str | None = None
    with_resource: bool = True
    """Whether `resource` is sent when the tokens are renewed."""
    kind: str = "code"
    """The grant (`preferences.GRANTS`) that brought it."""

    def is_stale(self, now: float) -> bool:
        """Whether another access token is wanted: 30 s before it expires, or at four fifths of a shorter life."""
        if self.expires is None:
            return False
        life = self.expires - self.obtained
        return now >= self.expires - min(RENEW_SECONDS, max(0.0, life * SHARE))

    def is_good(self, now: float) -> bool:
        """Whether it has not expired, as far as is known."""
        return self.expires is None or now < self.expires

    def secrets(self) -> tuple[str, ...]:
        """Return what may never be seen in a log."""
        found = (self.access_token, self.refresh_token, self.id_token, self.party.client_secret)
        return tuple(secret for secret in found if secret)


def to_document(grant: Grant) -> Document:
    """Return a grant as plain JSON."""
    fields: dict[str, Any] = grant._asdict()
    party = grant.party._asdict() | {"redirect_uris": list(grant.party.redirect_uris)}
    return {"form": FORM, **fields, "party": party}


def from_document(document: Document) -> Grant | None:
    """Return the grant of a document; None where it is none, or none that can be relied on."""
    if document.get("form") != FORM:
        return None
    party = document.get("party")
    if not isinstance(party, dict):
        return None
    try:
        known = _party(party)
        fields = {
            name: _checked(name, document[name]) for name in Grant._fields if name != "party" and name in document
        }
        return Grant(**{**fields, "party": known})
    except (TypeError, ValueError):
        return None


def _party(document: Document) -> Party:
    uris = document.get("redirect_uris", [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise ValueError("redirect_uris")
    fields = {name: _checked(name, document[name]) for name in Party._fields if name in document}
    return Party(**{**fields, "redirect_uris": tuple(uris)})


_TIMES = frozenset(["expires", "obtained", "secret_expires"])
_OPTIONAL = frozenset(
    ["expires", "refresh_token", "scope", "id_token", "revocation_endpoint", "client_secret", "secret_expires"]
)


def _checked(name: str, value: object) -> Any:
    """Return a field's value. Raises `ValueError` for one of another type."""
    if value is None and name in _OPTIONAL:
        return None
    if name in _TIMES:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif name == "with_resource":
        if isinstance(value, bool):
            return value
    elif name == "redirect_uris" or isinstance(value, str):
        return value
    raise ValueError(name)
