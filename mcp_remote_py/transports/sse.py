"""HTTP+SSE of 2024-11-05: one GET stream brings everything, messages go by POST to the endpoint that it names.

The stream is the session: when it ends, the link is over. What the server names as endpoint must lie on the origin
that the stream comes from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from secrets import token_hex
from urllib.parse import parse_qsl, unquote, urlsplit

from mcp_remote_py.core import message as msg
from mcp_remote_py.core import versions
from mcp_remote_py.core.errors import Fault, Interrupted, PeerBroke, TimedOut
from mcp_remote_py.core.http.answers import Asked, Body, judge_post, named
from mcp_remote_py.core.http.exchange import Exchange
from mcp_remote_py.core.http.headers import (
    PROTOCOL_VERSION,
    TO_LISTEN,
    TO_POST,
    Headers,
    is_events,
    is_json,
    is_visible_ascii,
)
from mcp_remote_py.core.http.origins import is_same_origin, resolve, without_query
from mcp_remote_py.core.http.statuses import fault_of
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Invalid, Key, Kind, Message
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.net.http import Response, let_end
from mcp_remote_py.net.wakefulness import Wakefulness
from mcp_remote_py.transports.breakable import Breakable
from mcp_remote_py.transports.doubt import Doubt
from mcp_remote_py.transports.event_stream import Event, EventStream
from mcp_remote_py.transports.incoming import messages_in
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.remote import Remote

_LOG = logging.getLogger("mcp_remote_py.transports.sse")
_GRACE_SECONDS = 0.25
"""Where it is the connecting that hangs, whoever connects says so first: it knows more."""
MOST_EARLY = 100
"""Events that are kept from before the endpoint's; together they are no larger than one message may be."""


