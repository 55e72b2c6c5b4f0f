"""Discovery, played from the other side: what is asked, in which order, what is believed, and what ends it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.errors import SignInNeeded, Unreachable
from mcp_remote_py.core.oauth import addresses
from mcp_remote_py.core.oauth.challenge import Challenge
from mcp_remote_py.core.oauth.discovery import Found, discover
from mcp_remote_py.core.oauth.preferences import (
    ASSERTION,
    CLIENT_CREDENTIALS,
    DEVICE,
    ENTERPRISE,
    Client,
    Preferences,
)
from mcp_remote_py.core.oauth.steps import Fetched
from tests.mcp_remote_py.core.oauth.playing import ABSENT, Answer, Played, play, said

MCP = "https://mcp.example.com"
URL = f"{MCP}/a/mcp"
AS = "https://as.example.com"
HEADER_PLACE = "https://mcp.example.com/custom/metadata.json"
PATH_PLACE = f"{MCP}/.well-known/oauth-protected-resource/a/mcp"
ROOT_PLACE = f"{MCP}/.well-known/oauth-protected-resource"
PRM = said({"resource": URL, "authorization_servers": [AS], "scopes_supported": ["a"]})
AS_PLACE = f"{AS}/.well-known/oauth-authorization-server"
OIDC_PLACE = f"{AS}/.well-known/openid-configuration"
CHALLENGE = Challenge("Bearer", {"resource_metadata": HEADER_PLACE})


def server(issuer: str = AS, **more: object) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer.rstrip('/')}/authorize",
        "token_endpoint": f"{issuer.rstrip('/')}/token",
        "code_challenge_methods_supported": ["S256"],
        **more,
    }


def run(
    answers: dict[str, Answer],
    *,
    challenge: Challenge | None = None,
    url: str = URL,
    default: Answer = ABSENT,
    **wishes: Any,
) -> Played[Found]:
    return play(discover(url, challenge, Preferences(**wishes)), answers, default=default)


# --- The resource ----------------------------------------------------------------------------------------------------


def test_the_address_of_the_challenge_comes_first_and_is_enough() -> None:
    played = run({HEADER_PLACE: PRM, AS_PLACE: said(server())}, challenge=CHALLENGE)
    assert played.urls == [HEADER_PLACE, AS_PLACE]
    found = played.result
    assert (found.resource, found.resource_named, found.scopes) == (URL, True, ("a",))
    assert found.server.issuer == AS
    assert not found.server.guessed


@pytest.mark.parametrize(
    "absent",
    [
        ABSENT,
        Fetched(401),
        Fetched(403),
        Fetched(410),
        Fetched(301, b"", {"location": f"{MCP}/elsewhere"}),
        Fetched(302, b"", {"location": f"{MCP}/elsewhere"}),
        Fetched(200, b"<!doctype html>"),
        Fetched(200, b""),
        Fetched(204),
        said({"resource": URL, "authorization_servers": ["https://evil.example.com"], "issuer": AS}, 302),
        said({"resource": URL, "authorization_servers": ["https://evil.example.com"], "issuer": AS}, 404),
        Fetched(200, b"[1]"),
        Fetched(200, b"\xff\xff"),
        Fetched(200, b"[" * 90_000),
        said({"error": "not_found"}),
        said({"authorization_servers": ["https://other.example.com"]}),
    ],
)
def test_where_nothing_is_the_next_place_is_asked(absent: Fetched) -> None:
    played = run(
        {HEADER_PLACE: absent, PATH_PLACE: absent, ROOT_PLACE: PRM, AS_PLACE: absent, OIDC_PLACE: said(server())},
        challenge=CHALLENGE,
    )
    assert played.urls == [HEADER_PLACE, PATH_PLACE, ROOT_PLACE, AS_PLACE, OIDC_PLACE]
    assert played.result.server.token_endpoint == f"{AS}/token"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("place", [HEADER_PLACE, PATH_PLACE, ROOT_PLACE, AS_PLACE, OIDC_PLACE])
def test_trouble_says_nothing_about_absence_and_ends_the_flow_with_its_cause(place: str, status: int) -> None:
    answers: dict[str, Answer] = {ROOT_PLACE: PRM, OIDC_PLACE: said(server())}
    answers[place] = Fetched(status, b"secret page", {"retry-after": "7"})
    played = run(answers, challenge=CHALLENGE)
    fault = played.trouble
    assert isinstance(fault, SignInNeeded)
    assert played.urls[-1] == place
    assert (fault.http_status, fault.retry_after) == (status, 7.0)
    assert f"HTTP {status}" in str(fault)
    assert str(urlsplit(place).hostname) in str(fault)
    assert "secret page" not in str(fault)


def test_a_fault_of_the_driver_ends_the_flow_as_it_is() -> None:
    played = run({PATH_PLACE: Unreachable("no way")})
    assert isinstance(played.trouble, Unreachable)
    assert played.urls == [PATH_PLACE]


@pytest.mark.parametrize("again", [PATH_PLACE, ROOT_PLACE])
def test_nothing_is_asked_twice(again: str) -> None:
    played = run({}, challenge=Challenge("Bearer", {"resource_metadata": again}))
    assert played.result.server.guessed
    assert len(played.urls) == len(set(played.urls))
    assert played.urls[0] == again


def test_a_document_that_was_fetched_as_one_thing_is_not_fetched_as_another() -> None:
    played = run(
        {AS_PLACE: said({**server(), "resource": URL, "authorization_servers": [AS]})},
        challenge=Challenge("Bearer", {"resource_metadata": AS_PLACE}),
    )
    assert played.urls == [AS_PLACE]
    assert played.result.server.issuer == AS


def test_every_request_names_a_revision_and_asks_for_json() -> None:
    played = run({ROOT_PLACE: PRM, OIDC_PLACE: said(server())}, challenge=CHALLENGE)
    assert played.result
    for fetch in played.fetches:
        headers = dict(fetch.headers)
        assert (headers["MCP-Protocol-Version"], headers["Accept"]) == ("2025-11-25", "application/json")
        assert (fetch.method, fetch.body) == ("GET", b"")


def test_only_what_the_user_gave_needs_no_suspicion() -> None:
    elsewhere = "https://cdn.example.net/prm"
    played = run(
        {ROOT_PLACE: PRM, AS_PLACE: said(server())}, challenge=Challenge("Bearer", {"resource_metadata": elsewhere})
    )
    assert [(fetch.url, fetch.origin_checked) for fetch in played.fetches] == [
        (elsewhere, False),
        (PATH_PLACE, True),
        (ROOT_PLACE, True),
        (AS_PLACE, False),
    ]
    assert not played.result.server.is_known(f"{AS}/token")
    configured = run({ROOT_PLACE: PRM, AS_PLACE: said(server())}, issuer=AS)
    assert configured.fetches[-1].origin_checked
    assert configured.result.server.is_known(f"{AS}/token")


@pytest.mark.parametrize(
    "named",
    [
        "http://evil.example/prm",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://u@mcp.example.com/prm",
        "http://localhost:8000/.well-known/oauth-protected-resource",
        "https://127.0.0.1/prm",
        "/.well-known/oauth-protected-resource",
        "https://mcp.example.com/a b",
        "https://mcp.example.com:0/",
        "http://[::1/",
    ],
)
def test_a_challenge_with_an_address_that_may_not_be_asked_is_not_followed(named: str) -> None:
    played = run(
        {ROOT_PLACE: PRM, AS_PLACE: said(server())}, challenge=Challenge("Bearer", {"resource_metadata": named})
    )
    assert played.urls == [PATH_PLACE, ROOT_PLACE, AS_PLACE]
    assert played.result
    assert len(played.lines) == 1
    assert named not in played.lines[0]


@pytest.mark.parametrize(
    "resource", ["https://evil.example.com/a/mcp", f"{MCP}:8443/a/mcp", f"{MCP}/a/mc", f"{MCP}/b", "nonsense"]
)
@pytest.mark.parametrize("place", [HEADER_PLACE, PATH_PLACE, ROOT_PLACE])
def test_metadata_of_another_resource_ends_the_flow_before_anybody_else_is_asked(resource: str, place: str) -> None:
    answers: dict[str, Answer] = {
        place: said({"resource": resource, "authorization_servers": [AS]}),
        AS_PLACE: said(server()),
    }
    played = run(answers, challenge=CHALLENGE)
    assert isinstance(played.trouble, SignInNeeded)
    assert played.urls[-1] == place
    assert not any(addresses.is_at(url, AS) for url in played.urls)
    assert "--resource" in played.trouble.hint


def test_a_resource_that_the_user_named_is_believed() -> None:
    inner = "https://inner.example.com/mcp"
    played = run(
        {PATH_PLACE: said({"resource": inner, "authorization_servers": [AS]}), AS_PLACE: said(server())}, resource=inner
    )
    assert played.result.resource == inner


@pytest.mark.parametrize("resource", [URL, f"{MCP}/a", f"{MCP}/", MCP])
def test_the_resource_is_sent_as_its_metadata_writes_it(resource: str) -> None:
    played = run({ROOT_PLACE: said({"resource": resource, "authorization_servers": [AS]}), AS_PLACE: said(server())})
    assert (played.result.resource, played.result.resource_named) == (resource, True)
    assert played.result.scopes is None


def test_the_users_word_for_the_resource_comes_first() -> None:
    played = run({ROOT_PLACE: PRM, AS_PLACE: said(server())}, resource="api://x")
    assert (played.result.resource, played.result.resource_named) == ("api://x", False)


def test_an_empty_list_of_scopes_is_told_from_none() -> None:
    empty = said({"resource": URL, "authorization_servers": [AS], "scopes_supported": []})
    assert run({ROOT_PLACE: empty, AS_PLACE: said(server())}).result.scopes == ()


# --- The authorization server ----------------------------------------------------------------------------------------


def naming(*issuers: object) -> Fetched:
    return said({"resource": URL, "authorization_servers": list(issuers)})


def test_the_places_of_an_issuer_with_a_path() -> None:
    issuer = f"{AS}/t/1"
    last = f"{issuer}/.well-known/openid-configuration"
    played = run({PATH_PLACE: naming(issuer), last: said(server(issuer))})
    assert played.urls == [
        PATH_PLACE,
        f"{AS}/.well-known/oauth-authorization-server/t/1",
        f"{AS}/.well-known/openid-configuration/t/1",
        last,
    ]
    assert played.result.server.issuer == issuer


def test_of_several_the_configured_one_is_asked_and_else_the_first() -> None:
    other = "https://other.example.com"
    answers: dict[str, Answer] = {
        PATH_PLACE: naming(AS, other),
        AS_PLACE: said(server()),
        f"{other}/.well-known/oauth-authorization-server": said(server(other)),
    }
    assert run(answers).result.server.issuer == AS
    assert run(answers, issuer=other).result.server.issuer == other
    assert run(answers, issuer=f"{other}/").result.server.issuer == other
    assert run(answers, issuer="https://third.example.com").result.server.issuer == AS


@pytest.mark.parametrize(
    "wishes",
    [{"client": Client("id", "secret")}, {"grant": CLIENT_CREDENTIALS}, {"grant": ASSERTION}, {"grant": ENTERPRISE}],
)
def test_credentials_for_one_issuer_are_not_taken_to_another(wishes: dict[str, Any]) -> None:
    played = run({PATH_PLACE: naming(AS), AS_PLACE: said(server())}, issuer="https://third.example.com", **wishes)
    assert isinstance(played.trouble, SignInNeeded)
    assert {fetch.method for fetch in played.fetches} == {"GET"}
    assert "third.example.com" in str(played.trouble)


@pytest.mark.parametrize("wishes", [{}, {"client": Client("id", "secret")}])
def test_the_issuer_that_the_user_names_is_believed_where_a_provider_writes_it_in_two_ways(
    wishes: dict[str, Any],
) -> None:
    """As mcp.atlassian.com did in 2026: its metadata named another issuer than the one that it was asked for."""
    document = said({**server(f"{AS}/app"), "issuer": AS})
    listed = {PATH_PLACE: naming(f"{AS}/app"), f"{AS}/.well-known/oauth-authorization-server/app": document}
    refused = run({**listed}, **wishes).trouble
    assert f"--auth-issuer {AS}" in refused.hint
    assert run({**listed}, issuer=AS, **wishes).result.server.issuer == AS
    unlisted = {f"{MCP}/.well-known/oauth-authorization-server": said(server())}
    assert f"--auth-issuer {AS}" in run({**unlisted}, **wishes).trouble.hint
    assert run({**unlisted}, issuer=AS, **wishes).result.server.issuer == AS


def test_a_configured_issuer_does_not_make_another_one_believed() -> None:
    other = "https://other.example.com"
    place = f"{MCP}/.well-known/oauth-authorization-server"
    assert isinstance(run({place: said(server(MCP))}, issuer=other).trouble, SignInNeeded)
    listed: dict[str, Answer] = {PATH_PLACE: naming(AS), AS_PLACE: said(server("https://evil.example.com"))}
    assert isinstance(run(listed, issuer=other).trouble, SignInNeeded)


def test_a_server_without_metadata_is_passed_over_for_the_next_one() -> None:
    other = "https://other.example.com"
    played = run({PATH_PLACE: naming(other, AS), AS_PLACE: said(server())})
    assert played.result.server.issuer == AS


def test_entries_that_may_not_be_used_are_passed_over() -> None:
    played = run(
        {PATH_PLACE: naming("http://evil.example", 7, None, f"{AS}?x", "javascript:x", AS), AS_PLACE: said(server())}
    )
    assert played.urls == [PATH_PLACE, AS_PLACE]
    nobody = run({PATH_PLACE: naming("http://evil.example")})
    assert isinstance(nobody.trouble, SignInNeeded)
    assert nobody.urls == [PATH_PLACE]


@pytest.mark.parametrize("named", ["https://evil.example.com", f"{AS}/x", "https://AS.example.com", None, 7, ""])
def test_metadata_of_another_issuer_is_refused(named: object) -> None:
    played = run({PATH_PLACE: PRM, AS_PLACE: said({**server(), "issuer": named})})
    assert isinstance(played.trouble, SignInNeeded)
    assert "issuer" in str(played.trouble)
    assert played.urls == [PATH_PLACE, AS_PLACE, OIDC_PLACE]


def test_metadata_of_another_issuer_is_refused_without_resource_metadata_too_and_nothing_is_guessed() -> None:
    place = f"{MCP}/.well-known/oauth-authorization-server"
    played = run({place: said(server("https://evil.example.com"))})
    assert isinstance(played.trouble, SignInNeeded)
    assert all(addresses.is_at(url, MCP) for url in played.urls)


def test_the_right_document_is_used_beside_a_wrong_one() -> None:
    played = run({PATH_PLACE: PRM, AS_PLACE: said(server("https://evil.example.com")), OIDC_PLACE: said(server())})
    assert played.result.server.issuer == AS


@pytest.mark.parametrize(("asked", "named"), [(AS, f"{AS}/"), (f"{AS}/", AS)])
def test_a_slash_after_the_origin_does_not_matter_and_the_document_says_how_it_is_written(
    asked: str, named: str
) -> None:
    played = run({PATH_PLACE: naming(asked), AS_PLACE: said({**server(), "issuer": named})})
    assert played.result.server.issuer == named


def test_the_placeholder_of_a_tenant_is_no_issuer() -> None:
    issuer = "https://login.microsoftonline.com/organizations/v2.0"
    document = {**server(issuer), "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}
    del document["code_challenge_methods_supported"]
    played = run({PATH_PLACE: naming(issuer), f"{issuer}/.well-known/openid-configuration": said(document)})
    assert played.result.server.issuer == issuer


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://as.example.com/authorize",
        "javascript:alert(1)",
        "https://u:p@as.example.com/authorize",
        "https://as.example.com/$(id)",
        "https://as.example.com/authorize#x",
        "file:///bin/sh",
        7,
        None,
    ],
)
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
def test_a_server_whose_endpoint_may_not_be_used_is_refused(name: str, endpoint: object) -> None:
    played = run({PATH_PLACE: PRM, AS_PLACE: said({**server(), name: endpoint})})
    assert isinstance(played.trouble, SignInNeeded)
    assert name in str(played.trouble)
    assert "evil" not in str(played.trouble)


def test_what_a_grant_does_not_need_does_not_matter() -> None:
    document = server()
    del document["authorization_endpoint"], document["code_challenge_methods_supported"]
    answers: dict[str, Answer] = {PATH_PLACE: PRM, AS_PLACE: said(document)}
    assert run(answers, grant=CLIENT_CREDENTIALS).result
    assert "device" in str(run(answers, grant=DEVICE).trouble)
    document["device_authorization_endpoint"] = f"{AS}/device"
    assert run({PATH_PLACE: PRM, AS_PLACE: said(document)}, grant=DEVICE).result


# --- PKCE ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [None, [], "S256", 7])
def test_a_server_that_does_not_speak_of_pkce_is_refused_unless_somebody_knows_better(methods: object) -> None:
    document = {**server(), "code_challenge_methods_supported": methods}
    answers: dict[str, Answer] = {PATH_PLACE: PRM, AS_PLACE: said(document)}
    fault = run(answers).trouble
    assert isinstance(fault, SignInNeeded)
    assert "--assume-pkce" in fault.hint
    assert run(answers, assume_pkce=True).result
    google = "https://accounts.google.com"
    document = {**server(google), "code_challenge_methods_supported": methods}
    place = f"{google}/.well-known/oauth-authorization-server"
    assert run({PATH_PLACE: naming(google), place: said(document)}).result


@pytest.mark.parametrize("assume", [False, True])
def test_plain_pkce_is_not_used(*, assume: bool) -> None:
    document = server(code_challenge_methods_supported=["plain"])
    played = run({PATH_PLACE: PRM, AS_PLACE: said(document)}, assume_pkce=assume)
    assert "S256" in str(played.trouble)


# --- 2025-03-26 ------------------------------------------------------------------------------------------------------


def test_without_any_metadata_the_default_paths_at_the_origin_are_tried() -> None:
    played = run({}, challenge=Challenge("Bearer", {}))
    found = played.result
    assert played.urls == [
        PATH_PLACE,
        ROOT_PLACE,
        f"{MCP}/.well-known/oauth-authorization-server",
        f"{MCP}/.well-known/openid-configuration",
    ]
    assert (found.resource, found.resource_named, found.scopes) == (URL, False, None)
    assert found.server.guessed
    assert found.server.issuer == MCP
    assert found.server.registration_endpoint == f"{MCP}/register"
    assert found.server.is_known(f"{MCP}/token")


def test_without_resource_metadata_the_servers_own_origin_is_the_issuer() -> None:
    place = f"{MCP}/.well-known/oauth-authorization-server"
    played = run({place: said(server(MCP))})
    assert played.result.server.issuer == MCP
    assert not played.result.server.guessed


def test_nothing_is_guessed_where_resource_metadata_names_somebody() -> None:
    played = run({PATH_PLACE: PRM})
    assert isinstance(played.trouble, SignInNeeded)
    assert "as.example.com" in str(played.trouble)


def test_nothing_is_guessed_where_plain_http_would_carry_a_code() -> None:
    played = run({}, url="http://mcp.example.com/mcp")
    assert "https" in str(played.trouble)


def test_a_configured_issuer_is_asked_where_none_is_named() -> None:
    played = run({AS_PLACE: said(server())}, issuer=AS)
    assert played.result.server.issuer == AS
    assert (played.result.resource, played.result.resource_named) == (URL, False)
    assert isinstance(run({}, issuer=AS).trouble, SignInNeeded)
    assert isinstance(run({}, issuer="ftp://x").trouble, SignInNeeded)


def test_resource_metadata_that_names_no_authorization_server_leads_to_the_servers_own_origin() -> None:
    place = f"{MCP}/.well-known/oauth-authorization-server"
    bare = said({"resource": f"{MCP}/a", "scopes_supported": ["x"]})
    played = run({PATH_PLACE: bare, place: said(server(MCP))})
    assert (played.result.server.issuer, played.result.resource) == (MCP, f"{MCP}/a")
    assert isinstance(run({PATH_PLACE: bare}).trouble, SignInNeeded)


def test_a_websocket_server_is_discovered_by_https() -> None:
    played = run({}, url="wss://mcp.example.com/a/mcp")
    assert played.urls[0] == PATH_PLACE
    assert played.result.resource == URL


# --- A token endpoint that is given ----------------------------------------------------------------------------------


@pytest.mark.parametrize("grant", [CLIENT_CREDENTIALS, ASSERTION, ENTERPRISE])
def test_with_a_token_endpoint_no_metadata_of_the_authorization_server_is_needed(grant: str) -> None:
    token = f"{AS}/oauth/token"
    played = run({PATH_PLACE: naming("https://evil.example.com", f"{AS}/t")}, grant=grant, token_endpoint=token)
    assert played.urls == [PATH_PLACE]
    found = played.result.server
    assert (found.token_endpoint, found.issuer) == (token, f"{AS}/t")
    assert found.is_known(token)
    assert run({}, grant=grant, token_endpoint=token).result.server.issuer == AS
    assert run({}, grant=grant, token_endpoint=token, issuer=f"{AS}/i").result.server.issuer == f"{AS}/i"


def test_a_token_endpoint_that_may_not_be_asked_is_refused_although_it_was_given() -> None:
    for endpoint in ("http://as.example.com/token", "nonsense", "https://[::1/"):
        played = run({}, grant=CLIENT_CREDENTIALS, token_endpoint=endpoint)
        assert isinstance(played.trouble, SignInNeeded)


def test_with_a_browser_the_given_token_endpoint_takes_the_place_of_the_published_one() -> None:
    token = "https://other.example.com/token"
    played = run({PATH_PLACE: PRM, AS_PLACE: said(server())}, token_endpoint=token)
    assert played.result.server.token_endpoint == token
    assert played.result.server.authorization_endpoint == f"{AS}/authorize"
    assert run({}, token_endpoint=token).result.server.token_endpoint == token


# --- Whatever comes --------------------------------------------------------------------------------------------------

LOOPBACK = "http://127.0.0.1:4000"
INTERESTING = st.sampled_from(
    [
        URL,
        MCP,
        AS,
        f"{AS}/t",
        "http://169.254.169.254/latest",
        "http://evil.example/",
        LOOPBACK,
        "https://b\u00fccher.example",
        "https://h:0",
        "https://h:99999",
        "https://[::1",
        "javascript:alert(1)",
        "S256",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | INTERESTING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
DOCUMENT = st.dictionaries(
    st.sampled_from(
        [
            "resource",
            "authorization_servers",
            "scopes_supported",
            "issuer",
            "token_endpoint",
            "authorization_endpoint",
            "code_challenge_methods_supported",
        ]
    ),
    JSON | INTERESTING | st.lists(INTERESTING, max_size=8),
)
ANSWER = st.builds(Fetched, st.sampled_from([200, 200, 200, 301, 404, 500]), st.binary(max_size=20)) | DOCUMENT.map(
    said
)
CHALLENGES = st.none() | st.builds(
    lambda url: Challenge("Bearer", {"resource_metadata": url}), st.text(max_size=20) | INTERESTING
)


@settings(deadline=None)
@given(
    st.lists(ANSWER, min_size=1, max_size=4),
    CHALLENGES,
    st.sampled_from([URL, "http://localhost:3000/mcp", "wss://mcp.example.com", "https://b\u00fccher.example/\u00fc"]),
    st.sampled_from([{}, {"issuer": AS}, {"grant": CLIENT_CREDENTIALS, "token_endpoint": f"{AS}/token"}]),
)
def test_whatever_is_answered_nothing_is_asked_that_may_not_be_and_it_ends(
    answers: list[Fetched], challenge: Challenge | None, url: str, wishes: dict[str, Any]
) -> None:
    turn = iter(answers)
    played = run({}, challenge=challenge, url=url, default=lambda _: next(turn, ABSENT), **wishes)
    assert played.fault is None or isinstance(played.fault, SignInNeeded)
    assert len(played.urls) == len(set(played.urls))
    for asked in played.urls:
        assert addresses.document_problem(asked, url) is None or addresses.endpoint_problem(asked) is None
    if played.fault is None:
        endpoint = played.result.server.token_endpoint
        assert endpoint is not None
        assert addresses.endpoint_problem(endpoint) is None


@given(st.text())
def test_a_server_with_any_url_ends_in_a_fault_or_a_result(url: str) -> None:
    try:
        played = run({}, url=url)
    except SignInNeeded:
        return
    assert played.fault is None or isinstance(played.fault, SignInNeeded)
