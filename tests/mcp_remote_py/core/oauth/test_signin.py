"""The whole sign-in, with the other side played line by line."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest

from mcp_remote_py.core.errors import SignInNeeded, TimedOut
from mcp_remote_py.core.oauth import names, pkce
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.preferences import CLIENT_CREDENTIALS, DEVICE, Client, Preferences
from mcp_remote_py.core.oauth.steps import Authorize, Fetch, Fetched, Listen, Pause, Say, ShowCode
from mcp_remote_py.core.oauth.tokens import Party, from_document, to_document
from tests.mcp_remote_py.core.oauth.playing import said
from tests.mcp_remote_py.core.oauth.world import (
    AUTHORIZE,
    ISSUER,
    REDIRECT,
    REGISTER,
    RESOURCE_METADATA,
    SERVER,
    SERVER_METADATA,
    TOKEN,
    World,
    a_grant,
    asked,
    fields,
    header,
    jwt,
    opened,
    token_requests,
)
from tests.mcp_remote_py.core.oauth.world import (
    DEVICE as DEVICE_URL,
)

STEP_UP = Challenge("Bearer", {"error": "insufficient_scope", "scope": "admin"})


@pytest.fixture
def world() -> World:
    return World()


# --- The code grant --------------------------------------------------------------------------------------------------


def test_a_first_sign_in_discovers_listens_registers_opens_and_redeems(world: World) -> None:
    world.tokens |= {"refresh_token": "rt-1", "scope": "read"}
    played = world.sign_in()
    grant = played.result
    assert grant.access_token == "at-1"
    assert grant.refresh_token == "rt-1"
    assert (grant.scheme, grant.issuer, grant.resource, grant.scope) == ("Bearer", ISSUER, SERVER, "read")
    assert (grant.obtained, grant.expires) == (world.knowing.now, world.knowing.now + 3600)
    assert (grant.party.client_id, grant.token_endpoint, grant.kind) == ("registered-1", TOKEN, "code")
    assert played.urls == [RESOURCE_METADATA, SERVER_METADATA, REGISTER, TOKEN]
    order = [type(step) for step in played.steps if isinstance(step, Listen | Authorize)]
    assert order == [Listen, Authorize]
    assert from_document(to_document(grant)) == grant


def test_the_authorization_request_says_all_that_is_asked_of_it(world: World) -> None:
    world.resource["scopes_supported"] = ["read", "write"]
    (step,) = opened(world.sign_in())
    assert step.url.startswith(f"{AUTHORIZE}?")
    parameters = asked(step.url)
    assert parameters == {
        "response_type": "code",
        "client_id": "registered-1",
        "redirect_uri": REDIRECT,
        "code_challenge": parameters["code_challenge"],
        "code_challenge_method": "S256",
        "state": step.state,
        "scope": "read write",
        "resource": SERVER,
    }
    assert (step.issuer, step.resource, step.redirect_uri) == (ISSUER, SERVER, REDIRECT)


def test_the_token_request_proves_who_began_the_sign_in(world: World) -> None:
    played = world.sign_in()
    (step,), (sent,) = opened(played), token_requests(played)
    assert pkce.proof(sent["code_verifier"]).challenge == asked(step.url)["code_challenge"]
    assert sent == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": REDIRECT,
        "code_verifier": sent["code_verifier"],
        "resource": SERVER,
        "client_id": "registered-1",
    }
    assert step.state not in (sent["code_verifier"], "")


def test_every_secret_is_learnt_before_it_is_sent_or_comes_back(world: World) -> None:
    world.tokens |= {"refresh_token": "rt-1", "id_token": "id-1"}
    played = world.sign_in()
    (sent,) = token_requests(played)
    (step,) = opened(played)
    assert {sent["code_verifier"], "code-1", "at-1", "rt-1", "id-1"} <= set(world.knowing.learnt)
    assert step.state not in world.knowing.learnt  # it stands in the URL that a person has to be able to read


def test_the_log_names_issuer_and_resource_before_the_browser_opens(world: World) -> None:
    steps = world.sign_in().steps
    before = steps[: next(at for at, step in enumerate(steps) if isinstance(step, Authorize))]
    assert any(isinstance(step, Say) and ISSUER in step.text and SERVER in step.text for step in before)


def test_resource_is_what_the_metadata_calls_itself(world: World) -> None:
    world.resource["resource"] = "https://mcp.example.com"
    played = world.sign_in()
    assert asked(opened(played)[0].url)["resource"] == "https://mcp.example.com"
    assert token_requests(played)[0]["resource"] == "https://mcp.example.com"
    assert played.result.resource == "https://mcp.example.com"


def test_resource_can_be_given_by_the_user(world: World) -> None:
    played = world.sign_in(Preferences(resource="urn:mcp:one"))
    assert asked(opened(played)[0].url)["resource"] == token_requests(played)[0]["resource"] == "urn:mcp:one"


def test_resource_can_be_left_out_by_the_user(world: World) -> None:
    played = world.sign_in(Preferences(with_resource=False))
    assert "resource" not in asked(opened(played)[0].url)
    assert "resource" not in token_requests(played)[0]
    assert (played.result.with_resource, played.result.resource) == (False, SERVER)


def test_a_remembered_registration_is_used_again(world: World) -> None:
    world.sign_in()
    again = world.sign_in()
    assert world.registrations == 1
    assert again.result.party.client_id == "registered-1"


def test_another_port_makes_another_registration_and_keeps_the_first(world: World) -> None:
    world.sign_in()
    world.redirect_uri = "http://localhost:5000/oauth/callback"
    assert world.sign_in().result.party.client_id == "registered-2"
    assert {names.registration(ISSUER, REDIRECT), names.registration(ISSUER, world.redirect_uri)} <= world.kept.keys()


def test_a_registration_that_the_server_forgot_is_renewed_once(world: World) -> None:
    world.sign_in()
    world.answers[TOKEN] = [said({"error": "invalid_client"}, 401), said(world.tokens)]
    played = world.sign_in()
    assert played.result.party.client_id == "registered-2"
    assert [asked(step.url)["client_id"] for step in opened(played)] == ["registered-1", "registered-2"]
    assert len({step.state for step in opened(played)}) == 2
    assert len({sent["code_verifier"] for sent in token_requests(played)}) == 2


def test_a_registration_that_is_refused_right_away_is_not_made_again_and_again(world: World) -> None:
    world.answers[TOKEN] = said({"error": "invalid_client"}, 401)
    assert "invalid_client" in str(world.sign_in().trouble)
    assert world.registrations == 1
    assert "invalid_client" in str(world.sign_in().trouble)
    assert world.registrations == 2


def test_a_configured_client_is_never_registered_anew(world: World) -> None:
    world.answers[TOKEN] = said({"error": "invalid_client"}, 401)
    played = world.sign_in(Preferences(client=Client("mine")))
    assert "invalid_client" in str(played.trouble)
    assert world.registrations == 0
    assert len(opened(played)) == 1


def test_a_configured_client_is_asked_for_its_redirect_uris(world: World) -> None:
    played = world.sign_in(Preferences(client=Client("mine", redirect_uris=(REDIRECT,))))
    assert [step for step in played.steps if isinstance(step, Listen)] == [Listen((REDIRECT,))]


def test_another_port_of_a_configured_client_is_an_error_before_any_browser(world: World) -> None:
    world.redirect_uri = "http://localhost:5000/oauth/callback"
    played = world.sign_in(Preferences(client=Client("mine", redirect_uris=(REDIRECT,))))
    assert "localhost:5000" in str(played.trouble)
    assert opened(played) == []


def test_a_configured_client_is_not_shown_to_an_authorization_server_it_was_not_made_for(world: World) -> None:
    older = a_grant(issuer="https://old.example.com", party=Party("mine"))
    played = world.sign_in(Preferences(client=Client("mine", "s3cret-of-mine")), older=older)
    assert "another authorization server" in str(played.trouble)
    assert "logout" in played.trouble.hint
    assert all(fetch.method == "GET" for fetch in played.fetches)
    assert world.sign_in(Preferences(client=Client("new one")), older=older).fault is None


def test_what_the_endpoint_has_in_its_query_is_kept(world: World) -> None:
    world.metadata["authorization_endpoint"] = f"{AUTHORIZE}?tenant=a%2Fb&audience=x+y&state=evil&resource=evil"
    (step,) = opened(world.sign_in())
    assert step.url.startswith(f"{AUTHORIZE}?tenant=a%2Fb&audience=x+y&response_type=code&")
    assert (asked(step.url)["state"], asked(step.url)["resource"]) == (step.state, SERVER)


def test_the_user_adds_parameters_but_does_not_change_the_flow(world: World) -> None:
    extra = (("audience", "https://api.example.com"), ("state", "mine"), ("code_challenge_method", "plain"))
    (step,) = opened(world.sign_in(Preferences(authorize_params=extra)))
    parameters = asked(step.url)
    assert parameters["audience"] == "https://api.example.com"
    assert (parameters["state"], parameters["code_challenge_method"]) == (step.state, "S256")


@pytest.mark.parametrize(
    ("offered", "asked_for", "prompt"),
    [(["read", "offline_access"], "read offline_access", "consent"), (["read"], "read", None)],
)
def test_offline_access_is_asked_for_where_it_is_offered(
    world: World, offered: list[str], asked_for: str, prompt: str | None
) -> None:
    world.metadata["scopes_supported"] = offered
    world.resource["scopes_supported"] = ["read"]
    parameters = asked(opened(world.sign_in())[0].url)
    assert (parameters["scope"], parameters.get("prompt")) == (asked_for, prompt)


def test_the_user_says_how_to_prompt(world: World) -> None:
    wishes = Preferences(scope="offline_access", authorize_params=(("prompt", "login"),))
    assert asked(opened(world.sign_in(wishes))[0].url)["prompt"] == "login"


def test_a_server_without_any_metadata_is_asked_at_its_default_paths(world: World) -> None:
    root = "https://mcp.example.com"
    world.answers = {
        RESOURCE_METADATA: Fetched(404),
        f"{root}/register": said({"client_id": "old-style"}, 201),
        f"{root}/token": said(world.tokens),
    }
    played = world.sign_in()
    assert opened(played)[0].url.startswith(f"{root}/authorize?")
    assert (played.result.issuer, played.result.token_endpoint) == (root, f"{root}/token")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://as.example.com/a?x='",
        "https://as.example.com/$(id)",
        "https://user@as.example.com/a",
        "http://as.example.com/a",
        "javascript:alert(1)",
        "https://as.example.com/a b",
        "https://as.example.com/a|b",
    ],
)
def test_a_hostile_authorization_url_is_never_opened(world: World, endpoint: str) -> None:
    world.metadata["authorization_endpoint"] = endpoint
    played = world.sign_in()
    assert isinstance(played.trouble, SignInNeeded)
    assert opened(played) == []


def test_neither_is_one_that_no_browser_takes(world: World) -> None:
    played = world.sign_in(Preferences(scope="s" * 40_000))
    assert "too long" in str(played.trouble)
    assert opened(played) == []


def test_a_sign_in_that_nobody_finishes_ends_with_the_drivers_fault(world: World) -> None:
    world.back = lambda _: TimedOut("nobody came back")
    assert str(world.sign_in().trouble) == "nobody came back"


# --- What comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "iss", "goes_on"),
    [
        (True, ISSUER, True),
        (True, "https://evil.example.com", False),
        (True, f"{ISSUER}/", False),
        (True, None, False),
        (None, ISSUER, True),
        (None, "HTTPS://as.example.com", False),
        (False, "https://evil.example.com", False),
        (False, None, True),
        (None, None, True),
        (None, "", False),
    ],
)
def test_the_redirect_has_to_be_from_the_issuer_that_was_asked(
    world: World, supported: bool | None, iss: str | None, goes_on: bool
) -> None:
    if supported is not None:
        world.metadata["authorization_response_iss_parameter_supported"] = supported
    world.back = lambda step: urlencode(
        {"code": "code-1", "state": step.state, **({} if iss is None else {"iss": iss})}
    )
    played = world.sign_in()
    assert (played.fault is None) is goes_on
    assert bool(token_requests(played)) is goes_on


def test_an_error_of_another_issuer_is_not_shown(world: World) -> None:
    world.back = lambda step: urlencode(
        {"error": "access_denied", "error_description": "call 555", "state": step.state, "iss": "https://evil.example"}
    )
    text = f"{world.sign_in().trouble} {world.sign_in().trouble.hint}"
    assert "access_denied" not in text
    assert "555" not in text
    assert "evil" not in text


@pytest.mark.parametrize("query", ["code=c", "code=c&state=", "code=c&state=other", "error=access_denied&state=other"])
def test_a_redirect_of_another_sign_in_is_refused(world: World, query: str) -> None:
    world.back = lambda _: query
    played = world.sign_in()
    assert "state" in str(played.trouble)
    assert token_requests(played) == []
    assert "access_denied" not in str(played.trouble)


def test_a_person_who_says_no_is_told_so(world: World) -> None:
    world.back = lambda step: urlencode(
        {"error": "access_denied", "error_description": "The user\x1b[2J said no", "state": step.state}
    )
    text = str(world.sign_in().trouble)
    assert text.startswith("The sign-in was turned down. as.example.com said: access_denied (The user")
    assert "\x1b" not in text


# --- Entra -----------------------------------------------------------------------------------------------------------

ENTRA = "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes."
ENTRA_TOO = "AADSTS901002: The 'resource' request parameter is not supported."


@pytest.mark.parametrize("description", [ENTRA, ENTRA_TOO])
def test_resource_is_left_out_after_the_token_endpoint_rejects_it(world: World, description: str) -> None:
    world.answers[TOKEN] = [
        said({"error": "invalid_target", "error_description": description}, 400),
        said(world.tokens),
    ]
    played = world.sign_in()
    assert played.result.with_resource is False
    assert played.result.resource == SERVER
    assert ["resource" in sent for sent in token_requests(played)] == [True, False]
    assert len(opened(played)) == 1


def test_a_code_that_was_used_up_by_that_is_asked_for_once_more_without_resource(world: World) -> None:
    world.answers[TOKEN] = [
        said({"error": "invalid_target", "error_description": ENTRA}, 400),
        said({"error": "invalid_grant"}, 400),
        said(world.tokens),
    ]
    played = world.sign_in()
    assert played.fault is None
    assert ["resource" in asked(step.url) for step in opened(played)] == [True, False]


def test_resource_is_left_out_after_the_browser_brings_that_error(world: World) -> None:
    def back(step: Authorize) -> str:
        if "resource" in asked(step.url):
            return urlencode({"error": "invalid_request", "error_description": ENTRA_TOO, "state": step.state})
        return world.agreed(step)

    world.back = back
    played = world.sign_in()
    assert played.result.with_resource is False
    assert [sorted(asked(step.url).keys() & {"resource"}) for step in opened(played)] == [["resource"], []]
    assert all("resource" not in sent for sent in token_requests(played))


def test_it_goes_on_without_resource_once_and_no_more(world: World) -> None:
    world.back = lambda step: urlencode({"error": "x", "error_description": ENTRA, "state": step.state})
    played = world.sign_in()
    assert "AADSTS9010010" in str(played.trouble)
    assert len(opened(played)) == 2


def test_another_error_of_entra_is_just_shown(world: World) -> None:
    world.back = lambda step: urlencode({"error": "x", "error_description": "AADSTS90100101: no", "state": step.state})
    played = world.sign_in()
    assert "AADSTS90100101" in str(played.trouble)
    assert len(opened(played)) == 1


# --- Scopes ----------------------------------------------------------------------------------------------------------


def test_a_step_up_asks_for_what_there_is_and_for_what_is_wanted(world: World) -> None:
    played = world.sign_in(challenge=STEP_UP, status=403, older=a_grant(scope="read write"))
    assert set(asked(opened(played)[0].url)["scope"].split()) == {"read", "write", "admin"}


def test_a_refusal_for_another_reason_asks_for_what_the_challenge_names(world: World) -> None:
    played = world.sign_in(challenge=STEP_UP, status=401, older=a_grant(scope="read write"))
    assert asked(opened(played)[0].url)["scope"] == "admin"


def test_a_scope_that_is_not_confirmed_is_the_one_that_was_asked_for(world: World) -> None:
    assert world.sign_in(Preferences(scope="read write")).result.scope == "read write"


def test_nothing_is_asked_for_where_nothing_is_wanted(world: World) -> None:
    world.resource["scopes_supported"] = []
    world.metadata["scopes_supported"] = ["everything"]
    played = world.sign_in()
    assert "scope" not in asked(opened(played)[0].url)
    assert played.result.scope is None


# --- The token -------------------------------------------------------------------------------------------------------


def test_a_token_for_another_resource_is_refused(world: World) -> None:
    world.tokens["access_token"] = jwt(aud="https://other.example.net/mcp")
    text = str(world.sign_in().trouble)
    assert "another resource, at other.example.net" in text


@pytest.mark.parametrize(
    "aud", [SERVER, "https://mcp.example.com", ["https://x.example", SERVER], "api://guid", "client", ISSUER, None]
)
def test_a_token_for_this_server_or_for_who_knows_whom_is_taken(world: World, aud: object) -> None:
    world.tokens["access_token"] = jwt(aud=aud)
    assert world.sign_in().fault is None


def test_an_audience_that_the_user_named_is_taken(world: World) -> None:
    world.tokens["access_token"] = jwt(aud="https://api.example.net/")
    wishes = Preferences(authorize_params=(("audience", "https://api.example.net/"),))
    assert world.sign_in(wishes).fault is None


def test_the_id_token_is_used_where_that_is_wanted(world: World) -> None:
    id_token = jwt(aud="registered-1", iat=100, exp=1000)
    world.tokens |= {"id_token": id_token, "expires_in": 7}
    grant = world.sign_in(Preferences(use_id_token=True, scope="email")).result
    assert grant.access_token == id_token
    assert grant.expires == world.knowing.now + 900


def test_the_scope_for_an_id_token_is_added(world: World) -> None:
    world.tokens["id_token"] = jwt(aud="registered-1")
    played = world.sign_in(Preferences(use_id_token=True, scope="email"))
    assert asked(opened(played)[0].url)["scope"] == "openid email"


@pytest.mark.parametrize("id_token", [None, jwt(aud="another client")])
def test_an_id_token_that_is_missing_or_another_clients_is_no_good(world: World, id_token: str | None) -> None:
    world.tokens["id_token"] = id_token
    assert world.sign_in(Preferences(use_id_token=True)).fault is not None


def test_a_refused_code_is_not_shown_twice(world: World) -> None:
    world.answers[TOKEN] = said({"error": "invalid_grant", "error_description": "code-1 is wrong"}, 400)
    played = world.sign_in()
    assert "invalid_grant" in str(played.trouble)
    assert len(token_requests(played)) == 1


def test_a_server_that_repeats_what_it_was_sent_is_not_quoted_on_that(world: World) -> None:
    def repeat(fetch: Fetch) -> Fetched:
        sent = fields(fetch)
        return said({"error": "invalid_grant", "error_description": f"{sent['code']} {sent['code_verifier']}"}, 400)

    world.back = lambda step: urlencode({"code": "a-code-of-ours", "state": step.state})
    world.answers[TOKEN] = repeat
    assert str(world.sign_in().trouble).endswith("invalid_grant ([secret] [secret])")


# --- DPoP ------------------------------------------------------------------------------------------------------------


def dpop(world: World) -> None:
    world.metadata["dpop_signing_alg_values_supported"] = ["RS256", "ES256"]
    world.tokens["token_type"] = "dpop"


def test_dpop_is_used_by_itself_where_it_is_offered(world: World) -> None:
    dpop(world)
    played = world.sign_in()
    assert played.result.scheme == "DPoP"
    (step,) = world.signed
    assert (step.key, step.algorithms, step.header) == ("dpop", ("ES256",), {"typ": "dpop+jwt"})
    claims = step.claims
    assert (claims["htm"], claims["htu"], claims["iat"]) == ("POST", TOKEN, int(world.knowing.now))
    assert header(next(fetch for fetch in played.fetches if fetch.url == TOKEN), "DPoP") == "dpop-1"


def test_a_nonce_that_is_wanted_is_given_once_with_a_fresh_proof(world: World) -> None:
    dpop(world)
    world.answers[TOKEN] = [
        said({"error": "use_dpop_nonce"}, 400, dpop_nonce="nonce-1"),
        said(world.tokens),
    ]
    assert world.sign_in().fault is None
    first, second = (step.claims for step in world.signed)
    assert ("nonce" in first, second["nonce"]) == (False, "nonce-1")
    assert first["jti"] != second["jti"]


def test_another_refusal_that_brings_a_nonce_is_final(world: World) -> None:
    dpop(world)
    world.answers[TOKEN] = said({"error": "invalid_grant"}, 400, dpop_nonce="nonce-1")
    assert len(token_requests(world.sign_in())) == 1


def test_a_server_that_never_takes_its_own_nonce_is_given_up(world: World) -> None:
    dpop(world)
    world.answers[TOKEN] = said({"error": "use_dpop_nonce"}, 400, dpop_nonce="nonce-1")
    played = world.sign_in()
    assert "use_dpop_nonce" in str(played.trouble)
    assert len(token_requests(played)) == 2


@pytest.mark.parametrize(
    ("algorithms", "wishes"),
    [
        (["ES256"], Preferences(with_dpop=False)),
        (["RS256"], Preferences()),
        ([], Preferences()),
    ],
)
def test_dpop_is_left_alone_where_it_is_not_wanted_or_cannot_be(
    world: World, algorithms: list[str], wishes: Preferences
) -> None:
    world.metadata["dpop_signing_alg_values_supported"] = algorithms
    played = world.sign_in(wishes)
    assert played.result.scheme == "Bearer"
    assert world.signed == []


def test_a_server_that_offers_dpop_and_gives_a_bearer_token_is_taken_at_its_word(world: World) -> None:
    dpop(world)
    world.tokens["token_type"] = "bearer"
    assert world.sign_in().result.scheme == "Bearer"


def test_without_a_key_it_goes_on_without_dpop_and_says_so(world: World) -> None:
    dpop(world)
    world.tokens["token_type"] = "Bearer"
    world.cannot_sign = SignInNeeded("the extra [crypto] is not installed")
    played = world.sign_in()
    assert played.result.scheme == "Bearer"
    assert any("without DPoP" in line for line in played.lines)


def test_a_bound_token_that_nobody_can_prove_is_refused(world: World) -> None:
    world.tokens["token_type"] = "DPoP"
    assert "DPoP" in str(world.sign_in().trouble)


# --- The device grant ------------------------------------------------------------------------------------------------

CODES: dict[str, Any] = {
    "device_code": "device-code-1",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://as.example.com/device",
    "verification_uri_complete": "https://as.example.com/device?user_code=WDJB-MJHT",
    "expires_in": 1800,
}


def device(world: World, *answers: dict[str, Any] | Fetched | TimedOut, **changes: Any) -> Any:
    world.metadata["device_authorization_endpoint"] = DEVICE_URL
    world.answers[DEVICE_URL] = said({**CODES, **changes})
    known = [
        said(answer, 400 if "error" in answer else 200) if isinstance(answer, dict) else answer for answer in answers
    ]
    world.answers[TOKEN] = [*known, said(world.tokens)]
    return world.sign_in(Preferences(grant=DEVICE, scope="read"))


def pauses(played: Any) -> list[float]:
    return [step.seconds for step in played.steps if isinstance(step, Pause)]


def test_a_device_code_is_shown_and_asked_about_until_it_was_entered(world: World) -> None:
    played = device(
        world, {"error": "authorization_pending"}, {"error": "slow_down"}, {"error": "authorization_pending"}
    )
    assert played.result.kind == DEVICE
    assert pauses(played) == [5, 5, 10, 10]
    (shown,) = [step for step in played.steps if isinstance(step, ShowCode)]
    assert shown == ShowCode(
        CODES["verification_uri"], "WDJB-MJHT", CODES["verification_uri_complete"], 1800, ISSUER, SERVER
    )
    assert opened(played) == []
    (asked_for,) = token_requests(played, DEVICE_URL)
    assert asked_for == {"scope": "read", "resource": SERVER, "client_id": "registered-1"}
    assert token_requests(played)[0] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "device-code-1",
        "resource": SERVER,
        "client_id": "registered-1",
    }
    assert "device-code-1" in world.knowing.learnt


def test_the_server_says_how_often_it_wants_to_be_asked(world: World) -> None:
    assert pauses(device(world, interval=7)) == [7]


def test_a_server_that_fails_in_between_is_asked_more_rarely(world: World) -> None:
    assert pauses(device(world, Fetched(503), TimedOut("slow"), interval=1)) == [1, 2, 4]


@pytest.mark.parametrize(
    ("error", "said_so"), [("expired_token", "before it expired"), ("access_denied", "access_denied")]
)
def test_a_device_code_that_expired_or_was_turned_down_ends_the_sign_in(world: World, error: str, said_so: str) -> None:
    assert said_so in str(device(world, {"error": error}).trouble)


def test_a_device_code_that_nobody_enters_ends_by_our_clock_too(world: World) -> None:
    world.metadata["device_authorization_endpoint"] = DEVICE_URL
    world.answers[DEVICE_URL] = said({**CODES, "expires_in": "60"})

    def wait(_: Any) -> Fetched:
        world.knowing.now += 30
        return said({"error": "authorization_pending"}, 400)

    world.answers[TOKEN] = wait
    played = world.sign_in(Preferences(grant=DEVICE))
    assert "before it expired" in str(played.trouble)
    assert len(token_requests(played)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://as.example.com/device"},
        {"verification_uri": None},
        {"user_code": "a\x1b[2Jb"},
        {"user_code": ""},
        {"user_code": "x" * 1000},
        {"device_code": None},
    ],
)
def test_a_device_answer_that_cannot_be_shown_is_refused(world: World, changes: dict[str, Any]) -> None:
    played = device(world, **changes)
    assert played.fault is not None
    assert [step for step in played.steps if isinstance(step, ShowCode)] == []


def test_a_hostile_complete_address_is_left_out(world: World) -> None:
    played = device(world, verification_uri_complete="https://as.example.com/`id`")
    (shown,) = [step for step in played.steps if isinstance(step, ShowCode)]
    assert shown.complete_uri is None


def test_a_server_without_the_device_grant_says_what_to_do(world: World) -> None:
    assert "device" in str(world.sign_in(Preferences(grant=DEVICE)).trouble)


# --- Client credentials ----------------------------------------------------------------------------------------------


def test_client_credentials_need_nobody(world: World) -> None:
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
    played = world.sign_in(Preferences(grant=CLIENT_CREDENTIALS, client=Client("my:client", "p@ss wörd%"), scope="a b"))
    assert opened(played) == []
    (sent,) = token_requests(played)
    assert sent == {"grant_type": "client_credentials", "scope": "a b", "resource": SERVER}
    shown = header(played.fetches[-1], "Authorization")
    assert shown is not None
    assert base64.b64decode(shown.removeprefix("Basic ")).decode() == "my%3Aclient:" + quote("p@ss wörd%").replace(
        "%20", "+"
    )
    assert played.result.kind == CLIENT_CREDENTIALS


def test_a_signed_assertion_names_client_and_issuer(world: World) -> None:
    world.metadata["token_endpoint_auth_signing_alg_values_supported"] = ["RS256", "ES256"]
    wishes = Preferences(
        grant=CLIENT_CREDENTIALS, client=Client("mine", method="private_key_jwt"), has_private_key=True
    )
    played = world.sign_in(wishes)
    (step,) = world.signed
    assert (step.key, step.algorithms) == ("client", ("RS256", "ES256"))
    claims = step.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("mine", "mine", ISSUER)
    assert 0 < claims["exp"] - claims["iat"] <= 300
    assert claims["jti"]
    (sent,) = token_requests(played)
    assert sent["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert sent["client_assertion"] == "client-1"
    assert "client_secret" not in sent
    assert "client-1" in world.knowing.learnt


def test_a_secret_goes_into_the_body_where_that_is_wanted(world: World) -> None:
    wishes = Preferences(grant=CLIENT_CREDENTIALS, client=Client("mine", "s3cret&=", "client_secret_post"))
    played = world.sign_in(wishes)
    (sent,) = token_requests(played)
    assert (sent["client_id"], sent["client_secret"]) == ("mine", "s3cret&=")
    assert header(played.fetches[-1], "Authorization") is None


def test_client_credentials_without_a_client_register_nobody(world: World) -> None:
    assert "client" in str(world.sign_in(Preferences(grant=CLIENT_CREDENTIALS)).trouble)
    assert world.registrations == 0


def test_a_token_endpoint_that_is_configured_needs_no_metadata(world: World) -> None:
    other = "https://elsewhere.example.com/oauth/token"
    world.answers = {SERVER_METADATA: Fetched(404), other: said(world.tokens)}
    wishes = Preferences(grant=CLIENT_CREDENTIALS, client=Client("mine", "s3cret"), token_endpoint=other)
    played = world.sign_in(wishes)
    assert played.result.token_endpoint == other
    assert played.fetches[-1].origin_checked
    assert SERVER_METADATA not in played.urls


def test_resource_is_left_out_by_itself_without_a_person_too(world: World) -> None:
    world.answers[TOKEN] = [said({"error": "invalid_target", "error_description": ENTRA}, 400), said(world.tokens)]
    played = world.sign_in(Preferences(grant=CLIENT_CREDENTIALS, client=Client("mine", "s3cret")))
    assert ["resource" in sent for sent in token_requests(played)] == [True, False]


# --- Where requests go -----------------------------------------------------------------------------------------------


def test_addresses_that_others_named_are_marked_so(world: World) -> None:
    played = world.sign_in()
    assert {fetch.url: fetch.origin_checked for fetch in played.fetches} == {
        RESOURCE_METADATA: True,
        SERVER_METADATA: False,
        REGISTER: False,
        TOKEN: False,
    }


def test_no_secret_is_in_any_address(world: World) -> None:
    world.tokens["refresh_token"] = "rt-1"
    played = world.sign_in()
    verifier = token_requests(played)[0]["code_verifier"]
    for fetch in played.fetches:
        assert urlsplit(fetch.url).query == ""
    assert verifier not in opened(played)[0].url
    assert fields(played.fetches[-1])["code_verifier"] == verifier
