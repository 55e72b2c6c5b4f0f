"""The configuration file: a path in, a `Roster` out. Reads it, and the `.env` files beside it; starts nothing.

What makes the file as a whole unusable is a `ConfigError`; what is wrong with one server is a finding, and that server
alone is not started.

`${VAR}` names a variable of the process, of `.env` beside the file, or of the server's own `.env` files; the later
wins. A server's own files (NAME.env and NAME/NAME.env beside the file, or those of `envFile`) go into its child's
environment as a whole, too; the shared one is only looked up.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import stat
import time
from collections.abc import Mapping
from io import StringIO
from typing import NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.secret_places import is_secret_name
from server_stub.core import config_kinds, config_layout, config_reading, relaxed_json
from server_stub.core.config_keys import PLACES
from server_stub.core.config_layout import Layout, Listed
from server_stub.core.config_objects import Notes
from server_stub.core.config_reading import Surroundings
from server_stub.core.relaxed_json import Object
from server_stub.core.roster import OF_THE_SERVER, Command, Finding, Member, Roster

LARGEST = 16 * 1024 * 1024
"""Bytes of a configuration file, or of a `.env` file."""
_PATIENCE = 5.0
"""Seconds that a pipe may take."""
SHARED = ".env"
HOW = "Only its owner may be able to write it: chmod o-w"


def read_roster(path: str, environ: Mapping[str, str]) -> Roster:
    """Return what the file says, checked.

    Raises `ConfigError` where the file as a whole cannot be used: it, or its head, is wrong.
    """
    roster = inspect(path, environ)
    of_all = [finding for finding in roster.errors if finding.member is None]
    if of_all:
        raise ConfigError("\n".join(str(finding) for finding in of_all))
    return roster


class Examined(NamedTuple):
    """All that is known about a configuration file."""

    roster: Roster
    layout: Layout
    """Where things stand in its text."""
    wanted: tuple[str, ...]
    """The variables and inputs that it asks for, set or not, in the order of the file."""


def inspect(path: str, environ: Mapping[str, str]) -> Roster:
    """Return what the file says with everything that is wrong, also with its head.

    Raises `ConfigError` where the file cannot be read at all.
    """
    return examine(path, environ).roster


def examine(path: str, environ: Mapping[str, str], text: str | None = None) -> Examined:
    """Return what `inspect` does, and more. `text`: what the file is about to hold, in place of what it holds.

    Raises `ConfigError` where the file cannot be read at all.
    """
    bundle = _Bundle(path)
    text = bundle.configuration(text)
    layout = read_layout(text, path)
    notes = Notes(path)
    shared = bundle.shared(notes)
    surroundings = Surroundings(environ, shared)
    listed = config_reading.members_of(layout)
    own = {one.entry.name: bundle.own(one, surroundings, notes) for one in listed}
    front, members = config_reading.read(layout, surroundings._replace(own=own), notes)
    front = front._replace(variables=tuple((name, shared[name]) for name in OF_THE_SERVER if shared.get(name)))
    members = tuple(_settled(member, one, bundle.folder, notes) for member, one in zip(members, listed, strict=True))
    roster = Roster(
        file=path,
        front=front,
        members=tuple(config_reading.judged(member, notes) for member in members),
        findings=_sorted(notes),
        digest=bundle.digest.hexdigest(),
        sources=tuple(bundle.sources),
        secrets=tuple(notes.secrets),
        token_variables=tuple(notes.token_variables),
    )
    return Examined(roster, layout, tuple(notes.wanted))


def read_layout(text: str, path: str) -> Layout:
    """Return where things stand in the text of a configuration file. Raises `ConfigError` with file and line."""
    try:
        return config_layout.recognise(relaxed_json.parse(text))
    except relaxed_json.NotJson as error:
        where = f"{path}:{error.line}: column {error.column}"
        raise ConfigError(f"{where}: this is no JSON: {config_layout.shown(str(error))}.") from None
    except config_layout.Unknown as error:
        raise ConfigError(f"{path}:{error.line}: {config_layout.shown(str(error))}") from None


def read_text(path: str) -> str:
    """Return the text of a configuration file. Raises `ConfigError`; so it does where any user may write the file."""
    return _decoded(_existing(path), path)


def _sorted(notes: Notes) -> tuple[Finding, ...]:
    return tuple(sorted(notes.findings, key=lambda found: (found.file != notes.file, found.file, found.line or 0)))


# --- Files -----------------------------------------------------------------------------------------------------------


class _Bundle:
    """The configuration file and all that is read beside it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = os.path.dirname(os.path.abspath(path))
        self.digest = hashlib.sha256()
        self.sources: dict[str, None] = {}

    def configuration(self, text: str | None) -> str:
        self.sources[os.path.abspath(self.path)] = None
        content = _existing(self.path) if text is None else text.encode()
        self._count(self.path, content)
        return _decoded(content, self.path)

    def shared(self, notes: Notes) -> dict[str, str]:
        """Return the variables of the `.env` beside the file. Raises `ConfigError` where anybody may write it."""
        path = os.path.join(self.folder, SHARED)
        return self._variables(path, None, notes) or {}

    def own(self, listed: Listed, surroundings: Surroundings, notes: Notes) -> dict[str, str]:
        """Return the variables of a server's own `.env` files. What is wrong with them is its finding."""
        name = listed.entry.name
        named = _named_files(listed, surroundings)
        found: dict[str, str] = {}
        if named is not None:
            for path in named:
                inside = self._variables(os.path.join(self.folder, os.path.expanduser(path)), name, notes)
                if inside is None:
                    key = f"{listed.path}.envFile"
                    notes.error(line_of(listed, "envFile"), key, f"there is no file {path!r}.", name)
                found |= inside or {}
            return found
        if listed.unfit:
            return found
        for path in (f"{name}.env", os.path.join(name, f"{name}.env")):
            found |= self._variables(os.path.join(self.folder, path), name, notes) or {}
        return found

    def _variables(self, path: str, member: str | None, notes: Notes) -> dict[str, str] | None:
        """Return what a `.env` file holds; None where there is none."""
        path = os.path.normpath(path)
        self.sources[path] = None
        shown = os.path.join(os.path.dirname(self.path), os.path.relpath(path, self.folder))
        if may_be_planted(path, self.path):
            notes.warning(
                None, "", f"{shown}: is passed over: it belongs to somebody else, in a folder for all.", member
            )
            return None
        try:
            content, mode = _content(path)
            self._count(path, content)
            text = _decoded(content, shown)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None  # a folder `.env` is somebody's virtual environment
        except (OSError, ValueError) as error:
            note = notes.warning if member is None else notes.error  # what asks for its variables will be an error
            note(None, "", str(_unreadable(shown, error)), member)
            return {}
        except ConfigError as error:
            if member is None:
                raise
            notes.error(None, "", str(error), member)
            return {}
        return _parsed(text, _EnvFile(shown, mode, member), notes)

    def _count(self, path: str, content: bytes) -> None:
        for part in (os.fsencode(os.path.abspath(path)), content):
            self.digest.update(len(part).to_bytes(8, "big") + part)


