"""Logs of the real programs: the file and its forms, the bodies, and what happens where the file cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.fake_remote import FakeRemote, fake_remote
from tests.support.host import Host, clean_environment, launch, python_command, script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and signals")

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] (debug|info|warning|error) mcp_remote_py[.\w]*: .+")


async def session(remote: FakeRemote, *arguments: str, text: str = "hello") -> Host:
    async with launch(remote.url, "--transport", "http-only", *arguments) as host:
        await host.greet()
        assert "result" in await host.request("tools/call", {"name": text})
        assert await host.end() == 0
    return host


async def test_a_log_file_says_what_stderr_says_with_the_time_of_each_line(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "bridge.log"
    async with fake_remote() as remote:
        host = await session(remote, "--debug", "--log-file", str(path))
    lines = path.read_text().splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    on_stderr = [line.partition(": ")[2].partition(": ")[2] for line in host.log.decode().splitlines()]
    assert [line.split(": ", 1)[1] for line in lines] == on_stderr
    assert len(lines) > 4
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_json_lines_are_objects_in_both_places(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    async with fake_remote() as remote:
        host = await session(remote, "--debug", "--log-file", str(path), "--log-format", "json")
    assert host.log.decode() == path.read_text()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        assert {"time", "level", "logger", "message"} <= entry.keys()
        assert abs(datetime.fromisoformat(entry["time"]) - datetime.now(UTC)) < timedelta(minutes=2)
    assert any("Streamable HTTP" in entry["message"] for entry in entries)


@pytest.mark.parametrize("asked", [True, False])
async def test_bodies_are_in_the_log_when_they_were_asked_for_and_only_then(tmp_path: Path, asked: bool) -> None:
    path = tmp_path / "bridge.log"
    async with fake_remote() as remote:
        options = ["--log-bodies"] if asked else ["--debug"]
        host = await session(remote, "--log-file", str(path), *options, text="a-name-in-a-body")
    for text in (path.read_text(), host.log.decode()):
        assert ("a-name-in-a-body" in text) is asked
        assert ('server: {"jsonrpc"' in text) is asked
        assert ("host: initialize" in text) is not asked


async def test_a_large_body_is_cut_and_its_size_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    async with fake_remote() as remote:
        await session(remote, "--log-file", str(path), "--log-bodies", text="x" * 1_000_000)
    line = next(line for line in path.read_text().splitlines() if "xxx" in line)
    assert 65_000 < len(line) < 66_500
    assert re.search(r"… \(1000\d\d\d bytes in all\)$", line)


async def test_answers_that_the_bridge_makes_itself_are_among_the_bodies() -> None:
    async with launch("http://127.0.0.1:1/mcp", "--log-bodies", "--greet-after", "off") as host:
        assert "error" in await host.greet()
        await host.end()
    assert b'to the host: {"jsonrpc"' in host.log


async def test_two_bridges_share_a_log_file_and_rotate_it(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    filler = "x" * 1023 + "\n"
    path.write_text(filler * (10 * 1024 - 1))
    async with fake_remote() as remote, asyncio.TaskGroup() as group:
        for name in "AB":
            group.create_task(session(remote, "--debug", "--log-file", str(path), "--log-bodies", text=name * 9))
    files = {name: tmp_path / name for name in os.listdir(tmp_path)}
    assert set(files) == {"bridge.log", "bridge.log.1"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}
    lines = [line for file in files.values() for line in file.read_text().splitlines() if line != filler.strip()]
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert all(any(name * 9 in line for line in lines) for name in "AB")
    assert len({re.search(r"\[(\d+)\]", line).group(1) for line in lines}) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(("program", "what"), [("mcp-remote-py", "https://h/mcp"), ("mcp-remote-server", "--demo")])
async def test_a_log_file_that_cannot_be_written_ends_the_start_with_the_reason(
    program: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file" / "x.log", "Not a directory")):
        async with launch(what, "--log-file", str(path), command=[script(program)]) as host:
            assert await asyncio.wait_for(host.process.wait(), 20) == 2
        assert f"{path}' cannot be written ({reason})" in host.log.decode()
        assert len(host.log.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
async def test_a_full_disk_does_not_end_the_bridge() -> None:
    async with fake_remote() as remote:
        host = await session(remote, "--debug", "--log-file", "/dev/full")
    assert host.log.count(b"cannot be written (No space left on device)") == 1


async def test_a_folder_that_vanishes_does_not_end_the_bridge(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "bridge.log"
    async with fake_remote() as remote, launch(remote.url, "--debug", "--log-file", str(path)) as host:
        await host.greet()
        while not path.parent.is_file():  # a line that is just being written makes the folder anew
            shutil.rmtree(path.parent, ignore_errors=True)
            with contextlib.suppress(IsADirectoryError):
                path.parent.write_text("in the way")
        for _ in range(3):
            assert "result" in await host.request("tools/call", {"name": "x"})
        assert await host.end() == 0
        assert host.log.count(b"cannot be written") == 1


async def test_a_stderr_that_nobody_reads_does_not_keep_lines_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    unread, stderr = os.pipe()
    async with fake_remote() as remote:
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"),
            remote.url,
            *("--debug", "--log-bodies", "--log-file", str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            env=clean_environment(),
        )
        os.close(stderr)
        assert process.stdin is not None
        hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
        process.stdin.write(json.dumps(hello).encode() + b"\n")
        for number in range(1, 9):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "x" * 60_000}}
            process.stdin.write(json.dumps(call).encode() + b"\n")
        await remote.until(8, "tools/call")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    os.close(unread)
    assert path.read_text().count('"method": "tools/call"') == 8
    assert "leaving: SIGTERM" in path.read_text()


BROKEN = """
import sys
from mcp_remote_py import bridge, cli
class Broken(bridge.Bridge):
    async def run(self, *args):
        local = "a value that nobody knows"
        raise ValueError("at the start: " + sys.argv[-1])
