"""Addressing: which member and which wire a request means, by port, host name and path. Pure.

    on a member's own port       /mcp /sse /ws ...
    {name}.mcp.{domain}          /mcp /sse /ws ...        (another pattern: --host-pattern)
    any other host               /{name}/mcp ... and /servers/{name}/mcp ..., /{name}/ is Streamable HTTP, too
                                 /mcp /sse /ws is the merged server, where one is wanted (--aggregate)
                                 /health /readyz and what operators ask; / is /health to whoever only looks

Names in paths are percent-encoded; names in hosts are what `label_of` makes of them.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.http.origins import is_loopback
from server_stub.core.access import split_host

TAILS = ("mcp", "sse", "ws", "messages", "message", "health", "")
"""What may follow a member's prefix. The empty one is Streamable HTTP, as `/{name}/` of TBXark's mcp-proxy;
`message` is that program's word for `messages`."""
SERVERS = "servers"
PROBES = ("health", "readyz")
OPERATORS = ("listmcp", "listtools", "cleanup", "restart")
RESERVED = frozenset({"mcp", "sse", "ws", "messages", *PROBES, *OPERATORS, SERVERS})
"""First segments of paths that are ours: a member of such a name is reached under /servers/{name}/ alone."""
DEFAULT_PATTERN = "{name}.mcp.{domain}"


class Place(Enum):
    """What a request is for."""

    MEMBER = "a member"
    MERGED = "the merged server"
    OPERATOR = "an operator's question"
    PROBE = "a probe"
    UNKNOWN = "a member that there is not"
    NOWHERE = "nothing"


class Address(NamedTuple):
    """The answer. `prefix` is what leads the paths of the same endpoint: `/github`, `/servers/github` or nothing."""

    place: Place
    member: str | None = None
    tail: str = ""
    prefix: str = ""


class Naming(NamedTuple):
    """How members are named to the outside."""

    domain: str | None = None
    pattern: str = DEFAULT_PATTERN
    ports: Mapping[int, str] = MappingProxyType({})
    """Ports of members' own."""
    merged: bool = False


def label_of(name: str) -> str:
    """Return a member's name as a part of a host name: lower case, `-` for what a host name may not hold."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def host_of(name: str, domain: str, pattern: str = DEFAULT_PATTERN) -> str:
    """Return the host name under which a member is reached."""
    return pattern.replace("{name}", label_of(name)).replace("{domain}", domain).lower()


def check_pattern(pattern: str, where: str) -> str:
    """Return the pattern. Raises `ConfigError` where no name can be read from it."""
    shown = pattern.replace("{name}", "n", 1).replace("{domain}", "d")
    if pattern.count("{name}") != 1 or not re.fullmatch(r"[A-Za-z0-9_.-]+", shown) or "{name}" not in pattern:
        raise ConfigError(f"{where}: {pattern!r} is no pattern. Write for example 'mcp-{{name}}.{{domain}}'.")
    return pattern.removesuffix(".")


def hosts_of(names: Sequence[str], naming: Naming) -> tuple[str, ...]:
    """Return every host name that clients may use because of the domain: each member's, and the domain's own."""
    if naming.domain is None:
        return ()
    own = (naming.domain, f"mcp.{naming.domain}")
    return (*own, *(host_of(name, naming.domain, naming.pattern) for name in names))


def address(host: str | None, path: str, port: int | None, naming: Naming, names: Sequence[str]) -> Address:
    """Return what a request means. `host`: its Host header; `path`: as it was sent; `port`: our end of it."""
    segments = path.removeprefix("/").split("/")
    owner = naming.ports.get(port) if port is not None else None
    if owner is not None:
        return _of_member(owner, segments, "")
    label = _label_in(host, naming)
    if label is not None:
        named = next((name for name in names if label_of(name) == label), None)
        return Address(Place.UNKNOWN) if named is None else _of_member(named, segments, "")
    return _by_path(segments, naming, names)


def is_of_domain(host: str | None, naming: Naming) -> bool:
    """Whether a Host header names a member, there or not, in the domain that is ours."""
    return _label_in(host, naming) is not None


def _label_in(host: str | None, naming: Naming) -> str | None:
    parts = split_host(host) if host and naming.domain else None
    if parts is None or naming.domain is None or is_loopback(parts[0]):
        return None
    before, _, after = naming.pattern.replace("{domain}", naming.domain).lower().partition("{name}")
    label = parts[0].lower().rstrip(".")
    if label in (naming.domain.lower(), f"mcp.{naming.domain}".lower()):
        return None
    if not label.startswith(before) or not label.endswith(after):
        return None
    label = label[len(before) : len(label) - len(after)]
    return label if label and "." not in label else None


def _by_path(segments: list[str], naming: Naming, names: Sequence[str]) -> Address:
    first = segments[0]
    if len(segments) == 1 and first in ("mcp", "sse", "ws", "messages"):
        return Address(Place.MERGED, tail=first) if naming.merged else Address(Place.NOWHERE)
    if len(segments) == 1 and first in ("", *PROBES):
        return Address(Place.PROBE, tail=first)
    if first in OPERATORS or (first == "health" and len(segments) > 1):
        return Address(Place.OPERATOR)
    if first == SERVERS:
        return _named(segments[1:], f"/{SERVERS}", names) if len(segments) > 1 else Address(Place.NOWHERE)
    return _named(segments, "", names) if first not in RESERVED else Address(Place.NOWHERE)


def _named(segments: list[str], before: str, names: Sequence[str]) -> Address:
    name = urllib.parse.unquote(segments[0])
    if name in names:
        return _of_member(name, segments[1:], f"{before}/{segments[0]}")
    return Address(Place.UNKNOWN) if name else Address(Place.NOWHERE)


def _of_member(name: str, segments: list[str], prefix: str) -> Address:
    tail = "/".join(segments)
    if tail not in TAILS:
        return Address(Place.NOWHERE, member=name)
    return Address(Place.MEMBER, name, "messages" if tail == "message" else tail, prefix)
