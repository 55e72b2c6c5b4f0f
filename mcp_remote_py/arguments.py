"""From an option table to argparse and to a help text: the part of a command line that both programs share.

argparse only splits the words; what a flag means is decided by the table (`core.options`).
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

from mcp_remote_py import __version__
from mcp_remote_py.core import options
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.options import Given, Option

LISTED = "(--help lists all flags)"


class _Collect(argparse.Action):
    """Notes (flag, text) under the option's name, so that the table, not argparse, decides what it means."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser  # argparse hands it over; there is no use for it
        given: Given = namespace.given or {}
        given.setdefault(self.dest, []).append((option_string or self.dest, values if isinstance(values, str) else "1"))
        namespace.given = given


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are `ConfigError`s, with one argument per row of the table, `--help` and `--version`."""

    def __init__(self, table: Sequence[Option], *, prog: str, usage: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog, usage=usage, description=description, epilog=epilog, add_help=False, allow_abbrev=False
        )
        self._table = table
        self._groups: dict[str, argparse._ArgumentGroup] = {}
        for option in table:
            if option.flags:
                self._add_option(option)
        about = self.add_argument_group("about")
        about.add_argument("--help", "-h", action="store_true", help="show this text")
        if not any("--version" in option.flags for option in table):  # a command may ask for that of something else
            about.add_argument("--version", "-V", action="store_true", help="show the version")
        self.set_defaults(given=None)

    def _add_option(self, option: Option) -> None:
        if option.group not in self._groups:
            self._groups[option.group] = self.add_argument_group(option.group)
        group = self._groups[option.group]
        text = option.help.replace("%", "%%")
        if option.sets is None:
            group.add_argument(*option.flags, dest=option.name, action=_Collect, metavar=option.metavar, help=text)
        else:
            group.add_argument(*option.flags, dest=option.name, action=_Collect, nargs=0, help=text)

    def error(self, message: str) -> NoReturn:
        with_value = re.fullmatch(r"argument (\S+?)(?:/\S+)?: ignored explicit argument .*", message, re.DOTALL)
        if with_value:
            flag = with_value.group(1)
            raise ConfigError(f"{flag} takes no value: write {flag} alone, or leave it out. {LISTED}")
        raise ConfigError(f"{message} {LISTED}")

    def answered(self, parsed: argparse.Namespace) -> bool:
        """Answer `--help` and `--version` on stdout. Returns whether one of them was asked for."""
        if parsed.help:
            speak_utf8(sys.stdout)
            self.print_help(sys.stdout)
        elif parsed.version:
            sys.stdout.write(f"{self.prog} {__version__}\n")
        return bool(parsed.help or parsed.version)

    def unknown(self, flag: str) -> str:
        """Return the sentence for a flag that the table does not have."""
        known = [spelling for option in self._table for spelling in option.flags]
        flag, blank, _ = flag.partition(" ")
        if blank and flag in known:
            return f'{flag} and its value are two entries of "args": "{flag}", "the value"'
        return f"unknown flag {flag}.{options.did_you_mean(flag, [*known, '--help', '--version'])} {LISTED}"


def file_name(text: str, where: str) -> str:
    """Parse the name of a file or a folder: `~` is expanded."""
    if not text.strip():
        raise ConfigError(f"{where}: the name of a file is missing.")
    return os.path.expanduser(text)


def read_text(path: str) -> str:
    """Return the text of a file that an option names. Raises `OSError` or `UnicodeDecodeError`."""
    with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
        return file.read()


def speak_utf8(stream: TextIO | None) -> None:
    """Messages for people may name any host or file: no code page may turn them into an exception."""
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
