"""Ten servers that people run, in one process of ours, as official SDKs, our bridge and mcp-remote reach them.

And the examples of configurations that others wrote for such a program, which start as they are.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from server_stub.config_file import read_roster
from tests.peers.install import Peers
from tests.peers.programs import PATHS, bridge, console_script, raw_host, run_host, running
from tests.peers.ten_servers import FORMS, PAGE, TOKEN, Real, ten_servers, write_config, write_remote_config
from tests.support.config_folder import CONFIGS, ENVIRON, FILES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("ten-servers")]

HOSTS = Path(__file__).with_name("hosts")
ROUND_LIMIT = 100.0
"""Seconds that one host may take to visit all ten."""
CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
SDKS = {
    "claude": (("python-1", "http"), ("typescript-1", "sse")),
    "proxy": (("python-2", "http"), ("typescript-2", "http")),
    "vscode": (("python-1", "ws"), ("typescript-1", "http")),
    "remote": (("python-2", "sse"), ("typescript-2", "sse")),
    "names": (("python-2", "http"), ("typescript-1", "ws")),
    "merged": (("python-1", "sse"), ("typescript-1", "ws"), ("python-2", "http"), ("typescript-2", "http")),
}
"""Which SDKs go where: each of them over every wire that it has (2.x has no WebSocket any more), but not everywhere,
which would take as long as all other tests together."""
BRIDGES = {"ours": ("http", "sse", "ws"), "mcp-remote": ("http", "sse")}
"""The wires of each bridge."""
FEW, SOME = 3, 5
EXAMPLES = {
    "seed001_development.json": {"memory": "memory", "sequential-thinking": "thinking", "filesystem": "filesystem"},
    "seed001_production.json": {"memory-mcp": "memory", "sequential-thinking": "thinking"},
    "seed001_full.json": {"memory": "memory", "sequential-thinking": "thinking"},
}
"""The examples with servers that are real, and which of the ten each is. The others are of machines that are not here,
or stand for something (`command-to-run`)."""
PATIENCE = 60.0
"""Seconds until a member that starts slowly has joined the merged list."""
_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")


class Stop(NamedTuple):
    """Where a host goes, over which wire, and the servers whose tools it calls there."""

    name: str
    url: str
    servers: Sequence[Real]
    wire: str
    prefix: str = ""

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(self.prefix.format(one.name) + one.tool, one.arguments) for one in self.servers]

    def prefixes(self) -> list[str]:
        """Return how names of tools must begin, at least one for each, before the list counts as whole."""
        return [self.prefix.format(one.name) for one in self.servers]

    def is_whole(self, tools: Sequence[dict[str, Any]]) -> bool:
        return all(any(tool["name"].startswith(begin) for tool in tools) for begin in self.prefixes())


@asynccontextmanager
async def hosted(file: Path, *options: str, cwd: Path | None = None) -> AsyncIterator[str]:
    """Run `mcp-remote-server --config` on a free port; yield `http://127.0.0.1:PORT`."""
    command = [console_script("mcp-remote-server"), "--config", str(file), "--host", "127.0.0.1", "--port", "0"]
    async with running([*command, *options], env={**ENVIRON, "TOKEN_OF_THE_FILE": TOKEN}, cwd=cwd) as child:
        match = await child.logged(_LISTENING)
        yield f"http://127.0.0.1:{match.group(1)}"


def named(url: str, wires: Sequence[str], servers: Sequence[Real]) -> list[Stop]:
    """Return each server by its host name below `.localhost`, over these wires in turn."""
    port = url.rpartition(":")[2]
    return [
        Stop(one.name, _endpoint(f"http://{one.name}.mcp.localhost:{port}", wire), [one], wire)
        for one, wire in zip(servers, itertools.cycle(wires), strict=False)
    ]


def pathed(url: str, wires: Sequence[str], servers: Sequence[Real]) -> list[Stop]:
    """Return each server by its path, over these wires in turn."""
    return [
        Stop(one.name, _endpoint(f"{url}/{one.name}", wire), [one], wire)
        for one, wire in zip(servers, itertools.cycle(wires), strict=False)
    ]


def merged(url: str, wires: Sequence[str], servers: Sequence[Real]) -> list[Stop]:
    """Return all of them in one, over each of these wires."""
    return [Stop(f"all-{wire}", _endpoint(url, wire), servers, wire, "{}__") for wire in wires]


def _endpoint(start: str, wire: str) -> str:
    return (start.replace("http", "ws", 1) if wire == "ws" else start) + PATHS[wire]


def _names_are_loopback() -> dict[str, str]:
    """Return the variables with which Python and Node take `*.localhost` for this machine, as not every libc does."""
    names = HOSTS / "names"
    return {"PYTHONPATH": str(names), "NODE_OPTIONS": f"--require {names / 'localhost.cjs'}"}


async def visit(sdk: str, stops: Sequence[Stop], row: Row, *, token: str = "") -> dict[str, Any]:
    """Let a host on this SDK visit all places at once; return its report."""
    kind, number = sdk.split("-")
    peers, folder = row.peers, row.folder
    plan, report = folder / f"{sdk}-plan.json", folder / f"{sdk}-report.json"
    document = [
        {
            "name": stop.name,
            "wire": stop.wire,
            "url": stop.url,
            "token": token,
            "calls": stop.calls(),
            "until": stop.prefixes(),
        }
        for stop in stops
    ]
    plan.write_text(json.dumps(document), encoding="utf-8")
    program = peers.python(f"py{number}") if kind == "python" else peers.node
    script = HOSTS / ("visit_python.py" if kind == "python" else "visit_typescript.mjs")
    environment = {"PEERS_DIR": str(peers.folder), "HOST_SDK": number, "PYTHONUTF8": "1", **_names_are_loopback()}
    await run_host([program, str(script), str(plan), str(report)], env=environment, limit=ROUND_LIMIT)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def check(report: dict[str, Any], direct: dict[str, Any], stops: Sequence[Stop], *, shared: bool = False) -> None:
    """See that every place offered what its servers offer directly, and that the right one answered each call.

    A child that is shared is told of all that any client may be able to do, so it may offer more.
    """
    assert set(report) == {stop.name for stop in stops}
    for stop in stops:
        seen = report[stop.name]
        tools = [stop.prefix.format(one.name) + tool for one in stop.servers for tool in direct[one.name]["tools"]]
        assert seen["tools"] == sorted({*tools, *seen["tools"]} if shared else tools)
        if not stop.prefix:
            assert seen["server"] == direct[stop.name]["server"]
        for one, said in zip(stop.servers, seen["said"], strict=True):
            assert one.says in said, one.name


async def speak(command: Sequence[str], stop: Stop, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Speak raw lines to a stdio program; return what a host's report has of one place."""
    environment = {**os.environ, **(variables or {})}
    async with raw_host(command, env=environment) as host:
        greeting = await host.ask(1, "initialize", CLIENT)
        await host.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        numbers = itertools.count(2)
        async with asyncio.timeout(PATIENCE):
            tools = (await host.ask(next(numbers), "tools/list"))["result"]["tools"]
            while not stop.is_whole(tools):
                await asyncio.sleep(0.2)
                tools = (await host.ask(next(numbers), "tools/list"))["result"]["tools"]
        said = []
        for tool, arguments in stop.calls():
            answer = await host.ask(next(numbers), "tools/call", {"name": tool, "arguments": arguments})
            said.append("".join(part.get("text", "") for part in answer["result"]["content"]))
    names = sorted(tool["name"] for tool in tools)
    return {"server": greeting["result"]["serverInfo"]["name"], "tools": names, "said": said}


