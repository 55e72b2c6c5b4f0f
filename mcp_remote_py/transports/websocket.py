"""WebSocket: one frame, one message. Part of no revision of MCP; the rules are those that deployed servers keep.

The sub-protocol `mcp` is offered, and a server that selects none is fine. The socket is the session: when it closes,
the link is over. How it is opened is in `transports.upgrade`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import Asked, Fault, Interrupted, SignInNeeded
from mcp_remote_py.core.http import closes
from mcp_remote_py.core.http.headers import Headers
from mcp_remote_py.core.http.origins import place_of
from mcp_remote_py.core.link import Deliver, Traits
from mcp_remote_py.core.message import Message
from mcp_remote_py.core.vigil import LOOK_SECONDS, Deed, Vigil
from mcp_remote_py.core.wakeups import Wake
from mcp_remote_py.net.sockets import is_dead_peer
from mcp_remote_py.net.wakefulness import Wakefulness
from mcp_remote_py.transports.clock import Clock
from mcp_remote_py.transports.doubt import Doubt
from mcp_remote_py.transports.incoming import messages_in
from mcp_remote_py.transports.reach import Reach
from mcp_remote_py.transports.upgrade import Connection, Opened, Upgrade

_LOG = logging.getLogger("mcp_remote_py.transports.websocket")
MOST_EARLY = 16
"""Messages that are kept until the server has said something; a host sends one, and waits for its answer."""


class WebSocket:
    """See the module's text, and `core.link`."""

    traits = Traits(streams_per_exchange=False)

    def __init__(self, reach: Reach, wakefulness: Wakefulness | None = None) -> None:
        self._upgrade = Upgrade(reach)
        self._wakefulness = wakefulness or Wakefulness(LOOK_SECONDS)
        self._clock = Clock()
        self._vigil = Vigil(self._clock.now())
        self._doubt = Doubt()
        self._left = False
        """Whether the pipe was left because it was silent after this machine woke up."""
        self._url = reach.target.url
        self._host = place_of(reach.target.url)
        self._by_message = reach.target.ws_auth == "message"
        self._credentials = reach.credentials
        self._limit = reach.limits.message
        self._depth = reach.limits.depth
        self._deliver: Deliver
        self._socket: Connection | None = None
        self._shown: Headers = ()
        self._heard = False
        self._early: list[bytes] | None = []
        self._turn = asyncio.Lock()
        self._closed = False

    async def open(self, deliver: Deliver) -> None:
        """Connect, within the connect time, and send the token where the server wants it as a message."""
        self._deliver = deliver
        await self._knock()

    async def _knock(self) -> None:
        opened = await self._admitted()
        if self._closed:
            opened.socket.transport.abort()
            raise Interrupted(f"the connection to {self._host} is not open", may_have_run=False)
        self._socket = opened.socket
        self._socket.on_data = self._on_data
        if self._by_message and opened.is_home:
            await self._write(msg.encode({"token": _token_of(self._shown)}))

    async def _admitted(self) -> Opened:
        """Connect; other credentials are tried once, and once a proof that holds the server's nonce."""
        tried: set[bool] = set()
        while True:
            self._shown = await self._credentials.headers("GET", self._url)
            try:
                return await self._upgrade.open(self._shown)
            except SignInNeeded as fault:
                asked = fault.asked or Asked(fault.http_status or 0)
                if asked.status not in (401, 403) or asked.wants_nonce in tried:
                    raise
                if not await self._credentials.refused(self._shown, asked):
                    raise
                tried.add(asked.wants_nonce)

    async def _knock_again(self) -> None:
        """Once: a server that takes the token as a message can only refuse it by closing. Nothing has run there."""
        async with self._turn:
            early, self._early = self._early or [], None
            await self._knock()
            for raw in early:
                await self._write(raw)

    async def send(self, message: Message, written: Callable[[], None] | None = None) -> None:
        self._wakefulness.glance()
        await self._doubt.settled()
        self._doubt.sends(message)
        try:
            await self._send(message, written)
        except BaseException:
            self._doubt.not_sent(message)
            raise

    async def _send(self, message: Message, written: Callable[[], None] | None) -> None:
        if self._early is None:
            await self._write(message.raw)
        else:
            async with self._turn:
                await self._write_early(message.raw)
        if written is not None:
            written()

    async def _write_early(self, raw: bytes) -> None:
        """Write what may have to be written again. Where it did not go out, `_knock_again` writes it."""
        try:
            await self._write(raw)
        except SignInNeeded:
            if self._early is None or not await self._credentials.refused(self._shown):
                raise
        if self._early is not None:
            self._early = [*self._early, raw] if len(self._early) < MOST_EARLY else None

    async def listen(self) -> None:
        with self._wakefulness.watching(self._look):
            await self._listen()

    async def _listen(self) -> None:
        while True:
            try:
                await self._receive(self._open_socket())
            except ConnectionClosed as error:
                fault = self._translate(error)
                if not isinstance(fault, SignInNeeded):
                    raise fault from None
                if self._early is None:
                    self._credentials.distrust(self._shown)  # the next connection shows others, if there are any
                    raise fault from None
                if not await self._credentials.refused(self._shown):
                    raise fault from None
                await self._knock_again()

    async def _receive(self, socket: Connection) -> None:
        while True:
            frame = await socket.recv(decode=False)
            for message in messages_in(frame, self._host, self._depth):
                self._heard, self._early = True, None
                self._doubt.received(message)
                await self._deliver(message, None)

    # --- Whether anybody is there ------------------------------------------------------------------------------

    def _on_data(self) -> None:
        self._vigil.heard(self._clock.now())
        self._doubt.over()

    def _look(self, wake: Wake | None) -> None:
        socket = self._socket
        if socket is None:
            return
        if wake is not None and wake.is_doubtful:
            self._vigil.asked(self._clock.now())
            self._doubt.begin(self._leave)
            socket.ping_now()
            return
        deed = self._vigil.look(self._clock.now())
        if deed is Deed.NOTHING:
            return
        if deed is Deed.COMPLAIN:
            _LOG.warning("%s has not answered a ping; the connection stands, and what runs goes on", self._host)
        socket.ping_now()

    def _leave(self) -> None:
        if self._socket is not None:
            self._left = True
            self._socket.transport.abort()

    async def close(self) -> None:
        self._closed = True
        self._doubt.over()
        self._wakefulness.end()
        socket, self._socket = self._socket, None
        if socket is None:
            return
        try:
            await socket.close(1000)
        finally:
            socket.transport.abort()  # where the server did not answer the close, or we may not wait for it

    def _open_socket(self) -> Connection:
        if self._socket is None or self._closed:
            raise Interrupted(f"the connection to {self._host} is not open", may_have_run=False)
        return self._socket

    async def _write(self, raw: bytes) -> None:
        socket = self._open_socket()
        was_open = socket.state is State.OPEN
        try:
            await socket.send(raw, text=True)
        except ConnectionClosed as error:
            fault = self._translate(error)
            fault.may_have_run = fault.may_have_run and was_open
            raise fault from None

    # --- What the library raises -------------------------------------------------------------------------------

    def _translate(self, error: ConnectionClosed) -> Fault:
        if error.sent is not None and not error.rcvd_then_sent:
            return closes.fault_of_ours(self._host, error.sent.code, self._limit)
        if error.rcvd is not None:
            source = self._credentials.source
            return closes.fault_of_peer(
                self._host, error.rcvd.code, error.rcvd.reason, heard=self._heard, source=source
            )
        if self._left:
            return Interrupted(
                f"{self._host} did not answer after this machine had slept or moved: its connection was left",
                may_have_run=False,  # nobody waited for an answer
            )
        if is_dead_peer(error):
            return Interrupted(
                f"{self._host} acknowledges nothing any more: its connection is dead (--dead-peer-timeout)"
            )
        return closes.fault_of_loss(self._host)


def _token_of(shown: Headers) -> str:
    """Return the bearer token among these headers, for the first message; empty where there is none."""
    value = next((value for name, value in shown if name.lower() == "authorization"), "")
    return value[7:].strip() if value.lower().startswith("bearer ") else ""


def make_link(reach: Reach) -> WebSocket:
    """Return a link to this server."""
    return WebSocket(reach)
