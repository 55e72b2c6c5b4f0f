"""`mcp-remote-server --config FILE`: a file of servers, each an endpoint of its own, as a real process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from tests.server_stub.links import initialize
from tests.support.host import clean_environment, launch, script
from tests.support.hosted import HostedServer, hosted, message_in, named

CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
LIST = {"jsonrpc": "2.0", "id": 8, "method": "tools/list"}


@pytest.fixture
def free_ports() -> int:
    """The first of three ports in a row that nobody has at the moment."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                for following in (port + 1, port + 2):
                    socket.create_server(("127.0.0.1", following)).close()
            except (OSError, OverflowError):
                continue
            return port


def two(**more: Any) -> dict[str, Any]:
    return {"mcpServers": {"a": named("a", "whoami", "environment"), "b": named("b"), **more}}


async def who(server: HostedServer, path: str, **headers: str) -> Any:
    client = server.client(path, **headers)
    await client.start()
    answer = await server.call(client, "whoami")
    await client.delete()
    return answer["name"]


# --- routes ----------------------------------------------------------------------------------------------------------


async def test_each_server_is_an_endpoint_by_path_host_and_port(tmp_path: Path, free_ports: int) -> None:
    flags = ("--domain", "example.com", "--port-per-server", str(free_ports))
    async with hosted(two(), tmp_path, *flags) as server:
        for name in ("a", "b"):
            for path in (f"/{name}/mcp", f"/servers/{name}/mcp", f"/{name}/", f"/{name}"):
                assert await who(server, path) == name
            assert await who(server, "/mcp", Host=f"{name}.mcp.example.com") == name
        await server.until_logged(f"servers.json: a (port {free_ports}), b (port {free_ports + 1})")
        for offset, name in enumerate(("a", "b")):
            own = HostedServer(server.process, f"http://127.0.0.1:{free_ports + offset}", server.file, server.http)
            assert await who(own, "/mcp") == name


async def test_the_three_wires_work_by_path_and_by_host_name(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path, "--domain", "example.com") as server:
        for path, host in (("/b", None), ("", "b.mcp.example.com"), ("/servers/b", None)):
            headers = {"Host": host} if host else {}
            port = int(server.url.rpartition(":")[2])
            url = f"ws://{host or '127.0.0.1'}:{port}{path}/ws"
            async with connect(url, proxy=None, host="127.0.0.1", port=port) as talk:
                await talk.send(json.dumps(initialize()))
                assert json.loads(await talk.recv())["result"]["serverInfo"]["name"] == "b"
            async with server.http.stream("GET", server.url + path + "/sse", headers=headers) as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: endpoint"
                where = (await anext(lines)).removeprefix("data: ")
                assert where.startswith(f"{path}/messages?")
                posted = await server.http.post(server.url + where, json=initialize(), headers=headers)
                assert posted.status_code == 202
                async for line in lines:
                    if line.startswith("data: "):
                        assert json.loads(line[6:])["result"]["serverInfo"]["name"] == "b"
                        break


async def test_our_bridge_reaches_every_server(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path) as server:
        for name in ("a", "b"):
            async with launch(f"{server.url}/{name}/mcp") as host:
                answer = await host.greet()
                assert answer["result"]["serverInfo"]["name"] == name
                assert (await host.request("tools/call", CALL["params"]))["result"]["content"]


async def test_an_unknown_name_is_404_and_names_the_servers_to_those_who_may_use_them(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path, "--auth-token-env", "T", env={"T": "opensesame"}) as server:
        stranger = await server.get("/nobody/mcp")
        assert stranger.status_code == 404
        assert "servers" not in stranger.json()
        known = await server.get("/nobody/mcp", Authorization="Bearer opensesame")
        assert (known.status_code, known.json()["servers"]) == (404, ["a", "b"])
        assert "/NAME/mcp" in known.json()["hint"]
        assert (await server.client("/a/mcp").post(initialize())).status_code == 401
        assert await who(server, "/a/mcp", Authorization="Bearer opensesame") == "a"
        assert (await server.client("/a/mcp").get()).status_code == 401
        assert (await server.http.put(f"{server.url}/a/mcp")).status_code == 405
        assert (await server.get("/")).json()["status"] == "healthy"  # a monitor looks there
        assert (await server.client("/").post(initialize())).status_code == 404


