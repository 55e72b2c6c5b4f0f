"""A good MCP server on one of the three wires, of which single answers are spoilt, byte by byte, as a test says.

    async with FaultServer("http") as server:
        server.spoil("tools/call", cut(17, Peer.reset))
        ...the next tools/call is answered with 17 bytes and an RST; server.ran says how often each call arrived...

Each answer is made as the bytes that a good server would send. What is spoilt is named by its *place*: a method (its
answer, wherever that travels), `accepting METHOD` (the 202 to a POST of HTTP+SSE), `opening` (the stream of HTTP+SSE
with its endpoint, the handshake of a WebSocket). A *deed* does what it likes instead of sending those bytes.

A call names itself in its argument `key`. It *ran* as soon as the server read it, unless the spoilt place says that it
was turned away at the door.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from mcp_remote_py.core.sse import encode_event
from tests.support.scripted_server import Peer, ScriptedServer, Seen, head_of

Wire = Literal["http", "sse", "ws"]
Flavour = Literal["json", "events", "resumable"]
"""How Streamable HTTP answers: as JSON, as an event stream, as one that can be taken up again."""
WIRES: tuple[Wire, ...] = ("http", "sse", "ws")
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "faults", "version": "1"},
}
TOOLS = {
    "tools": [
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "pay", "inputSchema": {"type": "object"}},
    ]
}


class Moment(NamedTuple):
    """What is to be sent now: the bytes of a good server, the request that they answer, and its answer as JSON."""

    whole: bytes
    doc: Any = None
    body: bytes = b""


Deed = Callable[[Peer, Moment], Awaitable[None]]
Ending = Callable[[Peer], Awaitable[None]]


class _Spoilt(NamedTuple):
    deed: Deed
    runs: bool


# --- Deeds ---------------------------------------------------------------------------------------------------------


async def in_full(peer: Peer, moment: Moment) -> None:
    """Do no harm."""
    await peer.raw(moment.whole)


async def silence(peer: Peer, moment: Moment) -> None:
    """Say nothing, and keep the connection."""


def cut(at: int, ending: Ending) -> Deed:
    """Send so many bytes, and end the connection in this way."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.raw(moment.whole[:at])
        await ending(peer)

    return deed


async def drip(peer: Peer, moment: Moment) -> None:
    """Send everything, one byte at a time."""
    await peer.drip(moment.whole)


def before(words: bytes) -> Deed:
    """Send something else first."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.raw(words + moment.whole)

    return deed


def instead(words: bytes, ending: Ending | None = None) -> Deed:
    """Send something else, and end the connection in this way, or leave it open."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.raw(words)
        if ending is not None:
            await ending(peer)

    return deed


def status(code: int, kind: str | None = None, body: bytes = b"", **headers: str) -> Deed:
    """Send another status. In the body `$ID` stands for the request's id; in names of headers, `_` for `-`."""

    async def deed(peer: Peer, moment: Moment) -> None:
        identifier = json.dumps((moment.doc or {}).get("id")).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        await peer.answer(code, body.replace(b"$ID", identifier), kind, headers=given)

    return deed


def misstated(by: int) -> Deed:
    """Send the answer with a Content-Length that is so much too large (or too small), and hang up."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.answer(200, moment.body, "application/json", length=len(moment.body) + by)
        await peer.hang_up()

    return deed


def chunked(size: Callable[[bytes], bytes], ending: Ending) -> Deed:
    """Send the answer as one chunk whose size is stated as a function says, and end in this way."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.raw(head_of(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
        await peer.raw(size(moment.body) + b"\r\n" + moment.body + b"\r\n")
        await ending(peer)

    return deed


def zipped(keep: int | None = None) -> Deed:
    """Send the answer with gzip, or so many bytes of that as if it were all."""

    async def deed(peer: Peer, moment: Moment) -> None:
        packed = gzip.compress(moment.body)[:keep]
        await peer.answer(200, packed, "application/json", headers={"Content-Encoding": "gzip"})

    return deed


