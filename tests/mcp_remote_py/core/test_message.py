"""Messages: what counts as one, and that its bytes survive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.message import Batch, Invalid, Kind, key_of, parse, parse_one, with_id, with_param

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "kind", "identifier"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"x"}', Kind.REQUEST, 1),
        ('{"jsonrpc":"2.0","id":"1","method":"x","params":[1]}', Kind.REQUEST, "1"),
        ('{"jsonrpc":"2.0","method":"x"}', Kind.NOTIFICATION, None),
        ('{"jsonrpc":"2.0","id":0,"result":null}', Kind.RESULT, 0),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}', Kind.ERROR, None),
        ('{"jsonrpc":"2.0","error":{"code":1,"message":""}}', Kind.ERROR, None),
    ],
)
def test_the_envelope_says_what_it_is(text: str, kind: Kind, identifier: object) -> None:
    message = parse_one(text.encode())
    assert (message.kind, message.id, message.raw) == (kind, identifier, text.encode())


def test_numbers_that_python_refuses_are_carried() -> None:
    digits = "1" * 5000
    text = f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"n":{digits},"m":-{digits}e10}}}}'
    assert parse_one(text.encode()).raw == text.encode()


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_python_takes_for_json_but_nobody_else_does_is_refused(constant: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(f'{{"jsonrpc":"2.0","id":1,"method":"x","params":{constant}}}'.encode())
    assert caught.value.code == -32700


@pytest.mark.parametrize(
    ("before", "after"), [(b'{"jsonrpc":"2.0","id":7,"params":', b"}"), (b'{"params":', b',"jsonrpc":"2.0","id":7}')]
)
def test_a_hundred_thousand_brackets_are_an_error_under_their_id_not_a_crash(before: bytes, after: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        parse(before + b"[" * 100_000 + b"]" * 100_000 + after)
    assert (caught.value.code, caught.value.identifier) == (-32600, 7)


def test_raw_line_ends_between_tokens_become_blanks_and_separators_of_other_kinds_stay() -> None:
    text = '{\n  "jsonrpc": "2.0",\r\n  "id": 1,\n  "result": {"t": "\u2028\u2029\u0085 \\n"}\n}\n'
    raw = parse_one(text.encode()).raw
    assert b"\n" not in raw
    assert b"\r" not in raw
    assert json.loads(raw) == json.loads(text)
    assert "\u2028\u2029\u0085" in raw.decode()


def test_a_batch_keeps_the_bytes_of_its_items() -> None:
    parsed = parse(b' [ {"jsonrpc":"2.0","id":1.0 ,"method":"x"} ,\n 7, {"jsonrpc":"2.0","method":"y"}] ')
    assert isinstance(parsed, Batch)
    first, second, third = parsed.items
    assert isinstance(first, msg.Message)
    assert first.raw == b'{"jsonrpc":"2.0","id":1.0 ,"method":"x"}'
    assert isinstance(second, Invalid)
    assert isinstance(third, msg.Message)


def test_keys_keep_the_type_but_not_the_spelling_of_a_number() -> None:
    assert key_of(1) != key_of("1")
    assert key_of(1) == key_of(1.0)
    assert key_of(12345678901234567890) != key_of(12345678901234567891)


def test_another_id_leaves_every_other_byte() -> None:
    text = '{ "id" : null ,"jsonrpc":"2.0", "error":{"code":1,"message":"id","data":{"id":5,"x":1.00}} ,"z":"\\u00e9"}'
    changed = with_id(parse_one(text.encode()), 7)
    assert changed.raw == text.replace("null", "7", 1).encode()
    assert changed.id == 7
    missing = with_id(parse_one(b'{"jsonrpc":"2.0","error":{"code":1,"message":""}}'), "a\n")
    assert missing.raw == b'{"id":"a\\n","jsonrpc":"2.0","error":{"code":1,"message":""}}'


def test_a_doubled_id_member_cannot_smuggle_the_old_one_through() -> None:
    changed = with_id(parse_one(b'{"id":1,"jsonrpc":"2.0","id":2,"method":"x"}'), "new")
    assert changed.raw == b'{"id":"new","jsonrpc":"2.0","id":"new","method":"x"}'


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ('{"jsonrpc":"2.0" , "id" : 1 ,"method":"x"}', '{"jsonrpc":"2.0" , "id" : "n" ,"method":"x"}'),
        ('{"method":"x","jsonrpc":"2.0","id":-1.5e3}', '{"method":"x","jsonrpc":"2.0","id":"n"}'),
        ('{"result":{"id":5},"jsonrpc":"2.0","id":5}', '{"result":{"id":5},"jsonrpc":"2.0","id":"n"}'),
        ('{"jsonrpc":"2.0","id":5,"result":{"k":"id"}}', '{"jsonrpc":"2.0","id":"n","result":{"k":"id"}}'),
        ('{"jsonrpc":"2.0","id":"a\\"b","result":{}}', '{"jsonrpc":"2.0","id":"n","result":{}}'),
        ('{"jsonrpc":"2.0","\\u0069d":5,"result":{"id":5}}', '{"jsonrpc":"2.0","\\u0069d":"n","result":{"id":5}}'),
        ('{"jsonrpc":"2.0","error":{"id":5}}', '{"id":"n","jsonrpc":"2.0","error":{"id":5}}'),
        ('{"jsonrpc":"2.0","error":{"k":"id"},"id":null}', '{"jsonrpc":"2.0","error":{"k":"id"},"id":"n"}'),
    ],
)
def test_only_the_id_of_the_message_is_replaced_wherever_it_stands(text: str, changed: str) -> None:
    assert with_id(parse_one(text.encode()), "n").raw.decode() == changed


def test_one_parameter_is_replaced_in_place() -> None:
    text = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId":5,"n":1.0}}'
    assert with_param(parse_one(text.encode()), "requestId", "p").raw == text.replace("5", '"p"', 1).encode()


@given(JSON, st.integers() | st.text(), st.integers() | st.text())
def test_changing_the_id_there_and_back_changes_nothing(params: Any, old: int | str, new: int | str) -> None:
    raw = msg.encode({"jsonrpc": "2.0", "params": params, "id": old, "method": "x"})
    message = parse_one(raw)
    there = with_id(message, new)
    assert json.loads(there.raw)["id"] == new
    assert with_id(there, old).doc == message.doc
    assert json.loads(with_id(there, old).raw) == json.loads(raw)


def outcome_of(raw: bytes) -> msg.Message | Batch | Invalid:
    try:
        return parse(raw)
    except Invalid as invalid:
        return invalid


@given(JSON)
def test_every_json_value_is_a_message_a_batch_or_invalid_and_never_an_accident(value: Any) -> None:
    outcome = outcome_of(msg.encode(value))
    assert isinstance(outcome, msg.Message | Batch) or outcome.code in (-32700, -32600)


@given(st.binary())
def test_arbitrary_bytes_are_invalid_or_parse(raw: bytes) -> None:
    outcome = outcome_of(raw)
    assert isinstance(outcome, msg.Message | Batch) or outcome.reason


@given(JSON, st.integers(0, 200))
@example(-0.0, 9)
def test_members_of_a_text_that_breaks_off_are_those_before_the_break(value: Any, cut: int) -> None:
    doc = {"a": value, "id": 12, "b": "x"}
    text = json.dumps(doc)
    found = msg.members(text[:cut])
    whole = msg.members(text)
    assert found == whole[: len(found)]
    assert [member.name for member in whole] == ["a", "id", "b"]


def test_lone_surrogates_stay_escaped() -> None:
    assert msg.encode({"a": "\ud800é"}) == b'{"a":"\\ud800\\u00e9"}'
    raw = b'{"jsonrpc":"2.0","id":1,"result":"\\ud800"}'
    assert parse_one(raw).raw == raw


# --- Depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [("[", "]"), ('{"a":', "}"), ('[{"[":', '},"]"]')])
@pytest.mark.parametrize("filling", ["", " " * 5000], ids=["short", "long"])
def test_a_message_may_be_nested_up_to_the_limit(shape: tuple[str, str], filling: str) -> None:
    per_shape = 2 if shape[0].startswith("[{") else 1

    def nested(levels: int) -> bytes:
        within = (levels - 1) // per_shape
        body = shape[0] * within + "1" + shape[1] * within
        return f'{{"jsonrpc":"2.0","id":7,{filling}"result":{body}}}'.encode()

    assert parse_one(nested(21), 21).id == 7
    with pytest.raises(Invalid) as caught:
        parse(nested(23), 21)
    assert caught.value.reason == "nested too deeply (the limit is 21 levels, --max-depth)"
    assert (caught.value.code, caught.value.identifier, caught.value.answerable) == (-32600, 7, False)


@pytest.mark.parametrize("levels", [800, 100_000])
def test_beyond_what_python_reads_the_error_is_the_same(levels: int) -> None:
    raw = b'{"jsonrpc":"2.0","id":7,"method":"x","params":' + b"[" * levels + b"]" * levels + b"}"
    with pytest.raises(Invalid, match="--max-depth") as caught:
        parse(raw)
    assert (caught.value.identifier, caught.value.answerable) == (7, True)


def test_many_values_side_by_side_are_not_deep() -> None:
    items = ",".join(['[{"a":[]}]'] * 5000)
    assert parse_one(f'{{"jsonrpc":"2.0","id":7,"result":[{items}]}}'.encode(), 6).id == 7
    with pytest.raises(Invalid):
        parse_one(f'{{"jsonrpc":"2.0","id":7,"result":[{items}]}}'.encode(), 4)
