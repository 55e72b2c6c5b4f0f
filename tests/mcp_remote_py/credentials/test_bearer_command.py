"""--bearer-command: when it is run, how often, what becomes of what it says, and every way in which it fails."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcp_remote_py import settings
from mcp_remote_py.core.credentials import NOT_TAKEN, Source
from mcp_remote_py.core.errors import ConfigError, SignInNeeded
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.credentials import Credentials, check, open_credentials

PROGRAM = Path(__file__).parents[2] / "support" / "children" / "token_command.py"
START = 1_700_000_000.0


class Wall:
    """The wall clock of a test."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Command:
    """The command of one test: what its runs print, and how often it was run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wall = Wall()
        self.learnt: list[str] = []

    def plans(self, *steps: dict[str, Any]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(steps))

    @property
    def runs(self) -> int:
        return len(self.pids)

    @property
    def pids(self) -> list[int]:
        path = self.folder / "runs"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def opened(self, timeout: float = 20.0, **given: Any) -> Credentials:
        argv = (sys.executable, str(PROGRAM), str(self.folder))
        command = settings.BearerCommand(argv, timeout, **given)
        return open_credentials(settings.Credentials(authorization=command), self.learnt.append, self.wall)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def jwt(expires: object, **claims: object) -> str:
    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'exp': expires, **claims})}.c2lnbmF0dXJl"


def bearer(token: str) -> Headers:
    return (("Authorization", f"Bearer {token}"),)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what other processes do is no event here
            await asyncio.sleep(0.005)


async def failure(credentials: Credentials) -> SignInNeeded:
    with pytest.raises(SignInNeeded) as caught:
        await credentials.headers()
    assert not caught.value.may_have_run
    return caught.value


# --- When it is run --------------------------------------------------------------------------------------------------


async def test_a_token_of_unknown_life_is_kept_until_a_401(command: Command) -> None:
    command.plans({"out": "first\n"}, {"out": "second\n"})
    credentials = command.opened()
    assert credentials.with_authorization
    for _ in range(3):
        assert await credentials.headers() == bearer("first")
        command.wall.now += 86400
    assert command.runs == 1
    assert await credentials.refused(await credentials.headers())
    assert await credentials.headers() == bearer("second")
    assert command.runs == 2


@pytest.mark.parametrize(
    "printed",
    [
        jwt,
        lambda expires: jwt(str(expires)),
        lambda expires: json.dumps({"access_token": "opaque", "expires_in": expires - START}),
        lambda expires: json.dumps(
            {"accessToken": "opaque", "expires_on": int(expires), "expiresOn": "2030-01-01 00:00"}
        ),
        lambda _expires: json.dumps({"status": {"token": "opaque", "expirationTimestamp": "2023-11-14T23:13:20Z"}}),
    ],
)
async def test_it_is_run_again_thirty_seconds_before_the_token_expires(
    command: Command, printed: Callable[[float], str]
) -> None:
    expires = START + 3600  # 2023-11-14T23:13:20Z
    command.plans({"out": printed(expires)}, {"out": "next"})
    credentials = command.opened()
    first = await credentials.headers()
    command.wall.now = expires - 30.5
    assert await credentials.headers() is first
    assert command.runs == 1
    command.wall.now = expires - 30
    assert await credentials.headers() == bearer("next")
    assert command.runs == 2


async def test_a_program_that_has_no_newer_token_is_not_run_for_every_request(command: Command) -> None:
    token = jwt(START + 60)
    command.plans({"out": token})
    credentials = command.opened()
    await credentials.headers()
    command.wall.now = START + 31
    for _ in range(5):
        assert await credentials.headers() == bearer(token)
    assert command.runs == 2
    command.wall.now = START + 59
    await credentials.headers()
    assert command.runs == 3


async def test_fifty_who_ask_at_once_cause_one_run(command: Command) -> None:
    command.plans({"out": "first", "wait": str(command.folder / "go")})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(credentials.headers()) for _ in range(50)]
        await until(lambda: command.runs == 1)
        (command.folder / "go").touch()
    assert {task.result() for task in asked} == {bearer("first")}
    assert command.runs == 1


async def test_fifty_refusals_of_one_token_cause_one_run(command: Command) -> None:
    command.plans({"out": "first"}, {"out": "second"}, {"out": "third"})
    credentials = command.opened()
    shown = await credentials.headers()
    assert await asyncio.gather(*(credentials.refused(shown) for _ in range(50))) == [True] * 50
    assert await credentials.refused(shown), "it has been renewed since"
    assert await credentials.headers() == bearer("second")
    assert command.runs == 2


async def test_the_same_token_again_after_a_401_is_no_reason_for_another_try(command: Command) -> None:
    command.plans({"out": "same"})
    credentials = command.opened()
    shown = await credentials.headers()
    assert await asyncio.gather(*(credentials.refused(shown) for _ in range(50))) == [False] * 50
    assert not await credentials.refused(shown), "those headers have had their run"
    assert command.runs == 2


async def test_who_gives_up_does_not_end_the_run_for_the_others(command: Command) -> None:
    command.plans({"out": "first", "wait": str(command.folder / "go")})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        hasty, patient = (group.create_task(credentials.headers()) for _ in range(2))
        await until(lambda: command.runs == 1)
        hasty.cancel()
        await asyncio.wait([hasty])
        (command.folder / "go").touch()
        assert await patient == bearer("first")
    assert hasty.cancelled()
    assert command.runs == 1


async def test_a_run_that_nobody_waits_for_any_more_still_counts(command: Command) -> None:
    command.plans({"out": "first", "wait": str(command.folder / "go")})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(credentials.headers())
        await until(lambda: command.runs == 1)
        asked.cancel()
    (command.folder / "go").touch()
    assert await credentials.headers() == bearer("first")
    assert command.runs == 1


async def test_fifty_who_wait_for_a_failing_run_share_its_failure(command: Command) -> None:
    command.plans({"code": 3, "wait": str(command.folder / "go")}, {"out": "mended"})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(failure(credentials)) for _ in range(50)]
        await until(lambda: command.runs == 1)
        (command.folder / "go").touch()
    assert len({id(task.result()) for task in asked}) == 50, "each of them may be changed on its way"
    assert command.runs == 1
    assert await credentials.headers() == bearer("mended"), "the next one tries again"


async def test_a_failure_before_the_token_has_expired_costs_nothing(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    token = jwt(START + 3600)
    command.plans({"out": token}, {"code": 1}, {"code": 1}, {"out": "next"})
    credentials = command.opened()
    await credentials.headers()
    command.wall.now = START + 3580
    for _ in range(5):
        assert await credentials.headers() == bearer(token)
    assert command.runs == 2
    assert "has not expired yet" in caplog.text
    command.wall.now = START + 3600
    assert "exit code 1" in str(await failure(credentials))
    assert await credentials.headers() == bearer("next")


async def test_a_failure_after_a_401_is_told_in_its_place(command: Command) -> None:
    command.plans({"out": "first"}, {"code": 1})
    credentials = command.opened()
    with pytest.raises(SignInNeeded, match="exit code 1"):
        await credentials.refused(await credentials.headers())


# --- What it sees, and what is seen of it ----------------------------------------------------------------------------


async def test_it_gets_the_environment_without_our_own_secrets_and_no_input(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SETTING", "for the command")
    monkeypatch.setenv("MCP_AUTH_TOKEN", "our own")
    command.plans({"out": "first"})
    await command.opened(without=frozenset(["MCP_AUTH_TOKEN"])).headers()
    seen = json.loads((command.folder / "environ.json").read_text())
    assert seen["SOME_SETTING"] == "for the command"
    assert "MCP_AUTH_TOKEN" not in seen
    assert seen["PATH"] == os.environ["PATH"]
    assert (command.folder / "stdin").read_text() == ""


async def test_its_stderr_is_logged_after_its_token_was_learnt_and_its_stdout_never(
    command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    command.plans({"out": "tok-123456\n", "err": "refreshing\n+ echo tok-123456\n"})
    seen: list[tuple[str, list[str]]] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.getMessage(), list(command.learnt)))

    watch = Watch()
    logging.getLogger("mcp_remote_py").addHandler(watch)
    try:
        await command.opened().headers()
    finally:
        logging.getLogger("mcp_remote_py").removeHandler(watch)
    said = [(text, learnt) for text, learnt in seen if "says:" in text]
    assert [text.partition("says: ")[2] for text, _ in said] == ["refreshing", "+ echo tok-123456"]
    assert all("tok-123456" in learnt for _, learnt in said)
    assert "says: tok-123456" not in caplog.text


async def test_what_it_asks_the_user_is_seen_while_it_waits(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    command.plans({"err": "open https://example.com/device\n", "out": "t", "wait": str(command.folder / "go")})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(credentials.headers())
        await until(lambda: "https://example.com/device" in caplog.text)
        assert not asked.done()
        (command.folder / "go").touch()


async def test_secrets_in_garbage_are_learnt_too(command: Command) -> None:
    command.plans({"out": '{"error": "x", "refresh": "a-long-refresh-token"} trailing'})
    await failure(command.opened())
    assert "a-long-refresh-token" in command.learnt
    assert not {"error", "refresh", "trailing"} & set(command.learnt)


# --- How it fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"code": 7}, "ended with the exit code 7"),
        ({}, "printed nothing"),
        ({"out": " \n"}, "printed nothing"),
        ({"out": "a warning\ntoken\n"}, "more than one line"),
        ({"out": "no token here"}, "a blank within it"),
        ({"out": "tok\u0007en"}, "characters"),
        ({"out": "t\u00f6ken"}, "characters"),
        ({"out": "{not json"}, "begins like JSON"),
        ({"out": '{"error": "denied"}'}, "there is no access_token"),
        ({"out": "x" * 70000}, "more than 64 KiB"),
        ({"out": "late", "hang": True}, "longer than 0.5 s"),
    ],
)
async def test_each_failure_says_what_happened_and_never_what_was_printed(
    command: Command, step: dict[str, Any], words: str
) -> None:
    command.plans(step)
    fault = await failure(command.opened(timeout=0.5 if "hang" in step else 20.0))
    assert words in str(fault)
    assert "--bearer-command" in str(fault)
    assert "Run it by hand" in fault.hint
    for text in (str(fault), fault.hint):
        assert "token here" not in text
        assert "denied" not in text


@pytest.mark.parametrize("printed", ["tok", "  tok\r\n", "\ufefftok", "Bearer tok\n", "bearer  tok", '"tok"'])
async def test_a_token_is_found_in_what_surrounds_it(command: Command, printed: str) -> None:
    command.plans({"out": printed})
    assert await command.opened().headers() == bearer("tok")


async def test_at_the_time_out_its_children_go_too(command: Command) -> None:
    command.plans({"hang": True, "child": True})
    await failure(command.opened(timeout=1.0))
    left = [*command.pids, int((command.folder / "child").read_text())]
    await until(lambda: not any(_runs(pid) for pid in left))


async def test_a_process_that_it_leaves_behind_holds_nothing_up(command: Command) -> None:
    command.plans({"out": "tok", "child": True})
    async with asyncio.timeout(10):
        assert await command.opened().headers() == bearer("tok")
    child = int((command.folder / "child").read_text())
    assert _runs(child), "a browser that it opened is not ours to end"
    psutil.Process(child).kill()


async def test_leaving_ends_it(command: Command) -> None:
    command.plans({"hang": True})
    credentials = command.opened()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(failure(credentials))
        await until(lambda: command.runs == 1)
        credentials.close()
        assert "exit code" in str(await asked)
    await until(lambda: not any(_runs(pid) for pid in command.pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("name", ["no-such-program-of-ours", "./no/such/program", str(PROGRAM)])
def test_a_program_that_is_not_there_is_told_at_the_start(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(settings.Credentials(authorization=settings.BearerCommand((name,))))
    assert "--bearer-command" in str(caught.value)
    assert name in str(caught.value)


def test_a_program_is_found_on_the_path() -> None:
    assert check(settings.Credentials(authorization=settings.BearerCommand(("sh", "-c", "exit")))) == ()


async def test_a_program_that_has_gone_is_a_failure_like_any_other(tmp_path: Path) -> None:
    given = settings.BearerCommand((str(tmp_path / "gone"),))
    fault = await failure(open_credentials(settings.Credentials(authorization=given), list[str]().append))
    assert "is not there any more" in str(fault)


def test_words_of_a_shell_are_warned_of(command: Command) -> None:
    given = settings.BearerCommand((sys.executable, "print", "|", "jq"), 1.0)
    (note,) = check(settings.Credentials(authorization=given))
    assert "run without a shell, so | is handed to" in note
    assert check(settings.Credentials(authorization=given._replace(argv=(sys.executable, "print")))) == ()


def test_a_fixed_token_that_has_expired_says_so() -> None:
    source = Source("the token", f"{NOT_TAKEN} Renew it.")

    def mend(token: str) -> str:
        found = open_credentials(settings.Credentials((("Authorization", f"Bearer {token}"),), source=source), print)
        assert found.source is not None
        return found.source.mend

    assert mend(jwt(1_700_000_000)).startswith("It expired on 2023-11-14 22:13 UTC, as it says itself. Renew it.")
    for token in (jwt(99_999_999_999), jwt("soon"), jwt(-5), "opaque"):
        assert mend(token) == source.mend
