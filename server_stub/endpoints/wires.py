"""Wires: the endpoints over one set of sessions, by what follows their prefix and by method.

A new wire is a file beside this one and a line in `Wires`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.typedefs import Handler

from server_stub.doorkeeper import Doorkeeper
from server_stub.endpoints.sse import Sse
from server_stub.endpoints.streamable_http import StreamableHttp
from server_stub.endpoints.websocket import WebSocket
from server_stub.sessions import Gateway
from server_stub.settings import ServeSettings

Table = Mapping[str, Mapping[str, Handler]]
"""Handlers by what follows the prefix, and by method."""
MCP, SSE, MESSAGES, WS = "mcp", "sse", "messages", "ws"


class Wires:
    """See the module's text. `messages` returns the path to which the SSE client of this request is to post."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ServeSettings,
        doorkeeper: Doorkeeper,
        messages: Callable[[web.Request], str],
    ) -> None:
        streamable = StreamableHttp(gateway, settings)
        sse = Sse(gateway, settings, streamable, messages)
        websocket = WebSocket(gateway, settings, doorkeeper)
        found: dict[str, dict[str, Handler]] = {
            MCP: {"POST": streamable.post},
            SSE: {"POST": streamable.post, "GET": sse.get},
            MESSAGES: {"POST": sse.post},
            WS: {"GET": websocket.get},
        }
        if not settings.stateless:
            found[MCP].update(GET=streamable.get, DELETE=streamable.delete)
            found[SSE].update(DELETE=streamable.delete)
        self.table: Table = found