def _existing(path: str) -> bytes:
    try:
        return _content(path)[0]
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError | ValueError) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else None
    return ConfigError(f"{path}: cannot be read ({reason or 'its name is none'}).")


def _content(path: str) -> tuple[bytes, int]:
    """Return the bytes and the mode of a file that not anybody may write. Raises `ConfigError`, OSError, ValueError."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        _check_writers(path, status)
        content = _from_pipe(file.fileno()) if stat.S_ISFIFO(status.st_mode) else file.read(LARGEST + 1) or b""
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: has more than {LARGEST // 1024**2} MiB, so it is no configuration.")
    return content, status.st_mode


def _without_waiting(path: str, flags: int) -> int:
    """Open a file. A named pipe to which nobody writes would keep who opens it, and every later reload, for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _from_pipe(fd: int) -> bytes:
    """Return what somebody writes into a pipe: `--config <(decrypt servers.json)`. Raises OSError."""
    deadline, content = time.monotonic() + _PATIENCE, b""
    while len(content) <= LARGEST:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise OSError(errno.ETIMEDOUT, "it is a pipe, and nobody writes into it")
        piece = os.read(fd, 65536)
        if not piece:
            break
        content += piece
    return content


def _check_writers(path: str, status: os.stat_result) -> None:
    """Refuse what any user of this machine could have written: it says which commands are run."""
    if os.name != "posix" or not stat.S_ISREG(status.st_mode):
        return
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(f"{path}: every user of this machine can write it, so what it says is not done. {HOW} {path}")
    for folder in _folders_to(path):
        mode = os.stat(folder).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and not os.statvfs(folder).f_flag & os.ST_RDONLY:
            text = f"every user of this machine can replace files in its folder. {HOW} {folder}"
            raise ConfigError(f"{path}: {text}")


_MOST_LINKS = 40  # Linux follows as many


