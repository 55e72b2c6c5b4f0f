"""An MCP server with the habits that are named on its command line.

exit        ends with status 3 before it has read anything
mute        never answers `initialize`
late        answers `initialize` after 0.3 s
hang        answers nothing once it has answered `initialize`
no-ping     does not know `ping`
stubborn    ignores SIGTERM and the end of its stdin
flood       writes to stderr without end
garbage     writes what is no JSON to stdout without end
pages       has its tools on three pages
tool=FILE   has a tool that is named as the file says

Tools: `pid`; `crash` (SIGKILL to itself); `sleep` (seconds); `ask` (asks what `method` says, and answers with the
answer); `tell` (sends `notifications`, then answers); `seen` (what it has read, method by method); anything else
answers with its arguments.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import deque
from typing import Any

habits = set(sys.argv[1:])
lock = threading.Lock()
asked: dict[str, deque[Any]] = {}
answers: dict[Any, Any] = {}
come = threading.Condition()
seen: list[str] = []


def say(document: dict[str, Any]) -> None:
    """Write one line."""
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **document}) + "\n")
        sys.stdout.flush()


def tools(params: dict[str, Any]) -> dict[str, Any]:
    """Return the page of `tools/list`."""
    names = ["pid", "crash", "sleep", "ask", "tell"]
    for habit in habits:
        if habit.startswith("tool="):
            with open(habit[5:]) as file:
                names.append(file.read().strip())
    found = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    if "pages" not in habits:
        return {"tools": found}
    at = int(params.get("cursor", "0"))
    more = {"nextCursor": str(at + 2)} if at + 2 < len(found) else {}
    return {"tools": found[at : at + 2], **more}


def ask(identifier: Any, method: str, params: dict[str, Any]) -> Any:
    """Ask the client, and return what it answered."""
    say({"id": f"question of {identifier}", "method": method, "params": params})
    with come:
        come.wait_for(lambda: f"question of {identifier}" in answers, timeout=20)
    return answers.pop(f"question of {identifier}", None)


def call(identifier: Any, name: str, arguments: dict[str, Any]) -> Any:
    """Run a tool."""
    if name == "pid":
        return {"pid": os.getpid()}
    if name == "seen":
        return {"seen": seen}
    if name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "sleep":
        time.sleep(arguments["seconds"])
    if name == "ask":
        return ask(identifier, arguments["method"], arguments.get("params", {}))
    if name == "tell":
        for note in arguments["notifications"]:
            say(note)
    return arguments


def answer(message: dict[str, Any]) -> None:
    """Answer one request."""
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        if "late" in habits:
            time.sleep(0.3)
        everything: dict[str, Any] = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
        info = {"name": "hosted", "version": "1"}
        result = {"protocolVersion": params["protocolVersion"], "capabilities": everything, "serverInfo": info}
    elif method == "ping" and "no-ping" in habits:
        say({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        return
    elif method == "tools/list":
        result = tools(params)
    elif method == "tools/call":
        result = call(message["id"], params["name"], params.get("arguments", {}))
    else:
        result = {}
    say({"id": message["id"], "result": result})


def noise(write: Any) -> None:
    """Write without end."""
    while True:
        write()


def main() -> None:
    """Read lines until there are none."""
    if "exit" in habits:
        sys.stderr.write("no configuration\n")
        sys.exit(3)
    if "stubborn" in habits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "flood" in habits:
        threading.Thread(target=noise, args=(lambda: sys.stderr.write("x" * 100 + "\n"),), daemon=True).start()
    is_greeted = False
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            with come:
                answers[message["id"]] = message.get("result", message.get("error"))
                come.notify_all()
            continue
        seen.append(message["method"])
        if "id" not in message or (is_greeted and "hang" in habits) or "mute" in habits:
            continue
        if message["method"] == "initialize":
            is_greeted = True
            answer(message)
            if "garbage" in habits:

                def rubbish() -> None:
                    with lock:
                        sys.stdout.write("no json\n" * 200)
                        sys.stdout.flush()

                threading.Thread(target=noise, args=(rubbish,), daemon=True).start()
        else:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
    while "stubborn" in habits:
        time.sleep(60)


main()
