"""Heartbeat: progress for the host while a call runs, so that a host that counts silence does not give up.

Only for requests to which the host gave a progress token. What the server reports itself passes, and puts the next beat
off. A progress must grow (2025-06-18, progress), so a beat adds a thousandth to what the server said last.
"""

from __future__ import annotations

from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Disarm, Timer
from mcp_remote_py.core.message import JsonId, Key, Kind, Message, key_of
from mcp_remote_py.core.shaping import Onward, Reply, Shaper, Step

PURPOSE = "heartbeat"
_PROGRESS = "notifications/progress"
_CANCELLED = "notifications/cancelled"
_BEAT = 0.001


class _Call:
    """A running request: its token, and the last progress that the host heard of it."""

    def __init__(self, token: JsonId) -> None:
        self.token = token
        self.progress = 0.0
        self.total: object = None


class Heartbeat(Shaper):
    """See the module's text. A beat every `seconds` of silence."""

    purposes = frozenset({PURPOSE})

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: dict[Key, _Call] = {}

    def from_host(self, message: Message) -> list[Step]:
        if message.method == _CANCELLED:
            return [*self._over(_key_in(message.params.get("requestId"))), Onward(message)]
        if message.kind is not Kind.REQUEST:
            return [Onward(message)]
        steps = self._over(message.key)  # the id may have been used before
        token = _token(message)
        if token is None:
            return [*steps, Onward(message)]
        self._calls[message.key] = _Call(token)
        return [*steps, Arm(Timer(PURPOSE, message.key), self._seconds), Onward(message)]

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        del request  # an answer is known by its id
        if message.is_answer and message.id is not None:
            return [*self._over(message.key), Onward(message)]
        if message.method == _PROGRESS:
            return [*self._reported(message), Onward(message)]
        return [Onward(message)]

    def timer(self, name: Timer) -> list[Step]:
        call = self._calls.get(name.exchange)
        if call is None:
            return []
        call.progress = round(call.progress + _BEAT, 6)
        params: dict[str, Any] = {"progressToken": call.token, "progress": call.progress}
        if call.total is not None:
            params["total"] = call.total
        params["message"] = "The call is still running."
        return [Reply(msg.notification(_PROGRESS, params)), Arm(name, self._seconds)]

    def _reported(self, message: Message) -> list[Step]:
        token, progress = message.params.get("progressToken"), message.params.get("progress")
        if isinstance(token, bool) or not isinstance(token, str | int | float):
            return []
        for key, call in self._calls.items():
            if key_of(call.token) == key_of(token):
                if isinstance(progress, int | float):
                    call.progress = float(progress)
                call.total = message.params.get("total")
                return [Arm(Timer(PURPOSE, key), self._seconds)]
        return []

    def _over(self, key: Key | None) -> list[Step]:
        if key is None or self._calls.pop(key, None) is None:
            return []
        return [Disarm(Timer(PURPOSE, key))]


def _token(message: Message) -> JsonId | None:
    meta = message.params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str | int | float) and not isinstance(token, bool) else None


def _key_in(identifier: object) -> Key | None:
    is_id = isinstance(identifier, str | int | float) and not isinstance(identifier, bool)
    return key_of(identifier) if is_id else None  # type: ignore[arg-type]  # mypy does not see through the variable
