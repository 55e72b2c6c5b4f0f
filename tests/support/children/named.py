"""A small stdio MCP server whose name and tools are its arguments: `named.py NAME [TOOL ...]`.

Every tool answers with who answered, its process id and the arguments. Some tools do more: `environment`, `sleep`
(`seconds`), `crash`, `ask` (a sampling request to the client), `grow` (`bytes`), `progress` (`steps`).
"""

import json
import os
import sys
import time
from typing import Any

NAME = sys.argv[1] if len(sys.argv) > 1 else "nobody"
TOOLS = sys.argv[2:] or ["whoami"]
KEPT: list[bytes] = []
WAITING: dict[str, Any] = {}


def write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **document}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def text(value: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


def call(message: dict[str, Any]) -> dict[str, Any] | None:
    params = message["params"]
    tool, given = params["name"], params.get("arguments", {})
    if tool not in TOOLS:
        return {"error": {"code": -32602, "message": f"no tool {tool}"}}
    if tool == "environment":
        return {"result": text(dict(os.environ))}
    if tool == "sleep":
        time.sleep(given.get("seconds", 1))
    if tool == "crash":
        sys.stderr.write("out of cheese\n")
        sys.stderr.flush()
        os._exit(3)
    if tool == "grow":
        KEPT.append(b"x" * given["bytes"])
    if tool == "ask":
        WAITING["question"] = message["id"]
        write({"id": "question", "method": "sampling/createMessage", "params": {"from": NAME}})
        return None
    for step in range(given.get("steps", 0)):
        token = params["_meta"]["progressToken"]
        write({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
    return {"result": text({"name": NAME, "pid": os.getpid(), "tool": tool, "arguments": given})}


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        return {
            "result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": NAME, "version": str(os.getpid())},
            }
        }
    if method == "tools/list":
        return {"result": {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]}}
    if method == "tools/call":
        return call(message)
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": f"no method {method}"}}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            asked = WAITING.pop(message["id"], None)
            if asked is not None:
                write({"id": asked, "result": text(message.get("result", message.get("error")))})
        elif "id" in message:
            reply = answer(message)
            if reply is not None:
                write({"id": message["id"], **reply})


main()
