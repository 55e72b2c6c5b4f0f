"""I/O toward a remote server, one file per wire; each file implements `core.link.Link`.

Only the file of the wire that is asked for is imported, and with it the library that the wire needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from mcp_remote_py import __version__
from mcp_remote_py.core.link import Link
from mcp_remote_py.transports.reach import Reach

USER_AGENT = f"mcp-remote-py/{__version__}"
"""How every wire names us to the server, unless the user gave a header of that name."""

_FILES = {"http": "streamable_http", "sse": "sse", "ws": "websocket"}


def load(wire: str) -> None:
    """Import what a wire (`http`, `sse` or `ws`) needs. Raises `ImportError` where the installation lacks something."""
    import_module(f"{__name__}.{_FILES[wire]}")


def open_link(wire: str, reach: Reach) -> Link:
    """Return a link over this wire, not yet opened."""
    module = import_module(f"{__name__}.{_FILES[wire]}")
    return cast(Link, module.make_link(reach))