async def test_a_member_that_does_not_run_says_which_and_why(tmp_path: Path) -> None:
    more = {
        "off": named("off", disabled=True),
        "missing": {"command": "no-such-program-anywhere"},
        "wrong": {"command": 7},
        "dying": named("dying") | {"command": "false"},
    }
    async with hosted(two(**more), tmp_path) as server:
        for name, word in (("off", "disabled"), ("wrong", "command")):
            answer = await server.client(f"/{name}/mcp").post(initialize())
            assert answer.status_code == 503
            assert name in answer.text
            assert word in answer.text
            assert "mcp-remote-server check" in answer.json()["error"]["data"]["hint"]
        for name in ("missing", "dying"):
            document = message_in(await server.client(f"/{name}/mcp").post(initialize()))
            assert document["id"] == initialize()["id"]
            assert name in document["error"]["message"]
        assert await who(server, "/a/mcp") == "a"
        await server.until_logged("servers.json: a, b, off (disabled), missing, wrong (cannot be started), dying")
        await server.until_logged("missing: there is no program 'no-such-program-anywhere' here")


@pytest.mark.parametrize(("entry", "word"), [(named("x", disabled=True), "disabled"), ({"command": 7}, "command")])
async def test_why_a_member_does_not_run_is_told_by_event_stream_and_websocket(
    entry: dict[str, Any], word: str, tmp_path: Path
) -> None:
    async with hosted(two(member=entry), tmp_path) as server:
        async with connect(f"{server.url.replace('http', 'ws')}/member/ws", proxy=None) as talk:
            await talk.send(json.dumps(initialize()))
            told = [await talk.recv()]
        async with server.http.stream("GET", f"{server.url}/member/sse") as stream:
            found = [line.removeprefix("data: ") async for line in _data_until_answered(server, stream)]
            told.append(found[-1])
        for text in told:
            document = json.loads(text)
            assert document["id"] == initialize()["id"]
            assert {"member", word} <= set(re.findall(r"\w+", document["error"]["message"]))


async def _data_until_answered(server: HostedServer, stream: httpx.Response) -> AsyncIterator[str]:
    """Yield the data of an event stream to its end; the first is where to ask, and `initialize` is asked there."""
    async for line in stream.aiter_lines():
        if line.startswith("data: /"):
            await server.http.post(server.url + line.removeprefix("data: "), json=initialize())
        elif line.startswith("data: "):
            yield line


