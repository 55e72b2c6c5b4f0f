"""Preferences: what the user said about the sign-in, read and checked. Types only."""

from __future__ import annotations

from typing import Any, NamedTuple

CODE, DEVICE, CLIENT_CREDENTIALS, ENTERPRISE, ASSERTION = (
    "code",
    "device-code",
    "client-credentials",
    "enterprise-managed",
    "jwt-bearer",
)
GRANTS = (CODE, DEVICE, CLIENT_CREDENTIALS, ENTERPRISE, ASSERTION)
"""How `--grant` is spelt."""
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")


class Client(NamedTuple):
    """A client that is known before we ask: `--client-id` and its like, or `--static-oauth-client-info`."""

    client_id: str
    client_secret: str | None = None
    method: str | None = None
    """One of AUTH_METHODS; None: what the server's metadata suggests."""
    redirect_uris: tuple[str, ...] = ()


class Enterprise(NamedTuple):
    """Enterprise-managed authorization: the company's identity provider, where the ID-JAG comes from."""

    issuer: str
    token_endpoint: str | None
    client_id: str
    client_secret: str | None
    id_token: str


class Preferences(NamedTuple):
    """See the module's text. None: not said."""

    grant: str = CODE
    client: Client | None = None
    client_metadata_url: str | None = None
    client_metadata: dict[str, Any] | None = None
    """What a dynamic registration says besides or instead of our own words."""
    issuer: str | None = None
    """The authorization server to use, where the resource names several, or none is named."""
    token_endpoint: str | None = None
    scope: str | None = None
    resource: str | None = None
    with_resource: bool = True
    authorize_params: tuple[tuple[str, str], ...] = ()
    assume_pkce: bool = False
    with_dpop: bool = True
    use_id_token: bool = False
    has_private_key: bool = False
    signing_alg: str | None = None
    enterprise: Enterprise | None = None
    assertion: str | None = None
    """The platform's JWT for `jwt-bearer`; read anew for each use by whoever makes these preferences."""
