"""Our own certificate for mutual TLS: PEM, in one file with its key or in two, or PKCS#12, loaded into a context.

Nobody is ever asked for a password: a bridge has no terminal. PKCS#12 needs the library cryptography (the extra
[crypto]), which is imported for such a file alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

from mcp_remote_py.core import certificates
from mcp_remote_py.core.errors import INSTALL_CRYPTO, ConfigError
from mcp_remote_py.core.options import unexpanded
from mcp_remote_py.net import bundles
from mcp_remote_py.settings import Tls

Loaded = TypeVar("Loaded")
_LARGEST = 1024 * 1024
_PKCS12_NAMES = (".p12", ".pfx")
_SOON = 3 * 24 * 3600
"""Seconds before the end of a certificate from which on it is mentioned."""


def check(tls: Tls) -> tuple[str, ...]:
    """Try to load the certificate of the settings; return what the user should hear. Raises `ConfigError`."""
    if tls.client_cert is None:
        return ()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load(context, tls)
    return _age(tls.client_cert)


def load(context: ssl.SSLContext, tls: Tls) -> None:
    """Let the context show our certificate. Raises `ConfigError` that names flag and file; never asks anybody."""
    if tls.client_cert is None:
        return
    path = bundles.located(tls.client_cert)
    content = _read(path, "--client-cert")
    key = None
    if tls.client_key is not None:
        key = bundles.located(tls.client_key)
        _check_text(_read(key, "--client-key"), "--client-key", key, "key")
    if _is_pkcs12(content, path):
        if key is not None:
            raise ConfigError(f"--client-cert {path} is PKCS#12, which has the key in it. Leave --client-key out.")
        _load_pkcs12(context, content, path, tls.client_password)
        return
    with _as_pem(content, path, key) as pem:
        _load_pem(context, pem, key, tls.client_password, path)


def _load_pem(context: ssl.SSLContext, pem: str, key: str | None, password: str | None, path: str) -> None:
    asked = False

    def answer() -> str:
        # Without this function OpenSSL asks at the terminal.
        nonlocal asked
        asked = True
        return password or ""

    named = f"--client-key {key}" if key is not None else f"--client-cert {path}"
    try:
        context.load_cert_chain(pem, key, password=answer)
    except (OSError, ValueError) as error:  # ValueError: a password that is too long
        if asked:
            _wrong_password(named, password)
        reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
        if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
            raise ConfigError(f"{named}: this key does not belong to the certificate {path}.") from None
        if reason.startswith(("EE_KEY", "CA_KEY", "CA_MD", "EE_MD")):
            raise ConfigError(f"--client-cert {path}: the key or the signature is too weak for this machine.") from None
        raise ConfigError(_missing_part(path, key)) from None


def _missing_part(path: str, key: str | None) -> str:
    """Which of the two is not there; OpenSSL says the same of both."""
    with contextlib.suppress(OSError, ValueError):
        if bundles.read(path).certificates and key is None:
            return (
                f"--client-cert {path}: there is no private key in this file that can be used. Pass the key with "
                "--client-key FILE."
            )
        if bundles.read(path).certificates:
            return f'--client-key {key}: there is no private key in this file. It should be PEM ("PRIVATE KEY").'
    return (
        f'--client-cert {path}: there is no certificate in this file. It should be PEM ("-----BEGIN CERTIFICATE-----") '
        "or PKCS#12 (.p12, .pfx)."
    )


@contextlib.contextmanager
def _as_pem(content: bytes, path: str, key: str | None) -> Iterator[str]:
    """Give the path of a PEM file: this one, or where the certificate alone came in another form, a copy of it."""
    if certificates.is_alike(content) and key is not None:
        with _private_file(ssl.DER_cert_to_PEM_cert(content).encode("ascii")) as copy:
            yield copy
        return
    _check_text(content, "--client-cert", path, "certificate")
    yield path


def _check_text(content: bytes, flag: str, path: str, what: str) -> None:
    """OpenSSL does not read what Windows' editors write. Converting would put the key on the disk a second time."""
    if bundles.as_text(content) != content:
        raise ConfigError(
            f"{flag} {path}: the {what} begins with a byte order mark or is in UTF-16. Save it as plain text (ASCII, "
            "or UTF-8 without BOM)."
        )
    if what == "key" and content[:1] == b"\x30":
        raise ConfigError(f"{flag} {path}: it is DER. Convert it: openssl pkey -inform DER -in {path} -out key.pem")


def _is_pkcs12(content: bytes, path: str) -> bool:
    return content[:1] == b"\x30" and (path.lower().endswith(_PKCS12_NAMES) or not certificates.is_alike(content))


def _load_pkcs12(context: ssl.SSLContext, content: bytes, path: str, password: str | None) -> None:
    try:
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
            pkcs12,
        )
    except ImportError:
        raise ConfigError(f"--client-cert {path}: reading PKCS#12 needs a library. {INSTALL_CRYPTO}") from None
    named = f"--client-cert {path}"
    try:
        key, certificate, others = _with_password(pkcs12.load_key_and_certificates, content, password)
    except ValueError as error:
        if "deserialize" in str(error):  # cryptography's word for what is no PKCS#12 at all
            raise ConfigError(f"{named}: the file is damaged, or no PKCS#12. Export it anew.") from None
        _wrong_password(named, password)
    if key is None or certificate is None:
        raise ConfigError(f"{named}: there must be a certificate and its key in this file.")
    # A context takes keys from files only. So that the key never lies on the disk unprotected, it is encrypted with a
    # passphrase that exists in this function alone; the file is readable by us alone, and is gone at once.
    passphrase = secrets.token_hex(32)
    chain = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *others))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode("ascii")))
    with _private_file(chain + secret) as copy:
        try:
            context.load_cert_chain(copy, password=passphrase)
        except (OSError, ValueError):
            raise ConfigError(f"{named}: the key does not belong to the certificate, or cannot be used.") from None


def _with_password(load: Callable[[bytes, bytes | None], Loaded], content: bytes, password: str | None) -> Loaded:
    """Without a password there are two ways to have none."""
    if password is not None:
        return load(content, password.encode("utf-8"))
    try:
        return load(content, None)
    except ValueError:
        return load(content, b"")


def _wrong_password(named: str, password: str | None) -> NoReturn:
    if password is None:
        raise ConfigError(
            f"{named}: the key is encrypted. Put its password into a variable, and name that variable with "
            "--client-key-password-env VAR."
        ) from None
    raise ConfigError(
        f"{named}: the key cannot be decrypted with the password in the variable of --client-key-password-env."
    ) from None


def _read(path: str, flag: str) -> bytes:
    try:
        return bundles.content_of(path, _LARGEST)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise ConfigError(f"{flag} {path}: the file cannot be read ({reason}).{unexpanded(path)}") from None


@contextlib.contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """A file that nobody else can read (mode 0600), for as long as the block lasts."""
    descriptor, path = tempfile.mkstemp(suffix=".pem")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        yield path
    finally:
        os.unlink(path)


def _age(path: str) -> tuple[str, ...]:
    """What to say of a certificate that has expired, or soon will have; of PKCS#12 nothing is known here."""
    try:
        found = certificates.read(bundles.read(path).certificates[0])
    except (OSError, ValueError):
        return ()
    now = time.time()
    texts = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (now, now + _SOON)]
    if found.not_after >= texts[1]:
        return ()
    verb = "expired" if found.not_after < texts[0] else "expires"
    return (f"--client-cert {path}: this certificate {verb} on {found.not_after[:10]}.",)