async def test_tokens_of_a_member_are_its_own(tmp_path: Path) -> None:
    document = {
        "mcpProxy": {"name": "x", "options": {"authTokens": ["head-token-1"]}},
        "mcpServers": {"a": named("a"), "b": named("b", options={"authTokens": ["${B_TOKEN}"]})},
    }
    async with hosted(document, tmp_path, "--aggregate", env={"B_TOKEN": "member-token-2"}) as server:
        head, own = {"Authorization": "Bearer head-token-1"}, {"Authorization": "Bearer member-token-2"}
        assert await who(server, "/a/mcp", **head) == "a"
        assert await who(server, "/b/mcp", **own) == "b"
        assert (await server.client("/a/mcp", **own).post(initialize())).status_code == 401
        assert (await server.client("/b/mcp", **head).post(initialize())).status_code == 401
        merged = server.client("/mcp", **head)
        await merged.start()
        tools = message_in(await merged.post(LIST))["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["a__whoami"]
        assert "member-token-2" not in "\n".join(server.log)


# --- merged ----------------------------------------------------------------------------------------------------------


async def test_the_merged_server_has_the_tools_of_all_and_calls_the_right_one(tmp_path: Path) -> None:
    more = {
        "broken": {"command": "no-such-program-anywhere"},
        "wrong": {"command": 7},
        "off": named("off", disabled=True),
    }
    async with hosted(two(**more), tmp_path, "--aggregate") as server:
        await server.until_logged("(/mcp /sse /ws /{name}/mcp ")
        client = server.client("/mcp")
        greeting = message_in(await client.start())["result"]
        assert greeting["instructions"] == "Not available at the moment: broken, wrong."
        found = message_in(await client.post(LIST))["result"]
        assert {tool["name"] for tool in found["tools"]} == {"a__whoami", "a__environment", "b__whoami"}
        assert {*found["_meta"]["mcp-remote-server/leftOut"]} == {"broken", "wrong"}
        for name in ("a", "b"):
            assert (await server.call(client, f"{name}__whoami"))["name"] == name
        async with launch(f"{server.url}/mcp") as host:
            await host.greet()
            assert len((await host.request("tools/list"))["result"]["tools"]) == 3


async def test_filters_and_names_hold_by_path_and_in_the_merged_server(tmp_path: Path) -> None:
    entry = named("c", "API-get-user", "API-delete-user", normalizeNames="snake")
    entry["options"] = {"toolFilter": {"mode": "block", "list": ["API-delete-*"]}}
    document = {"mcpServers": {"c": entry, "d": named("d", "A-x"), "e": named("e", "A-x", normalizeNames="off")}}
    async with hosted(document, tmp_path, "--aggregate", "--normalize-names", "snake") as server:
        for path, expected in (("/d/mcp", "a_x"), ("/e/mcp", "A-x")):
            client = server.client(path)
            await client.start()
            assert (await server.call(client, expected))["tool"] == "A-x"
        server.rewrite({"mcpServers": {"c": entry}})
        await server.until_logged("2 stopped")
        for path, expected in (("/c/mcp", "api_get_user"), ("/mcp", "c__api_get_user")):
            client = server.client(path)
            await client.start()
            tools = message_in(await client.post(LIST))["result"]["tools"]
            assert [tool["name"] for tool in tools] == [expected]
            assert (await server.call(client, expected))["tool"] == "API-get-user"
            refused = await server.call(client, expected.replace("get", "delete"))
            assert "error" in refused


# --- the environment of children -------------------------------------------------------------------------------------


async def test_a_child_gets_the_default_set_its_own_and_nothing_of_ours(tmp_path: Path) -> None:
    document = {"mcpServers": {"a": named("a", "environment", env={"MINE": "${GIVEN:-x}-y", "HOME": "/nowhere"})}}
    env = {"GIVEN": "g", "T": "opensesame", "UNRELATED": "1", "MCP_AUTH_TOKEN": "secret-of-ours"}
    async with hosted(document, tmp_path, "--admin-token-env", "T", env=env) as server:
        client = server.client("/a/mcp")
        await client.start()
        found = await server.call(client, "environment")
        assert (found["MINE"], found["HOME"]) == ("g-y", "/nowhere")
        assert not {"GIVEN", "T", "UNRELATED", "MCP_AUTH_TOKEN", "CONFIG_PATH"} & set(found)


async def test_whoever_gets_all_variables_gets_no_token_of_ours_and_tells_no_secret(tmp_path: Path) -> None:
    tokens = {"options": {"authTokens": ["${OURS}"]}}
    line = "echo cannot sign in with --password hidden-word >&2; exit 3"
    members = {"a": named("a", "environment", passEnvironment=True), "b": {"shell": line}}
    env = {"OURS": "opensesame", "UNRELATED": "1", "MCP_AUTH_TOKEN": "secret-of-ours"}
    async with hosted({"mcpProxy": tokens, "mcpServers": members}, tmp_path, env=env) as server:
        client = server.client("/a/mcp", Authorization="Bearer opensesame")
        await client.start()
        found = await server.call(client, "environment")
        assert found["UNRELATED"] == "1"
        assert not {"OURS", "MCP_AUTH_TOKEN"} & set(found)
        failed = await server.client("/b/mcp", Authorization="Bearer opensesame").post(initialize())
        assert "cannot sign in" in failed.text
        assert "hidden-word" not in failed.text


async def test_all_children_may_get_our_variables_but_never_our_tokens(tmp_path: Path) -> None:
    entries = {"a": named("a", "environment"), "b": named("b", "environment", passEnvironment=False)}
    document = {"mcpProxy": {"options": {"authTokens": ["${OURS}"]}}, "mcpServers": entries}
    env = {"OURS": "opensesame", "UNRELATED": "1"}
    async with hosted(document, tmp_path, "--pass-environment", env=env) as server:
        for name, expected in (("a", {"UNRELATED"}), ("b", set())):
            client = server.client(f"/{name}/mcp", Authorization="Bearer opensesame")
            await client.start()
            assert set(env) & set(await server.call(client, "environment")) == expected


# --- hot reload ------------------------------------------------------------------------------------------------------


async def test_a_change_of_the_file_reaches_only_what_changed(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path) as server:
        stays = server.client("/a/mcp")
        await stays.start()
        pid = (await server.call(stays, "whoami"))["pid"]
        server.rewrite({"mcpServers": {"a": two()["mcpServers"]["a"], "b": named("b", "other"), "c": named("c")}})
        assert "(c, b)" in await server.until_logged("the configuration was read again")
        assert await who(server, "/c/mcp") == "c"
        changed = server.client("/b/mcp")
        await changed.start()
        assert (await server.call(changed, "other"))["name"] == "b"
        assert (await server.call(stays, "whoami"))["pid"] == pid
        server.rewrite({"mcpServers": {"a": two()["mcpServers"]["a"]}})
        await server.until_logged("0 started, 2 stopped")
        assert (await server.get("/c/mcp")).status_code == 404
        assert (await server.call(stays, "whoami"))["pid"] == pid


@pytest.mark.parametrize(("path", "tool"), [("/a/mcp", "ask"), ("/mcp", "a__ask")])
async def test_a_call_that_asks_its_client_may_end_while_its_server_is_replaced(
    tmp_path: Path, path: str, tool: str
) -> None:
    async with hosted(two(a=named("a", "ask")), tmp_path, "--aggregate") as server:
        client = server.client(path)
        await client.start()
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": tool}}
        async with client.posting(call) as events:
            question = await events.message()
            server.rewrite(two(a=named("a", "ask", "other")))
            await server.until_logged("1 replaced")
            ends = (await client.post({"jsonrpc": "2.0", "id": 6, "method": "ping"})).status_code == 404
            assert ends is (path == "/a/mcp")  # its client is to begin a new session
            answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"role": "assistant"}}
            stranger = server.client(path)
            assert (await stranger.post(answer)).status_code == 400
            assert (await client.post(answer)).status_code == 202
            ended = (await events.rest())[-1]
            assert "assistant" in str(ended.get("result")), ended
        await who(server, "/b/mcp")


