"""Event streams are read as WHATWG HTML section 9.2 says, however they are cut into chunks."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.errors import PeerBroke, TooLarge
from mcp_remote_py.core.sse import EventTooLarge, encode_comment, encode_event
from mcp_remote_py.transports.event_stream import Event, EventDecoder, EventStream

LIMIT = 1 << 17


def decode(data: bytes, size: int | None = None, limit: int = LIMIT) -> list[Event]:
    decoder = EventDecoder(limit)
    step = size or max(len(data), 1)
    return [event for at in range(0, len(data), step) for event in decoder.feed(data[at : at + step])]


def plain(data: bytes, size: int | None = None) -> list[str]:
    return [event.data for event in decode(data, size) if event.is_message]


CORPUS = {
    "lf": (b"data: a\n\ndata: b\n\n", ["a", "b"]),
    "cr": (b"data: a\r\rdata: b\r\r", ["a", "b"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
    "mixed": (b"data: a\r\n\rdata: b\n\r\ndata: c\r\r", ["a", "b", "c"]),
    "no blank after the colon": (b"data:a\n\n", ["a"]),
    "two blanks": (b"data:  a\n\n", [" a"]),
    "several lines": (b'data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    "comments": (b": ping\n\n:\ndata: a\n: x\ndata: b\n\n", ["a\nb"]),
    "unknown fields": (b"foo: bar\nbaz\ndata: a\n\n", ["a"]),
    "separators that are none": (
        "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
        ["a\u2028b\u2029c\u0085d\x0be\x0cf"],
    ),
    "four-byte characters": ("data: 🌍\n\n".encode(), ["🌍"]),
    "explicit message": (b"event: message\ndata: a\n\n", ["a"]),
    "other events": (b"event: ping\ndata: a\n\nevent: error\ndata: b\n\ndata: c\n\n", ["c"]),
    "priming": (b"id: 1\ndata:\n\nid: 2\ndata: \n\ndata\n\ndata: a\n\n", ["a"]),
    "cut off at the end": (b"data: a\n\ndata: b\n", ["a"]),
    "cut off in a line": (b"data: a\n\ndata: b", ["a"]),
    "nothing": (b"", []),
    "blank lines": (b"\n\r\n\r\n", []),
}


@pytest.mark.parametrize("name", list(CORPUS))
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_the_corpus_is_read_the_same_in_any_chunks(name: str, size: int | None) -> None:
    data, messages = CORPUS[name]
    assert plain(data, size) == messages


ANY_STREAM = st.lists(
    st.sampled_from(
        ["data: ", "data", "id: 1", "id:", "event: e", "retry: 5", ":c", "x", "é🌍\u2028", "\n", "\r", "\r\n"]
    )
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5),
    max_size=40,
).map("".join)


@given(ANY_STREAM, st.lists(st.integers(0, 300), max_size=20))
def test_chunking_never_matters(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    decoder = EventDecoder(LIMIT)
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == decode(data)


def _oracle(text: str) -> list[tuple[str, str]]:
    lines, decoder = SSELineDecoder(), SSEDecoder()
    found: list[tuple[str, str]] = []
    for line in [*lines.decode(text), *lines.flush()]:
        event = decoder.decode(line)
        if event is not None:
            found.append((event.data, event.id))
    return [item for item in found if item[0]]


@given(ANY_STREAM.filter(lambda text: "retry" not in text and not text.startswith("\ufeff")))
def test_the_library_reads_the_same_lines(text: str) -> None:
    """httpx-sse's own line decoder, on the whole text at once, is the oracle; it flushes an unfinished last line."""
    identifier, found = "", []
    for event in decode((text + "\n").encode() if text and text[-1] not in "\r\n" else text.encode()):
        identifier = identifier if event.id is None else event.id
        if event.data:
            found.append((event.data, identifier))
    assert found == _oracle(text)


