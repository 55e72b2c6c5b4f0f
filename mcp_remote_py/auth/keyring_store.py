"""Keyring store: keeps documents in the operating system's keyring, by the library keyring (extra [keyring]).

The only file that imports it. A keyring cannot be listed, so the names (digests, no secrets) are in a file. Windows
takes 2560 bytes, half as many characters, for one entry: what is longer is cut into parts there. A document names its
parts by its own digest and is written after them, so a reader sees the old one or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from typing import Any

import keyring
import keyring.errors

from mcp_remote_py.auth.keeping import Learn, checked, learn_secrets, make_folder
from mcp_remote_py.core import message as msg
from mcp_remote_py.core.errors import ConfigError
from mcp_remote_py.core.oauth.steps import Document
from mcp_remote_py.state import StateFile

_LOG = logging.getLogger("mcp_remote_py.auth.store")
_SERVICE = "mcp-remote-py"
_USELESS = ("keyring.backends.fail", "keyring.backends.null")
WINDOWS_CHARACTERS = 1200
_PARTS, _DIGEST = "parts", "digest"


class KeyringStore:
    """A `Store`. Raises `ConfigError` where there is no keyring. `most`: the characters that one entry takes."""

    def __init__(self, folder: str, learn: Learn, *, most: int | None = None) -> None:
        self._keyring = _usable()
        self._folder = folder
        self._names = StateFile(os.path.join(folder, "keyring.json"))
        self._learn = learn
        self._most = most or (WINDOWS_CHARACTERS if sys.platform == "win32" else None)

    def read(self, name: str) -> Document | None:
        try:
            document = self._read(checked(name))
        except Exception as error:  # noqa: BLE001  a keyring is many libraries, each with kinds of its own
            _LOG.warning("the keyring cannot be read (%s): it may be locked", type(error).__name__)
            return None
        if document is not None:
            learn_secrets(document, self._learn)
        return document

    def write(self, name: str, document: Document | None) -> bool:
        checked(name)
        if document is not None:
            learn_secrets(document, self._learn)
            if not self._note(name, is_kept=True):
                return False  # nobody could ever find it again to delete it
        try:
            older = self._get(name)
            if document is None:
                self._delete(name)
            else:
                self._write(name, msg.canonical(document))
            self._sweep(name, older, self._get(name))
        except Exception as error:  # noqa: BLE001  see above
            _LOG.warning("the keyring takes nothing (%s); the sign-in is not remembered", type(error).__name__)
            return False
        return document is not None or self._note(name, is_kept=False)

    def establish(self, name: str, document: Document) -> Document:
        older = self.read(name)
        if older is None:
            self.write(name, document)
            older = self.read(name)
        return older or document

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(_names(self._names.read())))

    def where(self, name: str) -> str:
        return f"{self._keyring.name}, entry {_SERVICE}/{checked(name)}"

    def _read(self, name: str) -> Document | None:
        document = _decoded(self._get(name))
        if document is None or _PARTS not in document:
            return document
        count, digest = document[_PARTS], document.get(_DIGEST)
        if type(count) is not int or not isinstance(digest, str) or not 0 < count < 1000:
            return None
        parts = [self._get(_part(name, digest, number)) or "" for number in range(count)]
        text = "".join(parts)
        return _decoded(text) if _digest(text) == digest else None

    def _write(self, name: str, text: str) -> None:
        most = self._most
        if most is not None and len(text) > most:
            pieces, digest = [text[at : at + most] for at in range(0, len(text), most)], _digest(text)
            for number, piece in enumerate(pieces):
                self._set(_part(name, digest, number), piece)
            text = msg.canonical({_PARTS: len(pieces), _DIGEST: digest})
        self._set(name, text)

    def _sweep(self, name: str, older: str | None, newer: str | None) -> None:
        """Delete the parts of what was there before."""
        old, new = _decoded(older) or {}, _decoded(newer) or {}
        count, digest = old.get(_PARTS), old.get(_DIGEST)
        if type(count) is int and isinstance(digest, str) and digest != new.get(_DIGEST):
            for number in range(count):
                self._delete(_part(name, digest, number))

    def _note(self, name: str, *, is_kept: bool) -> bool:
        try:
            make_folder(self._folder)
        except OSError as error:
            _LOG.warning("%s cannot be used: %s; the sign-in is not remembered", self._folder, error.strerror)
            return False

        def changed(older: Document | None) -> Document:
            names = _names(older)
            return {"names": sorted(names | {name} if is_kept else names - {name})}

        return self._names.update(changed)

    # One service for each entry, as Windows has one place for each service and moves things about when there are two.

    def _get(self, entry: str) -> str | None:
        found = self._keyring.get_password(f"{_SERVICE}/{entry}", entry)
        return found if isinstance(found, str) else None

    def _set(self, entry: str, text: str) -> None:
        self._keyring.set_password(f"{_SERVICE}/{entry}", entry, text)

    def _delete(self, entry: str) -> None:
        try:
            self._keyring.delete_password(f"{_SERVICE}/{entry}", entry)
        except keyring.errors.PasswordDeleteError:
            pass  # that is how most keyrings say that there was none


def _usable() -> Any:
    try:
        found = keyring.get_keyring()
    except Exception as error:  # noqa: BLE001  a keyring is many libraries, each with kinds of its own
        reason = type(error).__name__
    else:
        if not type(found).__module__.startswith(_USELESS):
            return found
        reason = "the library keyring found none"
    raise ConfigError(
        f"--token-store keyring: there is no keyring that can be used here ({reason}). On Linux it needs a Secret "
        "Service (GNOME Keyring, KWallet) and the variable DBUS_SESSION_BUS_ADDRESS, which hosts do not always hand "
        "on. `--token-store file` keeps tokens in a private file."
    )


def _decoded(text: str | None) -> Document | None:
    if text is None:
        return None
    try:
        document = msg.value_of(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _names(document: Document | None) -> set[str]:
    names = (document or {}).get("names")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _part(name: str, digest: str, number: int) -> str:
    return f"{name}.{digest}.{number}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