class Row(NamedTuple):
    """What every test here needs."""

    peers: Peers
    folder: Path
    servers: list[Real]
    direct: dict[str, Any]
    """What is seen of each over stdio, with nothing of ours between."""

    def file(self, form: str, **more: Any) -> Path:
        file = self.folder / f"{form}.json"
        write_config(form, self.servers, file, **more)
        return file


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/page" else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/page"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def row(peers: Peers, tmp_path_factory: pytest.TempPathFactory, page: str) -> Row:
    folder = tmp_path_factory.mktemp("ten")
    servers = ten_servers(peers, folder, page)

    few = asyncio.Semaphore(FEW)  # it is not the question here how a machine bears them all at once

    async def look_at(one: Real) -> dict[str, Any]:
        async with few:
            return await speak(one.command, Stop(one.name, "", [one], "stdio"), one.env)

    async def look() -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            jobs = [group.create_task(look_at(one)) for one in servers]
        return {one.name: job.result() for one, job in zip(servers, jobs, strict=True)}

    direct = asyncio.run(look())
    for one in servers:
        assert one.says in direct[one.name]["said"][0], direct[one.name]
    return Row(peers, folder, servers, direct)


async def visited(
    kind: str, stops: Callable[[str], list[Stop]], row: Row, *, token: str = "", shared: bool = False
) -> None:
    """Let every SDK of this row of `SDKS` visit the places of its wire, and see what it found."""
    for sdk, wire in SDKS[kind]:
        there = stops(wire)
        check(await visit(sdk, there, row, token=token), row.direct, there, shared=shared)


