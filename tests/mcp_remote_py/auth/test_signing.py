"""Signatures of a sign-in, verified by the library of another author (joserfc)."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joserfc.jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import KeySet, import_key

from mcp_remote_py.auth import signing
from mcp_remote_py.auth.signing import Signer, check, dpop_name
from mcp_remote_py.auth.store import MemoryStore, open_store
from mcp_remote_py.core.errors import ConfigError, SignInNeeded
from mcp_remote_py.core.oauth.steps import Sign

URL = "https://mcp.example/mcp"
CLAIMS = {"iss": "client", "sub": "client", "aud": "https://as.example", "jti": "1", "iat": 1, "exp": 2}
PROOF = Sign("dpop", ("ES256",), {"typ": "dpop+jwt"}, {"jti": "1", "htm": "POST", "htu": "https://as.example/token"})


@functools.cache
def key(kind: str) -> Any:
    made: dict[str, Any] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "short": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505  it has to be refused
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "koblitz": lambda: ec.generate_private_key(ec.SECP256K1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "dsa": lambda: dsa.generate_private_key(2048),
    }
    return made[kind]()


def pem(kind: str, *, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    raw: bytes = key(kind).private_bytes(Encoding.PEM, form, NoEncryption())
    return raw.decode()


def public_pem(kind: str) -> bytes:
    raw: bytes = key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return raw


def signer(private_key: str | None = None, algorithm: str | None = None, store: Any = None) -> Signer:
    return Signer(private_key, algorithm, store or MemoryStore(lambda _: None), dpop_name(URL))


KIND_OF_KEY: dict[str, Any] = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def head_of(token: str) -> dict[str, Any]:
    first = token.partition(".")[0]
    head: dict[str, Any] = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    return head


FITTING = [
    ("p256", None, (), "ES256"),
    ("rsa", None, (), "RS256"),
    ("ed25519", None, (), "EdDSA"),
    ("p384", None, (), "ES384"),
    ("rsa", "PS256", (), "PS256"),
    ("rsa", None, ("ES256", "PS256", "RS256"), "PS256"),
    ("rsa", None, ("HS256", "RS256", "PS256"), "RS256"),
    ("rsa", "RS256", ("PS256",), "RS256"),  # who names an algorithm knows better than the metadata
    ("p256", "ES256", ("RS256", "ES256"), "ES256"),
    ("ed25519", "EdDSA", ("EdDSA",), "EdDSA"),
    ("ed25519", None, ("ES256", "Ed25519"), "Ed25519"),  # as RFC 9864 calls it
]


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # by RFC 9864, but it is what servers know
@pytest.mark.parametrize(("kind", "wanted", "taken", "used"), FITTING)
def test_an_assertion_is_signed_by_what_fits_the_key_and_the_server(
    kind: str, wanted: str | None, taken: tuple[str, ...], used: str
) -> None:
    made = signer(pem(kind), wanted).sign(Sign("client", taken, {}, CLAIMS))
    verified = joserfc.jwt.decode(made, import_key(public_pem(kind), KIND_OF_KEY[used[:2]]), algorithms=[used])
    assert verified.claims == CLAIMS
    assert verified.header == {"alg": used, "typ": "JWT"}


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_a_key_is_read_in_either_form_of_openssl(kind: str, form: PrivateFormat) -> None:
    check(pem(kind, form=form), None)


def test_a_server_that_takes_nothing_that_fits_is_named_with_what_it_takes() -> None:
    with pytest.raises(SignInNeeded, match=r"no algorithm that fits the client's key \(ES256\)") as caught:
        signer(pem("p256")).sign(Sign("client", ("RS256", "\x1b[31mown words"), {}, CLAIMS))
    assert "It takes RS256" in caught.value.hint
    assert "own words" not in str(caught.value) + caught.value.hint


def test_without_a_key_the_error_says_which_option_gives_one() -> None:
    with pytest.raises(SignInNeeded, match="private_key_jwt") as caught:
        signer().sign(Sign("client", (), {}, CLAIMS))
    assert "--private-key FILE" in caught.value.hint


def _locked() -> str:
    raw: bytes = key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    return raw.decode()


UNFIT = [
    ("no key at all", None, "no PEM key"),
    ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "damaged"),
]


@pytest.mark.parametrize(("text", "algorithm", "reason"), UNFIT)
def test_what_is_no_key_is_refused(text: str, algorithm: str | None, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check(text, algorithm)
    with pytest.raises(SignInNeeded, match=reason):
        signer(text, algorithm).sign(Sign("client", (), {}, CLAIMS))


@pytest.mark.parametrize(
    ("kind", "algorithm", "reason"),
    [
        ("p256", "RS256", "does not fit this key, which signs ES256"),
        ("rsa", "ES256", "does not fit this key, which signs RS256"),
        ("short", None, "has 1024 bits"),
        ("koblitz", None, "of a kind that signs no JWT"),
        ("dsa", None, "of a kind that signs no JWT"),
    ],
)
def test_a_key_that_cannot_do_it_is_refused(kind: str, algorithm: str | None, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check(pem(kind), algorithm)


def test_a_public_key_and_a_locked_one_are_told_apart() -> None:
    with pytest.raises(ConfigError, match="cannot sign"):
        check(public_pem("p256").decode(), None)
    with pytest.raises(ConfigError, match="locked with a password"):
        check(_locked(), None)


# --- DPoP ------------------------------------------------------------------------------------------------------------


def test_a_proof_carries_the_public_key_that_verifies_it_and_nothing_private() -> None:
    made = signer().sign(PROOF)
    head = head_of(made)
    assert head["typ"] == "dpop+jwt"
    assert head["alg"] == "ES256"
    assert sorted(head["jwk"]) == ["crv", "kty", "x", "y"]
    assert joserfc.jwt.decode(made, import_key(head["jwk"]), algorithms=["ES256"]).claims == PROOF.claims


def test_the_key_of_proofs_stays_for_later_runs_and_is_another_one_for_another_server(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    first = head_of(signer(store=store).sign(PROOF))["jwk"]
    assert head_of(signer(store=store).sign(PROOF))["jwk"] == first
    other = Signer(None, None, store, dpop_name("https://other.example/mcp"))
    assert head_of(other.sign(PROOF))["jwk"] != first
    assert len(KeySet.import_key_set({"keys": [first]}).keys) == 1
    assert store.names() == tuple(sorted((dpop_name(URL), dpop_name("https://other.example/mcp"))))


def test_two_processes_that_need_a_key_at_once_agree_on_one(tmp_path: Path) -> None:
    stores = [open_store("file", str(tmp_path), lambda _: None) for _ in range(2)]
    one, other = (signer(store=store) for store in stores)
    assert head_of(one.sign(PROOF))["jwk"] == head_of(other.sign(PROOF))["jwk"]


def test_a_kept_key_that_is_of_no_use_is_replaced(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    for useless in ({}, {"form": 1, "jwk": {"kty": "EC"}}, {"form": 1, "jwk": {"kty": "EC", "d": "x"}}, {"form": 2}):
        store.write(dpop_name(URL), useless)
        made = head_of(signer(store=store).sign(PROOF))["jwk"]
        assert head_of(signer(store=store).sign(PROOF))["jwk"] == made


def test_a_key_that_another_process_replaced_is_read_again_when_told_so(tmp_path: Path) -> None:
    store = open_store("file", str(tmp_path), lambda _: None)
    old = signer(store=store)
    before = head_of(old.sign(PROOF))["jwk"]
    store.write(dpop_name(URL), None)
    after = head_of(signer(store=store).sign(PROOF))["jwk"]
    assert after != before
    old.forget()
    assert head_of(old.sign(PROOF))["jwk"] == after


def test_the_private_part_is_learnt_as_a_secret() -> None:
    learnt: list[str] = []
    store = MemoryStore(learnt.append)
    signer(store=store).sign(PROOF)
    document = store.read(dpop_name(URL)) or {}
    assert learnt == [document["jwk"]["d"]]


def test_a_server_that_takes_no_es256_gets_no_proof() -> None:
    with pytest.raises(SignInNeeded, match="DPoP proofs"):
        signer().sign(PROOF._replace(algorithms=("RS256",)))


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "is_available", lambda: False)
    for step in (PROOF, Sign("client", (), {}, CLAIMS)):
        with pytest.raises(SignInNeeded, match="cryptography") as caught:
            signer(pem("p256")).sign(step)
        assert "[crypto]" in caught.value.hint
    with pytest.raises(ConfigError, match=r"\[crypto\]"):
        check(pem("p256"), None)


WITHOUT = """
import sys
sys.modules["cryptography"] = None
from mcp_remote_py.auth import signing
from mcp_remote_py.auth.store import MemoryStore
from mcp_remote_py.core.errors import SignInNeeded
from mcp_remote_py.core.oauth.steps import Sign
try:
    signing.Signer("key", None, MemoryStore(print), "dpop-1").sign(Sign("client", (), {}, {}))
except SignInNeeded as fault:
    print(fault.hint)
"""


def test_without_the_library_the_module_can_be_loaded_all_the_same() -> None:
    found = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=30)
    assert "[crypto]" in found.stdout
