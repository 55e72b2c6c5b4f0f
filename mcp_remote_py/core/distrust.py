"""Distrust: the sentence about a certificate that was refused, and the line that mends it. Pure.

TLS decides that a certificate is refused, and why; here the certificates are only described. Their texts are a
stranger's: they are made printable, cut, and never taken for anything but names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from mcp_remote_py.core.certificates import Certificate, Name
from mcp_remote_py.core.redact import printable

_GIVE_IT = 'pass it with --ca-bundle FILE (in "args": "--ca-bundle", "/path/to/FILE").'
_SHOWN = 100
_HOSTS_SHOWN = 5


class Reason(Enum):
    """Why TLS refused it."""

    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    SELF_SIGNED = "self-signed"
    UNKNOWN_ISSUER = "unknown issuer"
    WRONG_HOST = "wrong host"
    WRONG_PURPOSE = "wrong purpose"
    WEAK_KEY = "weak key"
    WEAK_SIGNATURE = "weak signature"
    WRONG_SIGNATURE = "wrong signature"
    NO_AUTHORITY = "issued by no authority"
    REVOKED = "revoked"
    UNCLEAR = "unclear"


class Asked(NamedTuple):
    """Which stores were asked: the system's (empty: none was found), the user's files, and those that are missing."""

    system: str = "the system's store"
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Words(NamedTuple):
    """One sentence without its full stop, and what to do."""

    text: str
    hint: str


_INSPECTORS: tuple[tuple[str, str], ...] = (
    (r"zscaler", "Zscaler"),
    (r"netskope|goskope", "Netskope"),
    (r"palo ?alto|globalprotect|prisma access", "Palo Alto Networks"),
    (r"fortinet|fortigate|forticlient|fortisase", "Fortinet"),
    (r"umbrella|opendns|cisco secure (?:web|access)|ironport", "Cisco Umbrella"),
    (r"blue ?coat|proxysg|symantec (?:web|cloud|wss)|cloud ?soc", "Symantec (Blue Coat)"),
    (r"mcafee|skyhigh|trellix", "Skyhigh (McAfee)"),
    (r"check ?point", "Check Point"),
    (r"sophos", "Sophos"),
    (r"cato networks|\bcato\b", "Cato Networks"),
    (r"forcepoint|websense", "Forcepoint"),
    (r"barracuda", "Barracuda"),
    (r"watchguard|fireware", "WatchGuard"),
    (r"sonicwall", "SonicWall"),
    (r"iboss", "iboss"),
    (r"menlo security", "Menlo Security"),
    (r"cloudflare (?:for teams|gateway|managed)|gateway ca - cloudflare", "Cloudflare Gateway"),
    (r"lightspeed|securly|goguardian|contentkeeper|smoothwall", "a web filter"),
    (r"squid", "Squid"),
    (r"untangle", "Untangle"),
    (r"\bcontent filtering\b|\bssl inspection\b|\bssl decryption\b|\btls inspection\b", "a TLS inspector"),
    (r"kaspersky", "Kaspersky"),
    (r"\beset\b", "ESET"),
    (r"\bavast\b", "Avast"),
    (r"\bavg\b", "AVG"),
    (r"bitdefender", "Bitdefender"),
    (r"dr\.? ?web\b", "Dr.Web"),
    (r"adguard", "AdGuard"),
    (r"mitmproxy", "mitmproxy"),
    (r"charles proxy", "Charles"),
    (r"fiddler|do_not_trust", "Fiddler"),
    (r"portswigger|burp ?suite", "Burp Suite"),
    (r"proxyman", "Proxyman"),
    (r"requestly|httptoolkit|http toolkit", "HTTP Toolkit"),
    (r"owasp|zed attack proxy|zap root", "ZAP"),
)
"""Programs and boxes that open TLS and issue certificates of their own, by what stands in these."""


def inspector(chain: Sequence[Certificate]) -> str:
    """Return the name of the TLS inspector that issued these certificates; empty where none is known."""
    issuers = "\n".join(
        " ".join((name.common, name.organization, *name.units)) for name in (each.issuer for each in chain)
    ).lower()
    return next((product for pattern, product in _INSPECTORS if re.search(pattern, issuers)), "")


def explain(reason: Reason, chain: Sequence[Certificate], host: str, asked: Asked, now: str) -> Words:
    """Describe a refused certificate. `chain` is what the server presented, its own first; it may be empty.

    `host` is `host` or `host:port`; `now` is written as the times of a `Certificate` are.
    """
    reason = _sharpened(reason, chain, now)
    matter = _Matter(reason, tuple(chain), host, now)
    said = _SENTENCES[reason](matter)
    who = f"; subject {_who(chain[0].subject)}, issuer {_who(chain[0].issuer)}" if chain else ""
    hint = said.hint
    if reason in _ABOUT_ISSUERS and asked.missing:
        hint = f"{' and '.join(asked.missing)} cannot be used: correct that path, if the file is elsewhere now. {hint}"
    if reason in _ABOUT_ISSUERS and not asked.system:
        hint = f"Install the system's certificates (the package ca-certificates). {hint}"
    return Words(f"the certificate of {host} was refused: {said.text}{who}; {_stores(asked)}", hint)


class _Matter(NamedTuple):
    """What the sentences are made of."""

    reason: Reason
    chain: tuple[Certificate, ...]
    host: str
    now: str

    @property
    def leaf(self) -> Certificate | None:
        return self.chain[0] if self.chain else None


Sentence = Callable[[_Matter], Words]


def _sharpened(reason: Reason, chain: Sequence[Certificate], now: str) -> Reason:
    """Where the system's interface gives a number that we do not know, the certificate itself may show the reason."""
    if reason is not Reason.UNCLEAR or not chain:
        return reason
    if any(each.not_after < now for each in chain):
        return Reason.EXPIRED
    if any(each.not_before > now for each in chain):
        return Reason.NOT_YET_VALID
    if chain[0].is_self_issued:
        return Reason.SELF_SIGNED
    return reason if chain[0].is_for_servers else Reason.WRONG_PURPOSE


