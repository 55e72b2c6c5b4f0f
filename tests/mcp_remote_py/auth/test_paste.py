"""What a person pastes, read from real terminals and real pipes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.auth import paste
from mcp_remote_py.auth.paste import NotIt, read
from tests.support.host import clean_environment, python_command

STATE = "Zz-_" * 11
CODE = "4/0AbC-_~." + "x" * 60
QUERY = f"code={CODE}&state={STATE}"
URL = f"http://localhost:3334/oauth/callback?{QUERY}"


# --- One text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"  {URL}\r\n",
        QUERY,
        f"?{QUERY}",
        f"/oauth/callback?{QUERY}",
        f"localhost:3334/oauth/callback?{QUERY}",
        f"'{URL}'",
        f'"{URL}",',
        f"<{URL}>.",
        f"\u201c{URL}\u201d",
        f"`{URL}`",
        f"\x1b[200~{URL}\x1b[201~\n",
        URL.replace("?", "\\?").replace("&", "\\&").replace("=", "\\="),
        URL.replace("&", "&amp;"),
        f"{URL}#_=_",
        "\n".join(URL[at : at + 40] for at in range(0, len(URL), 40)),
        " \n ".join(URL[at : at + 30] for at in range(0, len(URL), 30)),
        "\r\n".join(f"\u2502 {URL[at : at + 30]} \u2502" for at in range(0, len(URL), 30)),
        URL[:50] + "\u200b\u00a0\ufeff" + URL[50:],
        f"curl '{URL}'",
    ],
)
def test_the_query_is_found_however_it_was_pasted(text: str) -> None:
    assert read(text, STATE) == QUERY


def test_the_rest_of_the_query_is_kept_as_it_is() -> None:
    query = f"iss=https%3A%2F%2Fa.example%2F%3Fx%3D1&{QUERY}&session_state=a%2Bb+c"
    assert read(f"http://127.0.0.1:1/cb?{query}", STATE) == query
    assert read(f"http://127.0.0.1:1/cb?iss=https://a.example/?x=1&{QUERY}", STATE).startswith("iss=https://a.example/")


def test_a_refusal_of_the_authorization_server_can_be_pasted_too() -> None:
    assert read(f"http://localhost/cb?error=access_denied&state={STATE}", STATE).startswith("error=access_denied")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no code"),
        ("hello", "no code"),
        (CODE, "no code"),
        ("http://localhost:3334/oauth/callback", "no code"),
        (f"http://localhost/cb?state={STATE}", "no code"),
        (f"http://localhost/cb#{QUERY}", "no code"),
        (f"https://a.example/authorize?response_type=code&client_id=a&state={STATE}", "the sign-in itself"),
        (f"http://localhost/cb?code={CODE}", "with its state"),
        (URL[:-3], "its end is missing"),
        (URL + "x", "another sign-in"),
        (URL.replace(STATE, "other"), "another sign-in"),
        (f"{URL}&state=other", "another sign-in"),
        ("&".join(f"a{i}=1" for i in range(200)), "no code"),
        ("x" * (paste.LARGEST + 1), "too long"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_repeated(text: str, words: str) -> None:
    with pytest.raises(NotIt, match=words) as caught:
        read(text, STATE)
    assert CODE not in str(caught.value)


@given(st.text(max_size=300))
def test_whatever_is_pasted_is_read_or_refused(text: str) -> None:
    with pytest.raises(NotIt):
        read(text, STATE)


@given(st.integers(1, len(URL) - 1), st.sampled_from(["\n", "\r\n", " ", "\n  ", "\\\n"]))
def test_a_break_may_be_anywhere(at: int, between: str) -> None:
    assert read(URL[:at] + between + URL[at:], STATE) == QUERY


# --- From a pipe -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, Callable[[str], None], Callable[[], None]]]:
    source, sink = os.pipe()
    ends = {sink}

    def write(text: str) -> None:
        os.write(sink, text.encode())

    def close() -> None:
        if sink in ends:
            ends.discard(sink)
            os.close(sink)

    try:
        yield source, write, close
    finally:
        close()
        os.close(source)


async def within(work: Any, seconds: float = 10) -> Any:
    async with asyncio.timeout(seconds):
        return await work


async def test_a_line_from_a_pipe_is_enough() -> None:
    with pipe() as (source, write, _):
        write(f"{URL}\n")
        assert await within(paste.from_pipe(STATE, source)) == QUERY


async def test_the_end_of_a_pipe_is_as_good_as_a_line_end() -> None:
    with pipe() as (source, write, close):
        write(URL)
        close()
        assert await within(paste.from_pipe(STATE, source)) == QUERY


async def test_a_file_will_do_too(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{URL[:50]}\n{URL[50:]}\n")
    fd = os.open(tmp_path / "url", os.O_RDONLY)
    try:
        assert await within(paste.from_pipe(STATE, fd)) == QUERY
    finally:
        os.close(fd)


async def test_a_wrong_paste_is_said_and_the_next_one_counts() -> None:
    said: list[str] = []
    with pipe() as (source, write, _):
        write("nonsense\n")

        def say(text: str) -> None:
            said.append(text)
            write(f"\n{URL}\n")

        assert await within(paste.from_pipe(STATE, source, say)) == QUERY
    assert len(said) == 1
    assert "no code" in said[0]


async def test_a_flood_is_refused_and_held_in_bounds() -> None:
    said: list[str] = []
    twice = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            twice.set()

    with pipe() as (source, write, _):
        writing = asyncio.to_thread(lambda: [write("x" * 10000) for _ in range(15)])
        async with asyncio.TaskGroup() as group:
            group.create_task(writing)
            waiting = group.create_task(paste.from_pipe(STATE, source, say))
            await within(twice.wait())
            waiting.cancel()
    assert "too long" in said[0]


async def test_after_the_end_of_input_the_browser_may_still_come() -> None:
    said: list[str] = []
    with pipe() as (source, write, close):
        write("nonsense")
        close()
        with pytest.raises(TimeoutError):
            await within(paste.from_pipe(STATE, source, said.append), 0.5)
    assert len(said) == 1


async def test_giving_up_leaves_what_comes_later_in_the_pipe() -> None:
    with pipe() as (source, write, _):
        with pytest.raises(TimeoutError):
            await within(paste.from_pipe(STATE, source), 0.1)
        write(URL)
        assert os.read(source, 4096).decode() == URL


# --- From a terminal -------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")

CHILD = """
import asyncio, json, os, sys, termios
from mcp_remote_py.auth import paste