@given(
    st.lists(
        st.tuples(
            st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1),
            st.sampled_from([None, "1", "a b"]),
        )
    )
)
def test_what_the_encoder_writes_is_read_back(items: list[tuple[str, str | None]]) -> None:
    data = b"".join(encode_comment("ping") + encode_event(text.encode(), identifier=number) for text, number in items)
    assert [(event.data, event.id) for event in decode(data, 7)] == items


def test_an_id_is_told_only_with_the_event_that_has_it() -> None:
    events = decode(b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0y\ndata: d\n\nid: 2\n\n")
    assert [event.id for event in events] == ["1", None, "", None, "2"]


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry: 500", 500),
        (b"retry:0", 0),
        (b"retry: -1", None),
        (b"retry: +5", None),
        (b"retry: 1_0", None),
        (b"retry: 1.5", None),
        (b"retry:  5", None),
        (b"retry: 5 ", None),
        (b"retry:", None),
        (b"retry", None),
        ("retry: \u0665".encode(), None),
        (b"retry: " + b"9" * 5000, None),
    ],
)
def test_retry_counts_only_when_it_is_all_digits(line: bytes, retry: int | None) -> None:
    (event,) = decode(line + b"\ndata: a\n\n")
    assert event.retry == retry


def test_retry_in_an_event_without_data_is_told() -> None:
    assert [event.retry for event in decode(b"retry: 7\n\n")] == [7]


def test_an_event_over_the_limit_is_refused_in_any_chunks() -> None:
    assert len(plain(b"data: " + b"x" * (LIMIT - 6) + b"\n\n", 8192)[0]) == LIMIT - 6
    for data in (b"data: " + b"x" * LIMIT, b"data: x\n" * (LIMIT // 7 + 1), b"data: x\n: c\n" * (LIMIT // 7 + 1)):
        with pytest.raises(EventTooLarge):
            decode(data, 8192)


def test_very_many_tiny_lines_cost_bounded_memory() -> None:
    limit = 1 << 22
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLarge):
            decode(b"data: ab\n" * (limit // 9 + 1), 65536, limit)
        assert tracemalloc.get_traced_memory()[1] < 3 * limit + (limit // 9 + 1) * 9
    finally:
        tracemalloc.stop()


def test_a_document_in_lines_passes() -> None:
    text = "\n".join(f'  "key-{at}": {at},' for at in range(20_000))
    (event,) = decode(encode_event(text.encode()), 8192, 1 << 22)
    assert event.data == text


def test_comments_alone_never_fill_the_limit() -> None:
    assert plain((b": " + b"x" * 100 + b"\n") * 100 + b"data: a\n\n", 1000) == ["a"]
    assert decode((b": " + b"x" * 100 + b"\n") * 100, limit=200) == []


# --- The stream ------------------------------------------------------------------------------------------------------


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_stream_gives_its_events_and_ends() -> None:
    stream = EventStream(chunks_of(b"data: a\n\ndata: b", b"\n\ndata: c"), LIMIT, "h")
    assert [event.data async for event in stream] == ["a", "b"]


async def test_a_stream_that_was_left_can_be_taken_up_again() -> None:
    stream = EventStream(chunks_of(b"data: a\n\ndata: b\n\n", b"data: c\n\n"), LIMIT, "h")
    async for event in stream:
        assert event.data == "a"
        break
    assert [event.data async for event in stream] == ["b", "c"]


async def test_an_event_over_the_limit_is_a_fault_that_names_the_option() -> None:
    with pytest.raises(TooLarge, match="larger than the limit of 10 bytes") as caught:
        await anext(EventStream(chunks_of(b"data: 0123456789\n\n"), 10, "h"))
    assert "--max-message-size" in caught.value.hint


async def test_a_stream_that_is_not_utf8_breaks_the_protocol() -> None:
    with pytest.raises(PeerBroke, match="not UTF-8"):
        await anext(EventStream(chunks_of(b"data: \xff\n\n"), LIMIT, "h"))
