"""Shapers: what may change or answer messages between the host and the relay. None is there unless a flag asks for it.

    host ⇄ first shaper ⇄ ... ⇄ last shaper ⇄ relay ⇄ server

The relay sees what the server sees: a shaper's renaming, hiding and answering are the host's view alone. Each shaper is
handed a message of the host, or of the relay for the host, and says what becomes of it. The chain keeps for each of
them which requests are open as that shaper saw them, so that an answer comes with its request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Disarm, Note, Timer, ToClient
from mcp_remote_py.core.message import Batch, Invalid, Key, Kind, Message, key_of

_CANCELLED = "notifications/cancelled"
_LATE = 256
"""So many requests are remembered after the host cancelled them: a late answer must not slip through as it is."""
INVALID_PARAMS = -32602


class Onward(NamedTuple):
    """The message goes on in the direction in which it came, perhaps changed."""

    message: Message


class Reply(NamedTuple):
    """This goes to the host."""

    message: Message


Step = Onward | Reply | Note | Arm | Disarm


class Shaper:
    """One link of the chain; this one lets everything pass. `purposes` are the names of its timers."""

    purposes: frozenset[str] = frozenset()

    def from_host(self, message: Message) -> list[Step]:
        """A request, notification or answer of the host."""
        return [Onward(message)]

    def to_host(self, message: Message, request: Message | None) -> list[Step]:
        """A message for the host. `request`: what it answers, as this shaper was given it; None for all else."""
        del request
        return [Onward(message)]

    def timer(self, name: Timer) -> list[Step]:
        """A timer rang that this shaper had armed."""
        del name
        return []


def refuse(message: Message, text: str, hint: str, source: str = "mcp-remote-py") -> Reply:
    """Return the error that answers a request which the flags of the bridge, or a server's filter, forbid."""
    data: dict[str, Any] = {"source": source, "name": "NotOffered", "hint": hint, "may_have_run": False}
    return Reply(msg.error(message.id, INVALID_PARAMS, text, data))


class _Asked:
    """The open requests of the host, as one shaper saw them."""

    def __init__(self) -> None:
        self._open: dict[Key, Message] = {}
        self._late: dict[Key, Message] = {}

    def note(self, message: Message) -> None:
        """Take notice of a message of the host."""
        if message.kind is Kind.REQUEST:
            self._open[message.key] = message
        elif message.method == _CANCELLED:
            self._cancel(message.params.get("requestId"))

    def _cancel(self, identifier: object) -> None:
        if isinstance(identifier, bool) or not isinstance(identifier, str | int | float):
            return
        key = key_of(identifier)
        found = self._open.pop(key, None)
        if found is not None:
            self._late[key] = found._replace(raw=b"", doc={})
            if len(self._late) > _LATE:
                self._late.pop(next(iter(self._late)))

    def finish(self, message: Message) -> Message | None:
        """Return the request that this message answers, which is thereby closed."""
        if not message.is_answer or message.id is None:
            return None
        key = message.key
        return self._open.pop(key, None) or self._late.pop(key, None)


class Chain:
    """The shapers, the first next to the host."""

    def __init__(self, shapers: Sequence[Shaper]) -> None:
        self._layers = [(shaper, _Asked()) for shaper in shapers]

    def from_host(self, message: Message | Batch) -> list[Step | ToClient | Batch]:
        """Return what becomes of the host's message: `Onward` and a batch go to the relay, `ToClient` to the host."""
        if isinstance(message, Batch):
            return self._batch_from_host(message)
        return _written(self._inward(0, message))

    def to_host(self, message: Message | Batch) -> list[Step | ToClient | Batch]:
        """Return what becomes of a message of the relay: `ToClient` goes to the host."""
        if not isinstance(message, Batch):
            return _written(_as_replies(self._outward(len(self._layers), message)))
        kept: list[Message] = []
        beside: list[Step] = []
        for item in message.items:
            if isinstance(item, Invalid):
                continue  # the relay joins nothing but answers
            for step in self._outward(len(self._layers), item):
                if isinstance(step, Onward):
                    kept.append(step.message)
                else:
                    beside.append(step)
        return [*([ToClient(msg.join(kept))] if kept else []), *_written(beside)]

    def timer(self, name: Timer) -> list[Step | ToClient | Batch] | None:
        """A timer rang. None: it is not one of a shaper's."""
        for index, (shaper, _) in enumerate(self._layers):
            if name.purpose in shaper.purposes:
                return _written(self._settled(index, shaper.timer(name)))
        return None

    def _batch_from_host(self, batch: Batch) -> list[Step | ToClient | Batch]:
        """A request that is refused stays in the batch as an error, so that all answers come in one array."""
        items: list[Message | Invalid] = []
        beside: list[Step] = []
        for item in batch.items:
            if isinstance(item, Invalid):
                items.append(item)
                continue
            for step in self._inward(0, item):
                if isinstance(step, Onward):
                    items.append(step.message)
                elif isinstance(step, Reply) and step.message.kind is Kind.ERROR:
                    error = step.message.doc["error"]
                    items.append(Invalid(error["code"], error["message"], step.message.id))
                else:
                    beside.append(step)
        return [*_written(beside), *([Batch(tuple(items))] if items else [])]

    def _inward(self, index: int, message: Message) -> list[Step]:
        """Hand a message of the host to this layer and to those behind it."""
        if index == len(self._layers):
            return [Onward(message)]
        shaper, asked = self._layers[index]
        asked.note(message)
        steps: list[Step] = []
        for step in self._settled(index, shaper.from_host(message)):
            steps += self._inward(index + 1, step.message) if isinstance(step, Onward) else [step]
        return steps

    def _settled(self, index: int, steps: list[Step]) -> list[Step]:
        """What a layer replies on its own passes the layers between it and the host."""
        done: list[Step] = []
        for step in steps:
            if isinstance(step, Reply):
                self._layers[index][1].finish(step.message)
                done += _as_replies(self._outward(index, step.message))
            else:
                done.append(step)
        return done

    def _outward(self, index: int, message: Message) -> list[Step]:
        """Hand a message to the layers between this one and the host; `Onward` is what reaches the host."""
        if index == 0:
            return [Onward(message)]
        shaper, asked = self._layers[index - 1]
        steps: list[Step] = []
        for step in shaper.to_host(message, asked.finish(message)):
            if isinstance(step, Reply):
                asked.finish(step.message)
            steps += self._outward(index - 1, step.message) if isinstance(step, Onward | Reply) else [step]
        return steps


def _as_replies(steps: list[Step]) -> list[Step]:
    return [Reply(step.message) if isinstance(step, Onward) else step for step in steps]


def _written(steps: Sequence[Step]) -> list[Step | ToClient | Batch]:
    return [ToClient(step.message.raw) if isinstance(step, Reply) else step for step in steps]
