"""Issued: from a token answer to the grant that is kept. Checks whom the token was made for. Pure."""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.oauth import jwt_claims, providers, token_answer
from mcp_remote_py.core.oauth.grants import Asked
from mcp_remote_py.core.oauth.preferences import Preferences
from mcp_remote_py.core.oauth.token_answer import BEARER, DPOP, Answer
from mcp_remote_py.core.oauth.tokens import Grant


class Context(NamedTuple):
    """What a sign-in is for. The same from its first request to the grant that is kept."""

    issuer: str
    server_url: str
    resource: str | None
    """What is sent as `resource` (RFC 8707); None: nothing."""
    named: str
    """What the tokens are kept for, and what people are told: the resource, or the server's URL where none is sent."""
    scope: str | None
    kind: str
    use_id_token: bool
    audiences: tuple[str, ...]
    """What a token may be made for, where that can be seen."""
    revocation_endpoint: str | None = None


def audiences(server_url: str, resource: str, preferences: Preferences) -> tuple[str, ...]:
    """Return for what a token may be made: the server, its resource, and what the user said instead of it."""
    said = [value for name, value in preferences.authorize_params if name in ("resource", "audience")]
    return tuple(
        dict.fromkeys((resource, server_url, *([preferences.resource] if preferences.resource else []), *said))
    )


def grant(answer: Answer, context: Context, asked: Asked, now: float) -> Grant:
    """Return what is kept of an answer. Raises `SignInNeeded` for a token that may not be used here."""
    place = place_of(asked.url)
    if context.use_id_token:
        answer = _by_id_token(answer, asked.party.client_id, place)
    else:
        check_audience(answer.access_token, context.audiences, context.issuer)
    if answer.scheme not in (BEARER, DPOP):
        raise token_answer.broken(place, "brings something that is no access token")
    life = answer.life if answer.life is not None else jwt_claims.life(answer.access_token)
    return Grant(
        issuer=context.issuer,
        resource=context.named,
        party=asked.party,
        token_endpoint=asked.url,
        access_token=answer.access_token,
        scheme=answer.scheme,
        expires=None if life is None else now + life,
        obtained=now,
        refresh_token=answer.refresh_token,
        scope=context.scope if answer.scope is None else providers.granted(context.issuer, answer.scope),
        id_token=answer.id_token,
        revocation_endpoint=context.revocation_endpoint,
        with_resource=context.resource is not None,
        kind=context.kind,
    )


def check_audience(token: str, allowed: tuple[str, ...], issuer: str) -> None:
    """Raises `SignInNeeded` for a token that was made for another resource, where that can be seen."""
    other = token_answer.foreign_audience(token, allowed, issuer)
    if other is None:
        return
    raise SignInNeeded(
        f"The authorization server {place_of(issuer)} gave a token for another resource, at {other}. It was not sent "
        f"to {place_of(allowed[0])}, which could use it there.",
        hint="If the server goes by that name, say so: --resource URL, or --authorize-param audience=URL.",
    )


def _by_id_token(answer: Answer, client_id: str, place: str) -> Answer:
    """Return an answer with the ID token in the place of the access token (AWS Bedrock AgentCore wants that).

    It says to whom it was given: another client's is refused (OpenID Connect Core section 3.1.3.7).
    """
    if answer.id_token is None:
        raise SignInNeeded(
            f"The authorization server {place} gave no ID token, which --use-id-token asks for.",
            hint="Ask for the scope openid: --scope 'openid ...'.",
        )
    claims = jwt_claims.read(answer.id_token) or {}
    named = jwt_claims.texts(claims.get("aud"))
    if named and client_id not in named:
        raise token_answer.broken(place, "has an ID token in it that was made for another client")
    life = jwt_claims.life(answer.id_token)
    return answer._replace(access_token=answer.id_token, scheme=BEARER, life=answer.life if life is None else life)
