"""Whatever servers and browsers say: a sign-in ends with tokens or in words, and asks nobody it may not ask."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.oauth import addresses, renewal, signin
from mcp_remote_py.core.oauth.challenge import wanted
from mcp_remote_py.core.oauth.preferences import GRANTS, Client, Enterprise, Preferences
from mcp_remote_py.core.oauth.steps import Authorize, Fetch, Fetched, ShowCode, Sign
from mcp_remote_py.core.oauth.tokens import Grant, from_document, to_document
from tests.mcp_remote_py.core.oauth.playing import Played
from tests.mcp_remote_py.core.oauth.world import (
    DEVICE,
    ISSUER,
    REGISTER,
    RESOURCE_METADATA,
    REVOKE,
    SERVER,
    SERVER_METADATA,
    TOKEN,
    World,
    a_grant,
    jwt,
)

URLS = st.sampled_from(
    [
        ISSUER,
        SERVER,
        TOKEN,
        "https://as.example.com/other?x=1",
        "http://as.example.com/token",
        "http://127.0.0.1/token",
        "https://user@as.example.com/",
        "https://as.example.com/$(id)",
        "https://as.example.com/a b",
        "https://evil.example/`id`",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://[::1",
        "https://as.example.com:99999/",
        "//as.example.com/",
        "\x1b[2J",
        "",
    ]
)
WORDS = st.sampled_from(
    [
        "S256",
        "plain",
        "none",
        "client_secret_basic",
        "ES256",
        "offline_access",
        "bearer",
        "DPoP",
        "N_A",
        "invalid_client",
    ]
)
ERRORS = st.sampled_from(
    ["use_dpop_nonce", "authorization_pending", "slow_down", "invalid_grant", "AADSTS9010010: x", "AADSTS901002"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    URLS | WORDS | ERRORS | st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def changes(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), VALUES, max_size=3)


RESOURCES = changes("resource", "authorization_servers", "scopes_supported")
METADATA = changes(
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "device_authorization_endpoint",
    "code_challenge_methods_supported",
    "token_endpoint_auth_methods_supported",
    "dpop_signing_alg_values_supported",
    "authorization_response_iss_parameter_supported",
)
TOKENS = changes(
    "access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope", "error", "error_description"
)
CODES = changes("device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval")
STATUSES = st.sampled_from([200, 200, 200, 400, 401, 500])
HEADERS = st.sampled_from([{}, {"dpop-nonce": "n-1"}, {"dpop-nonce": "a\nb"}, {"content-type": "text/plain"}])


def wish(**said: Any) -> Preferences:
    return Preferences(**said)


WISHES = st.builds(
    wish,
    grant=st.sampled_from(GRANTS),
    client=st.none() | st.just(Client("mine", "s3cret-of-mine")),
    scope=st.none() | st.just("read offline_access"),
    with_resource=st.booleans(),
    assume_pkce=st.booleans(),
    use_id_token=st.booleans(),
    enterprise=st.just(Enterprise("https://idp.example.org", None, "idp", None, jwt(aud="idp"))),
    assertion=st.just(jwt(aud=ISSUER)),
    authorize_params=st.just((("state", "mine"), ("\x00'\"", "`$(id)"))),
)
BROUGHT = st.sampled_from(["code=c&state={}", "error=access_denied&state={}", "code=c&state={}&iss=x", "x", "%ff={}"])


def check(played: Played[Any]) -> None:
    for step in played.steps:
        if isinstance(step, Fetch):
            assert addresses.endpoint_problem(step.url) is None
            assert all(text.isprintable() for pair in step.headers for text in pair)
        if isinstance(step, Authorize):
            assert addresses.authorization_url_problem(step.url) is None
        if isinstance(step, ShowCode):
            assert addresses.authorization_url_problem(step.verification_uri) is None
            assert step.user_code.isprintable()
        if isinstance(step, Sign):
            assert msg.encode(step.claims)
    if played.fault is not None:
        assert "\x1b" not in f"{played.fault} {played.fault.hint}"
        assert "s3cret-of-mine" not in f"{played.fault} {played.fault.hint}"
        return
    grant = played.result
    assert grant is None or from_document(to_document(grant)) == grant
    if isinstance(grant, Grant):
        assert grant.access_token.isprintable()


@given(WISHES, RESOURCES, METADATA, TOKENS, CODES, STATUSES, HEADERS, BROUGHT)
def test_a_sign_in_ends_with_tokens_or_in_words(
    wishes: Preferences,
    resource: dict[str, Any],
    metadata: dict[str, Any],
    tokens: dict[str, Any],
    codes: dict[str, Any],
    status: int,
    headers: dict[str, str],
    brought: str,
) -> None:
    world = World()
    world.resource |= resource
    world.metadata |= {"device_authorization_endpoint": DEVICE, **metadata}
    world.tokens |= {"id_token": jwt(aud=["mine", "registered-1"]), **tokens}
    codes = {"device_code": "d-1", "user_code": "u-1", "verification_uri": DEVICE, "expires_in": 60, **codes}

    def answer(_: Fetch) -> Fetched:
        world.knowing.now += 10
        return Fetched(status, msg.encode(world.tokens), headers)

    world.answers = {
        RESOURCE_METADATA: Fetched(200, msg.encode(world.resource)),
        SERVER_METADATA: Fetched(200, msg.encode(world.metadata)),
        TOKEN: answer,
        DEVICE: Fetched(200, msg.encode(codes)),
    }
    world.back = lambda step: brought.format(step.state)
    check(world.sign_in(wishes))


@given(st.text(alphabet='Bearer DPoP="\\,resource_metadata/:scope errorinsufficient_scope', max_size=80), STATUSES)
def test_no_challenge_leads_anywhere_it_may_not(header: str, status: int) -> None:
    world = World()
    flow = signin.sign_in(SERVER, wanted(header), status, Preferences(), world.knowing.senses)
    check(world.play(flow))


@given(WISHES, TOKENS, STATUSES, HEADERS, st.sampled_from(["Bearer", "DPoP"]), st.sampled_from(GRANTS))
def test_a_renewal_ends_with_tokens_or_in_words(
    wishes: Preferences, tokens: dict[str, Any], status: int, headers: dict[str, str], scheme: str, kind: str
) -> None:
    world = World()
    world.answers[TOKEN] = Fetched(status, msg.encode({**world.tokens, **tokens}), headers)
    flow = renewal.renew(a_grant(scheme=scheme, kind=kind), wishes, world.knowing.senses)
    played = world.play(flow)
    check(played)
    assert set(played.urls) <= {TOKEN}


@given(st.dictionaries(st.sampled_from([*Grant._fields, "form"]), VALUES, max_size=4))
def test_no_kept_document_leads_anywhere_it_may_not(document: dict[str, Any]) -> None:
    grant = from_document({**to_document(a_grant()), **document})
    if grant is None:
        return
    world = World()
    check(world.play(renewal.renew(grant, Preferences(), world.knowing.senses)))


@given(
    st.dictionaries(
        st.sampled_from(["client_id", "client_secret", "redirect_uris", "token_endpoint_auth_method"]), VALUES
    )
)
def test_no_registration_crashes_it(document: dict[str, Any]) -> None:
    world = World()
    world.answers |= {REGISTER: Fetched(201, msg.encode({"client_id": "c-1", **document})), REVOKE: Fetched(200)}
    check(world.sign_in())
