"""Assertions of others: a platform's JWT, and a company's ID-JAG. Above all: to whom they go."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core.oauth import assertions
from mcp_remote_py.core.oauth.grants import Asked, TokenEndpoint
from mcp_remote_py.core.oauth.issued import Context
from mcp_remote_py.core.oauth.preferences import ASSERTION, ENTERPRISE, Client, Enterprise, Preferences
from mcp_remote_py.core.oauth.steps import Fetched
from mcp_remote_py.core.oauth.tokens import Grant, Party
from tests.mcp_remote_py.core.oauth.playing import Played, said
from tests.mcp_remote_py.core.oauth.world import (
    ISSUER,
    RESOURCE_METADATA,
    SERVER,
    SERVER_METADATA,
    TOKEN,
    World,
    fields,
    header,
    jwt,
    opened,
    token_requests,
)

IDP, IDP_TOKEN = "https://idp.example.org", "https://idp.example.org/oauth2/token"
EVIL = "https://evil.example.net"
ID_TOKEN = jwt(sub="me", aud="idp-client")


@pytest.fixture
def world() -> World:
    return World()


def move(world: World) -> None:
    """Let the MCP server name another authorization server, which is quite ready to take everything."""
    world.resource["authorization_servers"] = [EVIL]
    metadata = {name: str(value).replace(ISSUER, EVIL) for name, value in world.metadata.items() if "endpoint" in name}
    world.answers[f"{EVIL}/.well-known/oauth-authorization-server"] = said(
        {**world.metadata, **metadata, "issuer": EVIL}
    )
    world.answers[f"{EVIL}/token"] = said(world.tokens)


def sent_to(played: Played[Any], secret: str) -> set[str]:
    return {fetch.url for fetch in played.fetches if secret in fetch.body.decode()}


# --- Workload identity -----------------------------------------------------------------------------------------------


def by_platform(world: World, assertion: str | None, **changes: Any) -> Played[Grant]:
    return world.sign_in(Preferences(grant=ASSERTION, assertion=assertion, scope="read", **changes))


def test_the_platforms_assertion_is_exchanged(world: World) -> None:
    assertion = jwt(aud=ISSUER)
    played = by_platform(world, assertion)
    assert token_requests(played) == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion,
            "scope": "read",
            "resource": SERVER,
        }
    ]
    assert (played.result.kind, played.result.party.client_id) == (ASSERTION, "")
    assert opened(played) == []
    assert assertion in world.knowing.learnt


def test_a_client_beside_it_is_named(world: World) -> None:
    played = by_platform(world, jwt(aud=f"{ISSUER}/"), client=Client("workload"))
    assert token_requests(played)[0]["client_id"] == "workload"


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_scope", "unauthorized_client", "invalid_client"])
def test_a_refusal_is_final(world: World, error: str) -> None:
    world.answers[TOKEN] = said({"error": error, "error_description": "told so"}, 400)
    played = by_platform(world, jwt(aud=ISSUER))
    assert f"{error} (told so)" in str(played.trouble)
    assert len(token_requests(played)) == 1
    assert world.registrations == 0


@pytest.mark.parametrize("aud", ["https://wrong.example", ["a", "b"], None, EVIL + "x"])
def test_an_assertion_for_somebody_else_is_not_sent(world: World, aud: object) -> None:
    assertion = jwt(aud=aud)
    played = by_platform(world, assertion)
    assert sent_to(played, assertion) == set()
    assert "not sent there" in str(played.trouble)


def test_an_mcp_server_cannot_have_it_sent_elsewhere(world: World) -> None:
    move(world)
    for wishes in ({}, {"issuer": ISSUER}):
        assertion = jwt(aud=ISSUER)
        played = by_platform(world, assertion, **wishes)
        assert played.fault is not None
        assert sent_to(played, assertion) == set()


@pytest.mark.parametrize("assertion", ["opaque-assertion", jwt(aud="api://AzureADTokenExchange"), jwt(aud=TOKEN)])
def test_whom_the_user_configured_gets_any_assertion(world: World, assertion: str) -> None:
    assert sent_to(by_platform(world, assertion, issuer=ISSUER), assertion) == {TOKEN}
    assert sent_to(by_platform(world, assertion, token_endpoint=TOKEN), assertion) == {TOKEN}


def test_the_token_endpoint_as_audience_will_do(world: World) -> None:
    assert by_platform(world, jwt(aud=TOKEN)).fault is None


def test_without_an_assertion_it_says_where_to_put_it(world: World) -> None:
    assert "--assertion-file" in by_platform(world, None).trouble.hint


# --- Enterprise-managed authorization --------------------------------------------------------------------------------

MANAGED = Preferences(
    grant=ENTERPRISE,
    client=Client("xaa-client", "xaa-secret", "client_secret_basic"),
    scope="read",
    enterprise=Enterprise(IDP, IDP_TOKEN, "idp-client", None, ID_TOKEN),
)


def id_jag(world: World, **changes: Any) -> str:
    assertion = jwt(aud=changes.pop("aud", ISSUER), client_id="xaa-client", resource=SERVER)
    document = {
        "access_token": assertion,
        "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "token_type": "N_A",
        "expires_in": 300,
    }
    world.answers[IDP_TOKEN] = said(document | changes)
    return assertion


def test_two_legs_bring_a_token(world: World) -> None:
    assertion = id_jag(world)
    played = world.sign_in(MANAGED)
    assert played.result.access_token == "at-1"
    assert played.result.kind == ENTERPRISE
    first, second = [fetch for fetch in played.fetches if fetch.method == "POST"]
    assert fields(first) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "audience": ISSUER,
        "resource": SERVER,
        "scope": "read",
        "subject_token": ID_TOKEN,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "client_id": "idp-client",
    }
    assert first.url == IDP_TOKEN
    assert first.origin_checked
    assert second.url == TOKEN
    assert fields(second) == {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    assert header(second, "Authorization") == "Basic eGFhLWNsaWVudDp4YWEtc2VjcmV0"
    assert {ID_TOKEN, assertion, "xaa-secret"} <= set(world.knowing.learnt)
    assert opened(played) == []


def test_the_identity_providers_metadata_is_read_where_its_endpoint_is_not_given(world: World) -> None:
    id_jag(world)
    world.answers[f"{IDP}/.well-known/openid-configuration"] = said({"issuer": IDP, "token_endpoint": IDP_TOKEN})
    assert MANAGED.enterprise is not None
    wishes = MANAGED._replace(enterprise=MANAGED.enterprise._replace(token_endpoint=None, client_secret="idp-s3cret"))
    played = world.sign_in(wishes)
    assert played.fault is None
    assert header(next(fetch for fetch in played.fetches if fetch.url == IDP_TOKEN), "Authorization") is not None


@pytest.mark.parametrize(
    "metadata",
    [
        said({"issuer": "https://other.example", "token_endpoint": IDP_TOKEN}),
        said({"issuer": IDP}),
        said({"issuer": IDP, "token_endpoint": "http://idp.example.org/token"}),
        Fetched(503),
        Fetched(404),
    ],
)
def test_an_identity_provider_that_cannot_be_told_gets_no_id_token(world: World, metadata: Fetched) -> None:
    world.answers[f"{IDP}/.well-known/oauth-authorization-server"] = metadata
    assert MANAGED.enterprise is not None
    played = world.sign_in(MANAGED._replace(enterprise=MANAGED.enterprise._replace(token_endpoint=None)))
    assert played.fault is not None
    assert sent_to(played, ID_TOKEN) == set()


def test_an_mcp_server_cannot_have_the_id_jag_sent_elsewhere(world: World) -> None:
    move(world)
    assertion = id_jag(world)
    played = world.sign_in(MANAGED)
    assert "not made for evil.example.net" in str(played.trouble)
    assert sent_to(played, assertion) == set()
    assert sent_to(played, ID_TOKEN) == {IDP_TOKEN}


def test_a_configured_issuer_cannot_be_replaced(world: World) -> None:
    move(world)
    id_jag(world)
    played = world.sign_in(MANAGED._replace(issuer=ISSUER))
    assert played.fault is not None
    assert sent_to(played, ID_TOKEN) == set()


@pytest.mark.parametrize("by", [assertions.by_enterprise, assertions.by_platform])
def test_a_configured_issuer_is_compared_where_the_assertion_is_used_too(world: World, by: Any) -> None:
    id_jag(world, aud=EVIL)
    context = Context(EVIL, SERVER, SERVER, SERVER, None, ENTERPRISE, use_id_token=False, audiences=(SERVER,))
    endpoint = TokenEndpoint(Asked(f"{EVIL}/token", EVIL, Party("xaa-client")))
    wishes = MANAGED._replace(issuer=ISSUER, assertion=jwt(aud=EVIL))
    played = world.play(by(endpoint, context, wishes, world.knowing.senses))
    assert "not sent there" in str(played.trouble)
    assert played.fetches == []


def test_another_kind_of_token_is_no_id_jag(world: World) -> None:
    assertion = id_jag(world, issued_token_type="urn:ietf:params:oauth:token-type:access_token")
    played = world.sign_in(MANAGED)
    assert played.fault is not None
    assert sent_to(played, assertion) == set()


def test_an_identity_provider_that_refuses_ends_it_in_its_own_words(world: World) -> None:
    world.answers[IDP_TOKEN] = said({"error": "invalid_grant", "error_description": "expired"}, 400)
    played = world.sign_in(MANAGED)
    assert "idp.example.org gave no token. It said: invalid_grant (expired)" in str(played.trouble)
    assert "--idp-id-token-env" in played.trouble.hint


def test_something_that_is_no_access_token_is_not_used_as_one(world: World) -> None:
    id_jag(world)
    world.tokens["token_type"] = "N_A"
    assert "no access token" in str(world.sign_in(MANAGED).trouble)


def test_without_an_identity_provider_it_says_what_is_missing(world: World) -> None:
    assert "--idp-issuer" in world.sign_in(MANAGED._replace(enterprise=None)).trouble.hint


def test_nothing_is_looked_up_twice(world: World) -> None:
    id_jag(world)
    assert world.sign_in(MANAGED).urls == [RESOURCE_METADATA, SERVER_METADATA, IDP_TOKEN, TOKEN]
