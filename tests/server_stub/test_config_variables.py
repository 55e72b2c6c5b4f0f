"""`config_file`: variables, the `.env` files that they come from, and who may write those."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.message import encode
from server_stub.config_file import inspect, read_roster
from server_stub.core.roster import Command, Roster
from tests.support.config_folder import Folder

on_posix = pytest.mark.skipif(os.name != "posix", reason="who may write a file is known on POSIX alone")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _said(roster: Roster) -> list[tuple[str, int | None, str]]:
    return [(found.severity, found.line, found.key) for found in roster.findings]


# --- Variables --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("A=x\0y", "A: NUL may not stand"),
        ("A='\x1b[31m'", "A: U+001B may not stand"),
        ("'A B'=1", "'A B' is no name"),
        ("'A=B'=1", "is no name"),
    ],
)
def test_what_no_process_can_have_is_found_in_an_env_file(folder: Folder, line: str, says: str) -> None:
    folder.write("a.env", f"GOOD='1\n2'\n{line}\n")
    member = folder.member({"command": "x"})
    assert isinstance(member.what, Command)
    assert member.what.env == (("GOOD", "1\n2"),)
    assert says in str(member.invalid)


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


def test_variables_that_hold_our_tokens_are_known_and_reach_no_child(folder: Folder) -> None:
    folder.write("a.env", "OURS=own-token\nITS=value\n")
    head = {"options": {"authTokens": ["${HEAD}"]}}
    ours = {"command": "x", "options": {"authTokens": ["${OURS:-none}", "plain"]}}
    given = {"command": "x", "env": {"GIVEN": "${HEAD}"}}  # who writes that wants it
    roster = folder.read({"mcpProxy": head, "mcpServers": {"a": ours, "b": given}}, {"HEAD": "head-token"})
    assert roster.errors == ()
    assert roster.token_variables == ("HEAD", "OURS")
    commands = [member.what for member in roster.members]
    assert [one.env for one in commands if isinstance(one, Command)] == [
        (("ITS", "value"),),
        (("GIVEN", "head-token"),),
    ]


def test_what_a_variable_holds_is_not_told_with_what_is_wrong(folder: Folder) -> None:
    entry = {"command": "x", "share": "${WORD}", "pingInterval": "${WORD}", "cwd": "/nowhere/${MY_TOKEN}"}
    roster = folder.read({"mcpServers": {"a": entry}}, {"WORD": "what-it-holds", "MY_TOKEN": "abcd-efgh"})
    told = " ".join(map(str, roster.findings))
    assert len(roster.errors) == 3
    assert "'${WORD}' is none of" in told
    assert "there is no folder '/nowhere/[secret]'" in told
    assert "what-it-holds" not in told


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


# --- Who may write it -------------------------------------------------------------------------------------------------


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
def test_no_folder_on_the_way_may_be_written_by_any_user(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.path / "open" / "safe").mkdir(parents=True)
    (folder.path / "open").chmod(0o777)
    target = folder.write("open/safe/config.json", '{"mcpServers": {}}')
    with pytest.raises(ConfigError, match=r"replace files in its folder.*/open$"):
        read_roster(target, {})
    target = folder.write("config.json", '{"mcpServers": {}}')
    (folder.path / "open" / "between").symlink_to(folder.path)
    (folder.path / "link").symlink_to("open/between")
    with pytest.raises(ConfigError, match=r"replace files in its folder.*/open$"):
        read_roster(str(folder.path / "link" / "config.json"), {})
    (folder.path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_roster(str(folder.path / "loop"), {})
    # as Kubernetes mounts a ConfigMap: open to all by its mode, and nobody can write there
    folder.path.chmod(0o777)
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert read_roster(target, {}).errors == ()


@on_posix
@pytest.mark.skipif(getattr(os, "geteuid", int)() != 0, reason="only root can give files away")
def test_an_env_file_that_somebody_else_put_into_a_folder_for_all_is_passed_over(folder: Folder) -> None:
    folder.path.chmod(0o1777)  # like /tmp
    for name in (".env", "a.env"):
        os.chown(folder.write(name, "A=planted\n"), 4321, 4321)
    roster = folder.read({"mcpServers": {"a": {"command": "x", "args": ["${A:-mine}"]}}})
    assert roster.members[0].what == Command(("x", "mine"))
    assert ["passed over" in found.text for found in roster.findings] == [True, True]
    folder.path.chmod(0o755)  # here only root could have put them
    assert folder.command({"command": "x", "args": ["${A}"]}).words == ("x", "planted")


@on_posix
def test_a_pipe_that_nobody_writes_is_not_waited_for(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server_stub.config_file._PATIENCE", 0.05)
    path = folder.path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="nobody writes"):
        read_roster(str(path), {})
    reading, writing = os.pipe()
    os.write(writing, b'{"mcpServers": {"a": {"command": "x"}}}')
    os.close(writing)
    assert [member.name for member in read_roster(f"/dev/fd/{reading}", {}).members] == ["a"]
    os.close(reading)


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
