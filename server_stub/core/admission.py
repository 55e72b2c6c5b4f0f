"""What is this request, and may it pass: from method, headers and envelope to a way in or a `Rejection`. Pure.

The order of the checks is fixed, so that each mistake has one status (MCP 2025-11-25, Transports; RFC 9110 section
15). The endpoints call the functions from top to bottom. Every rejection carries a JSON-RPC error, with the id of the
request where there is exactly one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from mcp_remote_py.core import message, versions
from mcp_remote_py.core.errors import Fault, Refused, SessionLost, ShuttingDown, TooLarge, as_error
from mcp_remote_py.core.message import Batch, Invalid, JsonId, Key, Kind, Message

SOURCE = "mcp-remote-server"
"""`data.source` of the errors that this server writes itself."""

INVALID_REQUEST = -32600

_HEADS = 64
"""How many different headers are remembered: a client sends the same ones with every message."""


class Rejection(NamedTuple):
    """Why not: an HTTP status, the JSON-RPC error for the body, and further headers."""

    status: int
    body: Message
    headers: tuple[tuple[str, str], ...] = ()


def reject(status: int, text: str, identifier: JsonId | None = None, data: Any = None) -> Rejection:
    """Return a rejection with our sentence and the code -32600."""
    return Rejection(status, message.error(identifier, INVALID_REQUEST, text, data))


def reject_fault(
    status: int, fault: Fault, identifier: JsonId | None = None, retry_after: int | None = None
) -> Rejection:
    """Return a rejection that carries a fault. `retry_after` is in seconds."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Rejection(status, as_error(fault, identifier, SOURCE), headers)


def stopping(*, may_have_run: bool = False) -> ShuttingDown:
    """Return the fault of a server that is leaving: for a request it does not take, or for one that was open."""
    hint = "The call may have run; check its effect before you repeat it." if may_have_run else "Try again later."
    return ShuttingDown("The server is stopping.", hint=hint, may_have_run=may_have_run)


def unknown_session(identifier: JsonId | None = None) -> Rejection:
    """Return the 404 of a session that is unknown, over, or somebody else's: nobody can tell which."""
    lost = SessionLost("There is no such session (any more).", hint="Start a new one with initialize, without an id.")
    return reject_fault(404, lost, identifier)


# --- 5 to 7: size, Accept, Content-Type ------------------------------------------------------------------------------


class Accepts(NamedTuple):
    """Which answers a client takes."""

    json: bool
    events: bool


@lru_cache(_HEADS)
def accepts_of(header: str | None) -> Accepts:
    """Read an Accept header (RFC 9110 section 12.5.1). A client that sends none gets plain JSON."""
    if header is None or not header.strip():
        return Accepts(json=True, events=False)
    json = events = False
    for entry in header.split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        if any(parameter.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters):
            continue
        json = json or media in ("*/*", "application/*", "application/json")
        events = events or media in ("*/*", "text/*", "text/event-stream")
    return Accepts(json, events)


def check_size(size: int | None, limit: int) -> Rejection | None:
    """Refuse a body by its declared size, or by the size it turned out to have, in bytes."""
    if size is None or size <= limit:
        return None
    hint = "Send less, or raise --max-body on the server."
    return reject_fault(413, TooLarge(f"The message is larger than {limit} bytes.", hint=hint, may_have_run=False))


@lru_cache(_HEADS)
def check_post_head(accept: str | None, content_type: str | None) -> Rejection | None:
    """Check Accept and Content-Type of a POST."""
    if not any(accepts_of(accept)):
        return reject(406, "Accept must allow application/json, text/event-stream, or both.")
    media = (content_type or "").partition(";")[0].strip().lower()
    if media != "application/json":
        return reject(415, "Content-Type must be application/json.")
    return None


def check_get_head(accept: str | None) -> Rejection | None:
    """Check Accept of a GET on the MCP endpoint. `*/*`, which every tool sends, does not ask for a stream."""
    named = {entry.partition(";")[0].strip().lower() for entry in (accept or "").split(",")}
    if named & {"text/event-stream", "text/*"} and accepts_of(accept).events:
        return None
    return reject(406, "Accept must name text/event-stream.")


