"""Signing: client assertions with the user's key (RFC 7523), and DPoP proofs with a key that is made here (RFC 9449).

Imports pyjwt; every algorithm here needs `cryptography` too, the extra [crypto]. The DPoP key is kept in the store, as
tokens that were bound to it are worth nothing without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jwt
from jwt.algorithms import get_default_algorithms

from mcp_remote_py.auth.store import Store
from mcp_remote_py.core.errors import INSTALL_CRYPTO, ConfigError, SignInNeeded
from mcp_remote_py.core.oauth import names
from mcp_remote_py.core.oauth.steps import Document, Sign

CLIENT, DPOP = "client", "dpop"
ALGORITHMS = ("ES256", "RS256", "EdDSA", "PS256")
"""How `--signing-alg` is spelt."""
_DPOP_ALGORITHM = "ES256"
_FORM = 1
_RSA = ("RS256", "PS256", "RS384", "RS512", "PS384", "PS512")
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
_RSA_BITS = 2048
_PUBLIC = ("kty", "crv", "x", "y")


class _Key(NamedTuple):
    """A private key, and what it can sign, the usual first."""

    key: Any
    algorithms: tuple[str, ...]


class Signer:
    """Signs for one MCP server. `private_key`: PEM text; `algorithm`: `--signing-alg`; `name`: `dpop_name`.

    Blocks when the DPoP key is first needed (disk); every later proof takes less than a millisecond.
    """

    def __init__(self, private_key: str | None, algorithm: str | None, store: Store, name: str) -> None:
        self._private_key = private_key
        self._algorithm = algorithm
        self._store = store
        self._name = name
        self._client: _Key | None = None
        self._dpop: _Key | None = None

    def sign(self, step: Sign) -> str:
        """Return the JWT. Raises `SignInNeeded` where there is no key, or none that the receiver takes."""
        _require_library("A signature for this sign-in")
        if step.key == DPOP:
            key = self._dpop_key()
            head = {**step.header, "jwk": _public(key.key)}
            return _signed(step.claims, head, key, _chosen(key, None, step.algorithms, "DPoP proofs"))
        key = self._client_key()
        chosen = _chosen(key, self._algorithm, step.algorithms, "the client's key")
        return _signed(step.claims, step.header, key, chosen)

    def forget(self) -> None:
        """Read the DPoP key from the store again: another process may have made another one."""
        self._dpop = None

    def _client_key(self) -> _Key:
        if self._client is None:
            if self._private_key is None:
                raise SignInNeeded(
                    "The authorization server wants private_key_jwt, and there is no key to sign with.",
                    hint="Name the private key (PEM) with --private-key FILE.",
                )
            try:
                self._client = _loaded(self._private_key, self._algorithm)
            except ConfigError as error:
                raise SignInNeeded(str(error), hint="Give another key with --private-key FILE.") from None
        return self._client

    def _dpop_key(self) -> _Key:
        if self._dpop is None:
            kept = self._store.read(self._name)
            key = None if kept is None else _of_document(kept)
            if key is None:
                if kept is not None:
                    self._store.write(self._name, None)  # it is of no use, and would win over the new one
                made = _new_document()
                key = _of_document(self._store.establish(self._name, made)) or _of_document(made)
            if key is None:
                raise ValueError("a key that was made here cannot be read")
            self._dpop = key
        return self._dpop


def is_available() -> bool:
    """Whether anything can be signed here: the extra [crypto] is installed. Without it, DPoP is not for us."""
    return importlib.util.find_spec("cryptography") is not None


def dpop_name(url: str, account: str = "") -> str:
    """Return the name under which the DPoP key for this MCP server is kept."""
    return f"dpop-{names.server(url, account).removeprefix('server-')}"


def check(private_key: str, algorithm: str | None) -> None:
    """Raises `ConfigError` where this key (PEM text) cannot sign, or not with this algorithm."""
    if not is_available():
        raise ConfigError(f"--private-key needs the package cryptography. {INSTALL_CRYPTO}")
    _loaded(private_key, algorithm)


def _require_library(what: str) -> None:
    if not is_available():
        raise SignInNeeded(f"{what} needs the package cryptography, which is not installed.", hint=INSTALL_CRYPTO)


def _loaded(text: str, algorithm: str | None) -> _Key:
    if "-----BEGIN" not in text:
        raise ConfigError("--private-key: this is no PEM key (openssl genpkey -algorithm EC makes one).")
    if "PRIVATE KEY" not in text:
        raise ConfigError("--private-key: this is a public key or a certificate, which cannot sign.")
    if "ENCRYPTED" in text:
        raise ConfigError(
            "--private-key: the key is locked with a password. Write it out without one (openssl pkey -in OLD -out "
            "NEW), readable for you alone."
        )
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that are too short, which is said below
            key = _sorted(load_pem_private_key(text.encode("utf-8", "surrogateescape"), None))
    except Exception:  # noqa: BLE001  cryptography raises a dozen kinds for what is no key
        key = None
    if key is None:
        raise ConfigError("--private-key: this key is damaged, or of a kind that signs no JWT (RSA, EC, Ed25519 do).")
    if key.algorithms == _RSA and key.key.key_size < _RSA_BITS:
        raise ConfigError(f"--private-key: the RSA key has {key.key.key_size} bits; JWTs ask for {_RSA_BITS} or more.")
    if algorithm is not None and algorithm not in key.algorithms:
        raise ConfigError(f"--signing-alg {algorithm} does not fit this key, which signs {_either(key.algorithms)}.")
    return key


def _sorted(key: Any) -> _Key | None:
    """Return a key with its algorithms, None for one of another kind."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return _Key(key, _RSA)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithms = _CURVES.get(key.curve.name)
        return None if algorithms is None else _Key(key, algorithms)
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        return _Key(key, ("EdDSA", _register("Ed25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "Ed448")))
    return None


def _register(name: str) -> str:
    """Teach pyjwt the name that RFC 9864 gives EdDSA on one curve, where it does not know it. Returns the name."""
    from jwt.algorithms import OKPAlgorithm  # there with `cryptography` alone, as ECAlgorithm is

    if name not in get_default_algorithms():
        with contextlib.suppress(ValueError):  # it was taught already
            jwt.register_algorithm(name, OKPAlgorithm())
    return name


def _chosen(key: _Key, wanted: str | None, taken: Sequence[str], what: str) -> str:
    """Return the algorithm: the wanted one, else the first that is taken and fits, else the key's usual one."""
    if wanted is not None:
        return wanted
    if not taken:
        return key.algorithms[0]
    for name in taken:
        if name in key.algorithms:
            return name
    known = [name for name in taken if name in get_default_algorithms()]
    raise SignInNeeded(
        f"The authorization server takes no algorithm that fits {what} ({_either(key.algorithms)}).",
        hint=f"It takes {_either(known)}: give a key for that with --private-key FILE." if known else None,
    )


def _signed(claims: Document, head: Document, key: _Key, algorithm: str) -> str:
    return jwt.encode(claims, key.key, algorithm=algorithm, headers={"typ": "JWT", **head})


def _new_document() -> Document:
    from cryptography.hazmat.primitives.asymmetric import ec

    return {"form": _FORM, "jwk": _jwk(ec.generate_private_key(ec.SECP256R1()))}


def _of_document(document: Document) -> _Key | None:
    """Return the key of a document, None where it is none of ours."""
    from jwt.algorithms import ECAlgorithm

    jwk = document.get("jwk")
    if document.get("form") != _FORM or not isinstance(jwk, dict) or "d" not in jwk:
        return None
    try:
        key = _sorted(ECAlgorithm.from_jwk(jwk))
    except Exception:  # noqa: BLE001  pyjwt and cryptography raise a dozen kinds for what is no key
        return None
    return key if key is not None and _DPOP_ALGORITHM in key.algorithms else None


def _jwk(key: Any) -> Document:
    from jwt.algorithms import ECAlgorithm

    return dict(ECAlgorithm.to_jwk(key, as_dict=True))


def _public(key: Any) -> Document:
    jwk = _jwk(key)
    return {name: jwk[name] for name in _PUBLIC}


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)
