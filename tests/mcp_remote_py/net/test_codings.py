"""Content codings are undone in pieces of bounded size."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_remote_py.net.codings import PIECE, Broken, decoder_for


def _undo(coding: str, chunks: list[bytes]) -> bytes:
    decoder = decoder_for(coding)
    assert decoder is not None
    plain = b"".join(piece for chunk in chunks for piece in decoder.feed(chunk))
    decoder.finish()
    return plain


def _raw(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


@given(st.binary(max_size=2000), st.integers(1, 50), st.sampled_from(["gzip", "deflate", "raw"]))
def test_any_chunking_gives_the_same_body(data: bytes, size: int, kind: str) -> None:
    coded = gzip.compress(data) if kind == "gzip" else zlib.compress(data) if kind == "deflate" else _raw(data)
    chunks = [coded[at : at + size] for at in range(0, len(coded), size)]
    assert _undo("gzip" if kind == "gzip" else "deflate", chunks) == data


def test_no_piece_is_larger_than_the_bound() -> None:
    decoder = decoder_for("gzip")
    assert decoder is not None
    sizes = [len(piece) for piece in decoder.feed(gzip.compress(bytes(10 * PIECE)))]
    assert sum(sizes) == 10 * PIECE
    assert max(sizes) <= PIECE


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_no_coding_needs_no_decoder(coding: str) -> None:
    assert decoder_for(coding) is None


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_a_coding_that_was_not_accepted_is_refused(coding: str) -> None:
    with pytest.raises(Broken):
        decoder_for(coding)


@pytest.mark.parametrize("cut", [1, 9, 20])
def test_a_body_that_breaks_off_is_found_out(cut: int) -> None:
    with pytest.raises(Broken):
        _undo("gzip", [gzip.compress(b"some text of some length")[:-cut]])


def test_an_empty_body_is_whole() -> None:
    assert _undo("gzip", []) == b""


def test_what_follows_a_deflate_body_means_nothing() -> None:
    assert _undo("deflate", [zlib.compress(b"x") + b"rest"]) == b"x"
