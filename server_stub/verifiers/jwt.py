"""JSON Web Tokens: signature with pinned algorithms, `exp` required, `aud` and `iss` checked where given (RFC 7519).

The only file that imports pyjwt. The algorithm is never taken from the token: it is configured, or follows from the
kind of key. There is no default secret.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import jwt
from jwt.algorithms import get_default_algorithms

from mcp_remote_py.core.errors import INSTALL_SERVER, ConfigError
from mcp_remote_py.core.message import encode
from server_stub.core.access import label_of
from server_stub.settings import Jwt

logger = logging.getLogger(__name__)

_BY_KEY = ("RS256", "ES256", "ES384", "ES512", "EdDSA")
_SHORT_SECRET = 32  # bytes; RFC 7518 section 3.2 asks for the size of the hash


class JsonWebTokens:
    """A `Verifier` of JSON Web Tokens. The principal is issuer and subject. Raises `ConfigError` for a bad key."""

    takes_api_keys = False

    def __init__(self, settings: Jwt) -> None:
        self._settings = settings
        if settings.secret is not None:
            self._key: Any = settings.secret.encode("utf-8", "surrogateescape")
            self._algorithms = settings.algorithms or ("HS256",)
            if len(self._key) < _SHORT_SECRET:
                logger.warning("the JWT secret is shorter than %d bytes: choose a longer, random one", _SHORT_SECRET)
        else:
            self._key, self._algorithms = _public_key(settings.public_key or "", settings.algorithms)

    def verify(self, token: str) -> str | None:
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            logger.info("a token was refused: %s", type(error).__name__)
            return None
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            logger.info("a token was refused: %s", type(error).__name__)  # what pyjwt lets through for odd input
            return None
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not isinstance(subject, str) or not subject:
            return f"jwt-token:{label_of(token)}"  # it names nobody, so it can only stand for itself
        return "jwt:" + encode([issuer if isinstance(issuer, str) else None, subject]).decode("utf-8")

    def _claims(self, token: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a short secret was warned of at start, once
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=list(self._algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options={
                    "require": ["exp", *self._required()],
                    "verify_aud": self._settings.audience is not None,
                    "verify_iss": self._settings.issuer is not None,
                },
            )
        return claims

    def knows(self, principal: str) -> bool:
        """Whose tokens will come is known to their issuer alone."""
        del principal
        return False

    def _required(self) -> list[str]:
        wanted = {"aud": self._settings.audience, "iss": self._settings.issuer}
        return [name for name, value in wanted.items() if value is not None]


def _public_key(pem: str, pinned: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Return the key, and the algorithms it is used with."""
    known = get_default_algorithms()
    if "RS256" not in known:
        raise ConfigError(f"--jwt-public-key needs the package cryptography. {INSTALL_SERVER}")
    if "PRIVATE KEY" in pem:
        raise ConfigError("--jwt-public-key: this is a private key. Give the public one; the server needs no more.")
    for name in pinned or _BY_KEY:
        try:
            key = known[name].prepare_key(pem)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        return key, pinned or (name,)
    raise ConfigError("--jwt-public-key: this is no PEM public key that fits the algorithm (RSA, EC or Ed25519).")
