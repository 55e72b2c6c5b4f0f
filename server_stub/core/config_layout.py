"""Layout: which of the known forms a configuration file has, and where its head and its servers stand. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from mcp_remote_py.core import options
from server_stub.core import config_keys, relaxed_json
from server_stub.core.config_kinds import shape
from server_stub.core.relaxed_json import Entry, Node, Object

NAME_LIMIT = 128
_NAME_BYTES = 240
"""A file name has 255, and NAME.env must be one."""
FORMS = "mcpServers (Claude Desktop), servers (VS Code) or mcpProxy with mcpServers (mcp-proxy)"


class Unknown(Exception):
    """The document is no configuration. `str` says why and what to do."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class Listed(NamedTuple):
    """A server as it stands in the file."""

    entry: Entry
    path: str
    """Where it stands: `mcpServers.github`."""
    place: str
    """The place whose keys it has: `member` or, in files of version 1, `client`."""
    unfit: str = ""
    """Why a server cannot have this name; empty where it can."""


class Layout(NamedTuple):
    """Where things stand in one document."""

    head: Entry | None = None
    """The entry `mcpProxy`, or `server` in files of version 1."""
    containers: tuple[Entry, ...] = ()
    """The entries that hold servers: `mcpServers`, `servers`..."""
    members: tuple[Listed, ...] = ()
    inputs: tuple[Node, ...] = ()
    top: Object = Object()


def recognise(document: Node) -> Layout:
    """Return where things stand in the document. Raises `Unknown`."""
    if not isinstance(document.value, Object):
        raise Unknown(f"a configuration is an object: {{...}}. This is {shape(document)}.", document.line)
    top = document.value
    containers: list[Entry] = []
    members: list[Listed] = []
    for path, entry, place in _containers(top):
        if not isinstance(entry.node.value, Object):
            raise Unknown(f"{path}: this is {shape(entry.node)}. It takes an object of servers by name.", entry.line)
        containers.append(entry)
        named = (member for member in entry.node.value if not _is_remark(member))
        members += (_listed(member, path, place) for member in named)
    if not containers:
        raise _no_servers(top, document.line)
    head = top.last("mcpProxy") or (top.last("server") if top.last("clients") is not None else None)
    return Layout(head, tuple(containers), tuple(members), tuple(_inputs(top)), top)


def _listed(entry: Entry, path: str, place: str) -> Listed:
    unfit = unfit_name(entry.name)
    # what no JSON and no terminal could carry is shown in its place, as everybody will repeat the name
    entry = entry._replace(name=shown(entry.name))
    return Listed(entry, f"{path}.{entry.name}", place, unfit)


def unfit_name(name: str) -> str:
    """Return why a server cannot have this name; empty where it can. Names become parts of paths, and of file names."""
    if not name.strip():
        return "the name of a server is empty."
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", name):
        return "control characters may not stand in a name."
    if not name.isprintable():  # one that turns the writing round, or takes no room, would make two names look alike
        return "characters that cannot be seen may not stand in a name."
    if "/" in name or "\\" in name or name in (".", ".."):
        return "a name is a part of a path: it has no / and no \\, and is not . or .. itself."
    if len(name) > NAME_LIMIT or len(name.encode()) > _NAME_BYTES:
        return f"a name has at most {NAME_LIMIT} characters, and {_NAME_BYTES} bytes."
    return "a name does not begin or end with a space." if name != name.strip() else ""


def shown(text: str) -> str:
    """Return the text with visible escapes for what cannot be printed."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _is_remark(entry: Entry) -> bool:
    """Whether an entry among the servers is none, but a remark: `"//": "the ones of the team"`."""
    return config_keys.is_remark(entry.name) and not isinstance(entry.node.value, Object)


def _containers(top: Object) -> list[tuple[str, Entry, str]]:
    found: list[tuple[str, Entry, str]] = []
    for name in ("mcpServers", "servers", "mcp.servers"):
        entry = top.last(name)
        if entry is not None:
            found.append((name, entry, "member"))
    mcp = top.last("mcp")
    if mcp is not None and isinstance(mcp.node.value, Object):
        servers = mcp.node.value.last("servers")
        if servers is not None:
            found.append(("mcp.servers", servers, "member"))
    clients = top.last("clients")
    if clients is not None and not found:
        found.append(("clients", clients, "client"))
    return found


def _inputs(top: Object) -> list[Node]:
    mcp = top.last("mcp")
    inner = mcp.node.value.last("inputs") if mcp is not None and isinstance(mcp.node.value, Object) else None
    found: list[Node] = []
    for entry in (top.last("inputs"), inner):
        if entry is not None and isinstance(entry.node.value, list):
            found += (node for node in entry.node.value if isinstance(node.value, Object))
    return found


def _no_servers(top: Object, line: int) -> Unknown:
    for entry in top:
        guess = options.did_you_mean(entry.name, ("mcpServers", "servers"))
        if guess and isinstance(entry.node.value, Object):
            return Unknown(f"{entry.name} is not known here.{guess}", entry.line)
    inner = [entry.node.value for entry in top if isinstance(entry.node.value, Object)]
    if inner and all(value.last("command") or value.last("url") for value in inner):
        return Unknown('the servers stand within "mcpServers": {"mcpServers": {...}}.', line)
    return Unknown(f"there are no servers in it. It takes {FORMS}.", line)


def input_ids(layout: Layout) -> dict[str, dict[str, object]]:
    """Return VS Code's inputs by id, each as it stands in the file."""
    found: dict[str, dict[str, object]] = {}
    for node in layout.inputs:
        row = relaxed_json.plain(node)
        if isinstance(row.get("id"), str):
            found[row["id"]] = row
    return found
