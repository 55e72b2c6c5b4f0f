"""Sites: which host names and which upstreams an nginx in front of the server has. Pure.

Names come from a file that people write, and go into a file that a web server runs as root: only what is made of the
characters of host names, ports and durations gets there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from mcp_remote_py.core.errors import ConfigError
from server_stub.core.addressing import Naming, host_of
from server_stub.core.roster import Roster

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
_LISTEN = re.compile(r"(?:(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+|\*):)?([0-9]{1,5})")
_RATE = re.compile(r"[1-9][0-9]{0,6}r/[sm]")
_LONGEST_IN_64 = 46
"""The longest name that nginx keeps in a bucket of 64 bytes, with what it keeps beside it."""


class Site(NamedTuple):
    """One host name, and where its requests go."""

    host: str
    upstream: str
    """`http://127.0.0.1:8080`."""
    is_front: bool = False
    """The host of the server as a whole: members by path, and the merged server."""


class Sites(NamedTuple):
    """All of them, and what the operator should hear about those that are missing."""

    sites: tuple[Site, ...]
    notes: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(site.host for site in self.sites)


def sites_of(roster: Roster, naming: Naming, upstream: str) -> Sites:
    """Return the sites: the front's own, and one for each member that is enabled.

    `upstream` is where the server listens; members that have a port in `naming.ports` are there. Raises `ConfigError`
    for a domain that is none.
    """
    domain = check_domain(naming.domain or "")
    front = f"mcp.{domain}".lower()
    found = {front: Site(front, upstream, is_front=True)}
    ports = {name: port for port, name in naming.ports.items()}
    notes: list[str] = []
    for member in roster.members:
        if not member.enabled:
            continue
        host = host_of(member.name, domain, naming.pattern)
        if not _HOST.fullmatch(host) or len(host) > 253:
            notes.append(f"{member.name!r} makes no host name ({host!r}): reach it by its path.")
        elif host in found or host == domain.lower():
            notes.append(f"{member.name!r} has a host name that something else has ({host}): reach it by its path.")
        else:
            found[host] = Site(host, _with_port(upstream, ports.get(member.name)))
            if "_" in host:
                notes.append(f"{host}: most authorities issue no certificate for a name with `_`.")
    return Sites(tuple(found.values()), tuple(notes))


def check_domain(domain: str) -> str:
    """Return the domain. Raises `ConfigError`."""
    if not _HOST.fullmatch(domain.lower()):
        raise ConfigError(f"--domain: {domain!r} is no domain. Write for example example.com (é and the like as xn--).")
    return domain


def _with_port(upstream: str, port: int | None) -> str:
    return upstream if port is None else f"{upstream.rpartition(':')[0]}:{port}"


def upstream_of(host: str, port: int) -> str:
    """Return where nginx finds a server that is bound to this host and port."""
    known: Mapping[str, str] = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
    host = known.get(host, host)
    if not re.fullmatch(r"[A-Za-z0-9.:-]+", host):
        raise ConfigError(f"--host: {host!r} is no address.")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bucket_size(hosts: tuple[str, ...]) -> int | None:
    """Return the `server_names_hash_bucket_size` that such names need, None where nginx's own will do."""
    longest = max(map(len, hosts), default=0)
    return None if longest <= _LONGEST_IN_64 else 128 if longest <= _LONGEST_IN_64 + 64 else 512


def check_listen(text: str, where: str) -> str:
    """Return an address of nginx's `listen`. Raises `ConfigError`."""
    match = _LISTEN.fullmatch(text.strip())
    if match is None or not 0 < int(match.group(1)) < 65536:
        raise ConfigError(
            f"{where}: {text!r} is nothing to listen on. Write for example 80, 127.0.0.1:8081 or [::]:80."
        )
    return text.strip()


def check_rate(text: str, where: str) -> str:
    """Return a rate of nginx's `limit_req_zone`. Raises `ConfigError`."""
    if not _RATE.fullmatch(text.strip()):
        raise ConfigError(f"{where}: {text!r} is no rate. Write for example 10r/s or 300r/m.")
    return text.strip()


def quoted(path: str, where: str) -> str:
    """Return the name of a file in nginx's quotes. Raises `ConfigError` for what could mean something else there."""
    if "$" in path or any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise ConfigError(f"{where}: {path!r} has a character in it that cannot be written into nginx's file.")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def records(hosts: tuple[str, ...], addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of a zone file that lead each host to each address, A or AAAA."""
    width = max(map(len, hosts)) + 1
    return tuple(
        f"{host + '.':<{width}}  300  IN  {'AAAA' if ':' in address else 'A':<4}  {address}"
        for host in hosts
        for address in addresses
    )
