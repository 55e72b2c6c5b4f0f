"""Questions: what a shared child has asked its clients, each under a private id that its client alone can answer. Pure.

(JSON-RPC 2.0 section 4; MCP base protocol, "Requests", "Progress", "Cancellation".)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.inflight import InFlight
from mcp_remote_py.core.message import JsonId, Key, Message, key_of
from server_stub.core.rewriting import id_in, spliced, token_of

NEEDED = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
"""What a client must offer to be asked."""
CAPABILITIES: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}
"""What a shared child is told of its clients: all that any of them might do. Roots are not said to change: those of one
client would hold for all."""


class Question(NamedTuple):
    """One that is open."""

    client: int
    identifier: JsonId
    """The child's own."""
    token: JsonId | None


class Questions:
    """See the module's text."""

    def __init__(self) -> None:
        self._open: InFlight[Question] = InFlight()
        self._of_child: dict[Key, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, client: int, message: Message, fresh: str) -> Message:
        """Note a question, and return it as the client gets it: under the id `fresh`, which is its token, too."""
        identifier = message.key.value
        token = token_of(message)
        self._open.begin(key_of(fresh), Question(client, identifier, token))
        self._of_child[message.key] = fresh
        rewritten = msg.with_id(message, fresh)
        return rewritten if token is None else spliced(rewritten, ("params", "_meta", "progressToken"), fresh)

    def answered(self, client: int, message: Message) -> Message | None:
        """Return the answer as the child gets it; None where this client has not been asked that."""
        question = None if message.id is None else self._open.get(message.key)
        if question is None or question.client != client:
            return None
        self._finish(message.key)
        return msg.with_id(message, question.identifier)

    def progress(self, client: int, message: Message) -> Message | None:
        """Return a client's progress as the child gets it; None where it belongs to no question that it was asked."""
        token = id_in(message.params, "progressToken")
        question = None if token is None else self._open.get(key_of(token))
        if question is None or question.client != client or question.token is None:
            return None
        return msg.with_param(message, "progressToken", question.token)

    def withdrawn(self, message: Message) -> tuple[int, Message] | None:
        """The child cancels a question. Returns who is to hear that, and what; None where it is not open."""
        target = id_in(message.params, "requestId")
        fresh = None if target is None else self._of_child.get(key_of(target))
        question = None if fresh is None else self._finish(key_of(fresh))
        if question is None or fresh is None:
            return None
        return question.client, msg.with_param(message, "requestId", fresh)

    def part(self, client: int) -> list[JsonId]:
        """This client will answer nothing any more. Returns the child's ids of what it was asked."""
        found = []
        for key in self._open:
            question = self._open.get(key)
            if question is not None and question.client == client:
                self._finish(key)
                found.append(question.identifier)
        return found

    def clear(self) -> list[tuple[int, Message]]:
        """The child is gone. Returns who is to hear that an answer is not needed any more."""
        self._of_child.clear()
        reason = "the server has ended"
        return [
            (
                question.client,
                msg.notification("notifications/cancelled", {"requestId": key.value, "reason": reason}),
            )
            for key, question in self._open.drain()
        ]

    def _finish(self, key: Key) -> Question | None:
        question = self._open.finish(key)
        if question is not None and self._of_child.get(key_of(question.identifier)) == key.value:
            del self._of_child[key_of(question.identifier)]
        return question
