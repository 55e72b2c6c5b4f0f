"""server_stub.core.sharing: many clients, one child, and nothing of one ever reaches another."""

from __future__ import annotations

import json
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown, Fault
from mcp_remote_py.core.message import Key, Kind, Message, parse_one
from server_stub.core.sharing import Command, Ended, Failed, Note, Sharing, Stage, ToChild, ToClient
from tests.support.examples import examples

OURSELVES = {"name": "ourselves", "version": "1"}
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "child"}}


def m(doc: dict[str, Any] | str) -> Message:
    return parse_one((doc if isinstance(doc, str) else json.dumps(doc, separators=(",", ":"))).encode())


def call(identifier: Any, method: str = "tools/call", **params: Any) -> Message:
    return m({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params})


def note(method: str, **params: Any) -> Message:
    return m({"jsonrpc": "2.0", "method": method, "params": params})


class Play:
    """A conversation: events go in, commands come out and are looked at."""

    def __init__(self, *, ready: bool = True) -> None:
        self.sharing = Sharing(OURSELVES)
        self.commands: list[Command] = []
        self._count = 0
        if ready:
            self.do(self.sharing.child_up("seed"))
            self.client(99, call("warm-up")).greet()
            private = self.to_child()[-1].id
            self.child({"jsonrpc": "2.0", "id": private, "result": {}})
            self.take()

    def do(self, commands: list[Command]) -> Self:
        self.commands += commands
        return self

    def client(self, number: int, message: Message) -> Self:
        if message.kind is not Kind.REQUEST:
            return self.do(self.sharing.notice(number, message))
        self._count += 1
        return self.do(self.sharing.request(number, message, f"private-{self._count}"))

    def child(self, doc: dict[str, Any] | str) -> Self:
        return self.do(self.sharing.from_child(m(doc), f"fresh-{len(self.commands)}"))

    def greet(self, **changes: Any) -> Self:
        """Let the child answer the greeting it was just sent."""
        asked = self.to_child()[-1]
        assert asked.method == "initialize"
        return self.child({"jsonrpc": "2.0", "id": asked.id, "result": {**GREETING, **changes}})

    def to_child(self) -> list[Message]:
        return [command.message for command in self.commands if isinstance(command, ToChild)]

    def take(self) -> list[Command]:
        """Return what came out since the last look, without notes."""
        taken: list[Command] = [command for command in self.commands if not isinstance(command, Note)]
        self.commands = []
        return taken


def the_answer(play: Play) -> Message:
    (command,) = play.take()
    assert isinstance(command, ToClient)
    assert command.last
    return command.message


# --- The greeting ----------------------------------------------------------------------------------------------------


def test_a_request_waits_until_the_child_is_there_and_greeted() -> None:
    play = Play(ready=False).client(1, call(5))
    assert play.take() == []
    play.do(play.sharing.child_up("seed"))
    (greeting,) = play.to_child()
    assert greeting.params == {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": OURSELVES}
    play.greet()
    assert [message.method for message in play.to_child()] == ["initialize", "notifications/initialized", "tools/call"]
    assert play.sharing.stage is Stage.READY


def test_initialize_is_answered_from_what_the_child_once_said() -> None:
    play = Play(ready=False).client(1, call("a", "initialize", clientInfo={"name": "first"}))
    play.do(play.sharing.child_up("seed"))
    assert play.to_child()[0].params["clientInfo"] == {"name": "first"}
    play.greet()
    commands = play.take()
    assert [type(command) for command in commands] == [ToChild, ToChild, ToClient]
    assert isinstance(commands[-1], ToClient)
    assert (commands[-1].message.id, commands[-1].message.result) == ("a", GREETING)
    answer = the_answer(play.client(2, call(7, "initialize")))
    assert (answer.id, answer.result) == (7, GREETING)


def test_initialized_reaches_the_child_once() -> None:
    play = Play()
    play.client(1, note("notifications/initialized")).client(2, note("notifications/initialized"))
    assert play.take() == []


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-06-18"),
        ("2099-01-01", "2025-06-18"),
        (None, "2025-06-18"),
    ],
)
def test_a_client_of_an_older_revision_is_answered_with_its_own(asked: Any, answered: str) -> None:
    play = Play(ready=False).client(1, call(1))
    play.do(play.sharing.child_up("seed")).greet(protocolVersion="2025-06-18").take()
    answer = the_answer(play.client(2, call(2, "initialize", protocolVersion=asked)))
    assert answer.result == {**GREETING, "protocolVersion": answered}
    assert parse_one(answer.raw).doc == answer.doc


