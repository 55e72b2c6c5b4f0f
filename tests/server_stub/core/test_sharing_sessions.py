"""server_stub.core.sharing with clients that have sessions: whom the child may ask, who hears what, who may answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import BackendDown
from mcp_remote_py.core.message import Kind, Message, notification, parse_one, request
from server_stub.core.sharing import Command, Ended, Failed, Sharing, Stage, ToChild, ToClient, ToSession
from tests.support.examples import examples

EVERYTHING = {"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}}
OFFERS: dict[str, Any] = {"sampling": {}, "elicitation": {}, "roots": {}}


def m(doc: dict[str, Any]) -> Message:
    return parse_one(json.dumps({"jsonrpc": "2.0", **doc}).encode())


class Play:
    """A shared child in the test's hands, and clients that have introduced themselves."""

    def __init__(self, *clients: int, capabilities: dict[str, Any] | None = None) -> None:
        self.sharing = Sharing({"name": "ourselves"}, may_ask=True)
        self.count = 0
        for client in clients:
            self.sharing.join(client)
        self.up({} if capabilities is None else capabilities)
        for client in clients:
            self.introduce(client)

    def fresh(self) -> str:
        self.count += 1
        return f"fresh-{self.count}"

    def up(self, capabilities: dict[str, Any]) -> list[Command]:
        (greeting,) = [one for one in self.sharing.child_up(self.fresh()) if isinstance(one, ToChild)]
        result = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {}}
        return self.child({"id": greeting.message.id, "result": result})

    def introduce(self, client: int, **offers: Any) -> None:
        self.ask(client, "initialize", capabilities=offers or OFFERS)
        self.sharing.notice(client, notification("notifications/initialized"))

    def ask(self, client: int, method: str, **params: Any) -> list[Command]:
        return self.sharing.request(client, request(self.count, method, params), self.fresh())

    def child(self, doc: dict[str, Any]) -> list[Command]:
        return self.sharing.from_child(m(doc), self.fresh())

    def sent(self, commands: list[Command]) -> list[Message]:
        return [command.message for command in commands if isinstance(command, ToChild)]

    def call(self, client: int) -> str:
        """Let a client call a tool, and return the private id of the call."""
        (sent,) = self.sent(self.ask(client, "tools/call"))
        return str(sent.id)

    def finish(self, private: str) -> None:
        self.child({"id": private, "result": {}})

    def question(self, method: str = "sampling/createMessage", **params: Any) -> Command:
        (command,) = [
            command
            for command in self.child({"id": "q", "method": method, "params": params})
            if isinstance(command, ToChild | ToClient | ToSession)
        ]
        return command


def refusal(command: Command) -> str:
    assert isinstance(command, ToChild)
    assert (command.message.kind, command.message.id) == (Kind.ERROR, "q")
    text: str = command.message.doc["error"]["message"]
    return text


def told(commands: list[Command]) -> list[tuple[int, str | None]]:
    return [(command.client, command.message.method) for command in commands if isinstance(command, ToSession)]


# --- Questions -------------------------------------------------------------------------------------------------------


def test_the_child_is_greeted_with_what_a_client_might_offer() -> None:
    sharing = Sharing({"name": "ourselves"}, may_ask=True)
    (greeting,) = sharing.child_up("seed")
    assert isinstance(greeting, ToChild)
    assert greeting.message.params["capabilities"] == OFFERS


def test_a_question_goes_to_the_one_whose_request_is_in_progress_on_its_stream() -> None:
    play = Play(1, 2)
    private = play.call(2)
    question = play.question(prompt="x")
    assert isinstance(question, ToClient)
    assert (question.private, question.last) == (private, False)
    assert question.message.id != "q"
    assert question.message.params == {"prompt": "x"}


def test_without_a_request_in_progress_it_goes_to_the_only_session() -> None:
    question = Play(1).question("roots/list")
    assert isinstance(question, ToSession)
    assert question.client == 1


@pytest.mark.parametrize("callers", [(), (1, 2), (7,), (1, 7)])
def test_a_question_that_nobody_or_more_than_one_can_be_meant_by_is_refused(callers: tuple[int, ...]) -> None:
    play = Play(1, 2)
    for caller in callers:  # 7 has no session
        play.call(caller)
    assert "none of them can be meant" in refusal(play.question())


def test_two_requests_of_one_client_are_one_client() -> None:
    play = Play(1, 2)
    play.call(1)
    last = play.call(1)
    question = play.question()
    assert isinstance(question, ToClient)
    assert question.private == last


