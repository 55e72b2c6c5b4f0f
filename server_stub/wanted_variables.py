"""Variables that a configuration file asks for, and which of them nobody has set. Reads `.env` files; no values out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mcp_remote_py.core.secret_places import is_secret_name
from server_stub import config_file
from server_stub.core import relaxed_json
from server_stub.core.config_layout import input_ids
from server_stub.core.expansion import expand, spellings
from server_stub.core.relaxed_json import Node, Object


class Wanted(NamedTuple):
    """A variable that has no default in the file."""

    name: str
    member: str | None
    """The server that asks for it; None: the head."""
    is_secret: bool
    about: str = ""
    """What the file says about it, for people."""
    proposed: str = ""


def wanted(text: str, path: str) -> list[Wanted]:
    """Return every variable that the file asks for and gives no default, once for each server. Raises `ConfigError`."""
    layout = config_file.read_layout(text, path)
    inputs = input_ids(layout)
    places: list[tuple[str | None, Node]] = [
        (one.entry.name, one.entry.node) for one in layout.members if _is_on(one.entry.node)
    ]
    if layout.head is not None:
        places.insert(0, (None, layout.head.node))
    found: dict[tuple[str, str | None], Wanted] = {}
    for member, node in places:
        for leaf in _texts(node):
            for one in expand(leaf, {}).missing:
                if one.name:
                    found.setdefault((one.name, member), _wanted(one.name, member, inputs.get(one.name, {})))
    return list(found.values())


def missing(text: str, path: str, environ: Mapping[str, str]) -> list[Wanted]:
    """Return those that neither the environment nor a `.env` file sets. Raises `ConfigError`."""
    folder = os.path.dirname(os.path.abspath(path))
    shared = variables_in(os.path.join(folder, config_file.SHARED))
    layout = config_file.read_layout(text, path)
    named = {one.entry.name: _named_files(one.entry.node) for one in layout.members}
    open_ones: list[Wanted] = []
    for one in wanted(text, path):
        known = {**environ, **shared}
        for file in own_files(one.member, named.get(one.member or "")):
            known |= variables_in(os.path.join(folder, os.path.expanduser(file)))
        if not any(spelled in known for spelled in spellings(one.name)):
            open_ones.append(one)
    return open_ones


def own_files(member: str | None, named: list[str] | None) -> list[str]:
    """Return the `.env` files of one server: those that `envFile` names, else those of its name."""
    if member is None:
        return []
    if named is not None:
        return named
    return [] if "/" in member or "\\" in member else [f"{member}.env", os.path.join(member, f"{member}.env")]


def variables_in(path: str) -> dict[str, str]:
    """Return what a `.env` file sets; nothing where there is none. What is wrong in it is for `check` to say."""
    from dotenv import dotenv_values

    if not os.path.isfile(path):
        return {}
    try:
        values = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, value in values.items() if value is not None}


def _named_files(node: Node) -> list[str] | None:
    entry = node.value.last("envFile") if isinstance(node.value, Object) else None
    if entry is None:
        return None
    plain = relaxed_json.plain(entry.node)
    return [item for item in (plain if isinstance(plain, list) else [plain]) if isinstance(item, str)]


def _is_on(node: Node) -> bool:
    plain: Any = relaxed_json.plain(node)
    return not isinstance(plain, dict) or not (plain.get("disabled") is True or plain.get("enabled") is False)


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node.value, str):
        yield node.value
    elif isinstance(node.value, Object):
        for entry in node.value:
            yield from _texts(entry.node)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from _texts(item)


def _wanted(name: str, member: str | None, row: Mapping[str, object]) -> Wanted:
    is_secret = is_secret_name(name) or row.get("password") is True
    about, proposed = row.get("description"), row.get("default")
    return Wanted(
        name, member, is_secret, about if isinstance(about, str) else "", proposed if isinstance(proposed, str) else ""
    )


def files_of(member: str, text: str, path: str) -> list[str]:
    """Return the `.env` files of a server of this text, relative to the folder of the file. Raises `ConfigError`."""
    for one in config_file.read_layout(text, path).members:
        if one.entry.name == member:
            return own_files(member, _named_files(one.entry.node))
    return []
