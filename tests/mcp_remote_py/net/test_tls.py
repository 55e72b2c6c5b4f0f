"""Which certificates are trusted, in every form in which people have them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.net.tls import check_bundle, make_context, read_bundle
from mcp_remote_py.settings import Tls
from tests.support.certificates import authority, trusting

PEM = authority().cert_pem.bytes()
OTHER = authority("another").cert_pem.bytes()
DER = ssl.PEM_cert_to_DER_cert(PEM.decode())

FORMS = {
    "pem": PEM,
    "several": b"# my authorities\n" + OTHER + b"and the other one:\n" + PEM,
    "crlf": PEM.replace(b"\n", b"\r\n"),
    "bom": b"\xef\xbb\xbf" + PEM,
    "utf-16": PEM.decode().encode("utf-16"),
    "der": DER,
    "no newline at the end": PEM.rstrip(),
    "x509": PEM.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "with a key beside it": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + PEM,
}


@pytest.fixture(params=list(FORMS))
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "my certificates.cer"
    path.write_bytes(FORMS[request.param])
    return path


def test_a_bundle_is_read_in_any_form(bundle: Path) -> None:
    check_bundle(str(bundle))
    assert DER in read_bundle(str(bundle))


def _handshake(context: ssl.SSLContext) -> None:
    """Shake hands with a server of our authority, in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("mcp.example.com").configure_cert(server)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_client, to_server, server_hostname="mcp.example.com")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() is not None


def test_a_bundle_adds_its_authority(bundle: Path) -> None:
    _handshake(make_context(trusting(bundle)))


def test_without_the_bundle_the_authority_is_unknown() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(make_context(Tls()))


def test_several_bundles_add_up(tmp_path: Path) -> None:
    for name, content in (("a.pem", OTHER), ("b.der", DER)):
        (tmp_path / name).write_bytes(content)
    _handshake(make_context(trusting(tmp_path / "a.pem", tmp_path / "b.der")))


def test_the_context_verifies_names_and_certificates() -> None:
    context = make_context(Tls())
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert type(context).__module__.startswith("truststore")


NO_CERTIFICATES = {
    "nothing": b"",
    "text": b"not a certificate",
    "no base64": b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    "no certificate in it": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "a key": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    "cut": DER[:-1],
    "too long": DER + b"x",
    "pkcs7": b"\x30\x82\x00\x05\x06\x03\x2a\x03\x04",
}


@pytest.mark.parametrize("form", list(NO_CERTIFICATES))
def test_a_file_without_a_certificate_is_refused_by_name(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(NO_CERTIFICATES[form])
    with pytest.raises(ConfigError, match="there is no certificate in this file") as caught:
        check_bundle(str(path))
    assert f"--ca-bundle {path}" in str(caught.value)


def test_a_file_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        check_bundle(str(tmp_path / "none.pem"), "NODE_EXTRA_CA_CERTS")
    assert str(caught.value).startswith("NODE_EXTRA_CA_CERTS ")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_bundle(str(tmp_path))


def test_what_was_lost_since_the_check_leaves_the_rest_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, odd = tmp_path / "good.pem", tmp_path / "odd.der"
    good.write_bytes(PEM)
    odd.write_bytes(b"\x30\x82\x00\x05\x30\x03\x02\x01\x01")  # the outline of a certificate, and nothing in it
    _handshake(make_context(trusting(tmp_path / "none.pem", odd, good)))
    assert "none.pem cannot be used" in caplog.text
    assert "odd.der cannot be read and is left out" in caplog.text
