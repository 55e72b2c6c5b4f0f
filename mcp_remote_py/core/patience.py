"""Patience: which limits a request has, which of its clocks runs when, and the fault that each of them ends in.

    arrived ──────────────── whole request (--timeout, --tool-timeout NAME) ──────────────▶ ended
       held ─ written ── first byte (--first-byte-timeout) ──▶ heard ── idle (--idle-timeout), anew with each sign ──▶

A request has two timers at most: `timeout` for the whole of it, `silence` for the other two, of which only one can run.
While the server waits for an answer of the host (a person may be asked, and think for minutes), silence is not counted.
Events come in as method calls, timers to arm and to disarm go out as commands. A limit that is off arms nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

from mcp_remote_py.core.commands import Arm, Command, Disarm, Timer
from mcp_remote_py.core.errors import TimedOut
from mcp_remote_py.core.message import Key, Kind, Message, key_of

TIMEOUT, SILENCE = "timeout", "silence"
"""The purposes of the two timers."""
_MOST_RUN_OUT = 1000
"""So many requests that timed out are remembered, for what comes late."""
_PLAIN_NAME = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


class Patience(NamedTuple):
    """Seconds; None switches a limit off. `tools`: of two entries for one name, the last one holds."""

    request: float | None = None
    tools: tuple[tuple[str, float | None], ...] = ()
    first_byte: float | None = None
    idle: float | None = None
    ping: float | None = None
    """Not a limit: how long a link may be silent before `core.pulse` pings the server."""


class _Phase(Enum):
    """How far a request has come."""

    HELD = "held"
    WAITING = "waiting"
    ANSWERING = "answering"


class _Wait:
    """The clocks of one request. `tool` is named where its limit is the tool's own, `called` where a tool is called."""

    def __init__(self, whole: float | None, tool: str | None, called: str | None, token: Key | None) -> None:
        self.whole = whole
        self.tool = tool
        self.called = called
        self.token = token
        self.phase = _Phase.HELD
        self.ticking = False
        """Whether the silence timer is armed."""


class Clocks:
    """The clocks of all open requests of one relay, by key."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._tools = dict(patience.tools)
        self._counts_silence = patience.first_byte is not None or patience.idle is not None
        bounded = (patience.request, *self._tools.values())
        self._on = self._counts_silence or any(limit is not None for limit in bounded)
        self._waits: dict[Key, _Wait] = {}
        self._run_out: dict[Key, None] = {}
        self._of_token: dict[Key, Key] = {}
        self._asked: dict[Key, Key | None] = {}
        """What the server asked the host: the exchange on whose stream it did, None where it may be any."""

    # --- The life of a request ---------------------------------------------------------------------------------

    def arrived(self, request: Message) -> list[Command]:
        """A request is there: the clock for the whole of it starts."""
        if not self._on:
            return []
        whole, tool, called = self._patience.request, None, None
        if request.method == "tools/call":
            name = request.params.get("name")
            called = name if isinstance(name, str) else None
            if called in self._tools:
                whole, tool = self._tools[called], called
        if whole is None and not self._counts_silence:
            return []
        key, meta = request.key, request.params.get("_meta")
        self._run_out.pop(key, None)
        token = _key_in(meta, "progressToken") if self._counts_silence else None
        self._waits[key] = _Wait(whole, tool, called, token)
        if token is not None:
            self._of_token[token] = key
        return [] if whole is None else [Arm(Timer(TIMEOUT, key), whole)]

    def written(self, key: Key) -> list[Command]:
        """The request has gone out in full: the server's turn."""
        wait = self._waits.get(key)
        if wait is None or wait.phase is _Phase.ANSWERING:
            return []
        wait.phase = _Phase.WAITING
        return self._tick(key, wait)

    def held_again(self, key: Key) -> list[Command]:
        """The request did not run, and will be sent once more later."""
        wait = self._waits.get(key)
        if wait is None:
            return []
        wait.phase = _Phase.HELD
        return self._tick(key, wait)

    def heard(self, key: Key) -> list[Command]:
        """There was a sign of life of its answer."""
        wait = self._waits.get(key)
        if wait is None:
            return []
        wait.phase = _Phase.ANSWERING
        return self._tick(key, wait)

    def ended(self, key: Key) -> list[Command]:
        """Nobody waits for it any more."""
        wait = self._waits.pop(key, None)
        if wait is None:
            return []
        if wait.token is not None and self._of_token.get(wait.token) == key:
            del self._of_token[wait.token]
        self._asked = {question: stream for question, stream in self._asked.items() if stream != key}
        commands: list[Command] = []
        if wait.whole is not None:
            commands.append(Disarm(Timer(TIMEOUT, key)))
        if wait.ticking:
            commands.append(Disarm(Timer(SILENCE, key)))
        return commands

    def rung(self, timer: Timer) -> TimedOut | None:
        """A timer rang. Returns what the request ends in; None where the timer belongs to nothing that waits."""
        wait = self._waits.get(timer.exchange)
        if wait is None:
            return None
        limit = wait.whole if timer.purpose == TIMEOUT else self._limit_of(wait.phase) if wait.ticking else None
        if limit is None:
            return None
        if len(self._run_out) >= _MOST_RUN_OUT:
            del self._run_out[next(iter(self._run_out))]
        self._run_out[timer.exchange] = None
        if timer.purpose == TIMEOUT:
            return _too_long(wait, limit)
        return _no_beginning(limit) if wait.phase is _Phase.WAITING else _too_silent(limit)

    def ran_out(self, key: Key) -> bool:
        """Whether a request of this id timed out a while ago, so that what comes for it is late and no surprise."""
        return key in self._run_out

    # --- What the server says and asks -------------------------------------------------------------------------

    def spoke(self, message: Message, exchange: Key | None, *, shared: bool) -> list[Command]:
        """The server sent a request or a notification. `shared`: on a pipe that carries everything."""
        if not self._waits or not self._counts_silence:
            return []
        if message.kind is Kind.REQUEST:
            if message.method != "ping":
                return self._question(message.key, exchange)
            return self._tick_all(self._waits) if shared else []
        if message.method == "notifications/progress":
            token = _key_in(message.params, "progressToken")
            key = None if token is None else self._of_token.get(token)
            return [] if key is None else self.heard(key)
        if message.method == "notifications/cancelled":
            question = _key_in(message.params, "requestId")
            return [] if question is None else self.answered(question)
        return []

    def _question(self, question: Key, exchange: Key | None) -> list[Command]:
        commands = self.answered(question)  # an id that is used again ends the question before it
        self._asked[question] = exchange
        return commands + self._tick_all(self._waits if exchange is None else (exchange,))

    def answered(self, question: Key) -> list[Command]:
        """The host answered what the server asked, or the server does not want to know any more."""
        if question not in self._asked:
            return []
        exchange = self._asked.pop(question)
        return self._tick_all(self._waits if exchange is None else (exchange,))

    def nothing_asked(self) -> list[Command]:
        """Whatever the server asked is void, with the session in which it did."""
        if not self._asked:
            return []
        self._asked.clear()
        return self._tick_all(self._waits)

    # --- The silence timer -------------------------------------------------------------------------------------

    def _tick_all(self, keys: Iterable[Key]) -> list[Command]:
        commands: list[Command] = []
        for key in keys:
            wait = self._waits.get(key)
            if wait is not None:
                commands += self._tick(key, wait)
        return commands

    def _tick(self, key: Key, wait: _Wait) -> list[Command]:
        """Start the silence clock anew, as far as one is to run now."""
        limit = self._limit_of(wait.phase)
        if limit is not None and not self._is_asking(key):
            wait.ticking = True
            return [Arm(Timer(SILENCE, key), limit)]
        if not wait.ticking:
            return []
        wait.ticking = False
        return [Disarm(Timer(SILENCE, key))]

    def _limit_of(self, phase: _Phase) -> float | None:
        if phase is _Phase.WAITING:
            return self._patience.first_byte
        return self._patience.idle if phase is _Phase.ANSWERING else None

    def _is_asking(self, key: Key) -> bool:
        return any(exchange is None or exchange == key for exchange in self._asked.values())


