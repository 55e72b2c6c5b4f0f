"""Certificates made up for the tests, by an authority that no machine trusts: good ones, and all kinds of bad ones."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mcp_remote_py.settings import Tls, TrustFile

DAY = timedelta(days=1)
SERVERS, CLIENTS = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def authority(name: str = "tests") -> trustme.CA:
    """Return the authority of this name; the same one each time."""
    return trustme.CA(organization_name=name)


def server_context(
    *names: str, issuer: trustme.CA | None = None, not_after: datetime | None = None, ask_client: bool = False
) -> ssl.SSLContext:
    """Return a server's context with a certificate for these names, by default for 127.0.0.1."""
    certificate = (issuer or authority()).issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=not_after)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    return context


def trusting(*files: Path) -> Tls:
    """Return settings that trust the authorities in these files."""
    return Tls(tuple(TrustFile(str(file), "--ca-bundle") for file in files))


class Issued(NamedTuple):
    """A certificate with its key. `issuers` are the authorities' certificates that go along with it."""

    certificate: x509.Certificate
    key: Key
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        return self.pem + b"".join(each.public_bytes(Encoding.PEM) for each in self.issuers)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def alone(self) -> Issued:
        """The same, without its issuers."""
        return self._replace(issuers=())

    def server(self, *, asks: Issued | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A server's context with this certificate; it wants a client's from the authority `asks`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(self.chain_pem + self.key_pem)
            file.flush()
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a weak certificate must be presented to be refused
            context.load_cert_chain(file.name)
        if asks is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=asks.pem.decode("ascii"))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context


def issue(
    *hosts: str,
    by: Issued | None = None,
    name: str | None = None,
    organization: str | None = None,
    days: tuple[float, float] = (-1, 30),
    use: x509.ObjectIdentifier | None = SERVERS,
    is_authority: bool = False,
    key: Key | None = None,
) -> Issued:
    """Issue a certificate for these hosts. Without `by` it is signed with its own key.

    `days`: from when until when it is valid, counted from now.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = _named(name or (hosts[0] if hosts else "nobody"), organization)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    if use is not None and not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    certificate = builder.sign(key if by is None else by.key, SHA256())
    above = () if by is None else ((by.certificate, *by.issuers) if by.issuers or not _is_root(by) else ())
    return Issued(certificate, key, above)


@cache
def root(name: str = "Example Root CA", organization: str | None = "Example Corp") -> Issued:
    """An authority with a certificate of its own; the same one each time."""
    return issue(name=name, organization=organization, is_authority=True, days=(-100, 1000))


@cache
def intermediate(name: str = "Example Issuing CA", by: Issued | None = None) -> Issued:
    """An authority below another; what it issues goes along with its own certificate."""
    return issue(name=name, organization="Example Corp", by=by or root(), is_authority=True, days=(-50, 500))


def weak_key() -> Key:
    """A key that OpenSSL refuses at its usual level of security."""
    return rsa.generate_private_key(65537, 1024)  # noqa: S505  that is the point


def _is_root(issued: Issued) -> bool:
    return issued.certificate.subject == issued.certificate.issuer


def _named(common: str, organization: str | None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
