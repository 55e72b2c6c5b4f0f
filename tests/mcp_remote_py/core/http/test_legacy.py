"""The machine of one session: which id and version a request carries."""

from __future__ import annotations

import pytest

from mcp_remote_py.core.errors import PeerBroke
from mcp_remote_py.core.http.legacy import Session, State
from mcp_remote_py.core.http.origins import Origin
from mcp_remote_py.core.message import Message, error, result

GREETING = result(1, {"protocolVersion": "2025-06-18"})
BOTH = (("Mcp-Session-Id", "s-1"), ("MCP-Protocol-Version", "2025-06-18"))


def an_open_session(offered: str | None = "s-1", answer: Message = GREETING) -> Session:
    session = Session()
    session.answered(session.begin(), answer, offered, "h")
    return session


def test_a_new_session_sends_neither_id_nor_version() -> None:
    assert Session().headers() == ()
    assert not Session().is_bound


def test_an_answered_initialize_opens_it() -> None:
    session = an_open_session()
    assert session.state is State.OPEN
    assert session.headers() == BOTH


def test_a_server_without_sessions_gets_the_version_alone() -> None:
    session = an_open_session(None)
    assert session.headers() == BOTH[1:]
    assert not session.is_bound


@pytest.mark.parametrize("version", [None, 3, "", "a b", "2025\r\nX: y", "x" * 65])
def test_a_version_that_no_header_carries_is_left_out(version: object) -> None:
    assert an_open_session(answer=result(1, {"protocolVersion": version})).headers() == BOTH[:1]


@pytest.mark.parametrize("offered", ["", "a b", "a\n", "é"])
def test_a_session_id_that_is_not_visible_ascii_breaks_the_protocol(offered: str) -> None:
    session = Session()
    with pytest.raises(PeerBroke, match="visible ASCII"):
        session.answered(session.begin(), GREETING, offered, "h")
    assert session.state is State.NEW
    assert session.headers() == ()


def test_another_initialize_forgets_id_and_version() -> None:
    session = an_open_session()
    session.begin()
    assert session.state is State.OPENING
    assert session.headers() == ()


def test_a_refused_initialize_leaves_nothing_behind() -> None:
    session = an_open_session(answer=error(1, -32602, "no"))
    assert session.state is State.NEW
    assert session.headers() == ()


def test_an_initialize_without_an_answer_leaves_nothing_behind() -> None:
    session = Session()
    session.failed(session.begin())
    assert session.state is State.NEW


def test_a_failure_after_the_answer_changes_nothing() -> None:
    session = Session()
    ticket = session.begin()
    session.answered(ticket, GREETING, "s-1", "h")
    session.failed(ticket)
    assert session.state is State.OPEN


def test_the_answer_to_an_older_initialize_changes_nothing() -> None:
    session = Session()
    old, new = session.begin(), session.begin()
    session.answered(old, GREETING, "old", "h")
    assert session.state is State.OPENING
    session.answered(new, GREETING, "new", "h")
    assert session.headers()[0] == ("Mcp-Session-Id", "new")
    session.answered(old, GREETING, "old", "h")
    assert session.headers()[0] == ("Mcp-Session-Id", "new")


def test_a_404_loses_the_session_that_it_was_sent_in_and_no_later_one() -> None:
    session = an_open_session()
    ticket = session.ticket
    session.lost(ticket)
    assert session.state is State.LOST
    session.answered(session.begin(), GREETING, "s-2", "h")
    session.lost(ticket)
    assert session.leave() is not None


def test_leaving_ends_an_open_session_once() -> None:
    session = an_open_session()
    assert session.leave() == BOTH
    assert session.leave() is None
    session.begin()
    assert session.state is State.CLOSED


@pytest.mark.parametrize("state", ["new", "without an id", "lost"])
def test_there_is_nothing_to_end_without_a_session(state: str) -> None:
    session = Session() if state == "new" else an_open_session(None if state == "without an id" else "s-1")
    if state == "lost":
        session.lost(session.ticket)
    assert session.leave() is None


def test_its_id_is_never_shown() -> None:
    assert repr(an_open_session("secret-id")) == "<Session open, with an id>"


def test_the_id_is_for_the_origin_that_gave_it_and_the_version_for_everybody() -> None:
    session = Session()
    origin = Origin("https", "mcp.example.com", 443)
    session.answered(session.begin(), GREETING, "s-1", "h", origin)
    assert session.origin == origin
    assert session.id_header() + session.version_header() == session.headers()
    assert [name for name, _ in session.id_header()] == ["Mcp-Session-Id"]
