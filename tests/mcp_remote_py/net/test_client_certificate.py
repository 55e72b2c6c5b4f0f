"""Our own certificate: every form that people have it in, and every mistake named by flag and file, nobody asked."""

from __future__ import annotations

import os
import ssl
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.net import client_certificate
from mcp_remote_py.settings import Tls
from tests.support.certificates import CLIENTS, Issued, intermediate, issue, root
from tests.support.handshake import shake

OURS = issue(name="laptop-17", by=intermediate(), use=CLIENTS)
PASSWORD = "correct horse é"
LOCKED = BestAvailableEncryption(PASSWORD.encode())
SERVER = issue("mcp.example.com", by=root())


def _key(
    issued: Issued, kind: PrivateFormat = PrivateFormat.PKCS8, lock: KeySerializationEncryption | None = None
) -> bytes:
    return issued.key.private_bytes(Encoding.PEM, kind, lock or NoEncryption())


def _pkcs12(issued: Issued, lock: KeySerializationEncryption | None = None) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"me", issued.key, issued.certificate, issued.issuers, lock or NoEncryption()
    )


def shown(tls: Tls) -> bytes | None:
    """The certificate that a server which asks for one is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root().der)
    client_certificate.load(context, tls)
    return shake(context, SERVER.server(asks=root())).getpeercert(binary_form=True)


Files = Callable[..., Tls]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Settings that name files with this content."""

    def write(cert: bytes, key: bytes | None = None, password: str | None = None, name: str = "my cert.pem") -> Tls:
        (tmp_path / name).write_bytes(cert)
        if key is not None:
            (tmp_path / "my key.pem").write_bytes(key)
        return Tls(
            client_cert=str(tmp_path / name),
            client_key=None if key is None else str(tmp_path / "my key.pem"),
            client_password=password,
        )

    return write


