"""Origins: which addresses count as the same server, and how an address is named to people.

An origin is scheme, host and port (RFC 6454). What a server names (a redirect, an `endpoint` event) is hostile until
it is shown to lie on the origin it came from. Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SUSPICIOUS = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*|[0-9a-f]*:[0-9a-f:.]*:[0-9a-f.]*")
_UNQUOTED = "%/:=&?~+!$,;'@()*[]|"
_SHOWN = 200
_LOOPBACK_V4 = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}")


class Origin(NamedTuple):
    """Scheme and host in lower case, and the port, the scheme's own where none is written."""

    scheme: str
    host: str
    port: int


@lru_cache(maxsize=64)
def origin_of(url: str) -> Origin:
    """Return the origin of an absolute URL. Raises `ValueError` where it has none."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an absolute URL of a scheme that we speak")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


class Requested(NamedTuple):
    """A URL as HTTP asks for it: where to connect to, the value of `Host`, and the target with its query."""

    scheme: str
    host: str
    port: int
    authority: bytes
    path: bytes


@lru_cache(maxsize=64)
def requested(url: str) -> Requested:
    """Return what to connect to and to ask for. Raises `ValueError` for what is no http or https URL.

    Characters that no request line holds are percent-encoded; what is encoded already stays (RFC 3986 section 2).
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not 0 < (parts.port or 1) < 65536:
        raise ValueError("not a URL that HTTP can ask for")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    authority = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != _PORTS[parts.scheme]:
        authority += f":{parts.port}"
    path = quote(parts.path or "/", safe=_UNQUOTED) + (f"?{quote(parts.query, safe=_UNQUOTED)}" if parts.query else "")
    return Requested(
        parts.scheme, host, parts.port or _PORTS[parts.scheme], authority.encode("ascii"), path.encode("ascii")
    )


def is_same_origin(one: str, other: str) -> bool:
    """Whether two URLs share scheme, host and port. What cannot be read is never the same."""
    try:
        return origin_of(one) == origin_of(other)
    except ValueError:
        return False


def resolve(base: str, reference: str) -> str:
    """Return the absolute URL that a server meant, without its fragment.

    Raises `ValueError` for what URL readers are known to disagree about: white space, control characters,
    backslashes, a user name.
    """
    if _SUSPICIOUS.search(reference):
        raise ValueError("the address holds a character that no address holds")
    parts = urlsplit(urljoin(base, reference))
    if "@" in parts.netloc:
        raise ValueError("the address holds a user name")
    url = urlunsplit(parts._replace(fragment=""))
    origin_of(url)
    return url


@lru_cache(maxsize=64)
def place_of(url: str) -> str:
    """Return `host` or `host:port` for a sentence about the server; never a user name, path or query."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "the server"
    if not host:
        return "the server"
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


def without_query(url: str) -> str:
    """Return the URL as it may be shown: no user name, query, fragment or control character, of bounded length."""
    try:
        parts = urlsplit(url)
        shown = urlunsplit(SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "an address that cannot be read"
    shown = re.sub(r"[^\x21-\x7e]", "?", shown)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def named_host(text: str) -> str:
    """Return the one host that a user named, `host` or `host:port`, as `split_place` reads it.

    Raises `ValueError` for an URL, a pattern, or anything else.
    """
    host, port = split_place(text.strip(), 0)
    if not _HOST_NAME.fullmatch(host) or port > 65535:
        raise ValueError("not the name of a host")
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{port}" if port else host


def split_place(place: str, default: int = 443) -> tuple[str, int]:
    """Return host and port of `host`, `host:port`, `[::1]:port` or `::1`."""
    head, colon, port = place.rpartition(":")
    if colon and port.isascii() and port.isdecimal() and (":" not in head or head.endswith("]")):
        return bare_host(head), int(port[:6])
    return bare_host(place), default


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's loopback. (Of names only `localhost`: resolvers differ on more.)"""
    host = bare_host(host)
    return host in ("localhost", "::1") or _LOOPBACK_V4.fullmatch(host) is not None


@lru_cache(maxsize=64)
def bare_host(host: str) -> str:
    """Return a host without brackets, zone, trailing dot and IPv4-in-IPv6 prefix, in lower case."""
    host = host.strip().lower().strip("[]").partition("%")[0].rstrip(".")
    return host.removeprefix("::ffff:") if "." in host else host
