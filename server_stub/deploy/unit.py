"""Unit: what a systemd unit of ours says, and how words are written in one. Pure.

systemd.exec(5), systemd.service(5) "COMMAND LINES", systemd.unit(5) "SPECIFIERS".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mcp_remote_py.core.errors import ConfigError
from server_stub.core.roster import Command, Roster

NAME = "mcp-remote-server"
STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where systemd looks for programs, and where a child finds `npx`, `uvx` and `docker` if the unit says nothing else."""
_HOMES = ("/home", "/root", "/run/user")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+~-]+")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}|[0-9]{1,10}")


class Unit(NamedTuple):
    """What the templates show. Texts are written as systemd reads them, so that a template only places them."""

    command: str
    """The whole of `ExecStart=`."""
    user: str
    path: str | None = None
    """PATH, where systemd's own does not lead to all programs."""
    env_files: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ()
    """`id:file` of secrets that systemd reads as root and hands to the service alone."""
    writable: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    """What the file names below the homes of people, so that these have to be seen."""
    uses_docker: bool = False
    low_port: bool = False

    @property
    def is_root(self) -> bool:
        return self.user in ("root", "0")


class Needs(NamedTuple):
    """What the members of a file need of the machine."""

    folders: tuple[str, ...] = ()
    """Where their programs are, as far as systemd would not look there."""
    homes: tuple[str, ...] = ()
    uses_docker: bool = False
    missing: tuple[str, ...] = ()
    """Programs that are not to be found here."""


def needs_of(roster: Roster, which: Callable[[str], str | None]) -> Needs:
    """Return what the members that may run need. `which` finds a program, as `shutil.which` does."""
    folders: list[str] = []
    homes: list[str] = []
    missing: list[str] = []
    uses_docker = False
    for member in roster.members:
        what = member.what
        if not member.enabled or not isinstance(what, Command):
            continue
        words = what.words or tuple((what.shell or "").split())
        program = words[0] if words else ""
        uses_docker = uses_docker or program.rpartition("/")[2] == "docker"
        found = program if "/" in program else which(program) if program else None
        if program and found is None and what.words:
            missing.append(program)
        folder = (found or "").rpartition("/")[0]
        if found and "/" not in program and folder not in STANDARD_PATH:
            folders.append(folder)
        homes += [word for word in (found or "", what.cwd or "", *words[1:]) if is_home(word)]
    unique = dict.fromkeys
    return Needs(tuple(unique(folders)), tuple(unique(homes)), uses_docker, tuple(unique(missing)))


def is_home(path: str) -> bool:
    """Whether a path leads into the homes of people, which services are not shown."""
    return any(path == home or path.startswith(f"{home}/") for home in _HOMES)


def search_path(folders: Sequence[str]) -> str | None:
    """Return PATH with these folders in front, or None where systemd's own will do."""
    return ":".join((*folders, *STANDARD_PATH)) if folders else None


def check_user(text: str, where: str) -> str:
    """Return the name. Raises `ConfigError` for what is no name of a user."""
    if not _USER.fullmatch(text):
        raise ConfigError(f"{where}: {text!r} is no name of a user.")
    return text


def word(text: str) -> str:
    """Return one word of a command line: quoted, and with nothing left to expand. Raises `ConfigError`."""
    text = _one_line(text).replace("$", "$$")
    return specified(text) if _PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Return a text in quotes, of which systemd expands nothing. Raises `ConfigError`."""
    text = _one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{specified(text)}"'


def specified(text: str) -> str:
    """Return a text with its percent signs written so that none of them begins a specifier. Raises `ConfigError`."""
    return _one_line(text).replace("%", "%%")


def _one_line(text: str) -> str:
    if not text.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ConfigError(f"{text!r} has a control character in it, which cannot be written into a unit.")
    return text
