"""The fields of a certificate, and what hostile bytes do to their reader: nothing but one ValueError."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.certificates import LARGEST, MOST_NAMES, Certificate, Name, is_alike, read
from tests.support.certificates import CLIENTS, intermediate, issue, root

LEAF = issue(
    "mcp.example.com",
    "*.example.com",
    "192.0.2.7",
    "2001:db8::1",
    by=intermediate(),
    name="MCP Server",
    organization="Example Corp",
)


def test_everything_that_a_sentence_needs_is_read() -> None:
    found = read(LEAF.der)
    begin, until = LEAF.certificate.not_valid_before_utc, LEAF.certificate.not_valid_after_utc
    assert found == Certificate(
        subject=Name("MCP Server", "Example Corp"),
        issuer=Name("Example Issuing CA", "Example Corp"),
        not_before=begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
        not_after=until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        hosts=("mcp.example.com", "*.example.com", "192.0.2.7", "2001:db8::1"),
    )


def test_an_authority_is_known_as_one() -> None:
    top, below = read(root().der), read(intermediate().der)
    assert (top.is_authority, top.is_self_issued) == (True, True)
    assert (below.is_authority, below.is_self_issued) == (True, False)


def test_the_purpose_is_read() -> None:
    assert not read(issue("a.example", use=CLIENTS).der).is_for_servers
    assert read(issue("a.example", use=None).der).is_for_servers
    assert read(issue("a.example", use=x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE).der).is_for_servers


def test_units_are_read_where_there_is_no_common_name() -> None:
    pem = trustme.CA(organization_name="Zscaler Inc.", organization_unit_name="Proxy").cert_pem.bytes()
    found = read(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
    assert found.subject == Name("", "Zscaler Inc.", ("Proxy",))


def test_a_date_after_2049_is_read() -> None:
    far = issue("a.example", days=(0, 30 * 365))
    assert read(far.der).not_after[:4] == str(far.certificate.not_valid_after_utc.year)
    assert read(far.der).not_after > "2050"
    assert read(far.der).not_after > datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(("address", "shown"), [("::1", "::1"), ("fe80::1:0:0:2", "fe80::1:0:0:2"), ("::", "::")])
def test_an_ipv6_address_is_written_short(address: str, shown: str) -> None:
    assert read(issue(address).der).hosts == (shown,)


def test_a_name_in_any_alphabet_is_read() -> None:
    assert read(issue(name="Zertifizierungsstelle Köln 総合").der).subject.common == "Zertifizierungsstelle Köln 総合"


def test_many_names_are_cut() -> None:
    found = read(issue(*(f"h{number}.example" for number in range(MOST_NAMES + 9))).der)
    assert len(found.hosts) == MOST_NAMES


def test_what_is_too_large_is_not_even_looked_at() -> None:
    with pytest.raises(ValueError, match="too large"):
        read(b"\x30" * (LARGEST + 1))


def test_the_outline_of_a_certificate_is_told_from_other_things() -> None:
    assert is_alike(LEAF.der)
    for other in (b"", b"\x30", LEAF.der[:-1], LEAF.der + b"x", b"\x30\x03\x02\x01\x03", b"-----BEGIN"):
        assert not is_alike(other), other


@given(st.binary(max_size=300))
def test_any_bytes_are_a_certificate_or_a_value_error(raw: bytes) -> None:
    for text in (raw, b"\x30" + bytes([min(len(raw), 127)]) + raw[:127]):
        try:
            read(text)
        except ValueError:
            continue


@given(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255), st.integers(0, 40))
def test_a_spoilt_certificate_is_read_or_a_value_error(at: int, byte: int, cut: int) -> None:
    raw = LEAF.der[:at] + bytes([byte]) + LEAF.der[at + 1 :]
    for text in (raw, raw[: len(raw) - cut], LEAF.der[:at], LEAF.der[:at] + LEAF.der[at + cut :]):
        try:
            found = read(text)
        except ValueError:
            continue
        assert len(found.not_after) == len("2026-01-31T12:00:00Z")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
KEY = LEAF.key


@given(TEXTS, TEXTS)
@settings(max_examples=30)
def test_names_come_back_as_they_were_given(common: str, organization: str) -> None:
    found = read(issue(name=common, organization=organization, key=KEY).der)
    assert found.subject == found.issuer == Name(common, organization)
