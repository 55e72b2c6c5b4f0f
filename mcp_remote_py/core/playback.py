"""Playback: answers a host from a trace, as the far end answered then. Messages in, messages out; no I/O.

A request is matched by its method and its params (without `_meta`, which differs from run to run). Asked again, it gets
the next answer that it got then, and the last one from there on. What the far end said on its own follows the message
of the host that it followed then. An answer that waited then for the host's answer to a question waits for it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Key, Kind, Message
from mcp_remote_py.core.trace_record import FROM_HOST, HEARD_BY_HOST, Entry

NOT_RECORDED = -31006
_PROGRESS = "notifications/progress"
_CANCELLED = "notifications/cancelled"


class _Scene:
    """One message of the host, and what the far end said after it."""

    def __init__(self, cause: Message | None) -> None:
        self.cause = cause
        self.before: list[Message] = []
        self.answer: Message | None = None
        self.after: list[Message] = []
        self.needs: set[Key] = set()
        """The far end's questions that the host answered before this answer came."""
        self.was_cancelled = False
        self.was_cut = False

    @property
    def token(self) -> object:
        return _token(self.cause)

    def is_called(self, identifier: object) -> bool:
        return self.cause is not None and self.cause.id == identifier

    def says(self, message: Message) -> None:
        (self.before if self.answer is None else self.after).append(message)


class _Held:
    """An answer that waits for the host's answers to questions."""

    def __init__(self, scene: _Scene, live: Message, needs: set[Key]) -> None:
        self.scene = scene
        self.live = live
        self.needs = needs