def test_a_client_that_does_not_offer_it_is_not_asked() -> None:
    play = Play()
    play.sharing.join(1)
    play.introduce(1, roots={})
    assert "does not offer sampling" in refusal(play.question())
    assert isinstance(play.question("roots/list"), ToSession)


def test_a_session_that_has_not_read_the_answer_to_its_initialize_is_not_asked() -> None:
    play = Play()
    play.sharing.join(1)
    play.ask(1, "initialize", capabilities=OFFERS)
    assert "none of them" in refusal(play.question())


def test_the_answer_comes_back_under_the_childs_id_and_from_its_client_alone() -> None:
    play = Play(1, 2)
    play.call(1)
    question = play.question()
    assert isinstance(question, ToClient)
    answer = msg.result(question.message.key.value, {"text": 1.5})
    assert play.sent(play.sharing.notice(2, answer)) == []
    (sent,) = play.sent(play.sharing.notice(1, answer))
    assert (sent.id, sent.result) == ("q", {"text": 1.5})
    assert play.sent(play.sharing.notice(1, answer)) == []


def test_progress_of_a_client_belongs_to_a_question_that_it_was_asked() -> None:
    play = Play(1, 2)
    play.call(1)
    question = play.question(_meta={"progressToken": 5})
    assert isinstance(question, ToClient)
    token = question.message.params["_meta"]["progressToken"]
    assert token == question.message.id
    progress = notification("notifications/progress", {"progressToken": token, "progress": 1})
    assert play.sent(play.sharing.notice(2, progress)) == []
    (sent,) = play.sent(play.sharing.notice(1, progress))
    assert sent.params == {"progressToken": 5, "progress": 1}


def test_a_question_that_the_child_takes_back_is_taken_back_from_its_client() -> None:
    play = Play(1, 2)
    play.call(1)
    question = play.question()
    assert isinstance(question, ToClient)
    (command,) = play.child({"method": "notifications/cancelled", "params": {"requestId": "q"}})
    assert isinstance(command, ToSession)
    assert (command.client, command.message.params["requestId"]) == (1, question.message.id)
    assert play.sent(play.sharing.notice(1, msg.result(question.message.key.value, {}))) == []


def test_a_client_that_goes_leaves_no_question_unanswered() -> None:
    play = Play(1, 2)
    play.call(1)
    play.question()
    (sent,) = play.sent(play.sharing.part(1))
    assert (sent.kind, sent.id) == (Kind.ERROR, "q")


def test_the_end_of_the_child_takes_its_questions_back() -> None:
    play = Play(1)
    question = play.question()
    assert isinstance(question, ToSession)
    commands = play.sharing.child_gone(BackendDown("gone"))
    assert told(commands) == [(1, "notifications/cancelled")]


# --- News ------------------------------------------------------------------------------------------------------------


def test_a_change_of_a_list_is_for_all_that_are_ready() -> None:
    play = Play(1, 2)
    play.sharing.join(3)
    commands = play.child({"method": "notifications/prompts/list_changed"})
    assert told(commands) == [(client, "notifications/prompts/list_changed") for client in (1, 2)]


def test_what_is_meant_for_one_that_is_not_known_reaches_none_of_several() -> None:
    play = Play(1, 2)
    news = {"method": "notifications/custom", "params": {}}
    assert told(play.child(news)) == []
    play.call(2)
    assert told(play.child(news)) == [(2, "notifications/custom")]


@pytest.mark.parametrize(
    ("uri", "listeners"),
    [("file:///a", [1]), ("file:///a/b", [1]), ("file:///ab", []), ("file:///b", [2]), (None, [])],
)
def test_an_update_is_for_its_subscribers(uri: Any, listeners: list[int]) -> None:
    play = Play(1, 2)
    play.ask(1, "resources/subscribe", uri="file:///a")
    play.ask(2, "resources/subscribe", uri="file:///b")
    commands = play.child({"method": "notifications/resources/updated", "params": {"uri": uri}})
    assert told(commands) == [(client, "notifications/resources/updated") for client in listeners]


def test_an_unsubscription_reaches_the_child_with_the_last() -> None:
    play = Play(1, 2)
    for client in (1, 2):
        play.ask(client, "resources/subscribe", uri="u")
    (answer,) = play.ask(1, "resources/unsubscribe", uri="u")
    assert isinstance(answer, ToClient)
    assert answer.message.result == {}
    assert [one.method for one in play.sent(play.ask(2, "resources/unsubscribe", uri="u"))] == ["resources/unsubscribe"]