FORMS: dict[str, tuple[bytes, bytes | None, str | None, str]] = {
    "two files": (OURS.chain_pem, _key(OURS), None, "c.pem"),
    "one file": (OURS.chain_pem + _key(OURS), None, None, "c.pem"),
    "one file, key first": (_key(OURS) + OURS.chain_pem, None, None, "c.pem"),
    "crlf": (OURS.chain_pem.replace(b"\n", b"\r\n"), _key(OURS).replace(b"\n", b"\r\n"), None, "c.pem"),
    "locked key": (OURS.chain_pem, _key(OURS, lock=LOCKED), PASSWORD, "c.pem"),
    "locked key in one file": (OURS.chain_pem + _key(OURS, lock=LOCKED), None, PASSWORD, "c.pem"),
    "key of old form": (OURS.chain_pem, _key(OURS, PrivateFormat.TraditionalOpenSSL), None, "c.pem"),
    "locked key of old form": (OURS.chain_pem, _key(OURS, PrivateFormat.TraditionalOpenSSL, LOCKED), PASSWORD, "c.pem"),
    "a password that is not needed": (OURS.chain_pem, _key(OURS), PASSWORD, "c.pem"),
    "pkcs12": (_pkcs12(OURS, LOCKED), None, PASSWORD, "c.p12"),
    "pkcs12 without a password": (_pkcs12(OURS), None, None, "c.pfx"),
    "pkcs12 by another name": (_pkcs12(OURS, LOCKED), None, PASSWORD, "client.cert"),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_the_certificate_is_shown_with_its_chain(files: Files, form: str) -> None:
    cert, key, password, name = FORMS[form]
    tls = files(cert, key, password, name)
    assert client_certificate.check(tls) == ()
    assert shown(tls) == OURS.der


def test_a_der_certificate_goes_with_a_pem_key(files: Files) -> None:
    direct = issue(name="laptop-18", by=root(), use=CLIENTS)
    assert shown(files(direct.der, _key(direct))) == direct.der


def test_an_rsa_key_is_loaded_from_pkcs12(files: Files) -> None:
    ours = issue(name="laptop-19", by=root(), use=CLIENTS, key=rsa.generate_private_key(65537, 2048))
    assert shown(files(_pkcs12(ours, LOCKED), None, PASSWORD, "c.p12")) == ours.der


STRANGER = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
MISTAKES: dict[str, tuple[bytes, bytes | None, str | None, str, tuple[str, ...]]] = {
    "no password": (OURS.pem, _key(OURS, lock=LOCKED), None, "c.pem", ("--client-key ", "--client-key-password-env")),
    "no password, one file": (OURS.pem + _key(OURS, lock=LOCKED), None, None, "c.pem", ("--client-cert ", "encrypted")),
    "wrong password": (OURS.pem, _key(OURS, lock=LOCKED), "wrong", "c.pem", ("cannot be decrypted", "password-env")),
    "empty password": (OURS.pem, _key(OURS, lock=LOCKED), "", "c.pem", ("cannot be decrypted",)),
    "very long password": (OURS.pem, _key(OURS, lock=LOCKED), "x" * 9999, "c.pem", ("cannot be decrypted",)),
    "no password for pkcs12": (_pkcs12(OURS, LOCKED), None, None, "c.p12", ("encrypted", "--client-key-password-env")),
    "wrong password for pkcs12": (_pkcs12(OURS, LOCKED), None, "wrong", "c.p12", ("cannot be decrypted",)),
    "not pkcs12": (b"0garbage", None, PASSWORD, "c.p12", ("--client-cert ", "damaged, or no PKCS#12")),
    "pkcs12 and a key": (_pkcs12(OURS), _key(OURS), None, "c.p12", ("Leave --client-key out",)),
    "another's key": (OURS.pem, STRANGER, None, "c.pem", ("does not belong to the certificate",)),
    "no key": (OURS.pem, None, None, "c.pem", ("no private key", "--client-key FILE")),
    "no key in the key file": (OURS.pem, OURS.pem, None, "c.pem", ("--client-key ", "no private key")),
    "no certificate": (_key(OURS), None, None, "c.pem", ("--client-cert ", "no certificate in this file")),
    "nothing": (b"", None, None, "c.pem", ("no certificate in this file",)),
    "der without a key": (OURS.der, None, None, "c.cer", ("no private key",)),
    "der key": (
        OURS.pem,
        OURS.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        None,
        "c.pem",
        ("openssl pkey -inform DER",),
    ),
    "a mark before the certificate": (b"\xef\xbb\xbf" + OURS.pem, _key(OURS), None, "c.pem", ("byte order mark",)),
    "a key in utf-16": (OURS.pem, _key(OURS).decode().encode("utf-16"), None, "c.pem", ("--client-key ", "UTF-16")),
    "a weak key": (
        (weak := issue(name="w", by=root(), key=rsa.generate_private_key(65537, 1024))).pem,  # noqa: S505
        weak.key_pem,
        None,
        "c.pem",
        ("--client-cert ", "too weak"),
    ),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_names_flag_file_and_mend(files: Files, mistake: str) -> None:
    cert, key, password, name, words = MISTAKES[mistake]
    tls = files(cert, key, password, name)
    with pytest.raises(ConfigError) as caught:
        client_certificate.check(tls)
    for word in words:
        assert word in str(caught.value)
    assert str(Path(tls.client_cert or "").parent) in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_file_that_is_missing_is_named(files: Files, tmp_path: Path) -> None:
    for tls in (
        Tls(client_cert=str(tmp_path / "no.pem")),
        files(OURS.pem)._replace(client_key=str(tmp_path / "no.pem")),
    ):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            client_certificate.check(tls)
        assert "no.pem" in str(caught.value)


def test_pkcs12_without_its_library_says_what_to_install(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"'\.\[crypto\]'"):
        client_certificate.check(files(_pkcs12(OURS), name="c.p12"))


def test_the_key_of_a_pkcs12_file_never_lies_unprotected_on_the_disk(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = files(_pkcs12(OURS, LOCKED), None, PASSWORD, "c.p12")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    seen: list[bytes] = []

    class Watching(ssl.SSLContext):
        def load_cert_chain(self, certfile: str, keyfile: None = None, password: object = None) -> None:  # type: ignore[override]
            seen.append(Path(certfile).read_bytes())
            assert stat.S_IMODE(os.stat(certfile).st_mode) == 0o600 or sys.platform == "win32"
            super().load_cert_chain(certfile, keyfile, password)  # type: ignore[arg-type]

    client_certificate.load(Watching(ssl.PROTOCOL_TLS_CLIENT), tls)
    assert len(seen) == 1
    assert b"ENCRYPTED PRIVATE KEY" in seen[0]
    assert b"BEGIN PRIVATE KEY" not in seen[0]
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(("days", "verb"), [((-9.0, -1.0), "expired"), ((-9.0, 1.0), "expires")])
def test_a_certificate_that_is_out_of_date_is_mentioned(files: Files, days: tuple[float, float], verb: str) -> None:
    old = issue(name="old", by=root(), days=days)
    (note,) = client_certificate.check(files(old.pem + old.key_pem))
    assert f"this certificate {verb} on 20" in note


def test_without_a_certificate_there_is_nothing_to_do() -> None:
    assert client_certificate.check(Tls()) == ()
    client_certificate.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), Tls())
