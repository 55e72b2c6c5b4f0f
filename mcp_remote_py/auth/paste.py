"""Paste: takes by hand the address that a browser was sent back to, where that browser sits on another machine.

From a terminal: /dev/tty, not stdin, which belongs to the host. It is left alone where it is not ours to read: another
program is in the foreground, or one that draws the whole screen reads each key. While a person may paste, the terminal
hands over what comes at once (its own lines hold 1024 or 4096 characters, fewer than some codes have) and shows none of
it. From a pipe, for the command `login`. What was pasted is never repeated: it holds the code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl

_LOG = logging.getLogger("mcp_remote_py.auth.paste")
LARGEST = 64 * 1024
"""Characters; no browser keeps a longer address."""
QUIET_SECONDS = 0.3
"""What a terminal broke into lines comes in one go; when nothing has come for so long, it was all."""
_MOST_FIELDS = 100
_MARKS = re.compile("\x1b\\[20[01]~")
"""With these a terminal frames what is pasted."""
_FRAMES = re.compile("[\u2500-\u257f]")
"""Lines that programs draw around text, and that get copied with it."""
_QUOTES = "'\"`<>()[]{},.\u2018\u2019\u201c\u201d\u00ab\u00bb"
Say = Callable[[str], None]


class NotIt(ValueError):
    """What was pasted is not the address that is waited for. The text says what is wrong, and repeats nothing."""


def read(text: str, state: str) -> str:
    """Return the query of a pasted redirect URL, of a part of it, or of the query alone. Raises `NotIt`.

    `state`: the one of the sign-in that is waited for. Blanks, line breaks, quotes around it and backslashes of shells
    are taken out: no URL holds any.
    """
    if len(text) > LARGEST:
        raise NotIt("That is too long for an address.")
    text = _FRAMES.sub("", _MARKS.sub("", text)).replace("\\", "")
    text = "".join(character for character in text if character.isprintable() and not character.isspace())
    text = text.strip(_QUOTES).replace("&amp;", "&")
    begin, _, rest = text.partition("?")
    query = (text if "=" in begin else rest).partition("#")[0]
    try:
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        fields = {}
    if not fields.get("code") and not fields.get("error"):
        if "client_id" in fields or "response_type" in fields:
            raise NotIt("That is the address of the sign-in itself. Paste the one that the browser shows after it.")
        raise NotIt("That holds no code. Paste the whole address that the browser shows after the sign-in.")
    if "state" not in fields:
        raise NotIt("That is only a part of it. Paste the whole address, with its state.")
    if not hmac.compare_digest(fields["state"].encode("utf-8", "replace"), state.encode()):
        raise NotIt(
            "That belongs to another sign-in, or its end is missing. Paste the whole address of the latest one."
        )
    return query


def has_terminal() -> bool:
    """Whether there is a terminal that a person could paste into."""
    try:
        with _terminal():
            return True
    except OSError:
        return False


async def from_terminal(state: str, say: Say = _LOG.warning) -> str:
    """Wait until the address of the sign-in with this `state` is pasted into the terminal, and return its query.

    Without a terminal it waits for ever: the browser may still come back by itself. `say` tells a person what was
    wrong with a paste.
    """
    with contextlib.suppress(OSError), _terminal() as fd:
        found = await _pasted(fd, state, say)
        if found is not None:
            return found
    return await _for_ever()


async def from_pipe(state: str, fd: int = 0, say: Say = _LOG.warning) -> str:
    """As `from_terminal`, from a pipe, a file or whatever stdin is. After its end it waits for ever, too."""
    if os.isatty(fd):
        return await from_terminal(state, say)
    found = await _pasted(fd, state, say)
    return await _for_ever() if found is None else found


async def _for_ever() -> str:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never


async def _pasted(fd: int, state: str, say: Say) -> str | None:
    """Return the query of the first paste that fits; None at the end of input."""
    come: asyncio.Queue[bytes] = asyncio.Queue()
    text = ""
    with _reading(fd, come.put_nowait):
        while True:
            chunk: bytes | None = None
            with contextlib.suppress(TimeoutError):  # quiet: what has come is all of it
                async with asyncio.timeout(QUIET_SECONDS if text.endswith(("\n", "\r")) else None):
                    chunk = await come.get()
            if chunk:
                text += chunk.decode("utf-8", "replace")
            if not chunk or len(text) > LARGEST:
                if text.strip():
                    try:
                        return read(text, state)
                    except NotIt as wrong:
                        say(str(wrong))
                text = ""
            if chunk == b"":
                return None


@contextlib.contextmanager
def _reading(fd: int, put: Callable[[bytes], None]) -> Iterator[None]:
    """Have a thread read, and hand over each piece in the event loop; an empty one at the end.

    A thread, because not every system can tell an event loop about a terminal or a file.
    """
    loop = asyncio.get_running_loop()
    wake, waking = os.pipe()

    def post(chunk: bytes) -> bool:
        try:
            loop.call_soon_threadsafe(put, chunk)
        except RuntimeError:
            return False  # the loop has ended: nobody is left to tell
        return bool(chunk)

    def run() -> None:
        while _is_ready(fd, wake):
            try:
                chunk = os.read(fd, 4096)
            except BlockingIOError:
                continue  # somebody else was quicker
            except OSError:
                chunk = b""  # the terminal is gone, which is an end of input
            if not post(chunk):
                return

    reader = threading.Thread(target=run, name="paste", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.close(waking)
        if sys.platform == "win32":
            pass  # it sits in a read that nothing ends: a daemon thread, and one pipe of ours stays open
        else:
            reader.join()  # at once: closing the other end wakes it
            os.close(wake)


def _is_ready(fd: int, wake: int) -> bool:
    """Wait until there is something to read; False where nobody wants it any more."""
    if sys.platform == "win32":
        return True
    return wake not in select.select([fd, wake], [], [])[0]


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """Open the terminal for pasting, and put it back as it was. Raises `OSError` where there is none that is ours."""
    if sys.platform == "win32":
        fd = os.open("CONIN$", os.O_RDWR | os.O_BINARY)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    import termios

    fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = termios.tcgetattr(fd)
        if os.tcgetpgrp(fd) != os.getpgrp() or not before[3] & termios.ICANON:
            raise OSError("the terminal belongs to another program")
        ours = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:6], list(before[6])]
        ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSADRAIN, ours)
        try:
            yield fd
        finally:
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except termios.error as error:
        raise OSError("the terminal cannot be set up") from error
    finally:
        os.close(fd)