def test_a_child_that_refuses_the_greeting_refuses_all_who_wait_and_is_asked_again() -> None:
    play = Play(ready=False).client(1, call("a")).client(2, call("b", "initialize"))
    play.do(play.sharing.child_up("seed"))
    error = {"code": -32000, "message": "no"}
    play.child({"jsonrpc": "2.0", "id": play.to_child()[-1].id, "error": error})
    answers = [command.message for command in play.take() if isinstance(command, ToClient)]
    assert [(answer.id, answer.doc["error"]) for answer in answers] == [("a", error), ("b", error)]
    play.client(1, call("c"))
    assert [message.method for message in play.to_child()] == ["initialize"]
    play.greet()
    assert play.sharing.stage is Stage.READY


# --- Ids and tokens --------------------------------------------------------------------------------------------------


def test_equal_ids_of_two_clients_do_not_meet() -> None:
    play = Play().client(1, call(5, n=1)).client(2, call(5, n=2))
    first, second = play.to_child()
    play.take()
    assert first.id != second.id
    play.child({"jsonrpc": "2.0", "id": second.id, "result": {"for": 2}})
    play.child({"jsonrpc": "2.0", "id": first.id, "result": {"for": 1}})
    commands = [command for command in play.take() if isinstance(command, ToClient)]
    assert [(command.private, command.message.raw) for command in commands] == [
        (second.id, b'{"jsonrpc":"2.0","id":5,"result":{"for":2}}'),
        (first.id, b'{"jsonrpc":"2.0","id":5,"result":{"for":1}}'),
    ]


def test_only_the_id_and_the_token_change_on_the_way() -> None:
    raw = (
        '{"x":1.0,"params":{"_meta":{"a":1e5, "progressToken" : 3},"u":"\\u0041\u2028"},'
        '"method":"m","id":1,"jsonrpc":"2.0"}'
    )
    play = Play().client(1, m(raw))
    (sent,) = play.to_child()
    private = json.dumps(sent.id)
    assert sent.raw.decode() == raw.replace('"id":1', f'"id":{private}').replace(": 3", f": {private}")
    assert parse_one(sent.raw).doc == sent.doc
    answer = '{"result":{"x":1.0,"u":"\\u0041\u2028"} , "id" : ID,"jsonrpc":"2.0"}'
    play.take()
    assert the_answer(play.child(answer.replace("ID", private))).raw.decode() == answer.replace("ID", "1")


def test_an_answer_that_quotes_the_private_id_gets_its_id_all_the_same() -> None:
    play = Play().client(1, call("mine"))
    private = play.to_child()[-1].id
    play.take()
    answer = the_answer(play.child({"result": {"your id": private}, "id": private, "jsonrpc": "2.0"}))
    assert (answer.id, answer.doc["id"], parse_one(answer.raw).id) == ("mine", "mine", "mine")
    assert answer.result == {"your id": private}


def test_an_id_that_the_child_spells_with_escapes_is_known() -> None:
    play = Play().client(1, call(8))
    private = str(play.to_child()[-1].id)
    play.take()
    spelled = f"\\u{ord(private[0]):04x}{private[1:]}"
    answer = the_answer(play.child(f'{{"jsonrpc":"2.0","id":"{spelled}","result":{{}}}}'))
    assert answer.raw == b'{"jsonrpc":"2.0","id":8,"result":{}}'


def test_progress_finds_its_request_under_the_clients_own_token() -> None:
    play = Play().client(1, call(1, _meta={"progressToken": "t"})).client(2, call(1, _meta={"progressToken": "t"}))
    _, second = play.to_child()
    play.take()
    token = second.params["_meta"]["progressToken"]
    progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0,"progressToken":"TOKEN"}}'
    play.child(progress.replace("TOKEN", token))
    (command,) = play.take()
    assert isinstance(command, ToClient)
    assert (command.private, command.last) == (second.id, False)
    assert command.message.raw.endswith(b'"params":{"progress":1.0,"progressToken":"t"}}')


@pytest.mark.parametrize("token", ["t", 1, True, None, "private-2", ["private-1"]])
def test_progress_under_a_token_that_nobody_has_is_dropped(token: Any) -> None:
    play = Play().client(1, call(1))  # private-2, which asked for no progress
    play.take()
    play.child({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token}})
    assert play.take() == []


def test_a_token_that_is_no_token_is_left_alone() -> None:
    play = Play().client(1, call(1, _meta={"progressToken": True}))
    assert play.to_child()[-1].params == {"_meta": {"progressToken": True}}


# --- Cancelling and leaving ------------------------------------------------------------------------------------------