def _folders_to(path: str) -> list[str]:
    """Return every folder that decides which file this path names, links followed one by one."""
    folders: dict[str, None] = {}
    at, links = os.sep, 0
    parts = [*reversed(os.path.join(os.getcwd(), path).split(os.sep))]
    while parts:
        part = parts.pop()
        if part in ("", ".", ".."):
            at = os.path.dirname(at) if part == ".." else at
            continue
        folders[at] = None
        place = os.path.join(at, part)
        links += os.path.islink(place)
        if os.path.islink(place) and links <= _MOST_LINKS:
            target = os.readlink(place)
            at = os.sep if os.path.isabs(target) else at
            parts += reversed(target.split(os.sep))
        else:
            at = place
    return list(folders)


def may_be_planted(path: str, configuration: str) -> bool:
    """Whether another user can have put a file here that is used because of its name: into /tmp, for example."""
    if os.name != "posix":
        return False
    try:
        folder, trusted = os.stat(os.path.dirname(path)), {0, os.geteuid(), os.stat(configuration).st_uid}
        is_for_all = bool(folder.st_mode & stat.S_IWOTH) or folder.st_uid not in trusted
        return is_for_all and os.stat(path).st_uid not in trusted
    except OSError:
        return False  # then it cannot be read either


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            try:
                return content.decode("utf-16")
            except UnicodeDecodeError:
                pass  # then it is told what it is not
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is not UTF-8. Save the file as UTF-8.") from None


# --- .env files ------------------------------------------------------------------------------------------------------


class _EnvFile(NamedTuple):
    shown: str
    mode: int
    member: str | None


def _parsed(text: str, file: _EnvFile, notes: Notes) -> dict[str, str]:
    """Return the variables of a `.env` file. Their values stand as they are: nothing in them is expanded."""
    from dotenv.parser import parse_stream

    inner = Notes(file.shown)
    wrong = inner.warning if file.member is None else inner.error  # a line of the shared file concerns nobody yet
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line + _leading_breaks(binding.original.string)
        if binding.error:
            wrong(line, "", "this line is none of a .env file. Write NAME=value.", file.member)
        elif binding.key is not None and binding.value is None:
            text = f"{binding.key[:40]!r} has no value, and does nothing. Write NAME=value."
            inner.warning(line, "", text, file.member)
        elif binding.key is not None and binding.value is not None:
            unfit = config_kinds.unfit_variable(binding.key, binding.value)
            if unfit:
                wrong(line, "", unfit, file.member)
                continue
            found[binding.key] = binding.value
            inner.keep_secret(binding.key, binding.value)
    if os.name == "posix" and file.mode & stat.S_IROTH:
        names = [name for name, value in found.items() if value and is_secret_name(name)]
        if names:
            text = f"it holds secrets ({', '.join(names)}), and every user here can read it: chmod 600 {file.shown}"
            inner.warning(None, "", text, file.member)
    notes.findings += inner.findings
    notes.secrets.update(inner.secrets)
    return found


def _leading_breaks(text: str) -> int:
    """A binding begins where the one before ended: with the empty lines between them."""
    return text[: len(text) - len(text.lstrip())].count("\n")


def _named_files(listed: Listed, surroundings: Surroundings) -> tuple[str, ...] | None:
    """Return the files that `envFile` names; None without it, or where it is wrong, which is told when it is read."""
    if not isinstance(listed.entry.node.value, Object):
        return None
    entry = listed.entry.node.value.last("envFile")
    if entry is None:
        return None
    reader = surroundings.reader(Notes(""), None)
    only = relaxed_json.Node(Object((entry,)), entry.line, 0, 0)
    given = reader.read(only, PLACES["member"], "").get("envFile")
    return () if given is None else given.value


def line_of(listed: Listed, key: str) -> int:
    """Return the line of a key of a server, or that of the server where it has no such key."""
    node = listed.entry.node
    entry = node.value.last(key) if isinstance(node.value, Object) else None
    return listed.entry.line if entry is None else entry.line


# --- Folders ---------------------------------------------------------------------------------------------------------


def _settled(member: Member, listed: Listed, folder: str, notes: Notes) -> Member:
    """Return the member with its folder as an absolute path. One that is not there is an error."""
    if not isinstance(member.what, Command) or member.what.cwd is None:
        return member
    cwd = os.path.normpath(os.path.join(folder, os.path.expanduser(member.what.cwd)))
    member = member._replace(what=member.what._replace(cwd=cwd))
    if os.path.isdir(cwd):
        return member
    notes.error(line_of(listed, "cwd"), f"{listed.path}.cwd", f"there is no folder {cwd!r}.", member.name)
    return member
