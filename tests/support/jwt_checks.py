"""What a server checks of the JWTs that a client signs: assertions (RFC 7523) and DPoP proofs (RFC 9449).

By joserfc, which the package does not use: one misunderstanding cannot hide the other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey

WINDOW = 300
"""Seconds that the clocks may differ."""
ASYMMETRIC = ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refused(Exception):
    """Why a JWT does not do."""


def header_of(token: str) -> dict[str, Any]:
    """Return the header of a JWT, unverified."""
    try:
        raw = token.split(".")[0]
        found = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    except ValueError:
        raise Refused("not a JWT") from None
    if not isinstance(found, dict):
        raise Refused("not a JWT")
    return found


def claims_of(token: str, key: ECKey | RSAKey | OctKey, algorithms: list[str]) -> dict[str, Any]:
    """Return the verified claims of a JWT."""
    try:
        return dict(jwt.decode(token, key, algorithms=algorithms).claims)
    except (JoseError, ValueError) as error:
        raise Refused(f"signature: {type(error).__name__}") from None


def check_assertion(form: dict[str, str], client_id: str, key: ECKey | RSAKey, issuer: str, seen: set[str]) -> None:
    """Check a client's assertion. Raises `Refused`."""
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise Refused("client_assertion_type")
    claims = claims_of(form.get("client_assertion", ""), key, ["ES256", "RS256", "ES384", "PS256"])
    if not claims.get("iss") == claims.get("sub") == client_id:
        raise Refused("iss and sub must be the client")
    if claims.get("aud") not in (issuer, [issuer]):
        raise Refused(f"aud is {claims.get('aud')!r}")
    if not time.time() < claims.get("exp", 0) <= time.time() + 600:
        raise Refused("exp")
    if not claims.get("jti") or claims["jti"] in seen:
        raise Refused("jti")
    seen.add(claims["jti"])


def check_proof(
    proofs: list[str], method: str, url: str, *, token: str | None, nonce: str | None, seen: set[str]
) -> str:
    """Check the DPoP proof of one request; returns the thumbprint of its key. Raises `Refused`."""
    if len(proofs) != 1 or "," in proofs[0]:
        raise Refused(f"{len(proofs)} DPoP headers")
    header = header_of(proofs[0])
    jwk = header.get("jwk")
    if header.get("typ") != "dpop+jwt" or header.get("alg") not in ASYMMETRIC:
        raise Refused(f"header {header.get('typ')} {header.get('alg')}")
    if not isinstance(jwk, dict) or {"d", "p", "q"} & set(jwk):
        raise Refused("jwk")
    key = ECKey.import_key(jwk) if jwk.get("kty") == "EC" else RSAKey.import_key(jwk)
    claims = claims_of(proofs[0], key, [header["alg"]])
    wanted = {"htm": method, "htu": url.partition("?")[0].partition("#")[0]}
    if token is not None:
        wanted["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    for name, value in wanted.items():
        if claims.get(name) != value:
            raise Refused(f"{name} is {claims.get(name)!r}, not {value!r}")
    if abs(time.time() - claims.get("iat", 0)) > WINDOW:
        raise Refused("iat")
    if not claims.get("jti") or claims["jti"] in seen:
        raise Refused("jti was seen before")
    seen.add(claims["jti"])
    if nonce is not None and claims.get("nonce") != nonce:
        raise Refused("use_dpop_nonce")
    return key.thumbprint()


def signed(claims: dict[str, Any], key: ECKey | OctKey, algorithm: str, **header: str) -> str:
    """Return a JWT of these claims."""
    return jwt.encode({"alg": algorithm, **header}, claims, key, algorithms=[algorithm])
