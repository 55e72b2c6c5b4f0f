"""The certificates that the operating system trusts, loaded into a context.

On macOS and Windows the system's own interface verifies, through truststore, and what a context was given besides
counts as well. Elsewhere OpenSSL verifies against files. There truststore is of no use: it follows SSL_CERT_FILE and
SSL_CERT_DIR, which *replace* the system's store, and it reads the whole store again for every connection (some 40 ms).
So the files are found and loaded here, whatever the environment says.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mcp_remote_py.net import bundles

HAS_INTERFACE = sys.platform in ("darwin", "win32")

FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, Gentoo, NixOS
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and RHEL up to 2025
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, OpenWRT, BSD
    "/usr/local/share/certs/ca-root-nss.crt",  # FreeBSD
    "/usr/local/etc/ssl/cert.pem",
)
"""Where distributions keep the bundle; the first that is there counts."""
FOLDERS = ("/etc/ssl/certs", "/system/etc/security/cacerts")
"""Where they keep single certificates, named by their hashes."""


class Loaded(NamedTuple):
    """Where the certificates came from, for people, and which they are, as far as they were read."""

    places: tuple[str, ...]
    certificates: frozenset[bytes]


def new_context() -> ssl.SSLContext:
    """Return a context that verifies certificates and host names, and on macOS and Windows asks the system."""
    if HAS_INTERFACE:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def load(context: ssl.SSLContext) -> Loaded:
    """Load the system's certificates where OpenSSL verifies. No place is returned where none was found."""
    if HAS_INTERFACE:
        return Loaded(("",), frozenset())
    compiled = ssl.get_default_verify_paths()
    folder = _first_folder((compiled.openssl_capath, *FOLDERS))
    # Python may bring a bundle of its own (conda, uv): it counts, besides the system's
    files = _different([compiled.openssl_cafile, next((path for path in FILES if os.path.isfile(path)), "")])
    known: set[bytes] = set()
    places: list[str] = []
    if folder:
        context.load_verify_locations(capath=folder)  # read when a certificate is looked for: costs nothing here
        places.append(folder)
        for several in bundles.in_folder(folder, bundles.HASHED) if files else ():
            known.update(several)  # what is here already need not be loaded from a file, which takes much longer
    for path in files:
        try:
            found = bundles.read(path).certificates
        except (OSError, ValueError):
            continue  # a store without this file is the same as before it was there
        add(context, [der for der in found if der not in known])
        known.update(found)
        places.append(path)
    return Loaded(tuple(places), frozenset(known))


def add(context: ssl.SSLContext, certificates: Sequence[bytes]) -> int:
    """Let the context trust these, given in DER; return how many of them it cannot read."""
    if not certificates:
        return 0
    try:
        context.load_verify_locations(cadata=b"".join(certificates))
    except (ssl.SSLError, ValueError):
        if len(certificates) == 1:
            return 1
    else:
        return 0
    return sum(add(context, [certificate]) for certificate in certificates)


def _first_folder(paths: Sequence[str]) -> str:
    for path in paths:
        try:
            if any(bundles.HASHED.fullmatch(name) for name in os.listdir(path)):
                return path
        except OSError:
            continue  # it is not there, or not for us
    return ""


def _different(paths: Sequence[str]) -> list[str]:
    """The files among these, each once, however it is linked."""
    return list({os.path.realpath(path): path for path in paths if path and os.path.isfile(path)}.values())
