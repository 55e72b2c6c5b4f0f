"""How answers are put on HTTP: JSON replies, rejections, and streams of events with keep-alive. No decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from aiohttp import web

from mcp_remote_py.core.sse import encode_comment
from server_stub.core.admission import Rejection, check_size
from server_stub.core.outbox import Event
from server_stub.sessions import Feed
from server_stub.settings import Timing

STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
"""What keeps proxies from holding a stream back."""

KEEP_ALIVE = encode_comment("keep-alive")


def json_reply(status: int, raw: bytes, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response with this JSON text."""
    return web.Response(status=status, body=raw, content_type="application/json", headers=headers)


def rejected(rejection: Rejection) -> web.Response:
    """Return the response of a rejection."""
    return json_reply(rejection.status, rejection.body.raw, dict(rejection.headers))


async def read_body(request: web.Request, limit: int) -> bytes | Rejection:
    """Return the body, or the 413. `limit` is in bytes."""
    return check_size(request.content_length, limit) or await request.read()


def connection_is_alive(request: web.Request) -> Callable[[], bool]:
    """Return a function that says whether the connection of this request is still there, as far as we can know."""

    def alive() -> bool:
        return request.transport is not None and not request.transport.is_closing()

    return alive


class Stream(NamedTuple):
    """One SSE response: what to send before the first event, how an event is written, and further headers."""

    opening: bytes
    encode: Callable[[Event], bytes]
    headers: Mapping[str, str]


async def send_stream(
    request: web.Request, stream: Stream, feed: Feed, timing: Timing, first: Iterable[Event] = ()
) -> web.StreamResponse:
    """Send `first`, then what the feed brings, until its stream ends or the client is gone; a comment when quiet."""
    response = web.StreamResponse(headers={**STREAM_HEADERS, **stream.headers})
    await response.prepare(request)
    try:
        await _write(request, response, stream.opening + b"".join(stream.encode(event) for event in first), timing)
        while True:
            try:
                event = await feed.get(timing.keep_alive)
            except TimeoutError:
                await _write(request, response, KEEP_ALIVE, timing)
                continue
            if event is None:
                break
            await _write(request, response, stream.encode(event), timing)
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone; what it missed is stored, where it can be resumed
    return response


async def _write(request: web.Request, response: web.StreamResponse, data: bytes, timing: Timing) -> None:
    """Write, and drop the connection of a client that reads nothing for too long. Raises `ConnectionError`."""
    try:
        async with asyncio.timeout(timing.stalled_write):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the client does not read") from None
