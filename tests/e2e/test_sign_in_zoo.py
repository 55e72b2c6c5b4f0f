"""The zoo: a sign-in with each provider's dialect and each grant, and everything that a server may do wrong.

A new dialect is a row of `tests.support.dialects` and, where it needs options, one of `OPTIONS`. A new misbehaviour is
a row of `BAD`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.e2e.test_sign_in import NEEDED, SECONDS, WIRES, answered, bridge, called, text_of
from tests.support.authorization_server import CODE_GRANT, Document
from tests.support.certificates import server_context
from tests.support.connect_proxy import HOST, ConnectProxy
from tests.support.dialects import DIALECTS
from tests.support.scripted_server import closed_port
from tests.support.zoo import Browser, Zoo, hangs, open_zoo, redirects, sends

OURS, SECRET = "our client", "our-s3cret:/+="
SECRETS = ("client_secret_basic", "client_secret_post")

OPTIONS: dict[str, tuple[str, ...]] = {
    "entra": ("--assume-pkce",),
    "google": ("--authorize-param", "access_type=offline", "--authorize-param", "prompt=consent"),
    "cognito": ("--assume-pkce", "--use-id-token"),
    "client-documents": ("--client-metadata-url", "https://client.example.com/client.json"),
}


def prepared(zoo: Zoo, folder: Path) -> list[str]:
    """Make our client known where nothing can be registered; returns the options that say so."""
    if zoo.dialect.register is not None:
        return []
    port = closed_port()
    uris = (f"http://localhost:{port}/oauth/callback",)
    zoo.register(OURS, SECRET if zoo.dialect.gives_secret else None, redirect_uris=uris)
    words = ["--client-id", OURS, "--callback-port", str(port)]
    if zoo.dialect.gives_secret:
        path = folder / "secret"
        path.write_text(SECRET + "\n")
        words += ["--client-secret-file", str(path)]
    return words


# --- Every provider --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_sign_in_works_with(dialect: str, wire: str, tmp_path: Path) -> None:
    """Signing in, renewing where that is possible, and a second start that asks nobody."""
    browser = Browser(tmp_path)
    async with open_zoo(dialect) as zoo:
        zoo.resource_scopes = ("openid",)
        words = [*OPTIONS.get(dialect, ()), *prepared(zoo, tmp_path)]
        async with bridge(zoo, tmp_path, *words, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            await host.end()
        (token,) = [asked for asked in zoo.grants(CODE_GRANT) if "resource" not in asked.form or not _refuses(zoo)][-1:]
        assert token.form["redirect_uri"] == zoo.of("authorize")[-1].query["redirect_uri"]
        may_renew = zoo.dialect.refresh != "never"
        if may_renew:
            zoo.expire_access()
        before, tabs = len(zoo.asked), browser.tabs()
        async with bridge(zoo, tmp_path, *words, wire=wire, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        later = {asked.what for asked in zoo.asked[before:]}
        assert later == ({"mcp", "token"} if may_renew else {"mcp"})
        assert browser.tabs() == tabs
        assert tabs == (2 if zoo.dialect.refuses_resource else 1)
        assert zoo.troubles == []
        assert all(asked.place != "elsewhere" for asked in zoo.asked) or zoo.dialect.token_elsewhere


def _refuses(zoo: Zoo) -> bool:
    return zoo.dialect.refuses_resource is not None


@pytest.mark.slow
async def test_entra_refuses_the_resource_at_its_token_endpoint_too(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo(DIALECTS["entra"]._replace(refuses_resource="token")) as zoo:
        words = ["--assume-pkce", *prepared(zoo, tmp_path)]
        async with bridge(zoo, tmp_path, *words, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
        assert "resource" not in zoo.grants(CODE_GRANT)[-1].form


@pytest.mark.slow
async def test_a_server_that_knows_no_pkce_is_refused_until_it_is_assumed(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo(DIALECTS["plain"]._replace(challenge_methods=None)) as zoo:
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "--assume-pkce" in text_of(await answered(host))
        assert browser.tabs() == 0
        async with bridge(zoo, tmp_path, "--assume-pkce", browser=browser) as host:
            assert "result" in await answered(host)


# --- Other grants ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["private_key_jwt", *(pytest.param(name, marks=pytest.mark.slow) for name in SECRETS)]
)
async def test_client_credentials(method: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        words = ["--grant", "client-credentials", "--client-id", OURS, "--token-auth-method", method]
        if method == "private_key_jwt":
            key = ECKey.generate_key("P-256")
            path = tmp_path / "key.pem"
            path.write_bytes(key.as_pem(private=True))
            zoo.register(OURS, None, method=method, key=key)
            words += ["--private-key", str(path), "--signing-alg", "ES256"]
        else:
            zoo.register(OURS, SECRET, method=method)
            path = tmp_path / "secret"
            path.write_text(SECRET)
            words += ["--client-secret-file", str(path)]
        async with bridge(zoo, tmp_path, *words, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            zoo.expire_access()
            assert "result" in await called(host), host.log.decode()
        assert zoo.counts()["register"] == zoo.counts()["authorize"] == 0
        assert zoo.troubles == []
    assert browser.tabs() == 0


@pytest.mark.slow
async def test_client_credentials_with_an_rsa_key_and_the_token_endpoint_given(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        key, path = RSAKey.generate_key(2048), tmp_path / "key.pem"
        path.write_bytes(key.as_pem(private=True))
        zoo.register(OURS, None, method="private_key_jwt", key=key)
        words = ["--grant", "client-credentials", "--client-id", OURS, "--private-key", str(path)]
        words += ["--token-auth-method", "private_key_jwt", "--token-endpoint", f"{zoo.origins['auth']}/token"]
        async with bridge(zoo, tmp_path, *words, "--auth-issuer", zoo.issuer, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
    assert browser.tabs() == 0


async def test_enterprise_managed_authorization(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        zoo.register(OURS, SECRET)
        words = ["--grant", "enterprise-managed", "--client-id", OURS, "--client-secret-env", "OURS"]
        words += ["--idp-issuer", zoo.idp, "--idp-token-endpoint", f"{zoo.idp}/token", "--idp-client-id", "at-the-idp"]
        words += ["--idp-id-token-env", "THEIR_TOKEN"]
        environment = {"OURS": SECRET, "THEIR_TOKEN": zoo.id_token("at-the-idp")}
        async with bridge(zoo, tmp_path, *words, browser=browser, **environment) as host:
            assert "result" in await answered(host), host.log.decode()
        assert (zoo.counts()["idp"], zoo.counts()["token"]) == (1, 1)
        assert zoo.of("idp")[0].form["resource"] == zoo.url()
    assert browser.tabs() == 0


@pytest.mark.slow
async def test_workload_identity_reads_its_assertion_anew_and_never_tries_twice(tmp_path: Path) -> None:
    browser, path = Browser(tmp_path), tmp_path / "workload.jwt"
    async with open_zoo() as zoo:
        zoo.register(OURS, None, method="none")
        words = ["--grant", "jwt-bearer", "--client-id", OURS, "--assertion-file", str(path)]
        path.write_text(zoo.workload_token()[:-8] + "AAAAAAAA")
        async with bridge(zoo, tmp_path, *words, browser=browser) as host:
            assert "invalid_grant" in text_of(await answered(host))
            assert zoo.counts()["token"] == 1
            path.write_text(zoo.workload_token("https://wrong.example"))
            assert "audience" in text_of(await called(host))
            assert zoo.counts()["token"] == 1, "it is of no use there, and none of their business"
            path.write_text(zoo.workload_token())
            assert "result" in await called(host), host.log.decode()
        assert zoo.counts()["token"] == 2
    assert browser.tabs() == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_a_device_code(wire: str, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo, bridge(zoo, tmp_path, "--device-code", wire=wire, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        assert "WDJB-MJHT" in host.log.decode()
        assert f"{zoo.origins['auth']}/verify" in host.log.decode()
        assert zoo.counts()["authorize"] == 0
    assert browser.tabs() == 0


@pytest.mark.parametrize("wire", WIRES)
async def test_tokens_that_are_bound_to_a_key(wire: str, tmp_path: Path) -> None:
    """RFC 9449 with nonces at both servers, a renewal, and a second start with the same key."""
    browser = Browser(tmp_path)
    async with open_zoo("dpop") as zoo:
        zoo.nonce, zoo.resource_nonce = "n0nce-of-the-authorization-server", "n0nce-of-the-mcp-server"
        for turn in range(2):
            async with bridge(zoo, tmp_path, wire=wire, browser=browser) as host:
                assert "result" in await answered(host), host.log.decode()
                if turn == 0:
                    zoo.resource_nonce = "an0ther"
                    assert "result" in await called(host), host.log.decode()
                await host.end()
            zoo.expire_access()
        shown = zoo.tokens_shown()
        assert shown
        assert all(text.startswith("DPoP ") for text in shown)
        problems = [trouble for trouble in zoo.troubles if "use_dpop_nonce" not in trouble]
        assert problems == []
    assert browser.tabs() == 1


@pytest.mark.slow
async def test_tokens_are_not_bound_to_a_key_where_that_is_not_wanted(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo("dpop") as zoo, bridge(zoo, tmp_path, "--no-dpop", browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        assert all(text.startswith("Bearer ") for text in zoo.tokens_shown())


@pytest.mark.slow
async def test_another_authorization_server_gets_nothing_of_the_former_one(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo, open_zoo() as later:
        async with bridge(zoo, tmp_path, browser=browser) as host:
            assert "result" in await answered(host), host.log.decode()
            zoo.edits["resource-metadata"] = lambda document: {**document, "authorization_servers": [later.issuer]}
            zoo.refresh.clear()
            zoo.access = later.access
            assert "result" in await called(host), host.log.decode()
        assert (later.counts()["register"], later.counts()["token"]) == (1, 1)
        told = " ".join(f"{asked.query} {asked.headers} {asked.body.decode()}" for asked in later.asked)
        assert not [secret for secret in zoo.secrets if secret in told]


# --- Through the company's network -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["http", "sse", "ws"])
async def test_a_sign_in_through_a_proxy_with_a_private_authority(wire: str, tmp_path: Path, bundle: Path) -> None:
    async with open_zoo(context=server_context(HOST), host=HOST) as zoo, ConnectProxy() as proxy:
        browser = Browser(tmp_path, f"proxy={proxy.port}", f"ca={bundle}")
        words = ["--ca-bundle", str(bundle), "--proxy", proxy.url()]
        for _ in range(2):
            async with bridge(zoo, tmp_path, *words, wire=wire, browser=browser) as host:
                assert "result" in await answered(host), host.log.decode()
                await host.end()
            zoo.expire_access()
        assert zoo.issuer.startswith(f"https://{HOST}:")
        assert zoo.counts()["authorize"] == 1
        assert len(zoo.grants("refresh_token")) == 1
        assert zoo.troubles == []


# --- Misbehaviour ----------------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """`turn` makes the zoo misbehave; `says` stands in what the call is answered with."""

    turn: Callable[[Zoo], None]
    says: str
    tabs: int = 0
    tokens: int = 0
    options: tuple[str, ...] = ()


def edits(what: str, **fields: Any) -> Callable[[Zoo], None]:
    """Documents of this kind say this instead; None leaves the field out."""

    def edit(document: Document) -> Document:
        return {name: value for name, value in {**document, **fields}.items() if value is not None}

    def turn(zoo: Zoo) -> None:
        zoo.edits[what] = edit

    return turn


def elsewhere(what: str, field: str, path: str) -> Callable[[Zoo], None]:
    def turn(zoo: Zoo) -> None:
        edits(what, **{field: f"{zoo.origins['elsewhere']}{path}"})(zoo)

    return turn


def answers(what: str, status: int, text: str = "", **headers: str) -> Callable[[Zoo], None]:
    def turn(zoo: Zoo) -> None:
        zoo.instead[what] = sends(status, text=text, **headers)

    return turn


def moved(what: str) -> Callable[[Zoo], None]:
    def turn(zoo: Zoo) -> None:
        zoo.instead[what] = redirects(f"{zoo.origins['elsewhere']}/stolen")

    return turn


def late(what: str) -> Callable[[Zoo], None]:
    def turn(zoo: Zoo) -> None:
        hangs(zoo, what, 60)

    return turn


HOSTILE = {
    "script": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "user-info": "https://user:password@auth.example.com/authorize",
    "plain http": "http://auth.example.com/authorize",
    "blank": "https://auth.example.com/a b",
    "backtick": "https://auth.example.com/`id`",
    "dollar": "https://auth.example.com/$(id)",
    "quote": 'https://auth.example.com/"&calc',
    "pipe": "https://auth.example.com/|calc",
    "less": "https://auth.example.com/<x>",
    "backslash": "https://auth.example.com\\calc",
    "line": "https://auth.example.com/\nx",
    "option": "--help",
    "number": 7,
}

BAD: dict[str, Bad] = {
    **{
        f"authorization URL: {name}": Bad(edits("metadata", authorization_endpoint=url), "authoriz")
        for name, url in HOSTILE.items()
    },
    "issuer: another": Bad(edits("metadata", issuer="https://attacker.example.com"), "issuer"),
    "issuer: none": Bad(edits("metadata", issuer=None), "issuer"),
    "issuer: not http": Bad(edits("resource-metadata", authorization_servers=["ftp://a.example"]), "authorization"),
    "issuers: none": Bad(edits("resource-metadata", authorization_servers=[]), "authorization"),
    "issuers: no list": Bad(edits("resource-metadata", authorization_servers="https://a.example"), "authorization"),
    "resource: another origin": Bad(edits("resource-metadata", resource="https://evil.example.com/mcp"), "resource"),
    "token endpoint: plain http": Bad(edits("metadata", token_endpoint="http://auth.example.com/token"), "token"),
    "token endpoint: user-info": Bad(edits("metadata", token_endpoint="https://u:p@auth.example.com/token"), "token"),
    "PKCE: plain alone": Bad(edits("metadata", code_challenge_methods_supported=["plain"]), "PKCE"),
    "redirect: resource metadata": Bad(moved("resource-metadata"), ""),
    "redirect: metadata": Bad(moved("metadata"), ""),
    "redirect: registration": Bad(moved("register"), "307"),
    "redirect: token": Bad(moved("token"), "redirect", 1, 1),
    "5xx: resource metadata": Bad(answers("resource-metadata", 500, "oops"), "500"),
    "5xx: metadata": Bad(answers("metadata", 502, "oops"), "502"),
    "429: metadata": Bad(answers("metadata", 429, "oops"), "429"),
    "5xx: registration": Bad(answers("register", 500, "oops"), "500"),
    "5xx: token": Bad(answers("token", 500, "oops"), "500", 1, 1),
    "no JSON: metadata": Bad(answers("metadata", 200, "<html>"), ""),
    "deep JSON: metadata": Bad(answers("metadata", 200, "[" * 100_000), ""),
    "a list: metadata": Bad(answers("metadata", 200, "[]"), ""),
    "huge: metadata": Bad(answers("metadata", 200, json.dumps({"issuer": "x" * 3_000_000})), ""),
    "gzip bomb": Bad(answers("metadata", 200, "no gzip at all", Content_Encoding="gzip"), ""),
    "registration: no": Bad(answers("register", 400, '{"error": "invalid_redirect_uri"}'), "invalid_redirect_uri"),
    "registration: forbidden": Bad(answers("register", 403, "not for you"), "403"),
    "registration: no id": Bad(edits("register", client_id=None), "regist"),
    "registration: not offered": Bad(edits("metadata", registration_endpoint=None), "--client-id"),
    "state: another": Bad(edits("redirect", state="another"), "--auth-timeout", 1, options=("--auth-timeout", "3s")),
    "state: none": Bad(edits("redirect", state=None), "--auth-timeout", 1, options=("--auth-timeout", "3s")),
    "iss: another": Bad(edits("redirect", iss="https://evil.example.com"), "mix-up", 1),
    "iss: none": Bad(edits("redirect", iss=None), "mix-up", 1),
    "code: none": Bad(edits("redirect", code=None), "--auth-timeout", 1, options=("--auth-timeout", "3s")),
    "error: with another iss": Bad(
        edits("redirect", code=None, error="spoofed", iss="https://evil.example"), "mix-up", 1
    ),
    "token: no JSON": Bad(answers("token", 200, "<html>"), "", 1, 1),
    "token: none": Bad(edits("token", access_token=None), "token", 1, 1),
    "token: of another type": Bad(edits("token", token_type="mac"), "token", 1, 1),
    "token: with a line in it": Bad(edits("token", access_token="a\r\nX-Evil: 1"), "token", 1, 1),
    "token: a number": Bad(edits("token", access_token=7), "token", 1, 1),
    "slow: metadata": Bad(late("metadata"), "", options=("--auth-timeout", "2s")),
    "slow: token": Bad(late("token"), "", 1, 1, options=("--auth-timeout", "4s")),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", BAD)
async def test_a_server_that_misbehaves_is_refused_with_a_reason(row: str, tmp_path: Path) -> None:
    bad, browser = BAD[row], Browser(tmp_path)
    async with open_zoo() as zoo:
        bad.turn(zoo)
        async with bridge(zoo, tmp_path, *bad.options, browser=browser) as host:
            answer = await answered(host)
            said = text_of(answer)
        assert answer["error"]["data"]["source"] == "mcp-remote-py", answer
        assert answer["error"]["code"] == NEEDED, answer
        assert bad.says in said
        assert "evil.example" not in said or "iss" in row or "resource" in row
        assert "spoofed" not in said + host.log.decode()
        assert browser.tabs() == bad.tabs
        assert zoo.counts()["token"] == bad.tokens
        assert not [asked for asked in zoo.asked if asked.place == "elsewhere"], "somebody else was asked"
        assert not [text for text in zoo.tokens_shown() if text], "no token was good for anything"


@pytest.mark.slow
async def test_endpoints_without_metadata_are_those_of_the_server_alone(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo("march") as zoo, bridge(zoo, tmp_path, browser=browser) as host:
        assert "result" in await answered(host), host.log.decode()
        assert {asked.place for asked in zoo.asked} == {"mcp"}
        paths = [asked.path for asked in zoo.asked]
        looked = [path for path in paths if "well-known" in path]
        assert len(looked) == len(set(looked)), "nothing is fetched twice"


@pytest.mark.slow
async def test_no_sign_in_is_lost_to_a_slow_authorization_server(tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    async with open_zoo() as zoo:
        hangs(zoo, "metadata", 2)
        hangs(zoo, "token", 2)
        async with bridge(zoo, tmp_path, "--greet-after", "1s", browser=browser) as host:
            async with asyncio.timeout(SECONDS):
                assert "result" in await answered(host), host.log.decode()