async def test_a_file_that_cannot_be_read_changes_nothing_and_is_told_of(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path) as server:
        before = (await server.get("/readyz")).json()
        assert (before["status"], before["warnings"]) == ("ready", [])
        server.rewrite('{"mcpServers": {"a": ')
        await server.until_logged("cannot be used")
        ready = await server.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["config"] == before["config"]
        assert "servers.json" in ready.json()["warnings"][0]
        assert str(tmp_path) not in ready.text
        assert await who(server, "/a/mcp") == "a"
        server.rewrite(two())
        await server.until_logged("can be used again")
        assert (await server.get("/readyz")).json()["warnings"] == []


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
async def test_sighup_reads_the_file_again_and_the_server_goes_on(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path) as server:
        server.process.send_signal(signal.SIGHUP)
        await server.until_logged("0 started, 0 stopped, 0 replaced, 2 as before")
        assert await who(server, "/a/mcp") == "a"


async def test_tokens_of_the_head_change_without_a_restart(tmp_path: Path) -> None:
    def document(token: str) -> dict[str, Any]:
        return {"mcpProxy": {"options": {"authTokens": [token]}}, **two()}

    async with hosted(document("token-one"), tmp_path) as server:
        assert await who(server, "/a/mcp", Authorization="Bearer token-one") == "a"
        server.rewrite(document("token-two"))
        await server.until_logged("2 as before")
        assert await who(server, "/a/mcp", Authorization="Bearer token-two") == "a"
        old = server.client("/a/mcp", Authorization="Bearer token-one")
        assert (await old.post(initialize())).status_code == 401


