"""Minted JWT: a token that is signed here, anew before it expires (RFC 7519, RFC 7518).

The only file of the bridge that imports pyjwt. `cryptography`, which the algorithms with a private key need, is the
extra [crypto].
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import Now, Token, renewal
from mcp_remote_py.core.errors import INSTALL_CRYPTO, ConfigError

_KINDS = {"RS256": "an RSA key", "ES256": "an EC key on the curve P-256", "EdDSA": "an Ed25519 key"}
_MAKE = {
    "RS256": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "ES256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
    "EdDSA": "openssl genpkey -algorithm ed25519",
}
_HASH_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA_BITS = 2048
_AGAIN_SECONDS = 1.0
"""A refused token that was signed longer ago is replaced: the server's clock may be ahead, or it wants none twice."""


class MintedJwt:
    """A `TokenSource`. Raises `ConfigError` for a key that cannot sign."""

    def __init__(self, given: settings.MintedJwt, now: Now) -> None:
        self._given = given
        self._key = _key(given.key, given.algorithm, given.where)
        self._now = now
        self._token: Token | None = None
        self._made = 0.0

    async def token(self) -> Token:
        now = self._now()
        if self._token is None or self._token.is_stale(now) or now < self._made:  # the clock was set back
            value, expires = _sign(self._given, self._key, now)
            self._token = Token(value, expires=expires, renew_at=renewal(expires, now, short=True))
            self._made = now
        return self._token

    def renew(self, refused: Token) -> None:
        if refused is self._token and self._now() - self._made >= _AGAIN_SECONDS:
            self._token = None

    def close(self) -> None:
        """Nothing was started."""


def check(given: settings.MintedJwt) -> tuple[str, ...]:
    """Sign once, to see whether it can be done. Returns what the user should hear. Raises `ConfigError`."""
    key = _key(given.key, given.algorithm, given.where)
    try:
        _sign(given, key, 0.0)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        reason = "a claim has a value that cannot stand in a JWT" if isinstance(error, TypeError) else "it cannot sign"
        raise ConfigError(f"{given.where}: {given.algorithm} does not work with it: {reason}.") from None
    least = _HASH_BYTES.get(given.algorithm, 0)
    if least and len(key) < least:
        return (f"{given.where}: the key has {len(key)} bytes; {given.algorithm} asks for at least {least}.",)
    if given.algorithm == "RS256" and key.key_size < _RSA_BITS:
        return (f"{given.where}: the RSA key has {key.key_size} bits; RS256 asks for at least {_RSA_BITS}.",)
    return ()


def _sign(given: settings.MintedJwt, key: Any, now: float) -> tuple[str, float]:
    """Return a token, and when it expires. Times are whole seconds, as strict servers want them."""
    issued = math.floor(now)
    expires = issued + math.floor(given.ttl)
    claims = {**dict(given.claims), "iat": issued, "exp": expires, "jti": os.urandom(16).hex()}
    head = {} if given.kid is None else {"kid": given.kid}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a short key was warned of at start, once
        return jwt.encode(claims, key, algorithm=given.algorithm, headers=head), float(expires)


@functools.cache
def _key(text: str, algorithm: str, where: str) -> Any:
    """Return the key as pyjwt signs with it: bytes, or a private key. Raises `ConfigError` with the reason."""
    is_pem = "-----BEGIN" in text
    if algorithm in _HASH_BYTES:
        if is_pem:
            fitting = "RS256, ES256 or EdDSA"
            raise ConfigError(f"{where}: {algorithm} signs with a secret, and this is a PEM key. Try {fitting}.")
        return text.encode("utf-8", "surrogateescape")
    known = get_default_algorithms()
    if algorithm not in known:
        raise ConfigError(f"--jwt-alg {algorithm} needs the package cryptography. {INSTALL_CRYPTO}")
    wanted = f"{algorithm} needs {_KINDS[algorithm]} in PEM, the private one"
    if not is_pem:
        raise ConfigError(f"{where}: this is no PEM key. {wanted} ({_MAKE[algorithm]}).")
    if "PRIVATE KEY" not in text:
        raise ConfigError(f"{where}: this is a public key or a certificate, which cannot sign. {wanted}.")
    if "ENCRYPTED" in text:
        raise ConfigError(
            f"{where}: the key is locked with a password. Write it out without one (openssl pkey -in OLD -out NEW), "
            "readable for you alone."
        )
    key = _loaded(known[algorithm], text)
    if not _fits(key, algorithm):
        raise ConfigError(f"{where}: this key is of another kind, or damaged. {wanted}.")
    return key


def _loaded(algorithm: Any, text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return algorithm.prepare_key(text)
    except Exception:  # noqa: BLE001  pyjwt and cryptography raise a dozen kinds for a key of another kind
        return None


def _fits(key: Any, algorithm: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if algorithm == "RS256":
        return isinstance(key, rsa.RSAPrivateKey)
    if algorithm == "ES256":
        return isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1"
    return isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
