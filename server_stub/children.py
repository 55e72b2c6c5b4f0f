"""Children: the stdio servers that we run. Spawn, pumps, signals, the end. Knows processes and JSON-RPC, no session.

stdout carries JSON-RPC, one message a line; whatever else is on it goes to the log. stderr goes to the log and is
always read, so that no amount of it blocks the child. Stopping: stdin is closed, 2 s, SIGTERM to the process group,
2 s, SIGKILL to the group. What a child leaves behind in its group ends with it.
(MCP 2025-11-25: Transports, "stdio"; Lifecycle, "Shutdown".)
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, PeerBroke, TooLarge, as_error
from mcp_remote_py.core.framing import LineFramer, Oversize
from mcp_remote_py.core.message import Batch, Invalid, Message
from server_stub import process_groups, reaper
from server_stub.core import printout

GRACE = 2.0
"""Seconds between closing stdin and SIGTERM, and between SIGTERM and SIGKILL."""

_LINGER = 1.0  # how long an output stream may stay open, and silent, after the child's exit
_POLL = 0.02  # between two looks at what the child left behind
_CHUNK = 64 * 1024
_TURN = 500  # lines of output that are taken before others have their turn
_STDERR_LINE = 64 * 1024
_SOURCE = "mcp-remote-server"
_WINDOWS = sys.platform == "win32"
_OF_THE_BRIDGE = re.compile(r"MCP_REMOTE_(?:.*_)?(?:TOKEN|SECRET|PASSWORD|HEADERS?)")  # what it proves itself with

INHERITED_POSIX = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
INHERITED_WINDOWS = (
    "APPDATA",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "USERNAME",
    "USERPROFILE",
    "PROGRAMFILES",
)
"""What a stdio server inherits by default: the sets of the official SDKs (`get_default_environment`)."""

logger = logging.getLogger(__name__)

Heard = Callable[[Message], Awaitable[None]]
"""Takes one message of the child. Awaiting it is the backpressure: reading goes on when it returns."""


class ServerSpec(NamedTuple):
    """How to run one stdio server: a command, or a line for the system's shell."""

    command: tuple[str, ...] = ()
    shell: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    """Variables given for this server. Their values count as secrets: they are masked wherever we show its output."""
    cwd: str | None = None
    pass_environment: bool = False
    """Whether the child inherits everything but our own secrets, not only the default set."""
    hidden_variables: frozenset[str] = frozenset()
    """Names of variables that hold our own secrets, besides MCP_AUTH_TOKEN, MCP_REMOTE_SERVER_* and the bridge's."""
    message_limit: int = 64 * 1024 * 1024
    """Bytes of one line of the child's stdout."""
    member: str | None = None
    """The name that a configuration file gives it; what it prints then goes to a logger of its own."""
    secrets: tuple[str, ...] = ()
    """Further values that are masked wherever we show its output."""
    logs_output: bool = True
    """Whether what it prints is logged. Its last lines are in the text that says how it ended anyway."""

    @property
    def name(self) -> str:
        """What to call it in logs and errors: never its arguments, which may hold secrets."""
        return self.program if self.member is None else self.member

    @property
    def program(self) -> str:
        """What is run, for people: its name alone."""
        if self.shell is not None:
            return "shell command"
        return os.path.basename(self.command[0]) if self.command else "nothing"


def child_environment(spec: ServerSpec, inherited: Mapping[str, str], *, windows: bool = _WINDOWS) -> dict[str, str]:
    """Return the environment of the child: what it may inherit, then what was given for it."""

    def folded(name: str) -> str:
        return name.upper() if windows else name  # Windows does not tell case apart

    hidden = {folded(name) for name in (*spec.hidden_variables, "MCP_AUTH_TOKEN")}
    default = INHERITED_WINDOWS if windows else INHERITED_POSIX
    chosen: dict[str, str] = {}
    for name, value in inherited.items():
        plain = folded(name)
        if plain in hidden or plain.startswith("MCP_REMOTE_SERVER_") or _OF_THE_BRIDGE.fullmatch(plain):
            continue
        if not spec.pass_environment and (plain not in default or value.startswith("()")):
            continue  # "()" begins an exported shell function, which the SDKs do not pass either
        chosen[name] = value
    chosen.update(spec.env)
    return chosen


def _log_of(spec: ServerSpec) -> logging.Logger:
    """Return where the log lines of a child go: a member of a configuration file has a logger of its own."""
    return logger if spec.member is None else logging.getLogger(f"server_stub.members.{spec.member}")


