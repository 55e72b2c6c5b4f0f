"""Cookies: in memory, for each exact origin its own jar, with path, expiry and `Secure` respected (RFC 6265).

A load balancer's cookie keeps a session on its node. Whatever domain a cookie claims, it goes back to no other origin.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, cast

from mcp_remote_py.core.http.origins import Origin, origin_of

if TYPE_CHECKING:
    from http.client import HTTPResponse

_SHORTEST_SECRET = 6
"""Shorter values (`1`, `true`) are also words of innocent sentences."""
_HTTP_OF = {"ws": "http", "wss": "https"}


class Cookies:
    """The cookies of one link. `learn` is told every value that comes, for the redactor.

    `keeps` False: none is sent back.
    """

    def __init__(self, learn: Callable[[str], None], *, keeps: bool = True) -> None:
        self._learn = learn
        self._keeps = keeps
        self._jars: dict[Origin, CookieJar] = {}

    def keep(self, url: str, fields: Sequence[str]) -> None:
        """Take in the `Set-Cookie` fields of an answer to a request for this URL."""
        if not fields:
            return
        for field in fields:
            value = field.partition(";")[0].partition("=")[2].strip().strip('"')
            if len(value) >= _SHORTEST_SECRET:
                self._learn(value)
        if not self._keeps:
            return
        jar = self._jars.setdefault(origin_of(url), CookieJar())
        jar.extract_cookies(cast("HTTPResponse", _Answer(fields)), _request(url))

    def header(self, url: str) -> str | None:
        """Return the value of the `Cookie` header for a request for this URL, None where there is no cookie."""
        jar = self._jars.get(origin_of(url))
        if jar is None:
            return None
        request = _request(url)
        jar.add_cookie_header(request)
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
