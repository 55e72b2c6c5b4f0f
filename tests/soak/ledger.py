"""A handler for `mcp-remote-server` that writes each call into a file before it answers: a kill loses no word of it.

`MCP_SOAK_LEDGER` names the file. Its lines are keys; what stands there twice ran twice.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

LEDGER = "MCP_SOAK_LEDGER"
MOST_SECONDS = 0.08
GREETING = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "ledger", "version": "1"},
}
TOOLS = {
    "tools": [
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "pay", "inputSchema": {"type": "object"}},
    ]
}


async def handle(message: dict[str, Any], session: object) -> dict[str, Any] | None:
    """Answer like a server with the tools `look` and `pay`, which take a moment."""
    del session
    if "id" not in message:
        return None
    method = message.get("method")
    results: dict[str, dict[str, Any]] = {"initialize": GREETING, "tools/list": TOOLS}
    result = results.get(str(method), {})
    if method == "tools/call":
        key = message["params"]["arguments"]["key"]
        ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND)
        try:
            os.write(ledger, f"{key}\n".encode())
        finally:
            os.close(ledger)
        await asyncio.sleep(random.random() * MOST_SECONDS)  # noqa: S311  not a secret
        result = {"content": [{"type": "text", "text": str(key)}]}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}
