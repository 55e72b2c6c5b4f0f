"""Token answers: what servers really send, and what nobody should."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth import jwt_claims, token_answer
from mcp_remote_py.core.oauth.steps import Fetched
from mcp_remote_py.core.oauth.token_answer import Answer, Refusal
from tests.mcp_remote_py.core.oauth.playing import said
from tests.mcp_remote_py.core.oauth.world import jwt

PLACE = "as.example.com"
SERVER = "https://mcp.example.com/mcp"
ISSUER = "https://as.example.com/tenant"


def read(fetched: Fetched, learnt: list[str] | None = None) -> Answer | Refusal:
    return token_answer.read(fetched, PLACE, (learnt if learnt is not None else []).append)


def answer(**fields: Any) -> Answer:
    found = read(said({"access_token": "at", "token_type": "Bearer", **fields}))
    assert isinstance(found, Answer)
    return found


def refusal(fetched: Fetched) -> Refusal:
    found = read(fetched)
    assert isinstance(found, Refusal)
    return found


def form(body: str, status: int = 200, media_type: str = "application/x-www-form-urlencoded; charset=utf-8") -> Fetched:
    return Fetched(status, body.encode(), {"content-type": media_type})


# --- Good ones -------------------------------------------------------------------------------------------------------


def test_a_full_answer_is_read() -> None:
    learnt: list[str] = []
    fields = {"access_token": "at", "refresh_token": "rt", "id_token": "it", "token_type": "Bearer"}
    found = read(said({**fields, "expires_in": 3600, "scope": "a b", "issued_token_type": "urn:x"}), learnt)
    assert found == Answer("at", "Bearer", 3600.0, "rt", "a b", "it", "urn:x")
    assert learnt == ["at", "rt", "it"]


@pytest.mark.parametrize(
    ("value", "life"),
    [
        (3600, 3600.0),
        ("3600", 3600.0),
        (" 3600 ", 3600.0),
        (0.5, 0.5),
        (None, None),
        (0, None),
        (-1, None),
        ("-5", None),
        ("soon", None),
        ("", None),
        (True, None),
        (10**400, None),
        (1e308, None),
        (10**12, None),
        ("9" * 400, None),
        ("nan", None),
        ("infinity", None),
        ("٣٦", None),
        ([3600], None),
        ({}, None),
    ],
)
def test_a_life_is_a_number_of_seconds_or_not_known(value: object, life: float | None) -> None:
    assert answer(expires_in=value).life == life
    assert math.isfinite(life) if life is not None else True


@pytest.mark.parametrize(
    ("written", "scheme"),
    [
        ("bearer", "Bearer"),
        ("BEARER", "Bearer"),
        (" Bearer ", "Bearer"),
        ("dpop", "DPoP"),
        ("DPoP", "DPoP"),
        ("N_A", "N_A"),
        ("bot", "Bearer"),
        (None, "Bearer"),
        ("", "Bearer"),
    ],
)
def test_the_type_of_a_token_is_read_without_its_case(written: object, scheme: str) -> None:
    assert answer(token_type=written).scheme == scheme


@pytest.mark.parametrize("written", ["mac", "pop", "bearer dpop", 5, ["Bearer"], {}])
def test_a_token_of_a_type_that_nobody_here_knows_is_refused(written: object) -> None:
    with pytest.raises(SignInNeeded, match="of the type"):
        answer(token_type=written)


@pytest.mark.parametrize(
    ("written", "scope"),
    [("a b", "a b"), ("  a \n b ", "a b"), ("", None), (None, None), (["a", 5, "b"], "a b"), (7, None)],
)
def test_scopes_are_read(written: object, scope: str | None) -> None:
    assert answer(scope=written).scope == scope


def test_githubs_form_is_read() -> None:
    found = read(form("access_token=gho_16C7&scope=repo%2Cgist&token_type=bearer"))
    assert found == Answer("gho_16C7", scope="repo,gist")


def test_a_byte_order_mark_does_no_harm() -> None:
    assert isinstance(read(Fetched(200, b'\xef\xbb\xbf{"access_token":"at"}')), Answer)


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_an_error_is_an_error_whatever_the_status(status: int) -> None:
    found = refusal(said({"error": "invalid_grant", "error_description": "no"}, status))
    assert found == Refusal("invalid_grant", "no", status)


def test_githubs_error_is_read_as_json_and_as_a_form() -> None:
    assert refusal(said({"error": "bad_verification_code"})).error == "bad_verification_code"
    assert refusal(form("error=bad_verification_code&error_description=The+code")).description == "The code"


def test_an_error_beside_a_token_is_an_error() -> None:
    assert refusal(said({"access_token": "at", "error": "invalid_scope"})).error == "invalid_scope"


def test_an_error_object_is_read_as_far_as_it_can_be() -> None:
    found = refusal(said({"error": {"code": "forbidden", "message": "not you"}}, 403))
    assert found == Refusal("forbidden", "not you", 403)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff", b"null", b'{"a":', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_refusal_in_no_known_form_has_its_status(body: bytes) -> None:
    assert refusal(Fetched(400, body)).words() == "HTTP status 400"


def test_the_words_of_a_server_are_made_safe_to_show() -> None:
    words = Refusal("x\x1b[2J" + "e" * 1000, "\u202ed\n" * 1000, 400).words()
    assert len(words) < 1600
    assert "\x1b" not in words
    assert "\u202e" not in words


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_a_server_that_cannot_answer_says_nothing_about_the_grant(status: int) -> None:
    with pytest.raises(SignInNeeded) as caught:
        read(said({"error": "invalid_grant"}, status, retry_after="7"))
    assert (caught.value.mends, caught.value.retry_after) == (True, 7.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with pytest.raises(SignInNeeded, match="redirect"):
        read(Fetched(status, b"", {"location": "https://evil.example"}))


@pytest.mark.parametrize("token", [None, "", 5, ["at"], "a b", "a\nb", "a\r\nX: y", "é", "\x00"])
def test_what_is_no_token_is_refused_without_being_shown(token: object) -> None:
    with pytest.raises(SignInNeeded) as caught:
        answer(access_token=token)
    assert "a b" not in str(caught.value)


@pytest.mark.parametrize("name", ["refresh_token", "id_token"])
def test_what_stands_beside_a_token_is_looked_at_too(name: str) -> None:
    with pytest.raises(SignInNeeded, match=name):
        answer(**{name: "a b"})
    assert getattr(answer(**{name: ""}), name) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>access_token=at</html>", b'"at"'])
def test_a_good_status_without_a_token_is_no_answer(body: bytes) -> None:
    with pytest.raises(SignInNeeded, match="has no access_token"):
        read(Fetched(200, body, {"content-type": "text/html"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "scope",
        "id_token",
        "error",
        "error_description",
        "x",
    ]
)
STATUSES = st.sampled_from([200, 201, 302, 400, 401, 403, 429, 500])


def check(fetched: Fetched) -> None:
    learnt: list[str] = []
    try:
        found = read(fetched, learnt)
    except SignInNeeded:
        return  # refused in words, which is as good
    if isinstance(found, Refusal):
        assert found.words().isprintable() or not found.words().isascii()
        return
    assert found.access_token in learnt
    assert found.access_token.isascii()
    assert found.access_token.isprintable()
    assert found.scheme in ("Bearer", "DPoP", "N_A")
    assert found.life is None or 0 < found.life < 1e10
    assert not found.scope or found.scope == " ".join(found.scope.split())


@given(st.dictionaries(NAMES, JSON | st.sampled_from(["at", "Bearer", "dpop", "3600"])), STATUSES)
def test_no_json_crashes_it(document: dict[str, Any], status: int) -> None:
    check(Fetched(status, msg.encode(document), {"content-type": "application/json"}))


@given(st.binary() | st.text().map(str.encode), STATUSES, st.sampled_from(["", "text/plain", "application/json", "é"]))
def test_no_bytes_crash_it(body: bytes, status: int, media_type: str) -> None:
    check(Fetched(status, body, {"content-type": media_type, "retry-after": "soon"}))


# --- Whom a token was made for ---------------------------------------------------------------------------------------


def foreign(aud: object, *more: str) -> str | None:
    return token_answer.foreign_audience(jwt(aud=aud), (SERVER, *more), ISSUER)


@pytest.mark.parametrize(
    "aud",
    [
        SERVER,
        f"{SERVER}/",
        "https://mcp.example.com",
        "https://mcp.example.com/",
        "HTTPS://MCP.example.com/mcp",
        "https://mcp.example.com/mcp/deeper",
        ISSUER,
        f"{ISSUER}/",
        [f"{ISSUER}/userinfo", "https://other.example"],
        f"{ISSUER}/resources",
        "00000003-0000-0000-c000-000000000000",
        "api://mcp",
        "urn:mcp",
        "account",
        "",
        [],
        None,
        5,
        {"a": 1},
    ],
)
def test_what_does_not_name_another_resource_is_taken(aud: object) -> None:
    assert foreign(aud) is None


@pytest.mark.parametrize(
    ("aud", "place"),
    [
        ("https://other.example.com/mcp", "other.example.com"),
        ("https://mcp.example.com.evil.example/mcp", "mcp.example.com.evil.example"),
        ("http://mcp.example.com/mcp", "mcp.example.com"),
        ("https://mcp.example.com:8443/mcp", "mcp.example.com:8443"),
        ("https://mcp.example.com/mcp2", "mcp.example.com"),
        ("https://mcp.example.com/other", "mcp.example.com"),
        (["https://a.example", "https://b.example"], "a.example"),
        (["client", "https://a.example"], "a.example"),
        ("https://as.example.com/other/userinfo", "as.example.com"),
        ("https://as.example.com/api/v2/", "as.example.com"),
        ("https://[", "the server"),
    ],
)
def test_what_names_other_resources_alone_is_not(aud: object, place: str) -> None:
    assert foreign(aud) == place


def test_what_the_user_named_is_taken() -> None:
    assert foreign("https://api.example.net/v1", "https://api.example.net/v1") is None
    assert foreign("https://api.example.net/v1", "urn:other") == "api.example.net"


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.b.c.d.e", "", "..", "a." + "W" * 100_001 + ".c"])
def test_a_token_of_another_kind_says_nothing(token: str) -> None:
    assert token_answer.foreign_audience(token, (SERVER,), ISSUER) is None
    assert jwt_claims.life(token) is None


@pytest.mark.parametrize(
    ("claims", "life"),
    [
        ({"iat": 100, "exp": 3700}, 3600.0),
        ({"iat": 100, "exp": 100}, None),
        ({"iat": 200, "exp": 100}, None),
        ({"exp": 100}, None),
        ({"iat": 1, "exp": 10**400}, None),
        ({"iat": True, "exp": 100}, None),
        ({"iat": "1", "exp": 100}, None),
    ],
)
def test_the_life_of_a_token_is_the_time_between_its_own_two_times(claims: dict[str, Any], life: float | None) -> None:
    assert jwt_claims.life(jwt(**claims)) == life


@given(JSON)
def test_no_claims_crash_it(claims: object) -> None:
    token_answer.foreign_audience(jwt(aud=claims, iat=claims, exp=claims), (SERVER,), ISSUER)
    jwt_claims.life(jwt(iat=claims, exp=claims))


@given(st.text(alphabet="ab./:@[]?#h tps\\%", max_size=30))
def test_no_audience_crashes_it(text: str) -> None:
    foreign([f"https://{text}", text])
