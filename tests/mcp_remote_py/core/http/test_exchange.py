"""Which message is the answer."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import Interrupted, PeerBroke, SessionLost, TooLarge
from mcp_remote_py.core.http.exchange import Exchange
from mcp_remote_py.core.message import JsonId, Message, notification, request

NEWS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}'
QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}'


def _result(identifier: str) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":{"n":1.0}}' % identifier.encode()


def _error(identifier: str) -> bytes:
    return b'{"jsonrpc":"2.0","error":{"code":-32001,"message":"x","data":1.0},"id":%b}' % identifier.encode()


def an_exchange(identifier: JsonId = 1) -> Exchange:
    return Exchange(request(identifier, "tools/call"), "mcp.example.com")


def raws(messages: list[Message]) -> list[bytes]:
    return [message.raw for message in messages]


def test_only_a_request_has_an_exchange() -> None:
    with pytest.raises(ValueError, match="request"):
        Exchange(notification("notifications/initialized"), "h")


def test_what_comes_before_the_answer_is_handed_on_and_then_the_answer() -> None:
    exchange = an_exchange()
    assert raws(exchange.read(NEWS)) == [NEWS]
    assert raws(exchange.read(QUESTION)) == [QUESTION]
    assert not exchange.answered
    assert raws(exchange.read(_result("1"))) == [_result("1")]
    assert exchange.answered


def test_a_second_answer_is_not_handed_on() -> None:
    exchange = an_exchange()
    exchange.read(_result("1"))
    assert exchange.read(_result("1")) == []
    assert exchange.read(_error("1")) == []


def test_an_array_is_handed_on_item_by_item() -> None:
    exchange = an_exchange()
    assert raws(exchange.read(b"[%b, %b\n,%b]" % (NEWS, _result("1"), QUESTION))) == [NEWS, _result("1"), QUESTION]
    assert exchange.answered


def test_an_array_with_the_answer_may_hold_rubbish_and_one_without_may_not() -> None:
    assert raws(an_exchange().read(b"[1,%b]" % _result("1"))) == [_result("1")]
    with pytest.raises(PeerBroke):
        an_exchange().read(b"[1,%b]" % NEWS)


@pytest.mark.parametrize("spelled", ["1", "1.0", "1e0"])
def test_a_number_may_be_spelled_otherwise(spelled: str) -> None:
    exchange = an_exchange()
    assert raws(exchange.read(_result(spelled))) == [_result(spelled)]


@pytest.mark.parametrize(("asked", "answered"), [(1, "2"), (1, '"1"'), ("1", "1"), ("a", '"b"')])
def test_another_id_is_not_the_answer_and_is_named_at_the_end(asked: JsonId, answered: str) -> None:
    exchange = an_exchange(asked)
    assert exchange.read(_result(answered)) == []
    assert not exchange.answered
    fault = exchange.over()
    assert type(fault) is PeerBroke
    assert f"under the id {answered}," in str(fault)


def test_a_strange_id_is_shown_in_bounds() -> None:
    exchange = an_exchange()
    exchange.read(_result('"\\u001b[2J%s"' % ("x" * 5000)))
    assert len(str(exchange.over())) < 250
    assert "\x1b" not in str(exchange.over())


@pytest.mark.parametrize("spelled", ["null", None])
def test_an_error_without_an_id_belongs_to_the_request(spelled: str | None) -> None:
    raw = _error("null") if spelled else _error("null").replace(b',"id":null', b"")
    (message,) = an_exchange("a").read(raw)
    assert message.id == "a"
    assert b'"data":1.0' in message.raw


@pytest.mark.parametrize("raw", [b"{", b"", b"<html>", b"\xff", b'{"id":1,"result":{}}', b"[]", b"null"])
def test_what_is_no_message_breaks_the_exchange(raw: bytes) -> None:
    with pytest.raises(PeerBroke, match=r"mcp\.example\.com sent something that is no JSON-RPC message"):
        an_exchange().read(raw)


@pytest.mark.parametrize("spelled", ["1", "null", "7", '"server-error"'])
def test_an_error_in_the_body_of_a_4xx_is_the_answer_under_the_right_id(spelled: str) -> None:
    exchange = an_exchange()
    message = exchange.read_error(_error(spelled))
    assert message is not None
    assert message.raw == _error("1")
    assert exchange.answered


def test_an_error_that_has_the_right_id_stays_as_it_is_to_the_byte() -> None:
    message = an_exchange().read_error(_error("1.0"))
    assert message is not None
    assert message.raw == _error("1.0")


@pytest.mark.parametrize("raw", [b"", b"<html>", _result("1"), NEWS, b'{"error":"x"}', b"[" + _error("1") + b"]"])
def test_another_body_of_a_4xx_is_not(raw: bytes) -> None:
    exchange = an_exchange()
    assert exchange.read_error(raw) is None
    assert not exchange.answered


def test_an_end_without_an_answer_is_an_interruption_unless_more_is_known() -> None:
    assert type(an_exchange().over()) is Interrupted
    assert type(an_exchange().over(TooLarge("x"))) is TooLarge


LOST = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Invalid or expired session"}}'


def test_an_error_that_means_a_lost_session_is_no_answer_where_we_sent_one() -> None:
    inside = Exchange(request(1, "tools/call"), "mcp.example.com", in_session=True)
    with pytest.raises(SessionLost, match="session"):
        inside.read(LOST)
    assert not inside.answered
    with pytest.raises(SessionLost, match="HTTP 400"):
        inside.read_error(b"Bad Request: No valid session ID provided", 400)
    assert inside.read_error(LOST.replace(b"expired session", b"expired licence"), 400) is not None
    outside = an_exchange()
    assert raws(outside.read(LOST)) == [LOST], "without a session it is an ordinary error"
