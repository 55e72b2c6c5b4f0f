"""How well-known authorization servers differ, as far as a client feels it: one row of the zoo for each.

Each row says from which published metadata it was made. Host names and tenants are left out: everything here is served
from loopback addresses.
"""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """One authorization server's ways. The defaults are a server that does all that MCP 2025-11-25 asks for."""

    issuer_path: str = ""
    issuer_slash: bool = False
    """Whether the issuer is written with a slash at its end."""
    same_origin: bool = False
    """Whether the MCP server is its own authorization server."""
    token_elsewhere: bool = False
    """Whether the token, revocation and device endpoints are of another origin than the issuer."""
    documents: tuple[str, ...] = ("oauth",)
    """Its metadata: `oauth` (RFC 8414), `oidc` (appended to the issuer), `oidc-inserted` (before its path)."""
    resource_metadata: tuple[str, ...] = ("header", "path")
    """Where the MCP server's metadata is: named in the `header`, below the well-known `path`, at the `root`."""
    authorize: str = "/authorize"
    token: str = "/token"
    register: str | None = "/register"
    revoke: str | None = "/revoke"
    device: str | None = "/device"
    challenge_methods: tuple[str, ...] | None = ("S256",)
    auth_methods: tuple[str, ...] | None = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
    gives_secret: bool = False
    """Whether a registration brings a client secret."""
    iss: bool = True
    """RFC 9207: whether the redirect carries `iss`, and the metadata says so."""
    refuses_resource: str | None = None
    """Where the `resource` parameter is refused in Microsoft's way: `authorize` or `token`."""
    refresh: str = "rotates"
    """`rotates`, `stays` (the answer names no new one), `never`."""
    refresh_wants: str | None = None
    """What brings a refresh token: a scope, or a parameter written `name=value`. None: nothing is needed."""
    bearer_is_id_token: bool = False
    """Whether the MCP server wants the ID token."""
    form_answers: bool = False
    errors_with_200: bool = False
    expires_in: bool = True
    expires_as_text: bool = False
    scopes: tuple[str, ...] | None = None
    loopback_ports: bool = False
    """Whether a registered loopback redirect URI stands for all ports (RFC 8252 section 7.3)."""
    dpop: tuple[str, ...] | None = None
    resource_scheme: str = "Bearer"
    """The scheme of the MCP server's challenges."""
    client_documents: bool = False
    """Whether a client may be the URL of its metadata."""


PLAIN = Dialect()