def held_back(seconds: float) -> Deed:
    """Send everything in one go after a while, and hang up, as a proxy does that buffers what passes."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await asyncio.sleep(seconds)
        await peer.raw(moment.whole)
        await peer.hang_up()

    return deed


def closed_after(seconds: float | None, ending: Ending) -> Deed:
    """Answer, and end the idle connection after so long; None: in the same moment."""

    async def deed(peer: Peer, moment: Moment) -> None:
        await peer.raw(moment.whole)
        if seconds is not None:
            await asyncio.sleep(seconds)
        await ending(peer)

    return deed


# --- The server ----------------------------------------------------------------------------------------------------


class FaultServer(ScriptedServer):
    """See the module's text."""

    def __init__(self, wire: Wire, flavour: Flavour = "json", port: int = 0) -> None:
        super().__init__(self._serve_request, port=port)
        self.wire = wire
        self.flavour = flavour
        self.ran: Counter[int] = Counter()
        self.sizes: dict[str, int] = {}
        """How many bytes a good server sends in each place that there has been."""
        self.resumable_from = 2**31
        """After so many bytes of an answer it can be taken up again."""
        self.methods: list[str] = []
        """Of all messages that came, in their order."""
        self.says_lost: Deed = status(404)
        self._spoilt: dict[str, list[_Spoilt]] = {}
        self._numbers = itertools.count(1)
        self._sessions: set[str] = set()
        self._streams: dict[str, Peer] = {}
        self._rests: dict[str, list[bytes]] = {}

    @property
    def url(self) -> str:
        scheme = "ws" if self.wire == "ws" else "http"
        return f"{scheme}://{self._host}:{self.port}/{self.wire}"

    def spoil(self, place: str, deed: Deed, *, runs: bool = True, times: int = 1) -> None:
        """Do this the next times instead of what is right. `runs`: the request has its effect all the same."""
        self._spoilt.setdefault(place, []).extend([_Spoilt(deed, runs)] * times)

    def mend(self) -> None:
        """Spoil nothing any more."""
        self._spoilt.clear()

    def forget(self) -> None:
        """Know no session any more; pipes stay as they are."""
        self._sessions.clear()

    async def down(self) -> None:
        """Be gone: no port, no connection, no session."""
        await self.__aexit__(None, None, None)
        self._sessions.clear()
        self._streams.clear()

    async def up(self) -> None:
        """Be there again, at the same port."""
        await self.__aenter__()

    # --- What is right, as bytes -----------------------------------------------------------------------------------

    def _answer(self, doc: dict[str, Any]) -> bytes:
        results = {"initialize": GREETING, "tools/list": TOOLS}
        result = results.get(doc["method"], {"n": doc.get("params", {}).get("key", 0)})
        return json.dumps({"jsonrpc": "2.0", "id": doc["id"], "result": result}, separators=(",", ":")).encode()

    def _by_http(self, doc: dict[str, Any], body: bytes) -> bytes:
        head: dict[str, str] = {}
        if doc["method"] == "initialize":
            head["Mcp-Session-Id"] = session = f"fault-{next(self._numbers)}"
            self._sessions.add(session)
        if self.flavour == "json" or doc["method"] != "tools/call":
            return head_of(200, {**head, "Content-Type": "application/json", "Content-Length": str(len(body))}) + body
        news = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":0}}'
        if self.flavour == "events":
            events = [encode_event(news), encode_event(body)]
        else:
            stream = next(self._numbers)
            begin = encode_event(b"", identifier=f"{stream}/0", retry=1)
            events = [begin, encode_event(news, identifier=f"{stream}/1"), encode_event(body, identifier=f"{stream}/2")]
            self.resumable_from = len(_events_head(head) + _chunk(begin))
            self._rests |= {f"{stream}/{at}": events[at + 1 :] for at in range(3)}
        return _events_head(head) + b"".join(map(_chunk, events)) + b"0\r\n\r\n"

    # --- Serving -----------------------------------------------------------------------------------------------

    async def _send(self, place: str, peer: Peer, moment: Moment) -> bool:
        """Do what is to be done in this place. Returns whether the request has its effect."""
        waiting = self._spoilt.get(place)
        spoilt = waiting.pop(0) if waiting else _Spoilt(in_full, runs=True)
        self.sizes[place] = len(moment.whole)
        if spoilt.runs and moment.doc is not None and place == moment.doc.get("method") == "tools/call":
            self.ran[moment.doc["params"]["key"]] += 1
        await spoilt.deed(peer, moment)
        return spoilt.runs

    async def _serve_request(self, seen: Seen, peer: Peer) -> None:
        if seen.method == "POST":
            doc = seen.doc
            self.methods.append(doc.get("method", "answer"))
            await (self._posted if self.wire == "http" else self._accepted)(seen, doc, peer)
        elif seen.method == "DELETE":
            await peer.answer(200)
        elif self.wire == "sse":
            await self._stream(peer)
        elif self.wire == "ws":
            await self._socket(seen, peer)
        else:
            await self._resumed(seen, peer)

    async def _posted(self, seen: Seen, doc: dict[str, Any], peer: Peer) -> None:
        if doc.get("method") != "initialize" and seen.header("mcp-session-id") not in self._sessions:
            await self.says_lost(peer, Moment(b"", doc))
        elif "id" not in doc or "method" not in doc:
            await self._send(f"accepting {doc.get('method')}", peer, Moment(_ACCEPTED))
        else:
            body = self._answer(doc)
            await self._send(doc["method"], peer, Moment(self._by_http(doc, body), doc, body))

    async def _resumed(self, seen: Seen, peer: Peer) -> None:
        rest = self._rests.get(seen.header("last-event-id") or "")
        if rest is None:
            await peer.answer(405)
        else:
            await self._send("resuming", peer, Moment(_events_head({}) + b"".join(map(_chunk, rest)) + b"0\r\n\r\n"))

    async def _stream(self, peer: Peer) -> None:
        session = f"fault-{next(self._numbers)}"
        self._sessions.add(session)
        self._streams[session] = peer
        endpoint = encode_event(f"/messages/{session}".encode(), event="endpoint")
        await self._send("opening", peer, Moment(_events_head({}) + _chunk(endpoint)))
        if not peer.writer.is_closing():
            await peer.silence()
            await peer.hang_up()
        del self._streams[session]

    async def _accepted(self, seen: Seen, doc: dict[str, Any], peer: Peer) -> None:
        session = seen.target.removeprefix("/messages/")
        stream = self._streams.get(session)
        if session not in self._sessions or stream is None:
            await self.says_lost(peer, Moment(b"", doc))
            return
        runs = await self._send(f"accepting {doc.get('method')}", peer, Moment(_ACCEPTED, doc))
        if runs and "id" in doc and "method" in doc:
            body = self._answer(doc)
            if not (stream.writer.is_closing() or stream.has_finished):
                await self._send(doc["method"], stream, Moment(_chunk(encode_event(body)), doc, body))

    async def _socket(self, seen: Seen, peer: Peer) -> None:
        key = (seen.header("sec-websocket-key") or "") + WEBSOCKET_GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324
        head = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        await self._send("opening", peer, Moment(head_of(101, head)))
        while not (peer.writer.is_closing() or peer.has_finished) and (text := await _frame(peer)) is not None:
            doc = json.loads(text)
            self.methods.append(doc.get("method", "answer"))
            if "id" in doc and "method" in doc:
                body = self._answer(doc)
                await self._send(doc["method"], peer, Moment(text_frame(body), doc, body))
        if not peer.writer.is_closing():
            await peer.hang_up()


_ACCEPTED = head_of(202, {"Content-Length": "0"})


def _events_head(more: dict[str, str]) -> bytes:
    return head_of(200, {**more, "Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def text_frame(body: bytes) -> bytes:
    """Return a text frame as a server sends it, unmasked (RFC 6455 section 5.2)."""
    size = len(body)
    return (bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2)) + body


async def _frame(peer: Peer) -> bytes | None:
    """Read the next text frame of a client; pings are answered. None at the end."""
    while True:
        first, second = await peer.reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await peer.reader.readexactly(2 if size == 126 else 8))
        mask = await peer.reader.readexactly(4)
        masked = await peer.reader.readexactly(size)
        body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        if first & 0x0F == 0x8:
            await peer.raw(bytes([0x88, len(body)]) + body)
            return None
        if first & 0x0F == 0x9:
            await peer.raw(bytes([0x8A, len(body)]) + body)
        elif first & 0x0F == 0x1:
            return body
