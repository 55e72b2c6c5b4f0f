"""Answers every request with its own params, and has a few methods for things to happen."""

import json
import os
import signal
import sys
from typing import Any


def act(message: dict[str, Any]) -> Any:
    """Do what the method asks for; return the result."""
    method, params = message["method"], message.get("params", {})
    if method == "exit":
        sys.stderr.write(params.get("last words", ""))
        sys.stderr.flush()
        sys.exit(params.get("status", 0))
    if method == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "environment":
        return dict(os.environ)
    if method == "pid":
        return {"pid": os.getpid()}
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": str(os.getpid()), "client": params.get("clientInfo", {})},
        }
    if method == "big":
        return {"text": "x" * params["size"]}
    if method == "say":
        for line in params["lines"]:
            sys.stdout.write(line + "\n")
    if method == "farewell":
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"text": "x" * params["size"]}}))
        sys.stdout.flush()
        sys.exit(0)
    if method == "close stdout":
        sys.stdout.flush()
        os.close(1)
        signal.pause()
    return params


def main() -> None:
    """Read lines until there are none."""
    for line in sys.stdin:
        message = json.loads(line)
        if "method" in message and "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": act(message)}
            sys.stdout.write(json.dumps(answer, separators=(",", ":")) + "\n")
            sys.stdout.flush()
        elif "method" in message:
            news = {"jsonrpc": "2.0", "method": "notifications/heard", "params": {"line": line.strip()}}
            sys.stdout.write(json.dumps(news) + "\n")
            sys.stdout.flush()


main()
