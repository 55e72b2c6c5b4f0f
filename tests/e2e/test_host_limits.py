"""Outliving the host's own limit with the real bridge, on all three wires: heartbeats, handles, shortened results."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys

import pytest

from tests.support.host import clean_environment, launch, script
from tests.support.raw_wires import WIRES, Doc, RawWires


def says(text: str) -> str:
    return '{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":$T}]}}'.replace("$T", json.dumps(text))


def call(doc: Doc) -> list[str]:
    return [says("x" * 5000 if doc["params"]["name"] == "large" else "done")]


def a_server() -> RawWires:
    tools = '{"jsonrpc":"2.0","id":$ID,"result":{"tools":[{"name":"wait","n":1.0}]}}'
    server = RawWires(tools_list=lambda _: [tools], tools_call=call)
    server.gates["wait"] = asyncio.Event()
    return server


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_with_a_token_is_kept_alive_until_its_answer(wire: str) -> None:
    server = a_server()
    flags = ("--transport", wire, "--heartbeat-interval", "50ms")
    async with server.run(), launch(server.url(wire), *flags) as host:
        await host.greet()
        waiting = host.ask("tools/call", {"name": "wait", "_meta": {"progressToken": "t"}})
        beats = [await asyncio.wait_for(host.asked.get(), 15) for _ in range(3)]
        assert {beat["method"] for beat in beats} == {"notifications/progress"}
        assert {beat["params"]["progressToken"] for beat in beats} == {"t"}
        values = [beat["params"]["progress"] for beat in beats]
        assert values == sorted(set(values))
        server.gates["wait"].set()
        assert "result" in await waiting
        assert await host.end() == 0
    assert json.loads(host.heard[-1])["id"] is not None  # nothing about the call comes after its answer


@pytest.mark.parametrize("wire", WIRES)
async def test_a_call_that_takes_too_long_for_the_host_is_collected_later(wire: str) -> None:
    server = a_server()
    flags = ("--transport", wire, "--host-timeout", "300ms")
    async with server.run(), launch(server.url(wire), *flags) as host:
        await host.greet()
        tools = (await host.request("tools/list"))["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["wait", "collect_result"]
        assert b'{"name":"wait","n":1.0}' in host.heard[-1]
        early = await host.request("tools/call", {"name": "wait"})
        assert '{"handle": "result-1"}' in early["result"]["content"][0]["text"]
        collect = {"name": "collect_result", "arguments": {"handle": "result-1"}}
        still = await host.request("tools/call", collect)
        assert "still running" in still["result"]["content"][0]["text"]
        server.gates["wait"].set()
        for _ in range(2):
            late = await host.request("tools/call", collect)
            assert late["result"]["content"] == [{"type": "text", "text": "done"}]
        assert await host.end() == 0
    assert len(server.of("tools/call")) == 1
    assert server.of("notifications/cancelled") == []


@pytest.mark.parametrize("wire", WIRES)
async def test_a_result_that_is_too_large_for_the_host_is_shortened(wire: str) -> None:
    server = a_server()
    flags = ("--transport", wire, "--max-result-size", "1KiB")
    async with server.run(), launch(server.url(wire), *flags) as host:
        await host.greet()
        answer = await host.request("tools/call", {"name": "large"})
        assert "of 5000 characters are shown (--max-result-size)" in answer["result"]["content"][0]["text"]
        assert len(host.heard[-1].rstrip()) <= 1024
        assert (await host.request("tools/call", {"name": "small"}))["result"]["content"][0]["text"] == "done"
        await host.request("tools/list", identifier=9)
        assert host.heard[-1] == b'{"jsonrpc":"2.0","id":9,"result":{"tools":[{"name":"wait","n":1.0}]}}\n'


@pytest.mark.skipif(sys.platform == "win32", reason="the bridge is started with a pipe that nobody reads")
async def test_a_host_that_does_not_read_gets_no_pile_of_heartbeats() -> None:
    server = a_server()
    server.replies["tools/call"] = lambda _: [says("x" * 6_000_000)]
    unread, stdout = os.pipe()
    async with server.run():
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-py"),
            *(server.url("ws-only"), "--heartbeat-interval", "1ms", "--log-level", "error"),
            stdin=asyncio.subprocess.PIPE,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=clean_environment(),
        )
        os.close(stdout)
        assert process.stdin is not None
        assert process.stderr is not None

        def send(identifier: int, method: str, **params: object) -> None:
            doc = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
            process.stdin.write(json.dumps(doc).encode() + b"\n")  # type: ignore[union-attr]

        async def messages_to_the_host() -> int:
            process.send_signal(signal.SIGUSR1)
            while True:
                found = re.search(rb"to the host: (\d+)", await process.stderr.readline())  # type: ignore[union-attr]
                if found:
                    return int(found.group(1))

        send(0, "initialize", protocolVersion="2025-06-18")
        await server.until("initialize")
        send(1, "tools/call", name="wait", _meta={"progressToken": "t"})
        send(2, "tools/call", name="large")
        await server.until("tools/call", 2)
        async with asyncio.timeout(20):
            before = -1
            while (now := await messages_to_the_host()) != before:  # until the large answer fills the queue
                before = now
                await asyncio.sleep(0.2)
        process.kill()
        await process.wait()
    os.close(unread)
