"""Where pins are kept from one run to the next: one state file for each URL.

Not for each principal, as the cache is: a token that changes must not make the first definition seen with it count.
"""

from __future__ import annotations

import hashlib
import os
import threading

from mcp_remote_py.state import Document, StateFile

FOLDER = "pins"
_SECONDS = 0.5
"""A disk may hang; messages do not wait longer for it. The writing goes on."""


class PinStore:
    """The pins of one server. `home` is the folder for what is remembered, `url` the server's endpoint."""

    def __init__(self, home: str, url: str) -> None:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        self._file = StateFile(os.path.join(os.path.abspath(home), FOLDER, f"{name}.json"))

    def read(self) -> dict[str, str]:
        """Return the hashes by name. Empty where nothing was kept yet, or where the file is of no use."""
        document = self._file.read()
        if document is None:
            return {}
        tools = _tools(document)
        if tools is None:
            self._file.set_aside("it holds no pins")
        return tools or {}

    def write(self, tools: dict[str, str]) -> None:
        """Keep these. What prevents it is in the log."""
        writing = threading.Thread(target=self._write, args=(tools,), name="pins", daemon=True)
        writing.start()
        writing.join(_SECONDS)

    def _write(self, tools: dict[str, str]) -> None:
        self._file.update(lambda older: {"tools": (_tools(older or {}) or {}) | tools})


def _tools(document: Document) -> dict[str, str] | None:
    tools = document.get("tools")
    is_whole = isinstance(tools, dict) and all(isinstance(value, str) for value in tools.values())
    return tools if is_whole else None
