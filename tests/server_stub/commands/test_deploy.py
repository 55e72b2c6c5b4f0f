from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from mcp_remote_py.core.errors import ConfigError
from server_stub.commands.deploy import run
from server_stub.deploy import MARK

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the files are for machines with POSIX paths")

SERVERS = {
    "time": {"command": "docker", "args": ["run", "-i", "--rm", "mcp/time"]},
    "here": {"command": sys.executable, "args": ["-m", "here"], "env": {"KEY": "the-secret"}},
    "far": {"url": "https://far.example.com/mcp"},
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": SERVERS}))
    return str(path)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capsys


def deploy(*words: str, **environ: str) -> int:
    return run(["deploy", *words], environ)


def lines(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_the_unit_runs_the_whole_file_with_what_the_server_is_to_be_told(
    config: str, said: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    words = ["--domain", "example.com", "--aggregate", "--grace", "3s", "--auth-token-file", str(tokens)]
    more = ["--program", "/opt/m/bin/mcp-remote-server", "--env-file", "/etc/mcp/a.env", "--env-file", "/etc/mcp/b.env"]
    assert deploy("systemd", "--config", config, *words, *more) == 0
    text = said.readouterr().out
    assert text.startswith(f"# {MARK}")
    assert lines(text, "ExecStart") == [
        f"/opt/m/bin/mcp-remote-server --config {config} --domain example.com --aggregate --auth-token-file "
        '"${CREDENTIALS_DIRECTORY}/auth-tokens" --grace 3s'
    ]
    assert lines(text, "LoadCredential") == [f"auth-tokens:{tokens}"]
    assert lines(text, "EnvironmentFile") == ["/etc/mcp/a.env", "/etc/mcp/b.env"]
    assert lines(text, "Restart") == ["always"]
    assert lines(text, "RestartSec") == ["2"]
    assert lines(text, "KillMode") == ["mixed"]
    assert lines(text, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert lines(text, "User") == ["mcp-remote"]
    assert lines(text, "SupplementaryGroups") == ["docker"]
    assert "docker.service" in lines(text, "After")[0]
    assert int(lines(text, "TimeoutStopSec")[0]) > 9
    assert "the-secret" not in text


def test_what_variables_say_here_is_written_down_as_a_service_does_not_see_them(
    config: str, said: pytest.CaptureFixture[str]
) -> None:
    environ = {"MCP_REMOTE_SERVER_AGGREGATE": "1", "MCP_REMOTE_SERVER_STATELESS": "no"}
    assert deploy("systemd", CONFIG_PATH=config, DOMAIN="example.com", PORT="9", **environ) == 0
    told = lines(said.readouterr().out, "ExecStart")[0]
    assert told.endswith(f"--config {config} --port 9 --domain example.com --aggregate")
    assert deploy("nginx", CONFIG_PATH=config, DOMAIN="example.com", PORT="9") == 0
    assert "proxy_pass http://127.0.0.1:9;" in said.readouterr().out


def test_the_template_reads_port_and_command_of_its_instance(said: pytest.CaptureFixture[str]) -> None:
    words = ["--domain", "example.com", "--host-pattern", "mcp-{name}.{domain}", "--auth-token-env", "TOKEN"]
    assert deploy("systemd", "--template", *words) == 0
    text = said.readouterr().out
    assert lines(text, "EnvironmentFile") == ["-/etc/mcp/.env", "/etc/mcp/%i.env"]
    assert lines(text, "ExecStart")[0].endswith(
        ' --port ${PORT} --shell "${SHELL_CMD}" --pass-environment --allowed-host mcp-%i.example.com '
        "--auth-token-env TOKEN"
    )
    assert lines(text, "Wants") == ["network-online.target docker.service"]
    assert lines(text, "ExecReload") == []  # for a server without a file, SIGHUP is the end


def test_a_low_port_needs_one_capability_and_root_needs_none(config: str, said: pytest.CaptureFixture[str]) -> None:
    deploy("systemd", "--config", config, "--port", "443")
    assert lines(said.readouterr().out, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    deploy("systemd", "--config", config)
    assert lines(said.readouterr().out, "CapabilityBoundingSet") == [""]
    deploy("systemd", "--config", config, "--user", "root")
    text, notes = said.readouterr()
    assert lines(text, "CapabilityBoundingSet") == []
    assert "as root" in notes


def test_a_low_port_may_be_that_of_the_file(tmp_path: Path, said: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"mcpProxy": {"addr": ":443"}, "mcpServers": SERVERS}))
    deploy("systemd", "--config", str(path))
    assert lines(said.readouterr().out, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    deploy("systemd", "--config", str(path), "--port", "8080")
    assert lines(said.readouterr().out, "AmbientCapabilities") == []
    deploy("systemd", "--config", str(path), "--port", "8080", "--port-per-server", "1022")
    assert lines(said.readouterr().out, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]


def test_variables_that_hold_secrets_have_to_come_from_a_file(config: str, said: pytest.CaptureFixture[str]) -> None:
    words = ["--auth-token-env", "A", "--admin-token-env", "B", "--jwt-secret-env", "C"]
    deploy("systemd", "--config", config, *words)
    assert "put A, B, C into a file, and name it with --env-file" in said.readouterr().err
    deploy("systemd", "--config", config, *words, "--env-file", "/etc/mcp/a.env")
    assert "--env-file" not in said.readouterr().err


def test_a_folder_for_logs_is_made_before_the_start_and_is_seen(
    config: str, tmp_path: Path, said: pytest.CaptureFixture[str]
) -> None:
    words = ["systemd", "--config", config, "--program", "/opt/x", "--out", str(tmp_path)]
    for folder in ("/srv/the logs", "/home/me/logs"):
        deploy(*words, "--log-dir", folder, "--log-file", "/var/log/mcp-remote-server/all.log")
        steps = said.readouterr().err
        assert "install -d -o mcp-remote -m 750 '/srv/the logs'" in steps or "750 /home/me/logs" in steps
        assert "750 /var/log/mcp-remote-server" not in steps  # systemd makes that one
    text = (tmp_path / "mcp-remote-server.service").read_text()
    assert lines(text, "ReadWritePaths") == ['"/home/me/logs"']
    assert lines(text, "ProtectHome") == ["read-only"]


def test_homes_are_hidden_unless_the_file_names_one(tmp_path: Path, said: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"mcpServers": {"a": {"command": "/usr/bin/env", "args": ["x"]}}}')
    deploy("systemd", "--config", str(path), "--program", "/opt/x")
    assert lines(said.readouterr().out, "ProtectHome") == ["yes"]
    path.write_text('{"mcpServers": {"a": {"command": "/usr/bin/env", "args": ["/home/me/files"]}}}')
    deploy("systemd", "--config", str(path), "--program", "/opt/x", "--writable", "/home/me/files")
    text = said.readouterr().out
    assert lines(text, "ProtectHome") == ["read-only"]
    assert lines(text, "ReadWritePaths") == ['"/home/me/files"']


def test_a_group_that_the_unit_names_is_made_before_the_start(
    config: str, tmp_path: Path, said: pytest.CaptureFixture[str]
) -> None:
    step = "getent group docker || groupadd --system docker"
    for words, wanted in (([], True), (["--user", "root"], False)):
        deploy("systemd", "--config", config, "--out", str(tmp_path), *words)
        assert (step in said.readouterr().err) is wanted
        assert bool(lines((tmp_path / "mcp-remote-server.service").read_text(), "SupplementaryGroups")) is wanted


def test_a_name_of_a_file_cannot_write_a_line(config: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        deploy("systemd", "--config", config, "--env-file", "/x\nExecStartPre=/bin/evil")


# --- nginx -----------------------------------------------------------------------------------------------------------


def test_each_server_has_a_block_and_the_front_has_its_own(config: str, said: pytest.CaptureFixture[str]) -> None:
    words = ["--port-per-server", "7001", "--host-pattern", "mcp-{name}.{domain}", "--max-body", "2MiB"]
    assert deploy("nginx", "--config", config, "--domain", "example.com", *words) == 0
    text, notes = said.readouterr()
    hosts = [line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("    server_name")]
    assert hosts == ["mcp.example.com", "mcp-time.example.com", "mcp-here.example.com", "mcp-far.example.com"]
    passed = [line.split()[1].rstrip(";") for line in text.splitlines() if "proxy_pass" in line]
    assert [url.rpartition(":")[2] for url in passed] == ["8080", "8080", "7001", "7002", "7003"]
    assert text.count("client_max_body_size 2097152;") == 4
    assert "nobody for a token" in notes
    assert "the-secret" not in text


def test_a_file_with_tokens_for_all_needs_no_warning(tmp_path: Path, said: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.json"
    document = {"mcpProxy": {"addr": ":9090", "options": {"authTokens": ["t" * 20]}}, "mcpServers": SERVERS}
    path.write_text(json.dumps(document))
    deploy("nginx", "--config", str(path), "--domain", "example.com")
    text, notes = said.readouterr()
    assert notes == ""
    assert "http://127.0.0.1:9090;" in text  # where the file says that the server listens
    assert "t" * 20 not in text


def test_the_merged_server_has_its_rows_where_it_is_wanted(config: str, said: pytest.CaptureFixture[str]) -> None:
    deploy("nginx", "--config", config, "--domain", "example.com")
    without = said.readouterr().out
    deploy("nginx", "--config", config, "--domain", "example.com", "--aggregate")
    assert said.readouterr().out.count("proxy_pass") == without.count("proxy_pass") + 1


def test_a_rate_limit_is_a_comment_until_it_is_asked_for(config: str, said: pytest.CaptureFixture[str]) -> None:
    deploy("nginx", "--config", config, "--domain", "example.com")
    assert not [line for line in said.readouterr().out.splitlines() if line.strip().startswith("limit_req")]
    deploy("nginx", "--config", config, "--domain", "example.com", "--rate-limit", "5r/s")
    text = said.readouterr().out
    assert "\nlimit_req_zone $binary_remote_addr zone=mcp_example_com:10m rate=5r/s;\n" in text
    assert text.count("\n    limit_req zone=mcp_example_com burst=20 nodelay;") == 4


def test_the_names_for_dns_and_certificates_are_those_of_the_blocks(
    config: str, said: pytest.CaptureFixture[str]
) -> None:
    deploy("nginx", "--config", config, "--domain", "example.com")
    text = said.readouterr().out
    for host in ("mcp", "time.mcp", "here.mcp", "far.mcp"):
        assert f"#         -d {host}.example.com" in text
    assert "#     certbot renew --dry-run\n" in text
    deploy("nginx", "--config", config, "--domain", "example.com", "--dns", "203.0.113.7")
    records = said.readouterr().out.splitlines()
    assert records[0].split() == ["mcp.example.com.", "300", "IN", "A", "203.0.113.7"]
    assert len(records) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nginx"], "--domain is missing"),
        (["nginx", "--domain", "x;y"], "is no"),
        (["nginx", "--domain", "example.com", "--tls-cert", "a"], "belong together"),
        (["nginx", "--domain", "example.com", "--port", "0"], "must know the port"),
        (["nginx", "--domain", "example.com", "--port-per-server", "65534"], "not enough ports"),
        (["nginx", "--domain", "example.com", "--dns", "here"], "no IP address"),
        (["nginx", "--domian", "example.com"], "--domain"),
        (["systemd", "--template"], "Keep one"),
        (["systemd", "--template", "--port", "9"], "--port is too much"),
        (["systemd", "--template", "--aggregate"], "--aggregate is for a file of many"),
        (["systemd", "--shell", "x"], "unknown flag --shell"),
        (["sysemd"], "systemd"),
    ],
)
def test_what_cannot_be_is_said(config: str, words: list[str], sentence: str) -> None:
    more = [] if len(words) > 2 and words[1] == "--template" else ["--config", config]
    with pytest.raises(ConfigError, match=sentence):
        deploy(*words, *more)


def test_without_a_file_there_is_nothing_to_deploy() -> None:
    with pytest.raises(ConfigError, match="--config FILE is missing"):
        deploy("systemd")


@pytest.mark.parametrize("kind", ["systemd", "nginx"])
def test_a_variable_that_only_the_machine_has_is_a_note(
    kind: str, tmp_path: Path, said: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    head = {"options": {"authTokens": ["${NO_SUCH_TOKEN}"]}}
    path.write_text(json.dumps({"mcpProxy": head, "mcpServers": {"a": {"command": "docker", "args": ["${NO_SUCH}"]}}}))
    assert deploy(kind, "--config", str(path), "--domain", "example.com") == 0
    text, notes = said.readouterr()
    assert "SupplementaryGroups=docker" in text or "server_name a.mcp.example.com;" in text
    assert "NO_SUCH_TOKEN is not set" in notes
    assert "NO_SUCH is not set" in notes


# --- writing ---------------------------------------------------------------------------------------------------------


def test_a_file_is_written_once_and_somebody_elses_is_left_alone(
    config: str, tmp_path: Path, said: pytest.CaptureFixture[str]
) -> None:
    words = ["nginx", "--config", config, "--domain", "example.com", "--out", str(tmp_path)]
    path = tmp_path / "mcp-remote-server.conf"
    for done in ("written", "unchanged"):
        assert deploy(*words) == 0
        assert said.readouterr().out == f"{path}: {done}\n"
    assert deploy(*words, "--aggregate") == 0
    assert said.readouterr().out == f"{path}: replaced\n"
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_text("server {}\n")
    with pytest.raises(ConfigError, match="somebody else wrote"):
        deploy(*words)
    assert path.read_text() == "server {}\n"
    assert deploy(*words, "--force") == 0
    assert sorted(found.name for found in tmp_path.iterdir()) == ["mcp-remote-server.conf", "servers.json"]


def test_a_folder_that_is_not_there_is_said(config: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        deploy("systemd", "--config", config, "--out", str(tmp_path / "no" / "such"))


@pytest.mark.parametrize("words", [["--help"], [], ["systemd", "--help"], ["nginx", "--help"]])
def test_there_is_a_help(words: list[str], said: pytest.CaptureFixture[str]) -> None:
    assert deploy(*words) == 0
    assert "usage" in said.readouterr().out


def test_a_program_that_is_missing_here_is_named(tmp_path: Path, said: pytest.CaptureFixture[str]) -> None:
    assert shutil.which("no-such-program-4711") is None
    path = tmp_path / "c.json"
    path.write_text('{"mcpServers": {"a": {"command": "no-such-program-4711"}}}')
    assert deploy("systemd", "--config", str(path)) == 0
    assert "no-such-program-4711 is not installed here" in said.readouterr().err
