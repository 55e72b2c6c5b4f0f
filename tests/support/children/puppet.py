"""Does what a test tells it: passes its stdin to a socket, line by line, and what comes from there to its stdout."""

import os
import socket
import sys
import threading

far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))


def speak() -> None:
    """Copy the socket to stdout; its end is ours."""
    while chunk := far.recv(1 << 20):
        view = memoryview(chunk)
        while view:
            view = view[os.write(1, view) :]


threading.Thread(target=speak, daemon=True).start()
while data := os.read(0, 1 << 20):
    far.sendall(data)
