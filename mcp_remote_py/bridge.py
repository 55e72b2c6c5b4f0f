"""Driver of `core.relay`: owns the task group, feeds events in, performs commands. Takes no decisions of its own.

    stdin thread ─▶ lines ─▶ relay ─▶ commands ─▶ one task per request ─▶ link ─▶ deliver ─▶ relay ─▶ stdout thread

Order is kept here: a notification arrives before anything that the host sent after it, a cancellation does not overtake
its request, and answers to the server wait for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mcp_remote_py import __version__
from mcp_remote_py.auth.signed_in import SignedIn
from mcp_remote_py.connection import WIRE_NAMES, Connection, Hooks, in_order
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.calls import CANCELLED, GREET
from mcp_remote_py.core.commands import (
    Arm,
    Command,
    Dial,
    Disarm,
    Drop,
    Keep,
    Listen,
    Note,
    SignIn,
    Timer,
    ToClient,
    ToServer,
)
from mcp_remote_py.core.errors import Asked, Fault, OwnMistake, TimedOut
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.link import Link
from mcp_remote_py.core.message import Batch, Invalid, Key, Kind, Message, key_of
from mcp_remote_py.core.patience import Patience
from mcp_remote_py.core.redact import Redactor
from mcp_remote_py.core.relay import Relay
from mcp_remote_py.core.retries import Policy
from mcp_remote_py.core.session import INITIALIZE
from mcp_remote_py.credentials import Credentials, open_credentials
from mcp_remote_py.lifetime import Lifetime
from mcp_remote_py.log import BODIES, LogHandler, excerpt
from mcp_remote_py.mishaps import Mishaps
from mcp_remote_py.recollection import Recollection
from mcp_remote_py.settings import Settings, Shaping, Timeouts
from mcp_remote_py.snapshot import Counters, Request
from mcp_remote_py.stdio import LineReader, Lines, LineWriter

if TYPE_CHECKING:
    from mcp_remote_py.auth.performer import Invitation
    from mcp_remote_py.passage import Passage
    from mcp_remote_py.trace import Trace

_LOG = logging.getLogger("mcp_remote_py.bridge")
_BODIES = logging.getLogger(BODIES)
_SNAPSHOT = logging.getLogger("mcp_remote_py.snapshot")
_SNAPSHOT.setLevel(logging.INFO)  # whoever asks for one gets it, whatever else is silent
_CANCEL_SECONDS = 10.0
"""How long the server may take to accept a cancellation."""
_LEAVE_SECONDS = 0.5
"""What ending the session and flushing may take together, after the drain."""
_LOG_SECONDS = 0.1
_RECALL_SECONDS = 5.0
_TRACE_SECONDS = 1.0


class _Leg:
    """One request on its way: its task, and whether it has been written in full."""

    def __init__(self) -> None:
        self.written = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Bridge:
    """One host on stdin and stdout, one remote server. `run` returns when it is time to go."""

    def __init__(self, settings: Settings, redactor: Redactor, log: LogHandler, trace: Trace | None = None) -> None:
        self._settings = settings
        self._mishaps = Mishaps(redactor)
        self._log = log
        self._relay = Relay(
            settings.strategy,
            private_id=f"mcp-remote-py-{os.urandom(16).hex()}",
            patience=_patience(settings.timeouts),
            in_flight_limit=settings.limits.in_flight,
            message_limit=settings.limits.message,
            policy=Policy(settings.timeouts.hold, settings.timeouts.greet_after, _chance, __version__, settings.cache),
        )
        given = open_credentials(settings.credentials, redactor.learn)
        self._signed_in = None if given.with_authorization else SignedIn(settings, given, redactor.learn, self._show)
        self._credentials: Credentials = self._signed_in or given
        self._recollection = Recollection(settings, self._credentials, self._relay, self._spawn, self._mishaps)
        hooks = Hooks(self._spawn, self._perform, self._deliver, self._recollection.recall, redactor.learn)
        self._connection = Connection(settings, self._credentials, self._relay, self._mishaps, hooks)
        self._legs: dict[Key, _Leg] = {}
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._last_notification: asyncio.Event | None = None
        self._telling = 0
        self._trace = trace
        self._passage = self._shapers()
        self._counters = Counters(asyncio.get_running_loop().time())
        self._passing_message: Message | None = None
        self._passing = b""
        """The message of the server that is being handed on: in the log already."""
        self._at_end = False
        self._is_over = False
        self._quiet = asyncio.Event()
        self._reason: asyncio.Future[tuple[str, bool]] = asyncio.get_running_loop().create_future()
        self._group: asyncio.TaskGroup

    async def run(self, stdin: int, stdout: int, leave: Callable[[int], None] = os._exit) -> None:
        """Carry messages between the two file descriptors and the server until there is a reason to go.

        At the end `leave(exit code)` is called, by default the end of the process: a name look-up that hangs in a
        thread, or a host that does not read, must not keep it.
        """
        self._writer = LineWriter(stdout, on_broken=lambda: self._leave_for("the host closed our output", answer=False))
        reader = LineReader(stdin, self._settings.limits.message, self._on_lines, self._on_end)
        Lifetime(self._leave_for, self._log_snapshot).start()
        async with asyncio.TaskGroup() as self._group:
            self._writer.start()
            self._spawn(self._connection.warm())
            reader.start()
            reason, answer = await self._reason
            await self._end(reason, answer=answer)
            leave(0)
            for leg in self._legs.values():
                if leg.task is not None:
                    leg.task.cancel()
            self._connection.stop_listening()

    # --- What comes in -----------------------------------------------------------------------------------------

    def _on_lines(self, lines: Lines) -> None:
        counters, now = self._counters, asyncio.get_running_loop().time()
        for line in lines:
            if isinstance(line, Oversize):
                counters.from_host = counters.from_host.more(line.size)
                self._perform(self._relay.oversize(line))
                continue
            counters.from_host = counters.from_host.more(len(line))
            _log_body("host", line)
            try:
                message = msg.parse(line, self._settings.limits.depth)
            except Invalid as invalid:
                if self._trace is not None:
                    self._trace.from_host(line, self._relay.wire)
                self._perform(self._relay.invalid(invalid))
                continue
            for item in message.items if isinstance(message, Batch) else (message,):
                if isinstance(item, Message):
                    self._note_host(item, now)
            if self._passage is None:
                self._onward(message)
            else:
                self._passage.from_host(message)

    def _onward(self, message: Message | Batch) -> None:
        self._perform(self._relay.from_client(message))

    def _note_host(self, message: Message, now: float) -> None:
        is_full = message.kind is Kind.REQUEST and self._counters.asked(message.key, now)
        if is_full and self._counters.is_crowded(self._relay.snapshot().in_flight):
            self._counters.forget({key for key, _, _ in self._relay.open_requests()})
        if self._trace is not None:
            self._trace.from_host(message.raw, self._relay.wire)

    def _on_end(self) -> None:
        self._at_end = True
        self._leave_for("end of input")

    def _leave_for(self, reason: str, *, answer: bool = True) -> None:
        if not self._reason.done():
            self._reason.set_result((reason, answer))
        elif self._at_end:
            self._quiet.set()  # a signal during the drain ends it

    async def _deliver(self, link: Link, message: Message, exchange: Key | None) -> None:
        if link is not self._connection.link:
            return  # a link that was replaced has nothing more to say
        self._connection.said()
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("server: %s %s", message.method or message.kind.value, "" if message.id is None else message.key)
        _log_body("server", message.raw)
        self._counters.from_server = self._counters.from_server.more(len(message.raw))
        if self._trace is not None:
            self._trace.from_server(message.raw)
        self._passing, self._passing_message = message.raw, message
        self._perform(self._relay.from_server(message, exchange))
        self._passing, self._passing_message = b"", None
        if self._trace is not None:
            self._trace.handled(self._relay.wire)
        await self._writer.room()

    # --- Commands ----------------------------------------------------------------------------------------------

    def _perform(self, commands: list[Command]) -> None:
        if not self._is_over:  # then all have their answers; what a dying link still sets off could not be finished
            for command in commands:
                self._do(command)
        if self._at_end and not self._telling and self._relay.is_quiet:
            self._quiet.set()

    def _do(self, command: Command) -> None:
        match command:
            case ToClient(raw):
                if self._passage is None:
                    self._write(raw)
                else:
                    self._passage.to_host(raw, self._passing_message if raw is self._passing else None)
            case ToServer(message, exchange, urgent):
                self._to_server(message, exchange, urgent=urgent)
            case Note() | Keep() | SignIn():
                self._attend_to(command)
            case Dial(wire):
                self._counters.dials += 1
                self._connection.dial(wire)
            case Listen():
                self._connection.listen_again(self._last_notification)
            case Drop(exchange):
                self._drop(exchange)
            case Arm(name, seconds):
                self._disarm(name)
                loop = asyncio.get_running_loop()
                self._timers[name] = loop.call_later(seconds, self._ring, name)
            case Disarm(name):
                self._disarm(name)

    def _write(self, raw: bytes) -> None:
        """Write one line to the host."""
        if raw is not self._passing:
            _log_body("to the host", raw)
        if self._trace is not None:
            self._trace.to_host(raw, self._relay.wire)
        self._counters.to_host = self._counters.to_host.more(len(raw))
        self._writer.write(raw)

    def _to_server(self, message: Message, exchange: Key | None, *, urgent: bool) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("host: %s %s", message.method or "answer", "" if message.id is None else message.key)
        link = self._connection.link
        if link is None:
            self._perform(self._without_link(message, exchange))
            return
        self._counters.to_server = self._counters.to_server.more(len(message.raw))
        if self._trace is not None:
            self._trace.to_server(message.raw, self._relay.wire)
        if exchange is not None:
            leg = _Leg()
            self._legs[exchange] = leg
            leg.task = self._spawn(self._exchange(link, message, exchange, leg, self._last_notification))
            return
        before, arrived = self._last_notification, asyncio.Event()
        if urgent:
            before = self._written_of(message)
        else:
            self._last_notification = arrived
        self._telling += 1
        self._spawn(self._tell(link, message, before, arrived))

    def _without_link(self, message: Message, exchange: Key | None) -> list[Command]:
        """The relay sends only while a link is up; if it is mistaken, nobody may wait for ever because of it."""
        fault = OwnMistake("the bridge had no connection to send this on", may_have_run=False)
        if exchange is None:
            return self._relay.told(message, fault)
        return self._relay.exchange_over(exchange, fault)

    def _written_of(self, message: Message) -> asyncio.Event | None:
        """What a cancellation must not overtake."""
        target = message.params.get("requestId") if message.method == CANCELLED else None
        leg = self._legs.get(key_of(target)) if isinstance(target, str | int | float) else None
        return None if leg is None else leg.written

    async def _exchange(self, link: Link, message: Message, key: Key, leg: _Leg, before: asyncio.Event | None) -> None:
        fault: Fault | None = None
        try:
            await in_order(before)
            await link.send(message, lambda: self._written(key, leg))
        except Fault as trouble:
            fault = self._mishaps.clean(trouble)
        except Exception as defect:  # noqa: BLE001  the last line of the promise: a defect of ours is answered, too
            fault = self._mishaps.own(defect)
        finally:
            leg.written.set()
        if fault is not None and message.method == INITIALIZE:
            await self._recollection.recall()
        if self._legs.get(key) is not leg:
            return  # dropped, or replaced by a later request of the same id
        del self._legs[key]
        self._counters.failures += fault is not None
        if fault is not None or link.traits.streams_per_exchange:
            self._perform(self._relay.exchange_over(key, fault))

    def _written(self, key: Key, leg: _Leg) -> None:
        leg.written.set()
        if self._legs.get(key) is leg:
            self._perform(self._relay.written(key))

    async def _tell(self, link: Link, message: Message, before: asyncio.Event | None, arrived: asyncio.Event) -> None:
        fault: Fault | None = None
        try:
            await in_order(before)
            async with asyncio.timeout(_CANCEL_SECONDS if message.method == CANCELLED else None):
                await link.send(message)
        except TimeoutError:
            fault = TimedOut("the server did not take it")  # it hangs: a call that was given up must not leave a rest
        except Fault as trouble:
            fault = self._mishaps.clean(trouble)
        except Exception as defect:  # noqa: BLE001  one message that we fail to send must not end the bridge
            fault = self._mishaps.own(defect)
        finally:
            arrived.set()
            self._telling -= 1
        self._perform(self._relay.told(message, fault))

    def _drop(self, exchange: Key) -> None:
        leg = self._legs.pop(exchange, None)
        if leg is not None and leg.task is not None:
            leg.task.cancel()

    def _ring(self, name: Timer) -> None:
        self._timers.pop(name, None)
        if name.purpose == GREET and not self._recollection.is_begun:
            self._timers[name] = asyncio.get_running_loop().call_later(_RECALL_SECONDS, self._ring, name)
            self._recollection.is_begun = True
            self._spawn(self._recall_and_ring(name))
            return
        beat = self._settings.shaping.heartbeat
        if name.purpose == "heartbeat" and beat is not None and not self._writer.has_room:
            self._perform([Arm(name, beat)])  # a host that does not read needs no sign of life, and they would pile up
            return
        if self._passage is None or not self._passage.timer(name):
            self._perform(self._relay.timer(name))

    async def _recall_and_ring(self, name: Timer) -> None:
        await self._recollection.look_up()
        if name in self._timers:
            self._disarm(name)
            self._ring(name)

    def _disarm(self, name: Timer) -> None:
        handle = self._timers.pop(name, None)
        if handle is not None:
            handle.cancel()

    # --- A person who signs in ---------------------------------------------------------------------------------

    async def _sign_in(self, asked: Asked) -> None:
        fault: Fault | None = None
        try:
            if self._signed_in is None:
                raise OwnMistake("a sign-in was asked for although a token is configured", may_have_run=False)
            await self._signed_in.sign_in(asked)
        except Fault as trouble:
            fault = self._mishaps.clean(trouble)
        except Exception as defect:  # noqa: BLE001  as for an exchange: whoever waits for it is answered
            fault = self._mishaps.own(defect)
        self._perform(self._relay.signed_in() if fault is None else self._relay.sign_in_failed(fault))

    def _show(self, invitation: Invitation) -> None:
        self._perform(self._relay.show_sign_in(invitation.url, invitation.text, opened=invitation.opened))

    def _attend_to(self, command: Note | Keep | SignIn) -> None:
        if isinstance(command, Keep):
            self._recollection.keep_soon()
        elif isinstance(command, SignIn):
            self._spawn(self._sign_in(command.asked))
        else:
            _LOG.log(getattr(logging, command.level.upper()), "%s", command.text)

    # --- The end -----------------------------------------------------------------------------------------------

    async def _end(self, reason: str, *, answer: bool) -> None:
        _LOG.debug("leaving: %s", reason)
        if self._at_end and answer:
            await self._drain()
        if answer:
            self._perform(self._relay.stop(reason))
        self._is_over = True
        for name in list(self._timers):
            self._disarm(name)
        for leg in self._legs.values():
            if leg.task is not None:
                leg.task.cancel()
        link, news = self._connection.leave(), self._recollection.last_words()
        with contextlib.suppress(TimeoutError):  # the server may keep its session; we go all the same
            async with asyncio.timeout(_LEAVE_SECONDS), asyncio.TaskGroup() as group:
                if link is not None:
                    group.create_task(self._connection.close(link))
                if news is not None:
                    group.create_task(news)
                if answer:
                    group.create_task(self._writer.finish(_LEAVE_SECONDS))
        self._credentials.close()
        if self._trace is not None:
            self._trace.drain(_TRACE_SECONDS)
        self._log.drain(_LOG_SECONDS)

    async def _drain(self) -> None:
        """Let running requests finish, for a while: `printf ... | mcp-remote-py URL` works because of it."""
        if self._relay.is_quiet and not self._telling:
            return
        with contextlib.suppress(TimeoutError):  # whoever still waits is answered by the relay
            async with asyncio.timeout(self._settings.timeouts.drain):
                await self._quiet.wait()

    def _log_snapshot(self) -> None:
        """Write down what is going on, without a word of what is said."""
        relay = self._relay.snapshot()
        state = f"{relay.revision or 'none yet'}, {WIRE_NAMES[relay.wire]}, {relay.way}"
        standing = "one" if self._connection.is_listening else "no"
        streams = f"{standing} standing stream, {len(self._legs)} exchanges on their way"
        requests = [Request(*request) for request in self._relay.open_requests()]
        now = asyncio.get_running_loop().time()
        _SNAPSHOT.info("%s", self._counters.report(state, streams, requests, relay.held, now))

    # --- Small things ------------------------------------------------------------------------------------------

    def _shapers(self) -> Passage | None:
        """The shapers that were asked for; None where there are none, which costs nothing."""
        if self._settings.shaping == Shaping():
            return None
        from mcp_remote_py.passage import Passage

        return Passage(self._settings, self._mishaps, onward=self._onward, perform=self._perform, write=self._write)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(work)


def _patience(given: Timeouts) -> Patience:
    return Patience(given.request, given.tools, given.first_byte, given.idle, given.ping)


def _chance() -> float:
    """A number from 0 to 1, for jitter; the module random costs more to load than it is worth here."""
    return int.from_bytes(os.urandom(4)) / 2**32


def _log_body(side: str, raw: bytes) -> None:
    if _BODIES.isEnabledFor(logging.DEBUG):
        _BODIES.debug("%s: %s", side, excerpt(raw))