class Playback:
    """One session of a trace, from its beginning."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._first = _Scene(None)
        self._scenes: dict[str, list[_Scene]] = defaultdict(list)
        self._used: dict[str, int] = defaultdict(int)
        self._begun = False
        self._held: list[_Held] = []
        self.requests = _Director(self._first, self._scenes).stage(entries)
        """How many requests of the host are in it."""

    def from_host(self, message: Message) -> list[Message]:
        """Return what the far end says now."""
        said: list[Message] = []
        if not self._begun:
            self._begun = True
            said += self._first.before
        if message.is_answer:
            said += self._release(message)
        if message.method == _CANCELLED:
            target = message.params.get("requestId")
            self._held = [held for held in self._held if held.live.id != target]
        scene = self._next_scene(message)
        if scene is not None:
            return said + self._played(scene, message)
        if message.kind is not Kind.REQUEST:
            return said
        if message.method == "ping" and message.id is not None:
            return [*said, msg.result(message.id, {})]
        return [*said, self._unknown(message)]

    def _next_scene(self, message: Message) -> _Scene | None:
        for name in (_name_of(message), _name_of(message, loosely=True)):
            scenes = self._scenes.get(name)
            if scenes:
                at = self._used[name]
                self._used[name] += 1
                if at < len(scenes):
                    return scenes[at]
                return scenes[-1] if message.kind is Kind.REQUEST else None
        return None

    def _played(self, scene: _Scene, live: Message) -> list[Message]:
        said = [again for message in scene.before if (again := _for(live, scene, message)) is not None]
        if live.kind is not Kind.REQUEST:
            return said + scene.after
        asked = {message.key for message in scene.before if message.kind is Kind.REQUEST}
        held = _Held(scene, live, scene.needs & asked)
        if held.needs:
            self._held.append(held)
            return said
        return said + self._ending(held)

    def _ending(self, held: _Held) -> list[Message]:
        answer, live = held.scene.answer, held.live
        if live.id is None:
            return []
        if answer is None and held.scene.was_cancelled:
            return []  # as then: the host gave it up
        if answer is None:
            why = "the answer was too large to be kept" if held.scene.was_cut else "it ends before the answer"
            return [_error(live, f"the trace has this {live.method}, but {why}")]
        after = [again for message in held.scene.after if (again := _for(live, held.scene, message)) is not None]
        return [msg.with_id(answer, live.id), *after]

    def _release(self, message: Message) -> list[Message]:
        said: list[Message] = []
        if message.id is not None:
            for held in list(self._held):
                held.needs.discard(message.key)
                if not held.needs:
                    self._held.remove(held)
                    said += self._ending(held)
        return said

    def _unknown(self, message: Message) -> Message:
        causes = [scenes[0].cause for scenes in self._scenes.values()]
        alike = [cause for cause in causes if cause is not None and cause.method == message.method]
        if alike:
            known = "; ".join(dict.fromkeys(_shown(cause) for cause in alike[:5]))
            return _error(message, f"the trace has no {message.method} with these params. It has: {known}")
        methods = sorted({cause.method for cause in causes if cause is not None and cause.method} - {_CANCELLED})
        return _error(message, f"the trace has no {message.method}. It has: {', '.join(methods) or 'nothing'}")


class _Director:
    """Sorts the messages of a session into scenes."""

    def __init__(self, first: _Scene, scenes: dict[str, list[_Scene]]) -> None:
        self._current = first
        self._scenes = scenes
        self._open: dict[Key, _Scene] = {}

    def stage(self, entries: Sequence[Entry]) -> int:
        """Sort them all. Returns how many requests of the host there are."""
        requests = 0
        for entry in entries:
            if entry.cut in self._open:
                self._open.pop(entry.cut).was_cut = True
            for message in entry.messages:
                if entry.direction == FROM_HOST:
                    requests += message.kind is Kind.REQUEST
                    self._of_host(message)
                elif entry.direction in HEARD_BY_HOST:
                    self._heard(message)
        return requests

    def _of_host(self, message: Message) -> None:
        scene = _Scene(message)
        self._scenes[_name_of(message)].append(scene)
        loose = _name_of(message, loosely=True)
        if loose != _name_of(message):
            self._scenes[loose].append(scene)
        self._current = scene
        target = message.params.get("requestId") if message.method == _CANCELLED else None
        for waiting in self._open.values():
            waiting.was_cancelled = waiting.was_cancelled or (target is not None and waiting.is_called(target))
        if message.kind is Kind.REQUEST:
            self._open[message.key] = scene
        elif message.is_answer and message.id is not None:
            for waiting in self._open.values():
                waiting.needs.add(message.key)

    def _heard(self, message: Message) -> None:
        if message.is_answer:
            scene = self._open.pop(message.key, None) if message.id is not None else None
            if scene is not None:
                scene.answer = message
            return
        token = message.params.get("progressToken") if message.method == _PROGRESS else None
        if token is not None:
            for scene in self._open.values():
                if scene.token == token:
                    scene.says(message)
                    return
        self._current.says(message)


def _name_of(message: Message, *, loosely: bool = False) -> str:
    """Return what messages that ask for the same have in common.

    Loosely, every `initialize` is the same (hosts tell their version), and so are notifications of one method and
    answers to one question.
    """
    if message.is_answer:
        return f"answer {message.key if message.id is not None else None}"
    if loosely and (message.method == "initialize" or message.kind is Kind.NOTIFICATION):
        return f"{message.kind.value} {message.method}"
    params = message.doc.get("params", {})
    if isinstance(params, dict):
        params = {name: value for name, value in params.items() if name != "_meta"}
    return f"{message.kind.value} {message.method} {msg.canonical(params)}"


def _token(message: Message | None) -> object:
    meta = None if message is None else message.params.get("_meta")
    return meta.get("progressToken") if isinstance(meta, dict) else None


def _for(live: Message, scene: _Scene, message: Message) -> Message | None:
    """Return a message for the host of now: progress gets its token, or is left out where it wants none."""
    if message.method != _PROGRESS or message.params.get("progressToken") != scene.token:
        return message
    token = _token(live)
    return msg.with_param(message, "progressToken", token) if isinstance(token, str | int | float) else None


def _shown(message: Message) -> str:
    params = message.params
    what: Any = params.get("name") or params.get("uri") or {name: params[name] for name in params if name != "_meta"}
    return msg.canonical(what)[:200]


def _error(message: Message, text: str) -> Message:
    data = {"source": "mcp-remote-py replay", "name": "NotRecorded", "may_have_run": False}
    return msg.error(message.id, NOT_RECORDED, text, data)
