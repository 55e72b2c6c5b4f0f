"""`config_file`: its forms, its variables, what is wrong with it, and whom that concerns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import encode
from server_stub.config_file import examine, inspect, read_roster
from server_stub.core.roster import Care, Command, Manners, Member, Remote, Roster
from tests.server_stub.core.test_config_schema import CONFIGS, FILES

ENVIRON = {
    "MCP_PROXY_TOKEN": "changeme-token",
    "GITHUB_PERSONAL_TOKEN": "ghp_personal",
    "GITHUB_WORK_TOKEN": "ghp_work",
    "perplexity-key": "pplx-12345",
}
on_posix = pytest.mark.skipif(os.name != "posix", reason="who may write a file is known on POSIX alone")


class Folder:
    """A folder for a configuration and its `.env` files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)

    def read(self, document: Any, environ: Mapping[str, str] | None = None) -> Roster:
        text = document if isinstance(document, str) else encode(document).decode()
        return inspect(self.write("config.json", text), environ or {})

    def member(self, entry: Any, environ: Mapping[str, str] | None = None, name: str = "a") -> Member:
        return self.read({"mcpServers": {name: entry}}, environ).members[0]

    def command(self, entry: Any, environ: Mapping[str, str] | None = None) -> Command:
        member = self.member(entry, environ)
        assert member.invalid is None
        assert isinstance(member.what, Command)
        return member.what


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _said(roster: Roster) -> list[tuple[str, int | None, str]]:
    return [(found.severity, found.line, found.key) for found in roster.findings]


# --- Forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_the_examples_are_good(name: str) -> None:
    roster = read_roster(str(CONFIGS / name), ENVIRON)
    assert roster.findings == ()
    assert roster.members


def test_claude_desktop() -> None:
    roster = read_roster(str(CONFIGS / "seed001_production.json"), {})
    assert [member.name for member in roster.members] == ["notion-mcp", "memory-mcp", "sequential-thinking"]
    assert roster.members[0].what == Command(
        ("npx", "-y", "@anthropic-ai/mcp-server-notion"), env=(("NOTION_TOKEN", "your_notion_token_here"),)
    )
    assert roster.secrets == ("your_notion_token_here",)


def test_the_central_proxy_of_seed_002() -> None:
    roster = read_roster(str(CONFIGS / "seed002_central.json"), ENVIRON)
    front = roster.front
    assert (front.base_url, front.host, front.port) == ("http://linuxserver.lan:9090", None, 9090)
    assert (front.name, front.tokens) == ("Central MCP Proxy", ("changeme-token",))
    assert [member.what for member in roster.members][:1] == [Remote("http://mcp-postgres:8686/sse")]
    assert {member.manners.tokens for member in roster.members} == {None}
    assert "changeme-token" in roster.secrets


@pytest.mark.parametrize("name", ["seed002_vs_code.json", "seed002_claude_code.json"])
def test_members_that_are_remote(name: str) -> None:
    roster = read_roster(str(CONFIGS / name), {})
    headers = (("Authorization", "Bearer changeme-token"),)
    assert roster.members[0].what == Remote("http://linuxserver.lan:9090/postgres/sse", "sse", headers)
    assert "changeme-token" in roster.secrets


def test_vs_code_with_inputs() -> None:
    path = str(CONFIGS / "vs_code_mcp.json")
    roster = read_roster(path, ENVIRON)
    assert roster.members[0].what == Command(
        ("npx", "-y", "server-perplexity-ask"), env=(("PERPLEXITY_API_KEY", "pplx-12345"),)
    )
    asking = examine(path, {})
    assert asking.wanted == ("perplexity-key",)
    assert "setup-env" in str(asking.roster.members[0].invalid)
    assert asking.roster.members[1].invalid is None


