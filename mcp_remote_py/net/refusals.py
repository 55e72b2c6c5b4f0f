"""Refusals: from the exception about a certificate that was refused to the fault that describes it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence

from mcp_remote_py.core import certificates, distrust
from mcp_remote_py.core.certificates import Certificate
from mcp_remote_py.core.distrust import Asked, Reason
from mcp_remote_py.core.errors import TlsRefused

MOST_SHOWN = 10
"""Certificates of a chain that are looked at."""
_REASONS = {
    2: Reason.UNKNOWN_ISSUER,
    7: Reason.WRONG_SIGNATURE,
    9: Reason.NOT_YET_VALID,
    10: Reason.EXPIRED,
    18: Reason.SELF_SIGNED,
    19: Reason.UNKNOWN_ISSUER,
    20: Reason.UNKNOWN_ISSUER,
    21: Reason.UNKNOWN_ISSUER,
    23: Reason.REVOKED,
    24: Reason.NO_AUTHORITY,
    26: Reason.WRONG_PURPOSE,
    27: Reason.UNKNOWN_ISSUER,
    28: Reason.WRONG_PURPOSE,
    62: Reason.WRONG_HOST,
    64: Reason.WRONG_HOST,
    66: Reason.WEAK_KEY,
    67: Reason.WEAK_KEY,
    68: Reason.WEAK_SIGNATURE,
    79: Reason.NO_AUTHORITY,
    # macOS: SecBase.h
    -67602: Reason.WRONG_HOST,
    -67609: Reason.WRONG_PURPOSE,
    -67818: Reason.EXPIRED,
    -67819: Reason.NOT_YET_VALID,
    -67820: Reason.REVOKED,
    -67843: Reason.UNKNOWN_ISSUER,
    # Windows: winerror.h
    0x800B0101: Reason.EXPIRED,
    0x800B0106: Reason.WRONG_PURPOSE,
    0x800B0109: Reason.UNKNOWN_ISSUER,
    0x800B010A: Reason.UNKNOWN_ISSUER,
    0x800B010C: Reason.REVOKED,
    0x800B010F: Reason.WRONG_HOST,
    0x800B0110: Reason.WRONG_PURPOSE,
    0x80092010: Reason.REVOKED,
}
"""OpenSSL's X509_V_ERR numbers, and those of the interfaces that macOS and Windows have."""


def refusal(
    error: ssl.SSLCertVerificationError, chain: Sequence[bytes], host: str, asked: Asked | None = None
) -> TlsRefused:
    """Return the fault for a refused certificate. `chain` is what the server presented, in DER; it may be empty."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    words = distrust.explain(_reason_of(error), _read(chain), host, asked or Asked(), now)
    return TlsRefused(words.text, hint=words.hint)


def _reason_of(error: ssl.SSLCertVerificationError) -> Reason:
    code = getattr(error, "verify_code", 0)  # Python sets it only where verification itself failed
    return _REASONS.get(code, Reason.UNCLEAR) if isinstance(code, int) else Reason.UNCLEAR


def _read(chain: Sequence[bytes]) -> list[Certificate]:
    found: list[Certificate] = []
    for der in chain[:MOST_SHOWN]:
        try:
            found.append(certificates.read(der))
        except ValueError:
            break  # what comes after one that cannot be read would be shown in the wrong place
    return found
