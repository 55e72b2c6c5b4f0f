"""The bridge as a process: its pipes, its signals, its parent, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

import psutil
import pytest
from aiohttp import web

from tests.support.fake_remote import FakeRemote, event, fake_remote, open_stream, result_of
from tests.support.host import clean_environment, launch, python_command, script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and descriptors")

POLLUTE = """
import os, sys, threading
from mcp_remote_py import bridge, cli
class Loud(bridge.Bridge):
    async def run(self, *args):
        def shout():
            print("a stray print")
            sys.stdout.write("and a write\\n")
            os.write(1, b"raw bytes on fd 1\\n")
            os.system("echo a child of a child")
        threading.Thread(target=shout).start()
        await super().run(*args)
bridge.Bridge = Loud
sys.exit(cli.main(sys.argv[1:]))
"""


async def test_nothing_but_json_rpc_ever_reaches_stdout() -> None:
    async with fake_remote() as remote, launch(remote.url, command=python_command(POLLUTE)) as host:
        await host.greet()
        assert await host.end() == 0
        assert [json.loads(line)["id"] for line in host.heard] == [1]
        for shout in (b"a stray print", b"and a write", b"raw bytes on fd 1", b"a child of a child"):
            assert shout in host.log


async def test_two_bridges_of_the_same_entry_work_side_by_side() -> None:
    async with fake_remote() as remote, launch(remote.url) as one, launch(remote.url) as two:
        assert "result" in await one.greet()
        assert "result" in await two.greet()
        assert await one.end() == 0
        assert "result" in await two.request("tools/list")
        assert await two.end() == 0


async def test_input_piped_in_at_once_is_answered_in_full_before_the_end() -> None:
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    async with fake_remote() as remote:
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"),
            remote.url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(),
        )
        out, _ = await process.communicate("\n".join(map(json.dumps, lines)).encode())
        assert process.returncode == 0
        assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2]
        assert remote.deleted.is_set()
        order = [seen.doc["method"] for seen in remote.posts()]
        assert order == ["initialize", "notifications/initialized", "tools/list"]
        assert [seen.headers.get("Mcp-Session-Id") for seen in remote.posts()] == [None, "session-1", "session-1"]
        assert [seen.headers.get("MCP-Protocol-Version") for seen in remote.posts()] == [None, *["2025-06-18"] * 2]


def hang(remote: FakeRemote) -> asyncio.Event:
    """Let tools/call never be answered; the event is set when one has arrived."""
    arrived = asyncio.Event()

    @remote.on("tools/call")
    async def reply(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = await open_stream(request)
        arrived.set()
        await asyncio.Event().wait()
        return response

    return arrived


async def test_at_the_end_of_input_a_hanging_call_gets_a_second_and_then_an_answer() -> None:
    async with fake_remote() as remote, launch(remote.url) as host:
        arrived = hang(remote)
        await host.greet()
        call = host.ask("tools/call", {"name": "x"})
        await arrived.wait()
        begin = time.monotonic()
        code = await host.end()
        took = time.monotonic() - begin
        answer = await call
        assert (code, answer["error"]["code"]) == (0, -31010)
        assert answer["error"]["data"]["may_have_run"] is True
        assert remote.deleted.is_set()
        assert 0.9 < took < 4, "one second of drain, then bounded clean-up (with slack for a busy machine)"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
async def test_a_signal_answers_calls_in_flight_and_deletes_the_session(name: str) -> None:
    async with fake_remote() as remote, launch(remote.url) as host:
        arrived = hang(remote)
        await host.greet()
        calls = [host.ask("tools/call", {"name": str(n)}) for n in range(3)]
        await arrived.wait()
        host.process.send_signal(getattr(signal, name))
        async with asyncio.timeout(10):
            assert await host.process.wait() == 0
        answers = [await call for call in calls]
        assert [answer["error"]["code"] for answer in answers] == [-31010] * 3
        assert name in answers[0]["error"]["message"]
        assert remote.deleted.is_set()


async def test_a_second_signal_leaves_at_once() -> None:
    async with fake_remote() as remote, launch(remote.url, "--drain", "60s") as host:
        arrived = hang(remote)

        @remote.on("DELETE")
        async def never(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
            raise AssertionError

        await host.greet()
        host.ask("tools/call", {"name": "x"})
        await arrived.wait()
        assert host.process.stdin is not None
        host.process.stdin.close()
        await asyncio.sleep(0.2)
        host.process.send_signal(signal.SIGTERM)
        host.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await host.process.wait() in (0, 128 + signal.SIGTERM)


async def test_a_host_that_closes_our_output_ends_us() -> None:
    async with fake_remote() as remote:
        read, write = os.pipe()
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"), remote.url, stdin=asyncio.subprocess.PIPE, stdout=write,
            stderr=asyncio.subprocess.DEVNULL, env=clean_environment(),
        )  # fmt: skip
        os.close(write)
        os.close(read)
        assert process.stdin is not None
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n')
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        process.stdin.close()
        assert remote.deleted.is_set()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]), stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""


async def test_a_bridge_leaves_when_its_parent_is_killed_though_its_input_stays_open() -> None:
    async with fake_remote() as remote:
        read, write = os.pipe()
        parent = await asyncio.create_subprocess_exec(
            *python_command(PARENT), str(read), script("mcp-remote-py"), remote.url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, pass_fds=[read], env=clean_environment(),
        )  # fmt: skip
        os.close(read)
        assert parent.stdout is not None
        child = psutil.Process(int(await parent.stdout.readline()))
        os.write(write, b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}\n')
        os.write(write, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        await remote.until(1, "notifications/initialized")  # so the answer, and with it the session, is known
        parent.kill()
        await parent.wait()
        with contextlib.suppress(psutil.NoSuchProcess):
            await asyncio.to_thread(child.wait, 10)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        async with asyncio.timeout(5):
            await remote.deleted.wait()
        os.close(write)


async def test_a_host_that_never_reads_stderr_blocks_nothing() -> None:
    garbage = [b"garbage"] * 3000  # each is worth a line of log: together far more than a pipe holds
    pings = [json.dumps({"jsonrpc": "2.0", "id": n, "method": "ping"}).encode() for n in range(200)]
    async with fake_remote() as remote:
        read, write = os.pipe()
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"), remote.url, "--debug", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=write, env=clean_environment(),
        )  # fmt: skip
        os.close(write)
        try:
            async with asyncio.timeout(40):
                out, _ = await process.communicate(b"\n".join([*garbage, *pings]) + b"\n")
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            os.close(read)
        assert process.returncode == 0
        assert len(out.splitlines()) == len(garbage) + len(pings)


async def test_a_host_that_does_not_read_stdout_stops_us_from_reading_the_network() -> None:
    big = "x" * 1_000_000
    async with fake_remote() as remote, launch(remote.url) as host:
        written = 0

        @remote.on("tools/call")
        async def reply(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
            nonlocal written
            response = await open_stream(request)
            for _ in range(200):
                await event(response, {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": big}})
                written += 1
            await event(response, {"jsonrpc": "2.0", "id": message["id"], "result": {}})
            return response

        await host.greet()
        process = psutil.Process(host.process.pid)
        before = process.memory_info().rss
        transport = host.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.pause_reading()
        call = host.ask("tools/call", {"name": "x"})
        last = -1
        while last != written or not written:
            last = written
            await asyncio.sleep(0.7)
        assert written < 100, "the network is not read any further"
        assert process.memory_info().rss - before < 80_000_000
        transport.resume_reading()
        async with asyncio.timeout(40):
            assert "result" in await call
        assert written == 200


async def test_memory_and_descriptors_do_not_grow_with_calls() -> None:
    async with fake_remote() as remote, launch(remote.url) as host:
        await host.greet()
        process = psutil.Process(host.process.pid)

        async def some(count: int) -> None:
            for _ in range(count):
                await host.request("ping")

        await some(100)
        before = process.num_fds()
        await some(200)
        assert process.num_fds() <= before + 2


async def test_help_and_version_are_on_stdout_and_mistakes_on_stderr() -> None:
    for arguments, code, stream in (
        (["--help"], 0, "out"),
        (["--version"], 0, "out"),
        (["--nonsense", "https://example.com"], 2, "err"),
        (["gopher://example.com"], 2, "err"),
        ([], 2, "err"),
    ):
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"), *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=clean_environment(),
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == code, arguments
        assert (bool(out), bool(err)) == (stream == "out", stream == "err"), arguments


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "utf-16"])
async def test_the_locale_changes_nothing(encoding: str) -> None:
    text = "Grüße 世界 \u2028 \U0001f600"
    env = clean_environment(LC_ALL="C", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    async with fake_remote() as remote, launch(remote.url, env=env) as host:

        @remote.on("echo")
        async def reply(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
            return result_of(message, message["params"])

        host.write(f'\ufeff{{"jsonrpc":"2.0","id":"é","method":"echo","params":{{"t":"{text}"}}}}\r\n'.encode())
        assert (await host.line())["result"] == {"t": text}
        assert host.heard[0].endswith(b"\n")
        assert not host.heard[0].endswith(b"\r\n")
