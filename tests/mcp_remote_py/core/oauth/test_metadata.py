"""What metadata is read as, and where it is looked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.oauth import metadata
from mcp_remote_py.core.oauth.metadata import (
    ENDPOINTS,
    ServerMetadata,
    canonical,
    denotes,
    is_issuer,
    read,
    read_resource,
    resource_locations,
    server_locations,
)

AS = "https://as.example.com"
MCP = "https://mcp.example.com"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            f"{MCP}/a/mcp",
            [f"{MCP}/.well-known/oauth-protected-resource/a/mcp", f"{MCP}/.well-known/oauth-protected-resource"],
        ),
        (
            f"{MCP}/mcp/",
            [f"{MCP}/.well-known/oauth-protected-resource/mcp", f"{MCP}/.well-known/oauth-protected-resource"],
        ),
        (MCP, [f"{MCP}/.well-known/oauth-protected-resource"]),
        (f"{MCP}/", [f"{MCP}/.well-known/oauth-protected-resource"]),
        (
            f"{MCP}:443/mcp?tenant=1#x",
            [f"{MCP}/.well-known/oauth-protected-resource/mcp?tenant=1", f"{MCP}/.well-known/oauth-protected-resource"],
        ),
        (
            "wss://mcp.example.com:8443/ws",
            [
                f"{MCP}:8443/.well-known/oauth-protected-resource/ws",
                f"{MCP}:8443/.well-known/oauth-protected-resource",
            ],
        ),
    ],
)
def test_where_the_metadata_of_a_resource_can_be(url: str, expected: list[str]) -> None:
    assert list(resource_locations(url)) == expected


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (AS, [f"{AS}/.well-known/oauth-authorization-server", f"{AS}/.well-known/openid-configuration"]),
        (f"{AS}/", [f"{AS}/.well-known/oauth-authorization-server", f"{AS}/.well-known/openid-configuration"]),
        *(
            (
                f"{AS}/tenant/1{slash}",
                [
                    f"{AS}/.well-known/oauth-authorization-server/tenant/1",
                    f"{AS}/.well-known/openid-configuration/tenant/1",
                    f"{AS}/tenant/1/.well-known/openid-configuration",
                ],
            )
            for slash in ("", "/")
        ),
    ],
)
def test_where_the_metadata_of_an_issuer_can_be(issuer: str, expected: list[str]) -> None:
    assert list(server_locations(issuer)) == expected


@pytest.mark.parametrize(
    "resource",
    [
        f"{MCP}/a/mcp",
        f"{MCP}/a/mcp/",
        f"{MCP}/a",
        f"{MCP}/",
        MCP,
        f"{MCP}:443/a/mcp",
        "HTTPS://MCP.EXAMPLE.COM/a/mcp",
        "wss://mcp.example.com/a/mcp",
        f"{MCP}/%61/mcp",
        f"{MCP}/a/mcp?x=1",
    ],
)
def test_a_resource_denotes_the_server_at_its_origin_below_its_path(resource: str) -> None:
    assert denotes(resource, f"{MCP}/a/mcp?x=1&y=2")


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "mcp",
        "https://evil.example.com/a/mcp",
        "http://mcp.example.com/a/mcp",
        f"{MCP}:8443/a/mcp",
        f"{MCP}.evil.example/a/mcp",
        "https://mcp.example.com@evil.example/a/mcp",
        "https://u@mcp.example.com/a/mcp",
        f"{MCP}/a/mc",
        f"{MCP}/a/mcp/deeper",
        f"{MCP}/A/mcp",
        f"{MCP}/b",
        f"{MCP}/b/../a",
        f"{MCP}/%2e",
        f"{MCP}/a%2Fmcp",
        f"{MCP}//a",
        f"{MCP}/a/mcp#x",
        f"{MCP}/a/mcp?x=2",
        f"{MCP}:99999/a",
        "https://[::1/a",
        "https://mcp.example.com\x00/a",
    ],
)
def test_another_resource_does_not_denote_the_server(resource: str) -> None:
    assert not denotes(resource, f"{MCP}/a/mcp?x=1&y=2")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://MCP.Example.com:443/Mcp/?key=1#x", f"{MCP}/Mcp/"),
        (f"{MCP}/", MCP),
        (MCP, MCP),
        ("wss://u:p@mcp.example.com/ws", f"{MCP}/ws"),
        ("https://b\u00fccher.example/\u00fc", "https://xn--bcher-kva.example/%C3%BC"),
        ("http://localhost:8080/mcp", "http://localhost:8080/mcp"),
    ],
)
def test_the_identifier_of_a_server_that_names_none(url: str, expected: str) -> None:
    assert canonical(url) == expected


@pytest.mark.parametrize(
    ("named", "asked", "expected"),
    [
        (AS, AS, True),
        (f"{AS}/", AS, True),
        (AS, f"{AS}/", True),
        (f"{AS}/t", f"{AS}/t", True),
        (f"{AS}/t/", f"{AS}/t", False),
        (f"{AS}//", AS, False),
        ("https://AS.example.com", AS, False),
        (f"{AS}:443", AS, False),
        ("http://as.example.com", AS, False),
        (None, AS, False),
        ([AS], AS, False),
        ("https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/common/v2.0", True),
        ("https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/v2.0", False),
        ("https://as.example.com/{tenantid}/v2.0", "https://as.example.com/common/v2.0", False),
        ("https://login.microsoftonline.us/{tenantid}/v2.0", "https://login.microsoftonline.com/common/v2.0", False),
    ],
)
def test_an_issuer_is_the_one_that_was_asked_letter_by_letter(named: object, asked: str, *, expected: bool) -> None:
    assert is_issuer(named, asked) is expected


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"x"', b"1", b"<html>", b"\xff\xfe", b"{", b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 100_000],
)
def test_what_is_no_json_object_is_none(body: bytes) -> None:
    assert read(body) is None


def test_a_document_may_begin_with_a_byte_order_mark_and_hold_long_numbers() -> None:
    assert read(b'\xef\xbb\xbf {"a":1}\n') == {"a": 1}
    assert read(b'{"a":' + b"9" * 10_000 + b"}") is not None


def test_the_scopes_of_a_resource_tell_none_from_unsaid() -> None:
    def scopes(**more: object) -> tuple[str, ...] | None:
        found = read_resource({"resource": MCP, **more})
        assert found is not None
        return found.scopes

    assert scopes() is None
    assert scopes(scopes_supported=None) is None
    assert scopes(scopes_supported=[]) == ()
    assert scopes(scopes_supported=["a", 1, "b", "a"]) == ("a", "b")
    assert scopes(scopes_supported="a b") == ("a", "b")


@pytest.mark.parametrize("resource", [None, "", 1, [MCP], {}])
def test_metadata_that_names_no_resource_is_none(resource: object) -> None:
    assert read_resource({"resource": resource, "authorization_servers": [AS]}) is None


def test_members_of_a_wrong_type_are_as_good_as_none() -> None:
    found = read_resource({"resource": MCP, "authorization_servers": AS})
    assert found is not None
    assert found.authorization_servers == ()
    server = ServerMetadata(
        AS,
        {
            "token_endpoint": [f"{AS}/token"],
            "code_challenge_methods_supported": "S256",
            "token_endpoint_auth_methods_supported": [1, "none"],
            "authorization_response_iss_parameter_supported": "true",
            "client_id_metadata_document_supported": 1,
            "scopes_supported": {},
            "dpop_signing_alg_values_supported": [],
        },
    )
    assert server.token_endpoint is None
    assert server.problem("token_endpoint") == "it is no text"
    assert server.problem("revocation_endpoint") == "it is missing"
    assert server.code_challenge_methods is None
    assert server.auth_methods == ("none",)
    assert (server.iss_parameter_supported, server.client_id_metadata_document_supported) == (False, False)
    assert (server.scopes, server.dpop_algs, server.auth_signing_algs, server.grant_types) == (None, (), (), None)


def test_an_endpoint_that_may_not_be_used_is_not_returned() -> None:
    server = ServerMetadata(AS, dict.fromkeys(ENDPOINTS, "http://evil.example/x"))
    assert [getattr(server, name) for name in ENDPOINTS] == [None] * len(ENDPOINTS)
    server = ServerMetadata(AS, {name: f"https://other.example.com/{name}" for name in ENDPOINTS})
    assert [getattr(server, name) for name in ENDPOINTS] == [f"https://other.example.com/{name}" for name in ENDPOINTS]


def test_guessed_endpoints_lie_at_the_origin_but_for_the_one_that_the_user_gave() -> None:
    server = metadata.guessed(AS)
    assert server.guessed
    assert (server.authorization_endpoint, server.token_endpoint, server.registration_endpoint) == (
        f"{AS}/authorize",
        f"{AS}/token",
        f"{AS}/register",
    )
    other = "https://other.example.com/token"
    moved = server._replace(document={**server.document, "token_endpoint": other})
    assert moved.token_endpoint is None
    assert moved._replace(known=(other,)).token_endpoint == other


def test_what_the_user_named_is_known() -> None:
    server = ServerMetadata(AS, {}, known=(f"{MCP}/mcp",))
    assert server.is_known(f"{MCP}/token")
    assert not server.is_known(f"{AS}/token")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [
    *ENDPOINTS,
    "issuer",
    "code_challenge_methods_supported",
    "token_endpoint_auth_methods_supported",
    "scopes_supported",
    "grant_types_supported",
    "dpop_signing_alg_values_supported",
    "authorization_servers",
    "resource",
]
DOCUMENT = st.dictionaries(st.sampled_from(MEMBERS), JSON)


@given(DOCUMENT, st.booleans())
def test_no_document_does_harm(document: dict[str, object], guessed: bool) -> None:
    again = read(msg.encode(document))
    assert again is not None
    server = ServerMetadata(AS, again, guessed)
    for name in (*ENDPOINTS, "code_challenge_methods", "auth_methods", "scopes", "grant_types", "dpop_algs"):
        getattr(server, name)
    for name in ENDPOINTS:
        server.problem(name)
    read_resource(again)


@given(st.text(), st.text())
def test_no_name_does_harm(one: str, other: str) -> None:
    denotes(one, other)
    denotes(one, f"{MCP}/mcp")
    is_issuer(one, other)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(body: bytes) -> None:
    found = read(body)
    assert found is None or isinstance(found, dict)