def test_vs_code_settings(folder: Folder) -> None:
    roster = folder.read({"editor.fontSize": 12, "mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}})
    assert (_said(roster), [member.name for member in roster.members]) == ([], ["a"])


def test_version_1_adds_the_global_tokens_to_those_of_a_server() -> None:
    roster = read_roster(str(CONFIGS / "version1.json"), {})
    fetch, amap = roster.members
    assert fetch.what == Command(("uvx", "mcp-server-fetch"), env=(("PORT", "9090"),))
    assert fetch.manners.tokens == ("HelloWorld", "GlobalToken")
    assert fetch.manners.panic_if_invalid
    assert amap.what == Remote("https://mcp.example.net/sse?key=abcdefgh", "sse")
    assert (amap.manners.tokens, roster.front.tokens) == (None, ("GlobalToken",))


def test_docker_and_shell_lines_of_seed_000() -> None:
    members = {
        member.name: member.what for member in read_roster(str(CONFIGS / "seed000_docker.json"), ENVIRON).members
    }
    assert members["time"] == Command(shell="/usr/bin/docker run -i --rm mcp/time")  # noqa: S604
    assert members["sequential-thinking"] == Command((), "/usr/bin/docker run -i --rm mcp/sequentialthinking")
    personal, work = members["github-personal"], members["github-work"]
    assert isinstance(personal, Command)
    assert "GITHUB_PERSONAL_ACCESS_TOKEN=ghp_personal" in personal.words
    assert isinstance(work, Command)
    assert work.env == (("GITHUB_PERSONAL_ACCESS_TOKEN", "ghp_work"),)


def test_every_key_of_ours() -> None:
    roster = read_roster(str(CONFIGS / "every_key.jsonc"), {})
    local, line, few, socket = roster.members
    assert local.what == Command(
        ("npx", "-y", "some-server"), env=(("LEVEL", "info"), ("PRICE", "${5}")), pass_environment=True
    )
    care = Care(45.0, 10.0, 5, 0, 600.0, None, 500 * 1024 * 1024)
    assert local.manners == Manners(
        tokens=("own-token",),
        allow=("read_*",),
        block=("shout",),
        names="snake",
        share="shared",
        start="eager",
        care=care,
    )
    assert (line.enabled, line.what) == (False, Command((), "cat | cat"))
    assert line.manners == Manners(block=("delete_*",), share="principal", care=Care(ping_every=None))
    assert few.manners == Manners(
        log=False,
        tokens=("few-token",),
        allow=("read_*",),
        block=("delete_*",),
        cors_origins=("https://few.example.com",),
        share="principal",
        care=Care(ping_every=None),
    )
    assert socket.what == Remote("wss://mcp.example.com/ws", "ws", (("X-Key", "abcdefgh"),))
    front = roster.front
    assert (front.host, front.port, front.kind, front.version) == ("127.0.0.1", 9090, "streamable-http", "1.2.3")
    assert front.cors_origins == ("https://app.example.com", "*")


@pytest.mark.parametrize(
    ("entry", "wire"),
    [
        ({"url": "https://x/mcp"}, "auto"),
        ({"url": "https://x/sse"}, "auto"),
        ({"url": "https://x/", "type": "http"}, "http"),
        ({"url": "https://x/", "type": "streamableHttp"}, "http"),
        ({"url": "https://x/", "transportType": "streamable-http"}, "http"),
        ({"url": "https://x/", "transport": "SSE"}, "sse"),
        ({"url": "https://x/", "type": "websocket"}, "ws"),
        ({"url": "ws://x/"}, "ws"),
        ({"httpUrl": "https://x/"}, "http"),
        ({"serverUrl": "https://x/"}, "auto"),
    ],
    ids=str,
)
def test_wires(folder: Folder, entry: dict[str, str], wire: str) -> None:
    what = folder.member(entry).what
    assert isinstance(what, Remote)
    assert what.wire == wire


def test_utf_16_and_a_byte_order_mark_are_read(folder: Folder) -> None:
    path = folder.path / "config.json"
    for encoding in ("utf-16", "utf-8-sig"):
        path.write_text('{"mcpServers": {"ä": {"command": "x"}}}', encoding=encoding)
        assert [member.name for member in inspect(str(path), {}).members] == ["ä"]


# --- Inheritance -----------------------------------------------------------------------------------------------------


def test_the_options_of_a_server_win_key_by_key(folder: Folder) -> None:
    head = {
        "logEnabled": False,
        "panicIfInvalid": True,
        "toolFilter": {"mode": "allow", "list": ["a"]},
        "share": "shared",
    }
    roster = folder.read(
        {
            "mcpProxy": {"options": head},
            "mcpServers": {
                "all": {"command": "x"},
                "some": {"command": "x", "options": {"logEnabled": True, "toolFilter": {"mode": "block", "list": []}}},
                "near": {"command": "x", "share": "session", "options": {"share": "principal"}},
            },
        }
    )
    every, some, near = (member.manners for member in roster.members)
    assert every == Manners(log=False, panic_if_invalid=True, allow=("a",), share="shared")
    assert some == Manners(log=True, panic_if_invalid=True, share="shared")
    assert near.share == "session"


# --- Variables -------------------------------------------------------------------------------------------------------


def test_the_later_env_file_wins_and_a_servers_own_reach_its_child(folder: Folder) -> None:
    folder.write(".env", "A=shared\nB=shared\nC=shared\nSHARED_ONLY=x\n")
    folder.write("a.env", "B=own\nC=own\n")
    folder.write("a/a.env", 'export C="own, deeper" # remark\n')
    environ = {"A": "process", "P": "process"}
    command = folder.command({"command": "x", "args": ["${A} ${B} ${C} ${P}"], "env": {"B": "given ${B}"}}, environ)
    assert command.words[1] == "shared own own, deeper process"
    assert command.env == (("B", "given own"), ("C", "own, deeper"))


def test_env_file_replaces_the_usual_names(folder: Folder) -> None:
    folder.write("a.env", "A=usual\n")
    folder.write("one.env", "A=one\nB=one\n")
    folder.write("two.env", "B=two\n")
    entry = {"command": "x", "envFile": ["one.env", "${SECOND}"]}
    assert folder.command(entry, {"SECOND": "two.env"}).env == (("A", "one"), ("B", "two"))


def test_an_env_file_that_is_named_and_not_there_is_an_error_of_that_server(folder: Folder) -> None:
    roster = folder.read({"mcpServers": {"a": {"command": "x", "envFile": "no.env"}, "b": {"command": "x"}}})
    assert "no.env" in str(roster.members[0].invalid)
    assert roster.members[1].invalid is None


def test_values_in_env_files_stay_as_they_are(folder: Folder) -> None:
    folder.write("a.env", "A=${B} $C $${D}\n")
    assert folder.command({"command": "x", "args": ["${A}"]}).words[1] == "${B} $C $${D}"


def test_a_line_of_an_env_file_that_is_none_is_found(folder: Folder) -> None:
    folder.write("a.env", "A=1\n\n'broken\nB=2\nLONELY\n")
    roster = folder.read({"mcpServers": {"a": {"command": "x"}}})
    said = [(found.severity, os.path.basename(found.file), found.line) for found in roster.findings]
    assert said == [("error", "a.env", 3), ("warning", "a.env", 5)]
    assert roster.members[0].invalid


def test_a_line_of_the_shared_env_file_that_is_none_is_a_warning(folder: Folder) -> None:
    folder.write(".env", "A=1\n'broken\nB=\0\n")
    roster = folder.read({"mcpServers": {"a": {"command": "${A}"}}})
    assert [(found.severity, found.line) for found in roster.findings] == [("warning", 2), ("warning", 3)]
    assert roster.members[0].invalid is None


@on_posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_shared_env_file_that_cannot_be_read_is_a_warning(folder: Folder) -> None:
    folder.write(".env", "A=1\n", 0o000)
    roster = folder.read({"mcpServers": {"a": {"command": "x"}, "b": {"command": "${A}"}}})
    assert roster.members[0].invalid is None
    assert [found.severity for found in roster.findings] == ["warning", "error"]


def test_env_files_of_one_server_do_not_reach_another(folder: Folder) -> None:
    folder.write("a.env", "KEY=secret-of-a\n")
    roster = folder.read({"mcpServers": {"a": {"command": "x"}, "b": {"command": "${KEY}"}}})
    assert isinstance(roster.members[1].what, Command)
    assert roster.members[1].what.env == ()
    assert "KEY is not set" in str(roster.members[1].invalid)


def test_a_variable_that_is_not_set_is_an_error_of_its_server_alone(folder: Folder) -> None:
    text = '{"mcpServers": {"a": {"command": "x",\n "env": {"K": "${NO}"}},\n "b": {"command": "x"},\n'
    text += ' "c": {"disabled": true, "command": "${NO}"}}}'
    roster = folder.read(text)
    assert _said(roster) == [("error", 2, "mcpServers.a.env.K"), ("warning", 4, "mcpServers.c.command")]
    assert [member.invalid is None for member in roster.members] == [False, True, True]


def test_a_variable_of_the_head_that_is_not_set_refuses_the_file(folder: Folder) -> None:
    document = {"mcpProxy": {"options": {"authTokens": ["${NO}"]}}, "mcpServers": {"a": {"command": "x"}}}
    path = folder.write("config.json", encode(document).decode())
    with pytest.raises(ConfigError, match=r"config.json:1: mcpProxy.options.authTokens: the variable NO is not set"):
        read_roster(path, {})
    assert inspect(path, {"NO": "token"}).front.tokens == ("token",)


def test_values_that_came_from_env_files_and_env_are_secrets(folder: Folder) -> None:
    folder.write(".env", "DB=postgres://u:p@h/\nSHORT=1\nFLAG=true\n")
    folder.write("a.env", "API_KEY=abcd-efgh\n")
    roster = folder.read({"mcpServers": {"a": {"command": "x", "env": {"T": "t-token-t", "NODE_ENV": "production"}}}})
    assert set(roster.secrets) == {"postgres://u:p@h/", "abcd-efgh", "t-token-t"}
    assert not any(secret in repr(roster.members) for secret in roster.secrets)


def test_the_digest_knows_every_file_and_sources_name_them(folder: Folder) -> None:
    document = {"mcpServers": {"a": {"command": "x"}}}
    first = folder.read(document)
    names = {os.path.relpath(source, folder.path) for source in first.sources}
    assert names == {"config.json", ".env", "a.env", os.path.join("a", "a.env")}
    assert folder.read(document).digest == first.digest
    folder.write("a.env", "A=1\n")
    second = folder.read(document)
    folder.write("a.env", "A=2\n")
    assert len({first.digest, second.digest, folder.read(document).digest}) == 3


# --- What is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "key", "says"),
    [
        ({}, "", "neither a command nor a url"),
        ([], "", "this is an array. It takes an object"),
        ("npx", "", "this is text"),
        ({"comand": "npx"}, ".comand", "Did you mean command?"),
        ({"command": 5}, ".command", "this is a number"),
        ({"command": ""}, ".command", "this is empty"),
        ({"command": None}, "", "neither a command nor a url"),
        ({"command": "x", "args": "-y"}, ".args", "takes an array of text"),
        ({"command": "x", "args": ["-p", 80]}, ".args", "in quotes"),
        ({"command": "x", "args": ["a\0b"]}, ".args", "NUL"),
        ({"command": "x", "args": ["a\x1bb"]}, ".args", "U+001B"),
        ({"command": "x\n"}, ".command", "line feed"),
        ({"command": "x", "env": {"A": "\0"}}, ".env", "A: the control character NUL"),
        ({"command": "x", "env": {"A": 1}}, ".env", "A: this is a number"),
        ({"command": "x", "env": {"A=B": "1"}}, ".env", "no name of a variable"),
        ({"command": "x", "env": {"": "1"}}, ".env", "no name of a variable"),
        ({"command": "x", "env": ["A=1"]}, ".env", "takes an object of text"),
        ({"command": "x", "cwd": "nowhere"}, ".cwd", "there is no folder"),
        ({"command": "x", "url": "http://x/"}, ".url", "Keep one"),
        ({"command": "x", "type": "sse"}, ".type", "a sse server has a url"),
        ({"command": "x", "headers": {"A": "b"}}, ".headers", "no headers"),
        ({"command": "x", "disabled": "yes"}, ".disabled", "true or false"),
        ({"command": "x", "disabled": True, "enabled": True}, ".enabled", "contradict"),
        ({"command": "x", "share": "everybody"}, ".share", "none of session, principal, shared"),
        ({"command": "x", "idleTimeout": "soon"}, ".idleTimeout", "no duration"),
        ({"command": "x", "initializeTimeout": 0}, ".initializeTimeout", "no duration above 0"),
        ({"command": "x", "memoryLimit": "much"}, ".memoryLimit", "no size"),
        ({"command": "x", "pingFailures": 1.5}, ".pingFailures", "no whole number"),
        ({"command": "x", "maxRestarts": -1}, ".maxRestarts", "no whole number"),
        ({"command": "x", "shell": "y"}, ".shell", "Keep one"),
        ({"command": "x", "args": ["y"], "shell": True}, ".args", "in the line itself"),
        ({"shell": True}, ".shell", "command is the whole line"),
        ({"command": "x", "options": {"authTokens": []}}, ".options.authTokens", "lets nobody in"),
        ({"command": "x", "options": {"authTokens": "t"}}, ".options.authTokens", "an array"),
        ({"command": "x", "options": {"toolFilter": {"list": ["a"]}}}, ".options.toolFilter", "mode is missing"),
        ({"command": "x", "options": {"toolFilter": {"mode": "deny"}}}, ".options.toolFilter.mode", "allow, block"),
        ({"command": "x", "options": {"cors": {"origins": ["x"]}}}, ".options.cors.origins", "no origin"),
        ({"command": "x", "authTokens": "t"}, ".authTokens", "an array"),
        (
            {"command": "x", "enabledTools": [], "options": {"toolFilter": {"mode": "block", "list": ["a"]}}},
            ".enabledTools",
            "Keep one",
        ),
        ({"url": "x"}, ".url", "no address"),
        ({"url": "ftp://x/"}, ".url", "no address"),
        ({"url": "http://x:99999/"}, ".url", "no address"),
        ({"url": "http://a b/"}, ".url", "no address"),
        ({"url": "ws://x/", "type": "sse"}, ".url", "http://"),
        ({"url": "http://x/", "type": "stdio"}, ".type", "has a command"),
        ({"url": "http://x/", "type": "htp"}, ".type", "Did you mean http?"),
        ({"url": "http://x/", "args": ["y"]}, ".args", "has no args"),
        ({"url": "http://x/", "headers": {"A": "b\r\nC: d"}}, ".headers", "carriage return"),
        ({"url": "http://x/", "headers": {"A b": "c"}}, ".headers", "no name of a header"),
        ({"url": "http://x/", "headers": {"A": "b", "a": "c"}}, ".headers", "stands here twice"),
        ({"url": "http://x/", "headers": {"A": "€"}}, ".headers", "Latin-1"),
    ],
    ids=str,
)
def test_a_bad_server_is_told_why_and_harms_no_other(folder: Folder, entry: Any, key: str, says: str) -> None:
    roster = folder.read({"mcpServers": {"good": {"command": "x"}, "bad": entry, "last": {"url": "http://x/"}}})
    good, bad, last = roster.members
    assert (good.invalid, last.invalid) == (None, None)
    assert says in str(bad.invalid)
    assert [(found.member, found.key, found.line) for found in roster.errors] == [("bad", f"mcpServers.bad{key}", 1)]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", ".", "..", "a\nb", "a\0b", "\ud800", " a", "x" * 129])
def test_names_that_are_no_part_of_a_path_are_refused(folder: Folder, name: str) -> None:
    text = '{"mcpServers": {"good": {"command": "x"}, NAME: {"command": "x"}}}'.replace("NAME", _quoted(name))
    good, bad = folder.read(text).members
    assert good.invalid is None
    assert bad.invalid is not None
    assert bad.name.isprintable()
    assert str(inspect(str(folder.path / "config.json"), {}).findings[0]).isprintable()


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


@pytest.mark.parametrize("name", ["mcp", "sse", "health", "servers", "listtools"])
def test_names_that_mean_something_else_are_a_warning(folder: Folder, name: str) -> None:
    roster = folder.read({"mcpServers": {name: {"command": "x"}}})
    assert _said(roster) == [("warning", 1, f"mcpServers.{name}")]
    assert f"/servers/{name}/" in roster.findings[0].text


def test_null_is_as_if_the_key_were_not_there(folder: Folder) -> None:
    entry = {"command": "x", "args": None, "env": None, "url": None, "cwd": None, "options": None, "share": None}
    assert folder.member(entry) == Member("a", Command(("x",)))


def test_remarks_among_the_servers_are_no_servers(folder: Folder) -> None:
    roster = folder.read({"mcpServers": {"//": "those of the team", "_note": 1, "_a": {"command": "x"}}})
    assert ([member.name for member in roster.members], roster.findings) == (["_a"], ())


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        ({"command": "x", "args": ["--api-key", "abcdefgh"]}, "abcdefgh"),
        ({"command": "x", "args": ["--token=abcdefgh"]}, "abcdefgh"),
        ({"command": "docker", "args": ["run", "-e", "GITHUB_TOKEN=abcdefgh", "image"]}, "abcdefgh"),
        ({"shell": "docker run -e GITHUB_TOKEN=abcdefgh image"}, "abcdefgh"),
        ({"command": "npx", "args": ["mcp-remote", "--header", "Authorization: Bearer abcdefgh"]}, "abcdefgh"),
        ({"url": "https://me:abcdefgh@x/"}, "abcdefgh"),
        ({"url": "https://x/?api_key=abcdefgh&page=2"}, "abcdefgh"),
        ({"url": "https://x/", "headers": {"X-Thing": "abcdefgh"}}, "abcdefgh"),
        ({"command": "x", "args": ["${MY_SECRET}"]}, "from-the-process"),
        ({"command": "x", "options": {"authTokens": ["abcdefgh"]}}, "abcdefgh"),
    ],
    ids=str,
)
def test_secrets_are_learnt_wherever_they_stand(folder: Folder, entry: Any, secret: str) -> None:
    environ = {"MY_SECRET": "from-the-process", "HOME": "/home/somebody"}
    assert secret in folder.read({"mcpServers": {"a": entry}}, environ).secrets


