"""Certificates made up for the tests, by an authority that no machine trusts."""

from __future__ import annotations

import ssl
from datetime import datetime
from functools import cache
from pathlib import Path

import trustme

from mcp_remote_py.settings import Tls, TrustFile


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
