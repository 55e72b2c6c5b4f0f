"""What every request passes before an endpoint sees it: one aiohttp middleware per file, ordered in `app.py`.

observe -> limits -> located -> origin -> cors -> auth. A request that no route wants is let through, so that unknown
paths are 404 for everyone, and a method that is not possible is 405 before anyone asks for a token.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

from aiohttp import web

PROBES = frozenset({"/health", "/readyz"})
"""Paths that pass without a known Host and without a token, so that probes by address work."""


def request_key(name: str) -> Any:
    """Return a key under which guards leave something in a request. Newer aiohttp wants more than a name."""
    typed = getattr(web, "RequestKey", None)
    return name if typed is None else typed(name, object)


def no_route(request: web.Request) -> int | None:
    """Return the status of a request that no route wants (404 or 405), else None."""
    failure = request.match_info.http_exception
    return None if failure is None else failure.status


def host_of(request: web.Request) -> str | None:
    """Return the host that a request names; one in its request line goes before the header (RFC 9112 section 3.2.2)."""
    target: str = request.raw_path
    if target.startswith("/") or "://" not in target:
        return request.headers.get("Host")
    try:
        return urllib.parse.urlsplit(target).netloc
    except ValueError:
        return ""


def local_address(request: web.Request) -> str | None:
    """Return the address of our end of the connection."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) and name else None
