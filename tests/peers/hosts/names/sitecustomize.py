"""Loaded at the start of any Python that has this folder in PYTHONPATH: names below `.localhost` are this machine.

RFC 6761 says so; glibc without a name service for it does not.
"""

from __future__ import annotations

import socket
from typing import Any

_real = socket.getaddrinfo


def _loopback(host: Any, *rest: Any, **more: Any) -> Any:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    return _real("127.0.0.1" if isinstance(text, str) and text.endswith(".localhost") else host, *rest, **more)


socket.getaddrinfo = _loopback