# --- 8 and 9: JSON, shape, batches -----------------------------------------------------------------------------------


class Posted:
    """The messages of one body, or of one frame, and what is asked of them again and again, found out once."""

    __slots__ = ("identifier", "initialize", "is_batch", "messages", "requests")

    def __init__(self, messages: tuple[Message, ...], *, is_batch: bool) -> None:
        first = messages[0]
        self.messages = messages
        self.is_batch = is_batch
        self.requests = tuple([one for one in messages if one.kind is Kind.REQUEST])
        self.initialize = first if first.kind is Kind.REQUEST and first.method == "initialize" else None
        """The handshake, which always comes alone."""
        self.identifier = self.requests[0].id if len(self.requests) == 1 and not is_batch else None
        """The id a rejection may carry: that of the only request."""


def read_posted(raw: bytes) -> Posted | Rejection:
    """Read a body. A batch with anything in it that is no message is refused whole, so that nothing of it runs."""
    try:
        parsed = message.parse(raw)
    except Invalid as invalid:
        return _invalid(invalid)
    if not isinstance(parsed, Batch):
        return Posted((parsed,), is_batch=False)
    messages: list[Message] = []
    for item in parsed.items:
        if isinstance(item, Invalid):
            return _invalid(item)
        messages.append(item)
    return Posted(tuple(messages), is_batch=True)


def _invalid(invalid: Invalid) -> Rejection:
    sentence = invalid.reason[:1].upper() + invalid.reason[1:] + "."
    return Rejection(400, message.error(invalid.identifier, invalid.code, sentence))


# --- 11 and 12: version, session -------------------------------------------------------------------------------------


class Waiting(Protocol):
    """The requests that wait for their answers."""

    def __contains__(self, key: Key, /) -> bool: ...


class Known(NamedTuple):
    """What is known of a live session."""

    version: str | None
    """Negotiated; None before the server's answer to initialize."""
    started: bool
    """An initialize came, and was not refused."""
    open: Waiting
    """Requests that wait for their answers."""
    full: bool = False
    """So many of them wait that no more are taken."""


NOTHING_KNOWN = Known(None, started=False, open=())


def check_version(header: str | None, known: Known, identifier: JsonId | None = None) -> Rejection | None:
    """Check `MCP-Protocol-Version`: absent, one we know, or what this session negotiated."""
    if header is None or versions.is_known_legacy(header.strip()) or header.strip() == known.version:
        return None
    return reject(
        400, "MCP-Protocol-Version names no revision that is spoken here.", identifier, {"supported": versions.LEGACY}
    )


def check_batch(posted: Posted, known: Known, header: str | None = None) -> Rejection | None:
    """Refuse batches but those of 2025-03-26. The version is the session's, else the header's, else the assumed one."""
    if not posted.is_batch:
        return None
    if any(one.kind is Kind.REQUEST and one.method == "initialize" for one in posted.messages):
        return reject(400, "initialize may not be part of a batch.")
    version = known.version or header or versions.ASSUMED
    if not versions.allows_batches(version):
        return reject(400, f"Batches are not part of revision {version}.")
    return None


def check_requests(posted: Posted, known: Known) -> Rejection | None:
    """Refuse a second handshake, an id that is still waiting for its answer, and one request too many."""
    identifier = posted.identifier
    if posted.initialize is not None and known.started:
        return reject(400, "This session is initialized already.", identifier)
    seen: set[Key] = set()
    for one in posted.requests:
        key = one.key
        if key in known.open or key in seen:
            return reject(400, f"The id {key} is already waiting for its answer.", identifier)
        seen.add(key)
    if seen and known.full:
        full = Refused("Too many requests wait for their answers in this session.", hint="Wait for some of them.")
        return reject_fault(503, full, identifier, retry_after=1)
    return None


def missing_session(identifier: JsonId | None) -> Rejection:
    """Return the 400 of a request that needs a session id and has none."""
    return reject(400, "The header Mcp-Session-Id is missing; a session begins with initialize.", identifier)
