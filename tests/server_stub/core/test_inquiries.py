"""What members ask the client: private ids both ways, and no member in another one's way."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from server_stub.core.inquiries import MOST, Inquiries, ToMember

IDS = st.sampled_from([0, 1, "1", "x"])


def asked(questions: Inquiries, member: str, identifier: Any, private: str, **params: Any) -> msg.Message:
    question = questions.ask(member, msg.request(identifier, "sampling/createMessage", params), private)
    assert question is not None
    return question


def test_a_question_goes_out_under_a_private_id_and_its_answer_comes_back_under_its_own() -> None:
    questions = Inquiries()
    question = asked(questions, "a", 5, "p", prompt="1.0")
    assert question.id == "p"
    assert question.params == {"prompt": "1.0"}
    answer = questions.answer(msg.result("p", {"ok": 1}))
    assert answer is not None
    assert answer.member == "a"
    assert answer.message.doc == {"jsonrpc": "2.0", "id": 5, "result": {"ok": 1}}
    assert questions.answer(msg.result("p", {})) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), IDS), max_size=8, unique=True), st.randoms())
def test_every_answer_reaches_the_member_that_asked_in_any_order(pairs: list[tuple[str, Any]], dice: Any) -> None:
    questions = Inquiries()
    private = {pair: f"p{number}" for number, pair in enumerate(pairs)}
    for (member, identifier), text in private.items():
        asked(questions, member, identifier, text)
    order = list(pairs)
    dice.shuffle(order)
    for member, identifier in order:
        answer = questions.answer(msg.result(private[member, identifier], {}))
        assert answer == ToMember(member, msg.result(identifier, {}))
    assert len(questions) == 0


def test_answers_to_nothing_are_for_nobody() -> None:
    questions = Inquiries()
    asked(questions, "a", 5, "p")
    assert questions.answer(msg.result(5, {})) is None
    assert questions.answer(msg.result("5", {})) is None
    assert questions.answer(msg.error(None, -1, "?")) is None


def test_a_member_can_cancel_its_own_questions_only() -> None:
    questions = Inquiries()
    asked(questions, "a", 5, "p")
    cancel = msg.notification("notifications/cancelled", {"requestId": 5, "reason": "r"})
    assert questions.cancel("b", cancel) is None
    changed = questions.cancel("a", cancel)
    assert changed is not None
    assert changed.params == {"requestId": "p", "reason": "r"}
    assert questions.cancel("a", cancel) is None
    assert questions.answer(msg.result("p", {})) is None


def test_progress_on_a_question_goes_to_the_member_under_its_own_token() -> None:
    questions = Inquiries()
    question = asked(questions, "a", 5, "p", _meta={"progressToken": 1})
    asked(questions, "b", 5, "q", _meta={"progressToken": 1})
    asked(questions, "b", 6, "r")
    assert question.params["_meta"] == {"progressToken": "p"}
    item = questions.progress(msg.notification("notifications/progress", {"progressToken": "q", "progress": 2}))
    assert item is not None
    assert item.member == "b"
    assert item.message.params == {"progressToken": 1, "progress": 2}
    for unknown in ("r", 1, "x"):
        told = msg.notification("notifications/progress", {"progressToken": unknown, "progress": 2})
        assert questions.progress(told) is None


def test_the_questions_of_a_member_that_is_gone_are_cancelled() -> None:
    questions = Inquiries()
    asked(questions, "a", 5, "p")
    asked(questions, "b", 5, "q")
    (cancelled,) = questions.gone("a")
    assert cancelled.params["requestId"] == "p"
    assert questions.answer(msg.result("p", {})) is None
    assert questions.answer(msg.result("q", {})) is not None


def test_a_member_cannot_pile_up_questions() -> None:
    questions = Inquiries()
    for number in range(MOST):
        asked(questions, "a", number, f"p{number}")
    assert questions.ask("a", msg.request("more", "roots/list"), "x") is None
    asked(questions, "b", 1, "y")
