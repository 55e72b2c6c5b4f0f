"""Certificate files and folders, in every form in which people have them, and in some in which they should not."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs7, pkcs12

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.net import bundles
from mcp_remote_py.net.bundles import check, read, usable
from mcp_remote_py.settings import Tls, TrustFile
from tests.support.certificates import authority, root

PEM = authority().cert_pem.bytes()
OTHER = authority("another").cert_pem.bytes()
DER = ssl.PEM_cert_to_DER_cert(PEM.decode())
KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

FORMS = {
    "pem": PEM,
    "several": b"# my authorities\n" + OTHER + b"and the other one:\n" + PEM,
    "crlf": PEM.replace(b"\n", b"\r\n"),
    "only carriage returns": PEM.replace(b"\n", b"\r"),
    "bom": b"\xef\xbb\xbf" + PEM,
    "bom and crlf": b"\xef\xbb\xbf" + PEM.replace(b"\n", b"\r\n"),
    "utf-16": PEM.decode().encode("utf-16"),
    "utf-16 big endian": b"\xfe\xff" + PEM.decode().encode("utf-16-be"),
    "der": DER,
    "no newline at the end": PEM.rstrip(),
    "blank lines and indentation": b"\n\n" + PEM.replace(b"\n", b"\n  ") + b"\n\n",
    "x509": PEM.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "with a key beside it": KEY + PEM,
    "with text of openssl above it": b"Certificate:\n    Data:\n        Version: 3 (0x2)\n" + PEM,
}


@pytest.fixture(params=list(FORMS))
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "Application Support"
    folder.mkdir()
    path = folder / "my certificates.cer"
    path.write_bytes(FORMS[request.param])
    return path


def named(path: object, where: str = "--ca-bundle") -> TrustFile:
    return TrustFile(str(path), where)


def test_a_bundle_is_read_in_any_form(bundle: Path) -> None:
    assert check(named(bundle)) == 0
    assert DER in read(str(bundle)).certificates


def test_all_certificates_of_a_bundle_count_and_spoilt_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    spoilt = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    path.write_bytes(OTHER + spoilt + PEM + b"-----BEGIN CERTIFICATE-----\nMIIB")
    found = read(str(path))
    assert (len(found.certificates), found.spoilt) == (2, 2)
    tls, notes = usable(Tls((named(path),)))
    assert tls.trusted == (named(path),)
    assert f"--ca-bundle {path}: 2 of its certificates cannot be read" in notes[0]


def test_a_home_folder_and_quotes_that_a_config_left_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(PEM)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for path in ("~/ca.pem", f'"{tmp_path}/ca.pem"', f"'{tmp_path}/ca.pem'", f" {tmp_path}/ca.pem "):
        assert read(path).certificates == (DER,), path


def test_quotes_that_belong_to_a_name_stay(tmp_path: Path) -> None:
    (tmp_path / "'ca.pem'").write_bytes(PEM)
    (tmp_path / "ca.pem").write_bytes(OTHER)
    assert read(str(tmp_path / "'ca.pem'")).certificates == (DER,)


NO_CERTIFICATES = {
    "nothing": (b"", "It is empty"),
    "blanks": (b"\r\n \n", "It is empty"),
    "text": (b"not a certificate", "It should be PEM"),
    "no base64": (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "It should be PEM"),
    "no certificate in it": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "It should be PEM"),
    "a key": (KEY, "It is a private key"),
    "an old key": (KEY.replace(b"PRIVATE", b"RSA PRIVATE"), "It is a private key"),
    "cut": (DER[:-1], "It should be PEM"),
    "too long": (DER + b"x", "It should be PEM"),
    "pkcs7": (
        pkcs7.serialize_certificates([root().certificate], Encoding.PEM),
        "It is PKCS#7 (.p7b). Convert it: openssl pkcs7 -print_certs -in ",
    ),
    "binary pkcs7": (pkcs7.serialize_certificates([root().certificate], Encoding.DER), "It is PKCS#7"),
    "pkcs12": (
        pkcs12.serialize_key_and_certificates(b"x", None, root().certificate, None, NoEncryption()),
        "It is PKCS#12 (.p12, .pfx). Convert it: openssl pkcs12 -in ",
    ),
    "a request": (KEY.replace(b"PRIVATE KEY", b"CERTIFICATE REQUEST"), "only a request"),
    "a web page": (b"<!DOCTYPE html>\n<html>Sign in", "It is a web page"),
    "trusted": (PEM.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"), "openssl x509 -in "),
}


@pytest.mark.parametrize("form", list(NO_CERTIFICATES))
def test_a_file_without_a_certificate_is_refused_by_name_and_says_what_it_is(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ca.pem"
    content, words = NO_CERTIFICATES[form]
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="there is no certificate in this file") as caught:
        check(named(path))
    assert f"--ca-bundle {path}" in str(caught.value)
    assert words in str(caught.value)


def test_the_conversions_that_are_advised_work(tmp_path: Path) -> None:
    for form, arguments in (("pkcs7", ["pkcs7", "-print_certs"]), ("trusted", ["x509"])):
        path, new = tmp_path / f"{form}.in", tmp_path / f"{form}.pem"
        path.write_bytes(NO_CERTIFICATES[form][0])
        done = subprocess.run(["openssl", *arguments, "-in", path, "-out", new], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert read(str(new)).certificates


def test_a_file_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read") as caught:
        check(named(tmp_path / "none.pem", "NODE_EXTRA_CA_CERTS"))
    assert str(caught.value).startswith(f"NODE_EXTRA_CA_CERTS {tmp_path / 'none.pem'}: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang_us(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="it is no regular file"):
        check(named(tmp_path / "pipe"))


def test_a_file_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "_LARGEST", len(PEM) + 10)
    path = tmp_path / "ca.pem"
    path.write_bytes(PEM + b"#" * 1000 + OTHER)
    assert read(str(path)).certificates == (DER,)


# --- Folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pem", "a.crt", "a.cer", "a.CRT", "a.der", "0123abcd.0", "0123abcd.12"])
@pytest.mark.parametrize("form", ["pem", "der", "several", "bom"])
def test_a_folder_gives_every_file_that_is_named_like_a_certificate(tmp_path: Path, name: str, form: str) -> None:
    (tmp_path / name).write_bytes(FORMS[form])
    (tmp_path / "broken.pem").write_bytes(b"broken")
    (tmp_path / "key.key").write_bytes(KEY)
    (tmp_path / "sub.pem").mkdir()
    assert DER in read(str(tmp_path)).certificates
    assert check(TrustFile(str(tmp_path), "SSL_CERT_DIR", is_folder=True)) == 0


def test_a_folder_with_hashes_and_names_gives_each_certificate_once(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(PEM)
    (tmp_path / "copy.crt").write_bytes(PEM)
    (tmp_path / "0123abcd.0").symlink_to("a.pem")
    (tmp_path / "gone.pem").symlink_to("nowhere")
    assert read(str(tmp_path)).certificates == (DER,)


def test_a_folder_without_certificates_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(PEM)
    with pytest.raises(ConfigError, match=r"no certificate in this folder.*\.pem") as caught:
        check(TrustFile(str(tmp_path), "SSL_CERT_DIR", is_folder=True))
    assert f"SSL_CERT_DIR {tmp_path}" in str(caught.value)
    with pytest.raises(ConfigError, match="the folder cannot be read"):
        check(TrustFile(str(tmp_path / "none"), "SSL_CERT_DIR", is_folder=True))


# --- Flags and variables ---------------------------------------------------------------------------------------------


def test_a_stale_file_of_a_variable_is_noted_and_kept_as_missing(tmp_path: Path) -> None:
    good, stale = tmp_path / "good.pem", named(tmp_path / "none.pem", "NODE_EXTRA_CA_CERTS")
    good.write_bytes(PEM)
    tls, notes = usable(Tls((named(good), stale)))
    assert tls == Tls((named(good),), (stale,))
    assert len(notes) == 1
    assert "NODE_EXTRA_CA_CERTS" in notes[0]
    assert "none.pem" in notes[0]


@pytest.mark.parametrize("where", ["--ca-bundle", "ca-bundle in /etc/mcp.toml"])
def test_a_file_of_a_flag_or_of_the_configuration_must_be_there(tmp_path: Path, where: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        usable(Tls((named(tmp_path / "none.pem", where),)))
