"""Reach: all that a link must know about the server and the way there. Types only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mcp_remote_py.core.message import Key
from mcp_remote_py.credentials import Credentials, Fixed
from mcp_remote_py.settings import Limits, Network, Target, Timeouts, Tls

if TYPE_CHECKING:
    from mcp_remote_py.net.cookies import Jars


def _ignore(_: object) -> None:
    """Nobody wants to know."""


class Reach(NamedTuple):
    """One group of the settings for each concern, and whom to tell what is found out on the way."""

    target: Target
    credentials: Credentials = Fixed()
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    network: Network = Network()
    limits: Limits = Limits()
    learn: Callable[[str], None] = _ignore
    """Told every secret that the server gives us (session ids, cookies), for the redactor."""
    heard: Callable[[Key], None] | None = None
    """Told of every sign of life of an answer, by the request's key: its head, and each piece of its body.

    None where no limit counts silence. On a shared pipe it is never called: there the messages are the signs.
    """
    jars: Jars | None = None
    """The cookies of each origin, for all links of a bridge; None where this link's cookies end with it."""
