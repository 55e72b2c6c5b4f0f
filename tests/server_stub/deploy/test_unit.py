from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import ConfigError
from server_stub.core.roster import Command, Member, Remote, Roster
from server_stub.deploy import unit


def needs(*members: Member, **programs: str) -> unit.Needs:
    return unit.needs_of(Roster("file", members=members), programs.get)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/etc/mcp/servers.json", "/etc/mcp/servers.json"),
        ("/etc/my servers.json", '"/etc/my servers.json"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ("mcp-{name}.{domain}", '"mcp-{name}.{domain}"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a;b", '"a;b"'),
        ("'", '"\'"'),
        ("", '""'),
    ],
)
def test_a_word_is_written_so_that_systemd_reads_it_back(text: str, written: str) -> None:
    assert unit.word(text) == written


@pytest.mark.parametrize("text", ["a\nExecStartPre=/bin/evil", "a\0", "a\x1b", "a\r"])
def test_no_text_begins_a_line_of_its_own(text: str) -> None:
    for write in (unit.word, unit.quoted, unit.specified):
        with pytest.raises(ConfigError, match="control character"):
            write(text)


@pytest.mark.parametrize("user", ["", "a b", "me\nUser=root", "-x", "a" * 40])
def test_what_is_no_name_of_a_user_is_refused(user: str) -> None:
    with pytest.raises(ConfigError, match="no name of a user"):
        unit.check_user(user, "--user")


def test_a_program_that_systemd_would_not_find_brings_its_folder() -> None:
    members = [
        Member("a", Command(("npx", "-y", "a"))),
        Member("b", Command(("uvx", "b"))),
        Member("c", Command(("sh",))),
    ]
    found = needs(*members, npx="/opt/node/bin/npx", uvx="/opt/node/bin/uvx", sh="/bin/sh")
    assert found.folders == ("/opt/node/bin",)
    path = unit.search_path(found.folders)
    assert path is not None
    assert path.startswith("/opt/node/bin:/usr/local/sbin:")
    assert unit.search_path(()) is None


def test_a_program_that_is_not_there_is_named() -> None:
    assert needs(Member("a", Command(("npx", "a")))).missing == ("npx",)


@pytest.mark.parametrize(
    "what",
    [
        Command(("docker", "run", "-i", "--rm", "mcp/time")),
        Command(("/usr/bin/docker", "run")),
        Command((), "docker run -i --rm mcp/time | cat"),
    ],
)
def test_docker_is_noticed_however_it_is_called(what: Command) -> None:
    assert needs(Member("time", what)).uses_docker


def test_what_is_in_a_home_is_noticed_in_the_program_the_arguments_and_the_folder() -> None:
    member = Member("a", Command(("npx", "/root/x", "/homes/y"), cwd="/home/me"))
    assert needs(member, npx="/home/me/.nvm/bin/npx").homes == ("/home/me/.nvm/bin/npx", "/home/me", "/root/x")


def test_members_that_run_nothing_here_need_nothing() -> None:
    members = [
        Member("far", Remote("https://example.com/mcp")),
        Member("off", Command(("docker",)), enabled=False),
        Member("bad", Command(), invalid="it has no command"),
    ]
    assert needs(*members) == unit.Needs()
