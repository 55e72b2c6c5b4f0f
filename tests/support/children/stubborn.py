"""Ignores SIGTERM, SIGINT and the end of its stdin. Says that it is ready first."""

import os
import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.write(1, b'{"jsonrpc":"2.0","method":"notifications/ready"}\n')
while True:
    time.sleep(60)
