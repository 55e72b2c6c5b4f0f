"""Which stream a message goes to, and that a reader gets each event once and in order whatever is cut off when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core import message
from mcp_remote_py.core.message import Message, key_of
from server_stub.core.outbox import (
    HELD_COUNT,
    STANDING,
    Elsewhere,
    Event,
    EventId,
    Outbox,
    Reader,
    parse_event_id,
)

ASK = message.request("q", "elicitation/create")
SAY = message.notification("notifications/message", {"data": 1})
CHANGED = message.notification("notifications/tools/list_changed")


def call(identifier: str | int, token: str | int | None = None) -> Message:
    return message.request(identifier, "tools/call", {"_meta": {"progressToken": token}} if token is not None else {})


def progress(token: object) -> Message:
    return message.notification("notifications/progress", {"progressToken": token, "progress": 1})


def opened(outbox: Outbox, *calls: Message, carries: bool = True, attached: bool = True) -> int:
    number = outbox.begin(calls, carries=carries)
    if attached:
        outbox.attach(number, 0)
    return number


# --- which stream ----------------------------------------------------------------------------------------------------


def test_progress_goes_to_the_call_with_its_token() -> None:
    outbox = Outbox()
    first, second = opened(outbox, call(1, "a")), opened(outbox, call(2, 1))
    assert outbox.choose(progress("a")) == first
    assert outbox.choose(progress(1)) == second
    assert outbox.choose(progress("1")) is Elsewhere.DROP
    assert outbox.choose(progress(None)) is Elsewhere.DROP
    outbox.attach(STANDING)
    assert outbox.choose(progress("b")) == STANDING
    outbox.finish(key_of(1))
    assert outbox.choose(progress("a")) == STANDING


def test_with_one_call_running_everything_of_a_pipe_belongs_to_it_but_news_of_lists() -> None:
    outbox = Outbox()
    outbox.attach(STANDING)
    running = opened(outbox, call(1))
    assert outbox.choose(ASK) == running
    assert outbox.choose(SAY) == running
    assert outbox.choose(CHANGED) == STANDING


def test_with_several_calls_running_the_standing_stream_is_next_then_the_newest_call() -> None:
    outbox = Outbox()
    opened(outbox, call(1))
    second = opened(outbox, call(2))
    assert outbox.choose(ASK) == second
    assert outbox.choose(CHANGED) == second
    outbox.attach(STANDING)
    assert outbox.choose(ASK) == STANDING


def test_without_any_stream_it_is_held() -> None:
    assert Outbox().choose(ASK) is Elsewhere.HOLD
    assert Outbox().choose(SAY) is Elsewhere.HOLD


def test_a_stream_that_takes_answers_only_carries_nothing_else() -> None:
    outbox = Outbox()
    opened(outbox, call(1, "t"), carries=False)
    assert outbox.choose(ASK) is Elsewhere.HOLD
    assert outbox.choose(progress("t")) is Elsewhere.DROP
    outbox.attach(STANDING)
    assert outbox.choose(ASK) == STANDING
    assert outbox.choose(progress("t")) == STANDING


def test_a_cancellation_follows_the_question_while_its_stream_lives() -> None:
    outbox = Outbox()
    first, second = opened(outbox, call(1)), opened(outbox, call(2))
    cancel = message.notification("notifications/cancelled", {"requestId": "q"})
    assert outbox.choose(cancel, None, first) == first
    outbox.finish(key_of(1))
    assert outbox.choose(cancel, None, first) == second


def test_a_backend_that_names_the_call_is_believed_and_what_it_does_not_name_is_unrelated() -> None:
    outbox = Outbox(named=True)
    outbox.attach(STANDING)
    running = opened(outbox, call(1))
    assert outbox.choose(SAY, key_of(1)) == running
    assert outbox.choose(SAY) == STANDING
    assert outbox.choose(ASK) == STANDING
    assert outbox.choose(SAY, key_of(99)) == STANDING


def test_a_question_prefers_a_connection_that_is_there_while_a_notification_waits_for_its_own() -> None:
    outbox = Outbox(named=True)
    lost = opened(outbox, call(1), attached=False)
    assert outbox.choose(ASK, key_of(1)) == lost
    assert outbox.choose(SAY, key_of(1)) == lost
    outbox.attach(STANDING)
    assert outbox.choose(ASK, key_of(1)) == STANDING
    assert outbox.choose(SAY, key_of(1)) == lost


def test_a_pipe_with_one_call_whose_client_is_gone_asks_elsewhere_or_waits() -> None:
    outbox = Outbox()
    opened(outbox, call(1), attached=False)
    assert outbox.choose(ASK) is Elsewhere.HOLD
    outbox.attach(STANDING)
    assert outbox.choose(ASK) == STANDING


def test_a_shared_channel_carries_everything() -> None:
    outbox = Outbox(shared=True)
    number = outbox.begin([call(1, "t")], carries=True)
    assert number == STANDING
    assert outbox.stream_of(key_of(1)) == STANDING
    assert outbox.choose(progress("t")) == STANDING
    assert outbox.choose(ASK) == STANDING
    assert outbox.finish(key_of(1)) is False
    assert outbox.is_open(STANDING)


# --- streams and readers ---------------------------------------------------------------------------------------------


def test_a_stream_ends_with_the_last_answer_of_its_batch() -> None:
    outbox = Outbox()
    number = outbox.begin([call(1), call(2)], carries=True)
    reader = outbox.attach(number, 0)
    assert outbox.finish(key_of(1)) is False
    before = reader.closed
    assert outbox.finish(key_of(2)) is True
    assert (before, reader.closed) == (False, True)
    assert not outbox.is_open(number)
    assert outbox.finish(key_of(2)) is False
    with pytest.raises(KeyError):
        outbox.attach(number)


def test_a_reader_that_was_replaced_is_closed_and_its_leaving_changes_nothing() -> None:
    outbox = Outbox()
    first = outbox.attach(STANDING)
    second = outbox.attach(STANDING)
    assert first.closed
    outbox.detach(STANDING, first)
    assert outbox.is_attached(STANDING)
    assert outbox.any_attached
    outbox.detach(STANDING, second)
    assert not outbox.is_attached(STANDING)
    assert not outbox.any_attached


def test_nothing_is_queued_where_nobody_reads() -> None:
    outbox = Outbox()
    event = outbox.stamp(STANDING, SAY)
    assert outbox.push(event) is None
    assert outbox.attach(STANDING).take() is None
    assert outbox.place_of(STANDING) == EventId(STANDING, 1)


def test_the_backlog_counts_what_was_not_taken() -> None:
    reader = Reader(0)
    for place in (1, 2):
        reader.push(Event(EventId(0, place), SAY))
    assert reader.backlog == (2, 2 * len(SAY.raw))
    reader.take()
    assert reader.backlog == (1, len(SAY.raw))


def test_event_ids_are_read_back_and_nothing_else_is() -> None:
    assert parse_event_id(str(EventId(12, 345))) == EventId(12, 345)
    for text in ("", "1", "1-", "-1", "1-2-3", "a-b", "1-2 ", "1" * 20 + "-1", "1-2\n"):
        assert parse_event_id(text) is None


# --- what is held ----------------------------------------------------------------------------------------------------


def test_held_messages_keep_their_order_and_requests_are_never_dropped() -> None:
    outbox = Outbox()
    outbox.hold(ASK)
    for number in range(HELD_COUNT + 5):
        outbox.hold(message.notification("n", {"n": number}))
    held = outbox.take_held()
    assert held[0] is ASK
    assert len(held) == HELD_COUNT
    assert held[-1].params["n"] == HELD_COUNT + 4
    assert not outbox.holds


def test_large_held_notifications_are_dropped_sooner() -> None:
    outbox = Outbox()
    for _ in range(5):
        outbox.hold(message.notification("n", {"x": "y" * 3_000_000}))
    assert len(outbox.take_held()) == 2


def test_where_only_requests_wait_one_more_is_not_taken() -> None:
    outbox = Outbox()
    for number in range(HELD_COUNT):
        assert outbox.hold(message.request(number, "ping"))
    assert not outbox.hold(message.request("one more", "ping"))
    assert not outbox.hold(message.notification("n"))
    assert outbox.withdraw(key_of(0))
    assert outbox.hold(message.request("one more", "ping"))
    assert [one.id for one in outbox.take_held()] == [*range(1, HELD_COUNT), "one more"]
    assert outbox.hold(ASK)


def test_a_held_request_can_be_withdrawn_once() -> None:
    outbox = Outbox()
    outbox.hold(SAY)
    outbox.hold(ASK)
    assert outbox.withdraw(key_of("q"))
    assert not outbox.withdraw(key_of("q"))
    assert outbox.take_held() == [SAY]


# --- exactly once, whatever the cuts ---------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.just("store"),  # the server stores an event
        st.just("push"),  # and pushes what it stored
        st.tuples(st.just("read"), st.integers(1, 4)),  # the client reads so many
        st.just("cut"),  # the connection breaks
        st.just("attach"),  # the client resumes: attaches
        st.just("replay"),  # and what is stored by then is replayed
    ),
    max_size=60,
)


class Play:
    """A stream, a store, and a client that comes and goes."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.number = self.outbox.begin([call(1)], carries=True)
        self.stored: list[Event] = []
        self.pushed = 0
        self.seen: list[int] = []
        self.reader: Reader | None = self.outbox.attach(self.number, 0)
        self.replayed = True

    def store(self) -> None:
        self.stored.append(self.outbox.stamp(self.number, SAY))

    def push(self) -> None:
        if self.pushed < len(self.stored):
            self.outbox.push(self.stored[self.pushed])
            self.pushed += 1

    def read(self, count: int) -> None:
        if self.reader is None or not self.replayed:
            return
        for _ in range(count):
            event = self.reader.take()
            if event is not None:
                self.seen.append(event.id.place)

    def cut(self) -> None:
        if self.reader is not None:
            self.outbox.detach(self.number, self.reader)
            self.reader = None

    def attach(self) -> None:
        self.reader = self.outbox.attach(self.number, self.seen[-1] if self.seen else 0)
        self.replayed = False

    def replay(self) -> None:
        if self.reader is not None and not self.replayed:
            last = self.seen[-1] if self.seen else 0
            self.reader.replay([event for event in self.stored if event.id.place > last])
            self.replayed = True


