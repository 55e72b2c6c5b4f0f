"""Which proxy leads to a URL, and why: the setting, the variables and the system's settings in, a route out. Pure.

    --proxy URL ──▶ the variables ──▶ the operating system's settings ──▶ straight
                    (NO_PROXY applies)  (its exceptions and NO_PROXY apply)

This machine's loopback is never asked for through a proxy. The rules of NO_PROXY are curl's and Go's together: what
either of them would send straight goes straight.
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import Origin, bare_host, is_loopback, origin_of

FLAG = "--proxy"
STRAIGHT, EXEMPT, UNNAMED = f"{FLAG} none", "NO_PROXY has", "no proxy is configured"
"""How a route's `why` begins where no proxy is used."""
SYSTEM = "the system's proxy setting"
AUTO = "auto_proxy"
_WORDS = ("system", "none")
"""What --proxy takes besides a URL."""
_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5", "socks": "socks5"}
_VARIABLES = {"https": "HTTPS_PROXY", "http": "HTTP_PROXY", "all": "ALL_PROXY", "auto": AUTO}
_PLAIN_OF = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
"""A WebSocket takes the way of the HTTP request that opens it (RFC 6455 section 4.1)."""
_SUSPICIOUS = re.compile(r"[\x00-\x20\x7f\\]")
_PAC = re.compile(r"^pac\+|\.pac$|/wpad\.dat$", re.IGNORECASE)
ESCAPES = "In the password, write %40 for @, %3A for :, %2F for /, %23 for #, %3F for ? and %25 for %."
_NOT_RUN = "names a PAC file, a script that chooses the proxy; such scripts are not run here"
PAC_HINT = (
    "Look into that file for a line like `PROXY host:port` and give it: --proxy http://host:port. "
    "If this server can be reached without a proxy: --proxy none."
)


class Proxy(NamedTuple):
    """One proxy, and where it was named. `scheme` says how to speak with the proxy itself: http, https or socks5."""

    scheme: str
    host: str
    port: int
    where: str
    username: str | None = None
    password: str = ""

    def __repr__(self) -> str:
        return f"<Proxy {self.scheme}://{self.place} of {self.where}>"

    @property
    def place(self) -> str:
        """`host:port`, for sentences and for connecting."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The value of `Proxy-Authorization`, None where no credentials were given (RFC 7617)."""
        if self.username is None:
            return None
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


class Route(NamedTuple):
    """The way to one server. `why` says what decided; `pac` that a PAC file is configured, which nobody has read."""

    proxy: Proxy | None
    why: str
    pac: str | None = None


class SystemProxies(NamedTuple):
    """What the operating system's settings say: a proxy for each scheme, exceptions, and where the PAC file is."""

    proxies: tuple[tuple[str, str], ...] = ()
    exceptions: tuple[str, ...] = ()
    pac: str | None = None


class BadProxy(ValueError):
    """The text of a proxy cannot be used. `reason` continues a sentence that begins with `where`; no secret in it."""

    def __init__(self, where: str, reason: str, hint: str = "") -> None:
        super().__init__(f"{where} {reason}")
        self.hint = hint


def check_setting(text: str, where: str = FLAG) -> str:
    """Return the value of --proxy, tidied. Raises `ConfigError` where it is no proxy."""
    text = text.strip()
    if text.lower() in _WORDS:
        return text.lower()
    if text.lower() in ("", "off", "no", "direct", "false"):
        raise ConfigError(f"{where}: write none for no proxy, system for the system's, or the proxy's URL.")
    meant = difflib.get_close_matches(text.lower(), _WORDS, n=1, cutoff=0.75) if text.isalpha() else []
    if meant:
        raise ConfigError(
            f"{where}: {text!r} is neither {' nor '.join(_WORDS)}. Did you mean {meant[0]}? If it is the name of a "
            f"proxy, write it with its port: {text}:8080"
        )
    try:
        parse(text, where)
    except BadProxy as bad:
        raise ConfigError(f"{bad}. {bad.hint}".strip()) from None
    return text


def asks_system(setting: str, variables: Mapping[str, str]) -> bool:
    """Whether the operating system's settings have a say: no flag and no variable names a proxy."""
    return setting == "system" and not any(kind in variables for kind in ("https", "http", "all"))


def choose(url: str, setting: str, variables: Mapping[str, str], system: SystemProxies | None = None) -> Route:
    """Return the way to the server of this URL.

    `setting` is `system`, `none` or a proxy's URL; `variables` has `https`, `http`, `all`, `no` and `auto`. Raises
    `BadProxy` where the proxy that would be taken cannot be, and `ValueError` for a URL without an origin.
    """
    origin = origin_of(url)
    if is_loopback(origin.host):
        return Route(None, "this machine itself is never reached through a proxy")
    if setting == "none":
        return Route(None, STRAIGHT)
    if setting != "system":
        return Route(parse(setting, FLAG), FLAG)
    entry = exception_for(origin, split_exceptions(variables.get("no", "")))
    if entry is not None:
        return Route(None, f"{EXEMPT} {entry}")
    if not asks_system(setting, variables):
        return _by_variables(origin, variables)
    return _by_system(origin, system or SystemProxies(), variables.get("auto"))