def test_a_subscription_that_was_refused_is_none() -> None:
    play = Play(1)
    (sent,) = play.sent(play.ask(1, "resources/subscribe", uri="u"))
    play.child({"id": sent.id, "error": {"code": -1, "message": "no"}})
    assert told(play.child({"method": "notifications/resources/updated", "params": {"uri": "u"}})) == []
    assert play.sent(play.sharing.part(1)) == []


def test_a_session_that_goes_takes_its_subscriptions_and_its_level_with_it() -> None:
    play = Play(1, 2)
    play.ask(1, "resources/subscribe", uri="u")
    for client in (1, 2):
        play.ask(client, "resources/subscribe", uri="of both")
    play.ask(2, "logging/setLevel", level="error")
    play.ask(1, "logging/setLevel", level="debug")
    sent = play.sent(play.sharing.part(1))
    assert [(one.method, one.params) for one in sent] == [
        ("resources/unsubscribe", {"uri": "u"}),
        ("logging/setLevel", {"level": "error"}),
    ]
    assert play.child({"id": sent[0].id, "result": {}}) == []


def test_the_child_gets_the_lowest_level_and_each_session_what_reaches_its_own() -> None:
    play = Play(1, 2, 3)
    assert play.sent(play.ask(1, "logging/setLevel", level="error"))[0].params == {"level": "error"}
    assert play.sent(play.ask(2, "logging/setLevel", level="debug"))[0].params == {"level": "debug"}
    assert play.sent(play.ask(1, "logging/setLevel", level="warning")) == []
    assert play.sent(play.ask(2, "logging/setLevel", level="alert"))[0].params == {"level": "warning"}
    for level, readers in [("debug", []), ("info", [3]), ("warning", [1, 3]), ("emergency", [1, 2, 3])]:
        commands = play.child({"method": "notifications/message", "params": {"level": level, "data": 1}})
        assert [client for client, _ in told(commands)] == readers


def test_a_level_that_is_none_is_the_childs_to_refuse() -> None:
    play = Play(1)
    play.ask(1, "logging/setLevel", level="error")
    assert play.sent(play.ask(1, "logging/setLevel", level="loud"))[0].params == {"level": "loud"}


# --- After a restart -------------------------------------------------------------------------------------------------


def answer_all(play: Play, commands: list[Command], tools: list[str]) -> list[Command]:
    """Let the child answer what we ask of our own accord, until nothing is left; return what was told."""
    waiting, heard = commands, []
    while waiting:
        more: list[Command] = []
        for command in waiting:
            if isinstance(command, ToChild) and command.is_ours:
                asked = command.message
                result: dict[str, Any] = {}
                if asked.method == "tools/list":
                    at = int(asked.params.get("cursor", 0))
                    result = {"tools": [{"name": name} for name in tools[at : at + 1]]}
                    result |= {"nextCursor": str(at + 1)} if at + 1 < len(tools) else {}
                more += play.child({"id": asked.id, "result": result})
            else:
                heard.append(command)
        waiting = more
    return heard


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "c"], ["notifications/tools/list_changed"]),
        (["a"], [], ["notifications/tools/list_changed"]),
    ],
)
def test_what_another_child_offers_otherwise_is_told(before: list[str], after: list[str], changes: list[str]) -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), before)
    play.sharing.child_gone(BackendDown("gone"))
    heard = answer_all(play, play.up(EVERYTHING), after)
    assert [method for _, method in told(heard)] == changes


def test_a_child_that_does_not_come_and_one_that_comes_after_all_are_told() -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), ["a"])
    changes = [(1, f"notifications/{kind}/list_changed") for kind in ("tools", "prompts", "resources")]
    assert told(play.sharing.child_gone(BackendDown("it ended"))) == []
    assert told(play.sharing.child_gone(BackendDown("it did not start"))) == changes
    assert told(play.sharing.child_gone(BackendDown("nor now"))) == []
    assert told(answer_all(play, play.up(EVERYTHING), ["a"])) == changes


def test_what_was_found_is_told_though_the_child_ends_while_it_is_read() -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), ["a"])
    play.sharing.child_gone(BackendDown("gone"))
    (first, *_) = [
        one for one in play.up(EVERYTHING) if isinstance(one, ToChild) and one.message.method == "tools/list"
    ]
    play.child({"id": first.message.id, "result": {"tools": [{"name": "b"}]}})
    play.sharing.child_gone(BackendDown("gone"))
    assert told(answer_all(play, play.up(EVERYTHING), ["b"])) == [(1, "notifications/tools/list_changed")]


