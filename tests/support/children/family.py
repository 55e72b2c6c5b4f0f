"""An MCP server as `npx` would run it: with children and grandchildren, one of which ignores SIGTERM, and with one in a
session of its own, as browsers are started.

Answers every request with its params. With `deaf` it ignores the end of its stdin, as some servers do.
"""

import json
import os
import signal
import subprocess
import sys
import time

subprocess.Popen(["/bin/sh", "-c", "sleep 600 & sleep 600 & wait"], stdin=subprocess.DEVNULL)
subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
prepared, say_prepared = os.pipe()
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.close(0)
    os.write(say_prepared, b"!")
    while True:
        time.sleep(60)
os.read(prepared, 1)

for line in sys.stdin:
    message = json.loads(line)
    if "method" in message and "id" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": message.get("params", {})}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
if "deaf" in sys.argv:
    signal.pause()
