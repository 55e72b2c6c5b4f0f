"""The operating system's certificates: files add to them, and no variable takes them away."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from mcp_remote_py.net import system_store
from tests.support.certificates import authority, issue, root
from tests.support.handshake import shake

pytestmark = pytest.mark.skipif(system_store.HAS_INTERFACE, reason="the system verifies by itself here")

SERVER = issue("mcp.example.com", by=root()).server()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty system: no store but in this folder."""
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile="/nowhere", openssl_capath="/nowhere")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(system_store, "FILES", (str(tmp_path / "bundle.crt"),))
    monkeypatch.setattr(system_store, "FOLDERS", (str(tmp_path / "certs"),))
    return tmp_path


def _hashed(folder: Path, pem: bytes) -> None:
    """Put a certificate into a folder as `openssl rehash` does."""
    folder.mkdir(exist_ok=True)
    (folder / "ca.pem").write_bytes(pem)
    done = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", folder / "ca.pem"], check=True, capture_output=True, text=True
    )
    (folder / f"{done.stdout.strip()}.0").symlink_to("ca.pem")


def test_a_distributions_bundle_is_trusted(system: Path) -> None:
    (system / "bundle.crt").write_bytes(authority().cert_pem.bytes() + root().pem)
    context = system_store.new_context()
    assert system_store.load(context).places == (str(system / "bundle.crt"),)
    shake(context, SERVER)


def test_a_folder_with_hashes_is_trusted(system: Path) -> None:
    _hashed(system / "certs", root().pem)
    context = system_store.new_context()
    assert system_store.load(context).places == (str(system / "certs"),)
    shake(context, SERVER)


def test_what_was_only_appended_to_the_bundle_is_trusted_too(system: Path) -> None:
    """As images do that append a company's root to ca-certificates.crt and do not run `update-ca-certificates`."""
    _hashed(system / "certs", authority().cert_pem.bytes())
    (system / "bundle.crt").write_bytes(authority().cert_pem.bytes() + root().pem)
    context = system_store.new_context()
    assert len(system_store.load(context).places) == 2
    shake(context, SERVER)
    assert context.get_ca_certs(binary_form=True) == [root().der]  # the other one was not loaded again


def test_a_folder_without_hashes_is_not_the_systems_store(system: Path) -> None:
    (system / "certs").mkdir()
    (system / "certs" / "ca.pem").write_bytes(root().pem)
    assert system_store.load(system_store.new_context()).places == ()


def test_pythons_own_bundle_does_not_take_the_place_of_the_systems(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As conda and other builds bring one."""
    (system / "conda.pem").write_bytes(authority().cert_pem.bytes())
    (system / "bundle.crt").write_bytes(root().pem)
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=str(system / "conda.pem"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    context = system_store.new_context()
    assert len(system_store.load(context).places) == 2
    shake(context, SERVER)


def test_a_machine_without_a_store_trusts_nobody(system: Path) -> None:
    context = system_store.new_context()
    assert system_store.load(context).places == ()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(context, SERVER)


def test_certificates_that_cannot_be_read_are_counted_and_the_others_are_loaded() -> None:
    context = system_store.new_context()
    outline = b"\x30\x82\x00\x05\x30\x03\x02\x01\x01"  # the outline of a certificate, and nothing in it
    assert system_store.add(context, [outline, root().der, outline]) == 2
    assert system_store.add(context, []) == 0
    shake(context, SERVER)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_of_openssl_takes_nothing_away(system: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (system / "bundle.crt").write_bytes(root().pem)
    (system / "mine").mkdir()
    (system / "mine" / "ca.pem").write_bytes(authority().cert_pem.bytes())
    monkeypatch.undo()
    monkeypatch.setattr(system_store, "FILES", (str(system / "bundle.crt"),))
    monkeypatch.setenv(name, str(system / "mine" / ("ca.pem" if name.endswith("FILE") else "")))
    context = system_store.new_context()
    assert str(system / "bundle.crt") in system_store.load(context).places
    assert not any("mine" in place for place in system_store.load(context).places)
    shake(context, SERVER)
