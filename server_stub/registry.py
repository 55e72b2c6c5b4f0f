"""The configuration file as something that commands edit: locked, checked, backed up, written at once or not at all.

What is edited is the text (`core/json_text`): comments, order and formatting elsewhere stay byte for byte. What would
be wrong after the change is refused; what was wrong before it does not stand in the way. Asks nobody, prints nothing.
"""

from __future__ import annotations

import difflib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.file_lock import lock, unlock
from server_stub import config_file, wanted_variables
from server_stub.core import json_text, relaxed_json
from server_stub.core.json_text import Unfit
from server_stub.core.relaxed_json import Object
from server_stub.core.roster import Roster

KEPT_BACKUPS = 20
_LOCK_PATIENCE = 30.0
_CONTAINERS: tuple[tuple[str, ...], ...] = (
    ("mcpServers",),
    ("servers",),
    ("mcp.servers",),
    ("mcp", "servers"),
    ("clients",),
)
"""Where the known forms of the file have their servers."""

Edit = Callable[[str], str]
"""The text of the file in, the new text out. Raises `ConfigError`."""


# --- Edits -----------------------------------------------------------------------------------------------------------


def adding(name: str, entry: Mapping[str, Any], *, replace: bool = False) -> Edit:
    """Return the edit that puts a server into the file."""

    def edit(text: str) -> str:
        there = _place_of(text, name)
        if there is not None and not replace:
            raise ConfigError(f"there is a server {name!r} already. Add --replace to put this one in its place.")
        path = there or _place_for_new(text)
        shaped: Mapping[str, Any] = entry
        if path == ("clients",):  # files of version 1 have what is to be run, or reached, in an object of its own
            inner = {key: value for key, value in entry.items() if key not in ("type", "options")}
            wire = entry.get("type", None if "url" in entry else "stdio")
            shaped = {**({"type": wire} if wire else {}), "config": inner, **entry.get("options", {})}
        return json_text.put(text, path, name, shaped)

    return edit


def removing(name: str) -> Edit:
    """Return the edit that takes a server out of the file."""
    return lambda text: json_text.take_out(text, _known_place(text, name), name)


def switching(name: str, *, on: bool) -> Edit:
    """Return the edit that enables or disables a server. To enable is to take out what disables it."""

    def edit(text: str) -> str:
        path = (*_known_place(text, name), name)
        braces = json_text.members(text, path)
        disabled = braces.find("disabled") if braces else None
        enabled = braces.find("enabled") if braces else None
        if enabled is not None:
            if disabled is not None:  # one of the two says it all
                text = json_text.take_out(text, path, "disabled")
            return text if enabled.node.value is on else json_text.put(text, path, "enabled", value=on)
        if on:
            return text if disabled is None else json_text.take_out(text, path, "disabled")
        if disabled is not None and disabled.node.value is True:
            return text
        return json_text.put(text, path, "disabled", value=True)

    return edit


def _place_of(text: str, name: str) -> tuple[str, ...] | None:
    for path in _CONTAINERS:
        braces = json_text.members(text, path) if _reaches(text, path) else None
        if braces is not None and braces.find(name) is not None:
            return path
    return None


def _known_place(text: str, name: str) -> tuple[str, ...]:
    from mcp_remote_py.core.options import did_you_mean

    path = _place_of(text, name)
    if path is None:
        raise ConfigError(f"there is no server {name!r} in the file.{did_you_mean(name, names(text))}")
    return path


def _place_for_new(text: str) -> tuple[str, ...]:
    existing = [path for path in _CONTAINERS if _reaches(text, path)]
    if existing:
        return existing[0]
    top = json_text.members(text, ())
    return ("servers",) if top is not None and top.find("inputs") is not None else ("mcpServers",)


def _reaches(text: str, path: Sequence[str]) -> bool:
    """Whether there is an object at this path."""
    node = relaxed_json.parse(text)
    for name in path:
        entry = node.value.last(name) if isinstance(node.value, Object) else None
        if entry is None:
            return False
        node = entry.node
    return isinstance(node.value, Object)


def names(text: str) -> list[str]:
    """Return the names of the servers in a text."""
    found: list[str] = []
    for path in _CONTAINERS:
        braces = json_text.members(text, path) if _reaches(text, path) else None
        found += (item.name for item in braces.items) if braces else ()
    return found


# --- The file --------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """What a command is about to write, checked. Nothing is written yet."""

    path: str
    """The file itself, where its name is that of a link."""
    before: str | None
    """The text that is there; None where there is no file yet."""
    after: str
    old: Roster | None
    """What the file says so far, as far as it can be read."""
    new: Roster
    missing: tuple[str, ...]
    """Variables that the new text asks for and nobody has set."""

    @property
    def changes_nothing(self) -> bool:
        return self.before == self.after

    def diff(self) -> str:
        """Return the change as a unified diff."""
        name = os.path.basename(self.path)
        before = (self.before or "").splitlines(keepends=True)
        lines = difflib.unified_diff(before, self.after.splitlines(keepends=True), f"{name} (now)", f"{name} (new)")
        return "".join(line.rstrip("\r\n") + "\n" for line in lines)


@contextmanager
def edited_alone(path: str) -> Iterator[None]:
    """Keep other editing commands away from the file while the block runs. Raises `ConfigError`."""
    place = os.path.realpath(path)
    file = os.path.join(os.path.dirname(place), f".{os.path.basename(place)}.lock")
    fd = _locked(file, path)
    try:
        yield
    finally:
        try:
            os.unlink(file)
        except OSError:
            pass  # it may stay: only who holds its lock counts
        unlock(fd)
        os.close(fd)


