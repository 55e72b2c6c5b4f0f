"""Objects of a configuration file, read by the table of keys: values out, findings noted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mcp_remote_py.core.redact import MASK
from mcp_remote_py.core.secret_places import is_secret_name
from server_stub.core import config_keys, config_kinds
from server_stub.core.config_keys import Key, Place
from server_stub.core.config_kinds import Unfit
from server_stub.core.config_layout import shown
from server_stub.core.expansion import expand
from server_stub.core.relaxed_json import Entry, Node, Object, plain
from server_stub.core.roster import Finding, Severity

_INNOCENT = frozenset(
    ("production", "development", "staging", "localhost", "warning", "verbose", "disabled", "enabled", "default")
)
_SHORTEST = 4


_USUAL = re.compile(
    r"[\d.:]+"  # a number, a version, an address
    r"|(?:https?://)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+\.[a-z]{2,}(?::\d+)?/?"  # a host
    r"|(?:[A-Za-z]:[\\/]|~?/)[\w .\-+\\/]*",  # a path
    re.IGNORECASE,
)


def _is_usual(value: str) -> bool:
    """Whether a value is no secret by its looks. To mask a host or a folder in every log would help nobody."""
    return len(value) < _SHORTEST + 2 or value.lower() in _INNOCENT or _USUAL.fullmatch(value) is not None


class Given(NamedTuple):
    """What a key of the file says."""

    value: Any
    entry: Entry
    path: str


class Notes:
    """What is found while a file is read: findings, secrets, and the names of the variables it asks for."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.secrets: dict[str, None] = {}
        self.wanted: dict[str, None] = {}
        self.token_variables: dict[str, None] = {}
        """Those of them whose values are tokens of ours."""

    def error(self, line: int | None, key: str, text: str, member: str | None = None) -> None:
        """Note that something cannot work."""
        self._note("error", line, key, text, member)

    def warning(self, line: int | None, key: str, text: str, member: str | None = None) -> None:
        """Note that something is worth a word."""
        self._note("warning", line, key, text, member)

    def _note(self, severity: Severity, line: int | None, key: str, text: str, member: str | None) -> None:
        for secret in self.secrets:  # a message may quote what a variable held
            for spelled in (secret, repr(secret)[1:-1]):
                text = text.replace(spelled, MASK)
        self.findings.append(Finding(severity, self.file, line, shown(key), shown(text), member))

    def keep_secret(self, name: str, value: str) -> None:
        """Learn a value that may never be shown, unless it is so short or usual that it is no secret."""
        if len(value) >= _SHORTEST and (is_secret_name(name) or not _is_usual(value)):
            self.secrets[value] = None


class Reader(NamedTuple):
    """Reads the objects of one server, or of the head (`member` is None)."""

    notes: Notes
    variables: Mapping[str, str]
    """For `${VAR}`."""
    secret_variables: frozenset[str] = frozenset()
    """The names of those that came from `.env` files."""
    member: str | None = None
    is_off: bool = False
    """A server that is disabled: a variable that is not set harms nobody."""

    def read(self, node: Node, place: Place, path: str) -> dict[str, Given]:
        """Return what the keys of an object say, by the name of the key. What is wrong is noted and left out."""
        if not isinstance(node.value, Object):
            self.notes.error(node.line, path, f"this is {config_kinds.shape(node)}. It takes an object.", self.member)
            return {}
        known = config_keys.known(place)
        found: dict[str, Given] = {}
        seen: dict[str, Entry] = {}
        for entry in node.value:
            key = known.get(entry.name)
            where = f"{path}.{entry.name}"
            if key is None:
                self._unknown(entry, place, where)
                continue
            before = seen.setdefault(key.name, entry)
            if before is not entry:
                if before.name == entry.name or plain(before.node) != plain(entry.node):
                    self.notes.error(entry.line, where, twice(before, entry), self.member)
                continue  # `type` and `transportType`, for two programs: they say the same
            if entry.node.value is None:
                continue  # what programs write where there is nothing to write
            given = self._given(key, entry, where)
            if given is not None:
                found[key.name] = given
        return found

    def _given(self, key: Key, entry: Entry, where: str) -> Given | None:
        node: Node | None = entry.node
        if key.kind is config_kinds.TOKENS:
            self._note_token_variables(entry.node)
        if key.kind not in (config_kinds.OBJECT, config_kinds.OBJECTS):
            node = self.expanded(entry.node, where)
        if node is None:
            return None
        try:
            return Given(key.kind.read(node), entry, where)
        except Unfit as error:
            told = _as_written(key, entry.node) or error
            for wrong in (told, *told.others):
                line = wrong.node.line if wrong.node is not None else entry.line
                self.notes.error(line, where, str(wrong), self.member)
            return None

    def _note_token_variables(self, node: Node) -> None:
        for item in node.value if isinstance(node.value, list) else ():
            if isinstance(item.value, str):
                self.notes.token_variables.update(dict.fromkeys(expand(item.value, {}).wanted))

    def _unknown(self, entry: Entry, place: Place, where: str) -> None:
        if entry.name in place.ignored or config_keys.is_remark(entry.name):
            return
        near = config_keys.nearest(entry.name, place)
        if near is not None:
            self.notes.error(entry.line, where, f"there is no such key. Did you mean {near}?", self.member)
        elif place.is_closed:
            keys = ", ".join(key.name for key in place.keys)
            self.notes.error(entry.line, where, f"there is no such key: there are {keys}.", self.member)
        else:
            self.notes.warning(entry.line, where, "this key is not known here, and does nothing.", self.member)

    def expanded(self, node: Node, where: str) -> Node | None:
        """Return the node with its variables filled in. None: one is not set, which is noted."""
        if isinstance(node.value, str):
            return self._text(node, where)
        if isinstance(node.value, list):
            items = [self.expanded(item, where) for item in node.value]
            return None if None in items else node._replace(value=items)
        if isinstance(node.value, Object):
            entries = [(entry, self.expanded(entry.node, f"{where}.{entry.name}")) for entry in node.value]
            if any(inner is None for _, inner in entries):
                return None
            return node._replace(value=Object(entry._replace(node=inner) for entry, inner in entries if inner))
        return node

    def _text(self, node: Node, where: str) -> Node | None:
        result = expand(node.value, self.variables)
        self.notes.wanted.update(dict.fromkeys(result.wanted))
        for name, value in result.used:
            if name in self.secret_variables or is_secret_name(name):
                self.notes.keep_secret(name, value)
        for missing in result.missing:
            note = self.notes.warning if self.is_off and missing.name else self.notes.error
            more = f" {SET_IT}" if missing.name else ""
            note(node.line, where, f"{missing.reason}{more}", self.member)
        return None if result.missing else node._replace(value=result.text)


def _as_written(key: Key, node: Node) -> Unfit | None:
    """Return what is wrong with a value as it stands in the file: what its variables hold is nobody's business."""
    try:
        key.kind.read(node)
    except Unfit as error:
        return error
    return None


SET_IT = "`mcp-remote-server setup-env --config FILE` asks for it; `${NAME:-text}` gives a default."


def twice(before: Entry, entry: Entry) -> str:
    """Return what to say of a key that stands twice in an object."""
    spelled = "" if before.name == entry.name else f" as {before.name}"
    return f"this stands here twice, first{spelled} in line {before.line}. Keep one of them."


def doubles(entries: Iterable[Entry]) -> list[tuple[Entry, Entry]]:
    """Return (first, later) for every name that stands more than once."""
    first: dict[str, Entry] = {}
    return [(first[entry.name], entry) for entry in entries if first.setdefault(entry.name, entry) is not entry]
