"""One origin's cookies, kept by the standard library's jar.

Apart from `cookies`, because it loads half of http and email, which a bridge whose server sets no cookie never needs.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from http.client import HTTPResponse

_HTTP_OF = {"ws": "http", "wss": "https"}


class Jar:
    """Path, expiry and `Secure` are respected (RFC 6265)."""

    def __init__(self) -> None:
        self._jar = CookieJar()

    def keep(self, url: str, fields: Sequence[str]) -> None:
        """Take in the `Set-Cookie` fields of an answer to a request for this URL."""
        self._jar.extract_cookies(cast("HTTPResponse", _Answer(fields)), _request(url))

    def header(self, url: str) -> str | None:
        """Return the value of the `Cookie` header for a request for this URL, None where there is no cookie."""
        request = _request(url)
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie")


def _request(url: str) -> urllib.request.Request:
    scheme, rest = url.split(":", 1)
    return urllib.request.Request(f"{_HTTP_OF.get(scheme, scheme)}:{rest}")  # noqa: S310  nothing is opened with it


class _Answer:
    """An answer as http.cookiejar asks for it."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._head = Message()
        for field in fields:
            self._head["Set-Cookie"] = field

    def info(self) -> Message:
        return self._head
