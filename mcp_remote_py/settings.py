"""The client's frozen settings, in slices: a component receives only its own group."""

from __future__ import annotations

from typing import Literal, NamedTuple

Strategy = Literal["http-first", "sse-first", "http-only", "sse-only", "ws-only"]
Wire = Literal["http", "sse", "ws"]


class Target(NamedTuple):
    """Where the server is, and what we show it."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request to exactly this URL's origin. `Authorization` from MCP_AUTH_TOKEN is among them."""
    ws_auth: Literal["header", "message"] = "header"
    token: str | None = None
    """The bearer token by itself, for `--ws-auth message`."""


class Timeouts(NamedTuple):
    """Seconds; None switches a limit off."""

    connect: float | None = 10.0
    request: float | None = None
    drain: float = 1.0


class Tls(NamedTuple):
    """Certificate files that are trusted besides the operating system's store."""

    ca_bundles: tuple[str, ...] = ()


class Limits(NamedTuple):
    """Sizes in bytes, counts of things."""

    message: int = 64 * 1024 * 1024
    in_flight: int = 1000
