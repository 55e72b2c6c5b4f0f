"""Which member and which wire a request means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.errors import ConfigError
from server_stub.core.addressing import (
    RESERVED,
    Address,
    Naming,
    Place,
    address,
    check_pattern,
    host_of,
    hosts_of,
    label_of,
)

NAMES = ("github", "My Files", "mcp", "servers", "a.b")
PLAIN = Naming()
MERGED = Naming(merged=True)
NAMED = Naming(domain="example.com")
DASHED = Naming(domain="example.com", pattern="mcp-{name}.{domain}")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/github/mcp", Address(Place.MEMBER, "github", "mcp", "/github")),
        ("/github/sse", Address(Place.MEMBER, "github", "sse", "/github")),
        ("/github/ws", Address(Place.MEMBER, "github", "ws", "/github")),
        ("/github/message", Address(Place.MEMBER, "github", "messages", "/github")),
        ("/github/", Address(Place.MEMBER, "github", "", "/github")),
        ("/github", Address(Place.MEMBER, "github", "", "/github")),
        ("/servers/github/mcp", Address(Place.MEMBER, "github", "mcp", "/servers/github")),
        ("/My%20Files/mcp", Address(Place.MEMBER, "My Files", "mcp", "/My%20Files")),
        ("/servers/mcp/mcp", Address(Place.MEMBER, "mcp", "mcp", "/servers/mcp")),
        ("/servers/servers/ws", Address(Place.MEMBER, "servers", "ws", "/servers/servers")),
        ("/github/mcp/", Address(Place.NOWHERE, "github")),
        ("/github/other", Address(Place.NOWHERE, "github")),
        ("/nobody/mcp", Address(Place.UNKNOWN)),
        ("/favicon.ico", Address(Place.UNKNOWN)),
        ("/mcp", Address(Place.NOWHERE)),
        ("/servers", Address(Place.NOWHERE)),
        ("/health", Address(Place.PROBE, tail="health")),
        ("/", Address(Place.PROBE)),
        ("/readyz", Address(Place.PROBE, tail="readyz")),
        ("/health/servers", Address(Place.OPERATOR)),
        ("/listtools/github", Address(Place.OPERATOR)),
        ("/cleanup", Address(Place.OPERATOR)),
    ],
)
def test_paths(path: str, expected: Address) -> None:
    assert address("127.0.0.1:8080", path, 8080, PLAIN, NAMES) == expected


@pytest.mark.parametrize("tail", ["mcp", "sse", "ws", "messages"])
def test_the_merged_server_is_at_the_root_where_it_is_wanted(tail: str) -> None:
    assert address("localhost", f"/{tail}", 8080, MERGED, NAMES) == Address(Place.MERGED, tail=tail)


@pytest.mark.parametrize(
    ("naming", "host", "path", "expected"),
    [
        (NAMED, "github.mcp.example.com", "/mcp", Address(Place.MEMBER, "github", "mcp")),
        (NAMED, "GitHub.MCP.Example.com:8080", "/ws", Address(Place.MEMBER, "github", "ws")),
        (NAMED, "github.mcp.example.com.", "/sse", Address(Place.MEMBER, "github", "sse")),
        (NAMED, "my-files.mcp.example.com", "/", Address(Place.MEMBER, "My Files", "")),
        (NAMED, "github.mcp.example.com", "/health", Address(Place.MEMBER, "github", "health")),
        (NAMED, "github.mcp.example.com", "/listmcp", Address(Place.NOWHERE, "github")),
        (NAMED, "github.mcp.example.com", "/servers/mcp/mcp", Address(Place.NOWHERE, "github")),
        (NAMED, "nobody.mcp.example.com", "/mcp", Address(Place.UNKNOWN)),
        (NAMED, "mcp.example.com", "/github/mcp", Address(Place.MEMBER, "github", "mcp", "/github")),
        (NAMED, "mcp.example.com", "/listmcp", Address(Place.OPERATOR)),
        (NAMED, "github.mcp.example.org", "/mcp", Address(Place.NOWHERE)),
        (NAMED, "a.b.mcp.example.com", "/mcp", Address(Place.NOWHERE)),
        (NAMED, None, "/github/mcp", Address(Place.MEMBER, "github", "mcp", "/github")),
        (DASHED, "mcp-github.example.com", "/mcp", Address(Place.MEMBER, "github", "mcp")),
        (DASHED, "mcp.example.com", "/readyz", Address(Place.PROBE, tail="readyz")),
    ],
)
def test_host_names(naming: Naming, host: str | None, path: str, expected: Address) -> None:
    assert address(host, path, 443, naming, NAMES) == expected


def test_a_port_of_its_own_is_a_members_whatever_host_is_named() -> None:
    naming = NAMED._replace(ports={7001: "github"})
    for host in ("127.0.0.1:7001", "My-Files.mcp.example.com"):
        assert address(host, "/mcp", 7001, naming, NAMES) == Address(Place.MEMBER, "github", "mcp")
    assert address("127.0.0.1", "/a.b/mcp", 7002, naming, NAMES).member == "a.b"


def test_the_hosts_of_all_members_and_of_the_domain_are_known() -> None:
    assert hosts_of(("a", "b"), NAMED) == ("example.com", "mcp.example.com", "a.mcp.example.com", "b.mcp.example.com")
    assert hosts_of(("a",), PLAIN) == ()


@pytest.mark.parametrize("pattern", ["{domain}", "{name}.{name}.{domain}", "a b{name}", "{name}/{domain}", ""])
def test_a_pattern_from_which_no_name_can_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="--host-pattern"):
        check_pattern(pattern, "--host-pattern")


def test_loopback_is_no_members_name_whatever_the_pattern() -> None:
    naming = Naming("example.com", "{name}")
    assert address("localhost:8080", "/a/mcp", None, naming, ("a",)) == Address(Place.MEMBER, "a", "mcp", "/a")
    assert address("a:8080", "/mcp", None, naming, ("a",)).member == "a"


@given(st.text(min_size=1, max_size=80))
def test_a_label_may_stand_in_a_host_name_and_leads_back(name: str) -> None:
    label = label_of(name)
    assert len(label) <= 63
    assert label == label_of(label)
    if label:
        for naming in (NAMED, DASHED):
            host = host_of(name, "example.com", naming.pattern)
            if host not in ("example.com", "mcp.example.com"):
                assert address(host, "/mcp", 443, naming, (name,)) == Address(Place.MEMBER, name, "mcp")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_every_name_is_reached_under_servers_and_by_its_own_path_unless_that_is_ours(name: str) -> None:
    from urllib.parse import quote

    quoted = quote(name, safe="")
    assert address("h", f"/servers/{quoted}/mcp", 80, PLAIN, (name,)).member == name
    if name not in RESERVED:
        assert address("h", f"/{quoted}/mcp", 80, PLAIN, (name,)).member == name
