"""Who we are: the order of the ways, what a registration says and what is believed of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth import names, registration
from mcp_remote_py.core.oauth.metadata import ServerMetadata, guessed
from mcp_remote_py.core.oauth.preferences import (
    ASSERTION,
    AUTH_METHODS,
    CLIENT_CREDENTIALS,
    CODE,
    DEVICE,
    ENTERPRISE,
    Client,
    Preferences,
)
from mcp_remote_py.core.oauth.steps import Document, Fetched, Say
from mcp_remote_py.core.oauth.tokens import Party
from tests.mcp_remote_py.core.oauth.playing import Knowing, Played, play, said

AS = "https://as.example.com"
REGISTER = f"{AS}/register"
BACK = "http://localhost:3334/oauth/callback"
NAME = names.registration(AS, BACK)
PUBLISHED = "https://client.example.com/mcp.json"
SECRET = "a-secret-of-the-client"


def server(**more: object) -> ServerMetadata:
    return ServerMetadata(AS, {"issuer": AS, "registration_endpoint": REGISTER, **more})


def run(
    at: ServerMetadata | None = None,
    answer: Fetched | None = None,
    *,
    back: str = BACK,
    scope: str | None = None,
    recalled: Party | None = None,
    knowing: Knowing | None = None,
    **wishes: Any,
) -> Played[Party]:
    answer = answer or said({"client_id": "new"}, 201)
    senses = (knowing or Knowing()).senses
    flow = registration.identify(at or server(), Preferences(**wishes), back, scope, recalled, senses)
    return play(flow, {REGISTER: answer, f"{AS}/oauth/register": answer})


def asked(played: Played[Party]) -> dict[str, Any]:
    document = json.loads(played.fetches[0].body)
    assert isinstance(document, dict)
    return document


# --- The order -------------------------------------------------------------------------------------------------------


def test_a_configured_client_comes_before_everything_else() -> None:
    played = run(
        server(client_id_metadata_document_supported=True),
        client=Client("mine"),
        client_metadata_url=PUBLISHED,
        recalled=Party("old", redirect_uris=(BACK,)),
    )
    assert played.result == Party("mine")
    assert played.steps == []


def test_a_published_client_comes_before_a_registration() -> None:
    played = run(
        server(client_id_metadata_document_supported=True),
        client_metadata_url=PUBLISHED,
        recalled=Party("old", redirect_uris=(BACK,)),
    )
    assert played.result == Party(PUBLISHED, redirect_uris=(BACK,))
    assert played.steps == []


def test_a_published_client_with_a_key_signs() -> None:
    played = run(
        server(client_id_metadata_document_supported=True), client_metadata_url=PUBLISHED, has_private_key=True
    )
    assert played.result.method == "private_key_jwt"


def test_a_server_that_does_not_read_published_clients_registers_them() -> None:
    assert run(client_metadata_url=PUBLISHED).result.client_id == "new"


@pytest.mark.parametrize("url", ["http://client.example.com/a", "https://client.example.com", "x", "https://a/../b"])
def test_an_address_that_cannot_be_a_client_id_is_an_error(url: str) -> None:
    played = run(server(client_id_metadata_document_supported=True), client_metadata_url=url)
    assert isinstance(played.trouble, SignInNeeded)
    assert "--client-metadata-url" in str(played.trouble)


def test_a_registration_that_is_known_is_used_again() -> None:
    knowing = Knowing()
    old = Party("old", SECRET, "client_secret_post", knowing.now + 1, (BACK,))
    played = run(recalled=old, knowing=knowing)
    assert played.result == old
    assert played.steps == []
    assert knowing.learnt == [SECRET]


@pytest.mark.parametrize(
    "old",
    [
        Party("old", redirect_uris=("http://localhost:4000/oauth/callback",)),
        Party("old", redirect_uris=()),
        Party("old", SECRET, "client_secret_post", 1_800_000_000.0, (BACK,)),
    ],
)
def test_a_registration_that_no_longer_fits_is_made_anew(old: Party) -> None:
    played = run(recalled=old)
    assert played.result.client_id == "new"
    assert played.kept[NAME]["client_id"] == "new"


@pytest.mark.parametrize("endpoint", [None, "http://as.example.com/register", "javascript:x", 7])
def test_where_nobody_can_register_the_error_says_what_to_configure(endpoint: object) -> None:
    played = run(server(registration_endpoint=endpoint))
    fault = played.trouble
    assert isinstance(fault, SignInNeeded)
    assert "--client-id" in fault.hint
    assert played.fetches == []


@pytest.mark.parametrize("grant", [CLIENT_CREDENTIALS, ENTERPRISE])
def test_grants_without_a_person_never_register(grant: str) -> None:
    played = run(grant=grant)
    assert isinstance(played.trouble, SignInNeeded)
    assert "--client-id" in played.trouble.hint
    assert grant in str(played.trouble)
    assert played.steps == []
    assert run(grant=grant, client=Client("mine", SECRET)).result.client_id == "mine"


def test_an_assertion_alone_may_say_who_asks() -> None:
    played = run(grant=ASSERTION)
    assert played.result == Party("")
    assert played.steps == []


# --- A configured client ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secret", "method", "has_key", "offered", "expected"),
    [
        (None, None, False, None, "none"),
        (SECRET, None, False, None, "client_secret_basic"),
        (SECRET, None, False, ["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (SECRET, None, False, ["client_secret_post", "none"], "client_secret_post"),
        (SECRET, None, False, ["private_key_jwt"], "client_secret_basic"),
        (SECRET, None, False, ["none"], "none"),
        (SECRET, "client_secret_post", False, ["client_secret_basic"], "client_secret_post"),
        (SECRET, "none", True, None, "none"),
        (None, None, True, None, "private_key_jwt"),
        (SECRET, None, True, ["client_secret_basic", "private_key_jwt"], "private_key_jwt"),
        (SECRET, None, True, ["client_secret_basic"], "client_secret_basic"),
        (SECRET, None, True, None, "client_secret_basic"),
    ],
)
def test_how_a_configured_client_authenticates(
    secret: str | None, method: str | None, has_key: bool, offered: list[str] | None, expected: str
) -> None:
    knowing = Knowing()
    at = server(token_endpoint_auth_methods_supported=offered)
    played = run(at, client=Client("mine", secret, method), has_private_key=has_key, knowing=knowing)
    assert played.result.method == expected
    assert played.result.method in AUTH_METHODS
    assert knowing.learnt == ([secret] if secret else [])


@pytest.mark.parametrize(
    ("registered", "fits"),
    [
        ((), True),
        ((BACK,), True),
        (("http://localhost:1/x", BACK), True),
        (("http://localhost:4000/oauth/callback",), False),
        (("http://127.0.0.1:3334/oauth/callback",), False),
        # RFC 8252: registered without a port, it goes with any
        (("http://localhost/oauth/callback",), True),
        (("http://localhost/oauth/callback?x",), False),
        (("http://localhost/other",), False),
        (("https://localhost/oauth/callback",), False),
        (("http://[::1",), False),
    ],
)
def test_a_configured_client_is_used_with_its_own_redirect_uris(registered: tuple[str, ...], *, fits: bool) -> None:
    played = run(client=Client("mine", redirect_uris=registered))
    assert (played.fault is None) is fits
    if not fits:
        assert isinstance(played.fault, SignInNeeded)
        assert BACK in str(played.fault)
        assert "--callback-port" in played.fault.hint
    assert run(client=Client("mine", redirect_uris=registered), grant=DEVICE, back="").result


# --- Registering -----------------------------------------------------------------------------------------------------


def test_what_a_registration_says() -> None:
    played = run(scope="a b")
    (fetch,) = played.fetches
    assert (fetch.method, fetch.url) == ("POST", REGISTER)
    assert dict(fetch.headers) == {"Content-Type": "application/json", "Accept": "application/json"}
    assert asked(played) == {
        "client_name": "mcp-remote-py",
        "redirect_uris": [BACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "scope": "a b",
    }
    assert "scope" not in asked(run())


def test_what_a_registration_for_a_device_says() -> None:
    document = asked(run(grant=DEVICE, back=""))
    assert document["grant_types"] == ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    assert document["response_types"] == []
    assert "redirect_uris" not in document


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (None, "none"),
        (["client_secret_basic", "none"], "none"),
        (["client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["client_secret_post"], "client_secret_post"),
        (["tls_client_auth"], "none"),
    ],
)
def test_no_secret_is_asked_for_unless_the_server_wants_one(offered: list[str] | None, expected: str) -> None:
    played = run(server(token_endpoint_auth_methods_supported=offered))
    assert asked(played)["token_endpoint_auth_method"] == expected


def test_the_users_words_count_more_than_ours() -> None:
    mine = {
        "client_name": "Mine",
        "scope": None,
        "software_id": "x",
        "redirect_uris": ["http://localhost:1/a"],
        "token_endpoint_auth_method": "client_secret_post",
    }
    document = asked(run(scope="a", client_metadata=mine))
    assert document["client_name"] == "Mine"
    assert "scope" not in document
    assert document["software_id"] == "x"
    assert document["redirect_uris"] == ["http://localhost:1/a", BACK]
    assert document["token_endpoint_auth_method"] == "client_secret_post"
    assert document["application_type"] == "native"


@pytest.mark.parametrize("status", [200, 201])
def test_what_comes_back_counts_and_is_kept(status: int) -> None:
    knowing = Knowing()
    answer = said(
        {
            "client_id": "new",
            "client_secret": SECRET,
            "client_secret_expires_at": 1_900_000_000,
            "token_endpoint_auth_method": "client_secret_post",
            "registration_access_token": "another-secret",
            "redirect_uris": [BACK, "http://localhost:1/"],
        },
        status,
    )
    played = run(answer=answer, knowing=knowing)
    party = played.result
    assert party == Party("new", SECRET, "client_secret_post", 1_900_000_000.0, (BACK, "http://localhost:1/"))
    assert knowing.learnt == [SECRET, "another-secret"]
    assert registration.from_document(played.kept[NAME], AS) == party
    assert SECRET not in str([step for step in played.steps if isinstance(step, Say)])


@pytest.mark.parametrize(
    ("said_method", "secret", "offered", "expected"),
    [
        (None, SECRET, None, "client_secret_basic"),
        (None, SECRET, ["client_secret_post"], "client_secret_post"),
        (None, SECRET, ["none"], "none"),
        (None, None, ["client_secret_basic"], "none"),
        ("none", SECRET, None, "none"),
        ("client_secret_basic", None, None, "none"),
        ("client_secret_jwt", SECRET, None, "client_secret_basic"),
        ("private_key_jwt", None, None, "none"),
        (7, "", None, "none"),
    ],
)
def test_how_a_registered_client_authenticates(
    said_method: object, secret: str | None, offered: list[str] | None, expected: str
) -> None:
    document = {"client_id": "new", "client_secret": secret, "token_endpoint_auth_method": said_method}
    played = run(server(token_endpoint_auth_methods_supported=offered), said(document, 201))
    assert played.result.method == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, None),
        ("0", None),
        (None, None),
        (1_900_000_000, 1.9e9),
        ("1900000000", 1.9e9),
        (True, None),
        ([], None),
        ("never", None),
        (10**400, None),
        ("nan", None),
    ],
)
def test_when_a_secret_expires(value: object, expected: float | None) -> None:
    document = {"client_id": "new", "client_secret": SECRET, "client_secret_expires_at": value}
    assert run(answer=said(document, 201)).result.secret_expires == expected


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"<html>", b'{"client_id":""}', b'{"client_id":7}', b'{"client_id":"a\\nb"}']
)
def test_an_answer_that_is_no_client_is_an_error(body: bytes) -> None:
    played = run(answer=Fetched(201, body))
    assert isinstance(played.trouble, SignInNeeded)
    assert "--client-id" in played.trouble.hint
    assert played.kept == {}


@pytest.mark.parametrize("status", [404, 405])
def test_a_guessed_address_with_nothing_behind_it_most_likely_means_a_plain_token(status: int) -> None:
    at = guessed(AS)
    answer = said({"error": "Not found"}, status)
    played = play(
        registration.identify(at, Preferences(), BACK, None, None, Knowing().senses),
        {str(at.registration_endpoint): answer},
    )
    assert isinstance(played.trouble, SignInNeeded)
    assert "MCP_AUTH_TOKEN" in played.trouble.hint


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 405, 204])
def test_a_refusal_says_why_and_what_to_do(status: int) -> None:
    document = {"error": "invalid_redirect_uri", "error_description": "no\x1b[31m localhost" + "x" * 5000}
    fault = run(answer=said(document, status, location="https://evil.example/")).trouble
    assert isinstance(fault, SignInNeeded)
    assert fault.http_status == status
    assert "invalid_redirect_uri" in str(fault)
    assert "\x1b" not in str(fault)
    assert len(str(fault)) < 1000
    assert "--callback-host" in fault.hint
    assert "--client-id" in fault.hint


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_at_the_registration_is_told_as_such(status: int) -> None:
    fault = run(answer=Fetched(status, b"page", {"retry-after": "3"})).trouble
    assert (fault.http_status, fault.retry_after) == (status, 3.0)


def test_guessed_and_known_places_are_asked_without_suspicion() -> None:
    known = server()._replace(known=(f"{AS}/mcp",))
    assert run(known).fetches[0].origin_checked
    assert not run(server()).fetches[0].origin_checked
    assert run(guessed(AS)).result.client_id == "new"


# --- What is kept ----------------------------------------------------------------------------------------------------


def test_a_kept_registration_is_recalled_for_its_issuer_alone() -> None:
    party = Party("old", SECRET, "client_secret_basic", 5.0, (BACK,))
    document = registration.to_document(party, AS)
    kept = {NAME: document}
    assert play(registration.recall(AS, BACK), {}, kept=kept).result == party
    assert play(registration.recall(AS, "other"), {}, kept=kept).result is None
    assert registration.from_document(document, "https://other.example.com") is None
    assert play(registration.forget(AS, BACK), {}, kept=kept).kept == {}


@pytest.mark.parametrize(
    ("registered", "wanted", "is_good"),
    [
        (None, "read write", True),
        ("read", "read", True),
        ("read write", "write", True),
        ("read", None, True),
        ("read", "read write", False),
        ("", "read", False),
    ],
)
def test_a_client_that_was_registered_for_fewer_scopes_is_registered_anew(
    registered: str | None, wanted: str | None, *, is_good: bool
) -> None:
    party = Party("old", redirect_uris=(BACK,))
    kept = {NAME: registration.to_document(party, AS, registered)}
    assert (play(registration.recall(AS, BACK, wanted), {}, kept=kept).result == party) is is_good


def test_the_scopes_of_a_registration_are_kept() -> None:
    for more, kept in (({}, "read"), ({"scope": "read write"}, "read write")):
        played = run(answer=said({"client_id": "new", **more}, 201), scope="read")
        assert played.kept[NAME] is not None
        assert played.kept[NAME]["scope"] == kept


@pytest.mark.parametrize(
    "change",
    [
        {"form": 2},
        {"client_id": ""},
        {"client_id": None},
        {"client_secret": 7},
        {"method": "x"},
        {"method": []},
        {"redirect_uris": None},
    ],
)
def test_a_document_that_is_no_registration_is_none(change: Document) -> None:
    document = registration.to_document(Party("old", redirect_uris=(BACK,)), AS)
    assert registration.from_document({**document, **change}, AS) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
MEMBERS = st.sampled_from(
    [
        "client_id",
        "client_secret",
        "client_secret_expires_at",
        "token_endpoint_auth_method",
        "redirect_uris",
        "error",
        "error_description",
        "form",
        "method",
        "issuer",
        "secret_expires",
    ]
)


@settings(deadline=None)
@given(st.dictionaries(MEMBERS, JSON), st.sampled_from([200, 201, 400, 500]), st.sampled_from([CODE, DEVICE]))
def test_whatever_a_registration_answers_does_no_harm(document: Document, status: int, grant: str) -> None:
    played = run(answer=Fetched(status, json.dumps(document).encode()), grant=grant)
    assert played.fault is None or isinstance(played.fault, SignInNeeded)
    if played.fault is None:
        assert played.result.method in AUTH_METHODS
        assert registration.from_document(played.kept[NAME], AS) == played.result
    registration.from_document(document, AS)
