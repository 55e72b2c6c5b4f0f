"""The console script as a user meets it: a real process, its stderr, its exit code, its children."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest

from mcp_remote_py import __version__
from tests.server_stub.links import initialize, request
from tests.server_stub.mcp_client import BOTH, JSON
from tests.support.hosted import NAMED

CHILD = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        told = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {},
                "serverInfo": {"name": "child", "version": str(os.getpid())}}
    elif asked.get("method") == "environment":
        told = dict(os.environ)
    elif asked.get("method") == "die":
        sys.exit(3)
    elif asked.get("method") == "hang" or "id" not in asked:
        continue
    else:
        told = {"method": asked["method"], "cwd": os.getcwd()}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": told}), flush=True)
"""
STDIO = ("--stdio", "--", sys.executable, "-c", CHILD)


class Server:
    """The running process, its URL, and what it has said on stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()

    def forget(self) -> None:
        """Close the pipe of the process that has ended."""
        self._reader.join(5)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def find(self, pattern: str) -> str:
        """Wait for a line; return what the group matched."""

        def search() -> re.Match[str] | None:
            return re.search(pattern, "".join(self.lines))

        with self._news:
            assert self._news.wait_for(lambda: search() is not None, 20), "".join(self.lines)
        match = search()
        assert match is not None
        return match.group(1)

    def stop(self, *numbers: int) -> float:
        """Send the signals, wait for the end; return the seconds that took."""
        begin = time.monotonic()
        for number in numbers or (signal.SIGTERM,):
            self.process.send_signal(number)
            time.sleep(0.2 if len(numbers) > 1 else 0)
        self.process.wait(12)
        self._reader.join(5)
        return time.monotonic() - begin


@contextmanager
def server(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Iterator[Server]:
    command = [sys.executable, "-m", "server_stub", *(() if "--port" in arguments else ("--port", "0")), *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=cwd, env={**os.environ, **(env or {})}
    )
    running = Server(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        running.forget()


class Client:
    """Posts to one server; JSON answers are enough here."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(trust_env=False, timeout=15)
        self.url = url + "/mcp"
        self.headers = {**JSON, "Accept": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, document: object) -> httpx.Response:
        return self.http.post(self.url, json=document, headers=self.headers)

    def start(self) -> int:
        """Initialize; return the pid of the child."""
        response = self.post(initialize())
        if "Mcp-Session-Id" in response.headers:
            self.headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]
        return int(response.json()["result"]["serverInfo"]["version"])


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server_stub", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        encoding="utf-8",
        env={**os.environ, **(env or {})},
    )


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_version_and_help_go_to_stdout() -> None:
    version, text = run("--version"), run("--help")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"mcp-remote-server {__version__}\n", "")
    assert text.returncode == 0
    assert text.stdout.startswith("usage: mcp-remote-server --stdio")
    assert text.stderr == ""


