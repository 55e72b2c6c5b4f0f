"""Certificates: the few fields of an X.509 certificate that a sentence about it needs, read from DER. Pure.

Nothing is verified here; that is TLS's work. What a server presents is hostile until then, so every length is
checked, nothing recurses, and whatever cannot be read is one `ValueError`. Source: RFC 5280 section 4.1, X.690 (DER).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LARGEST = 256 * 1024
"""Bytes; certificates have one or two thousand."""
MOST_NAMES = 200
"""More names than this are not read: they could not be shown anyway."""

_INTEGER, _BIT_STRING, _OCTET_STRING, _OID, _SEQUENCE, _SET = 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
_BOOLEAN, _VERSION, _EXTENSIONS, _DNS, _IP = 0x01, 0xA0, 0xA3, 0x82, 0x87
_COMMON_NAME, _ORGANIZATION, _UNIT = b"\x55\x04\x03", b"\x55\x04\x0a", b"\x55\x04\x0b"
_ALTERNATIVE_NAMES, _BASIC_CONSTRAINTS, _EXTENDED_USAGE = b"\x55\x1d\x11", b"\x55\x1d\x13", b"\x55\x1d\x25"
_SERVER_USE = b"\x2b\x06\x01\x05\x05\x07\x03\x01"
_ANY_USE = b"\x55\x1d\x25\x00"
_ENCODINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_TIMES = {
    0x17: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?Z"),
    0x18: re.compile(rb"(\d\d\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:\.\d+)?Z"),
}
_ZEROS = re.compile(r"(?:^|:)0(?::0)+(?::|$)")


class Name(NamedTuple):
    """Who somebody is: the parts of a distinguished name that people use. Each may be empty."""

    common: str = ""
    organization: str = ""
    units: tuple[str, ...] = ()


class Certificate(NamedTuple):
    """What a certificate says of itself. Texts are the certificate's own: make them printable before they are shown."""

    subject: Name
    issuer: Name
    not_before: str
    """`2026-01-31T12:00:00Z`, as is `not_after`: such texts compare as the times do."""
    not_after: str
    hosts: tuple[str, ...] = ()
    """The DNS names and the addresses that it is for."""
    is_authority: bool = False
    is_for_servers: bool = True
    is_self_issued: bool = False
    """Whether subject and issuer are the same: a root, or a certificate that vouches for itself."""


class _Value(NamedTuple):
    """One value of ASN.1: its tag, what is in it, and the whole of it."""

    tag: int
    content: bytes
    whole: bytes


def read(der: bytes) -> Certificate:
    """Return what the certificate says. Raises `ValueError` where it is none."""
    if len(der) > LARGEST:
        raise ValueError("too large for a certificate")
    outer, end = _value(der, 0)
    if outer.tag != _SEQUENCE or end != len(der):
        raise ValueError("not one sequence")
    signed = _next(_values(outer.content), _SEQUENCE)
    fields = _values(signed.content)
    first = _next(fields)
    if first.tag == _VERSION:
        first = _next(fields)
    if first.tag != _INTEGER:
        raise ValueError("no serial number")
    _next(fields, _SEQUENCE)  # how it is signed
    issuer = _next(fields, _SEQUENCE)
    validity = _values(_next(fields, _SEQUENCE).content)
    begin, until = _time(_next(validity)), _time(_next(validity))
    subject = _next(fields, _SEQUENCE)
    _next(fields, _SEQUENCE)  # the key
    found = Certificate(
        subject=_name(subject.content),
        issuer=_name(issuer.content),
        not_before=begin,
        not_after=until,
        is_self_issued=subject.whole == issuer.whole,
    )
    for field in fields:
        if field.tag == _EXTENSIONS:
            found = _with_extensions(found, field.content)
    return found


def is_alike(der: bytes) -> bool:
    """Whether this has the outline of a certificate: one sequence that begins with another. Quick, for large bundles.

    The containers PKCS #7 (.p7b) and PKCS #12 (.p12, .pfx) begin otherwise.
    """
    try:
        outer, end = _value(der, 0)
    except ValueError:
        return False
    return outer.tag == _SEQUENCE and end == len(der) and outer.content[:1] == b"\x30"