# --- The faults -------------------------------------------------------------------------------------------------------


def _too_long(wait: _Wait, limit: float) -> TimedOut:
    if wait.tool is not None:
        name = _for_a_shell(wait.tool)
        return TimedOut(
            f"no answer within {spelled(limit)} (--tool-timeout)",
            hint=f"Raise it, for example --tool-timeout {name}={_longer(limit)}; {name}=off lets this tool take as "
            "long as it needs.",
        )
    if wait.called is not None:
        name = _for_a_shell(wait.called)
        return TimedOut(
            f"no answer within {spelled(limit)} (--timeout)",
            hint=f"Raise --timeout, or leave it out. --tool-timeout {name}={_longer(limit)} gives this tool alone "
            "more time.",
        )
    return TimedOut(
        f"no answer within {spelled(limit)} (--timeout)",
        hint="Raise --timeout, or leave it out: without it a request may take as long as it needs.",
    )


def _no_beginning(limit: float) -> TimedOut:
    return TimedOut(
        f"no answer was begun within {spelled(limit)} (--first-byte-timeout)",
        hint="Raise --first-byte-timeout, or leave it out: without it the server may take as long as it needs.",
    )


def _too_silent(limit: float) -> TimedOut:
    return TimedOut(
        f"an answer was begun, then nothing came for {spelled(limit)} (--idle-timeout)",
        hint="Raise --idle-timeout, or leave it out. Progress that the server reports counts as a sign of life.",
    )


def spelled(seconds: float) -> str:
    """Return a duration as the texts say it: `30 s`, `0.25 s`."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"


def _longer(seconds: float) -> str:
    """Return twice as long, as a flag takes it."""
    return spelled(2 * seconds).replace(" ", "")


def _for_a_shell(name: str) -> str:
    """Return a tool's name as the flag takes it, or NAME where it could not be typed."""
    return name if _PLAIN_NAME.fullmatch(name) else "NAME"


def _key_in(params: Any, name: str) -> Key | None:
    """Return the id that stands under this name, None where there is none."""
    value = params.get(name) if isinstance(params, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return key_of(value)
