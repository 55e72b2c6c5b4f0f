"""Who may knock, and as whom: Host and Origin, cross-origin answers, the credential in a request, the challenge. Pure.

Browsers do not let a page choose the Host header, and name the page in Origin; checking both is what keeps a web page
from driving a local server (DNS rebinding). Sources: MCP transports, "Security Warning"; RFC 6750 section 3; WHATWG
Fetch (CORS); MCP Authorization, "Token Handling".
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from functools import lru_cache
from typing import NamedTuple

from mcp_remote_py.core.http.origins import bare_host, is_loopback
from mcp_remote_py.core.message import encode


class Doors(NamedTuple):
    """From where requests may come. Hosts are names or `name:port`; origins are `scheme://host[:port]`."""

    bound_host: str = "127.0.0.1"
    """What the server was told to bind to."""
    hosts: tuple[str, ...] = ()
    """Further values of Host that are allowed."""
    origins: tuple[str, ...] = ()
    """Further values of Origin that are allowed; `null` must be listed to pass."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read our answers; they are allowed as origins, too. `*` is any but `null`."""
    public_url: str | None = None
    """The URL under which clients know this server; its host and origin are allowed."""


_UNSPECIFIED = ("", "0.0.0.0", "::", "*")
_HEADS = 64
"""How many different headers are remembered: a client sends the same ones with every message."""


@lru_cache(_HEADS)
def split_host(header: str) -> tuple[str, str] | None:
    """Return host and port (or nothing) of a Host header; None where it is malformed."""
    header = header.strip()
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:/?#@\s\[\]]+)(?::(\d{1,5}))?", header)
    if match is None:
        return None
    return bare_host(match.group(1)), match.group(2) or ""


def host_allowed(header: str | None, local: str | None, doors: Doors) -> bool:
    """Whether a request may name this host. `local` is the address of our end of its connection.

    Loopback names pass on loopback connections; the connection's own address, the host we bound to, what was listed,
    and the host of the public URL pass everywhere.
    """
    parts = split_host(header) if header else None
    if parts is None:
        return False
    host, port = parts
    ours = bare_host(local) if local else ""
    if is_loopback(host) and is_loopback(ours):
        return True
    if host in (ours, bare_host(doors.bound_host)) and host not in _UNSPECIFIED:
        return True
    listed = [_host_and_port(entry) for entry in doors.hosts]
    if doors.public_url:
        listed.append((bare_host(urllib.parse.urlsplit(doors.public_url).hostname or ""), ""))
    return any(name == host and wanted in ("", port) for name, wanted in listed)


def _host_and_port(entry: str) -> tuple[str, str]:
    return split_host(entry) or (bare_host(entry), "")  # an IPv6 address may be listed without its brackets


def origin_of(url: str) -> str | None:
    """Return the origin of an http(s) URL as browsers spell it, None for anything else."""
    try:
        parts = urllib.parse.urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        return None
    spelled = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{spelled}" + (f":{port}" if port not in (None, default) else "")


def origin_allowed(origin: str | None, local: str | None, doors: Doors) -> bool:
    """Whether a request may come from a page of this origin. No Origin: not a browser, so nothing to check."""
    if origin is None:
        return True
    origin = origin.strip().lower()
    listed = {_spelled(entry) for entry in (*doors.origins, *doors.cors_origins)}
    if origin in listed or (origin_of(origin) or origin) in listed:
        return True
    spelled = origin_of(origin)
    if spelled is None:
        return False
    if "*" in doors.cors_origins or (doors.public_url and spelled == origin_of(doors.public_url)):
        return True
    host = urllib.parse.urlsplit(spelled).hostname or ""
    return is_loopback(host) and is_loopback(local or "")


def _spelled(entry: str) -> str:
    return origin_of(entry) or entry.strip().lower()


def cors_origin(origin: str | None, doors: Doors) -> str | None:
    """Return the value of `Access-Control-Allow-Origin`, or None where the page may not read our answers.

    `*` is only ever answered without `Access-Control-Allow-Credentials`, which we never send: no cookie is used.
    """
    if origin is None:
        return None
    if _spelled(origin) in {_spelled(entry) for entry in doors.cors_origins if entry != "*"}:
        return origin.strip()
    return "*" if "*" in doors.cors_origins and origin.strip().lower() != "null" else None


CORS_EXPOSED = "Mcp-Session-Id, WWW-Authenticate"
CORS_METHODS = "GET, POST, DELETE, OPTIONS"
_CORS_HEADERS = (
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, "
    "X-API-Key"
)
_PARAM_HEADER = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]{1,128}")


def cors_headers(requested: str | None) -> str:
    """Return what a preflight may send: the fixed list, and the `Mcp-Param-*` names that it asks for."""
    names = [name.strip() for name in (requested or "").split(",")]
    extra = [name for name in names if _PARAM_HEADER.fullmatch(name.lower())]
    return ", ".join([_CORS_HEADERS, *extra[:32]])


# --- Credentials -----------------------------------------------------------------------------------------------------


class Credential(NamedTuple):
    """What a request proves itself with."""

    token: str
    is_api_key: bool
    """It came in `X-API-Key`, which only static tokens may use."""


def credential_of(authorization: str | None, api_key: str | None) -> Credential | None:
    """Return the credential of a request, or None where there is none that we understand (RFC 6750 section 2.1)."""
    if authorization is not None:
        scheme, _, rest = authorization.strip().partition(" ")
        if scheme.lower() == "bearer" and rest.strip():
            return Credential(rest.strip(), is_api_key=False)
    if api_key is not None and api_key.strip():
        return Credential(api_key.strip(), is_api_key=True)
    return None


_TOKEN_MESSAGE_BYTES = 64 * 1024


def token_in(raw: bytes) -> str | None:
    """Return the token of a first WebSocket message of exactly the shape `{"token": "..."}`, else None."""
    if len(raw) > _TOKEN_MESSAGE_BYTES:
        return None
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    token = document.get("token") if isinstance(document, dict) and len(document) == 1 else None
    return token if isinstance(token, str) else None


class Challenge(NamedTuple):
    """The answer to a request without a valid credential: always status 401."""

    header: str
    """`WWW-Authenticate`."""
    body: bytes


MISSING = Challenge('Bearer realm="mcp"', encode({"error": "Unauthorized"}))
"""No token was sent: no `error` attribute (RFC 6750 section 3.1)."""

INVALID = Challenge(
    'Bearer realm="mcp", error="invalid_token", error_description="The token is not valid here"',
    encode({"error": "Invalid token"}),
)
"""A token was sent, and it is wrong, expired, or meant for another server."""


def label_of(secret: str) -> str:
    """Return a short name for a secret, which does not give it away."""
    return hashlib.sha256(b"mcp-remote-server principal\0" + secret.encode("utf-8", "surrogateescape")).hexdigest()[:16]
