"""Redirects: what may be followed where. A decision only; whoever sends the request carries it out.

A redirect is followed where method, body and every credential stay on the origin that the user named; anything else
is refused with the new address, so that the user can decide. Source: RFC 9110 section 15.4.
"""

from __future__ import annotations

from mcp_remote_py.core.errors import Refused
from mcp_remote_py.core.http.origins import is_same_origin, place_of, resolve, without_query

MOST_HOPS = 5
_KEEP_METHOD = frozenset([307, 308])
_REDIRECTS = frozenset([301, 302, 303, 307, 308])


def next_url(method: str, url: str, status: int, location: str | None, hops: int) -> str | None:
    """Return where to send the same request again, or None where the answer is no redirect.

    `hops` is how many redirects were followed already. Raises `Refused` for a redirect that must not be followed.
    """
    if status not in _REDIRECTS or not location:
        return None
    try:
        target = resolve(url, location)
    except ValueError:
        raise _refused(url, status, "an address that cannot be read") from None
    if not is_same_origin(url, target):
        raise _refused(url, status, without_query(target))
    if method not in ("GET", "HEAD") and status not in _KEEP_METHOD:
        text = f"{without_query(target)}, in a way that would drop the message"
        raise _refused(url, status, text)
    if hops >= MOST_HOPS:
        raise Refused(f"{place_of(url)} redirects in a circle (more than {MOST_HOPS} times)", http_status=status)
    return target


def _refused(url: str, status: int, target: str) -> Refused:
    return Refused(
        f"{place_of(url)} redirects to {target} (HTTP {status})",
        hint="If you trust that address, give it as the URL: credentials are never sent on to another server.",
        may_have_run=False,
        http_status=status,
    )