def _with_extensions(found: Certificate, content: bytes) -> Certificate:
    for extension in _values(_next(_values(content), _SEQUENCE).content):
        parts = list(_values(extension.content))
        if len(parts) < 2 or parts[0].tag != _OID or parts[-1].tag != _OCTET_STRING:
            raise ValueError("an extension without its name or its value")
        name, inner = parts[0].content, parts[-1].content
        if name == _ALTERNATIVE_NAMES:
            found = found._replace(hosts=_hosts(_next(_values(inner), _SEQUENCE).content))
        elif name == _BASIC_CONSTRAINTS:
            flag = next(_values(_next(_values(inner), _SEQUENCE).content), None)
            is_authority = flag is not None and flag.tag == _BOOLEAN and flag.content not in (b"", b"\x00")
            found = found._replace(is_authority=is_authority)
        elif name == _EXTENDED_USAGE:
            uses = {use.content for use in _values(_next(_values(inner), _SEQUENCE).content)}
            found = found._replace(is_for_servers=bool(uses & {_SERVER_USE, _ANY_USE}))
    return found


def _hosts(content: bytes) -> tuple[str, ...]:
    hosts: list[str] = []
    for name in _values(content):
        if len(hosts) == MOST_NAMES:
            break
        if name.tag == _DNS:
            hosts.append(name.content.decode("ascii", "replace"))
        elif name.tag == _IP and len(name.content) == 4:
            hosts.append(".".join(str(byte) for byte in name.content))
        elif name.tag == _IP and len(name.content) == 16:
            groups = (int.from_bytes(name.content[at : at + 2], "big") for at in range(0, 16, 2))
            hosts.append(_ZEROS.sub("::", ":".join(f"{group:x}" for group in groups), count=1))
    return tuple(hosts)


def _name(content: bytes) -> Name:
    """The first common name and organization, and all units."""
    found: dict[bytes, list[str]] = {_COMMON_NAME: [], _ORGANIZATION: [], _UNIT: []}
    for count, part in enumerate(_values(content)):
        if count == MOST_NAMES:
            break
        for pair in _values(part.content if part.tag == _SET else b""):
            fields = _values(pair.content)
            kind, text = _next(fields, _OID), _next(fields)
            if kind.content in found and text.tag in _ENCODINGS:
                found[kind.content].append(text.content.decode(_ENCODINGS[text.tag], "replace"))
    return Name(
        next(iter(found[_COMMON_NAME]), ""), next(iter(found[_ORGANIZATION]), ""), tuple(found[_UNIT][:MOST_NAMES])
    )


def _time(value: _Value) -> str:
    pattern = _TIMES.get(value.tag)
    match = pattern.fullmatch(value.content) if pattern is not None else None
    if match is None:
        raise ValueError("not a time")
    year, month, day, hour, minute, second = ((part or b"00").decode("ascii") for part in match.groups())
    if len(year) == 2:
        year = ("19" if year >= "50" else "20") + year
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"


def _next(values: Iterator[_Value], tag: int | None = None) -> _Value:
    value = next(values, None)
    if value is None or (tag is not None and value.tag != tag):
        raise ValueError("not the value that a certificate has here")
    return value


def _values(content: bytes) -> Iterator[_Value]:
    at = 0
    while at < len(content):
        value, at = _value(content, at)
        yield value


def _value(content: bytes, at: int) -> tuple[_Value, int]:
    """Return the value that begins at this place, and the place after it."""
    if at + 2 > len(content):
        raise ValueError("cut off")
    tag, length, start = content[at], content[at + 1], at + 2
    if tag & 0x1F == 0x1F:
        raise ValueError("a tag of several bytes, which certificates do not have")
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or start + count > len(content):
            raise ValueError("a length that cannot be")
        length, start = int.from_bytes(content[start : start + count], "big"), start + count
    end = start + length
    if end > len(content):
        raise ValueError("cut off")
    return _Value(tag, content[start:end], content[at:end]), end
