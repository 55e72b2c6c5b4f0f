"""--jwt-*: JWTs signed here, verified by a library of another author, and each key that cannot sign."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt as joserfc_jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from mcp_remote_py import settings
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.credentials import Credentials, check, open_credentials

START = 1_700_000_000.25
SECRET = "0123456789abcdef" * 4


def pem(key: Any, password: str | None = None) -> str:
    lock = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password.encode())
    )
    form = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, form, lock).decode())


def public_pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
WAYS: dict[str, tuple[str, Any]] = {
    "HS256": (SECRET, OctKey.import_key(SECRET)),
    "HS384": (SECRET, OctKey.import_key(SECRET)),
    "HS512": (SECRET, OctKey.import_key(SECRET)),
    "RS256": (pem(RSA), RSAKey.import_key(public_pem(RSA))),
    "ES256": (pem(P256), ECKey.import_key(public_pem(P256))),
    "EdDSA": (pem(ED), OKPKey.import_key(public_pem(ED))),
}
CLAIMS = (("iss", "me"), ("sub", "42"), ("aud", "them"), ("roles", ["a", "b"]), ("n", 1.5), ("o", {"x": None}))


class Wall:
    now = START

    def __call__(self) -> float:
        return self.now


def opened(wall: Wall, algorithm: str = "HS256", **given: Any) -> Credentials:
    minted = settings.MintedJwt(WAYS[algorithm][0], algorithm, **given)
    return open_credentials(settings.Credentials(authorization=minted), list[str]().append, wall)


async def token_of(credentials: Credentials) -> str:
    ((name, value),) = await credentials.headers()
    assert (name, value[:7]) == ("Authorization", "Bearer ")
    return value[7:]


def refusal(key: str, algorithm: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(settings.Credentials(authorization=settings.MintedJwt(key, algorithm, where="--jwt-key-file k.pem")))
    assert key not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 wants the name Ed25519; servers do not know it yet
@pytest.mark.parametrize("algorithm", WAYS)
async def test_an_independent_library_verifies_it(algorithm: str) -> None:
    token = await token_of(opened(Wall(), algorithm, claims=CLAIMS, ttl=300.0, kid="key-1"))
    read = joserfc_jwt.decode(token, WAYS[algorithm][1], algorithms=[algorithm])
    assert read.header == {"alg": algorithm, "typ": "JWT", "kid": "key-1"}
    claims = dict(read.claims)
    assert len(claims.pop("jti")) == 32
    assert claims == {**dict(CLAIMS), "iat": 1_700_000_000, "exp": 1_700_000_300}
    spoilt = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
    with pytest.raises(BadSignatureError):
        joserfc_jwt.decode(spoilt, WAYS[algorithm][1], algorithms=[algorithm])


async def test_without_a_kid_there_is_none_in_its_head() -> None:
    head = (await token_of(opened(Wall()))).split(".")[0]
    assert "kid" not in json.loads(base64.urlsafe_b64decode(head + "=="))


@pytest.mark.parametrize(("ttl", "lasts"), [(300.0, 269.0), (150.0, 119.0), (60.0, 47.0), (5.0, 3.0)])
async def test_it_is_signed_anew_before_it_expires(ttl: float, lasts: float) -> None:
    wall = Wall()
    credentials = opened(wall, ttl=ttl)
    first = await token_of(credentials)
    wall.now = START + lasts
    assert await token_of(credentials) == first
    wall.now = START + lasts + 1
    second = await token_of(credentials)
    assert second != first
    claims = joserfc_jwt.decode(second, WAYS["HS256"][1]).claims
    assert claims["exp"] == int(wall.now) + ttl


async def test_a_clock_that_was_set_back_makes_another_one() -> None:
    wall = Wall()
    credentials = opened(wall)
    first = await token_of(credentials)
    wall.now -= 3600
    assert await token_of(credentials) != first


async def test_a_fresh_one_that_is_refused_is_no_reason_for_another_try_but_an_older_one_is() -> None:
    wall = Wall()
    credentials = opened(wall)
    assert not await credentials.refused(await credentials.headers())
    wall.now += 60
    assert await credentials.refused(await credentials.headers())


async def test_what_was_signed_is_learnt_as_a_secret() -> None:
    learnt: list[str] = []
    given = settings.Credentials(authorization=settings.MintedJwt(SECRET, "HS256"))
    assert await token_of(open_credentials(given, learnt.append)) in learnt


KEYS = {
    "secret": SECRET,
    "RSA": pem(RSA),
    "public RSA": public_pem(RSA),
    "locked RSA": pem(RSA, "pw"),
    "damaged RSA": pem(RSA).replace("MII", "XII", 1),
    "P-256": pem(P256),
    "P-384": pem(P384),
    "empty": "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize(
    ("key", "algorithm", "words"),
    [
        ("RSA", "HS256", "Try RS256"),
        ("public RSA", "HS256", "PEM key"),
        ("secret", "RS256", "no PEM key"),
        ("public RSA", "RS256", "public key"),
        ("P-256", "RS256", "needs an RSA key"),
        ("RSA", "ES256", "needs an EC key"),
        ("P-384", "ES256", "P-256"),
        ("RSA", "EdDSA", "Ed25519"),
        ("locked RSA", "RS256", "locked with a password"),
        ("damaged RSA", "RS256", "damaged"),
        ("empty", "EdDSA", "damaged"),
    ],
)
def test_a_key_that_cannot_sign_is_told_at_the_start(key: str, algorithm: str, words: str) -> None:
    text = refusal(KEYS[key], algorithm)
    assert words in text
    assert "--jwt-key-file k.pem" in text


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_without_cryptography_the_extra_is_named(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(settings.Credentials(authorization=settings.MintedJwt(SECRET, "HS256")))  # loads the module
    module = sys.modules["mcp_remote_py.credentials.minted_jwt"]
    monkeypatch.setattr(module, "get_default_algorithms", lambda: {"HS256": None})
    text = refusal(WAYS[algorithm][0] + "\n", algorithm)
    assert "[crypto]" in text
    assert "pip install" in text


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_short_secret_is_noted(algorithm: str, least: int) -> None:
    def notes(length: int) -> tuple[str, ...]:
        return check(settings.Credentials(authorization=settings.MintedJwt("k" * length, algorithm)))

    assert notes(least) == ()
    (note,) = notes(least - 1)
    assert f"at least {least}" in note


def test_a_short_rsa_key_is_noted() -> None:
    key = pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  that is the point
    (note,) = check(settings.Credentials(authorization=settings.MintedJwt(key, "RS256")))
    assert "1024 bits" in note