class _Pipes(asyncio.subprocess.SubprocessStreamProtocol):
    """asyncio's own protocol, which also says when the process is over, whoever still holds its pipes."""

    def __init__(self) -> None:
        super().__init__(limit=_CHUNK, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()
        super().process_exited()


class _Output:
    """One output stream of a child. It ends at its end, or when it stays silent for a second after the exit."""

    def __init__(self, reader: asyncio.StreamReader, exited: asyncio.Event) -> None:
        self._reader = reader
        self._exited = exited
        self._is_waiting = False
        self._patience: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """Return the next bytes, or none at the end."""
        try:
            if self._exited.is_set():
                async with asyncio.timeout(_LINGER):
                    return await self._reader.read(_CHUNK)
            self._is_waiting = True  # without a limit, which would cost as much as the reading, for every message
            return await self._reader.read(_CHUNK)
        except (TimeoutError, OSError):
            return b""
        finally:
            self._is_waiting = False
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    def hurry(self) -> None:
        """The child has exited: a read that is under way waits no longer than a second for who holds the pipe."""
        if self._is_waiting:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(_LINGER, self._reader.set_exception, TimeoutError())


class Child:
    """One running stdio server. Made by `Child.start`; `run` is its life, `stop` its end."""

    def __init__(self, spec: ServerSpec, transport: asyncio.SubprocessTransport, pipes: _Pipes) -> None:
        stdin, stdout, stderr = pipes.stdin, pipes.stdout, pipes.stderr
        if stdin is None or stdout is None or stderr is None:
            raise RuntimeError("a child without pipes")
        self.pid = transport.get_pid()
        self._family = process_groups.Family(self.pid)
        self._spec = spec
        self._logger = _log_of(spec)
        self._transport = transport
        self._exited = pipes.exited
        self._stdin = stdin
        self._stdout = _Output(stdout, pipes.exited)
        self._stderr = _Output(stderr, pipes.exited)
        self._redactor = printout.knows((*(value for _, value in spec.env), *spec.secrets))
        self._last_lines: deque[bytes] = deque(maxlen=printout.KEPT_LINES)
        self._stray = b""  # a line of stdout that was no message
        self._budget = printout.LogBudget()
        self._writing = asyncio.Lock()
        self._sweeping = asyncio.Lock()
        self._stopping = asyncio.Lock()
        self._running = False
        self._over = asyncio.Event()  # set when all there was is read, or will never be
        self._swept = False
        self._wanted = True

    # --- Beginning ---------------------------------------------------------------------------------------------

    @classmethod
    async def start(cls, spec: ServerSpec) -> Child:
        """Spawn the process. Raises `BackendDown` (it never ran) with a text that says what is wrong."""
        environment = child_environment(spec, os.environ)
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"env": environment, "cwd": spec.cwd, **process_groups.spawn_options()}
        try:
            if spec.shell is not None:
                spawning = loop.subprocess_shell(_Pipes, spec.shell, **options)
            else:
                program, *arguments = _program(spec, environment)
                spawning = loop.subprocess_exec(_Pipes, program, *arguments, **options)
            transport, pipes = await reaper.Spawning(spawning)
        except (OSError, ValueError) as error:
            raise _not_started(spec, error, environment) from None
        reaper.note_started(transport.get_pid())
        child = cls(spec, transport, pipes)
        _log_of(spec).info("%s: started, pid %d", spec.name, child.pid)
        return child

    # --- Speaking ----------------------------------------------------------------------------------------------

    async def write(self, raw: bytes) -> None:
        """Write one line to the child's stdin, after those that are being written. Raises `BackendDown`.

        It waits as long as the child does not read; when the child ends, the waiting ends.
        """
        if self._exited.is_set() or not self._wanted:
            raise await self._farewell(may_have_run=False)
        try:
            async with self._writing:
                if self._stdin.is_closing():
                    raise ConnectionResetError
                if len(raw) < _CHUNK:
                    self._stdin.write(raw + b"\n")  # in one piece, so that the child wakes up once
                else:
                    self._stdin.write(raw)  # which is not copied for one byte more
                    self._stdin.write(b"\n")
                await self._stdin.drain()
        except (OSError, RuntimeError):  # the pipe is broken, or was closed by us; which of them does not matter
            raise await self._farewell(may_have_run=True) from None

    async def _farewell(self, *, may_have_run: bool) -> BackendDown:
        """Return why nothing can be written, after giving `run` a moment to find out."""
        try:
            async with asyncio.timeout(_LINGER):
                await self._over.wait()
        except TimeoutError:
            pass  # nobody pumps, or the child closed its stdin and lives on: the fault says less
        return self.down(may_have_run=may_have_run)

    # --- Listening ---------------------------------------------------------------------------------------------

    async def run(self, heard: Heard) -> BackendDown:
        """Read the child until it is gone, and return the fault that says how it ended.

        To be awaited once. Cancelling it leaves the child running: `stop` ends it.
        """
        if self._wanted:
            await self._listen(heard)
        else:
            await self.stop()  # which is under way, and reads what is still to come
        self._transport.close()
        self._over.set()
        fault = self.down()
        if self._wanted:
            self._logger.warning("%s (pid %d): %s", self._spec.name, self.pid, fault)
        return fault

    async def _listen(self, heard: Heard) -> None:
        self._running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump_stdout(heard))
                group.create_task(self._pump_stderr())
                group.create_task(self._watch())
        finally:
            self._running = False

    async def _watch(self) -> None:
        await self._exited.wait()
        self._stdout.hurry()
        self._stderr.hurry()
        await self._sweep()

    async def _pump_stdout(self, heard: Heard) -> None:
        framer = LineFramer(self._spec.message_limit)
        while chunk := await self._stdout.read():
            for number, line in enumerate(framer.feed(chunk), 1):
                await self._line(line, heard)
                if number % _TURN == 0:
                    await asyncio.sleep(0)  # many short lines are others' time
        for line in framer.finish():
            await self._line(line, heard)
        if not self._exited.is_set():
            await self._gone_within(GRACE)  # closing stdout is how a server may begin to leave
            await self._persuade()

    async def _line(self, line: bytes | Oversize, heard: Heard) -> None:
        if isinstance(line, Oversize):
            await self._oversize(line, heard)
            return
        if line.lstrip()[:1] not in (b"{", b"["):
            self._stray = line[:_STDERR_LINE] if line.strip() else self._stray
            self._log(logging.INFO, "stdout", line)  # no message, for certain and cheaply: there may be any amount
            return
        try:
            parsed = msg.parse(line)
        except Invalid as invalid:
            await self._invalid(line, invalid, heard)
            return
        for item in parsed.items if isinstance(parsed, Batch) else (parsed,):
            if isinstance(item, Invalid):
                self._logger.warning("%s: an item of a batch is no message: %s", self._spec.name, item.reason)
            elif self._wanted:
                await heard(item)

    async def _invalid(self, line: bytes, invalid: Invalid, heard: Heard) -> None:
        """Log what is no message. A JSON-RPC answer that is malformed still ends its request."""
        self._log(logging.INFO, "stdout", line)
        if invalid.identifier is not None and not invalid.answerable and b'"jsonrpc"' in line:
            fault = PeerBroke(f"the server's answer is no valid JSON-RPC: {invalid.reason}")
            await heard(as_error(fault, invalid.identifier, _SOURCE))

    async def _oversize(self, line: Oversize, heard: Heard) -> None:
        """Answer for a message that is too large to be carried, whoever would wait for it."""
        limit = self._spec.message_limit
        self._logger.warning("%s: a line of %d bytes is over the limit of %d", self._spec.name, line.size, limit)
        identifier, is_answer = msg.id_in_fragment(line.head, line.tail)
        if identifier is None:
            return
        text = f"the server's message has {line.size} bytes, the limit is {limit}"
        if is_answer:
            await heard(as_error(TooLarge(text, may_have_run=True), identifier, _SOURCE))
            return
        try:
            await self.write(as_error(TooLarge(text), identifier, _SOURCE).raw)
        except BackendDown:
            pass  # it will not miss the answer

    async def _pump_stderr(self) -> None:
        framer = LineFramer(_STDERR_LINE)
        while chunk := await self._stderr.read():
            for number, line in enumerate(framer.feed(chunk), 1):
                self._stderr_line(line)
                if number % _TURN == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)  # a flood must not starve the loop: a read of waiting bytes never yields
        for line in framer.finish():
            self._stderr_line(line)
        self._say_what_was_left_out()

    def _stderr_line(self, line: bytes | Oversize) -> None:
        raw = line.head if isinstance(line, Oversize) else line
        if raw.strip():
            self._last_lines.append(raw[:_STDERR_LINE])
        self._log(logging.INFO, "stderr", raw)

    def _shown(self, raw: bytes) -> str:
        return printout.shown(raw[:_STDERR_LINE], self._redactor)

    def _log(self, level: int, stream: str, raw: bytes) -> None:
        """Log one line of the child's output, unless it floods the log. What is not logged costs next to nothing."""
        if not self._spec.logs_output or not self._logger.isEnabledFor(level):
            return
        if self._budget.spend(asyncio.get_running_loop().time()):
            self._say_what_was_left_out()
            self._logger.log(level, "%s %s: %s", self._spec.name, stream, self._shown(raw))

    def _say_what_was_left_out(self) -> None:
        if left_out := self._budget.left_out():
            self._logger.warning(
                "%s: %d lines of output are not logged, there were too many", self._spec.name, left_out
            )

    # --- Ending ------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End the child and its group: stdin closed, 2 s, SIGTERM, 2 s, SIGKILL. May be called at any time, and twice.

        When it is cancelled it kills at once.
        """
        self._wanted = False
        async with self._stopping:
            if self._transport.is_closing() and self._swept:
                return
            try:
                async with asyncio.TaskGroup() as group:
                    drains = [] if self._running else [group.create_task(_discard(one)) for one in self._outputs]
                    await self._persuade()
                    for drain in drains:
                        drain.cancel()
            finally:
                if not self._swept:
                    await self._family.end()
                    reaper.note_ended(self.pid)
                    await self._gone_within(_LINGER)
                self._transport.close()
                self._over.set()
            self._logger.info("%s: stopped, pid %d", self._spec.name, self.pid)

    @property
    def _outputs(self) -> tuple[_Output, _Output]:
        return self._stdout, self._stderr

    async def _persuade(self) -> None:
        if not self._exited.is_set():
            self._family.look()
        self._stdin.close()
        if not await self._gone_within(GRACE):
            self._family.ask_to_end()
            if not await self._gone_within(GRACE):
                await self._family.end()
                await self._gone_within(_LINGER)
        await self._sweep()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    async def _sweep(self) -> None:
        """End what the child has left in its group. There is no event for processes of others: it has to be asked."""
        async with self._sweeping:
            if self._swept or not self._exited.is_set():
                return
            if self._family.is_alive():
                self._family.ask_to_end()
                for _ in range(round(GRACE / _POLL)):
                    await asyncio.sleep(_POLL)
                    if not self._family.is_alive():
                        break
                else:
                    await self._family.end()
            self._swept = True
            reaper.note_ended(self.pid)

    def down(self, *, may_have_run: bool = True) -> BackendDown:
        """Return the fault that says how the child ended, with the last lines of its stderr as the hint."""
        kept = printout.LastLines()
        for raw in self._last_lines:
            kept.add(self._shown(raw))
        last = kept.text()
        stray = f" To stdout it wrote what is no message: {self._shown(self._stray)[:300]}" if self._stray else ""
        hint = f"The last lines of its stderr:\n{last}" if last else f"It wrote nothing to stderr.{stray}"
        return BackendDown(self._how_it_ended(), hint=hint, may_have_run=may_have_run)

    def _how_it_ended(self) -> str:
        status = self._transport.get_returncode()
        if not self._wanted:
            return f"the server process ({self._spec.name}) was stopped"
        if status is None:
            return f"the server process ({self._spec.name}) no longer takes messages"
        if status < 0:
            return f"the server process ({self._spec.name}) was ended by {process_groups.signal_name(-status)}"
        return f"the server process ({self._spec.name}) exited with status {status}"


async def _discard(output: _Output) -> None:
    """Read and forget, so that a child that is asked to leave is not stuck in a write."""
    while await output.read():
        pass


def _program(spec: ServerSpec, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command as it can be spawned. Windows finds `npx.cmd` for `npx` only when it is looked up."""
    if not spec.command:
        raise FileNotFoundError(errno.ENOENT, "no command", "")
    if not _WINDOWS:
        return spec.command
    found = shutil.which(spec.command[0], path=environment.get("PATH"))
    return (found or spec.command[0], *spec.command[1:])