def test_what_is_no_secret_stays_readable(folder: Folder) -> None:
    entry = {"command": "npx", "args": ["-y", "${HOME}", "--port=8080"], "env": {"NODE_ENV": "production", "A": "1"}}
    assert folder.read({"mcpServers": {"a": entry}}, {"HOME": "/home/somebody"}).secrets == ()


def test_folders_and_files_that_only_look_like_env_files_do_no_harm(folder: Folder) -> None:
    (folder.path / ".env").mkdir()
    (folder.path / "a").write_text("no folder", encoding="utf-8")
    assert folder.member({"command": "x"}) == Member("a", Command(("x",)))


def test_names_that_differ_in_case_alone_are_a_warning(folder: Folder) -> None:
    roster = folder.read({"mcpServers": {"Time": {"command": "x"}, "time": {"command": "x"}}})
    assert _said(roster) == [("warning", 1, "mcpServers.time")]


def test_what_stands_twice_is_an_error(folder: Folder) -> None:
    roster = folder.read(
        '{"mcpServers": {"a": {"command": "x"},\n"b": {"command": "x",\n"command": "y"},\n"a": {"url": "http://x/"}}}'
    )
    assert [member.name for member in roster.members] == ["a", "b"]
    assert [(found.line, found.member) for found in roster.errors] == [(3, "b"), (4, "a")]
    assert "first in line 1" in str(roster.members[0].invalid)
    with pytest.raises(ConfigError, match=r"config.json:2: mcpServers: this stands here twice"):
        read_roster(folder.write("config.json", '{"mcpServers": {"a": {"command": "x"}},\n"mcpServers": {}}'), {})


