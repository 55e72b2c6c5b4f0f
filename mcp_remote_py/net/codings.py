"""Content codings of HTTP bodies: gzip and deflate, undone in pieces of bounded size.

A small body can unfold to gigabytes; here no step yields more than one piece, so that the reader's limit is met
before memory is. Source: RFC 9110 section 8.4.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

ACCEPTED = "gzip, deflate"
"""The value of `Accept-Encoding` that matches this file."""

PIECE = 256 * 1024


class Broken(Exception):
    """The body is not what its `Content-Encoding` says, or ends too early."""


class Decoder(Protocol):
    """Coded chunks in, plain pieces out."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what this chunk unfolds to. Raises `Broken`."""

    def finish(self) -> None:
        """Check that the coded body is whole. Raises `Broken`."""


def decoder_for(content_encoding: str) -> Decoder | None:
    """Return what undoes the coding, None where there is none. Raises `Broken` for a coding that we did not accept."""
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return _Inflate(zlib.MAX_WBITS | 16)
    if coding == "deflate":
        return _Inflate(zlib.MAX_WBITS)
    raise Broken


class _Inflate:
    """Both codings are zlib streams; some servers send deflate without zlib's header, which the first bytes show."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._zlib = zlib.decompressobj(window)
        self._started = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if not self._started and chunk:
            self._started = True
            if self._window == zlib.MAX_WBITS and chunk[0] & 0x0F != 8:
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        while chunk:
            if self._zlib.eof:
                if self._window != zlib.MAX_WBITS | 16:
                    return  # what follows the end of a deflate stream means nothing
                self._zlib = zlib.decompressobj(self._window)  # gzip bodies may have several members
            try:
                piece = self._zlib.decompress(chunk, PIECE)
            except zlib.error:
                raise Broken from None
            chunk = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece

    def finish(self) -> None:
        if self._started and not self._zlib.eof:
            raise Broken