mode = sys.argv[2]
if mode == "background":
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)
    os.setpgid(0, 0)

async def main():
    fd = os.open("/dev/tty", os.O_RDWR)
    if mode == "screen":
        import tty
        tty.setraw(fd)
    before = termios.tcgetattr(fd)
    def say(text):
        print(json.dumps({"said": text}), flush=True)
    print(json.dumps({"terminal": paste.has_terminal()}), flush=True)
    found = None
    try:
        async with asyncio.timeout(float(sys.argv[3])):
            begun = asyncio.get_running_loop().call_later(0.1, lambda: print(json.dumps({"ready": True}), flush=True))
            found = await paste.from_terminal(sys.argv[1], say)
    except TimeoutError:
        pass
    print(json.dumps({"found": found, "restored": termios.tcgetattr(fd) == before}), flush=True)

asyncio.run(main())
"""


class Terminal:
    """A child with a controlling terminal of its own; its stdin and stdout are pipes, as a host has them."""

    def __init__(self, mode: str = "", seconds: float = 15) -> None:
        import pty

        source, sink = os.pipe()
        nothing, self.stdin = os.pipe()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.dup2(nothing, 0)
            os.dup2(sink, 1)
            argv = [*python_command(CHILD), STATE, mode, str(seconds)]
            os.execve(argv[0], argv, clean_environment())  # noqa: S606  a program of ours
        os.close(sink)
        os.close(nothing)
        self.lines = os.fdopen(source)

    def said(self) -> dict[str, Any]:
        assert select.select([self.lines], [], [], 20)[0], "the child says nothing"
        found: dict[str, Any] = json.loads(self.lines.readline())
        return found

    def type(self, text: str) -> None:
        raw = text.encode()
        while raw:
            raw = raw[os.write(self.fd, raw[:1000]) :]

    def shown(self) -> str:
        """What the terminal shows, as far as it has come."""
        found = b""
        with contextlib.suppress(OSError):
            while select.select([self.fd], [], [], 0.2)[0] and (chunk := os.read(self.fd, 65536)):
                found += chunk
        return found.decode("utf-8", "replace")

    def close(self) -> None:
        deadline = time.monotonic() + 20
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(self.pid, 9)
            time.sleep(0.02)
        self.lines.close()
        os.close(self.stdin)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(mode: str = "", seconds: float = 15) -> Iterator[Terminal]:
    one = Terminal(mode, seconds)
    try:
        yield one
    finally:
        one.close()


@posix
def test_an_address_is_pasted_into_the_terminal_which_shows_none_of_it_and_is_put_back() -> None:
    with terminal() as child:
        assert child.said() == {"terminal": True}
        assert child.said() == {"ready": True}
        child.type(f"\x1b[200~{URL[:70]}\n{URL[70:]}\x1b[201~\n")
        assert child.said() == {"found": QUERY, "restored": True}
        assert CODE[:10] not in child.shown()


@posix
def test_an_address_longer_than_a_line_of_the_terminal_comes_whole() -> None:
    query = f"code={'y' * 9000}&state={STATE}"
    with terminal() as child:
        child.said()
        child.said()
        child.type(f"http://localhost/cb?{query}\n")
        assert child.said() == {"found": query, "restored": True}


@posix
def test_a_wrong_paste_is_answered_and_giving_up_puts_the_terminal_back() -> None:
    with terminal(seconds=1.5) as child:
        child.said()
        child.said()
        child.type(f"{URL.replace(STATE, 'x')}\n")
        assert "another sign-in" in child.said()["said"]
        assert child.said() == {"found": None, "restored": True}


@posix
@pytest.mark.parametrize("mode", ["background", "screen"])
def test_a_terminal_that_another_program_uses_is_left_alone(mode: str) -> None:
    with terminal(mode, seconds=1.5) as child:
        assert child.said() == {"terminal": False}
        child.said()
        child.type(f"{URL}\n")
        assert child.said() == {"found": None, "restored": True}


@posix
async def test_without_a_terminal_there_is_none() -> None:
    source = "import os; os.setsid()\nfrom mcp_remote_py.auth import paste\nprint(paste.has_terminal())"
    child = await asyncio.create_subprocess_exec(
        *python_command(source), stdout=asyncio.subprocess.PIPE, env=clean_environment(), start_new_session=False
    )
    printed, _ = await child.communicate()
    assert printed.strip() == b"False"
