"""The talk with a proxy before the server is reached: what to write, what its answer means, in words that say that it
was the proxy, and which setting named it. Pure. Sources: RFC 9110 sections 9.3.6 and 15.5.8, RFC 1928.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mcp_remote_py.core.errors import Fault, PeerBroke, TimedOut, TlsRefused, Unreachable
from mcp_remote_py.core.http.origins import is_loopback, split_place
from mcp_remote_py.core.http.proxies import ESCAPES, EXEMPT, FLAG, PAC_HINT, STRAIGHT, SYSTEM, Proxy, Route
from mcp_remote_py.core.redact import printable

LARGEST_HEAD = 64 * 1024
_STATUS = re.compile(r"HTTP/1\.[01] (\d{3})(?: |$)")
_WORDS = {
    400: "did not understand the request for a connection to {target}",
    403: "does not allow a connection to {target}",
    404: "does not know the way to {target}",
    405: "does not make connections for other programs (is it really a proxy?)",
    429: "is being asked too often",
    501: "does not make connections for other programs (is it really a proxy?)",
    502: "got no connection to {target}",
    503: "got no connection to {target}",
    504: "waited too long for {target}",
}
_BEYOND = frozenset([404, 502, 503, 504])
"""The proxy works; the trouble lies behind it."""
_BASIC = re.compile(r"(?:^|,)\s*basic\b", re.IGNORECASE)
_SCHEME_NAME = re.compile(r"(?:^|,)\s*([a-z][a-z0-9-]{1,20})(?=\s+[^=,\s]|\s*(?:,|$))", re.IGNORECASE)
_SOCKS_WORDS = {
    1: "failed",
    2: "does not allow a connection to {target}",
    3: "has no way to the network of {target}",
    4: "has no way to {target}",
    5: "says that {target} refused the connection",
    6: "says that {target} is too far away",
    7: "does not make connections for other programs",
    8: "does not take this kind of address",
}


class Head(NamedTuple):
    """The head of a proxy's answer. `challenge` has its Proxy-Authenticate headers, joined with commas."""

    status: int
    challenge: str