DIALECTS: dict[str, Dialect] = {
    "plain": PLAIN,
    # https://login.microsoftonline.com/organizations/v2.0/.well-known/openid-configuration: OpenID Connect only, the
    # issuer has a path, no code_challenge_methods_supported, no registration, no revocation; `resource` is answered
    # with AADSTS9010010 (where it does not fit the scopes).
    "entra": Dialect(
        issuer_path="/11111111-2222-3333-4444-555555555555/v2.0",
        documents=("oidc",),
        authorize="/oauth2/v2.0/authorize",
        token="/oauth2/v2.0/token",
        device="/oauth2/v2.0/devicecode",
        register=None,
        revoke=None,
        challenge_methods=None,
        auth_methods=("client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"),
        iss=False,
        refuses_resource="authorize",
        refresh_wants="offline_access",
        scopes=("openid", "profile", "email", "offline_access"),
        loopback_ports=True,
    ),
    # https://DOMAIN.auth0.com/.well-known/openid-configuration: the issuer ends with a slash, the registration is at
    # /oidc/register, refresh tokens come with offline_access.
    "auth0": Dialect(
        issuer_slash=True,
        documents=("oauth", "oidc"),
        token="/oauth/token",
        register="/oidc/register",
        revoke="/oauth/revoke",
        device="/oauth/device/code",
        challenge_methods=("S256", "plain"),
        auth_methods=("client_secret_basic", "client_secret_post", "private_key_jwt", "none"),
        iss=False,
        refresh_wants="offline_access",
        scopes=("openid", "profile", "offline_access", "email"),
    ),
    # https://accounts.google.com/.well-known/openid-configuration: no registration, token and revocation endpoints of
    # another origin (oauth2.googleapis.com), a secret even for installed programs, a refresh token with
    # access_type=offline alone, and the same one for ever.
    "google": Dialect(
        documents=("oidc",),
        token_elsewhere=True,
        authorize="/o/oauth2/v2/auth",
        register=None,
        device="/device/code",
        challenge_methods=("plain", "S256"),
        auth_methods=("client_secret_post", "client_secret_basic"),
        gives_secret=True,
        iss=False,
        refresh="stays",
        refresh_wants="access_type=offline",
        scopes=("openid", "email", "profile"),
        loopback_ports=True,
    ),
    # https://cognito-idp.REGION.amazonaws.com/POOL/.well-known/openid-configuration: the issuer has a path, all
    # endpoints are of another origin, no code_challenge_methods_supported; AgentCore wants the ID token.
    "cognito": Dialect(
        issuer_path="/eu-west-1_Zoo",
        documents=("oidc",),
        token_elsewhere=True,
        authorize="/oauth2/authorize",
        token="/oauth2/token",
        revoke="/oauth2/revoke",
        register=None,
        device=None,
        challenge_methods=None,
        auth_methods=("client_secret_basic", "client_secret_post"),
        gives_secret=True,
        iss=False,
        refresh="stays",
        bearer_is_id_token=True,
        scopes=("openid", "email", "phone", "profile"),
    ),
    # https://HOST/realms/REALM/.well-known/openid-configuration: the issuer has a path, `iss` comes with the redirect,
    # a registration brings a secret, DPoP is on offer.
    "keycloak": Dialect(
        issuer_path="/realms/zoo",
        documents=("oauth", "oidc"),
        authorize="/protocol/openid-connect/auth",
        token="/protocol/openid-connect/token",
        revoke="/protocol/openid-connect/revoke",
        device="/protocol/openid-connect/auth/device",
        register="/clients-registrations/openid-connect",
        challenge_methods=("plain", "S256"),
        auth_methods=("private_key_jwt", "client_secret_basic", "client_secret_post", "client_secret_jwt"),
        gives_secret=True,
        refresh="rotates",
        scopes=("openid", "offline_access", "roles", "basic", "profile"),
        dpop=("PS384", "RS384", "EdDSA", "ES384", "ES256", "RS256", "ES512", "PS256", "PS512", "RS512"),
    ),
    # https://gitlab.com/.well-known/oauth-authorization-server: DCR, rotation with reuse detection, two hours.
    "gitlab": Dialect(
        documents=("oauth", "oidc"),
        authorize="/oauth/authorize",
        token="/oauth/token",
        revoke="/oauth/revoke",
        device="/oauth/authorize_device",
        register="/oauth/register",
        challenge_methods=("plain", "S256"),
        auth_methods=("client_secret_basic", "client_secret_post", "none"),
        iss=False,
        scopes=("api", "read_api", "read_user", "mcp", "openid", "profile", "email"),
    ),
    # https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps: an application that was
    # registered by hand, answers as forms, errors with the status 200, tokens that neither expire nor are renewed.
    # Here it has no metadata either, as GitHub Enterprise Server.
    "github": Dialect(
        same_origin=True,
        documents=(),
        resource_metadata=(),
        register=None,
        revoke=None,
        device=None,
        iss=False,
        gives_secret=True,
        refresh="never",
        form_answers=True,
        errors_with_200=True,
        expires_in=False,
        loopback_ports=True,
    ),
    # https://mcp.atlassian.com/.well-known/oauth-protected-resource and the metadata it leads to: an authorization
    # server of another origin than the MCP server, with DCR and short-lived tokens.
    "atlassian": Dialect(
        authorize="/v1/authorize",
        token="/v1/token",
        register="/v1/register",
        revoke=None,
        device=None,
        challenge_methods=("plain", "S256"),
        auth_methods=("client_secret_basic", "client_secret_post", "none"),
        gives_secret=True,
        iss=False,
        resource_metadata=("header", "path", "root"),
    ),
    # MCP 2025-03-26, "Fallbacks for Servers without Metadata Discovery".
    "march": Dialect(same_origin=True, documents=(), resource_metadata=(), revoke=None, device=None, iss=False),
    # MCP 2025-03-26 with metadata at the server's own origin.
    "march-metadata": Dialect(
        same_origin=True,
        resource_metadata=(),
        authorize="/oauth/authorize",
        token="/oauth/token",
        register="/oauth/register",
        iss=False,
    ),
    # RFC 9449 at both servers.
    "dpop": Dialect(dpop=("ES256",), resource_scheme="DPoP"),
    # The expiry as text, as several home-made servers write it.
    "text-expiry": Dialect(expires_as_text=True, documents=("oidc-inserted",), issuer_path="/tenant"),
    # A client ID metadata document, MCP 2025-11-25.
    "client-documents": Dialect(client_documents=True),
}
