"""Command run: one run of a program, without a shell, bounded in time and in what it may print.

It has a thread of its own, so that a run belongs to none of the tasks that wait for it: whoever gives up does not end
it for the others. No signal handler and no child watcher of the event loop is needed. On POSIX the program leads a
session of its own, and the hard end goes to its whole group; on Windows `taskkill /T` walks the tree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

OUTPUT_BYTES = 64 * 1024
LINE_BYTES = 64 * 1024
MOST_LINES = 200
"""Lines of stderr that are told; the rest is read and dropped."""
_LOOK_SECONDS = 0.05
_LINGER_SECONDS = 0.5
"""After the program's end its output is still read for so long: a process that it left behind may hold the pipe."""


class Ended(NamedTuple):
    """How a run ended. `trouble`: why there is no output, as a phrase; `code` is the exit code, None if it was killed
    or never ran."""

    output: bytes
    code: int | None
    trouble: str | None = None


class CommandRun:
    """One run. `on_line` is called for each line of stderr, `on_end` once, both in the run's own threads."""

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None],
        on_end: Callable[[Ended], None],
    ) -> None:
        self._argv = list(argv)
        self._environ = dict(environ)
        self._timeout = timeout
        self._on_line = on_line
        self._on_end = on_end
        self._output = bytearray()
        self._too_much = False
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=lambda: self._on_end(self._run()), name="bearer-command", daemon=True).start()

    @property
    def output(self) -> bytes:
        """What it has printed so far."""
        return bytes(self._output)

    def kill(self) -> None:
        """End it now, with all that it started. Without effect on a run that is over."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                _kill_group(self._process)

    def _run(self) -> Ended:
        try:
            process = subprocess.Popen(  # noqa: S603  the user's own command, split into words, without a shell
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environ,
                **_group_options(),
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return Ended(b"", None, f"could not be started ({reason or type(error).__name__})")
        with self._lock:
            self._process = process
        if self._killed:
            self.kill()
        assert process.stdout is not None  # noqa: S101  as was asked above
        assert process.stderr is not None  # noqa: S101
        readers = [
            threading.Thread(target=self._read_output, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_lines, args=(process.stderr,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        in_time = self._wait(process, readers[0])
        for reader in readers:
            reader.join(_LINGER_SECONDS)
        if self._too_much:
            return Ended(self.output, None, f"printed more than {OUTPUT_BYTES // 1024} KiB")
        if not in_time:
            return Ended(self.output, None, f"ran for longer than {self._timeout:g} s and was ended")
        return Ended(self.output, process.returncode)

    def _wait(self, process: subprocess.Popen[bytes], reader: threading.Thread) -> bool:
        """Wait for its end, and end it at the limit. Returns whether it ended in time."""
        deadline = time.monotonic() + self._timeout
        while process.poll() is None and time.monotonic() < deadline:
            if reader.is_alive():
                reader.join(_LOOK_SECONDS)  # most programs end when they close their output
            else:
                _nap(process, _LOOK_SECONDS)
        in_time = process.poll() is not None
        if not in_time:
            self.kill()
        process.wait()
        return in_time

    def _read_output(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                if len(self._output) + len(chunk) > OUTPUT_BYTES:
                    self._too_much = True
                    self.kill()
                if not self._too_much:
                    self._output += chunk

    def _read_lines(self, pipe: IO[bytes]) -> None:
        told = 0
        with pipe:
            while line := pipe.readline(LINE_BYTES):
                text = line.decode("utf-8", "replace").strip()
                if text and told < MOST_LINES:
                    told += 1
                    self._on_line(text)


def _nap(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass  # it is asked again


def _group_options() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Only while the leader has not been waited for: after that its number may belong to others."""
    try:
        if sys.platform == "win32":
            quiet = subprocess.DEVNULL
            words = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603  a program of Windows
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()  # no group, or no taskkill: at least the leader