async def test_tokens_of_a_member_change_without_a_restart_and_sessions_of_those_taken_away_end(tmp_path: Path) -> None:
    def document(*tokens: str, **more: Any) -> dict[str, Any]:
        return two(a=named("a", "whoami", "sleep", options={"authTokens": tokens}, **more))

    async with hosted(document("one", "two"), tmp_path) as server:
        ann, bob = (server.client("/a/mcp", Authorization=f"Bearer {token}") for token in ("one", "two"))
        await ann.start()
        await bob.start()
        pid = (await server.call(ann, "whoami"))["pid"]
        async with bob.getting() as stream, asyncio.TaskGroup() as group:
            call = group.create_task(server.call(bob, "sleep", seconds=20))
            await asyncio.sleep(0.2)
            server.rewrite(document("one", "three"))
            await server.until_logged("1 sessions were ended")
            assert await stream.rest() == []
            assert "token" in (await call)["error"]["message"]
        assert (await server.call(ann, "whoami"))["pid"] == pid
        assert await who(server, "/a/mcp", Authorization="Bearer three") == "a"
        assert (await bob.post(initialize())).status_code == 401
        server.rewrite(document("three", cwd=str(tmp_path)))  # something else changed with it
        await server.until_logged("1 replaced")
        assert (await ann.post(initialize())).status_code == 401
        assert sum("1 sessions were ended" in line for line in server.log) == 2


# --- start and end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "flags", "said"),
    [
        ("{", (), "servers.json:1"),
        ({"nothing": 1}, (), "mcpServers"),
        ({"mcpServers": {"a": {"command": 7, "options": {"panicIfInvalid": True}}}}, (), "panicIfInvalid"),
        ({"mcpServers": {"a": {"command": "false", "options": {"panicIfInvalid": True}}}}, (), "panicIfInvalid"),
        ({"mcpServers": {"a": {"command": "cat"}}}, ("--host", "0.0.0.0"), "without a token"),
        ({"mcpServers": {"a": {"command": "cat"}}}, ("--demo",), "exactly one"),
    ],
)
async def test_what_must_not_be_served_ends_with_2_and_says_why(
    tmp_path: Path, document: Any, flags: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "servers.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        script("mcp-remote-server"), "--config", str(file), "--port", "0", *flags,
        stderr=asyncio.subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    async with asyncio.timeout(30):
        _, stderr = await process.communicate()
    assert process.returncode == 2, stderr
    assert said in stderr.decode()


async def test_a_taken_port_of_a_member_is_named_before_the_start(tmp_path: Path, free_ports: int) -> None:
    blocker = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", free_ports + 1)
    file = tmp_path / "servers.json"
    file.write_text(json.dumps(two()), encoding="utf-8")
    async with blocker, asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            script("mcp-remote-server"), "--config", str(file), "--port", "0", "--port-per-server", str(free_ports),
            stderr=asyncio.subprocess.PIPE, env=clean_environment(),
        )  # fmt: skip
        _, stderr = await process.communicate()
    assert process.returncode == 2
    assert f"port {free_ports + 1}, for b" in stderr.decode()
    assert "listening on" not in stderr.decode()


