"""Assertions: what somebody else signed about us, exchanged for tokens. Flows over steps.

A platform's JWT (`--grant jwt-bearer`, workload identity), and the ID-JAG of a company's identity provider
(`--grant enterprise-managed`). An assertion is as good as a password to the server it is made for, and the MCP server
names the authorization server: so an assertion goes only to whom it is addressed, or to whom the user configured.

Sources: RFC 7523 sections 2.1 and 3, RFC 8693 section 2, draft-ietf-oauth-identity-assertion-authz-grant, the MCP
extension for enterprise-managed authorization, SEP-1933.
"""

from __future__ import annotations

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import addresses, discovery, grants, jwt_claims, metadata, token_answer
from mcp_remote_py.core.oauth.grants import Asked, TokenEndpoint
from mcp_remote_py.core.oauth.issued import Context
from mcp_remote_py.core.oauth.preferences import Enterprise, Preferences
from mcp_remote_py.core.oauth.steps import Fetch, Fetched, Flow, Senses
from mcp_remote_py.core.oauth.token_answer import Answer, Refusal
from mcp_remote_py.core.oauth.tokens import Party


def by_platform(
    endpoint: TokenEndpoint, context: Context, preferences: Preferences, senses: Senses
) -> Flow[Answer | Refusal]:
    """Exchange the platform's JWT. A refusal is final: it is neither tried again nor by another grant (SEP-1933)."""
    assertion = preferences.assertion
    if assertion is None:
        raise SignInNeeded(
            "The grant jwt-bearer needs the platform's assertion, and there is none.",
            hint="Name the file it is in: --assertion-file FILE.",
        )
    senses.learn(assertion)
    _check_addressee(assertion, endpoint.asked, preferences)
    fields = grants.form(
        grants.JWT_BEARER, ("assertion", assertion), ("scope", context.scope), ("resource", context.resource)
    )
    return (yield from endpoint.ask(fields, senses))


def by_enterprise(
    endpoint: TokenEndpoint, context: Context, preferences: Preferences, senses: Senses
) -> Flow[Answer | Refusal]:
    """Have the identity provider make an ID-JAG for this authorization server, and exchange it there.

    The ID token goes to the configured identity provider alone, and the ID-JAG to the issuer it was made for: whatever
    authorization server an MCP server names, it gets nothing that could be used elsewhere.
    """
    enterprise = preferences.enterprise
    if enterprise is None:
        raise SignInNeeded(
            "The grant enterprise-managed needs to know the identity provider, and none is configured.",
            hint="Give --idp-issuer, --idp-client-id and --idp-id-token-env.",
        )
    if preferences.issuer is not None and not metadata.is_issuer(endpoint.asked.issuer, preferences.issuer):
        raise _elsewhere(endpoint.asked)
    assertion = yield from _id_jag(enterprise, endpoint.asked.issuer, context, senses)
    return (yield from endpoint.ask(grants.form(grants.JWT_BEARER, ("assertion", assertion)), senses))


def _id_jag(enterprise: Enterprise, audience: str, context: Context, senses: Senses) -> Flow[str]:
    for secret in filter(None, (enterprise.id_token, enterprise.client_secret)):
        senses.learn(secret)
    provider = yield from _provider(enterprise)
    fields = grants.form(
        grants.TOKEN_EXCHANGE,
        ("requested_token_type", grants.ID_JAG),
        ("audience", audience),
        ("resource", context.resource or context.named),
        ("scope", context.scope),
        ("subject_token", enterprise.id_token),
        ("subject_token_type", grants.ID_TOKEN),
    )
    found = yield from TokenEndpoint(provider).ask(fields, senses)
    place = place_of(provider.url)
    if isinstance(found, Refusal):
        fault = grants.refused(found, place)
        if found.error in ("invalid_grant", "invalid_request"):
            fault.hint = "The identity provider's ID token may have expired: get a new one (--idp-id-token-env)."
        raise fault
    if found.issued_token_type not in (None, grants.ID_JAG):
        raise token_answer.broken(place, "brings another kind of token than the ID-JAG that was asked for")
    named = jwt_claims.texts((jwt_claims.read(found.access_token) or {}).get("aud"))
    if named and not _names(named, audience):
        raise token_answer.broken(place, f"has an ID-JAG in it that was not made for {place_of(audience)}")
    return found.access_token


def _provider(enterprise: Enterprise) -> Flow[Asked]:
    """Return where the identity provider exchanges tokens: as configured, or as its metadata says."""
    url, methods = enterprise.token_endpoint, None
    if url is None:
        found = yield from _provider_metadata(enterprise.issuer)
        url, methods = found.token_endpoint, found.auth_methods
    problem = "it is missing" if url is None else addresses.endpoint_problem(url)
    if url is None or problem is not None:
        raise SignInNeeded(
            f"The token endpoint of the identity provider {place_of(enterprise.issuer)} cannot be used: {problem}.",
            hint="Give the right one: --idp-token-endpoint URL.",
        )
    method = "none"
    if enterprise.client_secret is not None:
        post = methods is not None and "client_secret_basic" not in methods and "client_secret_post" in methods
        method = "client_secret_post" if post else "client_secret_basic"
    checked = addresses.is_at(url, enterprise.issuer, enterprise.token_endpoint)
    return Asked(url, enterprise.issuer, Party(enterprise.client_id, enterprise.client_secret, method), checked=checked)


def _provider_metadata(issuer: str) -> Flow[metadata.ServerMetadata]:
    what = f"the metadata of the identity provider {place_of(issuer)}"
    try:
        locations = metadata.server_locations(issuer)
    except ValueError:
        locations = ()
    for url in locations:
        fetched: Fetched = yield Fetch(what, "GET", url, discovery.HEADERS, origin_checked=True)
        if fetched.status >= 500 or fetched.status == 429:
            raise discovery.failed(what, url, fetched)
        document = metadata.read(fetched.body) if fetched.status == 200 else None
        if document is not None and metadata.is_issuer(document.get("issuer"), issuer):
            return metadata.ServerMetadata(issuer, document)
    raise SignInNeeded(
        f"The identity provider {place_of(issuer)} publishes no metadata with this issuer.",
        hint="Check --idp-issuer, or give its token endpoint: --idp-token-endpoint URL.",
    )


def _check_addressee(assertion: str, asked: Asked, preferences: Preferences) -> None:
    """Raises `SignInNeeded` where the MCP server alone says that this authorization server should get the assertion."""
    if preferences.token_endpoint is not None:
        return
    if preferences.issuer is not None:
        if not metadata.is_issuer(asked.issuer, preferences.issuer):
            raise _elsewhere(asked)
        return
    named = jwt_claims.texts((jwt_claims.read(assertion) or {}).get("aud"))
    if not _names(named, asked.issuer) and asked.url not in named:
        raise _elsewhere(asked)


def _names(named: tuple[str, ...], issuer: str) -> bool:
    return any(name.rstrip("/") == issuer.rstrip("/") for name in named)


def _elsewhere(asked: Asked) -> SignInNeeded:
    return SignInNeeded(
        f"The MCP server names the authorization server {place_of(asked.issuer)}, for which the assertion is not made. "
        "It was not sent there.",
        hint="If that is the right one, configure it: --auth-issuer URL; or get an assertion with it as audience.",
    )
