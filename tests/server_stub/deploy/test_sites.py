from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.errors import ConfigError
from server_stub.core.addressing import Naming, Place, address
from server_stub.core.roster import Command, Member, Roster
from server_stub.deploy import sites

UPSTREAM = "http://127.0.0.1:8080"


def found(*names: str, naming: Naming | None = None, off: tuple[str, ...] = ()) -> sites.Sites:
    members = tuple(Member(name, Command(("true",)), enabled=name not in off) for name in names)
    return sites.sites_of(Roster("file", members=members), naming or Naming("example.com"), UPSTREAM)


def test_each_member_has_a_host_of_its_own_beside_the_front() -> None:
    made = found("time", "My Files", "off", off=("off",))
    assert made.hosts == ("mcp.example.com", "time.mcp.example.com", "my-files.mcp.example.com")
    assert [site.is_front for site in made.sites] == [True, False, False]
    assert made.notes == ()


def test_the_ports_are_those_that_the_server_listens_on() -> None:
    naming = Naming("example.com", "mcp-{name}.{domain}", {7001: "time", 7002: "fetch"})
    made = found("time", "fetch", naming=naming)
    assert [(site.host, site.upstream) for site in made.sites] == [
        ("mcp.example.com", UPSTREAM),
        ("mcp-time.example.com", "http://127.0.0.1:7001"),
        ("mcp-fetch.example.com", "http://127.0.0.1:7002"),
    ]


@pytest.mark.parametrize(
    ("names", "pattern", "word"),
    [
        (("a b", "a-b"), "{name}.mcp.{domain}", "has a host name that something else has"),
        (("mcp",), "{name}.{domain}", "has a host name that something else has"),
        (("日本",), "{name}.mcp.{domain}", "makes no host name"),
    ],
)
def test_a_member_without_a_host_of_its_own_is_told_so_and_left_out(
    names: tuple[str, ...], pattern: str, word: str
) -> None:
    made = found(*names, naming=Naming("example.com", pattern))
    assert len(made.sites) == len(names)
    assert word in made.notes[0]


@given(st.lists(st.text(), unique=True, max_size=6))
def test_whatever_members_are_called_hosts_are_hosts_and_the_server_knows_each(names: list[str]) -> None:
    naming = Naming("example.com")
    made = found(*names)
    assert len(set(made.hosts)) == len(made.hosts)
    for site in made.sites[1:]:
        assert re.fullmatch(r"[a-z0-9_.-]+", site.host)
        assert address(site.host, "/mcp", None, naming, names).place is Place.MEMBER
    for name in names:
        assert any(repr(name) in note for note in made.notes) or len(made.sites) > 1


@pytest.mark.parametrize("domain", ["", "example", "a b.com", "x;}.com", "-a.com", "a..com", "é.com", "a.com\n"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(ConfigError, match="is no domain"):
        found("a", naming=Naming(domain))


@pytest.mark.parametrize(
    ("host", "upstream"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_nginx_is_told_where_the_server_is_bound(host: str, upstream: str) -> None:
    assert sites.upstream_of(host, 1) == upstream


@pytest.mark.parametrize("text", ["80", "127.0.0.1:81", "[::]:80", "[::1]:8080", "localhost:80", "*:80"])
def test_what_nginx_can_listen_on_passes(text: str) -> None:
    assert sites.check_listen(text, "--listen") == text


@pytest.mark.parametrize("text", ["", "0", "65536", "80; include /etc/passwd", "80\n", "::80", "unix:/x", "80 ssl"])
def test_nothing_else_is_listened_on(text: str) -> None:
    if text.strip() == "80":
        assert sites.check_listen(text, "--listen") == "80"
        return
    with pytest.raises(ConfigError, match="--listen"):
        sites.check_listen(text, "--listen")


@pytest.mark.parametrize("text", ["10", "10r/h", "0r/s", "10r/s;", "r/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no rate"):
        sites.check_rate(text, "--rate-limit")


@pytest.mark.parametrize("path", ["/etc/$ssl_server_name.pem", "/etc/a\n.pem"])
def test_a_certificate_file_means_itself(path: str) -> None:
    assert sites.quoted('/etc/my "own".pem', "--tls-cert") == '"/etc/my \\"own\\".pem"'
    with pytest.raises(ConfigError, match="--tls-cert"):
        sites.quoted(path, "--tls-cert")


def test_the_records_lead_each_host_to_each_address() -> None:
    assert sites.records(("a.example.com", "bb.example.com"), ("203.0.113.7", "2001:db8::7")) == (
        "a.example.com.   300  IN  A     203.0.113.7",
        "a.example.com.   300  IN  AAAA  2001:db8::7",
        "bb.example.com.  300  IN  A     203.0.113.7",
        "bb.example.com.  300  IN  AAAA  2001:db8::7",
    )
