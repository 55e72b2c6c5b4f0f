"""When the server is pinged, and that a ping never harms anybody."""

from __future__ import annotations

import pytest

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Timer
from mcp_remote_py.core.errors import Interrupted, Refused, SessionLost
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Message, key_of
from mcp_remote_py.core.patience import Patience
from tests.support.playbook import GREETED, HTTP, INITIALIZE, INITIALIZED, PIPE, answer, call, note
from tests.support.virtual_time import Timed

WIRES = pytest.mark.parametrize("traits", [HTTP, PIPE], ids=["http", "pipe"])
TIMER = Timer("ping", key_of(""))


def beating(traits: Traits = HTTP, limits: Patience | None = None) -> Timed:
    """A relay after its handshake, with a ping every 30 seconds."""
    world = Timed((limits or Patience())._replace(ping=30.0), traits)
    world.greet()
    return world


def pings(world: Timed) -> list[Message]:
    return [message for message in world.at_server if message.method == "ping"]


def pong(world: Timed) -> None:
    """The server answers the last ping."""
    ping = pings(world)[-1]
    world.server(answer(ping.id), ping.key if world.traits is HTTP else None)
    if world.traits is HTTP:
        world.perform(world.relay.exchange_over(ping.key, None))


@WIRES
def test_a_silent_session_is_pinged_once_in_every_interval(traits: Traits) -> None:
    world = beating(traits)
    for count in range(1, 6):
        world.passes(29.9)
        assert len(pings(world)) == count - 1
        world.passes(0.1)
        assert len(pings(world)) == count
        pong(world)
    assert len({message.id for message in pings(world)}) == 5
    assert world.told == []
    assert world.relay.is_quiet


@WIRES
def test_whatever_is_said_by_either_side_puts_the_ping_off(traits: Traits) -> None:
    world = beating(traits)
    for _ in range(10):
        world.passes(20)
        world.host(call(5))
        world.passes(20)
        world.server(note("notifications/message", data="x"))
        world.passes(20)
        world.answers(5)
        world.passes(20)
        world.server(call("q", "ping"))
        world.passes(20)
        world.host(answer("q"))
        world.passes(20)
        world.host(note("notifications/roots/list_changed"))
    assert pings(world) == []


def test_nobody_is_pinged_before_the_session_is_initialised() -> None:
    world = Timed(Patience(ping=30.0))
    world.host(INITIALIZE)
    world.passes(3600)
    world.server(GREETED, INITIALIZE.key)
    world.passes(3600)
    assert TIMER not in world.timers
    world.host(INITIALIZED)
    world.passes(30)
    assert len(pings(world)) == 1


def test_without_the_flag_nothing_is_armed() -> None:
    world = Timed(Patience())
    world.greet()
    world.host(call(5))
    world.answers(5)
    assert world.armed == 0


@WIRES
def test_an_unanswered_ping_ends_nothing_and_no_other_one_follows(traits: Traits) -> None:
    world = beating(traits)
    world.passes(3600)
    assert len(pings(world)) == 1
    assert world.timers == {}
    assert [text for level, text in world.notes if level == "warning"] == [
        "the server has not answered a ping for 30 s"
    ]
    world.host(call(5))
    world.answers(5)
    pong(world)
    world.passes(30)
    assert len(pings(world)) == 2
    assert [doc["id"] for doc in world.told] == [5]


@WIRES
def test_an_error_is_an_answer_as_well(traits: Traits) -> None:
    world = beating(traits)
    world.passes(30)
    world.server(msg.error(pings(world)[0].id, -32601, "no such method"))
    world.passes(30)
    assert len(pings(world)) == 2
    assert world.told == []


def test_a_ping_that_failed_is_tried_again_and_complained_about_once() -> None:
    world = beating()
    for count in range(1, 5):
        world.passes(30)
        assert len(pings(world)) == count
        world.perform(world.relay.exchange_over(pings(world)[-1].key, Refused("no", http_status=500)))
    assert [level for level, text in world.notes if "ping" in text] == ["warning", "debug", "debug", "debug"]
    assert world.told == []


def test_a_ping_that_finds_the_session_gone_leaves_it_to_the_next_message_to_open_another() -> None:
    world = beating()
    world.passes(30)
    world.perform(world.relay.exchange_over(pings(world)[-1].key, SessionLost("404")))
    world.passes(3600)
    assert len(world.at_server) == 1, "an idle host needs no session"
    world.host(call(5))
    again = world.at_server[-1]
    assert again.method == "initialize"
    world.server(answer(again.id, {"protocolVersion": "2025-06-18"}), again.key)
    world.answers(5)
    assert [doc["id"] for doc in world.told] == [5]
    world.passes(30)
    assert len(pings(world)) == 2


def test_a_pipe_that_broke_is_not_pinged_until_the_next_one_is_greeted() -> None:
    world = beating(PIPE)
    world.passes(30)
    world.perform(world.relay.link_down(Interrupted("gone")))
    world.passes(3600)
    assert len(pings(world)) == 1
    world.host(call(5))
    again = world.at_server[-1]
    world.server(answer(again.id, {"protocolVersion": "2025-06-18"}))
    world.answers(5)
    world.passes(30)
    assert len(pings(world)) == 2


def test_a_host_that_initializes_again_begins_anew() -> None:
    world = beating(PIPE)
    world.passes(30)
    old = pings(world)[0]
    world.host(call("again", "initialize", protocolVersion="2025-06-18"))
    assert world.dropped == [old.key]
    world.passes(3600)
    world.server(answer(old.id))
    world.server(answer("again", {"protocolVersion": "2025-06-18"}))
    world.host(INITIALIZED)
    world.passes(30)
    assert len(pings(world)) == 2
    assert [doc["id"] for doc in world.told] == ["again"]


def test_no_limit_of_a_call_concerns_a_ping() -> None:
    world = beating(limits=Patience(request=5.0, first_byte=2.0, idle=1.0))
    world.passes(30)
    world.heard(pings(world)[0])
    world.passes(3600)
    assert world.told == []
    assert world.cancels() == []


def test_at_the_end_no_timer_is_left() -> None:
    world = beating()
    world.passes(30)
    world.perform(world.relay.stop("end of input"))
    assert world.timers == {}
