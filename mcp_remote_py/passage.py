"""Passage: the way of a message through the shapers, both ways. Loaded only where shapers were asked for.

The shapers decide; here their steps are done, and a shaper that fails costs one answer and lets nothing slip through.
"""

from __future__ import annotations

from collections.abc import Callable

from mcp_remote_py import shaping
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Command, Timer, ToClient
from mcp_remote_py.core.errors import Fault, PeerBroke, as_error
from mcp_remote_py.core.message import Batch, Invalid, Kind, Message
from mcp_remote_py.core.shaping import Onward, Reply, Step
from mcp_remote_py.mishaps import Mishaps
from mcp_remote_py.settings import Settings

_HEAD, _TAIL = 64 * 1024, 4 * 1024
"""As much of a message that could not be read is looked at to find its id."""


class Passage:
    """See the module's text. `onward` takes what goes on to the relay, `perform` what is to be done besides, `write` a
    line for the host.
    """

    def __init__(
        self,
        settings: Settings,
        mishaps: Mishaps,
        *,
        onward: Callable[[Message | Batch], None],
        perform: Callable[[list[Command]], None],
        write: Callable[[bytes], None],
    ) -> None:
        self._chain = shaping.chain(settings)
        self._depth = settings.limits.depth
        self._mishaps = mishaps
        self._onward = onward
        self._perform = perform
        self._write = write

    def from_host(self, message: Message | Batch) -> None:
        try:
            steps = self._chain.from_host(message)
        except Exception as defect:  # noqa: BLE001  as for an exchange: whoever asked is answered
            fault = self._not_shaped(defect)
            for item in message.items if isinstance(message, Batch) else (message,):
                if isinstance(item, Message) and item.kind is Kind.REQUEST:
                    self._write(as_error(fault, item.id).raw)
        else:
            self._take(steps)

    def to_host(self, raw: bytes, known: Message | None) -> None:
        """`known` is the message that these bytes are, where somebody has read it already."""
        try:
            steps = self._chain.to_host(known or msg.parse(raw, self._depth))
        except Exception as defect:  # noqa: BLE001  what should have been hidden must not slip through for a defect
            fault = self._not_shaped(defect)
            identifier, is_answer = msg.id_in_fragment(raw[:_HEAD], raw[-_TAIL:])
            if is_answer and identifier is not None:
                self._write(as_error(fault, identifier).raw)
        else:
            self._take(steps)

    def timer(self, name: Timer) -> bool:
        """A timer rang. Returns whether it was one of the shapers'."""
        steps = self._chain.timer(name)
        if steps is None:
            return False
        self._take(steps)
        return True

    def _not_shaped(self, defect: Exception) -> Fault:
        if isinstance(defect, Invalid | RecursionError):
            return PeerBroke("the message is nested too deeply to be filtered", hint="It was not passed on.")
        return self._mishaps.own(defect)

    def _take(self, steps: list[Step | ToClient | Batch]) -> None:
        """Do what the shapers want: what goes on from the host goes to the relay, all else is the relay's kind."""
        for step in steps:
            match step:
                case ToClient(raw):
                    self._write(raw)
                case Onward(message) | Reply(message):
                    self._onward(message)
                case Batch():
                    self._onward(step)
                case _:
                    self._perform([step])
