"""Answers each request in a thread, after the seconds of its `params.wait`; so answers overtake each other."""

import json
import sys
import threading
import time
from typing import Any

lock = threading.Lock()


def say(document: dict[str, Any]) -> None:
    """Write one line."""
    with lock:
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def answer(message: dict[str, Any]) -> None:
    """Report progress where a token was given, then answer."""
    params = message.get("params", {})
    token = params.get("_meta", {}).get("progressToken")
    if token is not None:
        progress = {"progressToken": token, "progress": 1}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
    time.sleep(params.get("wait", 0))
    version = params.get("protocolVersion")
    result = {"protocolVersion": version, "capabilities": {}} if version else {"name": params.get("name")}
    say({"jsonrpc": "2.0", "id": message["id"], "result": result})


for line in sys.stdin:
    received = json.loads(line)
    if "id" in received and "method" in received:
        threading.Thread(target=answer, args=(received,), daemon=True).start()
