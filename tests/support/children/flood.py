"""Floods stderr with the megabytes of its argument, half of them without a line end, then answers as echo does."""

import json
import os
import sys

line = b"e" * 99 + b"\n"
for _ in range(int(sys.argv[1]) * 5_000):
    os.write(2, line)
for _ in range(int(sys.argv[1]) * 8):
    os.write(2, b"w" * 65536)
os.write(2, b"\nthe last line\n")
for text in sys.stdin:
    message = json.loads(text)
    os.write(1, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode() + b"\n")
