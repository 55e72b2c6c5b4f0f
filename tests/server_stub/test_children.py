"""server_stub.children: what a child gets, what is heard of it, and how it ends, with real processes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.message import Message
from server_stub import children
from server_stub.children import Child, ServerSpec, child_environment
from tests.server_stub.links import SECONDS, eventually, within
from tests.support.children import child as command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups of POSIX")

SHORT = 0.2
"""Seconds of grace in tests that have to wait for its end."""


class Heard:
    """A running child and what it said."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.messages: list[Message] = []
        self.fault: BackendDown | None = None
        self._news = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()

    async def run(self) -> None:
        self.fault = await self.child.run(self)

    async def until(self, count: int) -> list[Message]:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and return the result of the next message."""
        count = len(self.messages) + 1
        await self.child.write(msg.request(count, method, params).raw)
        return (await self.until(count))[-1].result

    async def last_words(self) -> BackendDown:
        await eventually(lambda: self.fault is not None, "the end of the child")
        assert self.fault is not None
        return self.fault


@asynccontextmanager
async def running(*words: str, **options: Any) -> AsyncIterator[Heard]:
    """Run a child; at the end it is stopped."""
    heard = Heard(await Child.start(ServerSpec(command=words, **options)))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(heard.run())
        try:
            yield heard
        finally:
            await heard.child.stop()
            await within(asyncio.wait([task]))


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- What a child gets -----------------------------------------------------------------------------------------------

OURS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LANG": "C",
    "AWS_SECRET": "s",
    "MCP_AUTH_TOKEN": "t",
    "MCP_REMOTE_SERVER_PORT": "1",
    "MY_TOKEN": "m",
    "SHELL": "() { :; }",
}


def test_a_child_inherits_the_default_set_alone() -> None:
    assert child_environment(ServerSpec(), OURS, windows=False) == {"PATH": "/bin", "HOME": "/home/me"}


def test_the_whole_environment_is_passed_without_our_own_secrets() -> None:
    spec = ServerSpec(pass_environment=True, hidden_variables=frozenset({"MY_TOKEN"}))
    assert set(child_environment(spec, OURS, windows=False)) == {"PATH", "HOME", "LANG", "AWS_SECRET", "SHELL"}


def test_what_is_given_for_the_child_wins_even_under_a_hidden_name() -> None:
    spec = ServerSpec(env=(("PATH", "/opt"), ("MCP_AUTH_TOKEN", "its own")))
    expected = {"PATH": "/opt", "HOME": "/home/me", "MCP_AUTH_TOKEN": "its own"}
    assert child_environment(spec, OURS, windows=False) == expected


def test_windows_does_not_tell_the_case_of_names_apart() -> None:
    spec = ServerSpec(hidden_variables=frozenset({"My_Token"}), pass_environment=True)
    ours = {"Path": "C:\\", "MY_TOKEN": "m", "mcp_auth_token": "t", "Mcp_Remote_Server_X": "x"}
    assert child_environment(spec, ours, windows=True) == {"Path": "C:\\"}
    assert child_environment(ServerSpec(), {"Path": "C:\\", "HOME": "x"}, windows=True) == {"Path": "C:\\"}


def test_what_the_bridge_proves_itself_with_is_ours_too_unless_it_is_given() -> None:
    secret = {f"MCP_REMOTE_{name}": "x" for name in ("TOKEN", "PY_CLIENT_SECRET", "PY_BASIC_PASSWORD", "PY_HEADER")}
    others = {"MCP_REMOTE_URL": "http://h/", "MCP_REMOTE_CONFIG_DIR": "/home/me/.mcp", "MY_TOKEN": "y"}
    spec = ServerSpec(pass_environment=True)
    assert child_environment(spec, secret | others, windows=False) == others
    given = spec._replace(env=(("MCP_REMOTE_TOKEN", "x"),))
    assert child_environment(given, secret, windows=False) == {"MCP_REMOTE_TOKEN": "x"}


async def test_the_environment_really_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_AUTH_TOKEN", "secret-token")
    monkeypatch.setenv("LEAK", "secret-leak")
    async with running(*command("echo"), env=(("GIVEN", "yes"),)) as heard:
        environment = await heard.ask("environment")
    assert environment["GIVEN"] == "yes"
    assert set(environment) - {"GIVEN", "LC_CTYPE"} <= set(children.INHERITED_POSIX)


async def test_a_child_works_in_the_directory_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "server.sh").write_text('read line\necho \'{"jsonrpc":"2.0","id":1,"result":{}}\'\nread line\n')
    async with running("sh", "./server.sh", cwd=str(tmp_path)) as heard:
        assert await heard.ask("any") == {}


async def test_a_line_for_the_shell_is_run_by_the_shell() -> None:
    line = 'read line; echo \'{"jsonrpc":"2.0","id":1,"result":{"a":"\'$((1+1))\'"}}\' | cat; read line'
    async with running(shell=line) as heard:
        assert await heard.ask("any") == {"a": "2"}


# --- What cannot be started ------------------------------------------------------------------------------------------


async def _refusal(spec: ServerSpec) -> BackendDown:
    with pytest.raises(BackendDown) as caught:
        await Child.start(spec)
    assert not caught.value.may_have_run
    assert caught.value.hint
    return caught.value


async def test_a_command_that_is_not_there_is_named() -> None:
    fault = await _refusal(ServerSpec(command=("no-such-command-here", "--key=secret")))
    assert str(fault) == "command not found: no-such-command-here"


async def test_no_command_at_all_is_a_fault() -> None:
    assert "command not found" in str(await _refusal(ServerSpec()))


async def test_a_file_that_may_not_be_executed_is_named(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\n")
    fault = await _refusal(ServerSpec(command=(str(program),)))
    assert str(fault) == "the command server is not executable"


async def test_a_script_without_its_interpreter_is_explained(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert "interpreter in its first line" in str(await _refusal(ServerSpec(command=(str(program),))))


async def test_a_file_that_is_no_program_is_explained(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_text("hello\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert "is no program" in str(await _refusal(ServerSpec(command=(str(program),))))


async def test_a_directory_that_is_not_there_is_not_taken_for_the_command() -> None:
    fault = await _refusal(ServerSpec(command=("cat",), cwd="/no/such/directory"))
    assert str(fault) == "the working directory for cat does not exist"


async def test_a_zero_byte_is_a_fault_and_no_crash() -> None:
    assert "zero byte" in str(await _refusal(ServerSpec(command=("cat", "a\0b"))))


# --- What is heard ---------------------------------------------------------------------------------------------------


async def test_messages_pass_both_ways_as_bytes() -> None:
    raw = b'{"id":1,"jsonrpc":"2.0","method":"x","n":1.0,"u":"\xe2\x80\xa8\\u0041"}'
    async with running("cat") as heard:
        await heard.child.write(raw)
        assert (await heard.until(1))[0].raw == raw


async def test_only_json_rpc_is_heard_and_the_rest_is_logged_harmlessly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server_stub")
    async with running(*command("garbage")) as heard:
        messages = await heard.until(1)
    assert [message.method for message in messages] == ["notifications/real"]
    logged = "\n".join(caplog.messages)
    assert "Welcome to my server!" in logged
    assert "red " in logged
    assert not set(logged) & {"\x1b", "\x07", "\x08"}


async def test_what_is_not_to_be_logged_is_read_and_heard_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "server_stub")
    async with running(*command("garbage"), logs_output=False) as heard:
        assert [message.method for message in await heard.until(1)] == ["notifications/real"]
    logged = "\n".join(caplog.messages)
    assert "started, pid" in logged
    assert "stdout:" not in logged
    assert "Welcome" not in logged


async def test_a_batch_of_the_child_is_split() -> None:
    async with running("cat") as heard:
        await heard.child.write(b'[{"jsonrpc":"2.0","id":1,"result":{}},7,{"jsonrpc":"2.0","method":"n/x"}]')
        assert [message.raw for message in await heard.until(2)] == [
            b'{"jsonrpc":"2.0","id":1,"result":{}}',
            b'{"jsonrpc":"2.0","method":"n/x"}',
        ]


async def test_a_malformed_answer_still_ends_its_request() -> None:
    async with running("cat") as heard:
        await heard.child.write(b'{"jsonrpc":"2.0","id":"a","result":1,"error":{}}')
        (answer,) = await heard.until(1)
    assert (answer.id, answer.doc["error"]["code"]) == ("a", -31008)


async def test_an_answer_over_the_limit_becomes_an_error_and_the_child_goes_on() -> None:
    async with running(*command("echo"), message_limit=10_000) as heard:
        await heard.ask("big", size=20_000)
        error = heard.messages[-1].doc["error"]
        assert (heard.messages[-1].id, error["code"], error["data"]["may_have_run"]) == (1, -31007, True)
        assert await heard.ask("any", fine=True) == {"fine": True}


async def test_a_question_over_the_limit_is_refused_to_the_child() -> None:
    question = json.dumps({"jsonrpc": "2.0", "id": "q", "method": "m", "params": {"x": "y" * 20_000}})
    async with running("cat", message_limit=10_000) as heard:
        await heard.child.write(question.encode())  # cat is a server that asks what it was sent
        (refusal,) = await heard.until(1)
    assert (refusal.id, refusal.doc["error"]["code"]) == ("q", -31007)


async def test_a_flood_on_stderr_blocks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "server_stub")
    async with running(*command("flood", "4")) as heard:
        assert await heard.ask("any") == {}
        await eventually(lambda: heard.child.down().hint.endswith("the last line"), "the end of the flood")
        assert len(heard.child.down().hint) < 3000
    assert len(caplog.records) < 4000  # of 20 000 lines
    assert any("are not logged, there were too many" in text for text in caplog.messages)


# --- How it ends -----------------------------------------------------------------------------------------------------


async def test_a_child_that_fails_at_start_says_why_without_the_secret() -> None:
    async with running(*command("failing"), env=(("SECRET", "hunter2hunter2"),)) as heard:
        fault = await heard.last_words()
    assert str(fault).endswith("exited with status 3")
    assert fault.may_have_run
    assert "ConfigurationError: the key [secret] is not valid" in fault.hint
    assert "\x1b" not in fault.hint


async def test_a_program_that_is_no_server_shows_what_it_prints_instead() -> None:
    async with running(
        sys.executable, "-c", "print('Listening on port hunter2hunter2\\n')", env=(("A", "hunter2" * 2),)
    ) as it:
        fault = await it.last_words()
    assert fault.hint == "It wrote nothing to stderr. To stdout it wrote what is no message: Listening on port [secret]"


async def test_a_child_that_was_killed_is_reported_with_the_signal() -> None:
    async with running(*command("echo")) as heard:
        await heard.child.write(msg.request(1, "kill").raw)
        fault = await heard.last_words()
    assert str(fault).endswith("was ended by SIGKILL")
    assert fault.hint == "It wrote nothing to stderr."


async def test_the_last_answer_of_a_child_that_leaves_is_heard() -> None:
    async with running(*command("echo")) as heard:
        result = await heard.ask("farewell", size=1_000_000)
        assert len(result["text"]) == 1_000_000
        assert str(await heard.last_words()).endswith("exited with status 0")


async def test_what_is_written_after_the_end_never_ran_and_says_why() -> None:
    async with running(*command("echo")) as heard:
        await heard.child.write(msg.request(1, "exit", {"status": 7, "last words": "no disk\n"}).raw)
        await heard.last_words()
        with pytest.raises(BackendDown) as caught:
            await heard.child.write(b"{}")
    assert not caught.value.may_have_run
    assert "status 7" in str(caught.value)
    assert "no disk" in caught.value.hint


async def test_a_child_that_closes_stdout_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE", SHORT)
    async with running(*command("echo")) as heard:
        await heard.child.write(msg.request(1, "close stdout").raw)
        await heard.last_words()
        assert not is_running(heard.child.pid)


async def test_a_polite_child_leaves_when_stdin_is_closed() -> None:
    async with running("cat") as heard:
        begin = time.monotonic()
        await heard.child.stop()
        assert time.monotonic() - begin < children.GRACE
        assert str(await heard.last_words()).endswith("was stopped")


async def test_a_child_that_ignores_sigterm_is_killed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE", SHORT)
    async with running(*command("stubborn")) as heard:
        await heard.until(1)
        begin = time.monotonic()
        await heard.child.stop()
        assert 2 * SHORT <= time.monotonic() - begin < 2 * SHORT + 1.5
        assert not is_running(heard.child.pid)


@pytest.mark.slow
async def test_stopping_the_most_stubborn_child_takes_a_little_over_four_seconds() -> None:
    async with running(*command("stubborn")) as heard:
        await heard.until(1)
        begin = time.monotonic()
        await heard.child.stop()
        assert 4.0 <= time.monotonic() - begin < 6.0
        assert not is_running(heard.child.pid)


async def test_a_child_that_never_reads_holds_up_neither_the_loop_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE", SHORT)
    async with running(*command("deaf")) as heard, asyncio.TaskGroup() as group:
        await heard.until(1)
        faults: list[BackendDown] = []

        async def write() -> None:
            try:
                await heard.child.write(b"x" * 1_000_000)
            except BackendDown as fault:
                faults.append(fault)

        for _ in range(3):
            group.create_task(write())
        await asyncio.sleep(0)
        begin = time.monotonic()
        await heard.child.stop()
        assert time.monotonic() - begin < 2 * SHORT + 1.5
        await eventually(lambda: len(faults) == 3, "the end of the writing")
    assert not is_running(heard.child.pid)


@pytest.mark.parametrize(
    "habit",
    [
        "plain",
        "stubborn",
        pytest.param(
            "apart", marks=pytest.mark.skipif(sys.platform != "linux", reason="/proc tells whose child it is")
        ),
    ],
)
async def test_grandchildren_end_with_the_child(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE", SHORT)
    async with running(*command("parent", habit)) as heard:
        pid = (await heard.until(1))[0].params["pid"]
        assert is_running(pid)
        await heard.child.stop()
        await eventually(lambda: not is_running(pid), "the end of the grandchild")


async def test_what_a_child_leaves_behind_is_ended_when_it_exits() -> None:
    async with running(*command("parent", "leave")) as heard:
        pid = (await heard.until(1))[0].params["pid"]
        await heard.last_words()
        await eventually(lambda: not is_running(pid), "the end of the grandchild")


async def test_a_daemon_that_holds_the_pipes_does_not_hold_us() -> None:
    async with running(*command("parent", "daemon")) as heard:
        pid = (await heard.until(1))[0].params["pid"]
        try:
            await heard.last_words()
            await within(heard.child.stop())
        finally:
            psutil.Process(pid).kill()  # it left its group on purpose, which is out of our reach


async def test_stopping_twice_and_at_once_is_no_mistake() -> None:
    async with running("cat") as heard:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(heard.child.stop())
        await heard.child.stop()
        assert not is_running(heard.child.pid)


async def test_a_child_that_nobody_listens_to_is_stopped_though_its_pipe_is_full() -> None:
    child = await Child.start(ServerSpec(command=command("echo")))
    await child.write(msg.request(1, "big", {"size": 1_000_000}).raw)
    begin = time.monotonic()
    await within(child.stop())
    assert time.monotonic() - begin < children.GRACE  # it could finish writing, and left by itself
    assert not is_running(child.pid)


@pytest.mark.parametrize("words", [("stubborn",), ("parent", "stubborn")])
async def test_a_stop_that_is_cancelled_kills_at_once(words: tuple[str, ...]) -> None:
    async with running(*command(*words)) as heard:
        pid = (await heard.until(1))[0].params.get("pid", heard.child.pid)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await heard.child.stop()
        await eventually(lambda: not is_running(pid), "the end of the most stubborn one")
        assert time.monotonic() - begin < children.GRACE


async def test_two_hundred_children_leave_no_process_and_no_descriptor() -> None:
    async def cycle() -> None:
        async with running("cat") as heard:
            await heard.child.write(b'{"jsonrpc":"2.0","method":"n"}')
            await heard.until(1)

    await cycle()
    ourselves = psutil.Process()
    descriptors = ourselves.num_fds()
    for _ in range(25):
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(cycle())
    assert ourselves.children(recursive=True) == []
    await eventually(lambda: ourselves.num_fds() <= descriptors, "the descriptors to be closed")


def test_a_name_never_shows_arguments() -> None:
    assert ServerSpec(command=("/usr/bin/npx", "--key", "secret")).name == "npx"
    assert ServerSpec((), "KEY=secret server").name == "shell command"
    assert os.sep not in ServerSpec(command=("/a/b",)).name


_THREE_CHILDREN = """
import asyncio, sys, threading
from server_stub import process_groups

async def main():
    command = (sys.executable, "-I", "-S", "-c", "input()")
    children = [await asyncio.create_subprocess_exec(*command, stdin=-1) for _ in range(3)]
    threads = threading.active_count()
    await asyncio.gather(*(child.communicate(b"\\n") for child in children))
    print(threads, *(child.returncode for child in children))

process_groups.wait_without_threads()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file descriptors of processes")
def test_no_thread_waits_for_a_child() -> None:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        pytest.skip("this kernel has no file descriptors of processes")
    command = [sys.executable, "-W", "error", "-c", _THREE_CHILDREN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("1 0 0 0\n", "")
