"""What the answer to a POST or a GET of Streamable HTTP means, and how to read its body. Head in, verdict out.

The table of 2025-03-26 to 2025-11-25, "Sending Messages to the Server" and "Listening for Messages from the Server",
with the leniencies that deployed servers need. Pure.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, SessionLost, SignInNeeded
from mcp_remote_py.core.http import dialects
from mcp_remote_py.core.http.headers import is_events, is_json, media_type
from mcp_remote_py.core.http.statuses import Reply, fault_of
from mcp_remote_py.core.redact import printable

MOST_DOUBTS = 5


class Body(Enum):
    """How the body is to be read."""

    JSON = "json"
    """One message, or an array of them; the answer is among them."""
    EVENTS = "events"
    """A stream of messages; the answer comes last."""
    ERROR = "error"
    """Perhaps a JSON-RPC error, which is then the answer; else the verdict's fault is."""
    IGNORED = "ignored"
    """Nothing in it matters."""


class Asked(NamedTuple):
    """What was posted."""

    is_request: bool
    in_session: bool
    """A session id was sent with it."""
    with_token: bool
    """An `Authorization` header was sent with it."""


class Verdict(NamedTuple):
    """How to go on. `fault` is how the exchange ends, unless the body brings an answer; None: all is well so far."""

    body: Body
    fault: Fault | None = None


def judge_post(reply: Reply, asked: Asked) -> Verdict:
    """Say what the answer to a posted message means."""
    if 200 <= reply.status < 300:
        return _judge_success(reply) if asked.is_request else Verdict(Body.IGNORED)
    if asked.in_session and dialects.status_says_lost(reply.status):
        text = f"{reply.host} does not know the session any more (HTTP {reply.status})"
        fault: Fault = SessionLost(text, http_status=reply.status)
        return Verdict(Body.IGNORED, fault)
    fault = fault_of(reply, with_token=asked.with_token)
    if not asked.is_request or isinstance(fault, SignInNeeded) or not _may_hold_error(reply):
        return Verdict(Body.IGNORED, fault)
    return Verdict(Body.ERROR, fault)


def judge_listen(reply: Reply, *, with_token: bool) -> Verdict | None:
    """Say what the answer to the GET of the standing stream means. None: the server offers no such stream.

    Only a 401 is a fault here: servers refuse this optional stream in every other way, and mean nothing by it.
    """
    if reply.status == 401:
        return Verdict(Body.IGNORED, fault_of(reply, with_token=with_token))
    if reply.status == 200 and is_events(reply.content_type):
        return Verdict(Body.EVENTS)
    return None


def judge_resumption(reply: Reply) -> Fault | None:
    """Say what the answer to a GET that resumes the stream of a call means. None: the stream goes on.

    The call has been sent before, so every fault leaves open whether it ran.
    """
    if reply.status == 200 and is_events(reply.content_type):
        return None
    what = "offers no way to take it up again" if 200 <= reply.status < 500 else "could not take it up again"
    return Interrupted(
        f"the answer of {reply.host} was interrupted, and the server {what} (HTTP {reply.status})",
        http_status=reply.status,
    )


def is_passing(status: int) -> bool:
    """Whether a failed attempt to reopen a stream may be repeated: the server is busy, restarting or not aware yet
    that the old stream is gone."""
    return status in (409, 425, 429) or status >= 500


def is_unknown_event(status: int) -> bool:
    """Whether this refusal of a standing stream that stood may be meant for the `Last-Event-ID` alone."""
    return status in (400, 412, 422)


def may_be_offered_later(status: int, attempts: int) -> bool:
    """Whether the standing stream, refused so often from the start, is worth another attempt.

    What a busy server or a gateway says is; a 500 may be trouble of the moment, or how a server without such a stream
    fails, so it is believed after a few times.
    """
    return status in (409, 425, 429, 502, 503, 504) or (status == 500 and attempts < MOST_DOUBTS)


def named(content_type: str) -> str:
    """Return words for a content type that is not MCP's."""
    media = media_type(content_type)
    if media in ("text/html", "application/xhtml+xml"):
        return "a web page"
    return f"content of the type {printable(media, 80)}" if media else "something of no stated type"


def _judge_success(reply: Reply) -> Verdict:
    if reply.status in (202, 204, 205):
        text = f"{reply.host} took the request and will not answer it (HTTP {reply.status})"
        return Verdict(Body.IGNORED, PeerBroke(text, http_status=reply.status))
    if is_json(reply.content_type):
        return Verdict(Body.JSON)
    if is_events(reply.content_type):
        return Verdict(Body.EVENTS)
    text = f"{reply.host} answered with {named(reply.content_type)} instead of an MCP message (HTTP {reply.status})"
    hint = "Check that the URL is the server's MCP endpoint, and that no login page or proxy answers in its place."
    return Verdict(Body.IGNORED, PeerBroke(text, hint=hint, http_status=reply.status))


def _may_hold_error(reply: Reply) -> bool:
    """A JSON-RPC error comes as JSON; some servers forget to say so. A page is not even read."""
    media = media_type(reply.content_type)
    return reply.status >= 400 and (is_json(reply.content_type) or media in ("", "text/plain"))
