"""Reading a configuration: a document and the variables in, a `Roster` out. Pure: `config_file` reads the files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from server_stub.core.addressing import label_of
from server_stub.core.config_keys import PLACES, nearest
from server_stub.core.config_layout import Layout, Listed
from server_stub.core.config_members import OPTION_NAMES, Inherited, read_filter, read_member, read_origins
from server_stub.core.config_objects import Given, Notes, Reader, doubles, twice
from server_stub.core.relaxed_json import Entry
from server_stub.core.roster import Front, Member

Variables = Mapping[str, str]


class Surroundings(NamedTuple):
    """The variables, from the weakest to the strongest."""

    environ: Variables
    """Of the process."""
    shared: Variables = MappingProxyType({})
    """Of the `.env` beside the file."""
    own: Mapping[str, Variables] = MappingProxyType({})
    """Of the `.env` files of a server, by its name."""

    def of(self, member: str | None) -> Variables:
        """Return what `${VAR}` may name in the entry of a member, or in the head."""
        own = self.own.get(member, {}) if member is not None else {}
        return {**self.environ, **self.shared, **own}

    def reader(self, notes: Notes, member: str | None) -> Reader:
        """Return who reads the entry of this member, or the head."""
        own = self.own.get(member, {}) if member is not None else {}
        return Reader(notes, self.of(member), frozenset((*self.shared, *own)), member)


def members_of(layout: Layout) -> tuple[Listed, ...]:
    """Return the servers, each name once: the last one of a name, in the place of the first."""
    return tuple({listed.entry.name: listed for listed in layout.members}.values())


def read(layout: Layout, surroundings: Surroundings, notes: Notes) -> tuple[Front, tuple[Member, ...]]:
    """Return the head and the servers. What is wrong is noted; `judged` makes the verdict of it."""
    _check_doubles(layout, notes)
    _check_top(layout, notes)
    front, inherited = _front(layout.head, surroundings.reader(notes, None))
    members: list[Member] = []
    listed_twice = {later.entry.name: text for later, text in _listed_twice(layout)}
    for listed in members_of(layout):
        name = listed.entry.name
        if name in listed_twice:
            notes.error(listed.entry.line, listed.path, listed_twice[name], name)
        reader = surroundings.reader(notes, name)
        members.append(read_member(listed, reader, surroundings.own.get(name, {}), inherited))
    if not members:
        notes.warning(layout.containers[0].line, layout.containers[0].name, "there is no server in it.")
    _check_host_names(layout, notes)
    return front, tuple(members)


def judged(member: Member, notes: Notes) -> Member:
    """Return the member with the first error about it as the reason why it cannot be started."""
    wrong = next((found for found in notes.findings if found.severity == "error" and found.member == member.name), None)
    if wrong is None:
        return member
    return member._replace(invalid=f"{wrong.key}: {wrong.text}" if wrong.key else wrong.text)


def _listed_twice(layout: Layout) -> list[tuple[Listed, str]]:
    first: dict[str, Listed] = {}
    found = []
    for listed in layout.members:
        before = first.setdefault(listed.entry.name, listed)
        if before is not listed:
            found.append((listed, twice(before.entry, listed.entry)))
    return found


def _check_doubles(layout: Layout, notes: Notes) -> None:
    known = {key.name for key in PLACES["file"].keys}
    for before, entry in doubles(layout.top):
        if entry.name in known:
            notes.error(entry.line, entry.name, twice(before, entry))


def _check_top(layout: Layout, notes: Notes) -> None:
    """A misspelt key of the file's own is named; all others belong to other programs."""
    known = {key.name for key in PLACES["file"].keys}
    for entry in layout.top:
        near = nearest(entry.name, PLACES["file"])
        if entry.name not in known and near is not None and layout.top.last(near) is None:
            notes.warning(entry.line, entry.name, f"this key does nothing here. Did you mean {near}?")


def _check_host_names(layout: Layout, notes: Notes) -> None:
    """Two names may differ in what no host name holds: `My Files`, `my-files`."""
    seen: dict[str, Entry] = {}
    for listed in members_of(layout):
        entry = listed.entry
        before = seen.setdefault(label_of(entry.name) or entry.name, entry)
        if before is not entry:
            text = f"its host name is that of {before.name} (line {before.line}): by host name one of them is reached."
            notes.warning(entry.line, listed.path, text, entry.name)


# --- The head --------------------------------------------------------------------------------------------------------


def _front(head: Entry | None, reader: Reader) -> tuple[Front, Inherited]:
    if head is None:
        return Front(), Inherited()
    keys = reader.read(head.node, PLACES[head.name], head.name)
    options: dict[str, Given] = {}
    if "options" in keys:
        options = reader.read(keys["options"].value, PLACES["options"], keys["options"].path)
    options |= {name: given for name, given in keys.items() if name in OPTION_NAMES}
    global_tokens = keys["globalAuthTokens"].value if "globalAuthTokens" in keys else ()
    tokens = options["authTokens"].value if "authTokens" in options else global_tokens
    for token in tokens:
        reader.notes.keep_secret("token", token)
    host, port = _address(keys.get("addr"), reader)
    allow, block = read_filter(options["toolFilter"], reader) if "toolFilter" in options else (None, ())
    front = Front(
        base_url=_public_address(keys.get("baseURL"), reader),
        host=host,
        port=port,
        name=_text(keys, "name"),
        version=_text(keys, "version"),
        kind=keys["type"].value if "type" in keys else None,
        tokens=tokens,
        cors_origins=read_origins(options.get("cors"), reader) or (),
    )
    return front, Inherited(options, global_tokens, allow, block)


def _text(keys: Mapping[str, Given], name: str) -> str | None:
    return keys[name].value if name in keys else None


def _public_address(given: Given | None, reader: Reader) -> str | None:
    if given is None:
        return None
    if not given.value.strip().lower().startswith(("http://", "https://")):
        reader.notes.error(given.entry.line, given.path, "it begins with http:// or https://.")
        return None
    return str(given.value.strip())


def _address(given: Given | None, reader: Reader) -> tuple[str | None, int | None]:
    """Return host and port of `addr`: ":9090", "host:9090", "[::1]:9090"."""
    if given is None:
        return None, None
    host, colon, port = given.value.strip().rpartition(":")
    is_address = host.startswith("[") and host.endswith("]") if ":" in host else "/" not in host
    if not colon or not is_address or not port.isascii() or not port.isdigit() or int(port) > 65535:
        text = 'this is no address to listen on. Write ":9090" or "127.0.0.1:9090".'
        reader.notes.error(given.entry.line, given.path, text)
        return None, None
    return host.strip("[]") or None, int(port)