async def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.json"
    file.write_text(json.dumps({"mcpServers": {"a": named("a")}}), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        script("mcp-remote-server"), stderr=asyncio.subprocess.PIPE,
        env=clean_environment(CONFIG_PATH=str(file), PORT="0"),
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(20):
        assert b"listening on" in await process.stderr.readline()
        process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_a_stop_ends_every_child_and_answers_open_calls(tmp_path: Path) -> None:
    document = {"mcpServers": {"a": named("a", "sleep"), "s": named("s", "whoami", share="shared", start="eager")}}
    async with hosted(document, tmp_path) as server:
        client = server.client("/a/mcp")
        await client.start()
        assert await who(server, "/s/mcp") == "s"
        children = server.system.children(recursive=True)
        assert len(children) >= 2
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(server.call(client, "sleep", seconds=1))
            await asyncio.sleep(0.3)
            server.process.terminate()
        assert calling.result()["tool"] == "sleep"
        assert await server.process.wait() == 0
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive


# --- operators -------------------------------------------------------------------------------------------------------


async def test_operators_see_what_runs_and_who_may_not_does_not(tmp_path: Path) -> None:
    async with hosted(two(s=named("s", share="shared", start="eager")), tmp_path) as server:
        client = server.client("/a/mcp")
        await client.start()
        listed = (await server.get("/listmcp")).json()
        assert listed["count"] == 3
        by_name = {entry["name"]: entry for entry in listed["servers"]}
        assert by_name["a"]["running"]
        assert psutil.pid_exists(by_name["a"]["pid"])
        assert (by_name["b"]["running"], by_name["b"]["pid"]) == (False, None)
        tools = (await server.get("/listtools/b")).json()
        assert tools["server"] == "b"
        assert tools["response"]["result"]["tools"][0]["name"] == "whoami"
        health = (await server.get("/health/servers")).json()
        assert health["summary"]["total"] == 3
        assert health["servers"]["a"]["status"] == "healthy"
        usage = (await server.get("/health/resources")).json()
        assert by_name["a"]["pid"] in [one["pid"] for one in usage["processes"]]
        for headers in ({"X-Forwarded-For": "1.2.3.4"}, {"Forwarded": "for=1.2.3.4"}, {"Host": "evil.example"}):
            assert (await server.http.get(f"{server.url}/listmcp", headers=headers)).status_code in (401, 403, 421)
        assert (await server.http.post(f"{server.url}/cleanup")).status_code in (401, 403)


async def test_with_a_token_operators_clean_up_and_restart(tmp_path: Path) -> None:
    async with hosted(two(), tmp_path, "--admin-token-env", "ADMIN", env={"ADMIN": "admin-token"}) as server:
        admin = {"Authorization": "Bearer admin-token"}
        assert (await server.get("/listmcp")).status_code == 401
        assert (await server.get("/listmcp", **admin)).status_code == 200
        client = server.client("/a/mcp")
        await client.start()
        cleaned: httpx.Response = await server.http.post(f"{server.url}/cleanup", headers=admin)
        assert (cleaned.status_code, cleaned.json()["sessions"]) == (200, 1)
        assert (await client.post(CALL)).status_code == 404
        assert (await server.http.post(f"{server.url}/restart/a", headers=admin)).status_code == 200
        assert (await server.http.post(f"{server.url}/restart/zzz", headers=admin)).status_code == 404
        assert await who(server, "/a/mcp") == "a"


async def test_logs_of_members_go_to_files_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    silent = named("s", "crash", options={"logEnabled": False})
    async with hosted(two(c=named("c", "crash"), s=silent), tmp_path, "--log-dir", str(folder)) as server:
        for name in ("c", "s"):
            client = server.client(f"/{name}/mcp")
            await client.start()
            await client.post({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "crash"}})
        await who(server, "/a/mcp")
    text = (folder / "mcp-c.log").read_text()
    assert "out of cheese" in text
    assert "Method: tools/call, ID: 5, SessionID: " in text
    assert "out of cheese" not in (folder / "mcp-a.log").read_text()
    assert "s stderr: out of cheese" not in (folder / "mcp-s.log").read_text()
    assert "Method: tools/call, ID: 5" in (folder / "mcp-s.log").read_text()
    assert (folder / "system.log").stat().st_mode & 0o777 == 0o600
