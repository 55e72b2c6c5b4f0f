"""DPoP: tokens that are worth nothing without a key of ours (RFC 9449). What a proof says; the driver signs it.

Each request carries a proof of its own, also a request that is sent once more: a `jti` counts once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from mcp_remote_py.core.oauth.pkce import digest
from mcp_remote_py.core.oauth.steps import Document, Sign

HEADER = "DPoP"
"""The header that carries a proof."""
NONCE_HEADER = "dpop-nonce"
"""The header (lower case) in which a server says which nonce it wants in the next proof."""
NONCE_ERROR = "use_dpop_nonce"
ALGORITHMS = ("ES256",)
"""What our key signs with. RFC 9449 names none that all must know; ES256 is the one that is met everywhere."""

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,1024}")


def proof_claims(
    method: str, url: str, *, now: float, jti: str, nonce: str | None = None, access_token: str | None = None
) -> Document:
    """Return what a proof for this request claims (RFC 9449 section 4.2): `htu` has neither query nor fragment.

    `access_token`: the token that the request shows, if it shows one; `nonce`: what this server asked for last.
    """
    claims: Document = {"jti": jti, "htm": method.upper(), "htu": target_of(url), "iat": math.floor(now)}
    if access_token is not None:
        claims["ath"] = digest(access_token)
    if nonce is not None:
        claims["nonce"] = nonce
    return claims


def sign(claims: Document, algorithms: tuple[str, ...] = ALGORITHMS) -> Sign:
    """Return the step that makes a proof of claims. The driver adds `alg` and the public `jwk` to its header."""
    return Sign("dpop", algorithms, {"typ": "dpop+jwt"}, claims)


def target_of(url: str) -> str:
    """Return the URL as `htu` has it: scheme and host in lower case, a path, no query, no fragment, no user name."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2].lower()
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme.lower(), parts.scheme.lower())
    return urlunsplit((scheme, place, parts.path or "/", "", ""))


def usable(offered: tuple[str, ...]) -> tuple[str, ...]:
    """Return with what our key can sign for a server that takes these algorithms; none: DPoP cannot be used there."""
    return tuple(algorithm for algorithm in ALGORITHMS if algorithm in offered)


def nonce_of(headers: Mapping[str, str]) -> str | None:
    """Return the nonce that an answer asks for, by its headers (lower-case names); None for none, or none we can use.

    The characters are those that section 8.1 allows, so a nonce can drive neither a header nor a log.
    """
    nonce = headers.get(NONCE_HEADER, "").strip()
    return nonce if _NONCE.fullmatch(nonce) else None
