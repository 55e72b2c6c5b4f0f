"""systemd itself reads the units that `deploy systemd` wrote, and finds nothing to say about them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.nginx import system_program
from tests.peers.programs import console_script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd is a program of Linux"),
]

SERVERS = {"time": {"command": "docker", "args": ["run", "-i", "--rm", "mcp/time"]}, "here": {"command": "/bin/true"}}
CASES = {
    "as it comes": [],
    "all of it": [
        "--domain", "example.com", "--aggregate", "--port", "443", "--log-dir", "/var/log/m p", "--max-body", "1MiB",
        "--auth-token-file", "/etc/mcp/tokens", "--admin-token-file", "/etc/mcp/admin %n",
        "--env-file", "/etc/a b%.env", "--writable", "/home/some body", "--writable", "/root/x",
        "--service-name", 'a "name" with $HOME, \\ and 100%',
    ],
    "as root": ["--user", "root"],
    "ports of their own": ["--domain", "a.example", "--port-per-server", "7001", "--host-pattern", "m-{name}.{domain}"],
}  # fmt: skip


def unit(folder: Path, *words: str) -> Path:
    done = subprocess.run(
        [console_script("mcp-remote-server"), "deploy", "systemd", "--out", str(folder), *words],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.rpartition(": ")[0])


def verified(file: Path) -> str:
    """Return what `systemd-analyze verify` has to say; it says nothing about a unit that is in order."""
    line = [system_program("systemd-analyze"), "verify", "--man=no", str(file)]
    # a path of its own, so that it is not about the other units of this machine
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{file.parent}:"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return f"{done.stdout}{done.stderr}" + (f"exit code {done.returncode}" if done.returncode else "")


@pytest.mark.parametrize("case", list(CASES))
def test_systemd_has_nothing_to_say_about_the_unit(case: str, tmp_path: Path) -> None:
    config = tmp_path / "my servers.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    file = unit(tmp_path, "--config", str(config), *CASES[case])
    said = verified(file)
    assert file.name not in said, said
    assert "exit code" not in said, said


def test_systemd_has_nothing_to_say_about_an_instance_of_the_template(tmp_path: Path) -> None:
    file = unit(tmp_path, "--template", "--domain", "example.com", "--auth-token-env", "TOKEN")
    instance = file.rename(tmp_path / "mcp-remote-server@time.service")
    said = verified(instance)
    assert instance.name not in said, said
    assert "exit code" not in said, said


@pytest.mark.parametrize("words", [["systemd"], ["systemd", "--template"], ["nginx", "--domain", "example.com"]])
def test_a_second_run_changes_nothing_and_somebody_elses_file_is_left_alone(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "etc"
    out.mkdir()
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    named = [] if "--template" in words else ["--config", str(config)]
    line = [console_script("mcp-remote-server"), "deploy", *words, *named, "--out", str(out)]

    def said() -> tuple[int, str, str]:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    first = said()
    (file,) = out.iterdir()
    assert first[:2] == (0, f"{file}: written\n")
    before = file.stat()
    assert said()[:2] == (0, f"{file}: unchanged\n")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    file.write_text("# mine\n")
    code, _, complaint = said()
    assert (code, "somebody else wrote this file" in complaint) == (2, True)
    assert [one.read_text() for one in out.iterdir()] == ["# mine\n"]


def test_a_unit_that_is_not_in_order_would_be_noticed(tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    file = unit(tmp_path, "--config", str(config))
    file.write_text(file.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    assert "ProtectClocks" in verified(file)
