"""JSON Web Tokens, good and bad. (RFC 7519, RFC 8725)"""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mcp_remote_py.core.errors import ConfigError
from server_stub.settings import Jwt
from server_stub.verifiers.jwt import JsonWebTokens

SECRET = "a secret of more than sixty-four bytes, which is what HS512 wants to have"
LATER = 4_000_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    encoded: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def token(key: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"exp": LATER, "sub": "alice", **claims}, key, algorithm)


def test_issuer_and_subject_are_the_principal() -> None:
    verifier = JsonWebTokens(Jwt(secret=SECRET))
    alice = verifier.verify(token(iss="a"))
    assert alice is not None
    assert verifier.verify(token(iss="a", exp=LATER + 5)) == alice
    assert verifier.verify(token(iss="b")) != alice
    assert verifier.verify(token(iss="a", sub="bob")) != alice
    assert verifier.verify(token(iss='a","b', sub="c")) != verifier.verify(token(iss="a", sub='b","c'))


def test_a_token_without_a_subject_stands_for_itself_alone() -> None:
    verifier = JsonWebTokens(Jwt(secret=SECRET))
    first = jwt.encode({"exp": LATER, "n": 1}, SECRET)
    second = jwt.encode({"exp": LATER, "n": 2}, SECRET)
    assert verifier.verify(first) is not None
    assert verifier.verify(first) != verifier.verify(second)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        "\udcff",
        token("another secret of more than thirty-two bytes"),
        token(exp=1_000_000_000),
        token(nbf=LATER),
        token(exp="soon"),
        jwt.encode({"sub": "alice"}, SECRET),
        token(algorithm="HS512"),
        token(SECRET)[:-4] + "AAAA",
    ],
)
def test_what_is_not_signed_with_the_secret_or_not_valid_now_is_nobody(bad: str) -> None:
    assert JsonWebTokens(Jwt(secret=SECRET)).verify(bad) is None


def test_the_algorithm_none_is_nobody() -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for algorithm in ("none", "None", "NONE"):
        forged = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'exp': LATER, 'sub': 'alice'})}."
        assert JsonWebTokens(Jwt(secret=SECRET)).verify(forged) is None
        assert JsonWebTokens(Jwt(public_key=pem(RSA))).verify(forged) is None


def test_a_public_key_is_no_secret() -> None:
    """The old confusion: a token signed by HMAC with the public key's text."""
    import hashlib
    import hmac

    def part(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps({"exp": LATER, "sub": "alice"}).encode())
    mac = part(hmac.new(pem(RSA).encode(), signed, hashlib.sha256).digest())
    assert JsonWebTokens(Jwt(public_key=pem(RSA))).verify((signed + b"." + mac).decode()) is None


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA, "RS256"),
        (EC, "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["rsa", "p256", "p384", "ed25519"],
)
def test_a_public_key_pins_its_own_algorithm(key: Any, algorithm: str) -> None:
    verifier = JsonWebTokens(Jwt(public_key=pem(key)))
    assert verifier.verify(token(key, algorithm)) is not None
    assert verifier.verify(token(SECRET)) is None
    if algorithm == "RS256":
        assert verifier.verify(token(key, "RS512")) is None
        assert JsonWebTokens(Jwt(public_key=pem(key), algorithms=("PS256",))).verify(token(key, "PS256")) is not None


def test_audience_and_issuer_are_checked_where_given() -> None:
    verifier = JsonWebTokens(Jwt(secret=SECRET, audience="us", issuer="them"))
    assert verifier.verify(token(aud="us", iss="them")) is not None
    assert verifier.verify(token(aud=["others", "us"], iss="them")) is not None
    for claims in ({"aud": "us"}, {"iss": "them"}, {"aud": "others", "iss": "them"}, {"aud": "us", "iss": "else"}):
        assert verifier.verify(token(**claims)) is None
    assert JsonWebTokens(Jwt(secret=SECRET)).verify(token(aud="whoever")) is not None


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_key_that_cannot_be_read_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--jwt-public-key"):
        JsonWebTokens(Jwt(public_key=text))


def test_a_key_that_does_not_fit_the_algorithm_or_is_private_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        JsonWebTokens(Jwt(public_key=pem(EC), algorithms=("RS256",)))
    private = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ConfigError, match="private"):
        JsonWebTokens(Jwt(public_key=private))


def test_a_short_secret_works_with_a_warning_that_does_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        verifier = JsonWebTokens(Jwt(secret="short one"))
    with pytest.warns(match="below"):
        made = token("short one")
    assert verifier.verify(made) is not None
    assert "shorter than 32 bytes" in caplog.text
    assert "short one" not in caplog.text