def test_a_list_that_cannot_be_asked_for_holds_up_no_other() -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), ["a"])
    play.sharing.child_gone(BackendDown("gone"))
    reading = play.up(EVERYTHING)
    (unsent,) = [one for one in reading if isinstance(one, ToChild) and one.message.method == "prompts/list"]
    heard = answer_all(play, [one for one in reading if one is not unsent], ["b"])
    heard += play.sharing.not_sent(str(unsent.message.id), BackendDown("refused"))
    assert (1, "notifications/tools/list_changed") in told(heard)


def test_what_another_child_does_not_offer_any_more_is_told() -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), ["a"])
    play.sharing.child_gone(BackendDown("gone"))
    changes = [(1, f"notifications/{kind}/list_changed") for kind in ("tools", "prompts", "resources")]
    assert told(answer_all(play, play.up({}), [])) == changes


def test_what_changed_in_the_life_of_a_child_is_compared_as_the_clients_know_it() -> None:
    play = Play(1)
    play.sharing.child_gone(BackendDown("gone"))
    answer_all(play, play.up(EVERYTHING), ["a"])
    play.child({"method": "notifications/tools/list_changed"})
    (sent,) = play.sent(play.ask(1, "tools/list"))
    answer_all(play, play.child({"id": sent.id, "result": {"tools": [{"name": "b"}]}}), ["b"])
    play.sharing.child_gone(BackendDown("gone"))
    assert told(answer_all(play, play.up(EVERYTHING), ["b"])) == []
    play.child({"method": "notifications/tools/list_changed"})  # and nobody has looked
    play.sharing.child_gone(BackendDown("gone"))
    heard = answer_all(play, play.up(EVERYTHING), ["b"])
    assert told(heard) == [(1, "notifications/tools/list_changed")]


def test_a_fresh_child_gets_the_level_and_the_subscriptions_first() -> None:
    play = Play(1, 2)
    play.ask(1, "resources/subscribe", uri="u")
    play.ask(2, "resources/subscribe", uri="u")
    play.ask(2, "logging/setLevel", level="error")
    play.sharing.child_gone(BackendDown("gone"))
    play.ask(1, "tools/call")
    methods = [one.method for one in play.sent(play.up({}))]
    assert methods == ["notifications/initialized", "logging/setLevel", "resources/subscribe", "tools/call"]


# --- Id sharing never crosses clients --------------------------------------------------------------------------------

CLIENTS = st.integers(0, 2)
IDS = st.sampled_from([0, 1, "1", "a", 1.5])