@given(STEPS)
def test_a_client_sees_each_event_once_and_in_order_whatever_the_cuts(steps: list[str | tuple[str, int]]) -> None:
    play = Play()
    for step in steps:
        if isinstance(step, tuple):
            play.read(step[1])
        else:
            getattr(play, step)()
    play.attach()
    play.replay()
    while play.pushed < len(play.stored):
        play.push()
    play.read(len(play.stored) + 1)
    assert play.seen == list(range(1, len(play.stored) + 1))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8), st.booleans(), st.booleans())
def test_every_message_of_the_server_has_exactly_one_place(
    lanes: list[tuple[bool, bool, bool]], standing: bool, named: bool
) -> None:
    outbox = Outbox(named=named)
    if standing:
        outbox.attach(STANDING)
    for identifier, (carries, attached, over) in enumerate(lanes):
        opened(outbox, call(identifier, identifier), carries=carries, attached=attached)
        if over:
            outbox.finish(key_of(identifier))
    for one in (ASK, SAY, CHANGED, *(progress(token) for token in range(len(lanes) + 1))):
        for exchange in (None, *(key_of(identifier) for identifier in range(len(lanes) + 1))):
            where = outbox.choose(one, exchange)
            if isinstance(where, int):
                assert outbox.is_open(where)
                assert where == STANDING or lanes[where - 1][0]
                if one is ASK and standing:
                    assert outbox.is_attached(where)
            else:
                assert not (one is ASK and where is Elsewhere.DROP)