def _expired(matter: _Matter) -> Words:
    hint = (
        f"Check this machine's clock (it says {_time(matter.now)}); if it is right, the server's operator must renew "
        "the certificate."
    )
    old = next((each for each in matter.chain if each.not_after < matter.now), None)
    if old is None:
        certificate = (
            "it has expired" if not matter.chain else "an authority's certificate that it rests on has expired"
        )
        return Words(certificate, hint)
    if old is matter.leaf:
        return Words(f"it expired on {_time(old.not_after)}", hint)
    return Words(
        f"the certificate of its authority {_who(old.subject)} expired on {_time(old.not_after)}",
        hint.replace("renew the certificate", "send the renewed certificate of that authority"),
    )


def _not_yet_valid(matter: _Matter) -> Words:
    hint = f"Check this machine's clock: it says {_time(matter.now)}."
    young = next((each for each in matter.chain if each.not_before > matter.now), None)
    since = f" before {_time(young.not_before)}" if young is not None else " yet"
    return Words(f"it is not valid{since}", hint)


def _self_signed(matter: _Matter) -> Words:
    product = inspector(matter.chain)
    if product:
        return _unknown_issuer(matter)
    return Words(
        "it is self-signed, and this machine does not know it",
        f"If you know this server, get its certificate from the operator (or with: {_fetch(matter.host)}) and pass "
        "it with --ca-bundle FILE.",
    )


def _unknown_issuer(matter: _Matter) -> Words:
    if not matter.chain:
        return Words(
            "it was issued by an authority that this machine does not trust",
            "If a company proxy inspects TLS, export its root certificate and pass it with --ca-bundle FILE.",
        )
    top, is_alone = _top(matter.chain)
    root, product = _who(top.issuer), inspector(matter.chain)
    if product:
        return Words(
            f"it was issued by {root}, which this machine does not trust: {product} opens connections on the way, to "
            "inspect them",
            f"The issuer is {product}: export its root certificate {root} (from the browser: padlock, certificate, "
            f"topmost entry; or ask IT for it), and {_GIVE_IT}",
        )
    if top.is_self_issued or not is_alone:
        return Words(
            f"it was issued by {root}, an authority that this machine does not trust",
            f"The issuer is {root}: if it is your company's, export this root certificate (or ask IT for it), and "
            f"{_GIVE_IT}",
        )
    return Words(
        f"the server does not send the intermediate certificate {root}, or {root} is a root that this machine does "
        "not trust",
        f"The issuer is {root}: get its certificate (from your IT, or from the server's operator), and {_GIVE_IT} If "
        "browsers reach this server without trouble, the mistake is the server's: the server's operator must add that "
        "certificate to what the server sends.",
    )


