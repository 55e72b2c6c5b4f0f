"""PKCE: the proof that whoever brings the code is whoever asked for it (RFC 7636). S256 alone; `plain` is refused."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NamedTuple

METHOD = "S256"

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class Proof(NamedTuple):
    """The verifier stays here until the code is redeemed; the challenge goes into the authorization request."""

    verifier: str
    challenge: str


def proof(unguessable: str) -> Proof:
    """Make the pair of an unguessable text. Raises `ValueError` for one that is no verifier (RFC 7636 section 4.1)."""
    if not _VERIFIER.fullmatch(unguessable):
        raise ValueError("a verifier has 43 to 128 characters of A-Z a-z 0-9 - . _ ~")
    return Proof(unguessable, digest(unguessable))


def digest(text: str) -> str:
    """Return base64url(SHA-256(text)) without padding: how PKCE and DPoP name a text without showing it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