bridge.Bridge = Broken
sys.exit(cli.main(sys.argv[1:]))
"""


async def test_a_defect_that_ends_the_program_is_written_down_without_secrets_or_values(tmp_path: Path) -> None:
    path = tmp_path / "bridge.log"
    secret = "hunter2-hunter2"
    arguments = ["https://example.com/mcp", "--log-file", str(path), "--header", f"X-Key: {secret}", "--header"]
    async with launch(*arguments, f"X-Other: {secret}", command=python_command(BROKEN)) as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 1
    for text in (host.log.decode(), path.read_text()):
        assert "ended because of a defect" in text
        assert "ValueError: at the start: X-Other: [secret]" in text
        assert secret not in text


async def test_the_server_writes_the_same_kind_of_log_without_what_clients_send(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    command = [script("mcp-remote-server"), "--demo", "--port", "0", "--log-level", "debug", "--log-format", "json"]
    environment = clean_environment(OUR_TOKEN="a-token-0f-the-server", PYTHONASYNCIODEBUG="1")
    options = ["--auth-token-env", "OUR_TOKEN", "--log-file", str(path)]
    async with launch(*options, command=command, env=environment) as server:
        while b"listening on" not in server.log:  # noqa: ASYNC110  what a process writes sets no event
            await asyncio.sleep(0.01)
        url = re.search(r"http://\S+", server.log.decode())
        assert url is not None
        for token in ("a-token-0f-the-server", "a-wr0ng-token"):
            arguments = [f"{url.group()}/mcp?key=a-key-in-the-query", "--transport", "http-only"]
            async with launch(*arguments, env=clean_environment(MCP_AUTH_TOKEN=token)) as host:
                await host.greet()
                await host.request("tools/call", {"name": "echo", "arguments": {"text": "text-in-a-call"}})
                await host.end()
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(server.process.wait(), 20) == 0
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert entries
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for text in (path.read_text(), server.log.decode()):
        found = [secret for secret in ("a-token-0f", "a-wr0ng", "a-key-in", "text-in-a-call") if secret in text]
        assert found == []
