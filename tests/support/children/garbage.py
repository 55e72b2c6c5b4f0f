"""Writes everything but JSON-RPC to stdout, then one real message, then leaves when its stdin ends."""

import os
import sys

GARBAGE = [
    b"Welcome to my server!\n",
    b"\x1b[31mred\x1b[0m \x07\x08bell\n",
    b'{"level":"info","id":7,"error":"not an answer"}\n',
    b'{"half": \n',
    b"\xff\xfe not UTF-8\n",
    b"\n   \n\r\n",
    b"[]\n",
    b"42\n",
    b'{"jsonrpc":"2.0","method":"notifications/real"}\r\n',
]
for piece in GARBAGE:
    os.write(1, piece)
sys.stdin.read()