def _wrong_host(matter: _Matter) -> Words:
    leaf = matter.leaf
    bare = matter.host.rpartition(":")[0] if re.search(r":\d+$", matter.host) else matter.host
    if leaf is None:
        return Words("it was issued for another host", "Use the host name that the certificate was issued for.")
    if not leaf.hosts:
        return Words(
            f"it names no host that it is for, so not {bare} either",
            "The server's operator must get a certificate with the host in its subject alternative names.",
        )
    shown = ", ".join(_quoted(name) for name in leaf.hosts[:_HOSTS_SHOWN])
    more = f" and {len(leaf.hosts) - _HOSTS_SHOWN} more" if len(leaf.hosts) > _HOSTS_SHOWN else ""
    return Words(
        f"it is for {shown}{more}, not for {bare}",
        "Use a host name in the URL that the certificate is for. If the name in the URL is right, something on the "
        "way answers in the server's place: a sign-in page of the network, a proxy, or an attacker.",
    )


def _wrong_purpose(matter: _Matter) -> Words:
    del matter
    return Words(
        "it was not issued for servers (its extended key usage)",
        "The server's operator must use a certificate for TLS servers; perhaps this one is a client's.",
    )


def _weak(what: str) -> Sentence:
    def say(matter: _Matter) -> Words:
        del matter
        return Words(what, "The server's operator must get a certificate of today's strength.")

    return say


def _wrong_signature(matter: _Matter) -> Words:
    issuer = _who(matter.chain[0].issuer) if matter.chain else "its issuer"
    return Words(
        f"its signature is not that of the authority {issuer} which this machine knows",
        f"Perhaps {issuer} has a new root certificate: export it, and pass that one with --ca-bundle FILE instead of "
        "the old one.",
    )


def _no_authority(matter: _Matter) -> Words:
    signer = f" {_who(matter.chain[1].subject)}" if len(matter.chain) > 1 else ""
    return Words(
        f"it was issued with a certificate{signer} that is no authority's",
        "The server's operator must get a certificate from an authority.",
    )


def _revoked(matter: _Matter) -> Words:
    del matter
    return Words("it has been revoked", "The server's operator must get a new certificate. Do not go on until then.")


def _unclear(matter: _Matter) -> Words:
    product = inspector(matter.chain)
    if product:
        return _unknown_issuer(matter)
    return Words(
        "it could not be verified",
        "If a company proxy inspects TLS, export its root certificate and pass it with --ca-bundle FILE.",
    )


_SENTENCES: dict[Reason, Sentence] = {
    Reason.NOT_YET_VALID: _not_yet_valid,
    Reason.EXPIRED: _expired,
    Reason.SELF_SIGNED: _self_signed,
    Reason.UNKNOWN_ISSUER: _unknown_issuer,
    Reason.WRONG_HOST: _wrong_host,
    Reason.WRONG_PURPOSE: _wrong_purpose,
    Reason.WEAK_KEY: _weak("its key, or that of an authority it rests on, is too short to be safe"),
    Reason.WEAK_SIGNATURE: _weak("it is signed in a way that is no longer safe"),
    Reason.WRONG_SIGNATURE: _wrong_signature,
    Reason.NO_AUTHORITY: _no_authority,
    Reason.REVOKED: _revoked,
    Reason.UNCLEAR: _unclear,
}
_ABOUT_ISSUERS = frozenset([Reason.SELF_SIGNED, Reason.UNKNOWN_ISSUER, Reason.WRONG_SIGNATURE, Reason.UNCLEAR])


def _top(chain: Sequence[Certificate]) -> tuple[Certificate, bool]:
    """The last certificate that the chain leads to, each issued by the next; and whether that is the first one."""
    top = chain[0]
    for each in chain[1:]:
        if top.is_self_issued or each.subject != top.issuer:
            break
        top = each
    return top, top is chain[0]


def _stores(asked: Asked) -> str:
    stores = ", ".join((asked.system or "no system's store, as there is none", *asked.files))
    missing = f"; not usable: {', '.join(asked.missing)}" if asked.missing else ""
    return f"asked: {stores}{missing}"


def _who(name: Name) -> str:
    """`"Common Name" (Organization)`, as far as it is there and says more."""
    common, organization = name.common.strip(), name.organization.strip()
    units = ", ".join(name.units).strip()
    if not common:
        common, organization = (organization, units) if organization else (units, "")
    if not common:
        return "(without a name)"
    if not organization or organization.lower() in common.lower():
        return _quoted(common)
    return f"{_quoted(common)} ({_quoted(organization)[1:-1]})"


def _quoted(text: str) -> str:
    shown = printable(" ".join(text.split())).replace('"', "'")
    return f'"{shown[:_SHOWN]}..."' if len(shown) > _SHOWN else f'"{shown}"'


def _time(text: str) -> str:
    """`2026-01-31T12:00:00Z` as people write it."""
    return f"{text[:10]} {text[11:16]} UTC"


def _fetch(host: str) -> str:
    connect = host if re.search(r":\d+$", host) else f"{host}:443"
    return f"openssl s_client -showcerts -connect {connect}"