def place(host: str, port: int) -> str:
    """Return `host:port` as CONNECT takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect_head(proxy: Proxy, host: str, port: int, agent: str) -> bytes:
    """Return the request for a tunnel. Nothing of the server's credentials is in it."""
    target = place(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", f"User-Agent: {agent}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def read_head(raw: bytes) -> Head | None:
    """Return the head of the answer, None where it is no HTTP."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    status = _STATUS.match(first)
    if status is None:
        return None
    pairs = (line.partition(":") for line in lines)
    challenges = [value.strip() for name, _, value in pairs if name.strip().lower() == "proxy-authenticate"]
    return Head(int(status.group(1)), ", ".join(challenges))


# --- What went wrong -------------------------------------------------------------------------------------------------


def named(proxy: Proxy) -> str:
    """Name a proxy, and the setting that named it, for a sentence; never a password."""
    return f"the proxy {proxy.place} (from {proxy.where})"


def refusal(proxy: Proxy, head: Head, target: str) -> Fault:
    """Return the fault for an answer that opens no tunnel to `target`."""
    if head.status == 407:
        return _wants_credentials(proxy, head.challenge, target)
    words = _WORDS.get(head.status, "opened no connection to {target}").format(target=target)
    if head.status == 403:
        hint = f"Ask whoever runs the proxy to allow it. {_go_past(proxy, target)}"
    elif head.status in _BEYOND:
        hint = f"{_go_past(proxy, target)} Else the server may be down, or its name misspelt in the URL."
    else:
        hint = _mend(proxy, target)
    return Unreachable(f"{named(proxy)} {words} (HTTP {head.status})", hint=hint, mends=head.status in (502, 503, 504))


def _wants_credentials(proxy: Proxy, challenge: str, target: str) -> Fault:
    if challenge and not _BASIC.search(challenge):
        schemes = printable(", ".join(dict.fromkeys(_SCHEME_NAME.findall(challenge))) or "another scheme", 100)
        return Unreachable(
            f"{named(proxy)} wants a sign-in of a kind that is not spoken here: {schemes} (HTTP 407)",
            hint="Run a small proxy on this machine that signs in for you (px or cntlm) and name it with --proxy, or "
            f"ask whoever runs the proxy to let connections to {target} through without a sign-in.",
            mends=False,
        )
    if proxy.username is not None:
        return Unreachable(
            f"{named(proxy)} refused the user name and password that it was given (HTTP 407)",
            hint=f"Check them in {proxy.where}: your password may be a new one. {ESCAPES}",
            mends=False,
        )
    text = f"{named(proxy)} wants a user name and a password (HTTP 407)"
    return Unreachable(text, hint=_give_credentials(proxy), mends=False)


def _give_credentials(proxy: Proxy) -> str:
    where = "HTTPS_PROXY or --proxy, and name it there" if proxy.where == SYSTEM else proxy.where
    return f"Write USER:PASSWORD@ before {proxy.place} in {where}. {ESCAPES}"


def unreachable(proxy: Proxy, trouble: Unreachable, target: str) -> Fault:
    """Return the fault for a proxy that could not be connected to; `trouble` says why."""
    text = f"{named(proxy)} cannot be used: {trouble}"
    if isinstance(trouble, TlsRefused):
        if proxy.scheme == "https" and "does not speak TLS" in str(trouble):
            hint = f"Write http:// instead of https:// in {proxy.where}: it says how to speak with the proxy itself."
            return TlsRefused(text, hint=hint)
        return TlsRefused(text, hint=trouble.hint)
    return Unreachable(text, hint=_mend(proxy, target))


def too_slow(proxy: Proxy, target: str, seconds: float | None) -> Fault:
    """Return the fault for a connection through a proxy that took too long."""
    within = "" if seconds is None else f" within {seconds:g} s"
    return TimedOut(
        f"{named(proxy)} made no connection to {target}{within}",
        hint=f"{_mend(proxy, target)}{_scheme_hint(proxy)} --connect-timeout allows for more time.",
        may_have_run=False,
    )


def without_proxy(hint: str, route: Route, host: str) -> str:
    """Return the hint for a connection that failed on the straight way, with what may be wrong about that way."""
    if route.pac is not None:
        return f"{route.pac} names a PAC file, which is not run here. {PAC_HINT}"
    if route.why.startswith(EXEMPT):
        return f"{hint} {route.why}, so no proxy is used: if there must be one, take that entry out of NO_PROXY."
    if route.why == STRAIGHT or is_loopback(split_place(host)[0]):
        return hint
    return f'{hint} If this network wants a proxy, name it in "env": "HTTPS_PROXY": "http://HOST:PORT".'


def hung_up(proxy: Proxy, target: str) -> Fault:
    """Return the fault for a proxy that ended the connection instead of answering."""
    text = f"{named(proxy)} closed the connection when it was asked for one to {target}"
    return Unreachable(text, hint=_mend(proxy, target))


def no_proxy_at_all(proxy: Proxy, target: str) -> Fault:
    """Return the fault for what answers, but not as a proxy of this kind does."""
    kind = "SOCKS5" if proxy.scheme == "socks5" else "HTTP"
    text = f"{named(proxy)} does not answer in {kind}: is it a proxy of this kind?"
    return PeerBroke(text, hint=_mend(proxy, target), may_have_run=False)


def no_socks_library(proxy: Proxy) -> Fault:
    """Return the fault for a SOCKS proxy where the library is not installed."""
    return Unreachable(
        f"{named(proxy)} is a SOCKS proxy, and the library that speaks SOCKS (socksio) is not installed",
        hint="Install it (pipx inject mcp-remote-py socksio; without pipx: pip install socksio, which is the extra "
        "[socks]), or name an HTTP proxy, or pass --proxy none.",
        mends=False,
    )


def socks_refusal(proxy: Proxy, code: int, target: str) -> Fault:
    """Return the fault for a SOCKS reply other than success (RFC 1928 section 6)."""
    words = _SOCKS_WORDS.get(code, "opened no connection to {target}").format(target=target)
    return Unreachable(
        f"{named(proxy)} {words} (SOCKS reply {code})", hint=_mend(proxy, target), mends=code not in (2, 7, 8)
    )


def socks_sign_in(proxy: Proxy) -> Fault:
    """Return the fault for a SOCKS proxy that wants credentials, or other ones."""
    if proxy.username is None:
        text = f"{named(proxy)} wants a user name and a password"
        return Unreachable(text, hint=_give_credentials(proxy), mends=False)
    return Unreachable(
        f"{named(proxy)} refused the user name and password that it was given",
        hint=f"Check them in {proxy.where}.",
        mends=False,
    )


def _scheme_hint(proxy: Proxy) -> str:
    """A proxy for https:// servers rarely speaks TLS itself: its scheme is often mistaken for theirs."""
    if proxy.scheme != "https":
        return ""
    return " Unless the proxy itself speaks TLS, its URL begins with http://."


def _mend(proxy: Proxy, target: str) -> str:
    return f"Check {proxy.where}, and any VPN. {_go_past(proxy, target)}"


def _go_past(proxy: Proxy, target: str) -> str:
    host = target.rpartition(":")[0].strip("[]") or target
    if proxy.where in (FLAG, SYSTEM):
        return f"If {host} can be reached without a proxy, pass --proxy none."
    return f"If {host} can be reached without a proxy, add it to NO_PROXY or pass --proxy none."
