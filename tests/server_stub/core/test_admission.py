"""What may pass, as plain functions. The statuses over real sockets are in `endpoints/test_streamable_http`."""

from __future__ import annotations

import pytest

from mcp_remote_py.core import message
from mcp_remote_py.core.message import key_of
from server_stub.core import admission
from server_stub.core.admission import NOTHING_KNOWN, Accepts, Known, Posted, Rejection, accepts_of, read_posted

PING = message.request(1, "ping")
INITIALIZE = message.request(0, "initialize")
OPEN = Known("2025-03-26", started=True, open={key_of(7)})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Accepts(json=True, events=False)),
        (" ", Accepts(json=True, events=False)),
        ("*/*", Accepts(json=True, events=True)),
        ("application/json, text/event-stream", Accepts(json=True, events=True)),
        ("Application/JSON ; charset=utf-8", Accepts(json=True, events=False)),
        ("text/event-stream;q=0.5", Accepts(json=False, events=True)),
        ("application/*", Accepts(json=True, events=False)),
        ("text/*", Accepts(json=False, events=True)),
        ("text/html, application/json;q=0, text/event-stream; q = 0.000", Accepts(json=False, events=False)),
    ],
)
def test_accept_is_read_as_the_rfc_says(header: str | None, expected: Accepts) -> None:
    assert accepts_of(header) == expected


def test_a_declared_size_over_the_limit_is_413_and_an_unknown_one_is_not_yet() -> None:
    assert admission.check_size(None, 10) is None
    assert admission.check_size(10, 10) is None
    rejection = admission.check_size(11, 10)
    assert rejection is not None
    assert rejection.status == 413


def posted(raw: bytes) -> Posted:
    found = read_posted(raw)
    assert isinstance(found, Posted)
    return found


def test_a_body_is_one_message_or_a_batch() -> None:
    one = posted(PING.raw)
    assert (one.is_batch, one.requests, one.identifier, one.initialize) == (False, (PING,), 1, None)
    batch = posted(b"[" + PING.raw + b',{"jsonrpc":"2.0","method":"n"}]')
    assert (batch.is_batch, batch.requests, batch.identifier) == (True, (PING,), None)
    assert posted(INITIALIZE.raw).initialize == INITIALIZE
    assert isinstance(read_posted(b"[1]"), Rejection)


def test_the_version_of_a_session_decides_about_batches_then_the_header_then_the_assumed_one() -> None:
    batch = Posted((PING,), is_batch=True)
    later = OPEN._replace(version="2025-06-18")
    assert admission.check_batch(batch, OPEN, "2025-06-18") is None
    assert admission.check_batch(batch, NOTHING_KNOWN) is None
    assert admission.check_batch(batch, NOTHING_KNOWN, "2025-11-25") is not None
    assert admission.check_batch(batch, later) is not None
    assert admission.check_batch(Posted((PING,), is_batch=False), later) is None
    assert admission.check_batch(Posted((INITIALIZE,), is_batch=True), NOTHING_KNOWN) is not None


def test_a_rejection_names_the_id_of_the_only_request() -> None:
    rejection = admission.check_requests(Posted((message.request(7, "x"),), is_batch=False), OPEN)
    assert rejection is not None
    assert (rejection.status, rejection.body.id) == (400, 7)
    assert rejection.body.doc["error"]["code"] == -32600


def test_ids_are_compared_with_their_type() -> None:
    assert admission.check_requests(Posted((message.request("7", "x"),), is_batch=False), OPEN) is None
    assert admission.check_requests(Posted((message.request(7.0, "x"),), is_batch=False), OPEN) is not None


def test_a_full_session_takes_what_is_no_request() -> None:
    full = OPEN._replace(full=True)
    note = Posted((message.notification("n"),), is_batch=False)
    assert admission.check_requests(note, full) is None
    rejection = admission.check_requests(Posted((PING,), is_batch=False), full)
    assert rejection is not None
    assert rejection.status == 503


def test_unknown_sessions_look_the_same_for_everyone() -> None:
    assert admission.unknown_session() == admission.unknown_session()
    assert admission.unknown_session().status == 404
