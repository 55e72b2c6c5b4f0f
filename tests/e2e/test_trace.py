"""`--trace`, `replay` and SIGUSR1 of the real programs: a bug report that can be played back, and a look inside."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.host import Host, clean_environment, launch
from tests.support.raw_wires import WIRES, Doc, RawWires

SECRET = "a-t0ken-of-the-test"
TOOLS = '{"jsonrpc":"2.0","id":$ID,"result":{"tools":[{"name":"echo","n":1.50}]}}'


def call(doc: Doc) -> list[str]:
    token = json.dumps(doc["params"].get("_meta", {}).get("progressToken"))
    text = json.dumps([SECRET, doc["params"]])
    progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$T,"progress":1}}'
    answer = '{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":$T}]}}'
    return [progress.replace("$T", token), answer.replace("$T", json.dumps(text))]


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def session(host: Host) -> None:
    await host.greet()
    await host.request("tools/list")
    for text in ("one", "two"):
        params = {"name": "echo", "arguments": {"text": text}, "_meta": {"progressToken": f"p-{text}"}}
        await host.request("tools/call", params)


def answers_of(host: Host) -> list[Any]:
    return [{**json.loads(line), "id": None} for line in host.heard]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_session_is_traced_and_its_far_end_is_played_back(wire: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "trace.jsonl"
    flags = ("--transport", wire, "--trace", str(path), "--header", f"X-Key: {SECRET}")
    async with (
        RawWires(tools_list=lambda _: [TOOLS], tools_call=call).run() as server,
        launch(server.url(wire), *flags) as live,
    ):
        await session(live)
        assert await live.end() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET not in path.read_text()
    entries = lines_of(path)
    assert "start" in entries[0]
    assert {entry["wire"] for entry in entries[1:]} == {wire.removesuffix("-only")}
    directions = [entry["direction"] for entry in entries[1:]]
    assert directions.count("host to server") == 5
    assert directions.count("server to host") == 6
    assert set(directions) == {"host to server", "server to host"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"]) for entry in entries)
    assert '"n":1.50' in path.read_text()

    async with launch("replay", str(path)) as replayed:
        await session(replayed)
        assert await replayed.end() == 0
    masked = json.dumps(answers_of(live)).replace(SECRET, "[secret]")
    assert answers_of(replayed) == json.loads(masked)
    assert b'"n":1.50' in b"".join(replayed.heard)


async def test_what_the_trace_does_not_have_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    async with (
        RawWires(tools_list=lambda _: [TOOLS], tools_call=call).run() as server,
        launch(server.url("http-only"), "--trace", str(path)) as host,
    ):
        await session(host)
        await host.end()
    async with launch("replay", str(path)) as host:
        assert "result" in await host.greet("2024-11-05")
        assert (await host.request("ping"))["result"] == {}
        for method, params in (("tools/call", {"name": "other"}), ("prompts/list", {})):
            error = (await host.request(method, params))["error"]
            assert f"the trace has no {method}" in error["message"]
            assert error["data"]["source"] == "mcp-remote-py replay"
        for _ in range(2):  # asked more often than then: the last answer again
            assert "result" in await host.request("tools/list")
        host.write(b"no json\n")
        assert (await host.line())["error"]["code"] == -32700


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no trace with messages of a host"),
        ("hello\n{}\n", "is no trace with messages of a host"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
async def test_a_file_that_is_no_trace_ends_the_replay_with_the_reason(
    text: str | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.jsonl"
    if text is not None:
        path.write_text(text)
    async with launch("replay", str(path)) as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 2
    assert says in host.log.decode()
    assert "Traceback" not in host.log.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="the words of POSIX errors")
async def test_a_trace_that_cannot_be_written_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    async with launch("https://example.com/mcp", "--trace", str(tmp_path)) as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 2
    assert f"--trace: '{tmp_path}' cannot be written (Is a directory)" in host.log.decode()


async def test_several_sessions_in_one_file_stay_apart_and_the_last_one_is_played(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for number in (1, 2):
        tools = f'{{"jsonrpc":"2.0","id":$ID,"result":{{"tools":[],"run":{number}}}}}'
        server = RawWires(tools_list=functools.partial(lambda tools, _: [tools], tools))
        async with server.run(), launch(server.url("http-only"), "--trace", str(path)) as host:
            await host.greet()
            await host.request("tools/list")
            await host.end()
    first, second = dict.fromkeys(entry["session"] for entry in lines_of(path))
    for arguments, run in ((["--session", first], 1), (["--session", second], 2), ([], 2)):
        async with launch("replay", str(path), *arguments) as host:
            assert (await host.request("tools/list"))["result"]["run"] == run
    async with launch("replay", str(path), "--session", "other") as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 2
    assert first in host.log.decode()


async def test_what_the_bridge_made_or_changed_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    async with RawWires(tools_list=lambda _: [TOOLS]).run() as server:
        flags = ("--trace", str(path), "--ignore-tool", "echo", "--normalize-names", "snake")
        async with launch(server.url("http-only"), *flags) as host:
            await host.greet()
            await host.request("tools/list")
            await host.request("tools/call", {"name": "echo"})
            await host.end()
    said = [(entry["direction"], entry["message"]) for entry in lines_of(path)[1:]]
    assert [message["result"]["tools"] for where, message in said if "tools" in message.get("result", {})] == [
        [{"name": "echo", "n": 1.5}],
        [],
    ]
    assert [where for where, message in said if "tools" in message.get("result", {})] == [
        "server to bridge",
        "bridge to host",
    ]
    assert [where for where, message in said if "error" in message] == ["bridge to host"]
    async with launch("replay", str(path)) as host:
        await host.greet()
        assert (await host.request("tools/list"))["result"]["tools"] == []
        assert "--ignore-tool" in (await host.request("tools/call", {"name": "echo"}))["error"]["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
async def test_a_full_disk_does_not_end_the_session() -> None:
    async with (
        RawWires(tools_list=lambda _: [TOOLS]).run() as server,
        launch(server.url("http-only"), "--trace", "/dev/full") as host,
    ):
        await host.greet()
        assert "result" in await host.request("tools/list")
        assert await host.end() == 0
    assert host.log.count(b"the trace cannot be written (No space left on device)") == 1


# --- SIGUSR1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGUSR1")
@pytest.mark.parametrize("wire", WIRES)
async def test_a_signal_writes_what_is_going_on_and_changes_nothing(wire: str) -> None:
    server = RawWires(tools_list=lambda _: [TOOLS], tools_call=call)
    server.gates["wait"] = asyncio.Event()
    environment = clean_environment(MCP_AUTH_TOKEN=SECRET)
    async with server.run(), launch(server.url(wire), "--transport", wire, "--silent", env=environment) as host:
        await host.greet()
        waiting = host.ask("tools/call", {"name": "wait", "arguments": {"text": "text-in-a-call"}}, "my-id")
        await server.until("tools/call")
        for count in (1, 2):
            host.process.send_signal(signal.SIGUSR1)
            async with asyncio.timeout(15):
                while host.log.count(b"running for") < count:  # noqa: ASYNC110  what a process writes sets no event
                    await asyncio.sleep(0.01)
        server.gates["wait"].set()
        assert "result" in await waiting
        assert await host.end() == 0
    log = host.log.decode()
    assert "session: 2025-06-18" in log
    assert "requests in flight: 1" in log
    assert re.search(r'"my-id" tools/call, \d+\.\d s, sent', log)
    assert re.search(r"messages from the host: 3 \(\d+ bytes\)", log)
    assert "text-in-a-call" not in log
    assert SECRET not in log


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGUSR1")
async def test_the_signal_is_harmless_before_anything_was_said() -> None:
    async with launch("http://127.0.0.1:1/mcp") as host:
        host.write(b"no json\n")
        await host.line()
        host.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(15):
            while b"running for" not in host.log:  # noqa: ASYNC110  what a process writes sets no event
                await asyncio.sleep(0.01)
        assert await host.end() == 0
    assert "session: none yet" in host.log.decode()
    assert "connections dialled: 0" in host.log.decode()


# --- More than one thing at once -------------------------------------------------------------------------------------


async def test_two_bridges_on_one_file_do_not_mix_their_sessions(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    server = RawWires(tools_list=lambda _: [TOOLS], tools_call=call)
    arguments = ("--trace", str(path))
    async with (
        server.run(),
        launch(server.url("http-only"), *arguments) as one,
        launch(server.url("ws-only"), *arguments) as two,
    ):
        await asyncio.gather(session(one), session(two))
        assert list(await asyncio.gather(one.end(), two.end())) == [0, 0]
    sessions = list(dict.fromkeys(entry["session"] for entry in lines_of(path)))
    assert len(sessions) == 2
    for name in sessions:
        async with launch("replay", str(path), "--session", name) as host:
            await session(host)
            assert len(host.heard) == 6


async def test_lines_that_are_no_messages_and_large_answers_are_in_the_trace_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    large = '{"jsonrpc":"2.0","id":$ID,"result":{"x":"%s"}}'.replace("%s", "x" * 1_200_000)
    server = RawWires(tools_call=lambda _: [large])
    async with server.run(), launch(server.url("http-only"), "--trace", str(path)) as host:
        await host.greet()
        host.write(b'{"no": "message"}\n')
        assert (await host.line())["error"]["code"] == -32600
        assert len((await host.request("tools/call", {"name": "x"}))["result"]["x"]) == 1_200_000
        assert await host.end() == 0
    assert path.stat().st_size < 100_000
    entries = lines_of(path)
    assert any(entry.get("message") == {"no": "message"} for entry in entries)
    assert any(entry.get("size", 0) > 1_200_000 for entry in entries)
    async with launch("replay", str(path)) as host:
        error = (await host.request("tools/call", {"name": "x"}))["error"]
        assert "too large to be kept" in error["message"]
    assert b"1 lines of the file are no lines of a trace" in host.log


async def test_a_trace_that_is_rotated_can_still_be_played(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(("x" * 1023 + "\n") * (10 * 1024 - 1))
    server = RawWires(tools_list=lambda _: [TOOLS], tools_call=call)
    async with server.run(), launch(server.url("http-only"), "--trace", str(path)) as host:
        await session(host)
        assert await host.end() == 0
    older = tmp_path / "trace.jsonl.1"
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, older)} == {0o600}
    assert '"start"' in older.read_text() or '"start"' in path.read_text()
    older.write_text(older.read_text() + path.read_text())  # as if it had been rotated in the middle
    path.write_text("")
    async with launch("replay", str(path)) as host:
        await session(host)
        assert await host.end() == 0
    assert b"10239 lines of the file are no lines of a trace" in host.log


@pytest.mark.parametrize(("arguments", "says"), [([], "required: FILE"), (["a", "b"], "unrecognized arguments: b")])
async def test_a_replay_without_a_file_says_how_it_is_written(arguments: list[str], says: str) -> None:
    async with launch("replay", *arguments) as host:
        assert await asyncio.wait_for(host.process.wait(), 20) == 2
    assert says in host.log.decode()
    assert "mcp-remote-py replay FILE" in host.log.decode()