class HttpSse:
    """See the module's text, and `core.link`. Events before the endpoint's are kept for `listen`."""

    traits = Traits(streams_per_exchange=False)

    def __init__(self, remote: Remote, wakefulness: Wakefulness | None = None) -> None:
        self._remote = remote
        self._wakefulness = wakefulness or Wakefulness()
        self._doubt = Doubt()
        self._chunks: Breakable | None = None
        self._group: asyncio.TaskGroup | None = None
        self._asking: list[asyncio.Task[None]] = []
        self._question: Key | None = None
        """Our own ping, whose answer is nobody else's."""
        self._limit = remote.limit
        self._deliver: Deliver
        self._stack = AsyncExitStack()
        self._events: EventStream | None = None
        self._early: list[Event] = []
        self._opened = remote.url
        """Where the stream was opened in the end: an allowed redirect may have led to another origin."""
        self._endpoint = ""
        self._greeting: Key | None = None
        self._version: str | None = None
        self._listening = False
        self._closed = False

    async def open(self, deliver: Deliver) -> None:
        """Open the stream and wait for the endpoint, within the connect time."""
        self._deliver = deliver
        await self._remote.open()
        await self._remote.have_credentials()
        try:
            limit = self._remote.connect_timeout
            async with asyncio.timeout(None if limit is None else limit + _GRACE_SECONDS):
                self._events = await self._open_stream()
                self._endpoint = await self._await_endpoint(self._events)
        except TimeoutError:
            await self._stack.aclose()
            within = f" within {self._remote.connect_timeout:g} s"
            raise TimedOut(
                f"{self._remote.host} opened no event stream with an endpoint{within}",
                hint="Check that the URL is the server's SSE address (often it ends in /sse); "
                "--connect-timeout allows for more time.",
                may_have_run=False,
            ) from None
        except BaseException:
            await self._stack.aclose()
            raise

    async def _open_stream(self) -> EventStream:
        request = self._remote.request("GET", self._remote.url, TO_LISTEN)
        response = await self._stack.enter_async_context(request)
        self._opened = response.url
        reply = self._remote.reply(response)
        if not 200 <= reply.status < 300:
            fault = fault_of(reply, with_token=self._remote.with_token)
            fault.may_have_run = False  # no message has been sent yet
            raise fault
        if not is_events(reply.content_type):
            raise PeerBroke(
                f"{self._remote.host} answered with {named(reply.content_type)} instead of an event stream "
                f"(HTTP {reply.status})",
                hint="Check that the URL is the server's SSE address (often it ends in /sse).",
                may_have_run=False,
                http_status=reply.status,
            )
        self._chunks = Breakable(response.chunks(), self._remote.host)
        return EventStream(self._chunks, self._limit, self._remote.host)

    async def _await_endpoint(self, events: EventStream) -> str:
        size = 0
        try:
            async for event in events:
                if event.name == "endpoint":
                    return self._checked(event.data)
                size += len(event.data)
                self._early.append(event)
                if len(self._early) > MOST_EARLY or size > self._limit:
                    break
        except Interrupted as fault:
            raise fault.restated(
                hint="Nothing had been sent yet: it is safe to try again.", may_have_run=False
            ) from None
        raise PeerBroke(
            f"{self._remote.host} opened an event stream that names no endpoint",
            hint="Perhaps the server speaks Streamable HTTP: try --transport http-only.",
            may_have_run=False,
            http_status=200,
        )

    def _checked(self, reference: str) -> str:
        try:
            endpoint = resolve(self._opened, reference.strip())
        except ValueError:
            raise PeerBroke(f"{self._remote.host} named an endpoint that cannot be read", may_have_run=False) from None
        for secret in _secrets_in(endpoint):
            self._remote.learn(secret)
        if not is_same_origin(self._opened, endpoint):
            raise PeerBroke(
                f"{self._remote.host} named an endpoint on another server: {without_query(endpoint)}",
                hint="Credentials are never sent to another server. If the server stands behind a proxy, "
                "it may need to be told its public URL.",
                may_have_run=False,
            )
        return endpoint

    # --- Out ---------------------------------------------------------------------------------------------------

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        self._wakefulness.glance()
        await self._doubt.settled()
        if self._chunks is not None and self._chunks.is_broken:
            raise Interrupted(f"the stream of {self._remote.host} was left", may_have_run=False)
        self._doubt.sends(message)
        try:
            await self._post(message, written)
        except BaseException:
            self._doubt.not_sent(message)
            raise

    async def _post(self, message: Message, written: Callable[[], None] | None) -> None:
        is_request = message.kind is Kind.REQUEST
        if is_request and message.method == "initialize":
            self._greeting, self._version = message.key, None
        async with self._remote.request("POST", self._endpoint, self._own(), message, written) as response:
            reply = self._remote.reply(response)
            accepted = 200 <= reply.status < 300  # the answer to a request comes on the stream
            asked = Asked(is_request and not accepted, in_session=True, with_token=self._remote.with_token)
            verdict = judge_post(reply, asked)
            if verdict.body is Body.ERROR and await self._read_error(message, response):
                return
            if verdict.fault is None:
                if is_request and is_json(reply.content_type):
                    await self._read_early_answer(message, response)
                else:
                    await let_end(response.chunks())
                return
        raise verdict.fault

    def _own(self) -> Headers:
        if versions.wants_version_header(self._version):
            return (*TO_POST, (PROTOCOL_VERSION, self._version or ""))
        return TO_POST

    async def _read_early_answer(self, request: Message, response: Response) -> None:
        """Some servers put the answer into the answer to the POST, where this wire does not expect it."""
        try:
            answer = msg.parse_one(await response.read(self._limit), self._remote.depth)
        except (Invalid, Fault):
            return  # it was only an acknowledgement; the answer comes on the stream
        if answer.is_answer and answer.id is not None and answer.key == request.key:
            await self._hand_on(answer)

    async def _read_error(self, request: Message, response: Response) -> bool:
        """Hand on the JSON-RPC error in the body of a 4xx or 5xx. Returns whether there was one."""
        try:
            error = Exchange(request, self._remote.host, depth=self._remote.depth).read_error(
                await response.read(self._limit)
            )
        except Fault:
            return False  # the status has been read, and says enough
        if error is None:
            return False
        await self._hand_on(error)
        return True

    # --- In ----------------------------------------------------------------------------------------------------

    async def listen(self) -> None:
        if self._events is None or self._listening or self._closed:
            raise Interrupted(f"the stream of {self._remote.host} is not open", may_have_run=False)
        self._listening = True
        fault: Fault | None = None
        try:
            async with asyncio.TaskGroup() as self._group:
                with self._wakefulness.watching(self._look):
                    try:
                        await self._read(self._events)
                    except Fault as trouble:
                        fault = trouble  # raised below: a group would wrap it
                for task in self._asking:
                    task.cancel()
        finally:
            self._doubt.over()
            await self._stack.aclose()
        if fault is not None and self._chunks is not None and self._chunks.is_broken:
            fault.may_have_run = False  # it was left because nobody waited for an answer
        raise fault or Interrupted(f"{self._remote.host} ended the event stream")

    async def _read(self, events: EventStream) -> None:
        for event in self._early:
            await self._take(event)
        self._early.clear()
        async for event in events:
            self._doubt.over()
            await self._take(event)

    # --- Whether anybody is there ------------------------------------------------------------------------------

    def _look(self, wake: Wake | None) -> None:
        if wake is not None and wake.is_doubtful:
            self._remote.doubt()
        if wake is None or not wake.is_doubtful or self._question is not None or self._group is None:
            return
        ping = msg.request(f"mcp-remote-py-{token_hex(16)}", "ping")
        self._question = ping.key
        self._doubt.begin(self._leave)
        self._asking = [self._group.create_task(self._ask(ping))]

    async def _ask(self, ping: Message) -> None:
        try:
            await self._post(ping, None)
        except Fault as fault:
            self._question = None
            _LOG.debug("a ping after this machine had slept or moved: %s", fault)
            if self._doubt.is_idle:
                self._leave()
                self._doubt.over()

    def _leave(self) -> None:
        if self._chunks is not None:
            self._chunks.break_off()

    async def _take(self, event: Event) -> None:
        if event.name == "endpoint":
            self._endpoint = self._checked(event.data)
        elif event.is_message:
            for message in messages_in(event.data.encode("utf-8"), self._remote.host, self._remote.depth):
                await self._hand_on(message)

    async def _hand_on(self, message: Message) -> None:
        if message.kind is Kind.RESULT and message.key == self._greeting:
            version = message.result.get("protocolVersion")
            self._version = version if isinstance(version, str) and is_visible_ascii(version, 64) else None
            self._greeting = None
        if message.is_answer and message.id is not None and message.key == self._question:
            self._question = None
            return
        self._doubt.received(message)
        await self._deliver(message, None)

    async def close(self) -> None:
        self._closed = True
        self._doubt.over()
        self._wakefulness.end()
        await self._remote.close()
        if not self._listening:
            await self._stack.aclose()


def _secrets_in(endpoint: str) -> Iterator[str]:
    """What names the session: the values of the query, and what looks random in the path."""
    parts = urlsplit(endpoint)
    yield from (content for _, content in parse_qsl(parts.query))
    segments = (unquote(segment) for segment in parts.path.split("/"))
    yield from (segment for segment in segments if len(segment) >= 16 and any(map(str.isdigit, segment)))


def make_link(reach: Reach) -> HttpSse:
    """Return a link to this server."""
    return HttpSse(Remote(reach))
