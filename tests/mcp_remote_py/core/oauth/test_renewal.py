"""Renewal: what is shown, what stays, and what each refusal means."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_remote_py.core.errors import Fault, SignInNeeded, Unreachable
from mcp_remote_py.core.oauth import names, registration, renewal
from mcp_remote_py.core.oauth.preferences import ASSERTION, CLIENT_CREDENTIALS, CODE, DEVICE, ENTERPRISE, Preferences
from mcp_remote_py.core.oauth.steps import Fetched
from mcp_remote_py.core.oauth.tokens import Grant, Party
from tests.mcp_remote_py.core.oauth.playing import Played, said
from tests.mcp_remote_py.core.oauth.world import (
    ISSUER,
    REDIRECT,
    SERVER,
    TOKEN,
    World,
    a_grant,
    header,
    jwt,
    token_requests,
)


@pytest.fixture
def world() -> World:
    return World()


def renew(world: World, grant: Grant, preferences: Preferences | None = None) -> Played[Grant | None]:
    return world.play(renewal.renew(grant, preferences or Preferences(), world.knowing.senses))


def renewed(world: World, grant: Grant, preferences: Preferences | None = None) -> Grant:
    found = renew(world, grant, preferences).result
    assert found is not None
    return found


def test_one_request_renews_a_grant_and_nothing_is_looked_up(world: World) -> None:
    world.tokens |= {"refresh_token": "rt-new"}
    played = renew(world, a_grant())
    assert played.urls == [TOKEN]
    assert token_requests(played) == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "rt-old",
            "scope": "read write",
            "resource": SERVER,
            "client_id": "client-1",
        }
    ]
    found = played.result
    now = world.knowing.now
    assert found == a_grant(access_token="at-1", refresh_token="rt-new", expires=now + 3600, obtained=now)
    assert {"rt-old", "rt-new", "at-old", "at-1"} <= set(world.knowing.learnt)


def test_what_the_answer_leaves_out_stays(world: World) -> None:
    world.tokens = {"access_token": "at-2"}
    grant = renewed(world, a_grant(id_token="it-old"))
    assert (grant.refresh_token, grant.scope, grant.id_token) == ("rt-old", "read write", "it-old")
    assert grant.expires is None


def test_another_scope_is_remembered(world: World) -> None:
    world.tokens["scope"] = "read"
    assert renewed(world, a_grant()).scope == "read"


def test_resource_is_left_out_where_the_sign_in_left_it_out(world: World) -> None:
    played = renew(world, a_grant(with_resource=False))
    assert "resource" not in token_requests(played)[0]


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "bad_refresh_token", "interaction_required"])
@pytest.mark.parametrize("status", [200, 400, 401])
def test_a_refused_refresh_token_needs_a_new_sign_in(world: World, error: str, status: int) -> None:
    world.answers[TOKEN] = said({"error": error}, status)
    played = renew(world, a_grant())
    assert played.result is None
    assert any(error in line for line in played.lines)
    assert len(token_requests(played)) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_so_does_a_refusal_without_words_at_a_place_that_is_gone(world: World, status: int) -> None:
    world.answers[TOKEN] = Fetched(status, b"<html>")
    assert renew(world, a_grant()).result is None


@pytest.mark.parametrize(
    "answer",
    [
        Fetched(500),
        Fetched(503, b'{"error":"invalid_grant"}'),
        Fetched(429),
        Fetched(403, b"<html>your firewall</html>"),
        Fetched(307, b"", {"location": "https://evil.example"}),
        said({"error": "temporarily_unavailable"}, 400),
        said({"error": "server_error"}, 400),
        Fetched(200, b"<html>captive portal"),
        Unreachable("no network"),
    ],
)
def test_other_trouble_says_nothing_about_the_grant(world: World, answer: Fetched | Fault) -> None:
    world.answers[TOKEN] = answer
    assert isinstance(renew(world, a_grant()).trouble, SignInNeeded | Unreachable)


def test_a_forgotten_client_is_forgotten_here_too(world: World) -> None:
    party = Party("client-1", redirect_uris=(REDIRECT,))
    name = names.registration(ISSUER, REDIRECT)
    world.kept[name] = registration.to_document(party, ISSUER)
    world.answers[TOKEN] = said({"error": "invalid_client"}, 401)
    assert renew(world, a_grant(party=party)).result is None
    assert name not in world.kept


def test_another_client_that_was_registered_since_is_not(world: World) -> None:
    name = names.registration(ISSUER, REDIRECT)
    world.kept[name] = registration.to_document(Party("client-2", redirect_uris=(REDIRECT,)), ISSUER)
    world.answers[TOKEN] = said({"error": "invalid_client"}, 401)
    assert renew(world, a_grant(party=Party("client-1", redirect_uris=(REDIRECT,)))).result is None
    assert name in world.kept


def test_a_server_that_takes_no_scope_is_asked_once_without(world: World) -> None:
    world.answers[TOKEN] = [said({"error": "invalid_scope"}, 400), said(world.tokens)]
    played = renew(world, a_grant())
    assert ["scope" in sent for sent in token_requests(played)] == [True, False]
    assert played.result is not None
    assert played.result.scope == "read write"


def test_a_server_that_never_takes_it_is_asked_no_more(world: World) -> None:
    world.answers[TOKEN] = said({"error": "invalid_scope"}, 400)
    played = renew(world, a_grant())
    assert played.result is None
    assert len(token_requests(played)) == 2


def test_resource_is_left_out_by_itself_and_that_is_remembered(world: World) -> None:
    world.answers[TOKEN] = [
        said({"error": "invalid_target", "error_description": "AADSTS9010010: no"}, 400),
        said(world.tokens),
    ]
    assert renewed(world, a_grant()).with_resource is False


def test_a_bound_grant_is_renewed_with_a_proof(world: World) -> None:
    world.tokens["token_type"] = "DPoP"
    played = renew(world, a_grant(scheme="DPoP"), Preferences(with_dpop=False))
    assert played.result is not None
    assert played.result.scheme == "DPoP"
    assert header(played.fetches[0], "DPoP") == "dpop-1"
    assert "ath" not in world.signed[0].claims


def test_a_bound_grant_whose_key_is_gone_is_not_shown_without_proof(world: World) -> None:
    world.cannot_sign = SignInNeeded("no key")
    played = renew(world, a_grant(scheme="DPoP"))
    assert str(played.trouble) == "no key"
    assert played.fetches == []


def test_a_grant_that_is_not_bound_needs_no_proof(world: World) -> None:
    renew(world, a_grant())
    assert world.signed == []


def test_without_a_refresh_token_a_person_is_needed(world: World) -> None:
    played = renew(world, a_grant(refresh_token=None))
    assert played.result is None
    assert played.fetches == []


@pytest.mark.parametrize(
    ("refresh_token", "kind", "possible"),
    [
        ("rt", CODE, True),
        (None, CODE, False),
        (None, DEVICE, False),
        (None, ENTERPRISE, False),
        (None, CLIENT_CREDENTIALS, True),
        (None, ASSERTION, True),
    ],
)
def test_it_is_known_beforehand_whether_anybody_is_needed(refresh_token: str | None, kind: str, possible: bool) -> None:
    assert renewal.is_possible(a_grant(refresh_token=refresh_token, kind=kind)) is possible


def test_client_credentials_are_shown_again(world: World) -> None:
    party = Party("mine", "s3cret-one", "client_secret_post")
    played = renew(world, a_grant(refresh_token=None, kind=CLIENT_CREDENTIALS, party=party))
    assert token_requests(played) == [
        {
            "grant_type": "client_credentials",
            "scope": "read write",
            "resource": SERVER,
            "client_id": "mine",
            "client_secret": "s3cret-one",
        }
    ]
    assert played.result is not None


def test_an_assertion_is_shown_again_to_whom_it_is_addressed(world: World) -> None:
    grant = a_grant(refresh_token=None, kind=ASSERTION, party=Party(""))
    mine = jwt(aud=ISSUER)
    (sent,) = token_requests(renew(world, grant, Preferences(assertion=mine)))
    assert sent["assertion"] == mine
    assert "client_id" not in sent
    played = renew(world, grant, Preferences(assertion=jwt(aud="https://other.example")))
    assert played.fetches == []
    assert renew(world, grant).result is None


def test_a_refused_assertion_is_the_end(world: World) -> None:
    world.answers[TOKEN] = said({"error": "invalid_grant"}, 400)
    grant = a_grant(refresh_token=None, kind=ASSERTION, party=Party(""))
    played = renew(world, grant, Preferences(assertion=jwt(aud=ISSUER)))
    assert "invalid_grant" in str(played.trouble)
    assert len(played.fetches) == 1


def test_enterprise_management_begins_at_the_identity_provider(world: World) -> None:
    assert renew(world, a_grant(refresh_token=None, kind=ENTERPRISE)).result is None


def test_the_id_token_is_renewed_where_it_is_the_one_that_is_used(world: World) -> None:
    fresh = jwt(aud="client-1", iat=0, exp=60)
    world.tokens["id_token"] = fresh
    grant = renewed(world, a_grant(access_token="it-old", id_token="it-old"), Preferences(use_id_token=True))
    assert (grant.access_token, grant.expires) == (fresh, world.knowing.now + 60)
    del world.tokens["id_token"]
    assert renew(world, a_grant(), Preferences(use_id_token=True)).result is None


def test_a_token_for_another_resource_is_refused_here_too(world: World) -> None:
    world.tokens["access_token"] = jwt(aud="https://other.example")
    assert "another resource" in str(renew(world, a_grant()).trouble)


def test_the_audience_of_the_sign_in_stays_right(world: World) -> None:
    world.tokens["access_token"] = jwt(aud="https://api.example.net", jti="2")
    assert renew(world, a_grant(access_token=jwt(aud="https://api.example.net", jti="1"))).fault is None


@pytest.mark.parametrize("endpoint", ["http://as.example.com/token", "javascript:x", "", "https://a b/"])
def test_a_damaged_endpoint_is_never_asked(world: World, endpoint: str) -> None:
    played = renew(world, a_grant(token_endpoint=endpoint))
    assert played.result is None
    assert played.fetches == []


@pytest.mark.parametrize(
    ("changes", "checked"),
    [({}, False), ({"token_endpoint": "https://mcp.example.com/token"}, True)],
)
def test_an_address_that_somebody_named_stays_marked_so(world: World, changes: dict[str, Any], checked: bool) -> None:
    world.answers["https://mcp.example.com/token"] = said(world.tokens)
    assert renew(world, a_grant(**changes)).fetches[0].origin_checked is checked
