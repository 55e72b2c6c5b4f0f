"""All shapers in one chain, against random hosts and servers: one answer per id, no sign of life after it."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.commands import Arm, Disarm, Timer, ToClient
from mcp_remote_py.core.filters import Filter, Rule
from mcp_remote_py.core.heartbeat import Heartbeat
from mcp_remote_py.core.late_results import TOOL, LateResults
from mcp_remote_py.core.message import Kind, Message, key_of, parse_one
from mcp_remote_py.core.names import Names
from mcp_remote_py.core.pins import Pins
from mcp_remote_py.core.result_size import ResultSize
from mcp_remote_py.core.shaping import Chain, Onward
from tests.support.examples import examples

HIDDEN, SHOWN = "delete-all", ("getUser", "readIt")
OURS = {"get_user": "getUser", "read_it": "readIt"}


def a_chain() -> Chain:
    return Chain(
        [
            Heartbeat(1.0),
            LateResults(2.0, 3.0),
            ResultSize(600),
            Names("snake"),
            Filter(Rule("tool", ("delete*",)), Rule("prompt"), Rule("resource")),
            Pins("warn", {}, lambda _: None),
        ]
    )


class Session(RuleBasedStateMachine):
    """A host on one side, a server that answers when it likes on the other, and timers that ring when they like."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = a_chain()
        self.count = 0
        self.waiting: dict[int, str | None] = {}
        """The host's open requests by id, and their tokens."""
        self.cancelled: set[int] = set()
        self.at_server: dict[int, Message] = {}
        self.armed: set[Timer] = set()
        self.knows_names = False

    def take(self, steps: list[Any] | None) -> None:
        for step in steps or []:
            if isinstance(step, Arm):
                self.armed.add(step.name)
            elif isinstance(step, Disarm):
                self.armed.discard(step.name)
            elif isinstance(step, ToClient):
                self.hears(parse_one(step.raw))
            elif isinstance(step, Onward):
                self.server_hears(step.message)

    def server_hears(self, message: Message) -> None:
        if message.kind is Kind.REQUEST:
            assert isinstance(message.id, int)
            self.at_server[message.id] = message
            if message.method == "tools/call":
                assert message.params["name"] in SHOWN

    def hears(self, message: Message) -> None:
        if message.is_answer:
            assert isinstance(message.id, int)
            if message.id in self.cancelled:
                return
            assert message.id in self.waiting, f"{message.id} was answered twice, or never asked"
            del self.waiting[message.id]
            assert b"delete" not in message.raw or message.kind is Kind.ERROR
        else:
            assert message.params["progressToken"] in self.waiting.values()

    def asks(self, method: str, params: dict[str, Any], token: str | None = None) -> None:
        self.count += 1
        self.waiting[self.count] = token
        meta = {} if token is None else {"_meta": {"progressToken": token}}
        self.take(self.chain.from_host(msg.request(self.count, method, {**params, **meta})))

    @rule()
    def lists(self) -> None:
        self.asks("tools/list", {})

    @precondition(lambda self: self.knows_names)
    @rule(name=st.sampled_from([*OURS, "delete_all"]), with_token=st.booleans())
    def calls(self, name: str, with_token: bool) -> None:
        self.asks("tools/call", {"name": name}, f"t{self.count}" if with_token else None)

    @rule(number=st.integers(0, 3), with_token=st.booleans())
    def collects(self, number: int, with_token: bool) -> None:
        handle = {"handle": f"result-{number}"} if number else {}
        self.asks("tools/call", {"name": TOOL, "arguments": handle}, f"t{self.count}" if with_token else None)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[identifier]
        self.cancelled.add(identifier)
        self.take(self.chain.from_host(msg.notification("notifications/cancelled", {"requestId": identifier})))

    @precondition(lambda self: self.at_server)
    @rule(data=st.data(), size=st.sampled_from([0, 5000]), fails=st.booleans())
    def answers(self, data: st.DataObject, size: int, fails: bool) -> None:
        identifier = data.draw(st.sampled_from(sorted(self.at_server)))
        asked = self.at_server.pop(identifier)
        if fails:
            answer = msg.error(identifier, -31003, "broke")
        elif asked.method == "tools/list":
            answer = msg.result(identifier, {"tools": [{"name": name} for name in (HIDDEN, *SHOWN)]})
            self.knows_names = True
        else:
            answer = msg.result(identifier, {"content": [{"type": "text", "text": "x" * size}]})
        self.take(self.chain.to_host(answer))

    @precondition(lambda self: self.at_server)
    @rule(data=st.data())
    def reports(self, data: st.DataObject) -> None:
        asked = self.at_server[data.draw(st.sampled_from(sorted(self.at_server)))]
        token = asked.params.get("_meta", {}).get("progressToken")
        if token is not None and asked.id not in self.cancelled:
            params = {"progressToken": token, "progress": 1}
            self.take(self.chain.to_host(msg.notification("notifications/progress", params)))

    @precondition(lambda self: self.armed)
    @rule(data=st.data())
    def rings(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.armed)))
        self.armed.discard(name)
        steps = self.chain.timer(name)
        assert steps is not None
        self.take(steps)

    @invariant()
    def every_timer_has_a_reason(self) -> None:
        for name in self.armed:
            if name.purpose == "heartbeat":
                assert self.waiting.get(int(name.exchange.value)) is not None
            elif name.purpose == "host-timeout":
                assert name.exchange.value in self.waiting

    def teardown(self) -> None:
        """The server answers the rest: then nobody waits, but for those that collect what never came."""
        for identifier in list(self.at_server):
            del self.at_server[identifier]
            self.take(self.chain.to_host(msg.error(identifier, -31010, "over")))
        assert self.waiting == {}
        assert {name.purpose for name in self.armed} <= {"keep-result"}


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)


def test_keys_of_timers_are_the_keys_of_requests() -> None:
    chain = a_chain()
    steps = chain.from_host(msg.request("a", "tools/call", {"name": "x", "_meta": {"progressToken": "t"}}))
    assert {step.name for step in steps if isinstance(step, Arm)} == {
        Timer("heartbeat", key_of("a")),
        Timer("host-timeout", key_of("a")),
    }
