"""`mcp-remote-py replay FILE`: plays the far end of a traced session on stdio, so that a bug report is a test.

No network, no timing: each message of the host is answered at once. Rotated parts (`FILE.3` to `FILE.1`) are read, too.
Exit codes: 0 the host closed our input; 2 the file is no trace.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from mcp_remote_py.arguments import speak_utf8
from mcp_remote_py.core import message as msg
from mcp_remote_py.core import trace_record
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.framing import LineFramer, Oversize
from mcp_remote_py.core.message import Batch, Invalid
from mcp_remote_py.core.playback import Playback
from mcp_remote_py.core.redact import printable
from mcp_remote_py.core.trace_record import FROM_HOST, Entry, Trace
from mcp_remote_py.lifetime import leave_quietly
from mcp_remote_py.log_file import OLD_FILES
from mcp_remote_py.stdio import take_stdout

_PROGRAM = "mcp-remote-py replay"
_CHUNK = 1024 * 1024
_LIMIT = 64 * 1024 * 1024


def main(arguments: list[str]) -> int:
    """Play a session until the end of input. Raises `ConfigError` for arguments and files that cannot work."""
    leave_quietly()
    parsed = _parsed(arguments)
    if parsed is None:
        return 0
    path = os.path.abspath(os.path.expanduser(parsed.file))
    session, entries = _chosen(trace_record.read(_lines(path)), path, parsed.session)
    playback = Playback(entries)
    _say(f"playing back the session {session} of {entries[0].time}, {playback.requests} requests")
    try:
        _play(playback, take_stdout())
    except BrokenPipeError:
        pass  # the host has gone, as hosts do
    except OSError as error:
        raise ConfigError(f"stdin or stdout cannot be used ({error.strerror}). A host gives pipes for both.") from None
    return 0


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"replay: {message}. Write: {_PROGRAM} FILE")


def _parsed(arguments: list[str]) -> argparse.Namespace | None:
    parser = _Arguments(prog=_PROGRAM, description="Answers a host from a file that --trace wrote.", add_help=False)
    parser.add_argument("file", metavar="FILE", help="the file that --trace wrote")
    parser.add_argument("--session", metavar="ID", help="which session of the file (default: the last one)")
    parser.add_argument("--help", "-h", action="store_true", help="show this text")
    if {"--help", "-h"} & set(arguments):
        parser.print_help(sys.stdout)
        return None
    return parser.parse_args(arguments)


def _lines(path: str) -> Iterator[bytes]:
    """The lines of the trace, from the oldest part that is left."""
    for old in (f"{path}.{number}" for number in range(OLD_FILES, 0, -1)):
        with contextlib.suppress(OSError), open(old, "rb") as part:  # most traces have no older parts
            yield from part
    try:
        with open(path, "rb") as file:
            yield from file
    except OSError as error:
        raise ConfigError(f"replay: {path!r} cannot be read ({error.strerror}).") from None


def _chosen(trace: Trace, path: str, asked: str | None) -> tuple[str, list[Entry]]:
    if trace.unreadable:
        _say(f"{trace.unreadable} lines of the file are no lines of a trace, and are left out")
    playable = {
        name: entries
        for name, entries in trace.sessions.items()
        if any(entry.direction == FROM_HOST for entry in entries)
    }
    if asked is not None and asked in playable:
        return asked, playable[asked]
    if not playable:
        raise ConfigError(f"replay: {path!r} is no trace with messages of a host in it. --trace FILE writes one.")
    if asked is not None:
        known = ", ".join(f"{name} ({entries[0].time})" for name, entries in playable.items())
        raise ConfigError(f"replay: there is no session {asked!r} in {path!r}. It has: {known}")
    name = list(playable)[-1]
    return name, playable[name]


def _play(playback: Playback, stdout: int) -> None:
    framer = LineFramer(_LIMIT)
    while True:
        chunk = os.read(0, _CHUNK)
        for line in framer.feed(chunk) if chunk else framer.finish():
            for answer in _answers(playback, line):
                _write(stdout, answer + b"\n")
        if not chunk:
            return


def _answers(playback: Playback, line: bytes | Oversize) -> list[bytes]:
    if isinstance(line, Oversize):
        identifier, _ = msg.id_in_fragment(line.head, line.tail)
        return [msg.error(identifier, -32600, f"the message has {line.size} bytes, the limit is {_LIMIT}").raw]
    try:
        parsed = msg.parse(line)
    except Invalid as invalid:
        return [msg.error(invalid.identifier, invalid.code, invalid.reason).raw] if invalid.answerable else []
    items = parsed.items if isinstance(parsed, Batch) else (parsed,)
    said: list[bytes] = []
    for item in items:
        if isinstance(item, Invalid):
            said.append(msg.error(item.identifier, item.code, item.reason).raw)
        else:
            said += [answer.raw for answer in playback.from_host(item)]
    return said


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _say(text: str) -> None:
    speak_utf8(sys.stderr)
    sys.stderr.write(f"{_PROGRAM}: {printable(text)}\n")
