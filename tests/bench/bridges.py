"""What is compared: ours, the peers that are installed, the floor, and a client that needs no bridge."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple


class Bridge(NamedTuple):
    """A program that carries stdio to a Streamable HTTP server."""

    name: str
    command: tuple[str, ...]
    """`{url}` stands for the server's URL. Empty for the direct client, which speaks HTTP itself."""

    def on(self, url: str) -> list[str]:
        """Return its command line for this server."""
        return [word.replace("{url}", url) for word in self.command]


DIRECT = Bridge("direct", ())


def installed() -> list[Bridge]:
    """Return what there is on this machine; the first of them is the one that ratios are taken against.

    MCP_PEERS_DIR is the folder in which `npm install mcp-remote supergateway` was run; `mcp-proxy` is looked for on
    PATH and in MCP_PROXY.
    """
    found: list[Bridge] = []
    modules = Path(os.environ.get("MCP_PEERS_DIR", ".")) / "node_modules"
    node = shutil.which("node")
    mcp_remote = modules / "mcp-remote" / "dist" / "proxy.js"
    if node and mcp_remote.exists():
        found.append(Bridge("mcp-remote", (node, str(mcp_remote), "{url}")))
    supergateway = modules / "supergateway" / "dist" / "index.js"
    if node and supergateway.exists():
        found.append(
            Bridge("supergateway", (node, str(supergateway), "--streamableHttp", "{url}", "--logLevel", "none"))
        )
    proxy = os.environ.get("MCP_PROXY") or shutil.which("mcp-proxy")
    if proxy:
        found.append(Bridge("mcp-proxy", (proxy, "--transport", "streamablehttp", "{url}")))
    script = shutil.which("mcp-remote-py", path=sysconfig.get_path("scripts"))
    ours = (script,) if script else (sys.executable, "-m", "mcp_remote_py")
    found.append(Bridge("mcp-remote-py", (*ours, "{url}", "--transport", "http-only")))
    found.append(Bridge("floor", (sys.executable, "-m", "tests.bench.floor", "{url}")))
    found.append(DIRECT)
    return found
