"""Everything that a server, or what stands before it, can do to an answer, on every wire: one answer, the truth about
it, and the bridge works when the server does.

Most of it runs in the process of the test (see `near_bridge`), a handful with the real console script.
"""

from __future__ import annotations

import json

import pytest

from tests.support import fault_server as faults
from tests.support.fault_server import FaultServer, Flavour, Wire
from tests.support.host import launch
from tests.support.near_bridge import near_bridge
from tests.support.scripted_server import Peer, head_of
from tests.support.survival import Fault, in_session, meet


def hexadecimal(body: bytes) -> bytes:
    return b"%x" % len(body)


HINTS = head_of(103, {"Link": "</style.css>; rel=preload"})
HTTP_FAULTS: dict[str, Fault] = {
    "silence": Fault(faults.silence, -31002),
    "dripped": Fault(faults.drip),
    "length too long": Fault(faults.misstated(7), -31003),
    "length too short": Fault(faults.misstated(-7), -31008),
    "length 0": Fault(faults.status(200, "application/json"), -31008),
    "two lengths": Fault(
        faults.instead(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
                       b"Content-Length: 3\r\n\r\n{}\n", Peer.hang_up), -31008,
    ),
    "no length": Fault(
        faults.instead(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{", Peer.hang_up), -31008
    ),
    "a chunk": Fault(faults.chunked(hexadecimal, Peer.end)),
    "a chunk with an extension": Fault(faults.chunked(lambda body: b"%X;a=b" % len(body), Peer.end)),
    "no last chunk": Fault(faults.chunked(hexadecimal, Peer.hang_up), -31003),
    "a chunk cut off": Fault(faults.chunked(lambda body: b"%x" % (len(body) + 9), Peer.hang_up), -31003),
    "a chunk reset": Fault(faults.chunked(lambda body: b"%x" % (len(body) + 9), Peer.reset), -31003),
    "a chunk too short": Fault(faults.chunked(lambda body: b"%x" % (len(body) - 9), Peer.end), -31003),
    "no size of a chunk": Fault(faults.chunked(lambda _: b"", Peer.end), -31003),
    "a bad size of a chunk": Fault(faults.chunked(lambda _: b"zz", Peer.hang_up), -31003),
    "a negative size": Fault(faults.chunked(lambda body: b"-%x" % len(body), Peer.hang_up), -31003),
    "an endless size": Fault(faults.chunked(lambda _: b"f" * 40, Peer.hang_up), -31003),
    "100": Fault(faults.before(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "102 and 103": Fault(faults.before(head_of(102, {}) + HINTS + HINTS)),
    "endless 103": Fault(faults.before(HINTS * 100), -31008),
    "101": Fault(faults.instead(head_of(101, {"Upgrade": "h2c", "Connection": "Upgrade"})), -31008),
    "gzip": Fault(faults.zipped()),
    "half of gzip": Fault(faults.zipped(keep=30), -31003),
    "the head of gzip": Fault(faults.zipped(keep=5), -31003),
    "no gzip": Fault(faults.status(200, "application/json", b"{}", Content_Encoding="gzip"), -31003),
    "an unknown coding": Fault(faults.status(200, "application/json", b"{}", Content_Encoding="br"), -31003),
    "held back and closed": Fault(faults.held_back(0.02)),
    "not HTTP": Fault(faults.instead(b"SSH-2.0-OpenSSH_9.6\r\n", Peer.hang_up), -31008),
    "HTTP/2": Fault(faults.instead(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), Peer.hang_up), -31008),
    "twice": Fault(lambda peer, moment: peer.raw(moment.whole * 2)),
    "another answer behind it": Fault(lambda peer, moment: peer.raw(moment.whole + head_of(404, {}))),
    "closed behind it": Fault(faults.closed_after(None, Peer.hang_up)),
    "half-closed behind it": Fault(faults.closed_after(None, Peer.half_close)),
}  # fmt: skip
PIPE_FAULTS: dict[str, Fault] = {
    "silence": Fault(faults.silence, -31002),
    "dripped": Fault(faults.drip),
    "reset": Fault(faults.cut(0, Peer.reset), -31003),
    "closed behind it": Fault(faults.closed_after(None, Peer.hang_up)),
    "half-closed behind it": Fault(faults.closed_after(None, Peer.half_close)),
}
SSE_FAULTS = PIPE_FAULTS | {
    "a bad size of a chunk": Fault(faults.instead(b"zz\r\n"), -31003),
    "an endless size": Fault(faults.instead(b"f" * 40 + b"\r\n"), -31003),
    "the last chunk": Fault(faults.instead(b"0\r\n\r\n"), -31003),
    "twice": Fault(lambda peer, moment: peer.raw(moment.whole * 2)),
    "no UTF-8": Fault(faults.instead(b"9\r\ndata: \xff\n\n\r\n"), -31008),
}
WEBSOCKET_FAULTS = PIPE_FAULTS | {
    "a frame of a reserved kind": Fault(faults.instead(b"\x83\x00"), -31008),
    "a masked frame": Fault(faults.instead(b"\x81\x81abcde"), -31008),
    "a frame without end": Fault(faults.instead(b"\x81\x7f\x7f" + bytes(7)), -31007),
    "no UTF-8": Fault(faults.instead(b"\x81\x01\xff"), -31002),
    "a close": Fault(faults.instead(b"\x88\x02\x03\xe8"), -31003),
    "a close that says try again": Fault(faults.instead(b"\x88\x02\x03\xf5"), -31003),
    "twice": Fault(lambda peer, moment: peer.raw(moment.whole * 2)),
}
EACH = [
    *((wire, "json", name, fault) for wire, table in (("http", HTTP_FAULTS), ("sse", SSE_FAULTS),
                                                      ("ws", WEBSOCKET_FAULTS)) for name, fault in table.items()),
    *(("http", "events", name, HTTP_FAULTS[name]) for name in ("dripped", "held back and closed", "closed behind it")),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "flavour", "name", "fault"), EACH, ids=[f"{wire}-{f}-{n}" for wire, f, n, _ in EACH])
async def test_a_fault_is_answered_once_and_the_bridge_goes_on(
    wire: Wire, flavour: Flavour, name: str, fault: Fault
) -> None:
    limits = ["--timeout", "1s"] if fault.code == -31002 else []
    async with FaultServer(wire, flavour) as server, near_bridge(server.url, f"--{wire}-only", *limits) as host:
        await in_session(host)
        for _ in range(1 if limits else 2):
            answer = await meet(server, host, "tools/call", "pay", fault)
            assert answer.get("error", {}).get("code") == fault.code, answer


# --- With the console script ---------------------------------------------------------------------------------------

HANDFUL: list[tuple[Wire, str, Fault]] = [
    ("http", "tools/call", Fault(faults.cut(30, Peer.reset), -31003)),
    ("http", "tools/call", HTTP_FAULTS["a chunk cut off"]),
    ("sse", "tools/call", Fault(faults.cut(9, Peer.hang_up), -31003)),
    ("sse", "accepting tools/call", Fault(faults.status(503), -31006)),
    ("ws", "tools/call", Fault(faults.cut(9, Peer.half_close), -31003)),
    ("ws", "tools/call", WEBSOCKET_FAULTS["a close"]),
]


@pytest.mark.parametrize("number", range(len(HANDFUL)))
async def test_the_console_script_lives_on(number: int) -> None:
    wire, place, fault = HANDFUL[number]
    async with FaultServer(wire) as server, launch(server.url, f"--{wire}-only") as host:
        await in_session(host)
        answer = await meet(server, host, place, "pay", fault)
        assert answer["error"]["code"] == fault.code, answer
        assert "result" in await meet(server, host, place, "look", fault)
        assert await host.end() == 0
        assert all(json.loads(line) for line in host.heard)
