"""Store: where tokens and registrations are kept from one run to the next. Every call blocks.

One document for each name of `core.oauth.names`. As files in `<home>/auth/` (0600, in a folder with 0700), in the
operating system's keyring, or not at all. Losing what is kept costs a sign-in, nothing else: nothing here is fatal.
"""

from __future__ import annotations

import logging
import os
from typing import Literal, Protocol

from mcp_remote_py.auth.keeping import Learn, checked, is_name, learn_secrets, make_folder
from mcp_remote_py.core.errors import INSTALL_SERVER, ConfigError
from mcp_remote_py.core.oauth.names import FOLDER, file_of
from mcp_remote_py.core.oauth.steps import Document
from mcp_remote_py.state import StateFile

_LOG = logging.getLogger("mcp_remote_py.auth.store")
INSTALL_KEYRING = INSTALL_SERVER.replace("[server]", "[keyring]")
Kind = Literal["file", "keyring", "memory"]


class Store(Protocol):
    """What is kept under names. A document that was given away or taken is nobody else's: it may be changed."""

    def read(self, name: str) -> Document | None:
        """Return what is kept under this name; None where nothing is, or nothing that can be read."""

    def write(self, name: str, document: Document | None) -> bool:
        """Keep this, `None` for nothing any more. Returns whether it is done; why not is in the log."""

    def establish(self, name: str, document: Document) -> Document:
        """Keep this, unless another process was first. Returns what is kept now."""

    def names(self) -> tuple[str, ...]:
        """Return all names under which something is kept, in order."""

    def where(self, name: str) -> str:
        """Return in words where it is kept, for people."""


def open_store(kind: Kind, home: str, learn: Learn) -> Store:
    """Open the store. `home`: the folder for what is remembered; `learn` is told each secret that is read or written.

    Raises `ConfigError` where there is no keyring to be used.
    """
    if kind == "memory" or not home:
        return MemoryStore(learn)
    folder = os.path.join(os.path.abspath(home), FOLDER)
    if kind == "keyring":
        try:
            from mcp_remote_py.auth.keyring_store import KeyringStore
        except ImportError:
            raise ConfigError(f"--token-store keyring needs the package keyring. {INSTALL_KEYRING}") from None
        return KeyringStore(folder, learn)
    return FileStore(folder, learn)


class MemoryStore:
    """Keeps it for this process alone."""

    def __init__(self, learn: Learn) -> None:
        self._documents: dict[str, Document] = {}
        self._learn = learn

    def read(self, name: str) -> Document | None:
        document = self._documents.get(name)
        return None if document is None else dict(document)

    def write(self, name: str, document: Document | None) -> bool:
        if document is None:
            self._documents.pop(name, None)
        else:
            learn_secrets(document, self._learn)
            self._documents[name] = dict(document)
        return True

    def establish(self, name: str, document: Document) -> Document:
        learn_secrets(document, self._learn)
        return dict(self._documents.setdefault(name, dict(document)))

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._documents))

    def where(self, name: str) -> str:
        del name
        return "nowhere: only this process knows it"


class FileStore:
    """Keeps each document in a file of its own. `folder` is absolute, and made when something is written."""

    def __init__(self, folder: str, learn: Learn) -> None:
        self._folder = folder
        self._learn = learn

    def read(self, name: str) -> Document | None:
        document = self._file(name).read()
        if document is not None:
            learn_secrets(document, self._learn)
        return document

    def write(self, name: str, document: Document | None) -> bool:
        if document is None:
            return self._remove(name)
        kept = document
        learn_secrets(kept, self._learn)
        return self._is_ready() and self._file(name).update(lambda _: kept)

    def establish(self, name: str, document: Document) -> Document:
        learn_secrets(document, self._learn)
        if self._is_ready():
            self._file(name).update(lambda older: document if older is None else older)
        return self.read(name) or document

    def names(self) -> tuple[str, ...]:
        found = (entry.removesuffix(".json") for entry in self._entries() if entry.endswith(".json"))
        return tuple(name for name in found if is_name(name))

    def where(self, name: str) -> str:
        return self._file(name).path

    def _file(self, name: str) -> StateFile:
        return StateFile(os.path.join(self._folder, file_of(checked(name))))

    def _is_ready(self) -> bool:
        """Make the folder, for us alone. Returns whether it is there."""
        try:
            make_folder(self._folder)
        except OSError as error:
            _LOG.warning("%s cannot be used: %s; the sign-in is not remembered", self._folder, error.strerror)
            return False
        return True

    def _remove(self, name: str) -> bool:
        """Delete the file, and what a crash or damage left of it: there may be tokens in those, too."""
        path = self.where(name)
        beginning = os.path.basename(path) + "."
        left = (os.path.join(self._folder, entry) for entry in self._entries() if entry.startswith(beginning))
        is_gone = True
        for each in (path, *left):
            try:
                os.unlink(each)
            except FileNotFoundError:
                pass  # another process was faster, or there was none
            except OSError as error:
                _LOG.warning("%s cannot be deleted: %s", each, error.strerror)
                is_gone = is_gone and each.endswith(".lock")  # on Windows, one that is in use: it is empty
        return is_gone

    def _entries(self) -> list[str]:
        try:
            return sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            _LOG.warning("%s cannot be read: %s", self._folder, error.strerror)
            return []