@pytest.mark.parametrize("arguments", [["--stdio"], ["--stdio", "npx", "x"]])
def test_stdio_without_its_command_says_exactly_what_to_type(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "\n  mcp-remote-server --stdio -- npx -y @modelcontextprotocol/server-everything\n" in done.stderr
    assert done.stdout == ""


def test_an_unknown_flag_is_an_error_with_a_suggestion() -> None:
    done = run("--demo", "--alow-unauthenticated")
    assert done.returncode == 2
    assert "Did you mean --allow-unauthenticated?" in done.stderr


def test_binding_elsewhere_without_authentication_is_refused_with_the_flag_that_allows_it() -> None:
    done = run("--demo", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "--allow-unauthenticated" in done.stderr


def in_python(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\n{body}\nfrom server_stub.cli import main\ncode = main({list(arguments)!r})\n"
    tail = "sys.stderr.write(' '.join(sorted(sys.modules)))\nsys.exit(code)\n"
    return subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["--demo", "--prt", "1"], ["--stdio"]])
def test_the_http_library_is_not_loaded_before_the_arguments_are_understood(arguments: list[str]) -> None:
    loaded = set(in_python("", *arguments).stderr.split())
    assert "server_stub.cli" in loaded
    assert not loaded & {"aiohttp", "jwt", "cryptography", "asyncio"}


def test_without_the_extra_it_says_what_to_install() -> None:
    done = in_python("sys.modules['aiohttp'] = None", "--demo")
    assert done.returncode == 2
    assert "pip install '.[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stdio_server_is_served_and_stopped_with_its_child() -> None:
    with server(*STDIO) as running:
        url = running.find(r"listening on (http://127\.0\.0\.1:\d+) \(/mcp /sse /ws /health\)")
        with Client(url) as client:
            pid = client.start()
            assert psutil.pid_exists(pid)
            assert client.post(request(1, "anything")).json()["result"]["method"] == "anything"
            assert running.stop(signal.SIGTERM) < 9
        assert running.process.returncode == 0
        assert gone(pid)
        assert "Traceback" not in "".join(running.lines)


def test_each_session_has_a_child_of_its_own_and_a_dead_one_ends_its_session() -> None:
    with server(*STDIO) as running, Client(running.find(r"listening on (\S+)")) as one, Client(one.url[:-4]) as two:
        first, second = one.start(), two.start()
        assert first != second
        dead = one.post(request(1, "die")).json()["error"]
        assert dead["code"] == -31009
        assert one.post(request(2, "x")).status_code == 404
        assert two.post(request(2, "x")).status_code == 200
        assert gone(first)


def test_without_sessions_one_child_is_shared() -> None:
    with server("--stateless", *STDIO) as running, Client(running.find(r"listening on (\S+)")) as client:
        pids = {client.start(), client.start()}
        assert "Mcp-Session-Id" not in client.headers
        assert client.post(request(1, "x")).json()["result"]["method"] == "x"
        assert len(pids) == 1
        assert running.stop() < 9
        assert running.process.returncode == 0
    assert all(gone(pid) for pid in pids if psutil.pid_exists(pid))


def test_names_may_be_translated_without_a_file_of_servers() -> None:
    child = ("--stdio", "--normalize-names", "snake", "--", sys.executable, str(NAMED), "x", "API-get-user")
    with server(*child) as running, Client(running.find(r"listening on (\S+)")) as client:
        client.start()
        tools = client.post(request(1, "tools/list")).json()["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["api_get_user"]
        called = client.post(request(2, "tools/call", name="api_get_user", arguments={})).json()
        assert "API-get-user" in called["result"]["content"][0]["text"]


def test_the_child_gets_what_was_given_and_none_of_our_secrets() -> None:
    env = {"OUR_TOKEN": "let me in", "INNOCENT": "yes", "MCP_AUTH_TOKEN": "theirs", "MCP_REMOTE_SERVER_GRACE": "1s"}
    options = ("--auth-token-env", "OUR_TOKEN", "--env", "GIVEN=a=b", "--pass-environment", "--log-level", "debug")
    with server(*options, *STDIO, env=env) as running, Client(running.find(r"listening on (\S+)")) as client:
        client.headers["Authorization"] = "Bearer let me in"
        client.start()
        found = client.post(request(1, "environment")).json()["result"]
        assert (found["GIVEN"], found["INNOCENT"]) == ("a=b", "yes")
        assert not {"OUR_TOKEN", "MCP_AUTH_TOKEN", "MCP_REMOTE_SERVER_GRACE"} & set(found)
        running.stop()
        assert "let me in" not in "".join(running.lines)


def test_a_shell_line_runs_in_the_given_directory(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    line = f'exec "{sys.executable}" child.py'
    options = ("--shell", line, "--cwd", str(tmp_path))
    with server(*options) as running, Client(running.find(r"listening on (\S+)")) as client:
        client.start()
        assert client.post(request(1, "x")).json()["result"]["cwd"] == str(tmp_path.resolve())


def test_a_handler_is_found_in_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Box:\n"
        "    @staticmethod\n"
        "    async def answer(message, session):\n"
        "        return {'jsonrpc': '2.0', 'result': {'echo': message['method']}} if 'id' in message else None\n"
    )
    options = ("--handler", "mine:Box.answer", "--stateless")
    with server(*options, cwd=tmp_path) as running, Client(running.find(r"listening on (\S+)")) as client:
        assert client.post(request(5, "x")).json() == {"jsonrpc": "2.0", "id": 5, "result": {"echo": "x"}}


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("mine", "package.module:callable"),
        ("nowhere_at_all:x", "no module 'nowhere_at_all'"),
        ("os.path:jin", "Did you mean join?"),
        ("os.path:sep", "cannot be called"),
    ],
)
def test_a_handler_that_is_not_there_is_a_configuration_error(handler: str, words: str) -> None:
    done = run("--handler", handler, "--port", "0")
    assert done.returncode == 2
    assert words in done.stderr


def test_the_demo_answers() -> None:
    with server("--demo", "--service-name", "mine") as running:
        url = running.find(r"listening on (\S+)")
        with Client(url) as client:
            response = client.post(initialize())
            client.headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]
            answer = client.post(request(1, "tools/call", name="echo", arguments={"text": "hello"})).json()
            assert answer["result"]["content"][0]["text"] == "hello"
            health = client.http.get(url + "/health").json()
            assert health == {"status": "healthy", "service": "mine", "version": __version__}


def hanging(running: Server) -> Sequence[int]:
    """Leave a call open for ever; return the pid of its child."""
    with Client(running.find(r"listening on (\S+)")) as client:
        pid = client.start()
        headers = {**client.headers, "Accept": BOTH}
        call = client.http.build_request("POST", client.url, json=request(1, "hang"), headers=headers)
        client.http.send(call, stream=True)  # returns when it has turned into a stream; then we leave
    return [pid]


def test_open_calls_get_their_grace_and_no_more() -> None:
    with server("--grace", "1s", *STDIO) as running:
        (pid,) = hanging(running)
        assert 0.9 < running.stop(signal.SIGTERM) < 5
        assert running.process.returncode == 0
        assert gone(pid)


def test_a_second_signal_ends_it_at_once() -> None:
    with server("--grace", "7s", *STDIO) as running:
        (pid,) = hanging(running)
        assert running.stop(signal.SIGINT, signal.SIGINT) < 3
        assert gone(pid)


def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with server("--demo") as running:
        port = running.find(r"listening on \S+:(\d+)")
        done = run("--demo", "--port", port)
        assert done.returncode == 2
        assert "Choose another" in done.stderr
        assert "Traceback" not in done.stderr