def _locked(file: str, path: str) -> int:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: its folder cannot be written ({error.strerror}).") from None
        try:
            lock(fd)
            if os.path.samestat(os.fstat(fd), os.stat(file)):
                return fd
        except OSError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise ConfigError(f"{path}: another command is changing it. Try again when it is done.") from None
        os.close(fd)  # somebody else's, or the one before took it away
        time.sleep(0.02)


def plan(path: str, edit: Edit, environ: Mapping[str, str], given: Mapping[str, str]) -> Change:
    """Return the change that this edit makes. `given`: variables that will be written beside the file.

    Raises `ConfigError` where the new text would be wrong, and where the file cannot be read.
    """
    place = os.path.realpath(path)
    before = _text(place, path) if os.path.exists(place) else None
    try:
        after = edit(before if before is not None and before.strip("\ufeff \t\r\n") else "{}\n")
    except (Unfit, relaxed_json.NotJson) as error:
        line = f":{error.line}" if isinstance(error, relaxed_json.NotJson) else ""
        raise ConfigError(f"{path}{line}: {error}") from None
    environ = {**environ, **given}
    missing = tuple(dict.fromkeys(one.name for one in wanted_variables.missing(after, path, environ)))
    filled = {**environ, **dict.fromkeys(missing, "1")}  # what is not set yet is no reason against the change
    old = None
    if before is not None:
        try:
            old = config_file.inspect(path, filled)
        except ConfigError:
            pass  # no configuration so far, or a broken one, which may be what is mended here
    new = config_file.examine(path, filled, after).roster
    known = {(found.key, found.text) for found in old.errors} if old else set()
    wrong = [found for found in new.errors if (found.key, found.text) not in known]
    if wrong:
        reasons = "\n".join(f"  {found}" for found in wrong)
        raise ConfigError(f"the file would be wrong, so nothing is written:\n{reasons}")
    return Change(place, before, after, old, new, missing)


def _text(place: str, path: str) -> str:
    config_file.read_text(path)  # it refuses what any user could have written
    with open(place, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: only UTF-8 can be edited. Save the file as UTF-8.") from None


class Written(NamedTuple):
    """Files as they were before they were written; None: there was none."""

    contents: tuple[tuple[str, bytes | None, bytes], ...]
    """Path, what was there, what we wrote."""
    backup: str | None

    def restore(self) -> list[str]:
        """Put back what was there. Returns the files that somebody else has changed since, which stay as they are."""
        changed: list[str] = []
        for path, before, ours in reversed(self.contents):
            try:
                with open(path, "rb") as file:
                    now: bytes | None = file.read()
            except FileNotFoundError:
                now = None
            if now != ours:
                changed.append(path)
            elif before is None:
                os.unlink(path)
            else:
                replace(path, before)
        return changed


def write(change: Change, beside: Mapping[str, str]) -> Written:
    """Write the change, and these other files with it (path -> text). The old file is kept under a time stamp.

    Raises `ConfigError` where the system refuses; then nothing has changed.
    """
    pieces = [*((path, text.encode()) for path, text in beside.items()), (change.path, change.after.encode())]
    written = Written((), None)
    try:
        now = _content(change.path)
        if now != (None if change.before is None else change.before.encode()):
            raise ConfigError(f"{change.path}: somebody else has changed it meanwhile. Nothing was written; try again.")
        if change.before is not None:
            written = written._replace(backup=_back_up(change.path, change.before.encode()))
        for path, content in pieces:
            there = _content(path)
            replace(path, content, private=path != change.path)
            written = written._replace(contents=(*written.contents, (path, there, content)))
    except OSError as error:
        written.restore()
        raise ConfigError(f"{change.path}: cannot be written ({error.strerror or 'the system refuses'}).") from None
    return written


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def replace(path: str, content: bytes, *, private: bool = False) -> None:
    """Write a file at once or not at all, with the mode and the owner that it has; a new one is private, mode 0600.

    `private`: an old one becomes so, too.

    Raises `OSError`.
    """
    place = os.path.realpath(path)
    status = os.stat(place) if os.path.exists(place) else None
    if status is not None and not os.access(place, os.W_OK):
        raise PermissionError(13, "it may not be written", place)
    temporary = _beside(place, content, status, private=private)
    try:
        os.replace(temporary, place)
    except OSError:
        os.unlink(temporary)
        raise
    _sync_folder(os.path.dirname(place))


def _beside(place: str, content: bytes, status: os.stat_result | None, *, private: bool = False) -> str:
    """Write a file of another name into the folder of this one, through to the disk. Returns its path."""
    folder, name = os.path.split(place)
    fd, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)  # 0600
    try:
        with open(fd, "wb") as file:
            file.write(content)
            if status is not None and os.name == "posix":
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, status.st_uid, status.st_gid)
                os.fchmod(fd, 0o600 if private else stat.S_IMODE(status.st_mode))
            file.flush()
            os.fsync(fd)
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _sync_folder(folder: str) -> None:
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems know no such thing; the file itself is on the disk
    finally:
        os.close(fd)


def _back_up(place: str, content: bytes) -> str:
    """Keep what was there, under the time; of many backups the oldest go."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name, count = f"{place}.{stamp}.bak", 1
    while os.path.exists(name):
        count += 1
        name = f"{place}.{stamp}-{count}.bak"
    os.replace(_beside(place, content, os.stat(place)), name)
    folder, own = os.path.split(place)
    backups = [other for other in os.listdir(folder) if other.startswith(f"{own}.") and other.endswith(".bak")]
    backups = [os.path.join(folder, other) for other in backups if other[len(own) + 1 : len(own) + 9].isdigit()]
    backups.sort(key=lambda other: (os.stat(other).st_mtime_ns, other))
    for old in backups[:-KEPT_BACKUPS]:
        os.unlink(old)
    return name
