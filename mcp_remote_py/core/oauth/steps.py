"""Steps: what a flow can ask for, and what it is sent in return. Types only.

A flow is a generator. Whoever drives it performs each step and sends the outcome in; where a step fails, the driver
throws a `Fault` into the flow at that point (an address that may not be asked, a server that cannot be reached, a
sign-in that nobody finished).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeVar

from mcp_remote_py.core.http.headers import Headers

Document = dict[str, Any]
"""Plain JSON."""


class Fetch(NamedTuple):
    """Send one HTTP request, without following redirects. Sent in return: `Fetched`.

    `what` names the thing in sentences: "the resource metadata of mcp.example.com". `origin_checked`: the address
    comes from configuration or was derived from the server's own URL; every other one is an address that somebody
    else gave us, and the driver refuses what leads from a public server into a private network.
    """

    what: str
    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""
    origin_checked: bool = False


class Fetched(NamedTuple):
    """The answer to a `Fetch`. The names of `headers` are lower-case; several of one name are joined with ", "."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Listen(NamedTuple):
    """Make ready to receive the browser's return. Sent in return: the redirect URI, a `str`.

    `registered`: the redirect URIs that the client may use, none: any. The driver takes the first that it can serve;
    where it can serve none of them it offers another one, and the flow decides whether that can be used.
    """

    registered: tuple[str, ...] = ()


class Authorize(NamedTuple):
    """Let a person sign in at this (checked) URL. Sent in return: the query of the redirect that came back, a `str`."""

    url: str
    redirect_uri: str
    state: str
    issuer: str
    resource: str


class ShowCode(NamedTuple):
    """Show a person where to enter which code (RFC 8628 section 3.3). Sent in return: None, at once."""

    verification_uri: str
    user_code: str
    complete_uri: str | None
    expires_in: float
    issuer: str
    resource: str


class Pause(NamedTuple):
    """Wait. Sent in return: None."""

    seconds: float


class Sign(NamedTuple):
    """Sign a JWT. Sent in return: the JWT, a `str`. `key`: "client" (--private-key), or "dpop" (ours, made here).

    The header of a DPoP proof gets the public `jwk` from the driver, who has the key.
    """

    key: str
    algorithms: tuple[str, ...]
    """What the receiver takes, best first by its own order; none: whatever fits the key."""
    header: Document
    claims: Document


class Recall(NamedTuple):
    """Read what was kept under this name. Sent in return: a `Document`, or None."""

    name: str


class Keep(NamedTuple):
    """Keep this under this name, `None` for nothing any more. Sent in return: None. Done when it is on the disk."""

    name: str
    document: Document | None


class Say(NamedTuple):
    """A line for people, in the log. Sent in return: None."""

    level: str
    text: str


Step = Fetch | Listen | Authorize | ShowCode | Pause | Sign | Recall | Keep | Say
_Result = TypeVar("_Result")
Flow = Generator[Step, Any, _Result]
"""What a flow is: steps out, their outcomes in, a result at the end. Raises a `Fault` where it cannot go on."""


class Senses(NamedTuple):
    """What a flow cannot know by itself."""

    now: Callable[[], float]
    """The wall clock, in seconds since 1970."""
    token: Callable[[], str]
    """Return a new unguessable text of 43 characters or more of the alphabet A-Z a-z 0-9 - _ (256 bits)."""
    learn: Callable[[str], None]
    """Told each secret before it is used: the redactor's `learn`."""
