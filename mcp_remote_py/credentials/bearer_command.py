"""Bearer command: a program that prints a token. It is run when a token is needed, at most once at a time.

Its output is never logged. Its stderr is, through the redactor, and only after what it printed by then was learnt:
scripts that trace themselves say the token on both.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import Learn, Now, Token, read_printed, renewal
from mcp_remote_py.core.errors import ConfigError, SignInNeeded
from mcp_remote_py.credentials.command_run import CommandRun, Ended

_LOG = logging.getLogger("mcp_remote_py.credentials.bearer_command")
_HOLD_SECONDS = 1.0
"""So long lines of stderr are held back at most: some ask the user to open a page, and must be seen."""
_SECRET_LENGTH, _MOST_WORDS = 16, 64
"""What is taken for a secret in output that cannot be read as a token: shorter words would be found in any log."""
_OF_SHELLS = frozenset(["|", "||", "&&", ";", ">", "<", "2>&1", "2>/dev/null", ">/dev/null", "2>nul"])


class BearerCommand:
    """A `TokenSource`. All who ask while the command runs get what this one run brings, be it a failure."""

    def __init__(self, given: settings.BearerCommand, learn: Learn, now: Now) -> None:
        self._given = given
        self._learn = learn
        self._now = now
        self._token: Token | None = None
        self._printed: str | None = None
        self._run: CommandRun | None = None
        self._outcome: asyncio.Future[Token | str] | None = None
        self._lines: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._has_warned = False

    async def token(self) -> Token:
        token, now = self._token, self._now()
        if token is not None and not token.is_stale(now):
            return token
        outcome = await self._ask()
        if isinstance(outcome, Token):
            return outcome
        if token is not None and token is self._token and token.is_good(self._now()):
            _LOG.warning("%s %s. The token that it printed before has not expired yet.", self._given.where, outcome)
            token.renew_at = renewal(token.expires, self._now(), short=True)
            return token
        raise SignInNeeded(f"{self._given.where} gave no token: the command {outcome}", hint=self._hint(outcome))

    def renew(self, refused: Token) -> None:
        if refused is self._token:
            self._token = None

    def close(self) -> None:
        if self._run is not None:
            self._run.kill()

    def _hint(self, outcome: str) -> str:
        by_hand = f"Run it by hand in a terminal ({self._given.argv[0]} ...)"
        if outcome.startswith("ended with"):
            return f"{by_hand} and do what it says: often you must sign in again. Its words are in the log, too."
        if outcome.startswith("ran for longer"):
            return f"{by_hand}: perhaps it waits for an answer. --bearer-command-timeout gives it more time."
        return f"{by_hand}: it must print the token and nothing else, or JSON with access_token, on stdout."

    # --- One run -----------------------------------------------------------------------------------------------

    async def _ask(self) -> Token | str:
        """Return a new token, or why there is none, from the run that is going on or from another one."""
        if self._outcome is None:
            try:
                program = find_program(self._given)
            except ConfigError:
                return "is not there any more"
            environ = {name: value for name, value in os.environ.items() if name not in self._given.without}
            loop = asyncio.get_running_loop()
            self._outcome = loop.create_future()
            self._run = CommandRun(
                [program, *self._given.argv[1:]],
                environ,
                self._given.timeout,
                on_line=lambda line: _in_loop(loop, self._heard, line),
                on_end=lambda ended: _in_loop(loop, self._ended, ended),
            )
            _LOG.debug("%s: the command runs", self._given.where)
            self._run.start()
        return await asyncio.shield(self._outcome)  # who gives up does not take the others along

    def _ended(self, ended: Ended) -> None:
        waiting, self._outcome = self._outcome, None
        self._learn_output(ended.output)
        outcome = self._read(ended)
        self._run = None
        self._flush(logging.INFO if isinstance(outcome, Token) else logging.WARNING)
        if isinstance(outcome, Token):
            self._token = outcome
        if waiting is not None:
            waiting.set_result(outcome)

    def _read(self, ended: Ended) -> Token | str:
        if ended.trouble is not None:
            return ended.trouble
        if ended.code != 0:
            return f"ended with the exit code {ended.code}"
        try:
            text = ended.output.decode("utf-8")
        except UnicodeDecodeError:
            return "printed what is no text in UTF-8"
        if not text.strip():
            return "printed nothing"
        now = self._now()
        try:
            printed = read_printed(text, now)
        except ValueError as reason:
            return f"printed no token: {reason}"
        is_same = printed.token == self._printed
        self._printed = printed.token
        if printed.expires is not None and printed.expires <= now and not self._has_warned:
            self._has_warned = True
            _LOG.warning("%s: the token has expired already, by the clock of this machine", self._given.where)
        return Token(printed.token, expires=printed.expires, renew_at=renewal(printed.expires, now, short=is_same))

    def _learn_output(self, output: bytes) -> None:
        """Learn the token; where there is none, whatever may be one."""
        text = output.decode("utf-8", "replace")
        try:
            self._learn(read_printed(text, 0.0).token)
        except ValueError:
            pass  # garbage may have secrets in it, too
        for word in re.split(r"[\s\"',]+", text)[:_MOST_WORDS]:
            if len(word) >= _SECRET_LENGTH:
                self._learn(word)

    # --- Its stderr --------------------------------------------------------------------------------------------

    def _heard(self, line: str) -> None:
        self._lines.append(line)
        if self._flushing is None:
            loop = asyncio.get_running_loop()
            self._flushing = loop.call_later(_HOLD_SECONDS, self._flush, logging.INFO)

    def _flush(self, level: int) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._run is not None:
            self._learn_output(self._run.output)
        lines, self._lines = self._lines, []
        for line in lines:
            _LOG.log(level, "%s says: %s", self._given.where, line)


def find_program(given: settings.BearerCommand) -> str:
    """Return the program's path, as PATH has it. Raises `ConfigError` where there is none that can be run."""
    name = given.argv[0]
    found = shutil.which(name)
    if found is None:
        is_path = os.path.dirname(name) != ""
        where = "is no program that can be run" if is_path else "is no program on the PATH that the host gives us"
        raise ConfigError(f"{given.where}: {name} {where}. Give its whole path, and check that it may be executed.")
    return os.path.abspath(found)


def check(given: settings.BearerCommand) -> tuple[str, ...]:
    """Look for the program, and return what the user should hear. Raises `ConfigError` as `find_program` does."""
    find_program(given)
    for word in given.argv[1:]:
        if word in _OF_SHELLS:
            return (
                f"{given.where}: the command is run without a shell, so {word} is handed to {given.argv[0]} as a "
                "word. If a shell is meant, write it in front: sh -c '...' (Windows: cmd /c \"...\").",
            )
    return ()


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], argument: object) -> None:
    try:
        loop.call_soon_threadsafe(call, argument)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
