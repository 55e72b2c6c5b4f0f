"""Starts a grandchild, says its pid, and waits for the end of its stdin.

With `stubborn` the grandchild ignores SIGTERM; with `apart` it leaves our process group; with `leave` we exit at once
and leave it behind; with `daemon` the grandchild leaves our process group with our stdout open, and we exit at once.
"""

import os
import signal
import sys
import time

habit = sys.argv[1]
prepared, say_prepared = os.pipe()
grandchild = os.fork()
if grandchild == 0:
    if habit == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if habit in ("apart", "daemon"):
        os.setsid()
    os.close(0)
    os.write(say_prepared, b"!")
    while True:
        time.sleep(60)
os.read(prepared, 1)
os.write(1, b'{"jsonrpc":"2.0","method":"notifications/started","params":{"pid":%d}}\n' % grandchild)
if habit in ("leave", "daemon"):
    os._exit(0)
sys.stdin.read()