async def bridged(row: Row, stops: Sequence[Stop], program: str) -> None:
    """Start one bridge (ours, or mcp-remote) for each place, some at once, and see what comes through them."""
    report: dict[str, Any] = {}
    some = asyncio.Semaphore(SOME)

    async def one_bridge(stop: Stop) -> None:
        home = row.folder / program / stop.name
        home.mkdir(parents=True, exist_ok=True)
        variables = {"HOME": str(home), "MCP_REMOTE_CONFIG_DIR": str(home / "auth"), **_names_are_loopback()}
        theirs = [row.peers.node, row.peers.mcp_remote, stop.url, "--transport", f"{stop.wire}-only"]
        command = bridge(stop.url, stop.wire) if program == "ours" else theirs
        command.append("--allow-http")
        async with some:
            report[stop.name] = await speak(command, stop, variables)

    async with asyncio.TaskGroup() as group:
        for stop in stops:
            group.create_task(one_bridge(stop))
    check(report, row.direct, stops)


@pytest.mark.parametrize("form", FORMS)
async def test_sdks_reach_all_ten_by_path_whatever_the_form_of_the_file(form: str, row: Row) -> None:
    token = TOKEN if form == "proxy" else ""
    async with hosted(row.file(form)) as url:
        await visited(form, lambda wire: pathed(url, [wire], row.servers), row, token=token)


async def test_sdks_reach_all_ten_where_they_are_remote_themselves(row: Row) -> None:
    far = row.folder / "remote.json"
    async with hosted(row.file("proxy")) as there:
        write_remote_config(there, row.servers, far)
        async with hosted(far) as url:
            await visited("remote", lambda wire: pathed(url, [wire], row.servers), row)


async def test_sdks_reach_all_ten_by_host_name(row: Row) -> None:
    async with hosted(row.file("claude"), "--domain", "localhost") as url:
        await visited("names", lambda wire: named(url, [wire], row.servers), row)


async def test_sdks_see_all_ten_as_one_and_share_their_children(row: Row) -> None:
    async with hosted(row.file("vscode", share="shared"), "--aggregate") as url:
        await visited("merged", lambda wire: merged(url, [wire], row.servers), row, shared=True)


@pytest.mark.parametrize("program", list(BRIDGES))
async def test_bridges_reach_all_ten_by_path_some_by_host_name_and_all_as_one(program: str, row: Row) -> None:
    wires = BRIDGES[program]
    async with hosted(row.file("claude"), "--domain", "localhost", "--aggregate") as url:
        await bridged(row, pathed(url, wires, row.servers), program)
        await bridged(row, [*named(url, wires, row.servers[:FEW]), *merged(url, wires[-1:], row.servers)], program)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("seed")])
async def test_the_examples_of_the_seeds_start(name: str, row: Row) -> None:
    # In this folder `npx -y` finds what is installed already, and asks no registry.
    async with hosted(CONFIGS / name, cwd=row.peers.folder) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/health")).json()["status"] == "healthy"
        listed = [one["name"] for one in (await client.get("/listmcp")).json()["servers"]]
        assert listed == _names_in(CONFIGS / name)
        async with asyncio.TaskGroup() as group:
            for member, like in EXAMPLES.get(name, {}).items():
                group.create_task(_offers(f"{url}/{member}/mcp", row.direct[like]["tools"]))
        if "simple-echo" in listed:  # it is `cat`, which is no MCP server, but has a stream
            async with client.stream("GET", "/simple-echo/sse") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: endpoint"
                assert (await anext(lines)).startswith("data: /simple-echo/messages?")


def _names_in(file: Path) -> list[str]:
    return [member.name for member in read_roster(str(file), ENVIRON).members]


async def _offers(url: str, tools: list[str]) -> None:
    seen = await speak([*bridge(url, "http"), "--allow-http"], Stop("example", url, [], "http"))
    assert seen["tools"] == tools
