"""`add`, `remove`, `enable`, `disable`: the file afterwards, its backups, what is shown, and the running server."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from server_stub import cli, config_file, registry
from server_stub.core import relaxed_json
from tests.server_stub.commands.fake_server import running

HOSTED = str(Path(__file__).parents[2] / "support" / "children" / "hosted.py")
START = '{\n  // ours\n  "mcpServers": {\n    "one": {"command": "true"} // first\n  }\n}\n'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.json"
    file.write_text(START)
    file.chmod(0o640)
    monkeypatch.setenv("CONFIG_PATH", str(file))
    monkeypatch.setenv("PORT", "1")  # nobody answers there
    return file


def servers(path: Path, key: str = "mcpServers") -> dict[str, Any]:
    document = relaxed_json.plain(relaxed_json.parse(path.read_text()))
    found: dict[str, Any] = document[key]
    return found


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*.bak"))


def test_a_server_is_added_with_a_backup_and_the_mode_stays(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "two", "--env", "LEVEL=debug", "--cwd", "/", "--", "npx", "-y", "pkg"]) == 0
    entry = {"command": "npx", "args": ["-y", "pkg"], "env": {"LEVEL": "debug"}, "cwd": "/"}
    assert servers(path) == {"one": {"command": "true"}, "two": entry}
    assert path.read_text().startswith('{\n  // ours\n  "mcpServers": {\n    "one": {"command": "true"}, // first\n')
    (backup,) = backups(path)
    assert backup.read_text() == START
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(backup.stat().st_mode) == 0o640
    out, err = capsys.readouterr()
    assert '+    "two": {' in out
    assert backup.name in err
    assert sorted(one.name for one in path.parent.iterdir()) == sorted([path.name, backup.name])


def test_a_dry_run_shows_the_change_and_touches_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "two", "--dry-run", "--shell", "echo hi"]) == 0
    assert '+      "shell": "echo hi"' in capsys.readouterr().out
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.read_text() == START


def test_a_file_that_is_not_there_is_made_and_private(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    assert cli.main(["add", "two", "--no-wait", "--config", str(file), "--", "npx"]) == 0
    assert servers(file) == {"two": {"command": "npx"}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_name_that_is_there_is_refused_unless_it_is_replaced(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "one", "--", "npx"]) == 2
    assert "--replace" in capsys.readouterr().err
    assert path.read_text() == START
    assert cli.main(["add", "one", "--replace", "--", "npx"]) == 0
    assert path.read_text() == START.replace('{"command": "true"}', '{\n      "command": "npx"\n    }')


def test_secrets_go_into_a_private_file_beside_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "ghp_0123456789abcdefghij"
    assert cli.main(["add", "git", "--env", f"GITHUB_TOKEN={secret}", "--env", "HOME_TOKEN", "--", "npx"]) == 0
    assert servers(path)["git"]["env"] == {"GITHUB_TOKEN": "${GITHUB_TOKEN}", "HOME_TOKEN": "${HOME_TOKEN}"}
    beside = path.parent / "git.env"
    assert beside.read_text() == f"GITHUB_TOKEN={secret}\n"
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600
    out, err = capsys.readouterr()
    assert secret not in out + err + path.read_text()
    assert "Not set yet: HOME_TOKEN." in err


def test_a_remote_server_gets_its_token_from_a_variable(path: Path) -> None:
    line = ["add", "far", "--url", "https://x.example/mcp", "--type", "http", "--header", "X-Team: a", "--add-auth"]
    assert cli.main(line) == 0
    assert servers(path)["far"] == {
        "type": "http",
        "url": "https://x.example/mcp",
        "headers": {"X-Team": "a", "Authorization": "Bearer ${MCP_PROXY_TOKEN}"},
    }
    assert cli.main(["add", "near", "--add-auth", "--auth-env", "T", "--", "npx"]) == 0
    assert servers(path)["near"] == {"command": "npx", "options": {"authTokens": ["${T}"]}}
    assert cli.main(["add", "x", "--url", "http://x/", "--header", "Authorization: Bearer s3cr3tvalue"]) == 0
    assert servers(path)["x"]["headers"] == {"Authorization": "Bearer ${X_AUTHORIZATION}"}
    assert (path.parent / "x.env").read_text() == "X_AUTHORIZATION=s3cr3tvalue\n"


def test_an_option_of_ours_behind_the_dashes_is_the_commands_and_that_is_said(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["add", "two", "--no-wait", "--", "npx", "--dry-run"]) == 0
    assert "--dry-run stands behind `--`" in capsys.readouterr().err
    assert servers(path)["two"]["args"] == ["--dry-run"]


def test_the_words_of_the_seed_add_a_bridge(path: Path) -> None:
    assert cli.main(["add", "--service", "filesystem", "--port", "9071"]) == 0
    url = "http://mcp-filesystem-bridge:9071/filesystem/sse"
    assert servers(path)["filesystem"] == {"type": "sse", "url": url}
    assert cli.main(["remove", "--service", "filesystem"]) == 0
    assert path.read_text() == START


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (["add", "a"], "What it runs is missing"),
        (["add", "a", "--url", "http://x/", "--", "npx"], "exactly one"),
        (["add", "--", "npx"], "A name is missing"),
        (["add", "a", "b", "--", "npx"], "'b' was not expected"),
        (["add", "a", "npx", "-y", "pkg"], "that stands behind `--`"),
        (["add", "a", "https://x.example/mcp"], "behind --url"),
        (["remove", "on", "es"], "stands in quotes"),
        (["enable", "one", "servers.json"], "Did you mean --config servers.json?"),
        (["add", "a", "--env", "1=2", "--", "npx"], "--env"),
        (["add", "a", "--header", "nothing", "--url", "http://x/"], "--header"),
        (["add", "a/b", "--", "npx"], "would be wrong"),
        (["add", "a", "--url", "nonsense"], "would be wrong"),
        (["add", "a", "--cwd", "/no/such", "--", "npx"], "no folder"),
        (["add", "a", "--", "np\x01x"], "control character"),
        (["add", "a", "--hepl", "--", "npx"], "Did you mean --help?"),
        (["remove", "on"], "Did you mean one?"),
        (["remove"], "A name is missing"),
        (["enable", "other"], "no server 'other'"),
    ],
)
def test_what_cannot_be_is_refused(path: Path, line: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line) == 2
    assert word in capsys.readouterr().err
    assert path.read_text() == START
    assert backups(path) == []


def test_no_file_at_all_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CONFIG_PATH", raising=False)
    assert cli.main(["add", "a", "--", "npx"]) == 2
    assert "--config FILE, or set CONFIG_PATH" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["add", "remove", "enable", "disable", "list", "test", "add-bridge", "setup-env"])
def test_each_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"mcp-remote-server {command}" in out
    assert "Exit codes: 0" in out


def test_to_disable_and_enable_leaves_the_file_as_it_was(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["disable", "one"]) == 0
    assert servers(path)["one"] == {"command": "true", "disabled": True}
    assert cli.main(["disable", "one"]) == 0
    assert "nothing to change" in capsys.readouterr().err
    assert cli.main(["enable", "one"]) == 0
    assert path.read_text() == START
    assert len(backups(path)) == 2


@pytest.mark.parametrize(
    ("entry", "on", "off"),
    [
        ('{"command": "x", "enabled": true}', None, '{"command": "x", "enabled": false}'),
        ('{"command": "x", "enabled": false}', '{"command": "x", "enabled": true}', None),
        ('{"command": "x", "disabled": false}', '{"command": "x"}', '{"command": "x", "disabled": true}'),
        ('{"command": "x"}', None, '{"command": "x", "disabled": true}'),
    ],
)
def test_either_spelling_is_switched(entry: str, on: str | None, off: str | None) -> None:
    text = f'{{"mcpServers": {{"a": {entry}}}}}'
    assert registry.switching("a", on=True)(text) == text.replace(entry, on or entry)
    assert registry.switching("a", on=False)(text) == text.replace(entry, off or entry)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"servers": {"a": {"command": "x"}}, "inputs": []}', "servers"),
        ('{"inputs": []}', "servers"),
        ('{"mcpProxy": {"addr": ":9090"}, "mcpServers": {}}', "mcpServers"),
        ("{}", "mcpServers"),
        ("", "mcpServers"),
    ],
)
def test_each_form_keeps_its_own_shape(text: str, key: str, path: Path) -> None:
    path.write_text(text)
    assert cli.main(["add", "b", "--", "npx"]) == 0
    assert servers(path, key)["b"] == {"command": "npx"}


def test_a_file_of_version_1_has_what_runs_in_an_object_of_its_own(path: Path) -> None:
    path.write_text('{"server": {"addr": ":9"}, "clients": {}}')
    assert cli.main(["add", "a", "--add-auth", "--", "npx", "-y"]) == 0
    assert cli.main(["add", "b", "--url", "http://x/sse", "--type", "sse"]) == 0
    assert servers(path, "clients") == {
        "a": {
            "type": "stdio",
            "config": {"command": "npx", "args": ["-y"]},
            "authTokens": ["${MCP_PROXY_TOKEN}"],
        },
        "b": {"type": "sse", "config": {"url": "http://x/sse"}},
    }


def test_an_error_elsewhere_does_not_stand_in_the_way(path: Path) -> None:
    path.write_text('{"mcpServers": {"broken": {"comand": "x"}, "one": {"command": "x"}}}')
    assert cli.main(["disable", "one"]) == 0
    assert cli.main(["remove", "broken"]) == 0
    assert list(servers(path)) == ["one"]


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.parent / "link.json"
    link.symlink_to(path)
    assert cli.main(["disable", "one", "--config", str(link)]) == 0
    assert link.is_symlink()
    assert servers(path)["one"]["disabled"] is True


def test_old_backups_go(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(12):
        assert cli.main(["disable", "one"]) == 0
        assert cli.main(["enable", "one"]) == 0
    assert len(backups(path)) == registry.KEPT_BACKUPS


def test_a_file_that_anybody_may_write_is_not_edited(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.chmod(0o666)
    assert cli.main(["disable", "one"]) == 2
    assert "chmod o-w" in capsys.readouterr().err


def test_two_at_once_lose_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: codes.append(cli.main(["add", f"s{n}", "--no-wait", "--", "npx"])))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 6
    assert sorted(servers(path)) == ["one", *(f"s{n}" for n in range(6))]


# --- The trial -------------------------------------------------------------------------------------------------------


def test_one_that_works_is_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "two", "--test", "--", sys.executable, HOSTED, "pages"]) == 0
    assert "two: works." in capsys.readouterr().out
    assert "two" in servers(path)


def test_one_that_does_not_work_is_not_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import sys; sys.stderr.write('no luck\\n'); sys.exit(3)"
    assert cli.main(["add", "two", "--test", "--env", "A_KEY=secret99", "--", sys.executable, "-c", script]) == 1
    err = capsys.readouterr().err
    assert "status 3" in err
    assert "no luck" in err
    assert [one.name for one in path.parent.iterdir()] == [path.name]


# --- The running server ----------------------------------------------------------------------------------------------


def test_a_server_that_takes_it_over_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN", "admin-token")
    with running(str(path)) as fake:
        assert cli.main(["add", "two", "--server", fake.url, "--admin-token-env", "ADMIN", "--", "npx"]) == 0
    assert "two" in servers(path)
    assert set(fake.authorizations) == {"Bearer admin-token"}


def test_a_token_that_the_server_does_not_take_stops_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADMIN", "yesterdays-token")
    with running(str(path)) as fake:
        fake.health = 401, {"error": "Unauthorized"}
        assert cli.main(["add", "two", "--server", fake.url, "--admin-token-env", "ADMIN", "--", "npx"]) == 2
    assert path.read_text() == START
    assert "does not take the token in ADMIN" in capsys.readouterr().err


def test_what_a_server_will_miss_and_what_it_leaves_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["add", "two", "--env", "A_TOKEN=abcdefgh12", "--", "no-such-program-anywhere"]) == 0
    assert "two: there is no program 'no-such-program-anywhere' here" in capsys.readouterr().err
    assert cli.main(["remove", "two"]) == 0
    assert "two.env: stays" in capsys.readouterr().err


def test_a_member_that_does_not_answer_is_taken_back(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(str(path)) as fake:
        fake.listtools = lambda name: (503, {"error": f"{name} did not start: no such program"})
        line = ["add", "two", "--env", "A_TOKEN=abcdefgh12", "--server", fake.url, "--", "npx"]
        assert cli.main(line) == 1
    assert path.read_text() == START
    assert not (path.parent / "two.env").exists()
    err = capsys.readouterr().err
    assert "no such program" in err
    assert "put back" in err


def test_a_server_with_a_new_warning_is_not_healthy(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(str(path)) as fake:
        fake.follows = False
        fake.warnings = ["an old one"]

        def warn() -> None:
            if "disabled" in path.read_text():
                fake.warnings = ["an old one", "the port is taken"]

        fake.asked = warn
        assert cli.main(["disable", "one", "--server", fake.url, "--wait", "200ms"]) == 1
    assert path.read_text() == START
    err = capsys.readouterr().err
    assert "the port is taken" in err
    assert "an old one" not in err


def test_a_warning_that_only_moved_is_not_new(path: Path) -> None:
    with running(str(path)) as fake:

        def warn() -> None:
            fake.warnings = [f"config.json:{len(path.read_text().splitlines())}: mcpServers.x: old trouble"]

        fake.asked = warn
        assert cli.main(["disable", "one", "--server", fake.url, "--wait", "2s"]) == 0
    assert servers(path)["one"]["disabled"] is True


def test_what_is_worth_a_warning_by_itself_is_no_reason_to_take_it_back(path: Path) -> None:
    with running(str(path)) as fake:

        def warn() -> None:
            fake.warnings = [str(found) for found in config_file.inspect(str(path), {}).findings]

        fake.asked = warn
        assert cli.main(["add", "health", "--server", fake.url, "--wait", "2s", "--", "npx"]) == 0
    assert "health" in servers(path)


def test_what_was_changed_during_the_trial_is_not_overwritten(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = '{"mcpServers": {}}'
    script = f"open({str(path)!r}, 'w').write({theirs!r}); exec(open({HOSTED!r}).read())"
    assert cli.main(["add", "two", "--test", "--", sys.executable, "-c", script]) == 2
    assert path.read_text() == theirs
    assert "somebody else has changed it" in capsys.readouterr().err


def test_a_server_that_never_takes_it_over_is_not_waited_for_longer(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(str(path)) as fake:
        fake.follows = False
        assert cli.main(["remove", "one", "--server", fake.url, "--wait", "200ms"]) == 1
    assert path.read_text() == START
    assert "did not take" in capsys.readouterr().err


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = '{"mcpServers": {}}'
    with running(str(path)) as fake:

        def tools(name: str) -> tuple[int, Any]:
            path.write_text(theirs)
            return 503, {"error": name}

        fake.listtools = tools
        assert cli.main(["add", "two", "--server", fake.url, "--", "npx"]) == 1
    assert path.read_text() == theirs
    assert "stays as it is" in capsys.readouterr().err


def test_a_server_of_another_file_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text(START)
    with running(str(other)) as fake:
        monkeypatch.setenv("PORT", fake.url.rpartition(":")[2])
        assert cli.main(["disable", "one"]) == 0
    assert "runs another configuration" in capsys.readouterr().err
    assert servers(path)["one"]["disabled"] is True


def test_a_named_server_that_is_not_there_stops_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["disable", "one", "--server", "http://127.0.0.1:1"]) == 2
    assert path.read_text() == START


def test_remove_with_test_wants_the_route_gone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["remove", "one", "--test"]) == 1
    assert path.read_text() == START
    with running(str(path)) as fake:
        assert cli.main(["remove", "one", "--test", "--server", fake.url]) == 0
        assert servers(path) == {}
        assert cli.main(["add", "two", "--no-wait", "--", "npx"]) == 0
        fake.listtools = lambda name: (200, {"server": name})
        assert cli.main(["remove", "two", "--test", "--server", fake.url]) == 1
    assert list(servers(path)) == ["two"]
    assert "still has two" in capsys.readouterr().err


def test_the_owner_of_the_file_stays(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, 12345, 12345)
    assert cli.main(["disable", "one"]) == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)