def test_a_cancellation_names_the_private_id_and_the_late_answer_is_dropped() -> None:
    play = Play().client(1, call(5)).client(2, call(5))
    first, second = play.to_child()
    play.take()
    play.client(2, note("notifications/cancelled", requestId=5, reason="why"))
    told, ended = play.take()
    assert isinstance(told, ToChild)
    assert told.message.params == {"requestId": second.id, "reason": "why"}
    assert ended == Ended(str(second.id))
    play.child({"jsonrpc": "2.0", "id": second.id, "result": {}})
    assert play.take() == []
    play.child({"jsonrpc": "2.0", "id": first.id, "result": {}})
    assert the_answer(play).id == 5


@pytest.mark.parametrize("target", [6, "5", "private-2", None, True, [5]])
def test_nobody_cancels_what_is_not_his(target: Any) -> None:
    play = Play().client(1, call(5))
    play.take()
    play.client(1, note("notifications/cancelled", requestId=target))
    play.client(2, note("notifications/cancelled", requestId=5))
    assert play.take() == []
    assert play.sharing.open_requests == 1


def test_a_request_that_still_waits_is_cancelled_without_the_child() -> None:
    play = Play(ready=False).client(1, call(5)).client(1, note("notifications/cancelled", requestId=5))
    assert play.take() == [Ended("private-1")]
    play.do(play.sharing.child_up("seed")).greet()
    assert [message.method for message in play.to_child()] == ["initialize", "notifications/initialized"]


def test_initialize_is_never_cancelled() -> None:
    play = Play(ready=False).client(1, call(5, "initialize"))
    play.client(1, note("notifications/cancelled", requestId=5))
    assert play.take() == []
    assert play.sharing.open_requests == 1


def test_a_client_that_has_gone_is_reported_to_the_child() -> None:
    play = Play().client(1, call(5))
    private = str(play.to_child()[-1].id)
    play.take()
    play.do(play.sharing.leave(private)).do(play.sharing.leave(private))
    (command,) = play.take()
    assert isinstance(command, ToChild)
    assert (command.message.method, command.message.params["requestId"]) == ("notifications/cancelled", private)


# --- What the child says on its own ----------------------------------------------------------------------------------


