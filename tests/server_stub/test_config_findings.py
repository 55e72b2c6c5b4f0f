"""`config_file`: what is wrong with a file, where that is said, and whom it concerns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core.errors import ConfigError
from server_stub.config_file import examine, inspect, read_roster
from server_stub.core.roster import Command, Member, Remote, Roster
from tests.support.config_folder import CONFIGS, ENVIRON, FILES, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _said(roster: Roster) -> list[tuple[str, int | None, str]]:
    return [(found.severity, found.line, found.key) for found in roster.findings]


# --- What is wrong ----------------------------------------------------------------------------------------------------


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
        ({"command": "x", "args": ["\u009b31m"]}, ".args", "U+009B"),
        ({"command": "x", "shell": "y"}, ".shell", "Keep one"),
        ({"command": "x", "args": ["y"], "shell": True}, ".args", "in the line itself"),
        ({"shell": True}, ".shell", "command is the whole line"),
        ({"command": "x", "options": {"authTokens": []}}, ".options.authTokens", "lets nobody in"),
        ({"command": "x", "options": {"authTokens": "t"}}, ".options.authTokens", "an array"),
        ({"command": "x", "options": {"toolFilter": {"list": ["a"]}}}, ".options.toolFilter", "mode is missing"),
        ({"command": "x", "options": {"toolFilter": {"mode": "deny"}}}, ".options.toolFilter.mode", "allow, block"),
        ({"command": "x", "toolFilter": {"mode": "allow"}}, ".toolFilter", "list is missing"),
        ({"command": "x", "toolFilter": {"mode": "allow", "list": [], "block": []}}, ".toolFilter", "Keep either"),
        ({"command": "x", "toolFilter": {"tools": ["a"]}}, ".toolFilter.tools", "mode, list, allow, block"),
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


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "a\\b", ".", "..", "a\nb", "a\0b", "\ud800", " a", "x" * 129, "€" * 90, "a\u202eb"]
)
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
    assert folder.member({"command": "x", "env": {"A": None, "B": "b"}}).what == Command(("x",), env=(("B", "b"),))


def test_every_variable_that_is_wrong_is_told(folder: Folder) -> None:
    roster = folder.read('{"mcpServers": {"a": {"command": "x", "env": {"A": 1,\n"B": "b",\n"C": true}}}}')
    assert _said(roster) == [("error", 1, "mcpServers.a.env"), ("error", 3, "mcpServers.a.env")]


def test_two_spellings_of_one_key_may_say_the_same(folder: Folder) -> None:
    entry = {"url": "http://x/", "type": "sse", "transportType": "sse"}
    assert folder.member(entry).what == Remote("http://x/", "sse")
    assert "stands here twice" in str(folder.member(entry | {"transportType": "http"}).invalid)


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
    env = {
        "NODE_ENV": "production",
        "A": "1",
        "CA": "/etc/ssl/my ca.pem",
        "WIN": "C:\\Users\\me",
        "SITE": "mcp.example.com",
    }
    entry = {"command": "npx", "args": ["-y", "${HOME}", "--port=8080"], "env": env}
    folder.write(".env", "DOMAIN=example.com\nURL=https://example.com:8080/\nADDRESS=10.0.0.1:8080\n")
    assert folder.read({"mcpServers": {"a": entry}}, {"HOME": "/home/somebody"}).secrets == ()


@pytest.mark.parametrize(
    "value", ["hunter2", "correct horse", "https://h.example/T0/B0/xyz", "postgres://u:p@h/d", "a.b-c_D9"]
)
def test_what_may_be_a_secret_counts_as_one(folder: Folder, value: str) -> None:
    assert folder.read({"mcpServers": {"a": {"command": "x", "env": {"WORD": value}}}}).secrets == (value,)


def test_folders_and_files_that_only_look_like_env_files_do_no_harm(folder: Folder) -> None:
    (folder.path / ".env").mkdir()
    (folder.path / "a").write_text("no folder", encoding="utf-8")
    assert folder.member({"command": "x"}) == Member("a", Command(("x",)))


@pytest.mark.parametrize(("first", "second"), [("Time", "time"), ("My Files", "my-files")])
def test_two_names_with_one_host_name_are_a_warning(folder: Folder, first: str, second: str) -> None:
    roster = folder.read({"mcpServers": {first: {"command": "x"}, second: {"command": "x"}}})
    assert _said(roster) == [("warning", 1, f"mcpServers.{second}")]


def test_what_stands_twice_is_an_error(folder: Folder) -> None:
    roster = folder.read(
        '{"mcpServers": {"a": {"command": "x"},\n"b": {"command": "x",\n"command": "y"},\n"a": {"url": "http://x/"}}}'
    )
    assert [member.name for member in roster.members] == ["a", "b"]
    assert [(found.line, found.member) for found in roster.errors] == [(3, "b"), (4, "a")]
    assert "first in line 1" in str(roster.members[0].invalid)
    with pytest.raises(ConfigError, match=r"config.json:2: mcpServers: this stands here twice"):
        read_roster(folder.write("config.json", '{"mcpServers": {"a": {"command": "x"}},\n"mcpServers": {}}'), {})
    roster = folder.read('{"mcpServers": {"a": {"command": "x", "env": {"A": "1",\n"A": "2"}}}}')
    assert [(found.line, found.key, found.text) for found in roster.errors] == [
        (2, "mcpServers.a.env", "the variable A stands here twice.")
    ]


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
        ('{\n"mcpServer": {}}', r"config.json:2: mcpServer is not known here. Did you mean mcpServers\?"),
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


# --- Any document -----------------------------------------------------------------------------------------------------


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


@settings(max_examples=100)
@given(st.sampled_from(FILES), st.floats(0, 1), st.integers(0, 30), st.text(alphabet='{}[]",:${}\\/*\n\0x', max_size=6))
def test_any_damage_to_a_file_is_found_or_does_no_harm(name: str, at: float, length: int, put: str) -> None:
    text = (CONFIGS / name).read_text(encoding="utf-8")
    start = int(at * len(text))
    path = Folder(_SCRATCH).write("config.json", text[:start] + put + text[start + length :])
    try:
        roster = inspect(path, ENVIRON)
    except ConfigError as error:
        assert str(error).startswith(path)  # noqa: PT017
        return
    assert {found.member for found in roster.errors} - {None} == {one.name for one in roster.members if one.invalid}


_SCRATCH = Path()


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> None:
    global _SCRATCH
    _SCRATCH = tmp_path
