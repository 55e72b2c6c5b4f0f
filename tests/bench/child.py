"""The stdio server that every wrapper wraps: it does nothing, with as little of Python as does it.

    python -I -S tests/bench/child.py

Run as a file, by the bare interpreter: what it imports would be paid for once per session.
"""

import json
import sys

INFO = {"name": "child", "version": "1"}
TOOL = {"name": "echo", "description": "says it again", "inputSchema": {"type": "object"}}


def result(method: str, params: dict[str, object]) -> object:
    """Return the result of a request."""
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": INFO}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        arguments = params["arguments"]
        assert isinstance(arguments, dict)
        size = arguments.get("size")
        text = "x" * size if isinstance(size, int) else str(arguments.get("text"))
        return {"content": [{"type": "text", "text": text}]}
    return {}


def main() -> None:
    """Answer lines until the end of input."""
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"]}
            answer["result"] = result(message["method"], message.get("params", {}))
            out.write(json.dumps(answer).encode() + b"\n")
            out.flush()


if __name__ == "__main__":
    main()
