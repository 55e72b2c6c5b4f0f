"""The children of a member, with real processes: who gets which, when they start, are asked, restarted and given up."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from mcp_remote_py.core.errors import BackendDown, Fault, TimedOut, Unreachable
from mcp_remote_py.core.message import notification, request
from server_stub.backends import Peer
from server_stub.backends.process import ProcessLink
from server_stub.backends.remote import remote_link
from server_stub.backends.supervised import Supervised
from server_stub.core.roster import Care, Manners, Remote
from server_stub.core.vitals import State
from tests.server_stub.backends.members import QUICK, Hosted, hosted, spec
from tests.server_stub.links import SECONDS, eventually, within

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups of POSIX")


def children() -> list[int]:
    """The children that this process has. A zombie that nobody has waited for yet is none."""
    return [one.pid for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


async def refused(member: Hosted) -> Fault:
    """Open a session that cannot be had, and return why."""
    with pytest.raises(BackendDown) as caught:
        await within(member.session())
    return caught.value


# --- A child for each session ----------------------------------------------------------------------------------------


async def test_every_session_has_a_child_of_its_own_which_ends_with_it() -> None:
    async with hosted() as member:
        first, second = await member.session(), await member.session()
        pids = [(await one.call("pid"))["pid"] for one in (first, second)]
        vitals = member.supervised.vitals()
        assert vitals.state is State.READY
        assert [one.pid for one in vitals.running] == pids
        assert [one.sessions for one in vitals.running] == [1, 1]
        await first.link.close()
        assert [one.pid for one in member.supervised.vitals().running] == pids[1:]
        assert not psutil.pid_exists(pids[0])
        checked = member.supervised.vitals().last_check
        await second.link.close()
        vitals = member.supervised.vitals()
        assert vitals.state is State.STOPPED
        assert vitals.last_check == checked is not None  # when it was seen last stays known


async def test_a_session_whose_child_ends_ends_and_the_next_one_starts_another() -> None:
    async with hosted() as member:
        session = await member.session()
        with pytest.raises(BackendDown) as caught:
            await session.call("crash")
        assert "github" in str(caught.value)
        assert "SIGKILL" in str(caught.value)
        assert member.supervised.vitals().consecutive_fails == 0
        for _ in range(5):  # it may crash as often as it likes
            another = await member.session()
            assert (await another.call("pid"))["pid"] in children()
            with pytest.raises(BackendDown):
                await another.call("crash")
        assert member.supervised.vitals().why is not None


async def test_starts_that_fail_are_held_back_and_then_refused_at_once() -> None:
    async with hosted("exit") as member:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            fault = await refused(member)
            assert "github" in str(fault)
            assert "status 3" in str(fault)
            assert "no configuration" in fault.hint
        before = loop.time()
        fault = await refused(member)
        assert loop.time() - before < 0.2
        assert "github" in str(fault)
        assert "status 3" in str(fault)
        assert "restart" in fault.hint
        assert not fault.may_have_run
        vitals = member.supervised.vitals()
        assert (vitals.state, vitals.consecutive_fails, vitals.restarts) == (State.FAILED, 3, 2)
        with pytest.raises(BackendDown):
            await member.link().send(request(1, "initialize"))
    assert children() == []


async def test_a_command_that_does_not_exist_fails_its_member_by_name() -> None:
    async with hosted(command=("no-such-command-here",)) as member:
        fault = await refused(member)
        assert str(fault) == "github: command not found: no-such-command-here"


@pytest.mark.parametrize("how", ["revive", "restart"])
async def test_a_failed_member_may_start_again_when_somebody_says_so(how: str) -> None:
    async with hosted("exit", care=QUICK._replace(restarts=1)) as member:
        await refused(member)
        assert member.supervised.vitals().state is State.FAILED
        if how == "revive":
            member.supervised.revive()
        else:
            await within(member.supervised.restart())
        assert member.supervised.vitals().state is State.STOPPED
        assert "exited with status 3" in str(await refused(member))


async def test_a_session_that_waits_for_the_delay_need_not_wait_after_a_reload() -> None:
    async with hosted("exit", care=QUICK._replace(restarts=5)) as member:
        for _ in range(3):
            await refused(member)  # the next one would wait for two seconds at least
        waiting = asyncio.Event()

        async def another() -> None:
            waiting.set()
            await refused(member)

        before = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(another())
            await waiting.wait()
            member.supervised.revive()
        assert asyncio.get_running_loop().time() - before < 1.5


async def test_a_child_that_does_not_answer_initialize_in_time_is_ended_and_its_session_told() -> None:
    async with hosted("mute", care=QUICK._replace(initialize=0.3)) as member:
        fault = await refused(member)
        assert "github did not answer initialize within 0.3 s" in str(fault)
        assert member.supervised.vitals().consecutive_fails == 1
        await member.sessions[0].link.close()
        assert children() == []


async def test_a_child_that_answers_no_pings_is_ended_and_its_session_told() -> None:
    async with hosted("hang", care=QUICK._replace(ping_every=0.1, ping_failures=3)) as member:
        session = await member.session()
        fault = await session.ended.settle()
        assert "github did not answer 3 pings in a row" in str(fault)
        assert member.supervised.vitals().state is State.STOPPED


async def test_a_child_that_does_not_know_ping_is_alive_and_its_answer_reaches_nobody() -> None:
    async with hosted("no-ping", care=QUICK._replace(ping_every=0.02, ping_failures=1)) as member:
        session = await member.session()
        await eventually(lambda: member.supervised.vitals().last_check is not None, "a check")
        seen: list[str] = []
        while seen.count("ping") < 5:
            seen = (await session.call("seen"))["seen"]
        assert session.told == []
        assert member.supervised.vitals().state is State.READY
        assert (member.supervised.vitals().response or 0) > 0


async def test_a_slow_child_is_not_a_dead_child() -> None:
    async with hosted(care=QUICK._replace(ping_every=0.05, ping_failures=1)) as member:
        session = await member.session()
        assert await session.call("sleep", seconds=0.6) == {"seconds": 0.6}


async def test_a_restart_by_an_operator_ends_the_sessions_of_own_children() -> None:
    async with hosted() as member:
        session = await member.session()
        await within(member.supervised.restart())
        assert member.supervised.vitals().state is State.STOPPED
        assert "github was restarted" in str(await session.ended.settle())
        assert member.supervised.vitals().why is None  # nothing was wrong


async def test_a_child_that_broke_a_rule_is_ended_and_no_other() -> None:
    async with hosted() as member:
        first, second = await member.session(), await member.session()
        pid = (await first.call("pid"))["pid"]
        member.supervised.end_child(pid, "it used more than 500 MB")
        assert "github was ended: it used more than 500 MB" in str(await first.ended.settle())
        member.supervised.end_child(2**30, "nobody")
        assert await second.call("echo", x=1) == {"x": 1}


async def test_leaving_the_block_ends_the_children_of_sessions_that_are_open() -> None:
    async with asyncio.TaskGroup() as group:
        async with Supervised("github", lambda: ProcessLink(spec()), Manners()) as supervised:
            session = await Hosted(supervised, group).session()
            assert children()
        assert await session.ended.settle() is not None
    assert children() == []


async def test_clients_without_a_session_share_a_child_per_principal() -> None:
    async with hosted() as member:
        clients = [await member.client(principal) for principal in ("ann", "ann", "bob")]
        pids = [(await one.call("pid"))["pid"] for one in clients]
        assert pids[0] == pids[1] != pids[2]
        assert (await (await member.session("ann")).call("pid"))["pid"] not in pids


# --- Invalid ---------------------------------------------------------------------------------------------------------


async def test_a_member_that_is_invalid_says_why_to_everyone() -> None:
    async with hosted(start="eager", invalid="command is missing") as member:
        link = member.link()
        for attempt in (link.open(lambda *_: None), link.send(request(1, "ping")), link.listen()):
            with pytest.raises(BackendDown, match="github cannot be started: command is missing"):
                await attempt
        await link.close()
        with pytest.raises(BackendDown, match="command is missing"):
            await member.supervised.tools()
        vitals = member.supervised.vitals()
        assert (vitals.state, vitals.why, vitals.running) == (State.FAILED, "command is missing", ())
    assert children() == []


# --- Operators -------------------------------------------------------------------------------------------------------


async def test_tools_are_asked_of_a_probe_which_is_swept_when_nobody_needs_it() -> None:
    async with hosted("pages") as member:
        answer = await within(member.supervised.tools())
        assert [tool["name"] for tool in answer.result["tools"]] == ["pid", "crash", "sleep", "ask", "tell"]
        assert "nextCursor" not in answer.result
        (probe,) = member.supervised.vitals().running
        assert probe.sessions == 0
        await within(member.supervised.tools())
        assert [one.pid for one in member.supervised.vitals().running] == [probe.pid]
        assert member.supervised.sweep() == 1
        await eventually(lambda: not member.supervised.vitals().running, "the end of the probe")
        assert member.supervised.sweep() == 0
        assert member.supervised.vitals().state is State.STOPPED


async def test_tools_are_asked_of_a_shared_child_where_one_runs() -> None:
    async with hosted(share="principal") as member:
        session = await member.session("ann")
        await member.supervised.tools()
        assert [one.pid for one in member.supervised.vitals().running] == [(await session.call("pid"))["pid"]]
        assert member.supervised.sweep() == 0


async def test_why_there_are_no_tools_is_said() -> None:
    async with hosted("exit") as member:
        with pytest.raises(BackendDown, match=r"github.*status 3"):
            await within(member.supervised.tools())
    async with hosted("hang", care=QUICK._replace(initialize=0.3)) as member:
        with pytest.raises(TimedOut, match="github did not answer tools/list"):
            await within(member.supervised.tools())


async def test_an_eager_member_has_a_child_from_the_beginning_and_keeps_it() -> None:
    async with hosted(start="eager", care=QUICK._replace(idle=0.01)) as member:
        await eventually(lambda: member.supervised.vitals().state is State.READY, "the start")
        (resident,) = member.supervised.vitals().running
        assert (resident.sessions, member.supervised.sweep()) == (0, 0)
        assert resident.pid is not None
        psutil.Process(resident.pid).kill()
        await eventually(lambda: member.supervised.vitals().restarts == 1, "the restart")
        await eventually(lambda: member.supervised.vitals().state is State.READY, "the next one")


@pytest.mark.parametrize("share", ["principal", "shared"])
async def test_an_eager_shared_child_serves_the_clients(share: Any) -> None:
    async with hosted(share=share, start="eager") as member:
        await eventually(lambda: member.supervised.vitals().state is State.READY, "the start")
        (resident,) = member.supervised.vitals().running
        assert (await (await member.session()).call("pid"))["pid"] == resident.pid


async def test_an_eager_child_that_hangs_is_restarted() -> None:
    async with hosted("hang", start="eager", care=QUICK._replace(ping_every=0.05, restarts=1)) as member:
        await eventually(lambda: member.supervised.vitals().state is State.FAILED, "the end")
        vitals = member.supervised.vitals()
        assert vitals.restarts == 1
        assert "did not answer 3 pings" in (vitals.why or "")


# --- One child for several sessions ----------------------------------------------------------------------------------


async def test_sessions_share_a_child_as_the_manners_say() -> None:
    async with hosted(share="principal") as member:
        sessions = [await member.session(principal) for principal in ("ann", "ann", "bob")]
        pids = [(await one.call("pid"))["pid"] for one in sessions]
        assert pids[0] == pids[1] != pids[2]
        assert {one.sessions for one in member.supervised.vitals().running} == {1, 2}
    async with hosted(share="shared") as member:
        sessions = [await member.session(principal) for principal in ("ann", "bob")]
        assert len({(await one.call("pid"))["pid"] for one in sessions}) == 1


async def test_a_question_in_the_course_of_a_call_goes_to_who_called() -> None:
    async with hosted(share="shared") as member:
        ann, bob = await member.session(sampling={}), await member.session(sampling={})
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ann.call("ask", method="sampling/createMessage", params={"maxTokens": 1}))
            (question,) = await ann.until_told("sampling/createMessage")
            await bob.reply(question, {"text": "not mine"})
            await ann.reply(question, {"text": "mine"})
            assert await asking == {"text": "mine"}
        assert bob.told == []


async def test_a_question_that_could_be_for_two_or_that_the_client_does_not_offer_is_refused() -> None:
    async with hosted(share="shared") as member:
        ann, bob = await member.session(sampling={}), await member.session()
        error = await bob.call("ask", method="sampling/createMessage")
        assert (error["code"], "does not offer sampling" in error["message"]) == (-32601, True)
        async with asyncio.TaskGroup() as group:
            sleeping = group.create_task(bob.call("sleep", seconds=0.5))
            while "tools/call" not in (await bob.call("seen"))["seen"][-2:]:
                pass
            error = await ann.call("ask", method="sampling/createMessage")
            assert "none of them can be meant" in error["message"]
            await sleeping


async def test_news_of_the_child_reach_the_sessions_that_they_are_for() -> None:
    async with hosted(share="shared") as member:
        ann, bob = await member.session(), await member.session()
        await ann.ask("resources/subscribe", {"uri": "file:///a"})
        await bob.ask("logging/setLevel", {"level": "error"})
        told: list[dict[str, Any]] = [
            {"method": "notifications/tools/list_changed"},
            {"method": "notifications/resources/updated", "params": {"uri": "file:///a"}},
            {"method": "notifications/message", "params": {"level": "info", "data": "x"}},
            {"method": "notifications/message", "params": {"level": "error", "data": "y"}},
        ]
        await bob.call("tell", notifications=told)
        assert [one.doc for one in (await ann.until_told("notifications/message", 2))[-1:]]
        assert [one.method for one in ann.told] == [one["method"] for one in told]
        await bob.until_told("notifications/message")
        assert [one.method for one in bob.told] == ["notifications/tools/list_changed", "notifications/message"]


async def test_a_shared_child_that_ends_is_restarted_and_what_was_open_hears_at_once() -> None:
    async with hosted(share="shared") as member:
        ann, bob = await member.session(), await member.session()
        pid = (await bob.call("pid"))["pid"]
        sleeping = bob.start(request("s", "tools/call", {"name": "sleep", "arguments": {"seconds": 30}}))
        with pytest.raises(BackendDown):
            await ann.call("crash")
        fault = await sleeping.settle()
        assert isinstance(fault, BackendDown)
        assert fault.may_have_run
        assert (await within(bob.call("pid")))["pid"] != pid  # the session goes on
        vitals = member.supervised.vitals()
        assert (vitals.state, vitals.restarts) == (State.READY, 1)
        assert not ann.ended.done.is_set()


async def test_after_a_restart_the_child_gets_what_the_one_before_had_and_changes_are_told(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("first")
    async with hosted(f"tool={tool}", share="shared") as member:
        session = await member.session()
        await session.ask("resources/subscribe", {"uri": "file:///a"})
        await session.ask("logging/setLevel", {"level": "error"})
        for name, expected in (("first", 0), ("second", 1)):
            tool.write_text(name)
            with pytest.raises(BackendDown):
                await session.call("crash")
            seen = (await within(session.call("seen")))["seen"]
            while seen.count("resources/templates/list") < 1:
                seen = (await session.call("seen"))["seen"]
            assert "resources/subscribe" in seen
            assert "logging/setLevel" in seen
            changes = [one.method for one in session.told]
            if expected:
                await session.until_told("notifications/tools/list_changed")
            else:
                assert changes == []


async def test_a_shared_child_that_keeps_ending_fails_and_its_sessions_stay() -> None:
    async with hosted(share="shared", care=QUICK._replace(restarts=1)) as member:
        session = await member.session()
        for _ in range(2):
            with pytest.raises(BackendDown, match="SIGKILL"):
                await session.call("crash")
        with pytest.raises(BackendDown, match=r"github keeps ending.*is not started.*SIGKILL"):
            await within(session.call("pid"))
        assert member.supervised.vitals().state is State.FAILED
        assert "is not started" in str(await refused(member))
        member.supervised.revive()
        assert "pid" in await within(session.call("pid"))
        assert member.supervised.vitals().state is State.READY


async def test_an_operators_restart_of_a_shared_child_keeps_the_sessions() -> None:
    async with hosted(share="shared") as member:
        session = await member.session()
        pid = (await session.call("pid"))["pid"]
        await within(member.supervised.restart())
        assert not psutil.pid_exists(pid)
        assert (await within(session.call("pid")))["pid"] != pid


async def test_an_idle_shared_child_stops_and_the_session_wakes_another() -> None:
    async with hosted(share="shared", care=QUICK._replace(idle=0.1)) as member:
        session = await member.session()
        await eventually(lambda: member.supervised.vitals().state is State.STOPPED, "its end")
        assert "pid" in await within(session.call("pid"))
        assert member.supervised.vitals().restarts == 0


async def test_restarts_of_a_place_that_nobody_needs_any_more_stay_counted() -> None:
    care = QUICK._replace(window=0.05, idle=0.05)
    async with hosted(share="principal", care=care) as member:
        session = await member.session()
        with pytest.raises(BackendDown):
            await within(session.call("crash"))
        await within(session.call("pid"))
        checked = member.supervised.vitals().last_check or 0
        await session.link.close()
        await eventually(lambda: not member.supervised._places, "the end of the place")
        vitals = member.supervised.vitals()
        assert vitals.restarts == 1
        assert (vitals.last_check or 0) >= checked > 0


async def test_a_shared_child_that_hangs_is_restarted() -> None:
    care = QUICK._replace(ping_every=0.1, ping_failures=2)
    async with hosted("hang", share="shared", care=care) as member:
        await member.session()
        await eventually(lambda: member.supervised.vitals().restarts >= 1, "a restart")


async def test_subscriptions_are_given_up_with_the_last_session_that_had_them() -> None:
    async with hosted(share="shared") as member:
        ann, bob, eve = [await member.session() for _ in range(3)]
        for one in (ann, bob):
            await one.ask("resources/subscribe", {"uri": "file:///a"})
        await ann.ask("resources/unsubscribe", {"uri": "file:///a"})
        assert "resources/unsubscribe" not in (await eve.call("seen"))["seen"]
        await bob.link.close()
        assert "resources/unsubscribe" in (await eve.call("seen"))["seen"]


async def test_a_cancellation_reaches_the_own_call_alone() -> None:
    async with hosted(share="shared") as member:
        ann, bob = await member.session(), await member.session()
        sleep = {"name": "sleep", "arguments": {"seconds": 0.3}}
        mine, other = ann.start(request(7, "tools/call", sleep)), bob.start(request(7, "tools/call", sleep))
        await ann.link.send(notification("notifications/cancelled", {"requestId": 7}))
        assert await mine.settle() is None
        assert await other.settle() is None
        assert (await bob.answer_to(request(7, "x"))).result == {"seconds": 0.3}


# --- Logs ------------------------------------------------------------------------------------------------------------


async def test_what_a_member_prints_goes_to_its_own_logger(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with hosted("exit") as member:
        await refused(member)
    lines = [record for record in caplog.records if "no configuration" in record.getMessage()]
    assert {record.name for record in lines} == {"server_stub.members.github"}


# --- Remote ----------------------------------------------------------------------------------------------------------


async def test_a_remote_member_is_tried_again_however_often_it_was_away() -> None:
    async with hosted("exit", remote=True, care=Care(restarts=0)) as member:
        for _ in range(6):
            assert "status 3" in str(await refused(member))
        # a machine that is slow may be done with the pause already
        assert member.supervised.vitals().state in (State.COOLING, State.STOPPED)


async def test_an_address_where_nobody_listens_is_told_of_at_once() -> None:
    far = Remote("http://127.0.0.1:9/mcp", "http")
    manners = Manners(care=Care(initialize=10 * SECONDS))
    supervised = Supervised(
        "far", lambda: remote_link(far, learn=lambda _: None, name="far", environ={}), manners, remote=True
    )
    async with supervised:
        with pytest.raises(Unreachable, match="far"):
            await within(supervised.tools())


async def test_outside_its_block_it_shares_nothing() -> None:
    face = Supervised("github", lambda: ProcessLink(spec()), Manners(share="shared")).connect(Peer(None, None))
    with pytest.raises(RuntimeError):
        await face.send(request(1, "x"))
