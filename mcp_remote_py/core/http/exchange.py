"""Exchange: which of the messages on the stream of one request are its answer, and what it means when none comes.

Texts in, messages to hand on out. The answer to a request comes on its own stream (2025-11-25, "Sending Messages to
the Server"); another request's answer there is a mistake of the server and is not handed on. An error that says that
the session is gone is no answer: it is raised as `SessionLost`. Pure.
"""

from __future__ import annotations

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, SessionLost
from mcp_remote_py.core.http import dialects
from mcp_remote_py.core.message import Batch, Invalid, Kind, Message
from mcp_remote_py.core.redact import printable


class Exchange:
    """One request, and what came for it so far. `in_session`: it was sent with a session id.

    `depth` is how deeply an answer may be nested.
    """

    def __init__(self, request: Message, host: str, *, in_session: bool = False, depth: int = msg.DEPTH) -> None:
        if request.id is None:
            raise ValueError("only a request has an exchange")
        self._id = request.id
        self._host = host
        self._depth = depth
        self.in_session = in_session
        self._stray: str | None = None
        self.key = request.key
        self.opens_session = request.method == "initialize"
        self.answered = False
        """Whether the answer has been read."""

    def read(self, raw: bytes) -> list[Message]:
        """Return the messages to hand on, in their order.

        Raises `PeerBroke` for what is no message, and `SessionLost` for an error that means just that.
        """
        try:
            parsed = msg.parse(raw, self._depth)
        except Invalid as invalid:
            raise self._broken(invalid) from None
        items = parsed.items if isinstance(parsed, Batch) else (parsed,)
        found = [message for item in items if (message := self._take(item)) is not None]
        if not self.answered:
            for item in items:
                if isinstance(item, Invalid):
                    raise self._broken(item)
        return found

    def read_error(self, raw: bytes, status: int = 0) -> Message | None:
        """Return the JSON-RPC error in the body of a 4xx or 5xx, under the request's id; None if there is none.

        Raises `SessionLost` where the body says that this is what the status means.
        """
        if self.in_session and dialects.refusal_says_lost(status, raw[:4096].decode("utf-8", "replace")):
            raise self._session_lost(status)
        try:
            message = msg.parse_one(raw, self._depth)
        except Invalid:
            return None
        if message.kind is not Kind.ERROR:
            return None
        self._check_session(message)
        self.answered = True
        return message if self._is_mine(message) else msg.with_id(message, self._id)

    def over(self, broken: Fault | None = None) -> Fault:
        """Say why there is no answer, now that nothing more will come. `broken` is how the stream ended, if badly."""
        if self._stray is not None:
            return PeerBroke(f"{self._host} answered under the id {self._stray}, which is not the id of the request")
        return broken or Interrupted(f"{self._host} ended its answer before the message that it was to bring")

    def _take(self, item: Message | Invalid) -> Message | None:
        if isinstance(item, Invalid):
            return None
        if not item.is_answer:
            return item
        if item.id is None:
            item = msg.with_id(item, self._id)  # an error without an id belongs to the POST that it answers
        if not self._is_mine(item):
            self._stray = printable(str(item.key), 60)
            return None
        if self.answered:
            return None
        self._check_session(item)
        self.answered = True
        return item

    def _check_session(self, answer: Message) -> None:
        error = answer.doc.get("error")
        if (
            self.in_session
            and isinstance(error, dict)
            and dialects.error_says_lost(error.get("code"), error.get("message"))
        ):
            raise self._session_lost(None)

    def _session_lost(self, status: int | None) -> SessionLost:
        said = "" if status is None else f" (HTTP {status})"
        return SessionLost(f"{self._host} does not know the session any more{said}", http_status=status)

    def _is_mine(self, answer: Message) -> bool:
        return answer.id is not None and answer.key == self.key

    def _broken(self, invalid: Invalid) -> PeerBroke:
        return PeerBroke(f"{self._host} sent something that is no JSON-RPC message: {invalid.reason}")
