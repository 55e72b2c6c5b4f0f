"""Addresses: what may be opened in a browser, asked, or believed to be an endpoint. Texts in, verdicts out.

Every address of a sign-in that the user did not type is hostile until it has passed here: readers of URLs disagree
about blanks, backslashes, user names and odd hosts, and shells and browsers about more. A verdict is None where
nothing is wrong, else a phrase for people: "it is not https". It repeats nothing of the address.

Sources: RFC 3986, RFC 6749 sections 3.1 and 3.2, RFC 8414 section 2, RFC 8252 section 7.3, RFC 6890 and RFC 6052 (what
is private); CVE-2025-6514 (an authorization URL that became a shell command).
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

LONGEST = 4096
"""Characters of an endpoint, an issuer or a document's address."""
LONGEST_TO_OPEN = 32768
"""Characters of an address that is opened: it holds whole parameters. No system takes a longer one."""

_PORTS = {"http": 80, "https": 443}
_AS_HTTP = {"ws": "http", "wss": "https"}
_NO_URL = re.compile(r"[^\x21-\x7e]|[\"'`<>|\\^{}]|\$\(")
"""What no URL holds: blanks, controls and all beyond ASCII (RFC 3986), and what shells and HTML act on."""
_NETLOC = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5})?)?")
_LABELS = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "64:ff9b:1::/48",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Not 100.64.0.0/10 (overlay networks give it to public names) nor 198.18.0.0/15 (some VPN clients answer every name
with it), nor the ranges for documentation."""
_HOLDS_V4 = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # mapped
        ("::ffff:0:0:0/96", 0),  # translated
        ("::/96", 0),  # compatible
        ("64:ff9b::/96", 0),  # NAT64
        ("2002::/16", 80),  # 6to4
    )
)
"""IPv6 networks whose addresses lead to an IPv4 address, and by how many bits that stands from the end."""


class Place(NamedTuple):
    """An origin: the scheme (`http` or `https`), the host in lower case, the port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The origin as a URL, without a slash at its end and without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def place(url: str) -> Place:
    """Return the origin of a URL; WebSocket URLs count as the HTTP URLs that they begin as.

    A host beyond ASCII is given as DNS knows it. Raises `ValueError` where there is no usable origin.
    """
    if len(url) > LONGEST_TO_OPEN:
        raise ValueError("longer than any URL")
    parts = urlsplit(url)
    scheme = _AS_HTTP.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS:
        raise ValueError("a scheme that HTTP does not know")
    found = _NETLOC.fullmatch(_ascii(parts.netloc.rpartition("@")[2]))
    if found is None:
        raise ValueError("no host, or none that can be read")
    host, port = found["host"].lower(), int(found["port"] or _PORTS[scheme])
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif not _LABELS.fullmatch(host):
        raise ValueError("no name of a host")
    if not 0 < port < 65536:
        raise ValueError("no port")
    return Place(scheme, host.rstrip("."), port)


def is_at(url: str, *others: str | None) -> bool:
    """Whether a URL has the origin of one of these. What cannot be read is nowhere."""
    try:
        mine = place(url)
    except ValueError:
        return False
    for other in others:
        try:
            if other is not None and place(other) == mine:
                return True
        except ValueError:
            continue  # not a place, so not this one
    return False


def authorization_url_problem(url: str) -> str | None:
    """Return why a URL may not be opened in a browser, None where it may.

    It is http or https (plain http to this machine alone), names a host and no user, and holds no character that a
    shell, a terminal or a page could take for something else.
    """
    return _problem(url, LONGEST_TO_OPEN)


def endpoint_problem(url: object, issuer: str | None = None) -> str | None:
    """Return why a URL may not be used as an endpoint, None where it may: https, or http to this machine.

    `issuer`: given where no metadata vouches for the endpoint, which then has to lie at the issuer's own origin.
    """
    if not isinstance(url, str):
        return "it is no text"
    problem = _problem(url, LONGEST)
    if problem is None and "#" in url:
        return "it has a fragment"
    if problem is None and issuer is not None and not is_at(url, issuer):
        return "it is not at the address of the authorization server"
    return problem


def document_problem(url: str, server_url: str) -> str | None:
    """Return why a server's metadata may not be asked for at a URL that the server named, None where it may.

    As an endpoint, but plain http is good enough where the server itself is asked by it; and from a server elsewhere
    nothing leads to this machine.
    """
    problem = _problem(url, LONGEST, plain=is_at(url, server_url))
    if problem is not None:
        return problem
    if is_loopback_host(place(url).host) and not is_loopback_host(place(server_url).host):
        return "it leads to this machine"
    return None


def issuer_problem(issuer: object) -> str | None:
    """Return why a text cannot name an authorization server (RFC 8414 section 2), None where it can."""
    problem = endpoint_problem(issuer)
    if problem is None and isinstance(issuer, str) and "?" in issuer:
        return "it has a query"
    return problem


def client_id_url_problem(url: str) -> str | None:
    """Return why a URL cannot be a client id (client ID metadata documents: https, a path, nothing to resolve)."""
    problem = endpoint_problem(url)
    if problem is not None:
        return problem
    parts = urlsplit(url)
    if parts.scheme != "https":
        return "it is not https"
    if parts.path in ("", "/"):
        return "it has no path"
    if _has_dots(parts.path):
        return "its path has dots to resolve"
    return None


def is_loopback_host(host: str) -> bool:
    """Whether a host is this machine's loopback: `localhost`, 127.0.0.0/8 or ::1. (Of other names nobody can tell.)"""
    bare = host.strip("[]").lower().rstrip(".")
    if bare == "localhost":
        return True
    address = _address(bare)
    return address is not None and any(each.is_loopback for each in (address, *_within(address)))


def is_private_address(text: str) -> bool:
    """Whether an IP address belongs to this machine or a private network. What is no address counts as private.

    That is loopback, RFC 1918, link-local (with the clouds' 169.254.169.254), unique local and whatever else no public
    host has; also where an IPv6 address leads to such an IPv4 address. 100.64.0.0/10 does not count.
    """
    address = _address(text.strip("[]"))
    if address is None:
        return True
    return any(each in network for each in (address, *_within(address)) for network in _PRIVATE)


def _ascii(netloc: str) -> str:
    """Return host and port with the host as DNS knows it. Raises `ValueError` where it cannot be written so."""
    if netloc.isascii():
        return netloc
    host, colon, port = netloc.rpartition(":")
    if not colon or not port.isascii():
        host, colon, port = netloc, "", ""
    return host.encode("idna").decode("ascii") + colon + port


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _within(address: Address) -> list[Address]:
    """Return the IPv4 addresses that an IPv6 address leads to."""
    if address.version == 4 or int(address) <= 1:
        return []
    return [
        ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
        for network, shift in _HOLDS_V4
        if address in network
    ]


def _has_dots(path: str) -> bool:
    """Whether a path has `.` or `..` as a segment, written plainly or percent-encoded."""
    return any(unquote(segment) in (".", "..") for segment in path.split("/"))


def _problem(url: str, longest: int, *, plain: bool = False) -> str | None:
    if len(url) > longest:
        return "it is too long"
    if _NO_URL.search(url):
        return "it holds a character that no URL holds"
    try:
        parts: SplitResult = urlsplit(url)
        if parts.scheme not in _PORTS:
            return "it is neither https nor http"
        if "@" in parts.netloc:
            return "it holds a user name"
        found = place(url)
    except ValueError:
        return "it has no host and port that can be read"
    if found.scheme == "http" and not plain and not is_loopback_host(found.host):
        return "it is not https"
    return None
