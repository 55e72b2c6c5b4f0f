"""Redirects: what may be followed where. A decision only; whoever sends the request carries it out.

A redirect is followed where method and body are kept, on the same origin or to one that the user allowed; anything else
is refused with the new address, so that the user can decide. That no credential goes along to another origin is not
decided here: headers are bound to theirs (`net.http.Request.bound`). Source: RFC 9110 section 15.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mcp_remote_py.core.errors import Refused
from mcp_remote_py.core.http.origins import Origin, is_same_origin, origin_of, place_of, resolve, without_query

MOST_HOPS = 5
_FOR_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_FOR_WEBSOCKETS = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_SIGN_IN = re.compile(
    r"\b(?:log-?in|log-?on|sign-?in|sso|saml2?|oauth2?|adfs|idp|okta|microsoftonline)\b", re.IGNORECASE
)
_KEEP_METHOD = frozenset([307, 308])
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_REDIRECTS = frozenset([301, 302, 303, 307, 308])


def next_url(
    method: str,
    url: str,
    status: int,
    location: str | None,
    hops: int,
    allowed: frozenset[Origin] = frozenset(),
) -> str | None:
    """Return where to send the same request again, or None where the answer is no redirect.

    `hops` is how many redirects were followed already; `allowed` are the other origins that one may lead to. Raises
    `Refused` for a redirect that must not be followed.
    """
    if status not in _REDIRECTS or not location:
        return None
    try:
        target = resolve(url, location)
    except ValueError:
        raise _refused(url, status, "an address that cannot be read") from None
    if not is_same_origin(url, target) and origin_of(target) not in allowed:
        raise _elsewhere(url, status, target)
    if method not in ("GET", "HEAD") and status not in _KEEP_METHOD:
        text = f"{without_query(target)}, in a way that would drop the message"
        raise _refused(url, status, text)
    if hops >= MOST_HOPS:
        raise Refused(f"{place_of(url)} redirects in a circle (more than {MOST_HOPS} times)", http_status=status)
    return target


def allowed_origins(given: Iterable[str], scheme: str) -> frozenset[Origin]:
    """Return the origins of `--allow-redirect-to`, as URLs of the wire that begins with this scheme spell them.

    For `ws` and `wss` the origins of `http` and `https` are meant, and the other way round.
    """
    spelt = _FOR_WEBSOCKETS if scheme in ("ws", "wss") else _FOR_HTTP
    origins = map(origin_of, given)
    return frozenset(origin._replace(scheme=spelt[origin.scheme]) for origin in origins)


def _elsewhere(url: str, status: int, target: str) -> Refused:
    scheme, host, port = origin_of(target)
    host = f"[{host}]" if ":" in host else host
    origin = f"{scheme}://{host}" if port == _PORTS[scheme] else f"{scheme}://{host}:{port}"
    unsafe = " It is not encrypted." if url.startswith(("https:", "wss:")) and scheme in ("http", "ws") else ""
    hint = (
        f"That is another server.{unsafe} If you trust it, give its address as the URL, or pass --allow-redirect-to "
        f"{origin}: it is shown no credential then."
    )
    if scheme in ("https", "wss") and host.strip("[]") == origin_of(url).host:
        hint = f"Give {without_query(target)} as the URL."
    elif _SIGN_IN.search(without_query(target)):
        hint = (
            "That looks like a page where people sign in with a browser, which this program cannot do. Give it a "
            "token: set MCP_AUTH_TOKEN, or pass --bearer-command COMMAND. If you did, the server does not take that "
            "token: ask its operator how programs sign in."
        )
    return Refused(
        f"{place_of(url)} redirects to {without_query(target)} (HTTP {status})",
        hint=hint,
        may_have_run=False,
        http_status=status,
    )


def _refused(url: str, status: int, target: str) -> Refused:
    return Refused(
        f"{place_of(url)} redirects to {target} (HTTP {status})",
        hint="If you trust that address, give it as the URL: credentials are never sent on to another server.",
        may_have_run=False,
        http_status=status,
    )
