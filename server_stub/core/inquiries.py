"""Inquiries: what the members of a merged server ask the client, under ids that nobody can guess. Pure.

Two members may use the same id, and none may answer, cancel or disturb what another asked. So each question goes to
the client under a private text (which is its progress token, too, where it has one), and comes back under its own id.
(JSON-RPC 2.0 section 4; MCP base protocol, "Requests", "Progress", "Cancellation".)
"""

from __future__ import annotations

from typing import NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import splice
from mcp_remote_py.core.message import JsonId, Key, Message, key_of

MOST = 200
"""So many questions of one member may wait for the client; more are not passed on."""

_TOKEN = ("params", "_meta", "progressToken")


class ToMember(NamedTuple):
    """Carry this to that member."""

    member: str
    message: Message


class _Open(NamedTuple):
    member: str
    identifier: JsonId
    token: JsonId | None


class Inquiries:
    """See the module's text."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._private: dict[tuple[str, Key], str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, member: str, message: Message, private: str) -> Message | None:
        """A member asks. Returns the question as the client gets it; None where too many wait already."""
        if message.id is None or sum(one.member == member for one in self._open.values()) >= MOST:
            return None
        meta = message.params.get("_meta")
        token = scalar(meta.get("progressToken")) if isinstance(meta, dict) else None
        self._open[private] = _Open(member, message.id, token)
        self._private[member, message.key] = private
        if token is not None:
            spelled = msg.encode(private).decode("utf-8")
            message = splice.with_at(message, _TOKEN, lambda _: spelled)
        return msg.with_id(message, private)

    def answer(self, message: Message) -> ToMember | None:
        """The client answered. None: to nothing that is open."""
        entry = self._finish(message.id)
        return None if entry is None else ToMember(entry.member, msg.with_id(message, entry.identifier))

    def progress(self, message: Message) -> ToMember | None:
        """The client reports progress. None: on nothing that is open, or that did not ask for it."""
        token = message.params.get("progressToken")
        entry = self._open.get(token) if isinstance(token, str) else None
        if entry is None or entry.token is None:
            return None
        return ToMember(entry.member, msg.with_param(message, "progressToken", entry.token))

    def cancel(self, member: str, message: Message) -> Message | None:
        """A member needs no answer any more. Returns the cancellation as the client gets it."""
        target = scalar(message.params.get("requestId"))
        private = None if target is None else self._private.get((member, key_of(target)))
        if private is None or self._finish(private) is None:
            return None
        return msg.with_param(message, "requestId", private)

    def gone(self, member: str) -> list[Message]:
        """A member is gone. Returns the cancellations of what it had asked."""
        privates = [private for private, entry in self._open.items() if entry.member == member]
        for private in privates:
            self._finish(private)
        reason = "the server that asked is gone"
        return [msg.notification("notifications/cancelled", {"requestId": one, "reason": reason}) for one in privates]

    def _finish(self, private: JsonId | None) -> _Open | None:
        entry = self._open.pop(private, None) if isinstance(private, str) else None
        if entry is not None and self._private.get((entry.member, key_of(entry.identifier))) == private:
            del self._private[entry.member, key_of(entry.identifier)]
        return entry


def scalar(value: object) -> JsonId | None:
    """Return an id or a token as JSON gives it, None for what can be neither."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None
