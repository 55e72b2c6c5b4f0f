"""Trust: the operating system's certificate store, plus the files that the user names. Files add, they never replace.

A file may be PEM with any number of certificates (a byte order mark, CRLF and text between them do not matter) or one
DER certificate, as Windows exports it. `ssl` and truststore are loaded only when a context is made.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from typing import TYPE_CHECKING

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.settings import Tls

if TYPE_CHECKING:
    import ssl

_LOG = logging.getLogger("mcp_remote_py.net.tls")
_PEM = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----")
_BOM = b"\xef\xbb\xbf"
_LARGEST = 32 * 1024 * 1024


def check_bundle(path: str, where: str = "--ca-bundle") -> None:
    """Check that the file can be read and holds certificates. Raises `ConfigError` that names `where` it was given."""
    try:
        read_bundle(path)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise ConfigError(f"{where} {path}: the file cannot be read ({reason}).") from None
    except ValueError:
        raise ConfigError(
            f"{where} {path}: there is no certificate in this file. It should be PEM "
            '("-----BEGIN CERTIFICATE-----") or DER (.cer).'
        ) from None


def read_bundle(path: str) -> list[bytes]:
    """Return the certificates of a file in DER. Raises `OSError`, or `ValueError` where it holds none."""
    with open(os.path.expanduser(path), "rb") as file:
        content = file.read(_LARGEST)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16").encode("utf-8", "replace")  # what PowerShell writes
    blocks = _PEM.findall(content)
    if blocks:
        return [_decoded(block) for block in blocks]
    content = content.removeprefix(_BOM)
    if not _is_certificate(content):
        raise ValueError("neither PEM nor DER")
    return [content]


def make_context(tls: Tls) -> ssl.SSLContext:
    """Return a context for clients that verifies hosts against the system's store and the files of the settings.

    A file that cannot be used is only noted: `check_bundle` has refused it at the start, unless it was lost since.
    """
    import ssl

    import truststore

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path, where, _ in tls.trusted:
        try:
            certificates = read_bundle(path)
        except (OSError, ValueError):
            _LOG.warning("%s: the certificate file %s cannot be used any more", where, path)
            continue
        for certificate in certificates:
            try:
                context.load_verify_locations(cadata=certificate)
            except ssl.SSLError:
                _LOG.warning("one certificate of %s cannot be read and is left out", path)
    return context


def _decoded(block: bytes) -> bytes:
    try:
        certificate = base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if not _is_certificate(certificate):
        raise ValueError("not a certificate")
    return certificate


def _is_certificate(der: bytes) -> bool:
    """Whether this is one ASN.1 SEQUENCE that begins with another, as a certificate does (RFC 5280 section 4.1).

    The containers PKCS #7 (.p7b) and PKCS #12 (.p12, .pfx) begin otherwise.
    """
    if len(der) < 8 or der[0] != 0x30 or not 0x81 <= der[1] <= 0x84:
        return False
    start = 2 + (der[1] & 0x7F)
    return len(der) == start + int.from_bytes(der[2:start], "big") and der[start] == 0x30