def _by_variables(origin: Origin, variables: Mapping[str, str]) -> Route:
    for kind in (_PLAIN_OF[origin.scheme], "all"):
        if kind in variables:
            name = _VARIABLES[kind]
            return Route(parse(variables[kind], name), name)
    return Route(None, f"no variable names a proxy for {_PLAIN_OF[origin.scheme]}")


def _by_system(origin: Origin, system: SystemProxies, auto: str | None) -> Route:
    pac = AUTO if auto else SYSTEM if system.pac else None
    entry = exception_for(origin, system.exceptions)
    if entry is not None:
        return Route(None, f"{SYSTEM} except {entry}")
    proxies = dict(system.proxies)
    text = proxies.get(_PLAIN_OF[origin.scheme]) or proxies.get("all") or proxies.get("socks")
    if not text:
        return Route(None, UNNAMED, pac)
    if text == proxies.get("socks"):
        text = "socks5://" + text.partition("://")[2] if "://" in text else f"socks5://{text}"
    return Route(parse(text, SYSTEM), SYSTEM, pac)


# --- One proxy -------------------------------------------------------------------------------------------------------


def parse(text: str, where: str) -> Proxy:
    """Read a proxy: `http://user:p%40ss@host:port`, `host:port`, `https://...`, `socks5://...`. Raises `BadProxy`."""
    text = text.strip()
    if re.search(r"[/?#].*@", text.partition("://")[2] or text):
        raise BadProxy(where, "has a character in its password that must be written otherwise", ESCAPES)
    if _SUSPICIOUS.search(text):
        hint = r"Write %5C for a backslash in the user name, and %20 for a blank." if "@" in text else _example(where)
        raise BadProxy(where, "has a blank, a backslash or a control character in it", hint)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text.removeprefix('//')}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadProxy(where, "is no valid URL: check the host and the port", _example(where)) from None
    scheme = parts.scheme.lower()
    if _PAC.search(f"{scheme}://{parts.path}" if scheme.startswith("pac+") else parts.path):
        raise BadProxy(where, _NOT_RUN, PAC_HINT)
    if scheme in ("socks4", "socks4a"):
        raise BadProxy(where, "names a SOCKS4 proxy, which is not spoken here", "Most of them speak socks5://, too.")
    if scheme not in _SCHEMES:
        raise BadProxy(where, "has a scheme that is none of http, https, socks5, socks5h", _example(where))
    if not host or port == 0:
        reason = "has the port 0, which nothing listens on" if host else "has no host"
        raise BadProxy(where, reason, _example(where))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadProxy(where, "has something after the port; a proxy is a host and a port", _example(where))
    username, password = _credentials(parts)
    scheme = _SCHEMES[scheme]
    return Proxy(scheme, host.rstrip("."), port or _PORTS[scheme], where, username, password)


def _credentials(parts: SplitResult) -> tuple[str | None, str]:
    if not parts.username and not parts.password:
        return None, ""
    return unquote(parts.username or ""), unquote(parts.password or "")


def _example(where: str) -> str:
    return (
        f"Write for example {'' if where == SYSTEM else f'{where} ' if where == FLAG else f'{where}='}http://host:8080"
    )


# --- Exceptions ------------------------------------------------------------------------------------------------------


def split_exceptions(text: str) -> tuple[str, ...]:
    """Return the entries of NO_PROXY: separated by commas, semicolons or blanks."""
    return tuple(entry for entry in re.split(r"[\s,;]+", text) if entry)


def exception_for(origin: Origin, entries: Iterable[str]) -> str | None:
    """Return the entry that sends this server straight, or None."""
    host = bare_host(origin.host)
    return next((entry for entry in entries if _matches(host, origin.port, entry.strip().lower())), None)


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    if entry == "<local>":
        return "." not in host and ":" not in host
    entry, wanted = _without_port(entry.partition("://")[2] or entry)
    if wanted is not None and wanted != port:
        return False
    if "/" in entry:
        return _in_network(host, entry)
    entry = bare_host(entry)
    if "*" in entry.removeprefix("*."):
        pattern = re.escape(entry).replace(r"\*", ".*")
        return re.fullmatch(pattern, host) is not None
    suffix = entry.removeprefix("*").lstrip(".")
    if not suffix:
        return False
    return host == suffix or _same_address(host, suffix) or (not _is_address(host) and host.endswith(f".{suffix}"))


def _without_port(entry: str) -> tuple[str, int | None]:
    """`host:port` and `[v6]:port`; a bare IPv6 address has colons, but no port."""
    head, colon, tail = entry.rpartition(":")
    if colon and tail.isascii() and tail.isdigit() and (":" not in head or head.endswith("]")):
        return head, int(tail[:6])
    return entry, None


def _is_address(host: str) -> bool:
    return ":" in host or re.fullmatch(r"\d+(\.\d+){3}", host) is not None


def _same_address(host: str, other: str) -> bool:
    if ":" not in host or ":" not in other:
        return False
    import ipaddress

    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _in_network(host: str, entry: str) -> bool:
    """Names are not looked up: behind a proxy, this machine's name server may not know them."""
    if not _is_address(host):
        return False
    import ipaddress

    address, _, length = entry.replace("[", "").replace("]", "").partition("/")
    if ":" not in address:
        address += ".0" * (3 - address.count("."))  # macOS writes 169.254/16
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        return False
