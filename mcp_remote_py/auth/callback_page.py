"""Callback page: what the browser is shown when it comes back from a sign-in. Bytes only; no sockets.

Nothing of the request is in any page, and nothing that an authorization server said: only fixed words, and the name of
the MCP server, which comes from the configuration. No script, no link, no picture, no form; the one style sheet is
allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import NamedTuple
from urllib.parse import quote

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1.125rem/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center}"
    "main{max-width:34rem;padding:2rem;overflow-wrap:anywhere}"
    "h1{font-size:1.5rem;margin:0 0 .75rem}p{margin:0}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode("ascii")).digest()).decode("ascii")
_GUARDS = (
    f"Content-Security-Policy: default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control: no-store",
    "Referrer-Policy: no-referrer",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Connection: close",
)
_REASONS = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
}


class Page(NamedTuple):
    """An answer: its status, what it says, and the address it sends the browser on to, if any."""

    status: int
    title: str
    text: str
    location: str | None = None

    def to_bytes(self, *, without_body: bool = False) -> bytes:
        """Return the whole answer as HTTP/1.1; `without_body` for a HEAD request."""
        title, text = html.escape(self.title), html.escape(self.text)
        body = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style></head>'
            f"<body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
        ).encode()
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *_GUARDS]
        lines += ["Content-Type: text/html; charset=utf-8", f"Content-Length: {len(body)}"]
        if self.location is not None:
            lines.append(f"Location: {self.location}")
        if self.status == 405:
            lines.append("Allow: GET")
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        return head if without_body else head + body


_OF_URLS = "%/:=&?~#+!$,;'@()*[]|"
_GO_BACK = "You can close this tab and go back to your MCP client."

UNREADABLE = Page(400, "That was no request", "Nothing was changed by it.")
TOO_LARGE = Page(431, "That request is too large", "Nothing was changed by it.")
NOT_HERE = Page(404, "There is nothing here", "This address only waits for the end of a sign-in.")
WRONG_METHOD = Page(405, "There is nothing here", "This address only waits for the end of a sign-in.")
NOT_EXPECTED = Page(
    400,
    "This is not the sign-in that is waited for",
    "It was ignored. Use the tab or the address of the latest sign-in, or start it again from your MCP client.",
)
SPENT = Page(409, "This sign-in has come back already", "It is used once only. " + _GO_BACK)


def signed_in(server: str, success_url: str | None = None) -> Page:
    """Return the page after a sign-in that worked, or the way on to the page that the user wants shown instead."""
    return Page(
        200 if success_url is None else 303, f"Signed in to {server}", _GO_BACK, location=_as_location(success_url)
    )


def failed(server: str) -> Page:
    """Return the page after a sign-in that came back and did not work."""
    return Page(
        502, f"Not signed in to {server}", "The sign-in did not work. Your MCP client and the bridge's log say why."
    )


def unfinished(server: str) -> Page:
    """Return the page for a sign-in that came back and whose outcome is not known yet."""
    return Page(
        200,
        f"The sign-in to {server} came back",
        "It is not finished yet. Your MCP client will say how it ended; you can close this tab.",
    )


def _as_location(url: str | None) -> str | None:
    """Return the URL as it can stand in a header: what is no character of a URL is percent-encoded."""
    return None if url is None else quote(url, safe=_OF_URLS)
