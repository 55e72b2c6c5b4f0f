"""Which limits a request has, and when each of them passes: minutes of it, on a clock that the test turns."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Timer
from mcp_remote_py.core.errors import Interrupted, Refused, SessionLost, Unreachable
from mcp_remote_py.core.framing import Oversize
from mcp_remote_py.core.link import Traits
from mcp_remote_py.core.message import Invalid, Message
from mcp_remote_py.core.patience import Patience, spelled
from mcp_remote_py.core.relay import LINGER_SECONDS
from tests.support.examples import examples
from tests.support.playbook import HTTP, INITIALIZE, INITIALIZED, PIPE, answer, call, note
from tests.support.virtual_time import Timed

WIRES = pytest.mark.parametrize("traits", [HTTP, PIPE], ids=["http", "pipe"])


def timed(traits: Traits = HTTP, **limits: Any) -> Timed:
    """A relay after its handshake."""
    world = Timed(Patience(**limits), traits)
    world.greet()
    return world


def one_limit(name: str, seconds: float) -> Patience:
    return Patience(request=seconds) if name == "request" else Patience(first_byte=seconds)


def tool(name: str, identifier: object = 5, **params: Any) -> Message:
    return call(identifier, "tools/call", name=name, **params)


def progress(token: object) -> Message:
    return note("notifications/progress", progressToken=token, progress=1)


def with_token(token: object, identifier: object = 5) -> Message:
    return call(identifier, "tools/call", name="slow", _meta={"progressToken": token})


# --- The whole request -------------------------------------------------------------------------------------------


@WIRES
def test_without_a_limit_a_call_may_take_a_day_and_no_timer_is_ever_armed(traits: Traits) -> None:
    world = timed(traits)
    world.host(with_token("t"))
    for _ in range(24 * 60):
        world.passes(60)
        world.heard(call(5))
        world.server(progress("t"))
        world.server(call("q", "elicitation/create"))
        world.host(answer("q"))
    world.answers(5)
    assert world.errors() == []
    assert world.armed == 0


@WIRES
def test_the_whole_limit_counts_from_the_arrival_whatever_is_heard(traits: Traits) -> None:
    world = timed(traits, request=240.0)
    world.host(with_token("t"))
    for _ in range(239):
        world.passes(1)
        world.heard(call(5))
        world.server(progress("t"), call(5).key if traits is HTTP else None)
    assert world.errors() == []
    world.passes(1)
    assert world.errors() == [(5, "no answer within 240 s (--timeout)")]
    assert world.cancels() == [5]
    assert world.dropped == [call(5).key]
    assert world.timers == {}


@WIRES
def test_an_answer_in_time_leaves_no_timer_behind(traits: Traits) -> None:
    world = timed(traits, request=240.0, first_byte=60.0, idle=60.0)
    world.host(tool("a"))
    world.passes(59)
    world.heard(call(5))
    world.passes(59)
    world.answers(5)
    assert world.timers == {}
    world.passes(1000)
    assert world.errors() == []


@pytest.mark.parametrize(
    ("tools", "name", "limit"),
    [
        ((("search", 300.0),), "search", 300.0),
        ((("search", 300.0),), "other", 30.0),
        ((("search", 300.0),), "Search", 30.0),
        ((("search", 300.0), ("search", 5.0)), "search", 5.0),
        ((("search", 5.0), ("search", None)), "search", None),
        ((("search", None), ("search", 5.0)), "search", 5.0),
        ((("search", None),), "search", None),
        ((("a=b", 60.0),), "a=b", 60.0),
    ],
)
def test_a_tool_may_have_a_limit_of_its_own(
    tools: tuple[tuple[str, float | None], ...], name: str, limit: float | None
) -> None:
    world = timed(request=30.0, tools=tools)
    world.host(tool(name))
    if limit is None:
        world.passes(86400)
        assert world.errors() == []
        return
    world.passes(limit - 0.01)
    assert world.errors() == []
    world.passes(0.01)
    assert len(world.errors()) == 1


def test_a_limit_of_a_tool_concerns_calls_of_that_tool_alone() -> None:
    world = timed(tools=(("search", 5.0),))
    world.host(tool("other", 1))
    world.host(call(2, "prompts/get", name="search"))
    world.host(call(3, "tools/call", name=["search"]))
    world.host(call(4, "tools/call"))
    assert world.armed == 0
    world.host(tool("search", 5))
    world.passes(3600)
    assert world.errors() == [(5, "no answer within 5 s (--tool-timeout)")]


@pytest.mark.parametrize(
    ("limits", "request_", "hints"),
    [
        ({"request": 30.0}, call(5, "resources/read"), ["--timeout"]),
        ({"request": 30.0}, tool("search"), ["--timeout", "--tool-timeout search=60s"]),
        ({"request": 30.0}, tool("rm -rf; \u202e"), ["--timeout", "--tool-timeout NAME=60s"]),
        ({"request": 30.0}, call(5, "tools/call", name=7), ["--timeout"]),
        ({"tools": (("search", 0.25),)}, tool("search"), ["--tool-timeout search=0.5s", "search=off"]),
        ({"first_byte": 30.0}, tool("search"), ["--first-byte-timeout"]),
    ],
)
def test_the_hint_names_the_flag(limits: dict[str, Any], request_: Message, hints: list[str]) -> None:
    world = timed(**limits)
    world.host(request_)
    world.passes(30)
    (doc,) = world.told
    assert doc["error"]["code"] == -31002
    assert [hint for hint in hints if hint not in doc["error"]["data"]["hint"]] == []
    assert doc["error"]["data"]["hint"].isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(30.0, "30 s"), (0.25, "0.25 s"), (100.0, "100 s"), (1e7, "10000000 s"), (0.2, "0.2 s"), (90.5, "90.5 s")],
)
def test_a_duration_is_spelled_without_powers_of_ten(seconds: float, text: str) -> None:
    assert spelled(seconds) == text


# --- The first byte ----------------------------------------------------------------------------------------------


@WIRES
def test_a_server_that_does_not_begin_an_answer_is_given_up(traits: Traits) -> None:
    world = timed(traits, first_byte=60.0)
    world.host(call(5))
    world.passes(59.9)
    assert world.errors() == []
    world.passes(0.1)
    assert world.errors() == [(5, "no answer was begun within 60 s (--first-byte-timeout)")]
    assert world.cancels() == [5]


def test_the_head_of_the_answer_is_the_first_byte_and_then_there_is_time() -> None:
    world = timed(first_byte=60.0)
    world.host(call(5))
    world.passes(59)
    world.heard(call(5))
    assert world.timers == {}
    world.passes(86400)
    assert world.errors() == []


def test_on_a_pipe_progress_is_the_first_sign_and_what_belongs_to_others_is_none() -> None:
    world = timed(PIPE, first_byte=60.0)
    world.host(with_token("mine"))
    world.host(with_token("theirs", 6))
    world.passes(30)
    world.server(progress("theirs"))
    world.server(note("notifications/message", level="info", data="x"))
    world.server(progress("nobody's"))
    world.server(progress(None))
    world.server(note("notifications/progress", progressToken=True))
    world.passes(30)
    assert world.errors() == [(5, "no answer was begun within 60 s (--first-byte-timeout)")]
    world.passes(3600)
    assert len(world.errors()) == 1


def test_progress_is_a_sign_by_http_too_on_whatever_stream_it_comes() -> None:
    world = timed(first_byte=60.0, idle=60.0)
    world.host(with_token(7))
    for _ in range(10):
        world.passes(50)
        world.server(progress(7))
    assert world.errors() == []
    world.passes(60)
    assert world.errors() == [(5, "an answer was begun, then nothing came for 60 s (--idle-timeout)")]


def test_the_clock_starts_when_the_request_has_gone_out() -> None:
    world = timed(first_byte=60.0)
    world.writes = False
    world.host(call(5))
    world.passes(1000)  # a large upload
    assert world.errors() == []
    world.perform(world.relay.written(call(5).key))
    world.passes(60)
    assert len(world.errors()) == 1


def test_what_is_sent_twice_after_a_401_has_the_whole_time_again() -> None:
    world = timed(first_byte=60.0)
    world.host(call(5))
    world.passes(50)
    world.perform(world.relay.written(call(5).key))
    world.passes(50)
    assert world.errors() == []
    world.passes(10)
    assert len(world.errors()) == 1


# --- Silence -----------------------------------------------------------------------------------------------------


def test_an_answer_that_began_may_be_silent_for_so_long_only() -> None:
    world = timed(idle=60.0)
    world.host(call(5))
    world.passes(3600)  # nothing has begun: no limit for that was given
    for _ in range(100):
        world.heard(call(5))
        world.passes(59)
    assert world.errors() == []
    world.passes(1)
    assert world.errors() == [(5, "an answer was begun, then nothing came for 60 s (--idle-timeout)")]
    assert world.told[0]["error"]["data"]["may_have_run"] is True
    assert world.cancels() == [5]


def test_on_a_pipe_progress_by_its_token_is_the_sign_of_life() -> None:
    world = timed(PIPE, idle=60.0)
    world.host(with_token(7))
    world.host(with_token("7", 6))
    world.server(progress(7))
    world.server(progress("7"))
    for _ in range(5):
        world.passes(50)
        world.server(progress(7.0))  # as some servers echo an integer
    assert [identifier for identifier, _ in world.errors()] == [6]
    world.answers(5)
    assert world.timers == {}


def test_a_token_that_is_used_again_belongs_to_the_later_request() -> None:
    world = timed(PIPE, idle=60.0)
    world.host(with_token("t", 5))
    world.server(progress("t"))
    world.host(with_token("t", 6))
    world.answers(5)
    world.server(progress("t"))
    world.passes(60)
    assert [identifier for identifier, _ in world.errors()] == [6]


def test_a_pipe_on_which_the_server_asks_something_is_alive() -> None:
    world = timed(PIPE, idle=60.0)
    world.host(with_token("t"))
    world.server(progress("t"))
    for _ in range(10):
        world.passes(50)
        world.server(call("p", "ping"))
    assert world.errors() == []
    world.passes(60)
    assert len(world.errors()) == 1


# --- A person is asked -------------------------------------------------------------------------------------------

QUESTIONS = pytest.mark.parametrize(
    "method", ["elicitation/create", "sampling/createMessage", "roots/list", "future/x"]
)


@WIRES
@QUESTIONS
def test_while_the_server_waits_for_the_host_silence_is_not_counted(traits: Traits, method: str) -> None:
    world = timed(traits, idle=60.0, first_byte=60.0)
    world.host(with_token("t"))
    world.heard(call(5)) if traits is HTTP else world.server(progress("t"))
    world.passes(50)
    world.server(call("q", method), call(5).key if traits is HTTP else None)
    world.passes(3600)
    assert world.errors() == []
    world.host(answer("q"))
    world.passes(59)
    assert world.errors() == []
    world.passes(1)
    assert len(world.errors()) == 1


@WIRES
def test_a_question_before_the_first_byte_stops_that_clock_as_well(traits: Traits) -> None:
    world = timed(traits, first_byte=60.0)
    world.host(call(5))
    world.server(call("q", "elicitation/create"))
    world.passes(3600)
    world.host(call(6))
    world.passes(3600)
    assert world.errors() == []
    world.host(answer("q"))
    world.passes(60)
    assert [identifier for identifier, _ in world.errors()] == [5, 6]


def test_the_whole_limit_runs_on_while_a_person_thinks() -> None:
    world = timed(request=300.0, idle=60.0)
    world.host(call(5))
    world.heard(call(5))
    world.server(call("q", "elicitation/create"), call(5).key)
    world.passes(300)
    assert world.errors() == [(5, "no answer within 300 s (--timeout)")]


def test_over_http_a_question_stops_the_clock_of_its_own_request_alone() -> None:
    world = timed(idle=60.0)
    for identifier in (5, 6):
        world.host(call(identifier))
        world.heard(call(identifier))
    world.server(call("q", "elicitation/create"), call(5).key)
    world.passes(3600)
    assert [identifier for identifier, _ in world.errors()] == [6]


@pytest.mark.parametrize("way", ["withdrawn", "malformed", "asked again", "too large", "answered with an error"])
def test_however_a_question_ends_the_clock_runs_again(way: str) -> None:
    world = timed(PIPE, idle=60.0)
    world.host(with_token("t"))
    world.server(progress("t"))
    world.server(call("q", "elicitation/create"))
    world.passes(600)
    if way == "withdrawn":
        world.server(note("notifications/cancelled", requestId="q"))
    elif way == "malformed":
        world.perform(world.relay.invalid(Invalid(-32600, "both", "q", answerable=False)))
    elif way == "asked again":
        world.server(call("q", "elicitation/create"))
        world.passes(600)
        assert world.errors() == []
        world.host(answer("q"))
    elif way == "too large":
        world.perform(world.relay.oversize(Oversize(b'{"jsonrpc":"2.0","id":"q","result":{"x":"', b'"}}', 10**9)))
    else:
        world.host(msg.error("q", -1, "declined"))
    assert world.errors() == []
    world.passes(60)
    assert len(world.errors()) == 1


def test_of_two_questions_the_last_answer_starts_the_clock() -> None:
    world = timed(PIPE, idle=60.0)
    world.host(with_token("t"))
    world.server(progress("t"))
    world.server(call("q", "elicitation/create"))
    world.server(call("r", "sampling/createMessage"))
    world.host(answer("q"))
    world.passes(600)
    assert world.errors() == []
    world.host(answer("r"))
    world.passes(60)
    assert len(world.errors()) == 1


def test_a_question_of_a_request_that_ended_stops_nobody() -> None:
    world = timed(idle=60.0)
    world.host(call(5))
    world.heard(call(5))
    world.server(call("q", "elicitation/create"), call(5).key)
    world.answers(5)
    world.host(call(5))
    world.heard(call(5))
    world.passes(60)
    assert len(world.errors()) == 1


# --- What a time-out does ----------------------------------------------------------------------------------------


@WIRES
def test_what_comes_late_is_dropped_and_no_surprise(traits: Traits) -> None:
    world = timed(traits, request=30.0)
    world.host(call(5))
    world.passes(30)
    world.notes.clear()
    world.answers(5)
    world.host(note("notifications/cancelled", requestId=5))
    world.perform(world.relay.exchange_over(call(5).key, Interrupted("gone")))
    assert len(world.told) == 1
    assert world.cancels() == [5]
    assert {level for level, _ in world.notes} == {"debug"}


def test_a_cancelled_call_does_not_time_out() -> None:
    world = timed(request=30.0, idle=10.0)
    world.host(call(5))
    world.heard(call(5))
    world.host(note("notifications/cancelled", requestId=5))
    assert set(world.timers) == {Timer("linger", call(5).key)}
    world.heard(call(5))
    world.passes(LINGER_SECONDS + 3600)
    assert world.told == []


def test_an_id_that_is_used_again_has_its_own_time() -> None:
    world = timed(request=30.0)
    world.host(call(5))
    world.passes(20)
    world.host(call(5))
    world.passes(20)
    assert world.errors() == []
    world.passes(10)
    assert len(world.errors()) == 1
    world.host(call(5))
    world.answers(5)
    assert [doc["id"] for doc in world.told] == [5, 5]
    assert world.timers == {}


def test_each_call_of_a_batch_has_its_own_clock_and_the_batch_its_array() -> None:
    world = Timed(Patience(tools=(("a", 10.0), ("b", 20.0))))
    world.host(call(0, "initialize", protocolVersion="2025-03-26"))
    world.server(answer(0, {"protocolVersion": "2025-03-26"}), call(0).key)
    world.host(INITIALIZED)
    raws = b",".join(item.raw for item in (tool("a", 1), tool("b", 2), tool("c", 3)))
    world.lines.clear()
    world.host(b"[" + raws + b"]")
    world.passes(15)
    world.answers(3)
    assert world.lines == []
    world.passes(5)
    (line,) = world.lines
    assert [(doc["id"], "error" in doc) for doc in json.loads(line)] == [(1, True), (3, False), (2, True)]


@WIRES
def test_a_held_request_times_out_as_one_that_never_ran(traits: Traits) -> None:
    world = Timed(Patience(request=30.0, first_byte=5.0), traits)
    world.dials = False
    world.host(call(5))
    world.host(call(6))
    world.passes(29)
    assert world.errors() == []  # nothing has been sent: only the whole request is counted
    world.passes(1)
    assert [doc["error"]["data"]["may_have_run"] for doc in world.told] == [False, False]
    assert world.cancels() == []
    assert world.dropped == []
    world.perform(world.relay.link_up(traits))
    assert world.at_server == []


def test_over_http_a_request_that_has_not_gone_out_cannot_have_run() -> None:
    world = timed(request=30.0)
    world.writes = False
    world.host(call(5))
    world.passes(30)
    assert world.told[0]["error"]["data"]["may_have_run"] is False
    assert world.cancels() == []
    assert world.dropped == [call(5).key]


@WIRES
@pytest.mark.parametrize("limit", ["request", "first_byte"])
def test_an_initialize_that_times_out_is_not_cancelled_and_leaves_the_bridge_usable(traits: Traits, limit: str) -> None:
    world = Timed(one_limit(limit, 30.0), traits)
    world.host(INITIALIZE)
    world.host(INITIALIZED)
    world.passes(1)
    world.host(call(5))
    world.passes(30)
    assert [(doc["id"], doc["error"]["data"]["may_have_run"]) for doc in world.told] == [(0, True), (5, False)]
    assert world.cancels() == []
    again = call("again", "initialize", protocolVersion="2025-06-18")
    world.host(again)
    world.server(answer("again", {"protocolVersion": "2025-06-18"}), again.key if traits is HTTP else None)
    world.host(INITIALIZED)
    world.host(call(6))
    world.answers(6)
    assert [doc["id"] for doc in world.told if "result" in doc] == ["again", 6]
    assert world.timers == {}


def test_an_initialize_that_times_out_while_dialling_takes_what_waits_behind_it_along() -> None:
    world = Timed(Patience(request=30.0), PIPE)
    world.dials = False
    world.host(INITIALIZE)
    world.host(INITIALIZED)
    world.passes(1)
    world.host(call(5))
    world.passes(29)
    assert [identifier for identifier, _ in world.errors()] == [0, 5]
    world.host(call(1, "initialize", protocolVersion="2025-06-18"))
    world.perform(world.relay.link_up(PIPE))
    assert [message.id for message in world.at_server] == [1]


def test_the_first_clock_starts_anew_on_the_other_wire() -> None:
    world = Timed(Patience(request=100.0, first_byte=30.0), strategy="http-first")
    world.host(INITIALIZE)
    world.passes(29)
    world.heard(INITIALIZE)
    world.dials = False
    world.perform(world.relay.exchange_over(INITIALIZE.key, Refused("no", http_status=405)))
    assert set(world.timers) == {Timer("timeout", INITIALIZE.key)}
    world.passes(29)
    world.perform(world.relay.link_up(PIPE))
    world.passes(29)
    assert world.errors() == []
    world.passes(1)
    assert world.errors() == [(0, "no answer was begun within 30 s (--first-byte-timeout)")]


# --- A session that was lost -------------------------------------------------------------------------------------


def lost(world: Timed, identifier: int = 5) -> Message:
    """A call finds out that the session is gone. Returns the `initialize` that the relay sends on its own."""
    world.host(call(identifier))
    world.heard(call(identifier))
    world.perform(world.relay.exchange_over(call(identifier).key, SessionLost("404")))
    return world.at_server[-1]


def test_a_call_that_is_sent_again_keeps_its_whole_time_and_starts_the_others_anew() -> None:
    world = timed(request=100.0, first_byte=30.0, idle=20.0)
    world.host(call(5))
    world.passes(29)
    world.heard(call(5))
    world.perform(world.relay.exchange_over(call(5).key, SessionLost("404")))
    world.passes(29)
    again = world.at_server[-1]
    world.server(answer(again.id, {"protocolVersion": "2025-06-18"}), again.key)
    world.passes(29)
    assert world.errors() == []
    world.heard(call(5))
    world.passes(13)
    assert world.errors() == [(5, "no answer within 100 s (--timeout)")]


@pytest.mark.parametrize("limit", ["request", "first_byte"])
def test_a_reopening_that_never_ends_is_given_up_and_the_next_call_tries_again(limit: str) -> None:
    world = timed(**one_limit(limit, 30.0)._asdict())
    first = lost(world)
    assert first.method == "initialize"
    world.passes(30)
    ((identifier, text),) = world.errors()
    assert identifier == 5
    assert "no answer" in text
    assert world.told[0]["error"]["data"]["may_have_run"] is False
    assert world.cancels() == []
    assert first.key in world.dropped
    world.host(call(6))
    second = world.at_server[-1]
    assert (second.method, second.id) == ("initialize", "private-2")
    world.server(answer(first.id, {"protocolVersion": "2025-06-18"}), first.key)  # late, and nobody's
    world.server(answer(second.id, {"protocolVersion": "2025-06-18"}), second.key)
    world.answers(6)
    assert [doc["id"] for doc in world.told] == [5, 6]
    assert world.timers == {}


def test_a_call_of_the_old_session_is_not_cancelled_in_the_new_one() -> None:
    world = timed(request=100.0)
    world.host(call(4))
    world.passes(50)
    again = lost(world)
    world.server(answer(again.id, {"protocolVersion": "2025-06-18"}), again.key)
    world.passes(50)
    assert [identifier for identifier, _ in world.errors()] == [4]
    assert world.cancels() == []


def test_a_question_of_a_lost_session_stops_nobody() -> None:
    world = timed(idle=60.0)
    world.host(call(4))
    world.heard(call(4))
    world.server(call("q", "elicitation/create"))
    again = lost(world)
    world.server(answer(again.id, {"protocolVersion": "2025-06-18"}), again.key)
    world.passes(60)
    assert [identifier for identifier, _ in world.errors()] == [4]


def test_a_pipe_that_broke_takes_its_clocks_along() -> None:
    world = timed(PIPE, request=30.0, first_byte=10.0)
    world.host(call(5))
    world.perform(world.relay.link_down(Interrupted("gone")))
    assert world.timers == {}
    world.passes(3600)
    assert len(world.told) == 1


@pytest.mark.parametrize("fault", [Interrupted("broke"), Unreachable("refused")])
def test_what_was_held_when_the_way_broke_has_not_run(fault: Interrupted | Unreachable) -> None:
    world = Timed(Patience())
    world.host(INITIALIZE)
    world.host(call(5))
    world.perform(world.relay.exchange_over(INITIALIZE.key, fault))
    ran = {doc["id"]: doc["error"]["data"]["may_have_run"] for doc in world.told}
    assert ran == {0: fault.may_have_run, 5: False}
    assert "may have run" not in world.told[1]["error"]["data"]["hint"]


# --- Any order ---------------------------------------------------------------------------------------------------

DEEDS = (
    "call",
    "written",
    "heard",
    "progress",
    "answer",
    "cancel",
    "over",
    "lost",
    "question",
    "reply",
    "time",
    "again",
)
STEPS = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 3), st.floats(0, 40)), max_size=60)
LIMIT = st.one_of(st.none(), st.sampled_from([5.0, 10.0, 30.0]))
LIMITS = st.builds(Patience, LIMIT, st.just((("slow", 60.0),)) | st.just(()), LIMIT, LIMIT, LIMIT)


class Anything:
    """A host, a server and a clock that do anything in any order, each host's id used as often as it likes."""

    def __init__(self, patience: Patience, traits: Traits) -> None:
        self.world = timed(traits, **patience._asdict())
        self.asked: Counter[int] = Counter()
        self.replaced: Counter[int] = Counter()
        self.cancelled: Counter[int] = Counter()
        self.late: Counter[int] = Counter()
        """Answers to what had been cancelled: they pass, and end nothing."""

    def open(self) -> set[int]:
        ended = self.replaced + self.cancelled
        return {n for n in self.asked if self.asked[n] - ended[n] - (self.told(n) - self.late[n]) > 0}

    def told(self, identifier: int) -> int:
        return sum(1 for doc in self.world.told if doc.get("id") == identifier and "method" not in doc)

    def step(self, deed: str, n: int, seconds: float) -> None:
        world, exchange = self.world, call(n).key if self.world.traits is HTTP else None
        match deed:
            case "call":
                self.replaced[n] += n in self.open()
                self.asked[n] += 1
                world.writes = seconds < 30
                world.host(call(n, "tools/call", name="slow" if n % 2 else "fast", _meta={"progressToken": n}))
            case "written" | "heard":
                world.perform(getattr(world.relay, deed)(call(n).key))
            case "progress":
                world.server(progress(n), exchange)
            case "answer":
                was_open, before = n in self.open(), self.told(n)
                world.answers(n)
                self.late[n] += 0 if was_open else self.told(n) - before
            case "cancel":
                self.cancelled[n] += n in self.open()
                world.host(note("notifications/cancelled", requestId=n))
            case "over" if world.traits is HTTP:
                world.perform(world.relay.exchange_over(call(n).key, None))
            case "lost" if world.traits is HTTP:
                world.perform(world.relay.exchange_over(call(n).key, SessionLost("404")))
            case "question":
                world.server(call(f"q{n}", "elicitation/create"), exchange if seconds > 20 else None)
            case "reply":
                world.host(answer(f"q{n}"))
            case "again" if world.at_server and world.at_server[-1].method == "initialize":
                private = world.at_server[-1]
                world.server(answer(private.id, {"protocolVersion": "2025-06-18"}), exchange and private.key)
            case "time":
                world.passes(seconds)


@given(LIMITS, st.sampled_from([HTTP, PIPE]), STEPS)
@settings(max_examples=examples(400), deadline=None)
def test_in_whatever_order_things_happen_each_id_gets_one_answer_for_each_use(
    patience: Patience, traits: Traits, steps: list[tuple[str, int, float]]
) -> None:
    anything = Anything(patience, traits)
    world = anything.world
    for step in steps:
        anything.step(*step)
        for n in anything.asked:
            most = anything.asked[n] - anything.replaced[n]
            assert most - anything.cancelled[n] - (n in anything.open()) <= anything.told(n) <= most, (n, world.told)
        clocks = {timer.exchange for timer in world.timers if timer.purpose in ("timeout", "silence")}
        known = {call(n).key for n in anything.open()}
        assert all(key in known or str(key.value).startswith("private") for key in clocks)
    if patience.request is not None:
        world.passes(200)
        world.passes(200)
        assert anything.open() == set(), "the whole limit ends everything"
    world.perform(world.relay.stop("end"))
    assert anything.open() == set()
