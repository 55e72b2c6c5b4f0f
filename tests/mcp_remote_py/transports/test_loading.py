"""A wire loads its own library and no other; nothing is loaded before a wire is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcp_remote_py.settings import Target
from mcp_remote_py.transports import open_link
from mcp_remote_py.transports.reach import Reach

LIBRARIES = ("h11", "httpcore", "httpx", "httpx_sse", "websockets", "truststore", "aiohttp", "jwt")
PROGRAM = """
import sys
{code}
print(*[name for name in {libraries!r} if name in sys.modules])
"""


def loaded_after(code: str) -> set[str]:
    """Run the code in a fresh interpreter and return which of the libraries it loaded."""
    program = PROGRAM.format(code=code, libraries=LIBRARIES)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "libraries"),
    [
        ("import mcp_remote_py.transports, mcp_remote_py.net", set()),
        ("import mcp_remote_py.net.tls, mcp_remote_py.net.redirects, mcp_remote_py.net.codings", set()),
        ("from mcp_remote_py.transports import load; load('http')", {"h11"}),
        ("from mcp_remote_py.transports import load; load('sse')", {"h11"}),
        ("from mcp_remote_py.transports import load; load('ws')", {"websockets"}),
    ],
)
def test_only_what_is_needed_is_loaded(code: str, libraries: set[str]) -> None:
    assert loaded_after(code) == libraries


@pytest.mark.parametrize(("wire", "own_streams"), [("http", True), ("sse", False), ("ws", False)])
def test_each_wire_gives_its_link(wire: str, own_streams: bool) -> None:
    link = open_link(wire, Reach(Target("http://127.0.0.1:9/mcp")))
    assert link.traits.streams_per_exchange is own_streams


def test_an_unknown_wire_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        open_link("pigeon", Reach(Target("http://127.0.0.1:9/mcp")))