def _not_started(spec: ServerSpec, error: OSError | ValueError, environment: Mapping[str, str]) -> BackendDown:
    name = spec.program
    if spec.cwd is not None and not os.path.isdir(spec.cwd):
        text, hint = f"the working directory for {name} does not exist", "Give an existing directory."
    elif isinstance(error, ValueError):
        text, hint = f"{name} cannot be started: its command or environment holds a zero byte", "Take it out."
    elif isinstance(error, FileNotFoundError):
        if spec.command and shutil.which(spec.command[0], path=environment.get("PATH")):
            text = f"the command {name} cannot be started: the interpreter in its first line is missing"
            hint = "Install it, or name it before the script."
        else:
            text = f"command not found: {name}"
            hint = "Install it, or give its full path. It is looked up in PATH."
    elif isinstance(error, PermissionError):
        text, hint = f"the command {name} is not executable", "Check the file's permissions (chmod +x)."
    elif error.errno == errno.ENOEXEC:
        text, hint = f"the command {name} is no program", "A script needs a first line such as #!/usr/bin/env python3."
    else:
        reason = os.strerror(error.errno) if error.errno else "the system refused"
        text, hint = f"the command {name} cannot be started: {reason}", "The system's log may say more."
    if spec.member is not None:
        text = f"{spec.member}: {text}"
    _log_of(spec).error("%s", text)
    return BackendDown(text, hint=hint, may_have_run=False)
