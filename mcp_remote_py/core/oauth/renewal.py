"""Renewal: another access token without a person. A flow over steps, with what the grant itself remembers.

What an answer leaves out stays as it was; a refused refresh token means a new sign-in; any other trouble leaves all as
it is. Sources: RFC 6749 section 6, RFC 8707 section 2.2, RFC 9449 section 5, MCP "Authorization".
"""

from __future__ import annotations

from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import (
    addresses,
    assertions,
    dpop,
    grants,
    issued,
    jwt_claims,
    providers,
    registration,
)
from mcp_remote_py.core.oauth import preferences as known
from mcp_remote_py.core.oauth.grants import Asked, TokenEndpoint
from mcp_remote_py.core.oauth.issued import Context
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.steps import Flow, Say, Senses
from mcp_remote_py.core.oauth.token_answer import DPOP, Answer, Refusal
from mcp_remote_py.core.oauth.tokens import Grant

_WORTHLESS = frozenset([400, 401, 404, 405, 410])
"""Refusals by which the refresh token, the client or the endpoint is of no more use, where no OAuth error says it.
Others, 403 above all, may come from something between us and the server."""


def is_possible(grant: Grant) -> bool:
    """Whether `renew` has a way to ask without a person: a refresh token, or a grant that never needed anybody."""
    return grant.refresh_token is not None or grant.kind in (known.CLIENT_CREDENTIALS, known.ASSERTION)


def renew(grant: Grant, preferences: Preferences, senses: Senses) -> Flow[Grant | None]:
    """Return the renewed grant; None: it cannot be renewed, a new sign-in is needed.

    Raises a `Fault` for trouble that says nothing about the grant (network, 5xx, 429): what is kept stays good.
    """
    for secret in grant.secrets():
        senses.learn(secret)
    if addresses.endpoint_problem(grant.token_endpoint) is not None:
        return None
    context = _context(grant, preferences)
    endpoint = _endpoint(grant, preferences)
    asked = yield from _ask(endpoint, grant, context, preferences, senses)
    if asked is None:
        return None
    found, context = asked
    if isinstance(found, Refusal):
        yield from _refused(found, grant, endpoint)
        return None
    if preferences.use_id_token and found.id_token is None:
        yield Say("info", f"{endpoint.place} renewed the tokens without an ID token, which is the one that is used")
        return None
    fresh = issued.grant(found, context, endpoint.asked, senses.now())
    return fresh._replace(
        refresh_token=fresh.refresh_token or grant.refresh_token, id_token=fresh.id_token or grant.id_token
    )


def _ask(
    endpoint: TokenEndpoint, grant: Grant, context: Context, preferences: Preferences, senses: Senses
) -> Flow[tuple[Answer | Refusal, Context] | None]:
    """Ask in the way of this grant; None where it has none without a person. Returns how the context is from now on."""
    if grant.refresh_token is not None:
        return (yield from _refresh(endpoint, grant.refresh_token, context, senses))
    if grant.kind == known.CLIENT_CREDENTIALS:
        fields = grants.form("client_credentials", ("scope", context.scope), ("resource", context.resource))
        return (yield from endpoint.ask(fields, senses)), context
    if grant.kind == known.ASSERTION and preferences.assertion is not None:
        return (yield from assertions.by_platform(endpoint, context, preferences, senses)), context
    return None


def _context(grant: Grant, preferences: Preferences) -> Context:
    before = jwt_claims.texts((jwt_claims.read(grant.access_token) or {}).get("aud"))
    return Context(
        issuer=grant.issuer,
        server_url=grant.resource,
        resource=grant.resource if grant.with_resource else None,
        named=grant.resource,
        scope=grant.scope,
        kind=grant.kind,
        use_id_token=preferences.use_id_token,
        # what was right at the sign-in, which knew the server's URL as well, is right now
        audiences=(*issued.audiences(grant.resource, grant.resource, preferences), *before),
        revocation_endpoint=grant.revocation_endpoint,
    )


def _endpoint(grant: Grant, preferences: Preferences) -> TokenEndpoint:
    checked = addresses.is_at(grant.token_endpoint, grant.resource, preferences.token_endpoint, preferences.issuer)
    asked = Asked(grant.token_endpoint, grant.issuer, grant.party, checked=checked)
    bound = grant.scheme == DPOP
    return TokenEndpoint(asked, proofs=dpop.ALGORITHMS if bound else None, bound=bound)


def _refresh(
    endpoint: TokenEndpoint, token: str, context: Context, senses: Senses
) -> Flow[tuple[Answer | Refusal, Context]]:
    """Show the refresh token. Asked for is what was granted; a server that takes no `scope` or no `resource` here is
    asked once more without it."""
    scope = context.scope
    while True:
        fields = grants.form(
            "refresh_token", ("refresh_token", token), ("scope", scope), ("resource", context.resource)
        )
        found = yield from endpoint.ask(fields, senses)
        if not isinstance(found, Refusal):
            return found, context
        if context.resource is not None and providers.rejects_resource(found.description):
            context = context._replace(resource=None)
        elif scope is not None and found.error == "invalid_scope":
            scope = None
        else:
            return found, context


def _refused(refusal: Refusal, grant: Grant, endpoint: TokenEndpoint) -> Flow[None]:
    """Raises the trouble that says nothing about the grant; else forgets a client that the server does not know."""
    final = grant.kind == known.ASSERTION  # no reason to try another way (SEP-1933)
    if final or refusal.passes or (not refusal.error and refusal.status not in _WORTHLESS):
        raise grants.refused(refusal, endpoint.place)
    yield Say("info", f"{place_of(grant.issuer)} did not renew the sign-in: {refusal.words()}")
    if refusal.error in grants.UNKNOWN_CLIENT:
        for uri in ("", *grant.party.redirect_uris):
            kept = yield from registration.recall(grant.issuer, uri)
            if kept is not None and kept.client_id == grant.party.client_id:
                yield from registration.forget(grant.issuer, uri)
