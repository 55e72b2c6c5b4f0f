"""Framing under any chunking."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.core.framing import LineFramer, Oversize


def lines_of(chunks: list[bytes], limit: int = 1000) -> list[bytes | Oversize]:
    framer = LineFramer(limit)
    found = [line for chunk in chunks for line in framer.feed(chunk)]
    return found + framer.finish()


def test_crlf_blank_lines_bom_and_a_last_line_without_end() -> None:
    assert lines_of([b"\xef\xbb\xbf{1}\r\n\r\n  \n{2}\n{3}"]) == [b"{1}", b"{2}", b"{3}"]


def test_a_bom_is_only_a_bom_at_the_very_start() -> None:
    assert lines_of([b"{1}\n\xef\xbb\xbf{2}\n"]) == [b"{1}", b"\xef\xbb\xbf{2}"]


def test_other_separators_do_not_end_a_line() -> None:
    line = '{"a":"\u2028\u2029\u0085\x0b\x0c"}'.encode()
    assert lines_of([line + b"\n"]) == [line]


def test_a_line_over_the_limit_is_reported_with_its_ends_and_the_next_one_is_read() -> None:
    big = b'{"id":8,' + b"x" * 500_000 + b"}"
    big_line, small = lines_of([big[:9], big[9:70_000], big[70_000:], b"\n{2}\n"], limit=1000)
    assert isinstance(big_line, Oversize)
    assert (big_line.size, big_line.tail[-3:]) == (len(big), b"xx}")
    assert big_line.head.startswith(b'{"id":8,')
    assert small == b"{2}"


def test_a_line_of_exactly_the_limit_passes() -> None:
    assert lines_of([b"x" * 10 + b"\r\n", b"y" * 11 + b"\n"], limit=10) == [
        b"x" * 10,
        Oversize(b"y" * 11, b"y" * 11, 11),
    ]


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))), st.data())
def test_lines_are_the_same_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    whole = lines_of([stream])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert lines_of(chunks) == whole
    assert whole == [
        line
        for line in (line.removeprefix(b"\xef\xbb\xbf") if at == 0 else line for at, line in enumerate(lines))
        if line and not line.isspace()
    ]
