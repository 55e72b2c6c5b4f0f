"""Bundles: the files and folders of certificates that a user names, in every form in which people have them.

PEM with any number of certificates (a byte order mark, UTF-16, CRLF and text between them do not matter), or one DER
certificate, as Windows exports it; of a folder, every file whose name says that it is a certificate. Loads no TLS.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from mcp_remote_py.core import certificates
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import unexpanded
from mcp_remote_py.settings import Tls, TrustFile

_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_PEM = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----")
_NAMES = re.compile(r"[0-9a-f]{8}\.\d{1,4}|.*\.(?:pem|crt|cer|cert|der)", re.IGNORECASE | re.DOTALL)
HASHED = re.compile(r"[0-9a-f]{8}\.\d{1,4}")
"""The names under which OpenSSL finds certificates in a folder."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_BOM = b"\xef\xbb\xbf"
_LARGEST = 32 * 1024 * 1024
_MOST_FILES = 2000
_PEM_INSTEAD = 'It should be PEM ("-----BEGIN CERTIFICATE-----") or DER (.cer).'
_EMPTY_FOLDER = "there is no certificate in this folder. Files in it should end in .pem, .crt or .cer."
_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\s*\Z"), "It is empty."),
    (
        re.compile(rb"(?s).*-----BEGIN TRUSTED CERTIFICATE-----"),
        'It is in OpenSSL\'s own form ("TRUSTED CERTIFICATE"). Convert it: openssl x509 -in FILE -out NEW.pem',
    ),
    (
        re.compile(rb"(?s).*-----BEGIN (?:PKCS7|CMS)-----|\x30.{1,5}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"),
        "It is PKCS#7 (.p7b). Convert it: openssl pkcs7 -print_certs -in FILE -out NEW.pem   "
        "(with -inform DER if the file is binary)",
    ),
    (
        re.compile(rb"(?s)\x30.{1,5}\x02\x01\x03\x30"),
        "It is PKCS#12 (.p12, .pfx). Convert it: openssl pkcs12 -in FILE -cacerts -nokeys -out NEW.pem",
    ),
    (re.compile(rb"(?s).*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"), "It is a private key, which belongs nowhere else."),
    (re.compile(rb"(?s).*-----BEGIN [A-Z0-9 ]*CERTIFICATE REQUEST-----"), "It is only a request for a certificate."),
    (re.compile(rb"(?i)\s*<(?:!doctype|html)"), "It is a web page; the download did not give the certificate."),
)
"""What people take for certificates, and what to do with it."""


class Bundle(NamedTuple):
    """The certificates of a file in DER, and how many more it seems to have that cannot be read."""

    certificates: tuple[bytes, ...]
    spoilt: int = 0


def read(path: str) -> Bundle:
    """Return the certificates of a file or a folder. Raises `OSError`, or `ValueError` that says what is wrong."""
    path = located(path)
    if not os.path.isdir(path):
        return _read_file(path)
    found = tuple(dict.fromkeys(der for several in in_folder(path) for der in several))
    if not found:
        raise ValueError(_EMPTY_FOLDER)
    return Bundle(found)


def located(path: str) -> str:
    """Return the path with `~` replaced; without the quotes and blanks that a config left around it, if it helps."""
    expanded = os.path.expanduser(path)
    bare = os.path.expanduser(path.strip().strip("\"'"))
    return bare if not os.path.exists(expanded) and os.path.exists(bare) else expanded


def usable(tls: Tls) -> tuple[Tls, tuple[str, ...]]:
    """Return the settings with the files that can be used, and what the user should hear about the others.

    A file that a variable names may be stale: it is noted, and kept as `missing`, as every later error about trust
    shall name it. Raises `ConfigError` for a file that a flag or the configuration file names.
    """
    good, missing, notes = [], list(tls.missing), []
    for file in tls.trusted:
        try:
            spoilt = check(file)
        except ConfigError as error:
            if not file.is_from_variable:
                raise
            missing.append(file)
            notes.append(f"{error} It is ignored: whatever depends on it will be refused.")
            continue
        good.append(file)
        if spoilt:
            notes.append(f"{file.where} {file.path}: {spoilt} of its certificates cannot be read and are left out.")
    return tls._replace(trusted=tuple(good), missing=tuple(missing)), tuple(notes)


def check(file: TrustFile) -> int:
    """Check that there are certificates in it; return how many more cannot be read. Raises `ConfigError`."""
    try:
        path = located(file.path)
        if not os.path.isdir(path):
            return _read_file(path).spoilt
        if not any(in_folder(path)):  # the first one is enough
            raise ValueError(_EMPTY_FOLDER)
    except OSError as error:
        kind = "folder" if file.is_folder else "file"
        reason = error.strerror or "unknown reason"
        raise ConfigError(
            f"{file.where} {file.path}: the {kind} cannot be read ({reason}).{unexpanded(file.path)}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{file.where} {file.path}: {error}") from None
    return 0


def in_folder(path: str, names: re.Pattern[str] = _NAMES) -> Iterator[tuple[bytes, ...]]:
    """Yield the certificates of each file in a folder whose name fits. Raises `OSError` for the folder alone.

    What cannot be read in a folder is left out: it may be no certificate, or not for us.
    """
    seen: set[tuple[int, int]] = set()
    left = _LARGEST
    with os.scandir(path) as entries:
        files = sorted(entry.name for entry in entries if names.fullmatch(entry.name))
    for name in files[:_MOST_FILES]:
        try:
            status = os.stat(os.path.join(path, name))
            if (status.st_dev, status.st_ino) in seen:
                continue  # one file has often two names here, its own and its hash
            seen.add((status.st_dev, status.st_ino))
            content = content_of(os.path.join(path, name), left)
            found = _decoded(content).certificates
        except (OSError, ValueError):
            continue
        left -= len(content)
        yield found


def _read_file(path: str) -> Bundle:
    content = content_of(path, _LARGEST)
    try:
        return _decoded(content)
    except ValueError:
        more = next((words for pattern, words in _FOREIGN if pattern.match(content)), _PEM_INSTEAD)
        raise ValueError(f"there is no certificate in this file. {more.replace('FILE', path)}") from None


def content_of(path: str, limit: int) -> bytes:
    """Return what is in a file, up to `limit` bytes. Raises `OSError`, also for what is no regular file.

    It is opened without waiting for the other end of a pipe, which could be read only once anyway.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file")
        parts: list[bytes] = []
        while limit > 0 and (part := os.read(descriptor, min(limit, max(status.st_size, 0) + 1))):
            parts.append(part)
            limit -= len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)


def _decoded(content: bytes) -> Bundle:
    content = as_text(content)
    blocks = _PEM.findall(content)
    if blocks:
        good = tuple(der for block in blocks if (der := _from_base64(block)))
        if good:
            return Bundle(good, len(_BEGIN.findall(content)) - len(good))
    elif certificates.is_alike(content):
        return Bundle((content,))
    raise ValueError("neither PEM nor DER")


def as_text(content: bytes) -> bytes:
    """Return a text without its byte order mark, in UTF-8 even where it came in UTF-16, as PowerShell writes it."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace").encode("utf-8", "replace")
    return content.removeprefix(_BOM)


def _from_base64(block: bytes) -> bytes:
    """The certificate of a PEM block; empty where it is none."""
    try:
        der = base64.b64decode(b"".join(block.split()), validate=True)
    except binascii.Error:
        return b""
    return der if certificates.is_alike(der) else b""