def test_unknown_keys_are_warnings_and_remarks_are_nothing(folder: Folder) -> None:
    entry = {"command": "x", "_comment": "", "$x": 1, "//": "", "x-y": {}, "autoApprove": [], "zzz": 1}
    roster = folder.read({"globalShortcut": "", "mcpServer": 1, "$schema": "", "mcpServers": {"a": entry}})
    assert _said(roster) == [("warning", 1, "mcpServers.a.zzz")]
    assert _said(folder.read({"mcpProxi": {}, "mcpServers": {"a": {"command": "x"}}})) == [("warning", 1, "mcpProxi")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n"mcpServers": {"a" 1}}', r"config.json:2: column 20: this is no JSON: a colon is missing"),
        ("", "config.json:1: column 1: this is no JSON"),
        ("[]", "config.json:1: a configuration is an object"),
        ("{}", "config.json:1: there are no servers in it"),
        ('{"mcpServer": {}}', "Did you mean mcpServers?"),
        ('{"memory": {"command": "x"}}', 'the servers stand within "mcpServers"'),
        ('{"mcpServers": []}', "mcpServers: this is an array"),
        ('{"mcpProxy": {"addr": "x"}, "mcpServers": {}}', r"mcpProxy.addr: this is no address"),
        ('{"mcpProxy": {"adr": ":1"}, "mcpServers": {}}', r"mcpProxy.adr: there is no such key. Did you mean addr\?"),
        ('{"mcpProxy": {"baseURL": "x"}, "mcpServers": {}}', r"mcpProxy.baseURL: it begins with http"),
        ('{"mcpProxy": [], "mcpServers": {}}', "mcpProxy: this is an array"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(folder: Folder, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_roster(folder.write("config.json", text), {})


def test_files_that_cannot_be_read_are_named(folder: Folder) -> None:
    with pytest.raises(ConfigError, match=r"no\.json: there is no such file"):
        read_roster(str(folder.path / "no.json"), {})
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster(str(folder.path), {})
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster("a\0b", {})
    (folder.path / "latin.json").write_bytes(b'{\n"\xe4": 1}')
    with pytest.raises(ConfigError, match=r"latin\.json:2: this is not UTF-8"):
        read_roster(str(folder.path / "latin.json"), {})


@pytest.mark.parametrize(
    ("addr", "host", "port"),
    [
        (":9090", None, 9090),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:8080", "::1", 8080),
        ("example:0", "example", 0),
    ],
)
def test_addresses_to_listen_on(folder: Folder, addr: str, host: str | None, port: int) -> None:
    front = folder.read({"mcpProxy": {"addr": addr}, "mcpServers": {}}).front
    assert (front.host, front.port) == (host, port)


def test_a_text_that_is_not_written_yet_can_be_examined(folder: Folder) -> None:
    path = folder.write("config.json", '{"mcpServers": {}}')
    (folder.path / "w").mkdir()
    found = examine(path, {}, '{"mcpServers": {"a": {"command": "x", "cwd": "w"}}}').roster
    assert found.members == (Member("a", Command(("x",), cwd=str(folder.path / "w"))),)
    assert inspect(path, {}).members == ()


def test_folders_are_meant_from_that_of_the_file(folder: Folder) -> None:
    (folder.path / "work").mkdir()
    assert folder.command({"command": "x", "cwd": "work"}).cwd == str(folder.path / "work")
    assert folder.command({"command": "x", "cwd": str(folder.path)}).cwd == str(folder.path)


# --- Who may write it ------------------------------------------------------------------------------------------------


@on_posix
def test_what_any_user_may_write_is_refused(folder: Folder) -> None:
    path = folder.write("config.json", '{"mcpServers": {"a": {"command": "x"}}}', 0o666)
    with pytest.raises(ConfigError, match=r"every user of this machine can write it.*chmod o-w"):
        read_roster(path, {})
    os.chmod(path, 0o664)
    assert read_roster(path, {}).findings == ()
    folder.path.chmod(0o777)
    with pytest.raises(ConfigError, match="replace files in its folder"):
        read_roster(path, {})
    folder.path.chmod(0o1777)
    assert read_roster(path, {}).findings == ()


@on_posix
def test_a_link_to_a_folder_that_any_user_may_write_is_refused(folder: Folder) -> None:
    target = folder.write("open/config.json", '{"mcpServers": {}}')
    (folder.path / "link.json").symlink_to(target)
    (folder.path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="replace files in its folder"):
        read_roster(str(folder.path / "link.json"), {})


@on_posix
def test_an_env_file_that_any_user_may_write_is_refused(folder: Folder) -> None:
    folder.write("a.env", "A=1\n", 0o602)
    roster = folder.read({"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}}})
    assert "can write it" in str(roster.members[0].invalid)
    assert roster.members[1].invalid is None
    folder.write(".env", "A=1\n", 0o602)
    with pytest.raises(ConfigError, match=r"\.env: every user of this machine can write it"):
        folder.read({"mcpServers": {"a": {"command": "x"}}})


@on_posix
def test_secrets_that_any_user_may_read_are_a_warning(folder: Folder) -> None:
    folder.write(".env", "LEVEL=debug\n", 0o644)
    folder.write("a.env", "API_TOKEN=abcdefgh\n", 0o644)
    roster = folder.read({"mcpServers": {"a": {"command": "x"}}})
    assert [(found.severity, os.path.basename(found.file)) for found in roster.findings] == [("warning", "a.env")]
    assert "API_TOKEN" in roster.findings[0].text
    assert "abcdefgh" not in roster.findings[0].text


# --- Any document ----------------------------------------------------------------------------------------------------

_KEYS = st.sampled_from(
    ["command", "args", "env", "url", "headers", "type", "shell", "cwd", "options", "disabled", "share", "idleTimeout"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "http://x/", "${NO}", "session", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["A", "authTokens", "mode"]), inner),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["a", "b", "mcp"]), _VALUES | st.dictionaries(_KEYS, _VALUES), max_size=3))
def test_any_servers_are_read_and_the_good_one_among_them_runs(servers: dict[str, Any]) -> None:
    folder = Folder(_SCRATCH)
    roster = folder.read({"mcpServers": {**servers, "good": {"command": "x", "args": ["y"]}}})
    assert roster.members[-1] == Member("good", Command(("x", "y")))
    assert {found.member for found in roster.errors} == {member.name for member in roster.members if member.invalid}


_SCRATCH = Path()


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> None:
    global _SCRATCH
    _SCRATCH = tmp_path
