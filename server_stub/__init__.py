"""server_stub: an MCP server for remote clients, around a Python function or a stdio command.

    from server_stub import ToolServer, serve

The names below are resolved when they are first used (PEP 562), so that importing a part costs that part alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server_stub.backends.handler import Handler, RpcError, Session
    from server_stub.calls import Call, Unanswered
    from server_stub.serving import RemoteMCPServer, serve
    from server_stub.tools import ToolServer

__all__ = ["Call", "Handler", "RemoteMCPServer", "RpcError", "Session", "ToolServer", "Unanswered", "serve"]

_HOMES = {
    "Call": "server_stub.calls",
    "Handler": "server_stub.backends.handler",
    "RemoteMCPServer": "server_stub.serving",
    "RpcError": "server_stub.backends.handler",
    "Session": "server_stub.backends.handler",
    "ToolServer": "server_stub.tools",
    "Unanswered": "server_stub.calls",
    "serve": "server_stub.serving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
