"""The table of providers: who is in it, and that nobody else is."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.oauth import providers


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
        "https://login.microsoftonline.us/common/v2.0",
        "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
        "https://contoso.ciamlogin.com/11111111/v2.0",
        "https://accounts.google.com",
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_abc",
        "https://github.com/login/oauth",
        "https://acme.okta.com/oauth2/default",
    ],
)
def test_issuers_that_publish_s256_elsewhere_are_known(issuer: str) -> None:
    assert providers.knows_s256(issuer)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://as.example.com",
        "https://login.microsoftonline.com.evil.example/x",
        "https://evil.example/login.microsoftonline.com",
        "https://evil-accounts.google.com",
        "http://accounts.google.com",
        "https://accounts.google.com:8443",
        "https://accounts.google.com@evil.example/",
        "https://[",
        "",
    ],
)
def test_nobody_else_is(issuer: str) -> None:
    assert not providers.knows_s256(issuer)
    assert providers.extra_parameters(issuer) == ()


def test_every_row_says_where_it_is_published() -> None:
    assert all(row.s256 is not None and row.s256.startswith("https://") for row in providers._TABLE)


def test_google_is_asked_for_offline_access_in_its_own_words() -> None:
    assert providers.extra_parameters("https://accounts.google.com") == (
        ("access_type", "offline"),
        ("prompt", "consent"),
    )


@pytest.mark.parametrize(
    ("text", "rejects"),
    [
        ("AADSTS9010010: The resource parameter ...", True),
        ("AADSTS901002: Der Parameter ...", True),
        ("AADSTS9010011", False),
        ("AADSTS90100100", False),
        ("AADSTS50011", False),
        ("resource", False),
        ("", False),
    ],
)
def test_entras_two_errors_about_resource_are_known_by_their_number(text: str, rejects: bool) -> None:
    assert providers.rejects_resource(text) is rejects


def test_github_separates_scopes_by_commas_and_others_do_not() -> None:
    assert providers.granted("https://github.com/login/oauth", "repo,gist") == "repo gist"
    assert providers.granted("https://as.example.com", "a,b  c") == "a,b c"
