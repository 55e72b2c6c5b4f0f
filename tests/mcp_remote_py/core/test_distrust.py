"""The sentence about a refused certificate: each reason, who is named, and the line that mends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.certificates import Certificate, Name
from mcp_remote_py.core.distrust import Asked, Reason, Words, explain, inspector

NOW = "2026-06-01T12:00:00Z"
HOST = "mcp.example.com:8443"
ROOT_NAME = Name("Example Root CA", "Example Corp")
BELOW_NAME = Name("Example Issuing CA", "Example Corp")


def certificate(subject: Name, issuer: Name) -> Certificate:
    found = Certificate(subject, issuer, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", ("mcp.example.com",))
    return found._replace(is_self_issued=subject == issuer)


LEAF = certificate(Name("mcp.example.com"), BELOW_NAME)
BELOW = certificate(BELOW_NAME, ROOT_NAME)
ROOT = certificate(ROOT_NAME, ROOT_NAME)
SELF = certificate(Name("mcp.example.com"), Name("mcp.example.com"))


def told(reason: Reason, *chain: Certificate, asked: Asked | None = None) -> Words:
    return explain(reason, chain, HOST, asked or Asked(), NOW)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("chain", [(), (LEAF,), (LEAF, BELOW), (LEAF, BELOW, ROOT), (SELF,)])
def test_every_refusal_names_host_subject_issuer_stores_and_a_mend(
    reason: Reason, chain: tuple[Certificate, ...]
) -> None:
    words = told(reason, *chain, asked=Asked("the system's store (/etc/ssl)", ("--ca-bundle a.pem",)))
    assert words.text.startswith(f"the certificate of {HOST} was refused: ")
    assert "asked: the system's store (/etc/ssl), --ca-bundle a.pem" in words.text
    assert len(words.hint) > 20
    assert "None" not in words.text + words.hint
    if chain:
        assert 'subject "mcp.example.com"' in words.text
        assert f'issuer "{chain[0].issuer.common}"' in words.text


def test_an_unknown_root_is_named_and_asked_for() -> None:
    for chain in ((LEAF, BELOW, ROOT), (LEAF, BELOW)):
        words = told(Reason.UNKNOWN_ISSUER, *chain)
        assert 'issued by "Example Root CA" (Example Corp), an authority that this machine does not trust' in words.text
        assert 'The issuer is "Example Root CA" (Example Corp)' in words.hint
        assert "--ca-bundle FILE" in words.hint


def test_an_intermediate_that_is_not_sent_is_named() -> None:
    words = told(Reason.UNKNOWN_ISSUER, LEAF)
    assert 'does not send the intermediate certificate "Example Issuing CA" (Example Corp)' in words.text
    assert "the server's operator must add" in words.hint
    assert "--ca-bundle FILE" in words.hint


def test_certificates_that_do_not_belong_together_are_no_chain() -> None:
    stranger = certificate(Name("Stranger"), Name("Stranger"))
    assert "does not send the intermediate certificate" in told(Reason.UNKNOWN_ISSUER, LEAF, stranger).text


@pytest.mark.parametrize(
    ("issuer", "product"),
    [
        (Name("Zscaler Intermediate Root CA (zscalertwo.net) (t)", "Zscaler Inc."), "Zscaler"),
        (Name("", "Zscaler Inc.", ("Zscaler Inc.",)), "Zscaler"),
        (Name("ca.acme.goskope.com", "Netskope Inc"), "Netskope"),
        (Name("FortiGate CA", "Fortinet"), "Fortinet"),
        (Name("Cisco Umbrella Secondary SubCA", "Cisco"), "Cisco Umbrella"),
        (Name("Palo Alto Forward Trust"), "Palo Alto Networks"),
        (Name("Symantec Web Security"), "Symantec (Blue Coat)"),
        (Name("Skyhigh Web Gateway"), "Skyhigh (McAfee)"),
        (Name("Check Point SSL Inspection"), "Check Point"),
        (Name("Sophos SSL CA_C0123"), "Sophos"),
        (Name("Cato Networks CA"), "Cato Networks"),
        (Name("Forcepoint Cloud CA"), "Forcepoint"),
        (Name("Kaspersky Anti-Virus Personal Root Certificate"), "Kaspersky"),
        (Name("ESET SSL Filter CA", "ESET, spol. s r. o."), "ESET"),
        (Name("Avast Web/Mail Shield Root"), "Avast"),
        (Name("mitmproxy", "mitmproxy"), "mitmproxy"),
        (Name("Charles Proxy CA (1 Jan 2026, laptop)"), "Charles"),
        (Name("DO_NOT_TRUST_FiddlerRoot"), "Fiddler"),
        (Name("PortSwigger CA", "PortSwigger"), "Burp Suite"),
    ],
)
@pytest.mark.parametrize("reason", [Reason.UNKNOWN_ISSUER, Reason.SELF_SIGNED, Reason.UNCLEAR])
def test_a_tls_inspector_is_called_by_its_name(issuer: Name, product: str, reason: Reason) -> None:
    leaf = certificate(Name("mcp.example.com"), issuer)
    words = told(reason, leaf)
    assert words.hint.startswith(f"The issuer is {product}: export its root")
    assert "--ca-bundle FILE" in words.hint


@pytest.mark.parametrize(
    "issuer",
    [Name("R11", "Let's Encrypt"), Name("Bluesetting CA"), Name("Charles & Sons Root"), Name("Delicato CA"), Name()],
)
def test_other_authorities_are_not_taken_for_inspectors(issuer: Name) -> None:
    assert inspector([certificate(Name("zscaler.example"), issuer)]) == ""


def test_a_stale_path_is_the_first_thing_to_mend() -> None:
    asked = Asked(missing=("NODE_EXTRA_CA_CERTS /old/zscaler.pem",))
    words = told(Reason.UNKNOWN_ISSUER, LEAF, BELOW, asked=asked)
    assert words.hint.startswith("NODE_EXTRA_CA_CERTS /old/zscaler.pem cannot be used")
    assert "not usable: NODE_EXTRA_CA_CERTS /old/zscaler.pem" in words.text
    expired = told(Reason.EXPIRED, LEAF, asked=asked)
    assert "NODE_EXTRA_CA_CERTS" in expired.text
    assert "NODE_EXTRA_CA_CERTS" not in expired.hint


def test_a_machine_without_a_store_is_told_so() -> None:
    words = told(Reason.UNKNOWN_ISSUER, LEAF, BELOW, asked=Asked(system=""))
    assert "no system's store" in words.text
    assert words.hint.startswith("Install the system's certificates")


def test_dates_are_told_and_the_clock_is_named() -> None:
    old = LEAF._replace(not_after="2026-05-01T10:30:00Z")
    assert "it expired on 2026-05-01 10:30 UTC" in told(Reason.EXPIRED, old, BELOW).text
    assert "it says 2026-06-01 12:00 UTC" in told(Reason.EXPIRED, old).hint
    authority = BELOW._replace(not_after="2026-05-02T00:00:00Z")
    words = told(Reason.EXPIRED, LEAF, authority)
    assert 'its authority "Example Issuing CA" (Example Corp) expired on 2026-05-02' in words.text
    assert "an authority's certificate that it rests on has expired" in told(Reason.EXPIRED, LEAF).text
    young = LEAF._replace(not_before="2026-07-01T00:00:00Z")
    words = told(Reason.NOT_YET_VALID, young)
    assert "it is not valid before 2026-07-01 00:00 UTC" in words.text
    assert "clock" in words.hint


def test_the_names_that_it_is_for_are_told() -> None:
    other = LEAF._replace(hosts=tuple(f"h{number}.example" for number in range(8)))
    words = told(Reason.WRONG_HOST, other)
    assert 'it is for "h0.example", "h1.example"' in words.text
    assert "and 3 more, not for mcp.example.com;" in words.text
    assert "it names no host" in told(Reason.WRONG_HOST, LEAF._replace(hosts=())).text


def test_a_reason_that_is_not_told_is_read_from_the_certificate() -> None:
    assert "it expired on" in told(Reason.UNCLEAR, LEAF._replace(not_after="2026-05-01T10:30:00Z")).text
    assert "not valid before" in told(Reason.UNCLEAR, LEAF._replace(not_before="2026-07-01T10:30:00Z")).text
    assert "self-signed" in told(Reason.UNCLEAR, SELF).text
    assert "not issued for servers" in told(Reason.UNCLEAR, LEAF._replace(is_for_servers=False)).text
    assert "could not be verified" in told(Reason.UNCLEAR, LEAF).text


NAMES = st.builds(Name, st.text(max_size=400), st.text(max_size=400), st.tuples(st.text(max_size=400)))
CERTIFICATES = st.builds(
    Certificate, NAMES, NAMES, st.just(NOW), st.just(NOW), st.lists(st.text(max_size=400), max_size=9).map(tuple)
)


@given(st.sampled_from(list(Reason)), st.lists(CERTIFICATES, max_size=3))
def test_a_strangers_words_stay_printable_and_short(reason: Reason, chain: list[Certificate]) -> None:
    words = explain(reason, chain, HOST, Asked(), NOW)
    for text in words:
        assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in text)
        assert not set(text) & set("\u202e\u2066\u2028")
        assert len(text) < 4000
