"""What a call must come to, whatever a fault server does: one answer, the truth about it, and life goes on."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, NamedTuple

import pytest

from mcp_remote_py.core import retries
from tests.support.fault_server import Deed, FaultServer
from tests.support.host import Speaker

KEYS = itertools.count(1000)
"""They name calls, and are their ids as well; those that a `Speaker` counts are smaller."""
CASE_SECONDS = 15


class Fault(NamedTuple):
    """What is done to the answer of `pay`. `code` None: nothing that the host would notice."""

    deed: Deed
    code: int | None = None
    runs: bool = True


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pauses between two attempts take next to no time, and be as many as one likes."""
    monkeypatch.setattr(retries, "FIRST_SECONDS", 0.002)
    monkeypatch.setattr(retries, "SPREAD_SECONDS", 0.0)
    monkeypatch.setattr(retries.Budget, "SHARE", retries.Budget.RESERVE)


async def call(host: Speaker, name: str, key: int) -> dict[str, Any]:
    """Call a tool; its answer comes once."""
    async with asyncio.timeout(CASE_SECONDS):
        answer = await host.ask("tools/call", {"name": name, "key": key}, key)
    assert host.answers[str(key)] == 1
    return answer


def check_error(answer: dict[str, Any], *, ran: bool) -> None:
    """An error of ours says who it was, what to do, and the truth."""
    error = answer["error"]
    assert error["data"]["source"] == "mcp-remote-py"
    assert error["data"]["may_have_run"] or not ran, error
    assert "127.0.0.1" in error["message"] or "--timeout" in error["message"], error
    assert error["data"]["hint"], error
    assert "mistake of its own" not in error["message"]


async def in_session(host: Speaker) -> None:
    """Greet, ask for the tools, and call one."""
    assert "result" in await host.greet()
    await host.request("tools/list", identifier="list")
    assert "result" in await call(host, "pay", next(KEYS))


async def still_works(server: FaultServer, host: Speaker) -> None:
    """The next call runs once, and is answered by the server."""
    server.mend()
    key = next(KEYS)
    answer = await call(host, "pay", key)
    assert answer.get("result") == {"n": key}, answer
    assert server.ran[key] == 1


async def meet(server: FaultServer, host: Speaker, place: str, name: str, fault: Fault) -> dict[str, Any]:
    """Call a tool, spoil its answer, and see that life goes on."""
    key = next(KEYS)
    server.spoil(place, fault.deed, runs=fault.runs)
    answer = await call(host, name, key)
    if "error" in answer and "source" in answer["error"].get("data", {}):
        check_error(answer, ran=server.ran[key] > 0)
        if not fault.runs and answer["error"]["data"].get("http_status", 0) < 500:
            assert not answer["error"]["data"]["may_have_run"], "it was turned away at the door"
    if name == "pay":
        assert server.ran[key] <= 1
    await still_works(server, host)
    assert host.answers[str(key)] == 1
    return answer
