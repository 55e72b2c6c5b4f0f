"""What an HTTP status means when no JSON-RPC message explains it: status in, fault out, for all three wires.

Sources: Streamable HTTP (2025-11-25), "Authorization", RFC 9110 section 15, RFC 6750 section 3.1. Pure.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from mcp_remote_py.core.credentials import Source
from mcp_remote_py.core.errors import Asked, Fault, Refused, SignInNeeded
from mcp_remote_py.core.http import retry_after
from mcp_remote_py.core.http.headers import media_type
from mcp_remote_py.core.redact import printable


class Reply(NamedTuple):
    """The head of an HTTP answer, as far as its meaning depends on it."""

    host: str
    """For sentences, as `origins.place_of` names it."""
    status: int
    content_type: str = ""
    challenge: str = ""
    """`WWW-Authenticate`, several of them joined with commas."""
    retry_after: str = ""
    """`Retry-After`, as it came."""
    date: str = ""
    """`Date`: what the server's clock says, by which a date in `Retry-After` is meant."""
    now: float | None = None
    """What our wall clock says, where the server does not say the time."""
    source: Source | None = None
    """What gave the `Authorization` header that was sent, where that is known."""
    is_home: bool = True
    """Whether the server itself answered, not one to which a redirect led."""


_WORDS = {
    400: "rejected the request as malformed",
    403: "refused access",
    404: "has nothing at this address",
    405: "does not take this kind of request at this address",
    406: "offers no answer in a form that MCP knows",
    407: "is behind a proxy that wants credentials",
    408: "gave up waiting for the whole request",
    410: "says that this address is gone for good",
    413: "refused the message as too large",
    415: "does not accept JSON at this address",
    421: "says that it is not responsible for this host name",
    429: "is being asked too often",
    431: "refused the request headers as too large",
    500: "failed with an internal error",
    501: "does not support this kind of request",
    502: "is a gateway that got no good answer from the real server",
    503: "is not available at the moment",
    504: "is a gateway that waited too long for the real server",
}
_PAGE_WORDS = {400: "refused the request with a web page", 403: "refused access with a web page"}
_HINTS = {
    403: "The credentials may lack a permission, or the server does not allow this way of access.",
    407: "Ask whoever runs the proxy how programs sign in to it.",
    413: "Send less in one call, or raise the server's limit for request bodies.",
    431: "Remove or shorten headers given with --header or --header-file.",
}
SOME_TOKEN = Source(
    "the token",
    "A token was sent: it is wrong, expired or meant for another server. "
    "Renew it in MCP_AUTH_TOKEN, --header or --header-file.",
)
_NOT_LET_IN = (
    "If somebody has just signed in, the server does not let that account in: sign in with another one, or ask for "
    "what it wants (--scope, --resource). A token of your own goes into MCP_AUTH_TOKEN."
)
_BUSY = frozenset([429, 503])
_PASSING = frozenset([429, 502, 503, 504])
"""They pass by themselves: waiting helps."""
_BLOCK_PAGE = (
    "The page may come from a filter on the way, which blocks this address: open the URL in a browser to see what it "
    "says. If it is the server's own, the credentials may lack a permission."
)
_GATEWAY_REFUSAL = (
    "A gateway in front of the server answered with a web page. If this server knows its clients by certificate "
    "(mutual TLS), pass --client-cert FILE and --client-key FILE; else check the URL's scheme and port."
)
"""nginx asks for a client certificate, goes on without one, and says 400 "No required SSL certificate was sent"."""
_SCOPE_ERROR = re.compile(r'\berror\s*=\s*"?insufficient_scope\b', re.IGNORECASE)
_DESCRIPTION = re.compile(r'\berror_description\s*=\s*"([^"]{1,1000})"', re.IGNORECASE)
_SCOPE = re.compile(r'\bscope\s*=\s*"([^"]{1,300})"', re.IGNORECASE)


def wants_more_scope(reply: Reply) -> bool:
    """Whether a 403 asks for a token with more permissions (RFC 6750 section 3.1)."""
    return reply.status == 403 and _SCOPE_ERROR.search(reply.challenge) is not None


def fault_of(reply: Reply, *, with_token: bool) -> Fault:
    """Return the fault that a status means by itself. `with_token`: an `Authorization` header had been sent."""
    fault = _fault_of(reply, with_token=with_token)
    if isinstance(fault, SignInNeeded) and reply.is_home and not with_token:
        fault.asked = Asked(reply.status, reply.challenge)
    return fault


def _fault_of(reply: Reply, *, with_token: bool) -> Fault:
    if reply.status == 401:
        if with_token:
            source = reply.source or SOME_TOKEN
            text = f"{reply.host} refused {source.what} (HTTP 401)"
            return SignInNeeded(text, hint=source.mend + _said(reply), http_status=401)
        return SignInNeeded(f"{reply.host} asks for a sign-in (HTTP 401)", hint=_NOT_LET_IN, http_status=401)
    if wants_more_scope(reply):
        scope = _SCOPE.search(reply.challenge)
        wanted = f" It asks for the scope: {printable(scope.group(1))}." if scope else ""
        return SignInNeeded(
            f"the token does not carry the permission that {reply.host} asks for (HTTP 403)",
            hint=f"Get a token with more permissions.{wanted}",
            http_status=403,
        )
    words = _WORDS.get(reply.status, "gave an answer that MCP has no meaning for")
    if _is_page(reply):
        words = _PAGE_WORDS.get(reply.status, words)
    wait = retry_after.seconds(reply.retry_after, reply.date, reply.now) if reply.status in _PASSING else None
    fault = Refused(
        f"{reply.host} {words} (HTTP {reply.status})",
        hint=_page_hint(reply) or _hint(reply.status, wait),
        # a 503 that says when to come back was sent away at the door; without that, a gateway may have lost the answer
        may_have_run=reply.status >= 500 and not (reply.status == 503 and wait is not None),
        http_status=reply.status,
        mends=reply.status in _PASSING,
    )
    fault.retry_after = wait
    return fault


def _hint(status: int, wait: float | None) -> str | None:
    if wait is not None:
        return f"Try again in {math.ceil(wait)} seconds, as the server asks."
    if status == 503:
        return "Try again in a while. The call may have run: check its effect before you repeat it."
    if status in _BUSY:
        return "Try again in a while."
    if status >= 500:
        return "The server's log may say more. The call may have run: check its effect before you repeat it."
    return _HINTS.get(status)


def _page_hint(reply: Reply) -> str | None:
    """What a web page with these statuses most likely means."""
    return {400: _GATEWAY_REFUSAL, 403: _BLOCK_PAGE}.get(reply.status) if _is_page(reply) else None


def _is_page(reply: Reply) -> bool:
    return media_type(reply.content_type) == "text/html"


def _said(reply: Reply) -> str:
    """What the server says about the token, as a sentence; empty where it says nothing (RFC 6750 section 3)."""
    found = _DESCRIPTION.search(reply.challenge)
    return f" The server says: {printable(found.group(1), 200)}" if found else ""