def test_a_ping_of_the_child_is_answered_and_a_question_refused() -> None:
    play = Play()
    play.child({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    play.child({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage"})
    pong, refusal = [command.message for command in play.take() if isinstance(command, ToChild)]
    assert (pong.id, pong.result) == (1, {})
    assert (refusal.id, refusal.doc["error"]["code"]) == ("q", -32601)


def test_what_belongs_to_no_client_reaches_none() -> None:
    play = Play().client(1, call(5))
    play.take()
    play.child({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}})
    play.child({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    play.child({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    play.child({"jsonrpc": "2.0", "id": 5, "result": {}})
    play.child({"jsonrpc": "2.0", "id": "private-77", "result": {}})
    play.child({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}})
    assert play.take() == []


def test_other_notifications_of_a_client_reach_the_child_as_they_are() -> None:
    play = Play().client(1, note("notifications/custom", x=1))
    assert [message.raw for message in play.to_child()] == [note("notifications/custom", x=1).raw]


def test_an_answer_of_a_client_goes_nowhere() -> None:
    assert Play().client(1, m({"jsonrpc": "2.0", "id": 1, "result": {}})).take() == []


# --- The end of the child --------------------------------------------------------------------------------------------


def test_every_open_request_gets_the_fault_and_knows_whether_it_may_have_run() -> None:
    play = Play().client(1, call(5))
    play.take()
    play.do(play.sharing.child_gone(BackendDown("gone", hint="why")))
    (failed,) = play.take()
    assert isinstance(failed, Failed)
    assert failed.fault.may_have_run
    play.client(2, call(6))
    play.do(play.sharing.child_gone(BackendDown("again", hint="why")))
    (failed,) = play.take()
    assert isinstance(failed, Failed)
    assert (str(failed.fault), failed.fault.hint, failed.fault.may_have_run) == ("again", "why", False)
    assert play.sharing.open_requests == 0


def test_the_next_child_is_greeted_again() -> None:
    play = Play()
    play.do(play.sharing.child_gone(BackendDown("gone"))).client(1, call(1)).do(play.sharing.child_up("seed"))
    assert [message.method for message in play.to_child()] == ["initialize"]


def test_a_request_that_could_not_be_written_ends_alone() -> None:
    play = Play().client(1, call(1)).client(2, call(2))
    first = play.to_child()[0]
    play.take()
    fault: Fault = BackendDown("not written")
    play.do(play.sharing.not_sent(str(first.id), fault))
    assert play.take() == [Failed(str(first.id), fault)]
    assert play.sharing.open_requests == 1


# --- Properties ------------------------------------------------------------------------------------------------------

IDS = st.one_of(st.integers(0, 3), st.sampled_from(["0", "1", "a", 1.0]))


class World:
    """Clients that may all use the same ids, and a child that answers when and what it likes."""

    def __init__(self) -> None:
        self.sharing = Sharing(OURSELVES)
        self.asked: dict[str, tuple[int, Key, Any]] = {}  # what each request is, by its private id
        self.ended: dict[str, str] = {}  # how it ended
        self.at_child: dict[str, Any] = {}  # what the child has not answered: its own id -> the mark in the params
        self.tokens: list[Any] = []

    def take(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case ToChild(message, _):
                    self._reached_child(message)
                case ToClient(private, message, last):
                    self._reached_client(private, message, last=last)
                case Failed(private) | Ended(private):
                    self._end(private, "over")
                case _:
                    pass

    def _end(self, private: str, how: str) -> None:
        assert private in self.asked
        assert private not in self.ended, "answered twice"
        self.ended[private] = how

    def _reached_child(self, message: Message) -> None:
        assert parse_one(message.raw).doc == message.doc
        if message.kind is Kind.REQUEST:
            self.at_child[str(message.id)] = message.params.get("mark")
            token = message.params.get("_meta", {}).get("progressToken")
            if token is not None:
                self.tokens.append((token, message.params["mark"]))

    def _reached_client(self, private: str, message: Message, *, last: bool) -> None:
        assert parse_one(message.raw).doc == message.doc
        _, key, mark = self.asked[private]
        if last:
            assert message.key == key
            if message.kind is Kind.RESULT and "mark" in message.result:
                assert message.result["mark"] == mark
            self._end(private, "answered")
        else:
            assert private not in self.ended, "progress after the end"
            assert message.params["mark"] == mark
            assert message.params["progressToken"] == f"token of {key.value}"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), IDS, st.booleans()),
        st.tuples(st.just("initialize"), st.integers(0, 3), IDS),
        st.tuples(st.just("cancel"), st.integers(0, 3), IDS),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("answer"), st.integers(0, 30), st.booleans()),
        st.tuples(st.just("progress"), st.integers(0, 30)),
        st.tuples(st.just("invent"), IDS),
        st.tuples(st.just("up")),
        st.tuples(st.just("gone")),
    ),
    max_size=60,
)


def _step(world: World, step: tuple[Any, ...], count: int) -> None:
    sharing, kind = world.sharing, step[0]
    if kind in ("ask", "initialize"):
        private = f"private-{count}"
        params: dict[str, Any] = {"mark": count}
        if kind == "ask" and step[3]:
            params["_meta"] = {"progressToken": f"token of {msg.key_of(step[2]).value}"}
        message = call(step[2], "tools/call" if kind == "ask" else "initialize", **params)
        world.asked[private] = (step[1], message.key, count)
        world.take(sharing.request(step[1], message, private))
    elif kind == "cancel":
        world.take(sharing.notice(step[1], note("notifications/cancelled", requestId=step[2])))
    elif kind == "leave" and world.asked:
        private = list(world.asked)[step[1] % len(world.asked)]
        if private not in world.ended:
            world.ended[private] = "left"
        world.take(sharing.leave(private))
    elif kind == "answer" and world.at_child:
        identifier = list(world.at_child)[step[1] % len(world.at_child)]
        mark = (
            world.at_child[identifier] if step[2] else world.at_child.pop(identifier)
        )  # sometimes it will do so twice
        result = GREETING if "-greeting-" in identifier else {"mark": mark, "quote": identifier}
        world.take(sharing.from_child(m({"jsonrpc": "2.0", "id": identifier, "result": result}), ""))
    elif kind == "progress" and world.tokens:
        token, mark = world.tokens[step[1] % len(world.tokens)]
        world.take(sharing.from_child(note("notifications/progress", progressToken=token, mark=mark), ""))
    elif kind == "invent":
        world.take(sharing.from_child(m({"jsonrpc": "2.0", "id": step[1], "result": {"mark": "invented"}}), ""))
        world.take(sharing.from_child(note("notifications/progress", progressToken=step[1], mark="invented"), ""))
    elif kind == "up" and sharing.stage is Stage.DOWN:
        world.at_child.clear()
        world.take(sharing.child_up("seed"))
    elif kind == "gone" and sharing.stage is not Stage.DOWN:
        world.take(sharing.child_gone(BackendDown("gone")))


@settings(max_examples=examples(300), deadline=None)
@given(STEPS)
def test_every_request_ends_once_and_for_its_own_client_under_any_interleaving(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for count, step in enumerate(steps):
        _step(world, step, count)
    if world.sharing.stage is Stage.DOWN:
        world.take(world.sharing.child_up("seed"))
    for _ in range(2):  # the greeting, then the rest
        for identifier in list(world.at_child):
            _step(world, ("answer", list(world.at_child).index(identifier), False), -1)
    assert set(world.ended) == set(world.asked)
    assert world.sharing.open_requests == 0