class NeverCrosses(RuleBasedStateMachine):
    """Three clients use the same few ids, and answer and cancel whatever they have ever heard of; the child asks,
    answers and reports what and when it likes. Everything carries the mark of the client it is for."""

    @initialize()
    def begin(self) -> None:
        self.sharing = Sharing({"name": "ourselves"}, may_ask=True)
        self.count = 0
        self.joined: set[int] = set()
        self.owner: dict[str, int] = {}  # the client of each request, by its private id
        self.ended: set[str] = set()
        self.at_child: dict[Any, int | None] = {}  # what the child may answer: the mark in its params
        self.asked_of: dict[str, int] = {}  # who was given which question
        self.known: list[Any] = [0, "a"]  # every id that any client has seen
        self.open_questions: dict[Any, int | None] = {}  # of the child: who may answer
        self.take(self.sharing.child_up(self.fresh()))
        self.greet()
        for client in (0, 1):
            self.join(client)

    def fresh(self) -> str:
        self.count += 1
        return f"fresh-{self.count}"

    def greet(self) -> None:
        (greeting,) = self.at_child
        result = {"capabilities": {}, "protocolVersion": "2025-06-18"}
        del self.at_child[greeting]
        self.take(self.sharing.from_child(msg.result(greeting, result), self.fresh()))

    def take(self, commands: list[Command], sender: int | None = None) -> None:
        for command in commands:
            if isinstance(command, ToChild):
                self.reached_child(command.message, sender)
            elif isinstance(command, ToClient):
                self.reached_client(self.owner[command.private], command.message)
                assert command.private not in self.ended
                if command.last:
                    self.ended.add(command.private)
            elif isinstance(command, ToSession):
                assert command.client in self.joined
                self.reached_client(command.client, command.message)
            elif isinstance(command, Failed | Ended):
                assert command.private not in self.ended
                self.ended.add(command.private)

    def reached_child(self, message: Message, sender: int | None) -> None:
        assert parse_one(message.raw).doc == message.doc
        if message.kind is Kind.REQUEST:
            assert message.id not in self.at_child, "an id twice"
            self.at_child[message.id] = message.params.get("mark")
        elif message.is_answer:
            assert message.id in self.open_questions, "an answer to nothing"
            meant = self.open_questions.pop(message.id)
            if message.kind is Kind.RESULT:
                assert sender == meant, "one client answered for another"
        elif message.method == "notifications/cancelled" and sender is not None:
            assert self.owner[message.params["requestId"]] == sender, "one client cancelled for another"

    def reached_client(self, client: int, message: Message) -> None:
        assert parse_one(message.raw).doc == message.doc
        mark = message.result.get("mark") if message.is_answer else message.params.get("mark")
        assert mark in (None, client), "what is for one client reached another"
        assert message.params.get("progressToken", 0) in (0, 1, "1", "a", 1.5), "a token that is not the client's"
        if message.kind is Kind.REQUEST:
            assert message.id not in self.asked_of
            self.asked_of[str(message.id)] = client
            self.open_questions[message.params["own"]] = client
            self.known.append(message.id)

    @rule(client=CLIENTS)
    def join(self, client: int) -> None:
        if client not in self.joined:
            self.sharing.join(client)
            self.joined.add(client)
            self.ask(client, "initialize", self.count, capabilities=OFFERS)
            self.take(self.sharing.notice(client, notification("notifications/initialized")), client)

    @rule(client=CLIENTS)
    def part(self, client: int) -> None:
        for private, owner in self.owner.items():
            if owner == client and private not in self.ended:
                self.ended.add(private)
                self.take(self.sharing.leave(private))
        self.joined.discard(client)
        self.take(self.sharing.part(client))

    def ask(self, client: int, method: str, identifier: Any, **params: Any) -> None:
        private = self.fresh()
        self.owner[private] = client
        message = request(identifier, method, {"mark": client, **params})
        self.take(self.sharing.request(client, message, private), client)

    @rule(client=CLIENTS, identifier=IDS, with_token=st.booleans())
    def call(self, client: int, identifier: Any, with_token: bool) -> None:
        self.ask(client, "tools/call", identifier, **({"_meta": {"progressToken": identifier}} if with_token else {}))

    @rule(client=CLIENTS, data=st.data())
    def cancel(self, client: int, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from([*self.known, *list(self.owner)[-5:]]))
        cancelled = notification("notifications/cancelled", {"requestId": target})
        self.take(self.sharing.notice(client, cancelled), client)

    @rule(client=CLIENTS, data=st.data())
    def answer_as_a_client(self, client: int, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(self.known[-3:]))
        self.take(self.sharing.notice(client, msg.result(target, {"from": client})), client)

    @precondition(lambda self: self.at_child)
    @rule(data=st.data())
    def answer_as_the_child(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(list(self.at_child)))
        mark = self.at_child.pop(identifier)
        result = {"capabilities": {}, "protocolVersion": "2025-06-18"} if mark is None else {"mark": mark}
        self.take(self.sharing.from_child(msg.result(identifier, result), self.fresh()))

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from([*self.owner, "a", 1]))
        params = {"progressToken": token, "mark": self.owner.get(token) if isinstance(token, str) else None}
        self.take(self.sharing.from_child(notification("notifications/progress", params), self.fresh()))

    @precondition(lambda self: self.sharing.stage is Stage.READY)
    @rule(data=st.data(), alone=st.booleans())
    def ask_and_tell_in_the_course_of_a_request(self, data: st.DataObject, alone: bool) -> None:
        # of a call that its client has given up nobody knows that the child is still at it
        marks = [mark for one, mark in self.at_child.items() if mark is not None and one not in self.ended]
        mark = data.draw(st.sampled_from(marks)) if marks else None
        if alone:  # the child has answered all the others
            for identifier in [one for one, other in self.at_child.items() if other not in (None, mark)]:
                answer = msg.result(identifier, {"mark": self.at_child.pop(identifier)})
                self.take(self.sharing.from_child(answer, self.fresh()))
        own = f"own-{self.count}"
        self.open_questions[own] = None
        question = request(own, "sampling/createMessage", {"own": own, "mark": mark})
        self.take(self.sharing.from_child(question, self.fresh()))
        self.take(self.sharing.from_child(notification("notifications/custom", {"mark": mark}), self.fresh()))

    @rule(greets=st.booleans())
    def another_child(self, greets: bool) -> None:
        self.open_questions.clear()
        self.at_child.clear()
        self.take(self.sharing.child_gone(BackendDown("gone")))
        self.take(self.sharing.child_up(self.fresh()))
        if greets:
            self.greet()

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        if hasattr(self, "sharing"):
            assert self.sharing.open_requests == len(self.owner) - len(self.ended)


NeverCrosses.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)
TestNeverCrosses = NeverCrosses.TestCase
